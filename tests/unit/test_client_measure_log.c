// The log of a measured machine: its chain, what may stand where, and that any change is seen.
#include "base/io.h"
#include "client/hash_set.h"
#include "client/measure_log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define HASH_2 "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KEY "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" // RFC 8032, test 1

static const struct {
    enum measure_key key;
    const char *value;
} whole[] = {{MEASURE_VERSION, "1"},
             {MEASURE_BEGAN, "2026-11-23T10:00:00Z"},
             {MEASURE_MACHINE, "zoo"},
             {MEASURE_ENGINE, "qemu"},
             {MEASURE_MEMORY, "536870912"},
             {MEASURE_CPUS, "2"},
             {MEASURE_NETWORK, "none"},
             {MEASURE_OVERLAY, "new"},
             {MEASURE_DISK, "rondo-seed"},
             {MEASURE_IMAGE, "zoo 1.0"},
             {MEASURE_CATALOG, KEY " 7 " HASH},
             {MEASURE_MANIFEST, HASH},
             {MEASURE_CMDLINE, "console=ttyS0 quiet"},
             {MEASURE_CHUNK, "kernel page " HASH},
             {MEASURE_CHUNK, "kernel data " HASH_2},
             {MEASURE_LOST, "the rest"},
             {MEASURE_END, "2026-11-23T10:00:09Z 0 zoo is off"}};
#define LINES (sizeof(whole) / sizeof(whole[0]))

// The log of all of `whole`, as text; freed by the caller.
static char *write_whole(size_t *ret_size)
{
    struct measure_log log = MEASURE_LOG_NONE;
    char *text = calloc(1, 8192);
    assert_non_null(text);
    log.fd = memfd_create("log", MFD_CLOEXEC);
    for (size_t i = 0; i < LINES; i++) {
        assert_int_equal(measure_log_add(&log, whole[i].key, "%s", whole[i].value), 0);
        if (i % 3 == 0)
            assert_int_equal(measure_log_flush(&log), 0);
    }
    assert_int_equal(measure_log_flush(&log), 0);
    ssize_t n = io_read_some(log.fd, text, 8191, 0);
    assert_int_equal(n, log.size);
    *ret_size = (size_t)n;
    close(log.fd);
    buf_free(&log.pending);
    return text;
}

// 0, or the number of the line that is refused.
static unsigned read_all(const char *text, struct measure_reader *r, struct error *error)
{
    *r = (struct measure_reader)MEASURE_READER_START;
    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        struct measure_line line;
        int code = measure_read_line(r, text, (size_t)(end - text), &line, error);
        if (code < 0) {
            assert_int_equal(code, -EBADMSG);
            return r->line + 1;
        }
    }
    return 0;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    size_t n;
    struct measure_reader r;
    struct error error;
    char *text = write_whole(&n);
    assert_int_equal(read_all(text, &r, &error), 0);
    assert_int_equal(r.line, LINES);
    assert_true(r.ended && r.lost);
    assert_int_equal(measure_read_end(&r, NULL), 0);
    // The chain's first link, computed by another program:
    // { head -c 32 /dev/zero; printf 'rondo-measured 1'; } | sha256sum
    assert_memory_equal(text, "983e4d32a680f71765a8a2ee3eec0e05dc1437336429367474e9fd742cd65ce6", 64);
    free(text);
}

static void every_changed_byte_is_seen_in_its_line(void **state)
{
    (void)state;
    size_t n;
    struct measure_reader r;
    struct error error;
    char *text = write_whole(&n);
    unsigned line = 1;
    for (size_t i = 0; i < n; i++) {
        const char was = text[i];
        if (was == '\n') {
            line++;
            continue;
        }
        text[i] = was == 'a' ? 'b' : 'a';
        assert_int_equal(read_all(text, &r, &error), line);
        assert_non_null(strstr(error.text, "line "));
        text[i] = was;
    }
    free(text);
}

static void lines_left_out_or_put_in_are_seen(void **state)
{
    (void)state;
    size_t n;
    struct measure_reader r;
    struct error error;
    char *text = write_whole(&n), changed[8192];
    unsigned line = 1;
    for (char *at = text, *end; (end = strchr(at, '\n')) != NULL; at = end + 1, line++) {
        const int before = (int)(at - text), length = (int)(end + 1 - at);
        snprintf(changed, sizeof(changed), "%.*s%s", before, text, end + 1);
        assert_int_equal(read_all(changed, &r, &error), line == LINES ? 0 : line);
        snprintf(changed, sizeof(changed), "%.*s%.*s%s", before + length, text, length, at, end + 1);
        assert_int_equal(read_all(changed, &r, &error), line + 1);
    }
    free(text);
}

