// client/instance.h: a machine's folder appears whole or not at all, whatever fails; it is running while somebody holds
// its lock; what interrupted commands left is swept.
#include "client/instance.h"

#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/folder_fixture.h"

#include "base/banned.h"

static int setup(void **state)
{
    folder_set_up(state);
    folder_export("RONDO_HOME", "home");
    folder_export("RONDO_RUNTIME", "runtime");
    return 0;
}

static struct instance_settings some_settings(void)
{
    struct instance_settings s = {.image = "debian",
                                  .version = "12.5",
                                  .site = "http://host:8080/os/",
                                  .sources = {"http://host:8080/os/", "/a folder/with spaces/"},
                                  .source_count = 2,
                                  .asked = "12",
                                  .disk_size = 1u << 20,
                                  .memory = 512u << 20,
                                  .cpus = 2,
                                  .volumes = {{"/a disk/with spaces", 1u << 20}, {"/dev/sdx", 4096}},
                                  .volume_count = 2};
    s.manifest = sha256_of("manifest", 8);
    return s;
}

static void make(const char *name, bool ephemeral)
{
    struct instance i = INSTANCE_NONE;
    struct instance_settings s = some_settings();
    s.ephemeral = ephemeral;
    assert_int_equal(instance_create(name, &s, NULL, &i, NULL), 0);
    instance_close(&i);
}

static bool stands(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/home/instances/%s", folder, name);
    return access(path, F_OK) == 0;
}

static void write_file(const char *below, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/home/instances/%s", folder, below);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void test_settings_come_back(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE, again = INSTANCE_NONE;
    const struct instance_settings s = some_settings();
    assert_int_equal(instance_create("one", &s, NULL, &i, NULL), 0);
    assert_true(i.lock_fd >= 0);
    assert_memory_equal(&i.settings, &s, sizeof(s));
    assert_int_equal(instance_open("one", &again, NULL), 0);
    assert_string_equal(again.name, "one");
    assert_string_equal(again.settings.image, s.image);
    assert_string_equal(again.settings.version, s.version);
    assert_string_equal(again.settings.site, s.site);
    assert_true(sha256_equal(&again.settings.manifest, &s.manifest));
    assert_int_equal(again.settings.source_count, 2);
    assert_string_equal(again.settings.sources[1], s.sources[1]);
    assert_int_equal(again.settings.disk_size, s.disk_size);
    assert_int_equal(again.settings.memory, s.memory);
    assert_int_equal(again.settings.cpus, s.cpus);
    assert_false(again.settings.ephemeral);
    assert_string_equal(again.settings.asked, "12");
    assert_int_equal(again.settings.volume_count, 2);
    assert_string_equal(again.settings.volumes[0].path, "/a disk/with spaces");
    assert_true(again.settings.volumes[0].size == 1u << 20);
    assert_string_equal(again.settings.volumes[1].path, "/dev/sdx");
    instance_close(&again);
    instance_close(&i);
}

static void test_volumes_are_remembered_alone(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE, again = INSTANCE_NONE;
    const struct instance_settings s = some_settings();
    const struct volume other = {.path = "/other", .size = 8192};
    assert_int_equal(instance_create("one", &s, NULL, &i, NULL), 0);
    i.settings.memory = 1u << 30; // of this run
    assert_int_equal(instance_remember_volumes(&i, &other, 1, NULL), 0);
    assert_int_equal(instance_open("one", &again, NULL), 0);
    assert_int_equal(again.settings.volume_count, 1);
    assert_string_equal(again.settings.volumes[0].path, "/other");
    assert_int_equal(again.settings.memory, s.memory);
    instance_close(&again);
    assert_int_equal(instance_remember_volumes(&i, NULL, 0, NULL), 0);
    assert_int_equal(instance_open("one", &again, NULL), 0);
    assert_int_equal(again.settings.volume_count, 0);
    assert_int_equal(again.settings.source_count, 2);
    instance_close(&again);
    instance_close(&i);
}

static void test_bad_volumes_are_damage(void **state)
{
    static const char *const bad[] = {"volume 1 relative\n", "volume x /a\n", "volume /a\n", "volume 1\n",
                                      "volume 1 /a\nvolume 1 /a\nvolume 1 /a\n"}; // five in all
    struct instance_settings s = some_settings();
    (void)state;
    for (size_t n = 0; n < ARRAY_SIZE(bad); n++) {
        struct instance i = INSTANCE_NONE, again = INSTANCE_NONE;
        assert_int_equal(instance_create("one", &s, NULL, &i, NULL), 0);
        int fd = openat(i.folder_fd, "settings", O_WRONLY | O_APPEND);
        assert_int_equal(write(fd, bad[n], strlen(bad[n])), (ssize_t)strlen(bad[n]));
        close(fd);
        assert_int_equal(instance_open("one", &again, NULL), -EBADMSG);
        instance_close(&again);
        assert_int_equal(instance_remove(&i, NULL), 0);
        instance_close(&i);
    }
}

