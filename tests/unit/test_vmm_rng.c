// The entropy device: requests are filled, within bounds, and an illegal one breaks it.
#include "virtio_fixture.h"
#include "vmm/virtio_rng.h"

#define RING 0x1000u
#define DATA 0x10000u

static struct guest_memory memory;
static struct driver_ring ring;
static struct counting_transport counts;
static struct virtio_device *device;

static int set_up(void **state)
{
    (void)state;
    memory = fixture_memory();
    ring = driver_ring(&memory, RING, 8);
    assert_int_equal(virtio_rng_new(&memory, &device, NULL), 0);
    fixture_attach(device, &counts);
    fixture_start(device, 0, &ring, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_free(device);
    fixture_memory_free(&memory);
    return 0;
}

static unsigned zeros(uint64_t address, unsigned n)
{
    unsigned count = 0;
    const unsigned char *bytes = fixture_at(&memory, address, n);
    for (unsigned i = 0; i < n; i++)
        count += bytes[i] == 0;
    return count;
}

static void requests_are_filled(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    driver_describe(&ring, 0, DATA, 16, D_NEXT, 1); // readable: passed over
    driver_describe(&ring, 1, DATA + 64, 64, D_WRITE | D_NEXT, 2);
    driver_describe(&ring, 2, DATA + 256, 64, D_WRITE, 0);
    driver_offer(&ring, 0);
    fixture_kick(device, 0);
    assert_true(driver_take(&ring, &head, &written));
    assert_int_equal(head, 0);
    assert_int_equal(written, 128);
    assert_int_equal(zeros(DATA, 64), 64);
    assert_true(zeros(DATA + 64, 64) < 16); // more would happen once in 10^20
    assert_int_equal(zeros(DATA + 128, 128), 128);
    assert_true(zeros(DATA + 256, 64) < 16);
    assert_memory_not_equal(fixture_at(&memory, DATA + 64, 64), fixture_at(&memory, DATA + 256, 64), 64);
    assert_int_equal(counts.interrupts[0], 1);
}

static void one_request_is_bounded(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    driver_describe(&ring, 0, DATA, 100, D_WRITE | D_NEXT, 1);
    driver_describe(&ring, 1, DATA + 4096, 100000, D_WRITE, 0);
    driver_offer(&ring, 0);
    fixture_kick(device, 0);
    assert_true(driver_take(&ring, &head, &written));
    assert_int_equal(written, VIRTIO_RNG_REQUEST_MAXIMUM);
    assert_int_equal(zeros(DATA + 8192, 4096), 4096);
}

static void a_request_without_room_comes_back(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    driver_describe(&ring, 3, DATA, 16, 0, 0);
    driver_offer(&ring, 3);
    fixture_kick(device, 0);
    assert_true(driver_take(&ring, &head, &written));
    assert_int_equal(written, 0);
}

static void one_turn_is_bounded(void **state)
{
    unsigned before = counts.rings[0];
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        driver_describe(&ring, i, DATA + 64 * i, 64, D_WRITE, 0);
        driver_offer(&ring, i);
    }
    fixture_kick(device, 0);
    assert_int_equal(counts.rings[0], before + 1); // there could be more: another turn
    fixture_kick(device, 0);
    assert_int_equal(counts.rings[0], before + 1);
    assert_int_equal(ring.next_available, 8);
}

static void an_illegal_chain_breaks_it_until_a_reset(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    driver_describe(&ring, 0, FIXTURE_LOW_SIZE, 64, D_WRITE, 0);
    driver_offer(&ring, 0);
    fixture_kick(device, 0);
    assert_true(device->status & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(counts.config_interrupts, 1);
    assert_false(driver_take(&ring, &head, &written));
    fixture_reset(device);
    assert_int_equal(device->status, 0);
    assert_int_equal(counts.resets, 2); // fixture_start does one too
    memset(fixture_at(&memory, RING, 8192), 0, 8192);
    ring = driver_ring(&memory, RING, 8);
    fixture_start(device, VIRTIO_F_EVENT_INDEX, &ring, 1);
    requests_are_filled(state);
}

static void statistics_count(void **state)
{
    struct buf text = BUF_WITH_MAXIMUM(1000);
    requests_are_filled(state);
    device->operations->statistics(device, &text);
    assert_string_equal(buf_text(&text), "rng.requests 1\nrng.bytes 128\n");
    buf_free(&text);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(requests_are_filled),
        T(one_request_is_bounded),
        T(a_request_without_room_comes_back),
        T(one_turn_is_bounded),
        T(an_illegal_chain_breaks_it_until_a_reset),
        T(statistics_count),
    };
    return cmocka_run_group_tests_name("virtio rng", tests, NULL, NULL);
}
