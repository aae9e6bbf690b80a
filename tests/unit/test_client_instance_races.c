// client/instance.h: what happens at once, and what is left over. (What happens one after another is in
// test_client_instance.c.)
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "client/instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

static char folder[PATH_TEXT_SIZE]; // of this test, with home/ and runtime/ in it

static int make_folder(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    char home[PATH_TEXT_SIZE + 16];
    snprintf(folder, sizeof(folder), "%s/instance.XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(home, sizeof(home), "%s/home", folder);
    setenv("RONDO_HOME", home, 1);
    snprintf(home, sizeof(home), "%s/runtime", folder);
    setenv("RONDO_RUNTIME", home, 1);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execlp("rm", "rm", "-rf", "--", folder, (char *)NULL);
        _exit(127);
    }
    return waitpid(child, NULL, 0) == child ? 0 : -1;
}

static struct instance_settings some_settings(void)
{
    struct instance_settings s = {.disk_size = 1u << 20,
                                  .memory = 64u << 20,
                                  .cpus = 2,
                                  .image = "tiny",
                                  .version = "1.0",
                                  .site = "http://127.0.0.1/os/",
                                  .asked = "latest",
                                  .source_count = 2,
                                  .sources = {"http://127.0.0.1/os/", "/srv/a mirror/"}};
    memset(s.manifest.bytes, 0xa5, sizeof(s.manifest.bytes));
    return s;
}

static void create(const char *name, struct instance *ret)
{
    struct instance_settings s = some_settings();
    struct error error = {.text = ""};
    if (instance_create(name, &s, NULL, ret, &error) < 0)
        fail_msg("%s", error.text);
}

// The entries of instances/, in one line.
static const char *entries(void)
{
    static char text[4096];
    char path[PATH_TEXT_SIZE + 32];
    struct dirent **list;
    text[0] = '\0';
    snprintf(path, sizeof(path), "%s/home/instances", folder);
    int count = scandir(path, &list, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        size_t n = strlen(text);
        if (strcmp(list[i]->d_name, ".") != 0 && strcmp(list[i]->d_name, "..") != 0)
            snprintf(text + n, sizeof(text) - n, "%s%.16s", n ? " " : "", list[i]->d_name);
        free(list[i]);
    }
    if (count >= 0)
        free(list);
    return text;
}

static int append_name(void *context, struct instance *i, const struct error *damage)
{
    struct buf *b = context;
    return buf_append_format(b, "%s%s%s", b->size ? " " : "", i->name, damage ? "!" : "");
}

// What a listing shows, in one line; damaged ones with "!".
static const char *listed(void)
{
    static char text[4096];
    struct error error = {.text = ""};
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(sizeof(text) - 1);
    if (instance_list(append_name, &b, &error) < 0)
        fail_msg("%s", error.text);
    snprintf(text, sizeof(text), "%s", buf_text(&b));
    return text;
}

static void write_file(const char *below, const char *content)
{
    char path[PATH_TEXT_SIZE + 128];
    snprintf(path, sizeof(path), "%s/home/instances/%s", folder, below);
    assert_int_equal(io_replace_file(AT_FDCWD, path, content, strlen(content), 0600), 0);
}

static void make(const char *below)
{
    char path[PATH_TEXT_SIZE + 128];
    snprintf(path, sizeof(path), "%s/home/instances/%s", folder, below);
    assert_int_equal(io_make_folders(AT_FDCWD, path, 0700), 0);
}

// --- what there is -------------------------------------------------------------------------------------------------

static void a_machine_without_settings_is_not_thrown_away(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE;
    create("tiny", &i);
    instance_close(&i);
    assert_int_equal(instance_open("tiny", &i, NULL), 0);
    assert_int_equal(unlinkat(i.folder_fd, "settings", 0), 0);
    assert_string_equal(listed(), "tiny!");
    assert_int_equal(faccessat(i.folder_fd, "disk.data", F_OK, 0), 0);
    instance_close(&i);
}

static void a_folder_in_it_is_not_removed(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE;
    struct error error = {.text = ""};
    create("tiny", &i);
    make("tiny/photos");
    assert_int_equal(instance_remove(&i, &error), -ENOTEMPTY);
    instance_close(&i);
    assert_int_equal(instance_open("tiny", &i, NULL), 0); // nothing was touched
    instance_close(&i);
}

// --- locks ---------------------------------------------------------------------------------------------------------