static void a_beginning_is_right_but_not_whole(void **state)
{
    (void)state;
    size_t n;
    struct measure_reader r;
    struct error error;
    char *text = write_whole(&n);
    unsigned line = 0;
    for (char *end = text; (end = strchr(end, '\n')) != NULL; end++) {
        const char behind = end[1];
        end[1] = '\0';
        assert_int_equal(read_all(text, &r, &error), 0);
        assert_int_equal(r.line, ++line);
        assert_int_equal(r.ended, line == LINES);
        assert_int_equal(measure_read_end(&r, &error), line < 12 ? -EBADMSG : 0); // the manifest's is the 12th
        end[1] = behind;
    }
    free(text);
}

static void lines_without_a_hash_are_refused(void **state)
{
    (void)state;
    static const char *const begins[] = {"", "rondo-measured 1", HASH, (HASH "x1"), "Z123456789abcdef"};
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        struct measure_reader r = MEASURE_READER_START;
        struct measure_line line;
        struct error error = {.text = ""};
        char text[MEASURE_LINE_MAXIMUM + 2];
        memset(text, 'x', sizeof(text));
        memcpy(text, begins[i], strlen(begins[i]));
        assert_int_equal(measure_read_line(&r, text, strlen(begins[i]), &line, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "line 1 does not begin with a hash: this is no log"));
        r.line = 1; // as if one had been read
        assert_int_equal(measure_read_line(&r, text, 100, &line, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "line 2 does not begin with a hash: it was changed or put in"));
        text[64] = ' ';
        assert_int_equal(measure_read_line(&r, text, MEASURE_LINE_MAXIMUM + 1, &line, &error), -EBADMSG);
    }
}

// A right hash makes no right line.
static void what_is_hashed_is_looked_at(void **state)
{
    (void)state;
    struct measure_reader r = MEASURE_READER_START;
    struct measure_line line;
    struct error error = {.text = ""};
    unsigned char bytes[SHA256_SIZE + 16] = {0};
    char hex[SHA256_HEX_SIZE], text[128];
    memcpy(bytes, r.last.bytes, SHA256_SIZE);
    memcpy(bytes + SHA256_SIZE, "rondo-measured 2", 16); // NOLINT(bugprone-not-null-terminated-result): no string
    const struct sha256 hash = sha256_of(bytes, sizeof(bytes)), before = r.last;
    int n = snprintf(text, sizeof(text), "%s rondo-measured 2", sha256_to_hex(&hash, hex));
    assert_int_equal(measure_read_line(&r, text, (size_t)n, &line, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "malformed"));
    assert_true(sha256_equal(&r.last, &before) && r.line == 0);
}

static int read_text(struct measure_reader *r, const char *text, struct error *error)
{
    struct measure_line line;
    return measure_read_text(r, slice_of(text), &line, error);
}

static void what_may_not_stand_there_is_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned behind; // so many lines of `whole`
        const char *text, *message;
    } cases[] = {
        {0, "", "no log"},
        {0, "rondo-measured 2", "malformed"},
        {0, "rondo-manifest 1", "no log"},
        {0, "began 2026-11-23T10:00:00Z", "no log"},
        {1, "rondo-measured 1", "one too many"},
        {1, "machine zoo", "missing"},
        {1, "began now", "malformed"},
        {2, "machine ../zoo", "malformed"},
        {3, "engine xen", "malformed"},
        {4, "memory 0", "malformed"},
        {4, "memory 1G", "malformed"},
        {9, "image zoo", "malformed"},
        {9, "image Zoo 1", "malformed"},
        {9, "image zoo 1 2", "malformed"},
        {10, "catalog " KEY " 7", "malformed"},
        {10, "catalog x 7 " HASH, "malformed"},
        {10, "catalog " KEY " 7 " HASH " 8", "malformed"},
        {10, "catalog " KEY " seven " HASH, "malformed"},
        {11, "manifest 12", "malformed"},
        {13, "manifest " HASH, "may not stand"},
        {13, "chunk disk data", "malformed"},
        {13, "chunk disk zero " HASH, "malformed"},
        {13, "chunk manifest data " HASH, "malformed"},
        {13, "chunk disk data " HASH " ", "malformed"},
        {13, "chunk disk data \x1b[2J", "not plain text"},
        {13, "more", "may not stand"},
        {15, "lost ", "malformed"},
        {16, "chunk disk data " HASH, "may not stand"},
        {16, "end 2026-11-23T10:00:09Z 0", "malformed"},
        {16, "end later 0 off", "malformed"},
        {16, "end 2026-11-23T10:00:09Z 256 off", "malformed"},
        {17, "end 2026-11-23T10:00:09Z 0 off", "one too many"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct measure_reader r = MEASURE_READER_START;
        struct error error = {.text = ""};
        size_t n;
        char *text = write_whole(&n), *at = text;
        for (unsigned line = 0; line < cases[i].behind; line++) {
            char *end = strchr(at, '\n');
            *end = '\0';
            assert_int_equal(read_text(&r, at + 65, &error), 0);
            at = end + 1;
        }
        assert_int_equal(read_text(&r, cases[i].text, &error), -EBADMSG);
        if (!strstr(error.text, cases[i].message))
            fail_msg("\"%s\" is refused with \"%s\"", cases[i].text, error.text);
        assert_int_equal(r.line, cases[i].behind);
        free(text);
    }
}

