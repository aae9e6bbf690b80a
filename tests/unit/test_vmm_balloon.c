// The memory balloon: ranges that the driver reports are given back, and nothing else is.
#include "virtio_fixture.h"
#include "vmm/virtio_balloon.h"

#define F_REPORTING (UINT64_C(1) << 5)
#define RING(i) (0x4000u + 0x2000u * (i))
#define PAGES 0x40000u // where the pages lie that are given back

static struct guest_memory memory;
static struct driver_ring rings[5];
static struct counting_transport counts;
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
    assert_int_equal(virtio_balloon_new(&memory, &device, NULL), 0);
    fixture_attach(device, &counts);
    start(F_REPORTING);
    memset(fixture_at(&memory, PAGES, 0x10000), 0xee, 0x10000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_free(device);
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
    for (unsigned queue = 2; queue <= 4; queue++) { // as old and as new kernels number them
        memset(fixture_at(&memory, PAGES, 0x10000), 0xee, 0x10000);
        report_pages(queue);
        assert_int_equal(released(), 0x23);
    }
    assert_int_equal(memory.regions[1].bytes[0xfff], 0xdd);
    assert_int_equal(memory.regions[1].bytes[0x1000], 0);
    assert_int_equal(memory.regions[1].bytes[0x2000], 0xdd);
    assert_true(statistics_say("balloon.reported_bytes 49152\n"));
}

// Nobody asks for it: what a driver does unasked is answered, and nothing else.
static void inflating_gives_nothing_back(void **state)
{
    (void)state;
    report_pages(0);
    report_pages(1);
    assert_int_equal(released(), 0);
    assert_null(device->operations->read_config); // zeros: nothing is wanted of the driver
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
        T(reported_ranges_are_given_back),
        T(inflating_gives_nothing_back),
        T(nothing_is_reported_where_not_negotiated),
        T(an_illegal_chain_breaks_it),
    };
    return cmocka_run_group_tests_name("virtio balloon", tests, NULL, NULL);
}
