// client/instance.h, instance_replace: a machine's version and what was written over it are replaced together; whatever
// fails, and wherever the command is killed, the name is the whole old machine or the whole new one.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/overlay.h"
#include "blockstore/overlay_snapshot.h"
#include "client/instance.h"
#include "client/newer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/instance_fixture.h"

#include "base/banned.h"

#define BLOCK 4096u
#define DISK (16u * BLOCK)

static struct instance_settings settings_of(const char *version)
{
    struct instance_settings s = {.image = "debian",
                                  .site = "http://host/os/",
                                  .sources = {"http://host/os/"},
                                  .source_count = 1,
                                  .asked = "latest",
                                  .disk_size = DISK,
                                  .memory = 512u << 20,
                                  .cpus = 2};
    snprintf(s.version, sizeof(s.version), "%s", version);
    s.manifest = sha256_of(version, strlen(version));
    return s;
}

static int read_base(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)offset;
    (void)n;
    for (unsigned i = 0; i < count; i++)
        memset(to[i].iov_base, *(const char *)context, to[i].iov_len);
    return 0;
}

// The first byte of two blocks, by the overlay over the version that the settings name.
static void read_disk(const struct instance *i, char ret[static 2])
{
    struct overlay *o;
    struct error error = {.text = ""};
    char block[BLOCK];
    // "2" of version 2.0: what its base reads as
    const struct overlay_base base = {.read = read_base, .context = (void *)i->settings.version, .size = DISK};
    if (overlay_open(i->folder_fd, &i->settings.manifest, &base, &o, &error) < 0)
        fail_msg("%s", error.text);
    for (unsigned n = 0; n < 2; n++) {
        assert_int_equal(overlay_read(o, n * BLOCK, block, BLOCK), 0);
        ret[n] = block[0];
    }
    assert_int_equal(overlay_close(o, NULL), 0);
}

static void write_disk(const struct instance *i, unsigned n, char value)
{
    struct overlay *o;
    char block[BLOCK];
    const struct overlay_base base = {.read = read_base, .context = (void *)i->settings.version, .size = DISK};
    memset(block, value, sizeof(block));
    assert_int_equal(overlay_open(i->folder_fd, &i->settings.manifest, &base, &o, NULL), 0);
    assert_int_equal(overlay_write(o, n * BLOCK, block, BLOCK), 0);
    assert_int_equal(overlay_close(o, NULL), 0);
}

// Machine "one" of version 1.0: block 0 written, a snapshot, block 1 written; a log, a mark.
static void make_old(void)
{
    struct instance i = INSTANCE_NONE;
    const struct instance_settings s = settings_of("1.0");
    char label[OVERLAY_LABEL_SIZE];
    assert_int_equal(instance_create("one", &s, NULL, &i, NULL), 0);
    write_disk(&i, 0, 'a');
    assert_int_equal(overlay_snapshot_take(i.folder_fd, "first", 1, label, NULL), 0);
    write_disk(&i, 1, 'b');
    assert_int_equal(io_replace_file(i.folder_fd, "console.log", "text", 4, 0600), 0);
    assert_int_equal(newer_keep(&i, &s.manifest, NULL), 0);
    instance_close(&i);
}

static bool has(const struct instance *i, const char *file)
{
    return faccessat(i->folder_fd, file, F_OK, 0) == 0;
}

static int count_one(void *context, struct instance *i, const struct error *damage)
{
    (void)i;
    assert_null(damage);
    ++*(unsigned *)context;
    return 0;
}

static unsigned entries(void)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/home/instances", folder);
    CLEANUP_CLOSEDIR DIR *d = opendir(path);
    unsigned n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    return n;
}

// The machine is one of the two, whole, and startable; a listing leaves it alone in the folder. True if it is the new.
static bool check_either(void)
{
    struct instance i = INSTANCE_NONE;
    struct error error = {.text = ""};
    struct overlay_history history;
    unsigned count = 0;
    char disk[2];
    assert_int_equal(instance_list(count_one, &count, NULL), 0); // sweeps
    assert_int_equal(count, 1);
    assert_int_equal(entries(), 1);
    if (instance_open("one", &i, &error) < 0 || instance_lock(&i, &error) < 0)
        fail_msg("%s", error.text);
    const bool new = strcmp(i.settings.version, "2.0") == 0;
    const struct instance_settings s = settings_of(new ? "2.0" : "1.0");
    assert_memory_equal(&i.settings, &s, sizeof(s));
    assert_int_equal(overlay_history_read(i.folder_fd, &history, NULL), 0);
    assert_int_equal(history.count, new ? 0 : 1);
    read_disk(&i, disk);
    assert_memory_equal(disk, new ? "22" : "ab", 2);
    assert_true(has(&i, "console.log"));
    assert_int_equal(has(&i, NEWER_KEPT_NAME), !new);
    instance_close(&i);
    return new;
}

