// client/instance.h: what a machine remembers, and how it is found; it is running while somebody holds its lock.
#include "tests/unit/instance_fixture.h"

#include <sys/file.h>
#include <sys/wait.h>

#include "base/banned.h"

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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machines_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_settings_come_back),
        TEST(test_running_means_locked),
        TEST(test_names),
        TEST(test_list),
        TEST(test_volumes_are_remembered_alone),
        TEST(test_bad_volumes_are_damage),
        TEST(test_a_seed_comes_with_the_instance),
    };
    return cmocka_run_group_tests_name("client_instance", tests, NULL, NULL);
}
