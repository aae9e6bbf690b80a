// The memory balloon: what it is told of is given back, page by page or in ranges, and nothing else is.
#include "virtio_fixture.h"
#include "vmm/virtio_balloon.h"

#define F_STATISTICS (UINT64_C(1) << 1)
#define F_DEFLATE_ON_OOM (UINT64_C(1) << 2)
#define F_REPORTING (UINT64_C(1) << 5)
#define RING(i) (0x4000u + 0x2000u * (i))
#define LIST 0x20000u
#define PAGES 0x40000u // where the pages lie that are given back

static struct guest_memory memory;
static struct driver_ring rings[5];
static struct counting_transport counts;
static struct virtio_balloon *balloon;
static struct virtio_device *device;

static void start(uint64_t features)
{
    for (unsigned i = 0; i < 5; i++) {
        memset(fixture_at(&memory, RING(i), 0x2000), 0, 0x2000);
        rings[i] = driver_ring(&memory, RING(i), 8);
    }
    fixture_start(device, features, rings, 5);
}

static int set_up(void **state)
{
    (void)state;
    memory = fixture_memory();
    assert_int_equal(virtio_balloon_new(&memory, &balloon, NULL), 0);
    device = virtio_balloon_device(balloon);
    fixture_attach(device, &counts);
    start(F_STATISTICS | F_DEFLATE_ON_OOM | F_REPORTING);
    memset(fixture_at(&memory, PAGES, 0x10000), 0xee, 0x10000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_balloon_free(balloon);
    fixture_memory_free(&memory);
    return 0;
}

// Which of the 16 pages at PAGES read as zeros, as bits; none may be half so.
static unsigned released(void)
{
    unsigned bits = 0;
    for (unsigned i = 0; i < 16; i++) {
        const unsigned char *page = fixture_at(&memory, PAGES + 4096 * i, 4096);
        for (unsigned at = 1; at < 4096; at++)
            assert_int_equal(page[at], page[0]);
        bits |= (page[0] == 0 ? 1u : 0u) << i;
    }
    return bits;
}

static void send_pages(unsigned queue, const uint32_t *pages, unsigned count)
{
    uint32_t head = 0, written = 0;
    for (unsigned i = 0; i < count; i++)
        put_le32(fixture_at(&memory, LIST + 4 * i, 4), pages[i]);
    driver_describe(&rings[queue], 0, LIST, 4 * count, 0, 0);
    driver_offer(&rings[queue], 0);
    fixture_kick(device, queue);
    assert_true(driver_take(&rings[queue], &head, &written));
    assert_int_equal(written, 0);
}

static bool statistics_say(const char *line)
{
    struct buf text = BUF_WITH_MAXIMUM(10000);
    pthread_mutex_lock(&device->lock);
    device->operations->statistics(device, &text);
    pthread_mutex_unlock(&device->lock);
    bool said = strstr(buf_text(&text), line) != NULL;
    buf_free(&text);
    return said;
}

static void inflated_pages_are_given_back(void **state)
{
    static const uint32_t pages[] = {0x40, 0x41, 0x42, 0x49, 0x48, 0x47, 0x4f};
    (void)state;
    send_pages(0, pages, 7);
    assert_int_equal(released(), 0x8387);
    assert_true(statistics_say("balloon.inflated_bytes 28672\n"));
    assert_int_equal(counts.interrupts[0], 1);
}

static void pages_that_are_no_ram_are_left_out(void **state)
{
    static const uint32_t pages[] = {UINT32_MAX, 0x45, 0x100 /* the end of RAM */, 0xbffff, 0x10000f, 0x100010, 0x46};
    (void)state;
    memset(memory.regions[1].bytes, 0xdd, FIXTURE_HIGH_SIZE);
    send_pages(0, pages, 7);
    assert_int_equal(released(), 0x60);
    assert_true(statistics_say("balloon.inflated_bytes 8192\n")); // 0x10000f came with a page beyond it
    assert_false(device->status & VIRTIO_STATUS_NEEDS_RESET);
}

static void deflated_pages_stay(void **state)
{
    static const uint32_t pages[] = {0x40, 0x41};
    (void)state;
    send_pages(1, pages, 2);
    assert_int_equal(released(), 0);
}

static void a_list_is_bounded(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    // 256 numbers of no page, and then one that is beyond what is looked at
    memset(fixture_at(&memory, LIST, 4 * 257), 0xff, 4 * 257);
    put_le32(fixture_at(&memory, LIST + 4 * 256, 4), 0x40);
    driver_describe(&rings[0], 0, LIST, 4 * 257, 0, 0);
    driver_offer(&rings[0], 0);
    fixture_kick(device, 0);
    assert_true(driver_take(&rings[0], &head, &written));
    assert_int_equal(released(), 0);
    driver_describe(&rings[0], 1, LIST + 4 * 256, 3, 0, 0); // less than a number
    driver_offer(&rings[0], 1);
    fixture_kick(device, 0);
    assert_true(driver_take(&rings[0], &head, &written));
    assert_int_equal(released(), 0);
}

static void report_pages(unsigned queue)
{
    uint32_t head = 0, written = 0;
    driver_describe(&rings[queue], 0, PAGES, 8192, D_NEXT | D_WRITE, 1);
    driver_describe(&rings[queue], 1, PAGES + 0x5000, 4096, D_NEXT | D_WRITE, 2);
    driver_describe(&rings[queue], 2, PAGES + 0x8000, 4095, D_NEXT | D_WRITE, 3);  // not a whole page
    driver_describe(&rings[queue], 3, PAGES + 0x9010, 4096, D_NEXT | D_WRITE, 4);  // nor this
    driver_describe(&rings[queue], 4, LAYOUT_HIGH_RAM + 0x1000, 4096, D_WRITE, 0); // above the hole
    driver_offer(&rings[queue], 0);
    fixture_kick(device, queue);
    assert_true(driver_take(&rings[queue], &head, &written));
    assert_int_equal(head, 0);
}

static void reported_ranges_are_given_back(void **state)
{
    (void)state;
    memset(memory.regions[1].bytes, 0xdd, FIXTURE_HIGH_SIZE);
    for (unsigned queue = 3; queue <= 4; queue++) { // as old and as new kernels number them
        memset(fixture_at(&memory, PAGES, 0x10000), 0xee, 0x10000);
        report_pages(queue);
        assert_int_equal(released(), 0x23);
    }
    assert_int_equal(memory.regions[1].bytes[0xfff], 0xdd);
    assert_int_equal(memory.regions[1].bytes[0x1000], 0);
    assert_int_equal(memory.regions[1].bytes[0x2000], 0xdd);
    assert_true(statistics_say("balloon.reported_bytes 32768\n"));
}

static void without_statistics_the_third_queue_reports(void **state)
{
    (void)state;
    fixture_reset(device);
    start(F_REPORTING);
    report_pages(2);
    assert_int_equal(released(), 0x23);
}

static void nothing_is_reported_where_not_negotiated(void **state)
{
    (void)state;
    fixture_reset(device);
    start(0);
    report_pages(3);
    report_pages(2);
    assert_int_equal(released(), 0);
}

static void offer_statistics(unsigned i, uint64_t free_bytes, uint64_t all)
{
    unsigned char *list = fixture_at(&memory, LIST + 64 * i, 64);
    memset(list, 0, 64);
    put_le16(list, 4);
    put_le64(list + 2, free_bytes);
    put_le16(list + 10, 5);
    put_le64(list + 12, all);
    put_le16(list + 20, 77); // unknown
    put_le64(list + 22, 1);
    driver_describe(&rings[2], i, LIST + 64 * i, 35, 0, 0); // and half of one more
    driver_offer(&rings[2], i);
    fixture_kick(device, 2);
}

static void statistics_are_asked_for_when_they_are_read(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    assert_false(statistics_say("guest."));
    offer_statistics(0, 1000, 5000);
    assert_false(driver_take(&rings[2], &head, &written)); // kept
    assert_true(statistics_say("guest.memory_bytes 5000\nguest.free_bytes 1000\n"));
    assert_true(driver_take(&rings[2], &head, &written)); // it asks for the next
    assert_int_equal(counts.interrupts[2], 1);
    assert_true(statistics_say("guest.free_bytes 1000\n"));
    assert_int_equal(counts.interrupts[2], 1);
    offer_statistics(0, 900, 5000);
    offer_statistics(1, 800, 5000); // a second buffer: the first comes back
    assert_true(driver_take(&rings[2], &head, &written));
    assert_true(statistics_say("guest.free_bytes 800\n"));
    offer_statistics(1, 700, 5000);
    fixture_reset(device);
    assert_false(statistics_say("guest."));
    start(F_STATISTICS);
    assert_false(statistics_say("guest."));
    assert_int_equal(counts.interrupts[2], 3); // the old buffer was forgotten
}

static uint32_t config_at(unsigned offset)
{
    unsigned char bytes[4];
    device->operations->read_config(device, offset, bytes, 4);
    return get_le32(bytes);
}

static void a_target_reaches_the_driver(void **state)
{
    static const unsigned char both[8] = {1, 1, 1, 1, 7, 0, 0, 0};
    (void)state;
    virtio_balloon_set_target(balloon, 10 * 4096 + 5);
    assert_int_equal(config_at(0), 10);
    assert_int_equal(counts.config_interrupts, 1);
    assert_int_equal(device->config_generation, 1);
    device->operations->write_config(device, 0, both, 8);
    assert_int_equal(config_at(0), 10); // ours
    assert_int_equal(config_at(4), 7);
    assert_true(statistics_say("balloon.wanted_bytes 40960\nballoon.actual_bytes 28672\n"));
    fixture_reset(device);
    assert_int_equal(config_at(0), 10);
    assert_int_equal(config_at(4), 0);
    virtio_balloon_set_target(balloon, UINT64_MAX);
    assert_int_equal(config_at(0), UINT32_MAX);
}

static void an_illegal_chain_breaks_it(void **state)
{
    (void)state;
    driver_offer(&rings[3], 8);
    fixture_kick(device, 3);
    assert_true(device->status & VIRTIO_STATUS_NEEDS_RESET);
    fixture_reset(device);
    start(F_REPORTING);
    report_pages(3);
    assert_int_equal(released(), 0x23);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(inflated_pages_are_given_back),
        T(pages_that_are_no_ram_are_left_out),
        T(deflated_pages_stay),
        T(a_list_is_bounded),
        T(reported_ranges_are_given_back),
        T(without_statistics_the_third_queue_reports),
        T(nothing_is_reported_where_not_negotiated),
        T(statistics_are_asked_for_when_they_are_read),
        T(a_target_reaches_the_driver),
        T(an_illegal_chain_breaks_it),
    };
    return cmocka_run_group_tests_name("virtio balloon", tests, NULL, NULL);
}
