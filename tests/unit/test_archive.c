// blockstore/archive.h and archive_read.h: what is written is read; and invariants 1 and 3: nothing else is, and each
// refusal says why.
#include "blockstore/archive_read.h"

#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/banned.h"

#define HASH_DIGITS "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static unsigned char block[ARCHIVE_BLOCK];
static struct error error;

static void header(enum archive_kind kind, uint32_t size)
{
    struct archive_entry e = {.kind = kind, .size = size};
    if (kind == ARCHIVE_OBJECT)
        assert_true(sha256_from_hex(HASH_DIGITS, 64, &e.object));
    e.root = kind == ARCHIVE_ROOT ? ARCHIVE_ROOTS_MAXIMUM : 0;
    archive_format_header(&e, block);
}

static void assert_refused(const char *why)
{
    struct archive_entry e;
    error.text[0] = '\0';
    assert_int_equal(archive_parse_header(block, &e, &error), -EBADMSG);
    assert_non_null(strstr(error.text, why));
}

static void headers_come_back(void **state)
{
    (void)state;
    for (enum archive_kind kind = ARCHIVE_DESCRIPTION; kind <= ARCHIVE_OBJECT; kind++) {
        struct archive_entry e;
        header(kind, ARCHIVE_ENTRY_MAXIMUM);
        assert_int_equal(archive_parse_header(block, &e, &error), 1);
        assert_int_equal(e.kind, kind);
        assert_int_equal(e.size, ARCHIVE_ENTRY_MAXIMUM);
        assert_int_equal(sha256_is_zero(&e.object), kind != ARCHIVE_OBJECT);
        assert_int_equal(e.root, kind == ARCHIVE_ROOT ? ARCHIVE_ROOTS_MAXIMUM : 0);
    }
}

// Invariant 1: each byte that could mean anything else is in the comparison.
static void no_other_header_is_taken(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARCHIVE_BLOCK; i++) {
        struct archive_entry e;
        header(ARCHIVE_OBJECT, 4096);
        block[i] ^= 1;
        assert_true(archive_parse_header(block, &e, &error) == -EBADMSG);
    }
    header(ARCHIVE_OBJECT, 4096);
    block[8] = 'f'; // not the folder of its hash
    assert_refused("(\"objects/f1/" HASH_DIGITS "\") is not as rondo export writes it");
    header(ARCHIVE_OBJECT, 4096);
    block[20] = 'X';
    assert_refused("is not as rondo export writes it");
    static const char *const roots[] = {"1", "02", "257", "2x", "2/", "99999999999999999999", ""};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        header(ARCHIVE_ROOT, 4096);
        memset(block + strlen("roots/"), 0, 3);
        memcpy(block + strlen("roots/"), roots[i], strlen(roots[i]));
        assert_refused("is not as rondo export writes it");
    }
    header(ARCHIVE_CATALOG, 0);
    assert_refused("an entry of 0 bytes is in it");
    header(ARCHIVE_CATALOG, ARCHIVE_ENTRY_MAXIMUM + 1);
    assert_refused("an entry of 67108865 bytes is in it");
    header(ARCHIVE_CATALOG, 7);
    block[0] = '\033';
    block[1] = '[';
    assert_refused("(\"\\x1b[talog.rondo\")");
}

static const char description[] =
    "rondo-archive 1\nsite http://a/\nname zoo\nversion 1.0\nmanifest " HASH_DIGITS "\nobjects 3\nbytes 4096\n";

static void the_description_comes_back(void **state)
{
    struct archive_description d;
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ARCHIVE_DESCRIPTION_MAXIMUM);
    (void)state;
    assert_int_equal(archive_parse_description(description, sizeof description - 1, &d, &error), 0);
    assert_string_equal(d.site, "http://a/");
    assert_true(d.objects == 3 && d.bytes == 4096);
    assert_int_equal(archive_format_description(&d, &text), 0);
    assert_string_equal(buf_text(&text), description);
}

static void no_other_description_is_taken(void **state)
{
    static const struct {
        const char *old, *new;
    } changes[] = {
        {"rondo-archive 1\n", ""},
        {"archive 1", "archive 2"},
        {"site", "sight"},
        {"http://a/", ""},
        {"name zoo", "nome zoo"},
        {"zoo", "Zoo"},
        {"version 1", "version\t1"},
        {"1.0", "-1"},
        {"manifest", "manifesto"},
        {HASH_DIGITS, "0123"},
        {"objects 3", "objects 03"},
        {"objects 3", "object 3"},
        {"bytes 4096", "bytes -1"},
        {"bytes 4096", "byte 4096"},
        {"4096\n", "4096\nmore 1\n"},
        {"4096\n", "4096"},
    };
    struct archive_description d = {.objects = 77};
    char text[2048];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        const char *at = strstr(description, changes[i].old);
        const size_t n = strlen(changes[i].old);
        assert_non_null(at);
        int length =
            snprintf(text, sizeof text, "%.*s%s%s", (int)(at - description), description, changes[i].new, at + n);
        assert_int_equal(archive_parse_description(text, (size_t)length, &d, &error), -EBADMSG);
    }
    memset(text, 'x', sizeof text);
    text[snprintf(text, sizeof text, "rondo-archive 1\nsite ")] = 'x';
    text[21 + 1024] = '\n'; // one byte too many
    assert_int_equal(archive_parse_description(text, sizeof text, &d, &error), -EBADMSG);
    unsigned char *large = calloc(1, ARCHIVE_DESCRIPTION_MAXIMUM + 1);
    assert_int_equal(archive_parse_description(large, ARCHIVE_DESCRIPTION_MAXIMUM + 1, &d, &error), -EBADMSG);
    free(large);
    assert_int_equal(d.objects, 77);
}