static void whoever_holds_the_lock_runs_it(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE, other = INSTANCE_NONE;
    struct error error = {.text = ""};
    create("tiny", &i);
    assert_int_equal(instance_open("tiny", &other, NULL), 0);
    assert_true(instance_is_running(&other));
    assert_int_equal(instance_lock(&other, &error), -EBUSY);
    assert_non_null(strstr(error.text, "rondo console tiny"));
    // A process that inherited the lock holds it until it ends, too.
    int pair[2];
    char byte;
    assert_int_equal(pipe(pair), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pair[1]);
        _exit(read(pair[0], &byte, 1) == 0 ? 0 : 1);
    }
    close(pair[0]);
    instance_close(&i);
    assert_true(instance_is_running(&other));
    close(pair[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(instance_is_running(&other));
    assert_int_equal(instance_lock(&other, NULL), 0);
    instance_close(&other);
}

static void looking_never_stands_in_the_way(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE;
    create("tiny", &i);
    instance_close(&i);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct instance mine = INSTANCE_NONE;
        if (instance_open("tiny", &mine, NULL) < 0)
            _exit(1);
        for (;;)
            instance_is_running(&mine);
    }
    int refused = 0;
    for (int n = 0; n < 2000; n++) {
        assert_int_equal(instance_open("tiny", &i, NULL), 0);
        refused += instance_lock(&i, NULL) < 0;
        instance_close(&i);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(refused, 0);
}

static void a_removed_machine_cannot_be_locked(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE, early = INSTANCE_NONE;
    create("tiny", &i);
    assert_int_equal(instance_open("tiny", &early, NULL), 0);
    assert_int_equal(instance_remove(&i, NULL), 0);
    instance_close(&i);
    assert_int_equal(instance_lock(&early, NULL), -ENOENT);
    create("tiny", &i); // another one of that name
    instance_close(&i);
    assert_int_equal(instance_lock(&early, NULL), -ENOENT);
    instance_close(&early);
    assert_string_equal(entries(), "tiny");
}

// --- failures ------------------------------------------------------------------------------------------------------

static void a_failed_removal_leaves_all_or_nothing(void **state)
{
    (void)state;
    for (unsigned long at = 1; at < 40; at++) {
        struct instance i = INSTANCE_NONE;
        create("tiny", &i);
        io_fault_start(at, EIO, false);
        int r = instance_remove(&i, NULL);
        io_fault_stop();
        instance_close(&i);
        int opened = instance_open("tiny", &i, NULL);
        if (opened != 0 && opened != -ENOENT)
            fail_msg("a failure of call %lu left half a machine", at);
        if (r == 0)
            assert_int_equal(opened, -ENOENT);
        if (opened == 0) {
            assert_int_equal(instance_lock(&i, NULL), 0);
            assert_int_equal(instance_remove(&i, NULL), 0);
            instance_close(&i);
        }
        assert_string_equal(listed(), "");
        assert_string_equal(entries(), ""); // the listing has swept what was left
    }
}

// --- leftovers -----------------------------------------------------------------------------------------------------

static void leftovers_are_swept_when_nobody_holds_them(void **state)
{
    (void)state;
    struct instance i = INSTANCE_NONE;
    create("tiny", &i);
    make(".new-1");
    write_file(".new-1/disk.data", "x");
    write_file(".new-1/" IO_TEMPORARY_PREFIX "0", "x");
    make(".gone-2");
    write_file(".gone-2/lock", "");
    char path[PATH_TEXT_SIZE + 128];
    snprintf(path, sizeof(path), "%s/home/instances/.gone-2/lock", folder);
    int held = open(path, O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    assert_int_equal(fcntl(held, F_OFD_SETLK, &lock), 0);
    assert_string_equal(listed(), "tiny");
    assert_string_equal(entries(), ".gone-2 tiny");
    close(held);
    assert_string_equal(listed(), "tiny");
    assert_string_equal(entries(), "tiny");
    instance_close(&i);
}

static void listing_does_not_disturb_making_and_removing(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        for (;;)
            listed();
    for (int n = 0; n < 150; n++) {
        struct instance i = INSTANCE_NONE;
        create("tiny", &i);
        assert_int_equal(instance_remove(&i, NULL), 0);
        instance_close(&i);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    listed();
    assert_string_equal(entries(), "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_machine_without_settings_is_not_thrown_away),
        TEST(a_folder_in_it_is_not_removed),
        TEST(whoever_holds_the_lock_runs_it),
        TEST(looking_never_stands_in_the_way),
        TEST(a_removed_machine_cannot_be_locked),
        TEST(a_failed_removal_leaves_all_or_nothing),
        TEST(leftovers_are_swept_when_nobody_holds_them),
        TEST(listing_does_not_disturb_making_and_removing),
    };
    return cmocka_run_group_tests_name("client/instance, races", tests, NULL, NULL);
}
