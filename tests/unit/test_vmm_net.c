// The network card between a driver in the test and the other end of passt's socket: frames arrive whole, in order, in
// as many buffers as they need; a peer that does not read, and one that breaks the rules, do no harm.
#include "turn_loop.h"
#include "virtio_fixture.h"
#include "vmm/loop.h"
#include "vmm/virtio_net.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "skip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE 0u
#define SEND 1u
#define RING_SIZE 64u
#define BUFFERS 0x20000u // of the guest, in its low memory
#define MERGEABLE (UINT64_C(1) << 15)

static struct guest_memory memory;
static struct loop loop;
static struct virtio_device *card;
static struct counting_transport counts;
static struct driver_ring rings[2];
static int peer, card_fd; // both ends; the card's is its own
static unsigned char frame[NET_FRAME_MAXIMUM], bytes[NET_FRAME_MAXIMUM + 64];

// A few rounds are enough for any test here.
static void run_loop(void)
{
    turn_loop(&loop, 200);
}

static int set_up(void **state)
{
    (void)state;
    int pair[2];
    struct virtio_net_settings settings = {.mac = {2, 1, 2, 3, 4, 5}, .loop = &loop};
    memory = fixture_memory();
    assert_int_equal(loop_init(&loop, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    peer = pair[1];
    card_fd = pair[0];
    assert_int_equal(net_link_new(NET_LINK_PASST, pair[0], &settings.link, NULL), 0);
    assert_int_equal(virtio_net_new(&settings, &memory, &card, NULL), 0);
    fixture_attach(card, &counts);
    rings[0] = driver_ring(&memory, 0x4000, RING_SIZE);
    rings[1] = driver_ring(&memory, 0x8000, RING_SIZE);
    fixture_start(card, MERGEABLE, rings, 2);
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = (unsigned char)(i * 7 + i / 256);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    virtio_free(card);
    loop_destroy(&loop);
    close(peer);
    fixture_memory_free(&memory);
    return 0;
}

static void peer_sends(size_t n)
{
    unsigned char length[4] = {0, (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n};
    assert_int_equal(send(peer, length, 4, MSG_NOSIGNAL), 4);
    assert_int_equal(send(peer, frame, n, MSG_NOSIGNAL), n);
}

static size_t peer_gets(void)
{
    unsigned char length[4];
    assert_int_equal(recv(peer, length, 4, MSG_WAITALL | MSG_DONTWAIT), 4);
    size_t n = (size_t)length[1] << 16 | (size_t)length[2] << 8 | length[3];
    assert_true(length[0] == 0 && n <= sizeof bytes);
    assert_int_equal(recv(peer, bytes, n, MSG_WAITALL | MSG_DONTWAIT), n);
    return n;
}

static void give_buffer(unsigned i, uint32_t n)
{
    driver_describe(&rings[RECEIVE], i, BUFFERS + i * 4096ull, n, D_WRITE, 0);
    driver_offer(&rings[RECEIVE], i);
}

// A frame of n bytes behind the 12 bytes of the header, in two segments.
static void guest_sends(unsigned i, uint32_t n)
{
    uint64_t at = BUFFERS + 0x40000 + i * 4096ull;
    memset(fixture_at(&memory, at, 12), 0, 12);
    memcpy(fixture_at(&memory, at + 12, n), frame, n);
    driver_describe(&rings[SEND], 2 * i, at, 12, D_NEXT, 2 * i + 1);
    driver_describe(&rings[SEND], 2 * i + 1, at + 12, n, 0, 0);
    driver_offer(&rings[SEND], 2 * i);
}

static void a_frame_reaches_the_guest(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    give_buffer(0, 2048);
    peer_sends(60);
    run_loop();
    assert_true(driver_take(&rings[RECEIVE], &head, &written));
    assert_int_equal(head, 0);
    assert_int_equal(written, 72);
    assert_int_equal(get_le16(fixture_at(&memory, BUFFERS + 10, 2)), 1); // buffers
    assert_memory_equal(fixture_at(&memory, BUFFERS + 12, 60), frame, 60);
    assert_int_equal(counts.interrupts[RECEIVE], 1);
}

static void a_long_frame_takes_several_buffers(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    size_t done = 0;
    for (unsigned i = 0; i < 40; i++)
        give_buffer(i, 2000);
    peer_sends(65000);
    run_loop();
    assert_int_equal(get_le16(fixture_at(&memory, BUFFERS + 10, 2)), 33);
    for (unsigned i = 0; i < 33; i++) {
        assert_true(driver_take(&rings[RECEIVE], &head, &written));
        assert_int_equal(head, i);
        unsigned skip = i == 0 ? 12 : 0;
        assert_memory_equal(fixture_at(&memory, BUFFERS + i * 4096ull + skip, written - skip), frame + done,
                            written - skip);
        done += written - skip;
    }
    assert_int_equal(done, 65000);
    assert_false(driver_take(&rings[RECEIVE], &head, &written));
}

#define PARTS 20u // buffers of 100 bytes, for a frame of 1950

// A driver on another processor: true if it ever saw a part of a frame without the rest.
static void *look_for_parts(void *stop)
{
    const unsigned char *index = fixture_at(&memory, rings[RECEIVE].used + 2, 2);
    bool torn = false;
    while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED))
        torn |= __atomic_load_n((const uint16_t *)(const void *)index, __ATOMIC_RELAXED) % PARTS != 0;
    return torn ? stop : NULL;
}

static void the_buffers_of_a_frame_come_at_once(void **state)
{
    (void)state;
    pthread_t driver;
    bool stop = false;
    void *torn = NULL;
    uint32_t head = 0, written = 0;
    assert_int_equal(pthread_create(&driver, NULL, look_for_parts, &stop), 0);
    for (unsigned i = 0; i < 100; i++) {
        for (unsigned j = 0; j < PARTS; j++)
            give_buffer(j, 100);
        peer_sends(1950);
        run_loop();
        for (unsigned j = 0; j < PARTS; j++)
            assert_true(driver_take(&rings[RECEIVE], &head, &written));
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(driver, &torn), 0);
    assert_null(torn);
}

// The descriptor tells of what is to be read, not of what was.
static void many_frames_at_a_time_all_reach_the_guest(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    unsigned got = 0;
    memset(fixture_at(&memory, 0x4000, 0x2000), 0, 0x2000);
    rings[RECEIVE] = driver_ring(&memory, 0x4000, 256);
    fixture_start(card, MERGEABLE, rings, 2);
    unsigned rung = counts.rings[RECEIVE];
    for (unsigned i = 0; i < 200; i++) {
        driver_describe(&rings[RECEIVE], i, BUFFERS, 2048, D_WRITE, 0);
        driver_offer(&rings[RECEIVE], i);
        memcpy(bytes + i * 64, (const unsigned char[]){0, 0, 0, 60}, 4);
        memcpy(bytes + i * 64 + 4, frame, 60);
    }
    assert_int_equal(send(peer, bytes, 200 * 64, MSG_NOSIGNAL), 200 * 64); // they are read at once
    run_loop();
    while (rung < counts.rings[RECEIVE]) {
        rung = counts.rings[RECEIVE];
        fixture_kick(card, RECEIVE);
    }
    while (driver_take(&rings[RECEIVE], &head, &written))
        got++;
    assert_int_equal(got, 200);
}

static void frames_wait_until_there_are_buffers(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    give_buffer(0, 100);
    peer_sends(1000);
    peer_sends(60);
    run_loop();
    assert_false(driver_take(&rings[RECEIVE], &head, &written));
    for (unsigned i = 1; i < 20; i++)
        give_buffer(i, 100);
    fixture_kick(card, RECEIVE);
    run_loop();
    for (unsigned i = 0; i < 12; i++)
        assert_true(driver_take(&rings[RECEIVE], &head, &written));
    assert_int_equal(head, 11);
    assert_int_equal(written, 72);
    assert_false(driver_take(&rings[RECEIVE], &head, &written));
}

static void without_mergeable_buffers_what_does_not_fit_is_dropped(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    rings[0] = driver_ring(&memory, 0x4000, RING_SIZE);
    memset(fixture_at(&memory, 0x4000, 0x2000), 0, 0x2000);
    fixture_start(card, 0, rings, 2);
    give_buffer(0, 1526);
    peer_sends(3000);
    peer_sends(1514);
    run_loop();
    assert_true(driver_take(&rings[RECEIVE], &head, &written));
    assert_int_equal(written, 1526);
    assert_false(driver_take(&rings[RECEIVE], &head, &written));
}

static void what_the_guest_sends_reaches_the_peer_in_order(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    for (unsigned i = 0; i < 20; i++)
        guest_sends(i, 60 + i);
    fixture_kick(card, SEND);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(peer_gets(), 60 + i);
        assert_memory_equal(bytes, frame, 60 + i);
        assert_true(driver_take(&rings[SEND], &head, &written));
        assert_int_equal(head, 2 * i);
        assert_int_equal(written, 0);
    }
}