static void the_writer_refuses_what_no_reader_takes(void **state)
{
    (void)state;
    struct measure_log log = MEASURE_LOG_NONE;
    char *text = malloc(MEASURE_LINE_MAXIMUM + 1);
    assert_non_null(text);
    memset(text, 'x', MEASURE_LINE_MAXIMUM);
    text[MEASURE_LINE_MAXIMUM] = '\0';
    assert_int_equal(measure_log_add(&log, MEASURE_CMDLINE, "a\nend"), -EINVAL);
    assert_int_equal(measure_log_add(&log, MEASURE_CMDLINE, "\x1b[2J"), -EINVAL);
    assert_int_equal(measure_log_add(&log, MEASURE_CMDLINE, "%s", text), -E2BIG);
    assert_int_equal(log.pending.size, 0);
    assert_true(sha256_is_zero(&log.last));
    free(text);
}

static void a_failed_write_is_told(void **state)
{
    (void)state;
    struct measure_log nothing = MEASURE_LOG_NONE;
    assert_int_equal(measure_log_flush(&nothing), 0); // without a call: there is no file
    for (unsigned call = 1; call <= 2; call++) {      // the write, and the sync
        struct measure_log log = MEASURE_LOG_NONE;
        log.fd = memfd_create("log", MFD_CLOEXEC);
        assert_int_equal(measure_log_add(&log, MEASURE_VERSION, "1"), 0);
        io_fault_start(call, ENOSPC, false);
        assert_int_equal(measure_log_flush(&log), -ENOSPC);
        assert_int_equal(io_fault_stop(), call);
        close(log.fd);
        buf_free(&log.pending);
    }
}

static void many_lines_are_written_before_they_are_flushed(void **state)
{
    (void)state;
    struct measure_log log = MEASURE_LOG_NONE;
    log.fd = memfd_create("log", MFD_CLOEXEC);
    for (unsigned i = 0; i < 20000; i++)
        assert_int_equal(measure_log_add(&log, MEASURE_CHUNK, "disk data " HASH), 0);
    assert_true(log.size > 0 && log.pending.size <= log.pending.maximum);
    const struct sha256 last = log.last;
    int r;
    io_fault_start(1, ENOSPC, true);
    while ((r = measure_log_add(&log, MEASURE_CHUNK, "disk data " HASH)) == 0)
        assert_true(log.pending.size <= log.pending.maximum);
    io_fault_stop();
    assert_int_equal(r, -ENOSPC);
    assert_false(sha256_equal(&log.last, &last)); // those before it were taken
    assert_int_equal(measure_log_flush(&log), 0);
    assert_int_equal(log.size % (65 + sizeof("chunk disk data " HASH)), 0); // whole lines
    close(log.fd);
    buf_free(&log.pending);
}

static void a_set_numbers_each_hash_once(void **state)
{
    (void)state;
    struct hash_set s = {.maximum = 5000};
    struct sha256 h;
    memset(&h, 0, sizeof(h));
    assert_int_equal(hash_set_find(&s, &h), -1);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 5000; i++) {
            memcpy(h.bytes, &i, sizeof(i)); // alike but for a few bits
            assert_int_equal(hash_set_add(&s, &h), i);
        }
    assert_int_equal(s.count, 5000);
    for (unsigned i = 0; i < 5000; i++) {
        memcpy(h.bytes, &i, sizeof(i));
        assert_int_equal(hash_set_find(&s, &h), i);
    }
    h.bytes[31] = 1;
    assert_int_equal(hash_set_find(&s, &h), -1);
    assert_int_equal(hash_set_add(&s, &h), -E2BIG);
    hash_set_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(every_changed_byte_is_seen_in_its_line),
        cmocka_unit_test(lines_left_out_or_put_in_are_seen),
        cmocka_unit_test(a_beginning_is_right_but_not_whole),
        cmocka_unit_test(what_may_not_stand_there_is_refused),
        cmocka_unit_test(lines_without_a_hash_are_refused),
        cmocka_unit_test(what_is_hashed_is_looked_at),
        cmocka_unit_test(the_writer_refuses_what_no_reader_takes),
        cmocka_unit_test(a_failed_write_is_told),
        cmocka_unit_test(many_lines_are_written_before_they_are_flushed),
        cmocka_unit_test(a_set_numbers_each_hash_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
