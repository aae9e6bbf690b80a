// blockstore/store_ahead.h: what is read ahead, from sequences of reads; blockstore/store_memory.h: the limit of
// memory, from sequences of misses. Both without files, threads or time.
#include "blockstore/store_ahead.h"
#include "blockstore/store_memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define SIZE (1024 * MIB)

// A reader that takes whatever is asked for; what it gets is summed up.
struct reader {
    struct ahead_streams streams;
    uint64_t asked, requests, last_window;
};

static void read_range(struct reader *r, unsigned member, uint64_t offset, uint64_t n)
{
    uint64_t from = 0, length = 0;
    struct ahead_stream *s = ahead_note_read(&r->streams, member, SIZE, offset, n, &from, &length);
    if (!s)
        return;
    assert_true(length > 0 && from + length <= SIZE && from >= offset);
    s->asked = from + length;
    r->asked += length;
    r->requests++;
    r->last_window = from + length - (offset + n);
}

static void a_single_read_however_long_reads_nothing_ahead(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    read_range(&r, 0, 10 * MIB, MIB);
    assert_int_equal(r.asked, 0);
}

static void a_sequential_reader_gets_a_growing_window_up_to_4_mib(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    uint64_t before = 0;
    for (uint64_t at = 0; at < 64 * MIB; at += 128 * KIB) {
        read_range(&r, 0, at, 128 * KIB);
        if (at == 128 * KIB)
            assert_int_equal(r.last_window, 256 * KIB);
        assert_true(r.last_window <= AHEAD_LAST && r.last_window >= (before < AHEAD_LAST ? before : 0));
        before = r.last_window;
        if (r.asked > 0) // no more in vain than was read
            assert_true(r.streams.list[0].asked - (at + 128 * KIB) <= at + 128 * KIB);
    }
    assert_int_equal(r.last_window, AHEAD_LAST);
    assert_true(r.asked <= 64 * MIB + AHEAD_LAST);
    assert_true(r.asked >= 63 * MIB);
    assert_true(r.requests <= 64 * MIB / (AHEAD_LAST / 2) + 8); // large ones
}

static void small_sequential_reads_count_too(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    for (uint64_t at = 0; at < 124 * KIB; at += 4 * KIB)
        read_range(&r, 0, at, 4 * KIB);
    assert_int_equal(r.asked, 0);
    read_range(&r, 0, 124 * KIB, 4 * KIB);
    assert_int_equal(r.asked, AHEAD_FIRST);
}

static void interleaved_streams_are_told_apart(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    for (uint64_t at = 0; at < 16 * MIB; at += 128 * KIB)
        for (unsigned i = 0; i < AHEAD_STREAMS; i++)
            read_range(&r, i % 3, i * 32 * MIB + at, 128 * KIB);
    assert_true(r.asked >= AHEAD_STREAMS * 15 * MIB);
    assert_true(r.asked <= AHEAD_STREAMS * (16 * MIB + AHEAD_LAST));
}

static void reads_may_come_out_of_order(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    for (uint64_t at = 0; at < 16 * MIB; at += 256 * KIB) {
        read_range(&r, 0, at + 128 * KIB, 128 * KIB);
        read_range(&r, 0, at, 128 * KIB);
    }
    assert_true(r.asked >= 15 * MIB);
    assert_true(r.asked <= 16 * MIB + AHEAD_LAST);
}

static void random_reads_read_next_to_nothing_ahead(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    uint64_t series = 1, bytes = 0;
    for (unsigned i = 0; i < 20000; i++) {
        series = series * UINT64_C(6364136223846793005) + 1;
        read_range(&r, 0, (series >> 24) % (64 * MIB / (4 * KIB)) * 4 * KIB, 4 * KIB);
        bytes += 4 * KIB;
    }
    assert_true(r.asked <= bytes / 50);
}

static void a_stream_that_leaves_out_more_than_it_reads_has_no_window(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    for (uint64_t at = 0; at < 64 * MIB; at += 128 * KIB)
        read_range(&r, 0, at, 32 * KIB);
    assert_int_equal(r.asked, 0);
    // One that reads everything, and then skips, loses its window.
    uint64_t at = 512 * MIB;
    for (; at < 520 * MIB; at += 128 * KIB)
        read_range(&r, 0, at, 128 * KIB);
    assert_true(r.asked > 0);
    for (; at < 600 * MIB; at += 256 * KIB)
        read_range(&r, 0, at, 32 * KIB);
    uint64_t asked = r.asked;
    for (; at < 700 * MIB; at += 256 * KIB)
        read_range(&r, 0, at, 32 * KIB);
    assert_int_equal(r.asked, asked);
}

static void reading_the_same_again_is_no_stream(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    for (unsigned i = 0; i < 1000; i++)
        read_range(&r, 0, 10 * MIB, 64 * KIB);
    assert_int_equal(r.asked, 0);
}

