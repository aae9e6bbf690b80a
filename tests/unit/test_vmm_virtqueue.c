// Virtqueues: what a driver may do works, and what it may not breaks the queue and nothing else (virtqueue.h, rules
// 1–5; TRUST T22, T23).
#include "virtio_fixture.h"

#include <errno.h>
#include <pthread.h>

#define RING 0x1000u
#define TABLE 0x8000u
#define DATA 0x10000u

static struct guest_memory memory;
static struct driver_ring ring;
static struct virtqueue queue;
static struct virtqueue_chain chain;

static int set_up(void **state)
{
    (void)state;
    memory = fixture_memory();
    ring = driver_ring(&memory, RING, 8);
    return driver_start_queue(&queue, &ring, false, true);
}

static int tear_down(void **state)
{
    (void)state;
    fixture_memory_free(&memory);
    return 0;
}

static void assert_broken(void)
{
    assert_int_equal(virtqueue_pop(&queue, &chain), -EPROTO);
    assert_true(queue.broken);
    assert_int_equal(driver_start_queue(&queue, &ring, false, true), 0); // set up anew, it works again
    ring.next_available = ring.next_used = 0;
    driver_set_available_index(&ring, 0);
    assert_int_equal(virtqueue_pop(&queue, &chain), 0);
}

static void only_legal_places_and_sizes_are_taken(void **state)
{
    static const struct {
        uint64_t size, descriptors, available, used;
        int result;
    } cases[] = {
        {8, 0x1000, 0x2000, 0x3000, 0},
        {1, 0x1000, 0x2000, 0x3000, 0},
        {1024, 0x10000, 0x20000, 0x30000, 0},
        {8, LAYOUT_HIGH_RAM, 0x2000, LAYOUT_HIGH_RAM + FIXTURE_HIGH_SIZE - 72,
         0}, // the last bytes: 4 + 64 + 2, aligned
        {0, 0x1000, 0x2000, 0x3000, -EPROTO},
        {3, 0x1000, 0x2000, 0x3000, -EPROTO},
        {2048, 0x10000, 0x20000, 0x30000, -EPROTO},
        {8, 0x1008, 0x2000, 0x3000, -EPROTO},
        {8, 0x1000, 0x2001, 0x3000, -EPROTO},
        {8, 0x1000, 0x2000, 0x3002, -EPROTO},
        {8, FIXTURE_LOW_SIZE - 112, 0x2000, 0x3000, -EPROTO},
        {8, 0x1000, FIXTURE_LOW_SIZE - 20, 0x3000, -EPROTO},
        {8, 0x1000, 0x2000, FIXTURE_LOW_SIZE - 68, -EPROTO},
        {8, 0x1000, 0x2000, UINT64_MAX - 3, -EPROTO},
        {8, UINT64_MAX - 15, 0x2000, 0x3000, -EPROTO},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(virtqueue_start(&queue, &memory, (uint16_t)cases[i].size, cases[i].descriptors,
                                         cases[i].available, cases[i].used, true, true),
                         cases[i].result);
}

static void a_queue_that_is_not_set_up_is_empty(void **state)
{
    (void)state;
    virtqueue_stop(&queue);
    assert_int_equal(virtqueue_pop(&queue, &chain), 0);
    assert_int_equal(virtqueue_push(&queue, 0, 0), -EPROTO);
    assert_false(virtqueue_listen(&queue));
    assert_false(virtqueue_wants_interrupt(&queue));
    virtqueue_silence(&queue);
    virtqueue_publish(&queue);
    virtqueue_unpop(&queue, &chain);
    assert_int_equal(virtqueue_waiting(&queue), 0);
    assert_int_equal(queue.size, 0);
}

static void a_chain_becomes_segments_and_comes_back(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    driver_describe(&ring, 5, DATA, 16, D_NEXT, 2);
    driver_describe(&ring, 2, LAYOUT_HIGH_RAM + 8, 100, D_NEXT | D_WRITE, 7); // another region
    driver_describe(&ring, 7, DATA + 64, 1, D_WRITE, 0);
    driver_offer(&ring, 5);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(chain.head, 5);
    assert_int_equal(chain.readable, 1);
    assert_int_equal(chain.writable, 2);
    assert_int_equal(chain.readable_bytes, 16);
    assert_int_equal(chain.writable_bytes, 101);
    assert_ptr_equal(chain.segments[0].iov_base, memory.regions[0].bytes + DATA);
    assert_ptr_equal(chain.segments[1].iov_base, memory.regions[1].bytes + 8);
    assert_int_equal(chain.segments[2].iov_len, 1);
    assert_int_equal(virtqueue_pop(&queue, &chain), 0);
    assert_false(driver_take(&ring, &head, &written));
    assert_int_equal(queue.in_flight_count, 1);
    assert_int_equal(virtqueue_push(&queue, 5, 101), 0);
    assert_int_equal(queue.in_flight_count, 0);
    assert_true(driver_take(&ring, &head, &written));
    assert_int_equal(head, 5);
    assert_int_equal(written, 101);
    assert_int_equal(virtqueue_push(&queue, 5, 101), -EPROTO); // once
    assert_int_equal(virtqueue_push(&queue, 9, 0), -EPROTO);
    assert_false(driver_take(&ring, &head, &written));
}

static void indexes_run_through_all_sixteen_bits(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    for (unsigned i = 0; i < 70000; i++) {
        driver_describe(&ring, i % 8, DATA + i % 8, 1, D_WRITE, 0);
        driver_offer(&ring, i % 8);
        assert_int_equal(virtqueue_pop(&queue, &chain), 1);
        assert_int_equal(virtqueue_push(&queue, chain.head, i), 0);
        assert_true(virtqueue_wants_interrupt(&queue));
        assert_true(driver_take(&ring, &head, &written));
        assert_int_equal(head, i % 8);
        assert_int_equal(written, i);
    }
}

static void an_unpopped_chain_is_popped_again(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        driver_describe(&ring, i, DATA, 10 + i, 0, 0);
        driver_offer(&ring, i);
    }
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    virtqueue_unpop(&queue, &chain);
    assert_int_equal(queue.in_flight_count, 0);
    assert_true(virtqueue_listen(&queue));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(virtqueue_pop(&queue, &chain), 1);
        assert_int_equal(chain.readable_bytes, 10 + i);
    }
}

