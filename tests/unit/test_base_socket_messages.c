// base/socket.h: whole messages, descriptors that never leak, waiting.
#include "socket_fixture.h"

#include "base/banned.h"

static void descriptors_arrive_in_order_and_close_on_exec(void **state)
{
    (void)state;
    int pair[2];
    make_pair(pair);
    int pipes[4];
    assert_int_equal(pipe2(pipes, 0), 0);
    assert_int_equal(pipe2(pipes + 2, 0), 0);
    for (unsigned count = 1; count <= SOCKET_FDS_MAXIMUM; count++) {
        int got[SOCKET_FDS_MAXIMUM] = {-1, -1, -1, -1};
        unsigned received = 99;
        char text[SOCKET_LINE_MAXIMUM];
        assert_int_equal(socket_send(pair[0], "take\n", pipes, count), 0);
        assert_int_equal(socket_receive(pair[1], 1000, text, got, &received), 5);
        assert_int_equal(received, count);
        for (unsigned i = 0; i < SOCKET_FDS_MAXIMUM; i++) {
            if (i >= count) {
                assert_int_equal(got[i], -1);
                continue;
            }
            struct stat a;
            struct stat b;
            assert_int_equal(fstat(pipes[i], &a) | fstat(got[i], &b), 0);
            assert_true(a.st_ino == b.st_ino);
            assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
            assert_int_equal(close(got[i]), 0);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(pipes); i++)
        close(pipes[i]);
    close(pair[0]);
    close(pair[1]);
}

static void unwanted_descriptors_are_closed(void **state)
{
    (void)state;
    int pair[2];
    make_pair(pair);
    unsigned before = count_descriptors();
    char text[SOCKET_LINE_MAXIMUM] = "untouched";
    unsigned count = 99;
    assert_int_equal(socket_send(pair[0], "take\n", pair, 2), 0);
    assert_int_equal(socket_receive(pair[1], 1000, text, NULL, &count), -EMSGSIZE);
    assert_string_equal(text, "untouched");
    assert_int_equal(count, 99);
    assert_int_equal(count_descriptors(), before);
    close(pair[0]);
    close(pair[1]);
}

// Sends what socket_send() would not: any bytes, any number of descriptors.
static void send_raw(int fd, const void *bytes, size_t n, int passed, unsigned count)
{
    union {
        char bytes[CMSG_SPACE(16 * sizeof(int))];
        struct cmsghdr alignment;
    } control = {0};
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = n};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (unsigned i = 0; i < count; i++)
            memcpy(CMSG_DATA(header) + i * sizeof(int), &passed, sizeof passed);
    }
    assert_int_equal(sendmsg(fd, &message, 0), n);
}

static void hostile_messages_are_refused_without_leaks(void **state)
{
    (void)state;
    static char big[SOCKET_LINE_MAXIMUM + 100];
    memset(big, 'x', sizeof big);
    static const struct {
        const char *bytes; // NULL: `big`
        size_t n;
        unsigned count;
        int wanted;
    } table[] = {
        {NULL, SOCKET_LINE_MAXIMUM - 1, 1, SOCKET_LINE_MAXIMUM - 1}, // the longest that fits
        {NULL, SOCKET_LINE_MAXIMUM, 1, -EMSGSIZE},
        {NULL, sizeof big, 4, -EMSGSIZE},
        {"x\n", 2, 5, -EMSGSIZE},
        {"x\n", 2, 16, -EMSGSIZE},
        {"a\0b\n", 4, 2, -EBADMSG},
        {"", 0, 3, 0}, // an empty record ends the conversation
    };
    int pair[2];
    make_pair(pair);
    unsigned before = count_descriptors();
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char text[SOCKET_LINE_MAXIMUM];
        int fds[SOCKET_FDS_MAXIMUM] = {-1, -1, -1, -1};
        unsigned count = 0;
        send_raw(pair[0], table[i].bytes ? table[i].bytes : big, table[i].n, pair[0], table[i].count);
        assert_int_equal(socket_receive(pair[1], 1000, text, fds, &count), table[i].wanted);
        assert_int_equal(count, table[i].wanted > 0 ? table[i].count : 0);
        for (unsigned f = 0; f < count; f++)
            close(fds[f]);
        assert_int_equal(count_descriptors(), before);
    }
    close(pair[0]);
    close(pair[1]);
}