static int replace(struct error *error)
{
    struct instance i = INSTANCE_NONE;
    const struct instance_settings s = settings_of("2.0");
    int r = instance_open("one", &i, error);
    if (r == 0)
        r = instance_lock(&i, error);
    if (r == 0)
        r = instance_replace(&i, &s, error);
    instance_close(&i);
    return r;
}

static void forget(void)
{
    struct instance i = INSTANCE_NONE;
    assert_int_equal(instance_open("one", &i, NULL), 0);
    assert_int_equal(instance_lock(&i, NULL), 0);
    assert_int_equal(instance_remove(&i, NULL), 0);
    instance_close(&i);
}

static void test_all_is_replaced_at_once(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE, other = INSTANCE_NONE;
    struct error error = {.text = ""};
    const struct instance_settings s = settings_of("2.0");
    char disk[2];
    make_old();
    assert_false(check_either());
    assert_int_equal(instance_open("one", &i, NULL), 0);
    assert_int_equal(instance_open("one", &other, NULL), 0);
    assert_int_equal(instance_lock(&i, NULL), 0);
    assert_int_equal(instance_replace(&i, &s, &error), 0);
    assert_string_equal(i.settings.version, "2.0"); // the same handle is the new one, locked
    read_disk(&i, disk);
    assert_memory_equal(disk, "22", 2);
    assert_int_equal(instance_lock(&other, NULL), -ENOENT); // who had opened the old one cannot start it
    instance_close(&other);
    assert_int_equal(instance_open("one", &other, NULL), 0);
    assert_int_equal(instance_lock(&other, NULL), -EBUSY);
    instance_close(&other);
    instance_close(&i);
    assert_true(check_either());
}

static void test_a_folder_in_it_is_refused(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    char path[128];
    make_old();
    snprintf(path, sizeof(path), "%s/home/instances/one/mine", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(replace(&error), -ENOTEMPTY);
    assert_non_null(strstr(error.text, "move it away"));
    assert_int_equal(rmdir(path), 0);
    assert_false(check_either());
}

// Every call of the system fails once, and from there on.
static void test_failures_leave_either(void **state)
{
    (void)state;
    static const int codes[] = {ENOSPC, EIO, EDQUOT};
    unsigned failed = 0, done = 0;
    for (unsigned persistent = 0; persistent < 2; persistent++) {
        for (unsigned long at = 1;; at++) {
            struct error error = {.text = ""};
            make_old();
            io_fault_start(at, codes[at % 3], persistent != 0);
            int r = replace(&error);
            unsigned long calls = io_fault_stop();
            const bool new = check_either();
            if (r == 0)
                assert_true(new);
            else
                assert_true(error.text[0] != '\0');
            failed += r < 0;
            done += new;
            forget();
            if (calls < at) {
                assert_int_equal(r, 0);
                break;
            }
        }
    }
    assert_true(failed > 30 && done > 2);
}

// A process that ends where it makes its n-th call.
static unsigned long calls_left;

static void count_down(void)
{
    if (calls_left-- == 0)
        _exit(9);
}

#define DYING(type, name, parameters, arguments)                                                                       \
    static type dying_##name parameters                                                                                \
    {                                                                                                                  \
        count_down();                                                                                                  \
        return io_table_system.name arguments;                                                                         \
    }
DYING(int, openat, (int dir, const char *path, int flags, mode_t mode), (dir, path, flags, mode))
DYING(int, close, (int fd), (fd))
DYING(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t offset), (fd, from, n, offset))
DYING(int, fsync, (int fd), (fd))
DYING(int, fdatasync, (int fd), (fd))
DYING(int, ftruncate, (int fd, off_t length), (fd, length))
DYING(int, renameat, (int from_dir, const char *from, int to_dir, const char *to), (from_dir, from, to_dir, to))
DYING(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
DYING(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode))

static void test_killed_anywhere_it_is_either(void **state)
{
    (void)state;
    unsigned old = 0, new = 0;
    for (unsigned long at = 0;; at++) {
        int status;
        make_old();
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct io_table dying = io_table_system;
            dying.openat = dying_openat;
            dying.close = dying_close;
            dying.pwrite = dying_pwrite;
            dying.fsync = dying_fsync;
            dying.fdatasync = dying_fdatasync;
            dying.ftruncate = dying_ftruncate;
            dying.renameat = dying_renameat;
            dying.unlinkat = dying_unlinkat;
            dying.mkdirat = dying_mkdirat;
            calls_left = at;
            io = &dying;
            _exit(replace(NULL) < 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
        const bool is_new = check_either();
        old += !is_new;
        new += is_new;
        struct error error = {.text = ""};
        if (!is_new && replace(&error) < 0) // given again, it works
            fail_msg("%s", error.text);
        assert_true(check_either());
        forget();
        if (WEXITSTATUS(status) == 0)
            break;
    }
    assert_true(old > 20 && new > 5);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, machines_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_replaced_at_once),
        TEST(test_a_folder_in_it_is_refused),
        TEST(test_failures_leave_either),
        TEST(test_killed_anywhere_it_is_either),
    };
    return cmocka_run_group_tests_name("client_instance_replace", tests, NULL, NULL);
}