static void empty_segments_are_left_out(void **state)
{
    (void)state;
    driver_describe(&ring, 0, DATA, 0, D_NEXT, 1);
    driver_describe(&ring, 1, DATA, 5, D_NEXT, 2);
    driver_describe(&ring, 2, DATA, 0, D_NEXT | D_WRITE, 3);
    driver_describe(&ring, 3, DATA, 6, D_WRITE, 0);
    driver_offer(&ring, 0);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(chain.readable, 1);
    assert_int_equal(chain.writable, 1);
}

static void an_indirect_table_is_walked(void **state)
{
    (void)state;
    driver_describe(&ring, 1, DATA, 4, D_NEXT, 3);                          // directly first,
    driver_describe(&ring, 3, TABLE + 1, 3 * 16, D_INDIRECT | D_WRITE, 77); // then a table; WRITE means nothing here
    put_descriptor(&memory, TABLE + 1, 0, DATA + 16, 8, D_NEXT, 2);
    put_descriptor(&memory, TABLE + 1, 2, DATA + 32, 9, D_NEXT | D_WRITE, 1);
    put_descriptor(&memory, TABLE + 1, 1, DATA + 64, 10, D_WRITE, 9999);
    driver_offer(&ring, 1);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(chain.readable, 2);
    assert_int_equal(chain.writable, 2);
    assert_int_equal(chain.readable_bytes, 12);
    assert_int_equal(chain.writable_bytes, 19);
}

static void put_long_table(unsigned entries)
{
    for (unsigned i = 0; i < entries; i++)
        put_descriptor(&memory, TABLE, i, DATA + i, 1, i + 1 < entries ? D_NEXT : 0, i + 1);
    driver_describe(&ring, 0, TABLE, entries * 16, D_INDIRECT, 0);
    driver_offer(&ring, 0);
}