static void nothing_is_read_ahead_beyond_the_members_end(void **state)
{
    (void)state;
    struct reader r = {.asked = 0};
    for (uint64_t at = SIZE - 8 * MIB; at < SIZE; at += 128 * KIB)
        read_range(&r, 0, at, 128 * KIB); // which asserts it
    assert_int_equal(r.streams.list[0].asked, SIZE);
}

static void what_is_not_taken_is_asked_for_again(void **state)
{
    (void)state;
    struct ahead_streams streams = {.reads = 0};
    uint64_t from, length;
    assert_null(ahead_note_read(&streams, 0, SIZE, 0, 128 * KIB, &from, &length));
    assert_non_null(ahead_note_read(&streams, 0, SIZE, 128 * KIB, 128 * KIB, &from, &length));
    assert_int_equal(from, 256 * KIB);
    assert_non_null(ahead_note_read(&streams, 0, SIZE, 256 * KIB, 128 * KIB, &from, &length));
    assert_int_equal(from, 384 * KIB);
    assert_int_equal(length, 384 * KIB);
}

// --- the limit of memory -------------------------------------------------------------------------------------------

#define CHUNK (128 * KIB)

static struct sha256 name_of(unsigned i)
{
    struct sha256 h;
    for (unsigned b = 0; b < sizeof(h.bytes); b++)
        h.bytes[b] = (unsigned char)((i * 2654435761u + b * 40503u) >> (b % 4 * 8));
    return h;
}

// A cache of names under the limit, least recently used first, as the table of chunks is one.
struct simulation {
    struct memory_limit memory;
    unsigned names[4096];
    unsigned count;
};

static bool use(struct simulation *s, unsigned i)
{
    unsigned at = 0;
    while (at < s->count && s->names[at] != i)
        at++;
    bool hit = at < s->count;
    struct sha256 name = name_of(i);
    if (hit)
        memmove(s->names + at, s->names + at + 1, (--s->count - at) * sizeof(s->names[0]));
    else
        store_memory_missed(&s->memory, &name, CHUNK);
    s->names[s->count++] = i;
    while (s->count * CHUNK > s->memory.limit) {
        name = name_of(s->names[0]);
        store_memory_evicted(&s->memory, &name, CHUNK);
        memmove(s->names, s->names + 1, --s->count * sizeof(s->names[0]));
    }
    return hit;
}

static struct simulation simulation;

static void start(void)
{
    simulation.count = 0;
    store_memory_init(&simulation.memory, 12 * MIB, 80 * MIB);
}

static void reading_through_once_raises_nothing(void **state)
{
    (void)state;
    start();
    for (unsigned i = 0; i < 4000; i++)
        use(&simulation, i);
    assert_int_equal(simulation.memory.limit, 12 * MIB);
}

static void a_working_set_that_fits_comes_to_fit(void **state)
{
    (void)state;
    unsigned hits = 0, series = 1;
    start();
    for (unsigned i = 0; i < 20000; i++) {
        series = series * 1103515245u + 12345u;
        bool hit = use(&simulation, (series >> 8) % 512); // 64 MiB
        hits += i >= 4000 && hit;
    }
    assert_int_equal(hits, 16000);
    assert_true(simulation.memory.limit >= 64 * MIB && simulation.memory.limit <= 80 * MIB);
    store_memory_relax(&simulation.memory);
    assert_int_equal(simulation.memory.limit, 12 * MIB);
}

static void a_set_that_can_never_fit_raises_nothing(void **state)
{
    (void)state;
    start();
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < 800; i++) // 100 MiB, around and around
            use(&simulation, i);
    assert_int_equal(simulation.memory.limit, 12 * MIB);
}

static void the_limit_never_passes_the_highest(void **state)
{
    (void)state;
    unsigned series = 1;
    start();
    for (unsigned i = 0; i < 20000; i++) {
        series = series * 1103515245u + 12345u;
        use(&simulation, (series >> 8) % 3000);
        assert_true(simulation.memory.limit <= 80 * MIB);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_read_however_long_reads_nothing_ahead),
        cmocka_unit_test(a_sequential_reader_gets_a_growing_window_up_to_4_mib),
        cmocka_unit_test(small_sequential_reads_count_too),
        cmocka_unit_test(interleaved_streams_are_told_apart),
        cmocka_unit_test(reads_may_come_out_of_order),
        cmocka_unit_test(random_reads_read_next_to_nothing_ahead),
        cmocka_unit_test(a_stream_that_leaves_out_more_than_it_reads_has_no_window),
        cmocka_unit_test(reading_the_same_again_is_no_stream),
        cmocka_unit_test(nothing_is_read_ahead_beyond_the_members_end),
        cmocka_unit_test(what_is_not_taken_is_asked_for_again),
        cmocka_unit_test(reading_through_once_raises_nothing),
        cmocka_unit_test(a_working_set_that_fits_comes_to_fit),
        cmocka_unit_test(a_set_that_can_never_fit_raises_nothing),
        cmocka_unit_test(the_limit_never_passes_the_highest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
