// The virtio console, with a real stream over a socket: bytes pass both ways in order, none is lost, and the input goes
// where the guest wrote last.
#include "turn_loop.h"
#include "virtio_fixture.h"
#include "vmm/virtio_console.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE 0u
#define TRANSMIT 1u
#define DATA 0x20000u

static struct guest_memory memory;
static struct driver_ring rings[2];
static struct counting_transport counts;
static struct loop loop;
static struct stream *stream;
static struct virtio_device *device;
static int sockets[2]; // the console's end, and a person's

static void start(void)
{
    for (unsigned i = 0; i < 2; i++) {
        memset(fixture_at(&memory, 0x4000 + 0x2000 * i, 0x2000), 0, 0x2000);
        rings[i] = driver_ring(&memory, 0x4000 + 0x2000 * i, 8);
    }
    fixture_start(device, 0, rings, 2);
}

static int set_up(void **state)
{
    (void)state;
    memory = fixture_memory();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    assert_int_equal(loop_init(&loop, NULL), 0);
    assert_int_equal(stream_new(&loop, sockets[0], sockets[0], &stream, NULL), 0);
    assert_int_equal(virtio_console_new(&memory, stream, &device, NULL), 0);
    fixture_attach(device, &counts);
    start();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_free(device);
    stream_free(stream);
    loop_destroy(&loop);
    close(sockets[0]);
    close(sockets[1]);
    fixture_memory_free(&memory);
    return 0;
}

static void guest_writes(const char *text)
{
    uint32_t head = 0, written = 0;
    size_t n = strlen(text);
    memcpy(fixture_at(&memory, DATA, n), text, n);
    driver_describe(&rings[TRANSMIT], 0, DATA, (uint32_t)n - 1, D_NEXT, 1);
    driver_describe(&rings[TRANSMIT], 1, DATA + n - 1, 1, 0, 0);
    driver_offer(&rings[TRANSMIT], 0);
    fixture_kick(device, TRANSMIT);
    assert_true(driver_take(&rings[TRANSMIT], &head, &written));
    assert_int_equal(written, 0);
}