static void a_peer_that_does_not_read_only_delays(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    unsigned sent = 0, got = 0, taken = 0;
    for (; sent < 4000 && counts.rings[SEND] < 1000; sent++) {
        if (sent - taken == RING_SIZE / 2)
            break;
        guest_sends(sent % (RING_SIZE / 2), 3000);
        fixture_kick(card, SEND);
        while (driver_take(&rings[SEND], &head, &written))
            taken++;
    }
    assert_true(sent > taken && taken > 10); // the socket's buffer is full
    for (int round = 0; got < sent && round < 1000; round++) {
        struct pollfd ready = {.fd = peer, .events = POLLIN};
        while (poll(&ready, 1, 0) > 0) {
            unsigned char length[4];
            assert_int_equal(recv(peer, length, 4, MSG_WAITALL), 4);
            assert_int_equal(get_le32(length), 0xb80b0000u); // 3000, big-endian
            for (size_t n = 0; n < 3000;) {                  // its end may still be with the card
                ssize_t r = recv(peer, bytes + n, 3000 - n, MSG_DONTWAIT);
                if (r < 0)
                    run_loop();
                else
                    n += (size_t)r;
            }
            assert_memory_equal(bytes, frame, 3000);
            got++;
        }
        run_loop();
    }
    assert_int_equal(got, sent);
    while (driver_take(&rings[SEND], &head, &written))
        taken++;
    assert_int_equal(taken, sent);
}

