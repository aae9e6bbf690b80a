// A directory as a source: the same answers as HTTP, and no way out of it.

#include "tests/unit/transport_fixture.h"

#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/banned.h"

struct folder {
    char path[64];
    int fd;
    struct transport *transport;
    struct source *source;
};

static int open_folder(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    snprintf(f->path, sizeof(f->path), "/tmp/test_transport.XXXXXX");
    assert_non_null(mkdtemp(f->path));
    assert_int_equal(chmod(f->path, 0755), 0);
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(io_make_folders(f->fd, "objects/ab", 0755), 0);
    assert_int_equal(io_replace_file(f->fd, "objects/ab/abc", file, FILE_SIZE, 0644), 0);
    assert_int_equal(transport_new(&f->transport, NULL), 0);
    assert_int_equal(source_open(f->transport, f->path, &f->source, NULL), 0);
    *state = f;
    return 0;
}

static int close_folder(void **state)
{
    struct folder *f = *state;
    static const char *const names[] = {"objects/ab/inside", "objects/ab/abc", "leak", "leak2", "pipe"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlinkat(f->fd, names[i], 0); // not every test makes all of them
    unlinkat(f->fd, "objects/ab", AT_REMOVEDIR);
    unlinkat(f->fd, "objects", AT_REMOVEDIR);
    int r = rmdir(f->path); // fails if anything was left
    close(f->fd);
    source_close(f->source);
    transport_free(f->transport);
    free(f);
    return r;
}

static void ranges_and_whole_files_are_read(void **state)
{
    struct folder *f = *state;
    struct got g;
    assert_false(source_is_remote(f->source));
    struct source_request r = request_of(&g, 4096, 100000);
    assert_int_equal(fetch(f->source, &r), 0);
    assert_int_equal(g.begin, 4096);
    assert_int_equal(g.bytes, 100000);
    assert_int_equal(r.received, 100000);
    assert_false(r.whole);
    r = request_of(&g, 0, 0);
    assert_int_equal(fetch(f->source, &r), 0);
    assert_int_equal(g.bytes, FILE_SIZE);
    struct transport_counts counts;
    transport_count(f->transport, &counts);
    assert_int_equal(counts.requests + counts.bytes + counts.failures, 0); // nothing went over a network
}

static void unchanged_file_is_not_read_again(void **state)
{
    struct folder *f = *state;
    struct got g;
    char etag[128];
    struct source_request r = request_of(&g, 0, 0);
    assert_int_equal(fetch(f->source, &r), 0);
    snprintf(etag, sizeof(etag), "%s", r.etag);
    r = request_of(&g, 0, 0);
    r.if_etag = etag;
    assert_int_equal(fetch(f->source, &r), 0);
    assert_true(r.not_modified);
    assert_int_equal(g.bytes, 0);
    assert_int_equal(io_replace_file(f->fd, "objects/ab/abc", file, FILE_SIZE, 0644), 0);
    r = request_of(&g, 0, 0);
    r.if_etag = etag;
    assert_int_equal(fetch(f->source, &r), 0);
    assert_false(r.not_modified);
    assert_int_equal(g.bytes, FILE_SIZE);
}

static void sizes_are_checked(void **state)
{
    struct folder *f = *state;
    struct got g;
    struct source_request r = request_of(&g, FILE_SIZE - 10, 20);
    assert_int_equal(fetch(f->source, &r), -EBADMSG);
    r = request_of(&g, 0, 0);
    r.maximum = FILE_SIZE - 1;
    assert_int_equal(fetch(f->source, &r), -EBADMSG);
    assert_int_equal(g.bytes, 0);
    assert_int_equal(io_replace_file(f->fd, "objects/ab/abc", "", 0, 0644), 0);
    r = request_of(&g, 0, 0);
    assert_int_equal(fetch(f->source, &r), 0);
    assert_int_equal(g.bytes, 0);
}

static void nothing_but_files_below_it_is_read(void **state)
{
    struct folder *f = *state;
    assert_int_equal(symlinkat("/etc/passwd", f->fd, "leak"), 0);
    assert_int_equal(symlinkat("../../etc/passwd", f->fd, "leak2"), 0);
    assert_int_equal(symlinkat("abc", f->fd, "objects/ab/inside"), 0);
    assert_int_equal(mkfifoat(f->fd, "pipe", 0644), 0);
    static const struct {
        const char *path;
        int result;
    } table[] = {{"missing", -ENOENT},         {"objects/ab/abc/x", -ENOENT},
                 {"leak", -EBADMSG},           {"leak2", -EBADMSG},
                 {"objects", -EBADMSG},        {"pipe", -EBADMSG},
                 {"../passwd", -EINVAL},       {"/etc/passwd", -EINVAL},
                 {"objects/../leak", -EINVAL}, {"objects/ab/abc?x=y", -ENOENT},
                 {"objects/ab/inside", 0}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct got g;
        struct source_request r = request_of(&g, 0, 0);
        r.path = table[i].path;
        assert_int_equal(fetch(f->source, &r), table[i].result);
        assert_int_equal(g.bytes, table[i].result ? 0 : FILE_SIZE);
    }
}

static void file_that_may_not_be_read_is_told_apart(void **state)
{
    struct folder *f = *state;
    assert_int_equal(fchmodat(f->fd, "objects/ab/abc", 0, 0), 0);
    if (geteuid() == 0 && seteuid(65534) < 0) {
        print_message("# not tested: there is no other user\n");
        return;
    }
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    source_start(f->source, &r);
    source_wait(f->source, &r);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(r.result, -EACCES);
}

static void sink_can_end_the_reading(void **state)
{
    struct folder *f = *state;
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    g.refuse_with = -ENOSPC;
    assert_int_equal(fetch(f->source, &r), -ENOSPC);
}

// Every call that can fail does so once; a medium that cannot be read is as good as one that is not there.
static void every_fault_is_reported(void **state)
{
    struct folder *f = *state;
    struct got g;
    struct source_request r = request_of(&g, 0, 0);
    io_fault_start(0, EIO, false);
    source_start(f->source, &r);
    unsigned long calls = io_fault_stop();
    assert_true(calls >= 3);
    for (unsigned long i = 1; i <= calls; i++) {
        r = request_of(&g, 0, 0);
        io_fault_start(i, EIO, false);
        source_start(f->source, &r);
        io_fault_stop();
        source_wait(f->source, &r);
        if (r.result != -ENETUNREACH && r.result != -ENOMEM)
            fail_msg("fault %lu of %lu: %d", i, calls, r.result);
        assert_int_equal(g.bytes, r.result ? 0 : FILE_SIZE);
    }
}

int main(void)
{
    set_up();
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, open_folder, close_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(ranges_and_whole_files_are_read),
        IN_FOLDER(unchanged_file_is_not_read_again),
        IN_FOLDER(sizes_are_checked),
        IN_FOLDER(nothing_but_files_below_it_is_read),
        IN_FOLDER(file_that_may_not_be_read_is_told_apart),
        IN_FOLDER(sink_can_end_the_reading),
        IN_FOLDER(every_fault_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