static void the_longest_chain_is_taken_and_a_longer_one_is_not(void **state)
{
    (void)state;
    put_long_table(VIRTQUEUE_CHAIN_MAXIMUM);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(chain.readable, VIRTQUEUE_CHAIN_MAXIMUM);
    assert_int_equal(virtqueue_push(&queue, 0, 0), 0);
    put_long_table(VIRTQUEUE_CHAIN_MAXIMUM + 1);
    assert_broken();
}

static void illegal_chains_break_the_queue(void **state)
{
    static const struct {
        uint64_t address;
        uint32_t length;
        unsigned flags, next; // of descriptor 0; 1 is readable, 2 loops on itself, 3 is indirect and good
    } cases[] = {
        {DATA, 1, D_NEXT, 8},                       // next out of the table
        {DATA, 1, D_NEXT, 65535},                   //
        {DATA, 1, D_NEXT, 0},                       // a loop of one
        {DATA, 0, D_NEXT, 0},                       // a loop of nothing
        {DATA, 1, D_NEXT, 2},                       // a loop further on
        {DATA, 1, D_NEXT | D_WRITE, 1},             // readable behind writable
        {FIXTURE_LOW_SIZE - 1, 2, 0, 0},            // over the end of RAM
        {FIXTURE_LOW_SIZE, 1, 0, 0},                // behind it
        {FIXTURE_LOW_SIZE, 0, 0, 0},                // nothing, but there
        {LAYOUT_HIGH_RAM - 1, 2, 0, 0},             // from the hole into RAM
        {DATA, UINT32_MAX, 0, 0},                   // 4 GiB
        {UINT64_MAX, 2, 0, 0},                      // address + length wraps
        {UINT64_MAX - 15, 16, D_INDIRECT, 0},       //
        {TABLE, 0, D_INDIRECT, 0},                  // no table
        {TABLE, 17, D_INDIRECT, 0},                 // a broken entry
        {TABLE, 65537u * 16, D_INDIRECT, 0},        // more entries than "next" can name
        {TABLE, 16, D_INDIRECT | D_NEXT, 1},        // goes on behind its table
        {FIXTURE_LOW_SIZE - 16, 32, D_INDIRECT, 0}, // a table over the end
        {TABLE + 0x100, 16, D_INDIRECT, 0},         // a table in a table
        {TABLE + 0x200, 32, D_INDIRECT, 0},         // next out of the indirect table
        {RING + 3 * 16, 16, D_INDIRECT, 0},         // the ring as a table: indirect in indirect
        {RING, 8 * 16, D_INDIRECT, 0},              // itself
    };
    (void)state;
    put_descriptor(&memory, TABLE, 0, DATA, 1, 0, 0);
    put_descriptor(&memory, TABLE + 0x100, 0, TABLE, 16, D_INDIRECT, 0);
    put_descriptor(&memory, TABLE + 0x200, 0, DATA, 1, D_NEXT, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        driver_describe(&ring, 0, cases[i].address, cases[i].length, cases[i].flags, cases[i].next);
        driver_describe(&ring, 1, DATA, 1, 0, 0);
        driver_describe(&ring, 2, DATA, 1, D_NEXT, 2);
        driver_describe(&ring, 3, TABLE, 16, D_INDIRECT, 0);
        driver_offer(&ring, 0);
        assert_broken();
    }
}

static void indirect_tables_are_refused_where_not_negotiated(void **state)
{
    (void)state;
    assert_int_equal(driver_start_queue(&queue, &ring, false, false), 0);
    put_descriptor(&memory, TABLE, 0, DATA, 1, 0, 0);
    driver_describe(&ring, 0, TABLE, 16, D_INDIRECT, 0);
    driver_offer(&ring, 0);
    assert_broken();
}

