// client/instance.h: a machine's folder appears and goes whole or not at all, whatever fails; what interrupted commands
// left is swept.
#include "tests/unit/instance_fixture.h"

#include <sys/file.h>
#include <sys/wait.h>

#include "base/banned.h"

static void test_damaged_can_be_removed(void **state)
{
    (void)state;
    static const char *const damages[] = {
        "",
        "rondo-instance 2\n",
        "rondo-instance 1\nimage ../x\n",
        "no newline at the end",
        "rondo-instance 1\nimage a\nversion 1\nmanifest 00\nsite s\ndisk 1\nmemory 1\ncpus 1\nephemeral no\nasked 1\n",
        "rondo-instance 1\nimage \033[31m\n"};
    for (size_t n = 0; n < sizeof(damages) / sizeof(damages[0]); n++) {
        struct instance i = INSTANCE_NONE;
        struct error error = {.text = ""};
        make("one", false);
        write_file("one/settings", damages[n]);
        assert_int_equal(instance_open("one", &i, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "rondo rm one"));
        assert_true(i.folder_fd >= 0);
        assert_int_equal(instance_lock(&i, NULL), 0);
        assert_int_equal(instance_remove(&i, NULL), 0);
        instance_close(&i);
        assert_false(stands("one"));
    }
}

static void test_remove_takes_everything(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE;
    make("one", false);
    write_file("one/" IO_TEMPORARY_PREFIX "0123456789abcdef", "half of something");
    write_file("one/console.log", "text");
    assert_int_equal(instance_open("one", &i, NULL), 0);
    assert_int_equal(instance_lock(&i, NULL), 0);
    int listener = instance_prepare_runtime(&i, NULL);
    assert_true(listener >= 0);
    assert_int_equal(access(i.runtime, F_OK), 0);
    close(listener);
    assert_int_equal(instance_remove(&i, NULL), 0);
    assert_false(stands("one"));
    assert_int_equal(access(i.runtime, F_OK), -1);
    // A name that is free again, and a lock on a folder that is gone.
    struct instance old = i;
    old.lock_fd = -1;
    assert_int_equal(instance_lock(&old, NULL), -ENOENT);
    instance_close(&i);
    make("one", false);
}

static void test_leftovers_are_swept(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    char path[256];
    make("kept", false);
    make("ephemeral", true);
    snprintf(path, sizeof(path), "%s/home/instances/.new-old-1", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(".new-old-1/disk.data", "");
    write_file(".new-old-1/" IO_TEMPORARY_PREFIX "0123456789abcdef", "");
    assert_int_equal(instance_list(note, &seen, NULL), 0);
    assert_string_equal(seen.names, "kept ");
    assert_false(stands("ephemeral"));
    assert_false(stands(".new-old-1"));
}

static void test_running_ephemeral_is_not_swept(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    struct instance i = INSTANCE_NONE;
    struct instance_settings s = some_settings();
    s.ephemeral = true;
    assert_int_equal(instance_create("one", &s, NULL, &i, NULL), 0);
    assert_int_equal(instance_list(note, &seen, NULL), 0);
    assert_string_equal(seen.names, "one ");
    instance_close(&i);
}

// Every call of the system fails once, and from there on.
static void test_creation_is_whole_or_nothing(void **state)
{
    (void)state;
    static const int codes[] = {ENOSPC, EIO, EDQUOT};
    const struct instance_settings s = some_settings();
    unsigned failed = 0;
    for (unsigned persistent = 0; persistent < 2; persistent++) {
        for (unsigned long at = 1;; at++) {
            struct instance i = INSTANCE_NONE, again = INSTANCE_NONE;
            struct error error = {.text = ""};
            const int code = codes[at % 3];
            io_fault_start(at, code, persistent != 0);
            int r = instance_create("one", &s, NULL, &i, &error);
            unsigned long calls = io_fault_stop();
            if (r < 0) {
                failed++;
                assert_true(r == -code || r == -ENOMEM);
                assert_string_not_equal(error.text, "");
                assert_int_equal(i.folder_fd, -1); // untouched
                if (persistent == 0)
                    assert_int_equal(instance_open("one", &again, NULL), -ENOENT);
            } else {
                assert_int_equal(instance_open("one", &again, NULL), 0);
                assert_int_equal(again.settings.disk_size, s.disk_size);
            }
            instance_close(&again);
            if (instance_open("one", &again, NULL) != -ENOENT) { // also where nothing could be cleared away
                instance_close(&i);
                assert_int_equal(instance_lock(&again, NULL), 0);
                assert_int_equal(instance_remove(&again, NULL), 0);
            }
            instance_close(&again);
            if (calls < at) {
                assert_int_equal(r, 0);
                break;
            }
        }
    }
    assert_true(failed > 40);
}

static void test_removal_that_fails_can_be_repeated(void **state)
{
    (void)state;
    for (unsigned long at = 1;; at++) {
        struct instance i = INSTANCE_NONE;
        struct seen seen = {.count = 0};
        struct error error = {.text = ""};
        make("one", false);
        assert_int_equal(instance_open("one", &i, NULL), 0);
        assert_int_equal(instance_lock(&i, NULL), 0);
        io_fault_start(at, EIO, true);
        int r = instance_remove(&i, &error);
        unsigned long calls = io_fault_stop();
        instance_close(&i);
        if (r == 0) // also where only the closing of a folder failed
            assert_false(stands("one"));
        else
            assert_true(r == -EIO && error.text[0]);
        if (calls < at)
            break;
        if (instance_open("one", &i, NULL) == 0) { // nothing was removed, as it had not yet lost its name
            assert_int_equal(instance_lock(&i, NULL), 0);
            assert_int_equal(instance_remove(&i, NULL), 0);
        }
        instance_close(&i);
        assert_int_equal(instance_list(note, &seen, NULL), 0); // sweeps what is half removed
        assert_int_equal(seen.count, 0);
        assert_false(stands("one"));
    }
}

// Eight processes make a machine of the same name: one succeeds, and the others are told.
static void test_one_of_many_makes_it(void **state)
{
    (void)state;
    const struct instance_settings s = some_settings();
    pid_t children[8];
    unsigned made = 0;
    for (unsigned n = 0; n < 8; n++) {
        children[n] = fork();
        assert_true(children[n] >= 0);
        if (children[n] == 0) {
            struct instance i = INSTANCE_NONE;
            int r = instance_create("one", &s, NULL, &i, NULL);
            _exit(r == 0 ? 0 : r == -EEXIST ? 1 : 2);
        }
    }
    for (unsigned n = 0; n < 8; n++) {
        int status;
        assert_int_equal(waitpid(children[n], &status, 0), children[n]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
        made += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(made, 1);
    struct instance i = INSTANCE_NONE;
    assert_int_equal(instance_open("one", &i, NULL), 0);
    instance_close(&i);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machines_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_damaged_can_be_removed),       TEST(test_remove_takes_everything),
        TEST(test_leftovers_are_swept),          TEST(test_running_ephemeral_is_not_swept),
        TEST(test_creation_is_whole_or_nothing), TEST(test_removal_that_fails_can_be_repeated),
        TEST(test_one_of_many_makes_it),
    };
    return cmocka_run_group_tests_name("client_instance_whole", tests, NULL, NULL);
}