static void no_frame_is_made_of_too_few_or_too_many_bytes(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    guest_sends(0, 13);
    driver_describe(&rings[SEND], 10, BUFFERS, 5, 0, 0); // not even a header
    driver_offer(&rings[SEND], 10);
    driver_describe(&rings[SEND], 11, 0, 70000, 0, 0);
    driver_offer(&rings[SEND], 11);
    guest_sends(1, 14);
    fixture_kick(card, SEND);
    assert_int_equal(peer_gets(), 14);
    for (unsigned i = 0; i < 4; i++)
        assert_true(driver_take(&rings[SEND], &head, &written));
    assert_int_equal(recv(peer, bytes, 1, MSG_DONTWAIT), -1);
}

static unsigned link_status(void)
{
    unsigned char status[2];
    struct virtio_device *d = card;
    d->operations->read_config(d, 6, status, 2);
    return get_le16(status);
}

static void the_end_of_the_peer_is_a_pulled_cable(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    assert_int_equal(link_status(), 1);
    close(peer);
    peer = -1;
    run_loop();
    assert_int_equal(link_status(), 0);
    assert_int_equal(counts.config_interrupts, 1);
    guest_sends(0, 60);
    fixture_kick(card, SEND);
    assert_true(driver_take(&rings[SEND], &head, &written)); // dropped, not stuck
    fixture_reset(card);
    memset(fixture_at(&memory, 0x4000, 0x6000), 0, 0x6000);
    rings[0] = driver_ring(&memory, 0x4000, RING_SIZE);
    fixture_start(card, MERGEABLE, rings, 2);
    run_loop();
}