static void assert_shown(const char *text)
{
    char bytes[100];
    assert_int_equal(recv(sockets[1], bytes, sizeof bytes, MSG_DONTWAIT), strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

static void person_types(const void *bytes, size_t n)
{
    assert_int_equal(send(sockets[1], bytes, n, MSG_DONTWAIT), n);
    turn_loop(&loop, 4);
}

// Gives the console a buffer of n bytes.
static void offer_buffer(unsigned i, uint32_t n)
{
    driver_describe(&rings[RECEIVE], i, DATA + 0x1000 * (i + 1), n, D_WRITE, 0);
    driver_offer(&rings[RECEIVE], i);
    fixture_kick(device, RECEIVE);
    turn_loop(&loop, 4);
}

static void assert_received(unsigned i, const char *text)
{
    uint32_t head = 0, written = 0;
    assert_true(driver_take(&rings[RECEIVE], &head, &written));
    assert_int_equal(head, i);
    assert_int_equal(written, strlen(text));
    assert_memory_equal(fixture_at(&memory, DATA + 0x1000 * (i + 1), written), text, written);
}

static void what_the_guest_writes_is_shown(void **state)
{
    (void)state;
    guest_writes("login: ");
    assert_shown("login: ");
    assert_int_equal(counts.interrupts[TRANSMIT], 1);
}

static void what_is_typed_reaches_the_guest(void **state)
{
    (void)state;
    guest_writes("login: ");
    offer_buffer(0, 100);
    person_types("root\n", 5);
    assert_received(0, "root\n");
    assert_int_equal(counts.interrupts[RECEIVE], 1);
}

static void input_waits_for_buffers(void **state)
{
    (void)state;
    guest_writes("# ");
    person_types("abcdefgh", 8);
    offer_buffer(0, 3);
    assert_received(0, "abc");
    offer_buffer(1, 2);
    assert_received(1, "de");
    offer_buffer(2, 100);
    assert_received(2, "fgh");
}

static void much_input_waits_at_its_writer_and_none_is_lost(void **state)
{
    static unsigned char typed[20000];
    size_t got = 0, sent = 0;
    uint32_t head = 0, written = 0;
    (void)state;
    for (size_t i = 0; i < sizeof typed; i++)
        typed[i] = (unsigned char)(i % 251);
    guest_writes("# ");
    while (got < sizeof typed) {
        ssize_t n = send(sockets[1], typed + sent, sizeof typed - sent, MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        turn_loop(&loop, 4);
        offer_buffer(0, 700);
        assert_true(driver_take(&rings[RECEIVE], &head, &written));
        assert_true(written > 0 && got + written <= sizeof typed);
        assert_memory_equal(fixture_at(&memory, DATA + 0x1000, written), typed + got, written);
        got += written;
    }
}

// As the serial port does it: a second listener on the same stream.
static unsigned char other_got[100];
static size_t other_count;

static size_t other_room(void *context)
{
    (void)context;
    return sizeof other_got - other_count;
}

static void other_input(void *context, const unsigned char *bytes, size_t n)
{
    (void)context;
    memcpy(other_got + other_count, bytes, n);
    other_count += n;
}

static void input_goes_where_the_guest_wrote_last(void **state)
{
    static const struct stream_listener other = {other_room, other_input, NULL};
    (void)state;
    other_count = 0;
    stream_listen(stream, &other);
    person_types("1", 1);
    assert_int_equal(other_count, 1);
    guest_writes("hvc0: ");
    offer_buffer(0, 10);
    person_types("2", 1);
    assert_int_equal(other_count, 1);
    assert_received(0, "2");
    stream_listen(stream, &other);
    person_types("3", 1);
    assert_int_equal(other_count, 2);
    assert_int_equal(other_got[1], '3');
}

static void empty_buffers_do_not_hold_it_up(void **state)
{
    uint32_t head = 0, written = 0;
    unsigned before = counts.rings[RECEIVE];
    (void)state;
    guest_writes("# ");
    for (unsigned i = 0; i < 8; i++) {
        driver_describe(&rings[RECEIVE], i, DATA, 4, 0, 0); // readable ones
        driver_offer(&rings[RECEIVE], i);
    }
    person_types("x", 1);
    for (unsigned i = 0; i < 8; i++) {
        assert_true(driver_take(&rings[RECEIVE], &head, &written));
        assert_int_equal(written, 0);
    }
    assert_int_equal(counts.rings[RECEIVE], before + 1); // it lets others have their turn
    offer_buffer(0, 4);
    assert_received(0, "x");
}

static void a_write_without_end_breaks_it(void **state)
{
    uint32_t head = 0, written = 0;
    (void)state;
    // 2 MiB: a table of descriptors over the same bytes
    for (unsigned i = 0; i < 16; i++)
        put_descriptor(&memory, 0x10000, i, DATA, 0x20000, i < 15 ? D_NEXT : 0, i + 1);
    fixture_reset(device);
    memset(fixture_at(&memory, 0x4000, 0x4000), 0, 0x4000);
    rings[TRANSMIT].next_available = rings[TRANSMIT].next_used = 0;
    fixture_start(device, VIRTIO_F_INDIRECT, rings, 2);
    driver_describe(&rings[TRANSMIT], 0, 0x10000, 16 * 16, D_INDIRECT, 0);
    driver_offer(&rings[TRANSMIT], 0);
    fixture_kick(device, TRANSMIT);
    assert_true(device->status & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(recv(sockets[1], &head, 4, MSG_DONTWAIT), -1);
    (void)driver_take(&rings[TRANSMIT], &head, &written);
    fixture_reset(device);
    start();
    guest_writes("again");
    assert_shown("again");
}

static void illegal_rings_break_it(void **state)
{
    (void)state;
    guest_writes("# ");
    assert_shown("# ");
    driver_offer(&rings[RECEIVE], 100);
    fixture_kick(device, RECEIVE); // nothing is to be delivered: not looked at
    assert_false(device->status & VIRTIO_STATUS_NEEDS_RESET);
    person_types("x", 1);
    assert_true(device->status & VIRTIO_STATUS_NEEDS_RESET);
    fixture_reset(device); // what was typed is gone with the driver
    start();
    guest_writes("# ");
    offer_buffer(0, 10);
    person_types("y", 1);
    assert_received(0, "y");
    driver_offer(&rings[TRANSMIT], 100);
    fixture_kick(device, TRANSMIT);
    assert_true(device->status & VIRTIO_STATUS_NEEDS_RESET);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(what_the_guest_writes_is_shown),
        T(what_is_typed_reaches_the_guest),
        T(input_waits_for_buffers),
        T(much_input_waits_at_its_writer_and_none_is_lost),
        T(input_goes_where_the_guest_wrote_last),
        T(empty_buffers_do_not_hold_it_up),
        T(a_write_without_end_breaks_it),
        T(illegal_rings_break_it),
    };
    return cmocka_run_group_tests_name("virtio console", tests, NULL, NULL);
}