static void more_than_4_gib_break_the_queue(void **state)
{
    // Many long segments over the same memory: each is legal.
    struct guest_memory large = {.region_count = 1};
    (void)state;
    large.regions[0] = (struct guest_region){0, 64u << 20, calloc(1, 64u << 20)};
    assert_non_null(large.regions[0].bytes);
    struct driver_ring r = driver_ring(&large, RING, 128);
    for (unsigned i = 0; i < 65; i++)
        driver_describe(&r, i, 0, 64u << 20, i < 64 ? D_NEXT : 0, i + 1);
    assert_int_equal(driver_start_queue(&queue, &r, false, true), 0);
    driver_offer(&r, 1); // 64 of them: 4 GiB
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(chain.readable_bytes, UINT64_C(4) << 30);
    driver_offer(&r, 0);
    assert_int_equal(virtqueue_pop(&queue, &chain), -EPROTO);
    free(large.regions[0].bytes);
}

static void illegal_heads_break_the_queue(void **state)
{
    static const unsigned heads[] = {8, 9, 255, 65535};
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        driver_offer(&ring, heads[i]);
        assert_broken();
    }
}

static void an_index_that_jumps_breaks_the_queue(void **state)
{
    static const unsigned indexes[] = {9, 10, 32768, 65535};
    (void)state;
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        driver_set_available_index(&ring, indexes[i]);
        assert_broken();
    }
}

static void an_index_that_goes_back_breaks_the_queue(void **state)
{
    (void)state;
    driver_describe(&ring, 0, DATA, 16, D_WRITE, 0);
    driver_offer(&ring, 0);
    assert_true(virtqueue_listen(&queue));
    driver_set_available_index(&ring, 0);
    assert_broken();
}

static void what_was_put_is_seen_when_it_is_published(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        driver_describe(&ring, i, DATA, 16, D_WRITE, 0);
        driver_offer(&ring, i);
        assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    }
    for (uint16_t i = 0; i < 3; i++) {
        assert_int_equal(virtqueue_put(&queue, i, i), 0);
        assert_false(driver_take(&ring, &head, &written));
    }
    assert_int_equal(virtqueue_put(&queue, 1, 0), -EPROTO); // once
    virtqueue_publish(&queue);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(driver_take(&ring, &head, &written));
        assert_true(head == i && written == i);
    }
    assert_false(driver_take(&ring, &head, &written));
}

static void a_head_in_flight_is_not_taken_twice(void **state)
{
    (void)state;
    driver_describe(&ring, 4, DATA, 1, 0, 0);
    driver_offer(&ring, 4);
    driver_offer(&ring, 4);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(virtqueue_push(&queue, 4, 0), 0);
    virtqueue_unpop(&queue, &chain); // it is given back already: this is no way to have it again
    assert_int_equal(virtqueue_waiting(&queue), 1);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    driver_offer(&ring, 4);
    assert_int_equal(virtqueue_pop(&queue, &chain), -EPROTO);
}

static void a_broken_queue_is_quiet(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    driver_describe(&ring, 0, DATA, 1, 0, 0);
    driver_offer(&ring, 0);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    driver_offer(&ring, 99);
    assert_int_equal(virtqueue_pop(&queue, &chain), -EPROTO);
    unsigned char before[512];
    memcpy(before, fixture_at(&memory, ring.used, sizeof before), sizeof before);
    assert_int_equal(virtqueue_push(&queue, 0, 1), -EPROTO);
    assert_int_equal(queue.in_flight_count, 0);
    virtqueue_silence(&queue);
    virtqueue_publish(&queue);
    virtqueue_unpop(&queue, &chain);
    assert_int_equal(virtqueue_waiting(&queue), 0);
    assert_false(virtqueue_listen(&queue));
    assert_false(virtqueue_wants_interrupt(&queue));
    assert_memory_equal(before, fixture_at(&memory, ring.used, sizeof before), sizeof before);
    assert_false(driver_take(&ring, &head, &written));
}