// Nothing waits for anything else: what comes is received while what goes is stuck, and goes on where it was.
static void each_direction_goes_on_without_the_other(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    unsigned got = 0;
    const int small = 4608;
    assert_int_equal(setsockopt(card_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    guest_sends(0, 65000); // many times what the socket holds
    fixture_kick(card, SEND);
    give_buffer(0, 2048);
    peer_sends(60);
    run_loop();
    assert_true(driver_take(&rings[RECEIVE], &head, &written));
    peer_sends(60); // this one finds no buffer
    for (size_t n = 0; n < 65004; run_loop()) {
        ssize_t r = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT);
        n += r > 0 ? (size_t)r : 0;
        assert_true(++got < 1000);
    }
    assert_true(got > 2);
    guest_sends(1, 65000); // stuck again, and starved, when the peer ends
    fixture_kick(card, SEND);
    close(peer);
    peer = -1;
    run_loop();
    assert_int_equal(link_status(), 0);
}

static void the_end_of_the_peer_is_seen_without_buffers(void **state)
{
    (void)state;
    peer_sends(60);
    run_loop(); // the guest has no buffers
    close(peer);
    peer = -1;
    run_loop();
    assert_int_equal(link_status(), 0);
}

// Frames of 65000 bytes, until the socket is full and one is half sent; all end at the same place.
static unsigned send_until_blocked(void)
{
    unsigned sent = 0, taken = 0;
    uint32_t head = 0, written = 0;
    for (; sent - taken < 8; sent++) {
        guest_sends(sent % 32, 65000);
        fixture_kick(card, SEND);
        while (driver_take(&rings[SEND], &head, &written))
            taken++;
    }
    return sent - taken;
}

static void what_waits_for_a_peer_that_ends_is_dropped(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    unsigned waiting = send_until_blocked();
    unsigned rung = counts.rings[SEND];
    close(peer);
    peer = -1;
    run_loop();
    assert_int_equal(link_status(), 0);
    assert_true(counts.rings[SEND] > rung);
    fixture_kick(card, SEND);
    for (; waiting > 0; waiting--)
        assert_true(driver_take(&rings[SEND], &head, &written));
}

static size_t drain(void)
{
    size_t n = 0;
    ssize_t r;
    do {
        run_loop();
        for (; (r = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT)) > 0; n += (size_t)r)
            ;
        run_loop();
    } while (recv(peer, bytes, 1, MSG_DONTWAIT | MSG_PEEK) > 0);
    return n;
}

static void a_frame_that_is_half_sent_outlives_a_reset(void **state)
{
    (void)state;
    send_until_blocked();
    fixture_reset(card);
    memset(fixture_at(&memory, 0x4000, 0x6000), 0, 0x6000);
    rings[0] = driver_ring(&memory, 0x4000, RING_SIZE);
    rings[1] = driver_ring(&memory, 0x8000, RING_SIZE);
    fixture_start(card, MERGEABLE, rings, 2);
    assert_int_equal(drain() % 65004, 0);
}

static void a_length_that_no_frame_has_ends_the_link(void **state)
{
    (void)state;
    static const unsigned char bad[][4] = {{0, 0, 0, 0}, {0, 0, 0, 13}, {0, 1, 0, 18}, {0xff, 0xff, 0xff, 0xff}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (i > 0)
            set_up(NULL);
        give_buffer(0, 2048);
        assert_int_equal(send(peer, bad[i], 4, MSG_NOSIGNAL), 4);
        run_loop();
        assert_int_equal(link_status(), 0);
        if (i + 1 < sizeof bad / sizeof bad[0])
            tear_down(NULL);
    }
}

static void an_illegal_buffer_breaks_the_device(void **state)
{
    (void)state;
    driver_describe(&rings[RECEIVE], 0, 0xffffffffff000ull, 2048, D_WRITE, 0);
    driver_offer(&rings[RECEIVE], 0);
    peer_sends(60);
    run_loop();
    assert_int_equal(card->status & VIRTIO_STATUS_NEEDS_RESET, VIRTIO_STATUS_NEEDS_RESET);
}

static void a_buffer_too_small_for_the_header_breaks_the_device(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        give_buffer(i, 8);
    peer_sends(60);
    run_loop();
    assert_int_equal(card->status & VIRTIO_STATUS_NEEDS_RESET, VIRTIO_STATUS_NEEDS_RESET);
}

// A whole batch in one kick: the loop has others to serve, and is asked to come back.
static void what_is_sent_at_once_goes_in_batches(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    unsigned rung = counts.rings[SEND];
    uint64_t at = BUFFERS;
    memcpy(fixture_at(&memory, at + 12, 60), frame, 60);
    for (unsigned i = 0; i < RING_SIZE; i++) {
        driver_describe(&rings[SEND], i, at, 72, 0, 0);
        driver_offer(&rings[SEND], i);
    }
    fixture_kick(card, SEND);
    assert_true(counts.rings[SEND] > rung);
    fixture_kick(card, SEND);
    for (unsigned i = 0; i < RING_SIZE; i++) {
        assert_int_equal(peer_gets(), 60);
        assert_true(driver_take(&rings[SEND], &head, &written));
    }
}