// --- a whole archive: a header, 700 bytes, 324 zeros, the end --------------------------------------------------------

#define CONTENT 700u
#define PADDED 1024u
#define WHOLE (ARCHIVE_BLOCK + PADDED + ARCHIVE_END_SIZE)

static unsigned char whole[WHOLE + 1];

static struct archive_reader reader_over(size_t n)
{
    struct archive_reader a = {.fd = memfd_create("archive", MFD_CLOEXEC)};
    assert_true(a.fd >= 0);
    assert_int_equal(pwrite(a.fd, whole, n, 0), (ssize_t)n);
    return a;
}

static int make_whole(void **state)
{
    (void)state;
    memset(whole, 0, sizeof whole);
    header(ARCHIVE_DESCRIPTION, CONTENT);
    memcpy(whole, block, ARCHIVE_BLOCK);
    memset(whole + ARCHIVE_BLOCK, 'x', CONTENT);
    error.text[0] = '\0';
    return 0;
}

// Reads to the end; the result of what came last.
static int read_whole(struct archive_reader *a)
{
    struct archive_entry e;
    unsigned char piece[300];
    int r;
    while ((r = archive_next(a, &e, &error)) == 1) {
        ssize_t n;
        while ((n = archive_read(a, piece, sizeof piece, &error)) > 0)
            ;
        if (n < 0) {
            r = (int)n;
            break;
        }
    }
    close(a->fd);
    return r;
}

static void what_is_whole_is_read_to_its_end(void **state)
{
    struct archive_reader a = reader_over(WHOLE);
    (void)state;
    assert_int_equal(read_whole(&a), 0);
    assert_int_equal(a.at, WHOLE);
}

static void it_may_end_nowhere_else(void **state)
{
    (void)state;
    for (size_t n = 0; n < WHOLE; n += n < ARCHIVE_BLOCK + CONTENT ? 70 : 31) {
        struct archive_reader a = reader_over(n);
        assert_int_equal(read_whole(&a), -EBADMSG);
        assert_non_null(strstr(error.text, "cut short"));
    }
    struct archive_reader a = reader_over(WHOLE + 1);
    assert_int_equal(read_whole(&a), -EBADMSG);
    assert_non_null(strstr(error.text, "something behind its end, at byte 2560"));
}

static void only_zeros_fill_it_up(void **state)
{
    static const size_t places[] = {ARCHIVE_BLOCK + CONTENT, ARCHIVE_BLOCK + PADDED - 1, WHOLE - 1};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        make_whole(state);
        whole[places[i]] = 1;
        struct archive_reader a = reader_over(WHOLE);
        assert_int_equal(read_whole(&a), -EBADMSG);
        assert_non_null(strstr(error.text, "something where zeros belong"));
    }
}

static void a_small_entry_is_read_at_once(void **state)
{
    struct archive_entry e;
    void *bytes CLEANUP_FREE = NULL;
    (void)state;
    struct archive_reader a = reader_over(WHOLE);
    assert_int_equal(archive_next(&a, &e, &error), 1);
    assert_int_equal(archive_read_all(&a, &e, CONTENT - 1, &bytes, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "has 700 bytes, where at most 699"));
    io_fault_start(1, ENOMEM, false);
    assert_int_equal(archive_read_all(&a, &e, CONTENT, &bytes, &error), -ENOMEM);
    io_fault_stop();
    assert_int_equal(archive_read_all(&a, &e, CONTENT, &bytes, &error), 0);
    assert_memory_equal(bytes, whole + ARCHIVE_BLOCK, CONTENT);
    close(a.fd);

    void *none = NULL;
    a = reader_over(ARCHIVE_BLOCK + 5);
    assert_int_equal(archive_next(&a, &e, &error), 1);
    assert_int_equal(archive_read_all(&a, &e, CONTENT, &none, &error), -EBADMSG);
    assert_null(none);
    close(a.fd);
}

static volatile sig_atomic_t signals;

static bool cancelled(void)
{
    return signals > 1;
}

static void count_signal(int signal)
{
    (void)signal;
    signals++;
}

static void reading_fails_and_is_cancelled(void **state)
{
    struct archive_entry e;
    (void)state;
    struct archive_reader a = {.fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), .cancelled = cancelled};
    assert_int_equal(archive_next(&a, &e, &error), -EISDIR);
    assert_non_null(strstr(error.text, "it cannot be read: "));
    close(a.fd);

    // A signal wakes the wait for a pipe that says nothing: the first goes on, the second is the user's.
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    const struct sigaction action = {.sa_handler = count_signal};
    const struct itimerval soon = {.it_value = {.tv_usec = 1000}, .it_interval = {.tv_usec = 1000}};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    a = (struct archive_reader){.fd = ends[0], .cancelled = cancelled};
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    assert_int_equal(archive_next(&a, &e, &error), -ECANCELED);
    assert_int_equal(setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {0}}, NULL), 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_come_back),
        cmocka_unit_test(no_other_header_is_taken),
        cmocka_unit_test(the_description_comes_back),
        cmocka_unit_test(no_other_description_is_taken),
        cmocka_unit_test_setup(what_is_whole_is_read_to_its_end, make_whole),
        cmocka_unit_test_setup(it_may_end_nowhere_else, make_whole),
        cmocka_unit_test_setup(only_zeros_fill_it_up, make_whole),
        cmocka_unit_test_setup(a_small_entry_is_read_at_once, make_whole),
        cmocka_unit_test(reading_fails_and_is_cancelled),
    };
    return cmocka_run_group_tests_name("archive", tests, NULL, NULL);
}