static void test_a_seed_comes_with_the_instance(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE;
    struct buf seed CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16);
    const struct instance_settings s = some_settings();
    char bytes[16];
    assert_int_equal(buf_append(&seed, "settings", 8), 0);
    assert_int_equal(instance_create("one", &s, &seed, &i, NULL), 0);
    int fd = openat(i.folder_fd, "seed.img", O_RDONLY);
    assert_int_equal(read(fd, bytes, sizeof(bytes)), 8);
    assert_memory_equal(bytes, "settings", 8);
    close(fd);
    assert_int_equal(instance_remove(&i, NULL), 0);
    assert_false(stands("one"));
    instance_close(&i);
}

static void test_running_means_locked(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE, other = INSTANCE_NONE;
    struct error error = {.text = ""};
    const struct instance_settings s = some_settings();
    assert_int_equal(instance_create("one", &s, NULL, &i, NULL), 0);
    assert_int_equal(instance_open("one", &other, NULL), 0);
    assert_true(instance_is_running(&other));
    assert_int_equal(instance_lock(&other, &error), -EBUSY);
    assert_non_null(strstr(error.text, "rondo console one"));
    assert_int_equal(instance_connect(&other, &error), -EBUSY); // it holds the lock, but does not listen
    instance_close(&i);
    assert_false(instance_is_running(&other));
    assert_int_equal(instance_connect(&other, &error), -ENOENT);
    assert_int_equal(instance_lock(&other, &error), 0);
    instance_close(&other);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", ".", "..", "../x", "a/b", "UPPER", "-x", ".new-x", "a b", "ä"};
    struct instance i = INSTANCE_NONE;
    const struct instance_settings s = some_settings();
    struct error error;
    for (size_t n = 0; n < sizeof(wrong) / sizeof(wrong[0]); n++) {
        assert_int_equal(instance_open(wrong[n], &i, &error), -EINVAL);
        assert_int_equal(instance_create(wrong[n], &s, NULL, &i, &error), -EINVAL);
    }
    assert_int_equal(instance_open("none", &i, &error), -ENOENT);
    assert_non_null(strstr(error.text, "rondo ps"));
    make("one", false);
    assert_int_equal(instance_create("one", &s, NULL, &i, &error), -EEXIST);
    assert_int_equal(instance_open("one", &i, NULL), 0); // and is as it was
    instance_close(&i);
}

struct seen {
    unsigned count, damaged;
    char names[256];
};

static int note(void *context, struct instance *i, const struct error *damage)
{
    struct seen *seen = context;
    size_t n = strlen(seen->names);
    seen->count++;
    seen->damaged += damage != NULL;
    if (damage)
        assert_non_null(strstr(damage->text, i->name)); // it names what is damaged
    snprintf(seen->names + n, sizeof(seen->names) - n, "%s ", i->name);
    return 0;
}

static void test_list(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    assert_int_equal(instance_list(note, &seen, NULL), 0); // no folder yet
    assert_int_equal(seen.count, 0);
    make("zebra", false);
    make("ant", false);
    make("bee", false);
    write_file("bee/settings", "rondo-instance 1\nimage bee\nmanifest x\n");
    write_file("not-a-folder", "");
    assert_int_equal(instance_list(note, &seen, NULL), 0);
    assert_string_equal(seen.names, "ant bee zebra ");
    assert_int_equal(seen.damaged, 1);
}

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
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_settings_come_back),
        TEST(test_running_means_locked),
        TEST(test_names),
        TEST(test_list),
        TEST(test_damaged_can_be_removed),
        TEST(test_volumes_are_remembered_alone),
        TEST(test_bad_volumes_are_damage),
        TEST(test_a_seed_comes_with_the_instance),
        TEST(test_remove_takes_everything),
        TEST(test_leftovers_are_swept),
        TEST(test_running_ephemeral_is_not_swept),
        TEST(test_creation_is_whole_or_nothing),
        TEST(test_removal_that_fails_can_be_repeated),
        TEST(test_one_of_many_makes_it),
    };
    return cmocka_run_group_tests_name("client_instance", tests, NULL, NULL);
}
