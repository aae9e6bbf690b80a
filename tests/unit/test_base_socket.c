// base/socket.h: listening in place of the dead and not of the living, whole messages, descriptors that never leak.
#include "base/socket.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "skip.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"

#include "base/banned.h"

static char folder[PATH_TEXT_SIZE]; // removed by the runner
static char path[PATH_TEXT_SIZE];

static int set_up(void **state)
{
    (void)state;
    const char *parent = getenv("TMPDIR");
    if (path_format(folder, sizeof folder, "%s/rondo-socket.XXXXXX", parent ? parent : "/tmp") < 0 || !mkdtemp(folder))
        return -1;
    return path_format(path, sizeof path, "%s/s", folder);
}

static unsigned count_descriptors(void)
{
    DIR *d CLEANUP_CLOSEDIR = opendir("/proc/self/fd");
    assert_non_null(d);
    unsigned n = 0;
    while (readdir(d))
        n++;
    return n;
}

static void make_pair(int pair[static 2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void listen_connect_accept(void **state)
{
    (void)state;
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0600);
    int client CLEANUP_CLOSE = socket_connect(path, NULL);
    assert_true(client >= 0);
    int server CLEANUP_CLOSE = socket_accept(listener);
    assert_true(server >= 0);
    assert_int_equal(fcntl(server, F_GETFD) & fcntl(client, F_GETFD) & fcntl(listener, F_GETFD) & FD_CLOEXEC,
                     FD_CLOEXEC);
    char text[SOCKET_LINE_MAXIMUM];
    assert_int_equal(socket_send(client, "hello\n", NULL, 0), 0);
    assert_int_equal(socket_receive(server, 1000, text, NULL, NULL), 6);
    assert_string_equal(text, "hello\n");
    assert_int_equal(unlink(path), 0);
}

static void living_listeners_are_not_replaced(void **state)
{
    (void)state;
    struct error e = {0};
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    assert_int_equal(socket_listen(path, &e), -EBUSY);
    assert_non_null(strstr(e.text, path));
    int client CLEANUP_CLOSE = socket_connect(path, NULL);
    assert_true(client >= 0); // still the first one's
    assert_int_equal(unlink(path), 0);
}

static void dead_sockets_are_replaced(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(socket_connect(path, &e), -ENOENT);
    int dead = socket_listen(path, NULL);
    assert_true(dead >= 0);
    close(dead);
    assert_int_equal(socket_connect(path, &e), -ECONNREFUSED);
    assert_non_null(strstr(e.text, path));
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    int client CLEANUP_CLOSE = socket_connect(path, NULL);
    assert_true(client >= 0);
    assert_int_equal(unlink(path), 0);
}

static void other_files_are_not_replaced(void **state)
{
    (void)state;
    struct error e = {0};
    struct stat st;
    assert_int_equal(io_replace_file(AT_FDCWD, path, "precious", 8, 0600), 0);
    assert_int_equal(socket_listen(path, &e), -EEXIST);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 8);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(socket_listen(path, &e), -EEXIST);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(socket_listen("/nowhere/at/all/s", &e), -ENOENT);
    assert_int_equal(socket_listen("/tmp/", &e), -EINVAL);
}

// Of many that start at once beside a dead socket exactly one listens.
static void *listen_in_thread(void *argument)
{
    *(int *)argument = socket_listen(path, NULL);
    return NULL;
}

static void one_of_many_starters_wins(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        int dead = socket_listen(path, NULL);
        assert_true(dead >= 0);
        close(dead);
        pthread_t threads[8];
        int results[ARRAY_SIZE(threads)];
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, listen_in_thread, &results[i]), 0);
        int winner = -1;
        for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            if (results[i] >= 0) {
                assert_int_equal(winner, -1);
                winner = results[i];
            } else {
                assert_int_equal(results[i], -EBUSY);
            }
        }
        assert_true(winner >= 0);
        int client CLEANUP_CLOSE = socket_connect(path, NULL);
        assert_true(client >= 0);
        close(winner);
    }
    assert_int_equal(unlink(path), 0);
}

static void long_paths_work(void **state)
{
    (void)state;
    char deep[PATH_TEXT_SIZE];
    assert_int_equal(path_format(deep, sizeof deep, "%s/%0100d/%0100d", folder, 0, 0), 0);
    assert_int_equal(io_make_folders(AT_FDCWD, deep, 0700), 0);
    assert_int_equal(path_format(deep, sizeof deep, "%s/s", deep), 0);
    int listener CLEANUP_CLOSE = socket_listen(deep, NULL);
    assert_true(listener >= 0);
    int client CLEANUP_CLOSE = socket_connect(deep, NULL);
    assert_true(client >= 0);
    char long_name[PATH_TEXT_SIZE];
    assert_int_equal(path_format(long_name, sizeof long_name, "%s/%0200d", folder, 0), 0);
    assert_int_equal(socket_listen(long_name, NULL), -ENAMETOOLONG);
}

static void other_users_are_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        SKIP("only root can become another user");
    int listener CLEANUP_CLOSE = socket_listen(path, NULL);
    assert_true(listener >= 0);
    struct timeval limit = {.tv_sec = 10};
    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
    assert_int_equal(chmod(path, 0666), 0); // so that only the check itself is between them
    char *parent CLEANUP_FREE = strdup(folder);
    for (char *slash = strrchr(parent, '/'); slash && slash != parent; slash = strrchr(parent, '/')) {
        chmod(parent, 0711);
        *slash = '\0';
        if (strcmp(parent, "/tmp") == 0)
            break;
    }
    pid_t child = fork();
    if (child == 0) {
        if (setresuid(54321, 54321, 54321) != 0)
            _exit(99);
        _exit(-socket_connect(path, NULL)); // the listener runs as another user
    }
    assert_int_equal(socket_accept(listener), -EPERM);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), EPERM);
    assert_int_equal(unlink(path), 0);
}

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
        cmocka_unit_test(listen_connect_accept),
        cmocka_unit_test(living_listeners_are_not_replaced),
        cmocka_unit_test(dead_sockets_are_replaced),
        cmocka_unit_test(other_files_are_not_replaced),
        cmocka_unit_test(one_of_many_starters_wins),
        cmocka_unit_test(long_paths_work),
        cmocka_unit_test(other_users_are_refused),
        cmocka_unit_test(descriptors_arrive_in_order_and_close_on_exec),
        cmocka_unit_test(unwanted_descriptors_are_closed),
        cmocka_unit_test(hostile_messages_are_refused_without_leaks),
        cmocka_unit_test(send_checks_its_arguments),
        cmocka_unit_test(the_end_is_seen_from_both_sides),
        cmocka_unit_test(waiting_ends_with_time_or_a_signal),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