static void a_peer_that_ends_is_noticed_by_the_sender(void **state)
{
    (void)state;
    uint32_t head = 0, written = 0;
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    guest_sends(0, 60);
    fixture_kick(card, SEND);
    card->operations->statistics(card, &text);
    assert_non_null(strstr(buf_text(&text), ".sent 1\n"));
    assert_non_null(strstr(buf_text(&text), ".link up\n"));
    close(peer); // without having read it: what is read from now on is ECONNRESET
    peer = -1;
    guest_sends(1, 60);
    fixture_kick(card, SEND);
    for (unsigned i = 0; i < 2; i++)
        assert_true(driver_take(&rings[SEND], &head, &written));
    run_loop();
    assert_int_equal(link_status(), 0);
    buf_clear(&text);
    card->operations->statistics(card, &text);
    assert_non_null(strstr(buf_text(&text), ".dropped 0\n"));
    assert_non_null(strstr(buf_text(&text), ".link down\n"));
}

// --- the link alone --------------------------------------------------------------------------------------------------

static void frames_are_cut_out_wherever_they_lie(void **state)
{
    (void)state;
    struct net_link *link;
    const unsigned char *at;
    size_t n;
    int pair[2];
    static unsigned char sent[3 * (NET_FRAME_MAXIMUM + 4)];
    size_t end = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(net_link_new(NET_LINK_PASST, pair[0], &link, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        memcpy(sent + end, (const unsigned char[]){0, 0, 0x9c, 0x40}, 4); // 40000
        memset(sent + end + 4, (int)i, 40000);
        end += 40004;
    }
    size_t first = 2 * 40004 + 3; // of the third, which would not fit behind the others, three bytes of its length
    assert_int_equal(send(pair[1], sent, first, MSG_DONTWAIT | MSG_NOSIGNAL), (ssize_t)first);
    for (unsigned i = 0; i < 3; i++) {
        if (i == 2) {
            assert_int_equal(net_link_peek(link, &at, &n), 0);
            assert_int_equal(send(pair[1], sent + first, end - first, MSG_DONTWAIT | MSG_NOSIGNAL),
                             (ssize_t)(end - first));
        }
        assert_int_equal(net_link_peek(link, &at, &n), 1);
        assert_int_equal(n, 40000);
        assert_true(at[0] == i && at[n - 1] == i);
        net_link_consume(link);
    }
    assert_int_equal(net_link_peek(link, &at, &n), 0);
    static unsigned char bytes_of[NET_FRAME_MAXIMUM + 1];
    struct iovec pieces = {bytes_of, 13};
    assert_int_equal(net_link_send(link, &pieces, 13), 0); // no frame: nothing goes out
    pieces.iov_len = sizeof bytes_of;
    assert_int_equal(net_link_send(link, &pieces, sizeof bytes_of), 0);
    assert_int_equal(recv(pair[1], bytes_of, 1, MSG_DONTWAIT), -1);
    pieces.iov_len = 14;
    assert_int_equal(net_link_send(link, &pieces, 14), 0);
    close(pair[1]); // it has not read: a reset
    assert_int_equal(net_link_peek(link, &at, &n), -ECONNRESET);
    net_link_free(link);
}

static int make_tap(short flags, char ret_name[static IFNAMSIZ])
{
    struct ifreq request = {.ifr_flags = flags, .ifr_name = "rondo%d"};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        return -1;
    memcpy(ret_name, request.ifr_name, IFNAMSIZ);
    return fd;
}

static void set_up_interface(const char *name, int *ret_index)
{
    struct ifreq request = {.ifr_flags = 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memcpy(request.ifr_name, name, IFNAMSIZ);
    assert_int_equal(ioctl(fd, SIOCGIFINDEX, &request), 0);
    *ret_index = request.ifr_ifindex;
    request.ifr_flags = IFF_UP;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

// In a network of this process's own.
static void frames_go_through_a_tap(void **state)
{
    (void)state;
    char name[IFNAMSIZ];
    struct net_link *link;
    struct error error = {.text = ""};
    struct iovec pieces = {frame, 60};
    const unsigned char *at;
    size_t n;
    int fd = unshare(CLONE_NEWNET) == 0 ? make_tap(IFF_TUN | IFF_NO_PI, name) : -1;
    if (fd < 0)
        SKIP("no network namespace, or no tap interface, can be made here");
    assert_int_equal(net_link_new(NET_LINK_TAP, fd, &link, &error), -EINVAL);
    assert_non_null(strstr(error.text, "IFF_TAP and IFF_NO_PI"));
    for (int header = 0; header < 2; header++) {
        int index, other = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
        assert_int_equal(net_link_new(NET_LINK_TAP, make_tap(IFF_TAP | IFF_NO_PI | (header ? IFF_VNET_HDR : 0), name),
                                      &link, &error),
                         0);
        assert_int_equal(net_link_send(link, &pieces, 60), 0); // it is down, and drops it
        assert_int_equal(net_link_peek(link, &at, &n), 0);
        set_up_interface(name, &index);
        const struct sockaddr_ll where = {
            .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
        assert_int_equal(bind(other, (const struct sockaddr *)&where, sizeof where), 0);
        memset(frame, 0xff, 6); // to everybody
        assert_int_equal(net_link_send(link, &pieces, 60), 0);
        struct pollfd ready = {.fd = other, .events = POLLIN};
        ssize_t got = 0;
        while (poll(&ready, 1, 1000) > 0 && (got = recv(other, bytes, sizeof bytes, 0)) != 60)
            ;
        assert_int_equal(got, 60);
        assert_memory_equal(bytes, frame, 60);
        frame[20] = 0x77;
        assert_int_equal(send(other, frame, 60, 0), 60);
        ready.fd = net_link_fd(link);
        while (poll(&ready, 1, 1000) > 0 && net_link_peek(link, &at, &n) == 1 && (n != 60 || at[20] != 0x77))
            net_link_consume(link); // the host's own greetings
        assert_int_equal(n, 60);
        assert_memory_equal(at, frame, 60);
        struct iovec nowhere = {(void *)1, 60};
        assert_int_equal(net_link_send(link, &nowhere, 60), -EFAULT); // any other failure is one
        net_link_free(link);
        close(other);
    }
}

static void only_fitting_descriptors_are_taken_as_links(void **state)
{
    (void)state;
    struct net_link *link;
    struct error error = {.text = ""};
    int pair[2];
    assert_int_equal(net_link_new(NET_LINK_PASST, open("/dev/null", O_RDWR | O_CLOEXEC), &link, &error), -ENOTSOCK);
    assert_non_null(strstr(error.text, "no socket"));
    assert_true(net_link_new(NET_LINK_TAP, open("/dev/null", O_RDWR | O_CLOEXEC), &link, &error) < 0);
    assert_non_null(strstr(error.text, "no tap interface"));
    assert_int_equal(net_link_new(NET_LINK_PASST, -1, &link, &error), -EBADF);
    assert_int_equal(net_link_new(NET_LINK_PASST, open("/dev/null", O_PATH | O_CLOEXEC), &link, &error), -EBADF);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(net_link_new(NET_LINK_PASST, pair[0], &link, &error), -EINVAL);
    close(pair[1]);
}

#define WITH_CARD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CARD(a_frame_reaches_the_guest),
        WITH_CARD(a_long_frame_takes_several_buffers),
        WITH_CARD(the_buffers_of_a_frame_come_at_once),
        WITH_CARD(many_frames_at_a_time_all_reach_the_guest),
        WITH_CARD(frames_wait_until_there_are_buffers),
        WITH_CARD(without_mergeable_buffers_what_does_not_fit_is_dropped),
        WITH_CARD(what_the_guest_sends_reaches_the_peer_in_order),
        WITH_CARD(a_peer_that_does_not_read_only_delays),
        WITH_CARD(no_frame_is_made_of_too_few_or_too_many_bytes),
        WITH_CARD(the_end_of_the_peer_is_a_pulled_cable),
        WITH_CARD(each_direction_goes_on_without_the_other),
        WITH_CARD(the_end_of_the_peer_is_seen_without_buffers),
        WITH_CARD(what_waits_for_a_peer_that_ends_is_dropped),
        WITH_CARD(a_frame_that_is_half_sent_outlives_a_reset),
        WITH_CARD(a_length_that_no_frame_has_ends_the_link),
        WITH_CARD(an_illegal_buffer_breaks_the_device),
        WITH_CARD(a_buffer_too_small_for_the_header_breaks_the_device),
        WITH_CARD(what_is_sent_at_once_goes_in_batches),
        WITH_CARD(a_peer_that_ends_is_noticed_by_the_sender),
        cmocka_unit_test(frames_are_cut_out_wherever_they_lie),
        cmocka_unit_test(only_fitting_descriptors_are_taken_as_links),
        cmocka_unit_test(frames_go_through_a_tap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
