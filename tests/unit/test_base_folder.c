// base/folder.h: every entry once, ended by what the caller's function returns; base/thread.h: stacks, and detached
// threads.
#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "base/thread.h"
#include <semaphore.h>

#include "base/banned.h"

#define FILES 200

struct seen {
    bool files[FILES];
    unsigned count, end_after;
};

static int note(void *context, int folder, const char *entry)
{
    struct seen *s = context;
    long n = strtol(entry, NULL, 10);
    assert_in_range(n, 0, FILES - 1);
    assert_false(s->files[n]);
    s->files[n] = true;
    assert_int_equal(unlinkat(folder, entry, 0), 0); // the walk is not disturbed
    return ++s->count == s->end_after ? -ECANCELED : 0;
}

static void test_walk(void **state)
{
    char path[PATH_TEXT_SIZE], name[16];
    const char *parent = getenv("TMPDIR");
    struct seen seen = {.end_after = 50};
    (void)state;
    assert_int_equal(path_format(path, sizeof path, "%s/rondo-folder.XXXXXX", parent ? parent : "/tmp"), 0);
    assert_non_null(mkdtemp(path));
    int dir CLEANUP_CLOSE = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    assert_int_equal(mkdirat(dir, "in", 0700), 0);
    for (unsigned i = 0; i < FILES; i++) {
        assert_int_equal(path_format(name, sizeof name, "in/%u", i), 0);
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    assert_int_equal(folder_walk(dir, "in", note, &seen), -ECANCELED);
    assert_int_equal(seen.count, 50);
    assert_int_equal(folder_walk(dir, "in", note, &seen), 0);
    assert_int_equal(seen.count, FILES);
    assert_int_equal(folder_walk(dir, "in", note, &seen), 0); // nothing is left
    assert_int_equal(folder_walk(dir, "nothing", note, &seen), -ENOENT);
    assert_int_equal(symlinkat("in", dir, "link"), 0);
    assert_true(folder_walk(dir, "link", note, &seen) < 0);
    assert_int_equal(seen.count, FILES);
    assert_int_equal(unlinkat(dir, "link", 0), 0);
    assert_int_equal(unlinkat(dir, "in", AT_REMOVEDIR), 0);
    assert_int_equal(rmdir(path), 0);
}

static void *post(void *context)
{
    sem_post(context);
    return context;
}

static void test_threads(void **state)
{
    sem_t ran;
    pthread_t thread;
    void *result = NULL;
    (void)state;
    assert_int_equal(sem_init(&ran, 0, 0), 0);
    assert_int_equal(thread_start(&thread, 256u << 10, post, &ran), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &ran);
    assert_int_equal(sem_wait(&ran), 0);
    assert_int_equal(thread_start(NULL, 256u << 10, post, &ran), 0); // detached
    assert_int_equal(sem_wait(&ran), 0);
    assert_int_equal(thread_start(&thread, 1, post, &ran), -EINVAL); // less than a thread can have
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