static void the_ring_inside_its_own_buffer_does_no_harm(void **state)
{
    (void)state;
    driver_describe(&ring, 0, ring.descriptors, 8 * 16, D_WRITE, 0);
    driver_offer(&ring, 0);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    memset(chain.segments[0].iov_base, 0xff, chain.segments[0].iov_len);
    assert_int_equal(virtqueue_push(&queue, chain.head, 128), 0);
    driver_offer(&ring, 0);
    assert_broken();
}

static void flags_silence_the_driver_and_us(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        driver_describe(&ring, i, DATA, 1, 0, 0);
    virtqueue_silence(&queue);
    assert_int_equal(driver_used_flags(&ring), 1);
    assert_false(virtqueue_listen(&queue));
    assert_int_equal(driver_used_flags(&ring), 0);
    virtqueue_silence(&queue);
    driver_offer(&ring, 0);
    assert_true(virtqueue_listen(&queue)); // it came meanwhile

    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_false(virtqueue_wants_interrupt(&queue)); // nothing was pushed
    virtqueue_push(&queue, 0, 0);
    assert_true(virtqueue_wants_interrupt(&queue));
    assert_false(virtqueue_wants_interrupt(&queue)); // it was told
    driver_set_flags(&ring, 1);
    driver_offer(&ring, 1);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    virtqueue_push(&queue, 1, 0);
    assert_false(virtqueue_wants_interrupt(&queue));
}

// Pops and pushes one request and says whether an interrupt is wanted.
static bool one_request(unsigned i)
{
    driver_describe(&ring, i % 8, DATA, 1, 0, 0);
    driver_offer(&ring, i % 8);
    assert_int_equal(virtqueue_pop(&queue, &chain), 1);
    assert_int_equal(virtqueue_push(&queue, chain.head, 0), 0);
    return virtqueue_wants_interrupt(&queue);
}

static void event_indexes_ask_for_the_one_interrupt(void **state)
{
    unsigned wanted_at = 0, at = 0;
    (void)state;
    assert_int_equal(driver_start_queue(&queue, &ring, true, true), 0);
    driver_set_flags(&ring, 1); // flags mean nothing now
    for (unsigned i = 0; i < 140000; i++) {
        at = (at + 1) & 0xffff;
        driver_set_used_event(&ring, wanted_at);
        bool expected = at == ((wanted_at + 1) & 0xffff); // the element at used_event is used now
        assert_int_equal(one_request(i), expected);
        if (expected)
            wanted_at = (wanted_at + 1 + i % 500) & 0xffff;
    }
}

static void event_indexes_are_met_by_groups_too(void **state)
{
    (void)state;
    assert_int_equal(driver_start_queue(&queue, &ring, true, true), 0);
    driver_set_used_event(&ring, 2);
    for (unsigned i = 0; i < 5; i++) {
        driver_describe(&ring, i, DATA, 1, 0, 0);
        driver_offer(&ring, i);
        assert_int_equal(virtqueue_pop(&queue, &chain), 1);
        assert_int_equal(virtqueue_push(&queue, chain.head, 0), 0);
    }
    assert_true(virtqueue_wants_interrupt(&queue)); // 2 is among 0–4
    assert_false(one_request(5));
    driver_set_used_event(&ring, 6);
    assert_true(one_request(6));
}

static void event_indexes_tell_when_to_ring(void **state)
{
    (void)state;
    assert_int_equal(driver_start_queue(&queue, &ring, true, true), 0);
    one_request(0);
    assert_int_equal(driver_available_event(&ring), 1); // the next one is to be rung for
    virtqueue_silence(&queue);
    one_request(1);
    one_request(2);
    assert_int_equal(driver_available_event(&ring), 1); // long past
    assert_int_equal(driver_used_flags(&ring), 0);
    assert_false(virtqueue_listen(&queue));
    assert_int_equal(driver_available_event(&ring), 3);
    virtqueue_silence(&queue);
    driver_offer(&ring, 3);
    assert_true(virtqueue_listen(&queue));
}

