// A visitor's connection between a WebSocket and a machine (server/try_session.h), over socket pairs.

#include "base/cleanup.h"
#include "server/try_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/banned.h"

#define SECOND UINT64_C(1000000000)
#define START (100 * SECOND)

struct ground {
    struct try_session session;
    int visitor, machine; // the other ends
    int socket;
    bool over;
};

static void begin(struct ground *g)
{
    int a[2], b[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
    *g = (struct ground){.visitor = a[1], .machine = b[1], .socket = a[0]};
    assert_true(try_session_begin(&g->session, a[0], NULL, 0, START));
    g->session.stream = b[0];
}

static void end(struct ground *g)
{
    try_session_end(&g->session);
    cleanup_close(&g->visitor);
    cleanup_close(&g->machine);
    cleanup_close(&g->socket);
}

// Until there is nothing to do at that time.
static void work(struct ground *g, uint64_t now)
{
    for (bool idle = false; !idle && !g->over;) {
        struct pollfd polls[TRY_SESSION_POLLS];
        try_session_prepare(&g->session, polls);
        idle = poll(polls, TRY_SESSION_POLLS, 0) == 0;
        g->over = !try_session_handle(&g->session, polls, now);
    }
}

static void send_frame(struct ground *g, unsigned first, const char *payload, size_t length)
{
    unsigned char frame[WEBSOCKET_FRAME_MAXIMUM];
    size_t n = websocket_encode_head(WEBSOCKET_BINARY, length, frame);
    frame[0] = (unsigned char)first;
    frame[1] |= 0x80;
    memset(frame + n, 0, 4);
    memcpy(frame + n + 4, payload, length);
    assert_int_equal(send(g->visitor, frame, n + 4 + length, 0), n + 4 + length);
}

static void expect(int fd, const void *bytes, size_t size)
{
    unsigned char got[8192];
    assert_int_equal(recv(fd, got, sizeof got, MSG_DONTWAIT), size);
    assert_memory_equal(got, bytes, size);
}

static void test_typed_and_shown(void **state)
{
    struct ground g CLEANUP(end);
    (void)state;
    begin(&g);
    send_frame(&g, 0x02, "un", 2);
    send_frame(&g, 0x80, "ame\r", 4);
    assert_int_equal(send(g.machine, "Linux", 5, 0), 5);
    work(&g, START);
    expect(g.machine, "uname\r", 6);
    expect(g.visitor, "\x82\5Linux", 7);
    send_frame(&g, 0x89, "hi", 2);
    send_frame(&g, 0x8a, "", 0);
    work(&g, START);
    expect(g.visitor, "\x8a\2hi", 4);
    assert_false(g.over);
}

static void test_early_bytes(void **state)
{
    static const unsigned char early[WEBSOCKET_FRAME_MAXIMUM + 1] = "\x82\x81\0\0\0\0x";
    struct ground g CLEANUP(end);
    (void)state;
    begin(&g);
    int stream = g.session.stream;
    assert_false(try_session_begin(&g.session, g.socket, early, sizeof early, START));
    assert_true(try_session_begin(&g.session, g.socket, early, 7, START));
    g.session.stream = stream;
    work(&g, START);
    expect(g.machine, "x", 1);
}

static void test_the_machine_ends(void **state)
{
    struct ground g CLEANUP(end);
    (void)state;
    begin(&g);
    assert_int_equal(send(g.machine, "bye", 3, 0), 3);
    close(TAKE_FD(g.machine));
    send_frame(&g, 0x82, "lost", 4);
    work(&g, START);
    expect(g.visitor, "\x82\3bye\x88\2\x03\xe8", 9);
    assert_int_equal(recv(g.visitor, &(char){0}, 1, 0), 0);
    assert_false(g.over);
    send_frame(&g, 0x88, "\x03\xe8", 2); // its answer, and its end
    work(&g, START);
    assert_false(g.over);
    close(TAKE_FD(g.visitor));
    work(&g, START);
    assert_true(g.over);
}

static void check_refused(unsigned first, const char *payload, size_t length, const char *answer)
{
    struct ground g CLEANUP(end);
    begin(&g);
    send_frame(&g, first, payload, length);
    work(&g, START);
    expect(g.visitor, answer, 4);
    send_frame(&g, 0x82, "x", 1); // not heard any more
    work(&g, START + 1);
    assert_int_equal(recv(g.machine, &(char){0}, 1, MSG_DONTWAIT), -1);
    work(&g, START + TRY_CLOSE_SECONDS * SECOND);
    assert_true(g.over);
}

static void test_refused_frames(void **state)
{
    (void)state;
    check_refused(0x81, "text", 4, "\x88\2\x03\xeb");
    check_refused(0x83, "", 0, "\x88\2\x03\xea");
    check_refused(0x88, "\x03\xe8", 2, "\x88\2\x03\xe8"); // its own close frame is answered
}

static void test_silence(void **state)
{
    struct ground g CLEANUP(end);
    (void)state;
    begin(&g);
    work(&g, START + 19 * SECOND);
    work(&g, START + 20 * SECOND);
    expect(g.visitor, "\x89\0", 2);
    send_frame(&g, 0x8a, "", 0);
    work(&g, START + 21 * SECOND);
    work(&g, START + 41 * SECOND);
    expect(g.visitor, "\x89\0", 2);
    work(&g, START + 80 * SECOND);
    assert_false(g.over);
    work(&g, START + 81 * SECOND);
    assert_true(g.over);
}

// Writes until nothing is taken any more; returns how much was.
static size_t flood(struct ground *g, int fd, const unsigned char *bytes, size_t size)
{
    size_t all = 0;
    for (int refused = 0; refused < 2; work(g, START)) {
        ssize_t n = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        all += n > 0 ? (size_t)n : 0;
        refused = n > 0 ? 0 : refused + 1;
        assert_true(all < (1u << 24));
    }
    return all;
}

static void test_a_machine_that_does_not_listen(void **state)
{
    static unsigned char typed[6 + 100] = {0x82, 0x80 | 100};
    struct ground g CLEANUP(end);
    char bytes[4096];
    (void)state;
    begin(&g);
    flood(&g, g.visitor, typed, sizeof typed);
    work(&g, START + 300 * SECOND);
    assert_false(g.over); // pongs cannot be heard
    while (recv(g.machine, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        work(&g, START + 300 * SECOND);
    work(&g, START + 359 * SECOND);
    assert_false(g.over);
    work(&g, START + 360 * SECOND);
    assert_true(g.over); // from now on the visitor could have been heard
}

static void test_neither_side_is_read_ahead_of_the_other(void **state)
{
    static unsigned char typed[6 + 100] = {0x82, 0x80 | 100}, pings[6] = {0x89, 0x80};
    struct ground g CLEANUP(end);
    (void)state;
    begin(&g);
    assert_true(flood(&g, g.machine, typed, sizeof typed) > 0); // the visitor reads nothing
    assert_true(flood(&g, g.visitor, pings, sizeof pings) > 0); // nor takes answers
    assert_false(g.over);
    end(&g);
    begin(&g);
    assert_true(flood(&g, g.visitor, typed, sizeof typed) > 0); // the machine reads nothing
    assert_false(g.over);
    assert_int_equal(send(g.machine, "still shown", 11, 0), 11);
    work(&g, START);
    expect(g.visitor, "\x82\13still shown", 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typed_and_shown),
        cmocka_unit_test(test_early_bytes),
        cmocka_unit_test(test_the_machine_ends),
        cmocka_unit_test(test_refused_frames),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_a_machine_that_does_not_listen),
        cmocka_unit_test(test_neither_side_is_read_ahead_of_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