static void send_checks_its_arguments(void **state)
{
    (void)state;
    static char big[SOCKET_LINE_MAXIMUM + 1];
    int pair[2];
    int fds[5] = {0};
    make_pair(pair);
    memset(big, 'x', SOCKET_LINE_MAXIMUM);
    assert_int_equal(socket_send(pair[0], big, NULL, 0), -EMSGSIZE);
    assert_int_equal(socket_send(pair[0], big + 1, NULL, 0), 0);
    assert_int_equal(socket_send(pair[0], "", NULL, 0), -EINVAL);
    assert_int_equal(socket_send(pair[0], "x\n", NULL, 1), -EINVAL);
    assert_int_equal(socket_send(pair[0], "x\n", fds, 5), -EMSGSIZE);
    close(pair[0]);
    close(pair[1]);
}

static void the_end_is_seen_from_both_sides(void **state)
{
    (void)state;
    char text[SOCKET_LINE_MAXIMUM] = "x";
    unsigned count = 99;
    int fds[SOCKET_FDS_MAXIMUM];
    int pair[2];
    make_pair(pair);
    assert_int_equal(socket_send(pair[0], "last\n", NULL, 0), 0);
    close(pair[0]);
    assert_int_equal(socket_receive(pair[1], 1000, text, fds, &count), 5);
    assert_int_equal(socket_receive(pair[1], 1000, text, fds, &count), 0);
    assert_string_equal(text, "");
    assert_int_equal(count, 0);
    assert_int_equal(socket_send(pair[1], "x\n", NULL, 0), -EPIPE); // and no SIGPIPE
    close(pair[1]);

    make_pair(pair);
    assert_int_equal(socket_send(pair[1], "unread\n", NULL, 0), 0);
    close(pair[0]);
    assert_int_equal(socket_receive(pair[1], 1000, text, fds, &count), 0); // the kernel says ECONNRESET
    close(pair[1]);
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void waiting_ends_with_time_or_a_signal(void **state)
{
    (void)state;
    char text[SOCKET_LINE_MAXIMUM] = "untouched";
    int pair[2];
    make_pair(pair);
    uint64_t started = io_monotonic_ns();
    assert_int_equal(socket_receive(pair[1], 50, text, NULL, NULL), -EAGAIN);
    uint64_t took = io_monotonic_ns() - started;
    assert_true(took >= 50000000 && took < UINT64_C(5000000000));
    assert_int_equal(socket_receive(pair[1], 0, text, NULL, NULL), -EAGAIN);
    struct sigaction action = {.sa_handler = on_alarm};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    alarm(1);
    assert_int_equal(socket_receive(pair[1], -1, text, NULL, NULL), -EINTR);
    assert_string_equal(text, "untouched");
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(socket_receive(pair[1], 0, text, NULL, NULL), -EBADF);
}

static void a_pair_is_connected_and_closes_on_exec(void **state)
{
    (void)state;
    int ours = -1, theirs = -1;
    char text[SOCKET_LINE_MAXIMUM];
    assert_int_equal(socket_pair(SOCK_SEQPACKET, &ours, &theirs, NULL), 0);
    assert_int_equal(socket_send(theirs, "hello", NULL, 0), 0);
    assert_int_equal(socket_receive(ours, 0, text, NULL, NULL), 5);
    assert_true(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(theirs, F_GETFD) & FD_CLOEXEC);
    close(ours);
    close(theirs);
    struct error error = {.text = ""};
    assert_true(socket_pair(12345, &ours, &theirs, &error) < 0);
    assert_non_null(strstr(error.text, "socket pair"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_connected_and_closes_on_exec),
        cmocka_unit_test(descriptors_arrive_in_order_and_close_on_exec),
        cmocka_unit_test(unwanted_descriptors_are_closed),
        cmocka_unit_test(hostile_messages_are_refused_without_leaks),
        cmocka_unit_test(send_checks_its_arguments),
        cmocka_unit_test(the_end_is_seen_from_both_sides),
        cmocka_unit_test(waiting_ends_with_time_or_a_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