static void copying_crosses_segments(void **state)
{
    char a[3] = {'a', 'b', 'c'}, b[4] = {'d', 'e', 'f', 'g'}, to[8] = {0};
    struct virtqueue_chain from_guest = {.readable = 2, .readable_bytes = 7, .segments = {{a, 3}, {b, 4}}};
    struct virtqueue_chain to_guest = {
        .readable = 1, .writable = 2, .readable_bytes = 8, .writable_bytes = 7, .segments = {{to, 8}, {a, 3}, {b, 4}}};
    (void)state;
    assert_int_equal(virtqueue_gather(&from_guest, 2, to, 4), 4);
    assert_memory_equal(to, "cdef", 4);
    assert_int_equal(virtqueue_gather(&from_guest, 0, to, 8), 7);
    assert_int_equal(virtqueue_gather(&from_guest, 7, to, 8), 0);
    assert_int_equal(virtqueue_gather(&from_guest, 100, to, 8), 0);
    assert_int_equal(virtqueue_gather(&to_guest, 0, to, 0), 0);
    assert_int_equal(virtqueue_scatter(&to_guest, 2, "XYZ", 3), 3);
    assert_memory_equal(a, "abX", 3);
    assert_memory_equal(b, "YZfg", 4);
    assert_int_equal(virtqueue_scatter(&to_guest, 6, "123", 3), 1);
    assert_int_equal(b[3], '1');
    assert_int_equal(virtqueue_scatter(&from_guest, 0, "1", 1), 0);
}

// --- double fetch (T23): another processor changes a descriptor all the time between a good and a bad value ---

static bool stop_changing;

static void *change_descriptor(void *context)
{
    volatile uint32_t *length = (volatile uint32_t *)(void *)(fixture_at(&memory, ring.descriptors, 16) + 8);
    (void)context;
    while (!__atomic_load_n(&stop_changing, __ATOMIC_RELAXED)) {
        *length = 16;
        *length = 0xfffffff0u;
    }
    return NULL;
}

static void what_is_checked_is_what_is_used(void **state)
{
    pthread_t thread;
    unsigned good = 0, bad = 0;
    (void)state;
    driver_describe(&ring, 0, DATA, 16, D_WRITE, 0);
    stop_changing = false;
    assert_int_equal(pthread_create(&thread, NULL, change_descriptor, NULL), 0);
    for (unsigned i = 0; i < 200000; i++) {
        assert_int_equal(driver_start_queue(&queue, &ring, false, false), 0);
        ring.next_available = 0;
        driver_offer(&ring, 0);
        if (virtqueue_pop(&queue, &chain) == 1) {
            assert_int_equal(chain.segments[0].iov_len, 16);
            assert_int_equal(chain.writable_bytes, 16);
            good++;
        } else {
            assert_true(queue.broken);
            bad++;
        }
    }
    __atomic_store_n(&stop_changing, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    assert_int_equal(good + bad, 200000);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(only_legal_places_and_sizes_are_taken),
        T(a_queue_that_is_not_set_up_is_empty),
        T(a_chain_becomes_segments_and_comes_back),
        T(indexes_run_through_all_sixteen_bits),
        T(an_unpopped_chain_is_popped_again),
        T(empty_segments_are_left_out),
        T(an_indirect_table_is_walked),
        T(the_longest_chain_is_taken_and_a_longer_one_is_not),
        T(illegal_chains_break_the_queue),
        T(indirect_tables_are_refused_where_not_negotiated),
        T(more_than_4_gib_break_the_queue),
        T(illegal_heads_break_the_queue),
        T(an_index_that_jumps_breaks_the_queue),
        T(an_index_that_goes_back_breaks_the_queue),
        T(what_was_put_is_seen_when_it_is_published),
        T(a_head_in_flight_is_not_taken_twice),
        T(a_broken_queue_is_quiet),
        T(the_ring_inside_its_own_buffer_does_no_harm),
        T(flags_silence_the_driver_and_us),
        T(event_indexes_ask_for_the_one_interrupt),
        T(event_indexes_are_met_by_groups_too),
        T(event_indexes_tell_when_to_ring),
        T(copying_crosses_segments),
        T(what_is_checked_is_what_is_used),
    };
    return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
