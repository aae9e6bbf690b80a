// The host's end of a console: output in order and bounded, input only as there is room, over everything that can be
// read and written.
#include "tests/unit/loop_fixture.h"

#include "base/io.h"
#include "vmm/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/cleanup.h"

#include "base/banned.h"

#define IDLE_MS 30 // of processor time: what a turn of 100 ms may take that has nothing to do

// A listener that takes what it has room for.
struct taker {
    size_t room, size;
    unsigned char bytes[300000];
    unsigned asked;
    struct stream *race; // calls stream_more_room for it when it is asked for room the first time
};

static struct taker taker;
static struct stream *stream;

static size_t taker_room(void *context)
{
    struct taker *t = context;
    size_t room = t->room;
    t->asked++;
    if (t->race) {
        t->room = 100;
        stream_more_room(t->race);
        t->race = NULL;
    }
    return room;
}

static void taker_input(void *context, const unsigned char *bytes, size_t n)
{
    struct taker *t = context;
    assert_true(n > 0 && n <= t->room);
    assert_true(n <= sizeof t->bytes - t->size);
    memcpy(t->bytes + t->size, bytes, n);
    t->size += n;
    t->room -= n;
}

static const struct stream_listener listener = {taker_room, taker_input, &taker};

static int begin(void **state)
{
    (void)state;
    loop_fixture_begin();
    memset(&taker, 0, sizeof taker);
    stream = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    stream_free(stream);
    loop_fixture_end();
    return 0;
}

static void open_stream(int input, int output)
{
    struct error error = {0};
    if (stream_new(&loop, input, output, &stream, &error) < 0)
        fail_msg("%s", error.text);
}

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 31 + i / 251);
}

static void write_pattern(size_t from, size_t n)
{
    unsigned char *bytes CLEANUP_FREE = malloc(n);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(from + i);
    stream_write(stream, bytes, n);
}

// Turns the loop and reads until nothing more comes; the bytes are those of the pattern from `from` on.
static size_t read_pattern(int fd, size_t from)
{
    unsigned char bytes[10000];
    size_t total = 0;
    for (unsigned idle = 0; idle < 10; idle++) {
        loop_fixture_turn(5);
        ssize_t n = read(fd, bytes, sizeof bytes);
        idle = n > 0 ? 0 : idle;
        for (ssize_t i = 0; i < n; i++)
            if (bytes[i] != pattern(from + total + (size_t)i))
                fail_msg("byte %zu is wrong", total + (size_t)i);
        total += n > 0 ? (size_t)n : 0;
    }
    return total;
}

static void make_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
}

static void close_both(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

// --- output ---------------------------------------------------------------------------------------------------------

static void output_leaves_at_once(void **state)
{
    (void)state;
    int ends[2];
    char text[10];
    make_pipe(ends);
    open_stream(-1, ends[1]);
    stream_write(stream, "login: ", 7);
    assert_int_equal(read(ends[0], text, sizeof text), 7);
    assert_memory_equal(text, "login: ", 7);
    stream_write(stream, "", 0);
    assert_int_equal(read(ends[0], text, sizeof text), -1);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

static void a_batch_leaves_at_its_end(void **state)
{
    (void)state;
    int ends[2];
    char text[20];
    make_pipe(ends);
    open_stream(-1, ends[1]);
    stream_batch(stream, true);
    stream_write(stream, "one ", 4);
    stream_write(stream, "go", 2);
    assert_true(loop_fixture_turn(50) < IDLE_MS);
    assert_int_equal(read(ends[0], text, sizeof text), -1);
    stream_batch(stream, false);
    assert_int_equal(read(ends[0], text, sizeof text), 6);
    assert_memory_equal(text, "one go", 6);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

static void a_slow_reader_gets_everything_in_order(void **state)
{
    (void)state;
    int ends[2];
    size_t written = 0, got = 0;
    make_pipe(ends);
    open_stream(-1, ends[1]);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 2000; i++, written += 97)
            write_pattern(written, 97);
        got += read_pattern(ends[0], got);
    }
    assert_int_equal(got, written);
    assert_int_equal(stream_lost(stream), 0);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

static void a_reader_that_reads_nothing_loses_the_oldest(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    int capacity = fcntl(ends[1], F_SETPIPE_SZ, 65536);
    assert_true(capacity > 0);
    open_stream(-1, ends[1]);
    size_t total = (size_t)capacity + STREAM_BACKLOG_MAXIMUM;
    write_pattern(0, (size_t)capacity + 1000);
    write_pattern((size_t)capacity + 1000, STREAM_BACKLOG_MAXIMUM - 1000);
    assert_int_equal(stream_lost(stream), 0);
    write_pattern(total, 12345);
    assert_int_equal(stream_lost(stream), 12345);
    write_pattern(total + 12345, 2 * STREAM_BACKLOG_MAXIMUM); // more than is kept at all
    total += 12345 + 2 * STREAM_BACKLOG_MAXIMUM;
    assert_int_equal(stream_lost(stream), total - (size_t)capacity - STREAM_BACKLOG_MAXIMUM);
    unsigned char *bytes CLEANUP_FREE = malloc((size_t)capacity);
    assert_int_equal(read(ends[0], bytes, (size_t)capacity), capacity);
    for (size_t i = 0; i < (size_t)capacity; i++)
        assert_int_equal(bytes[i], pattern(i));
    assert_int_equal(read_pattern(ends[0], total - STREAM_BACKLOG_MAXIMUM), STREAM_BACKLOG_MAXIMUM);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

static void a_full_reader_costs_no_time(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    open_stream(-1, ends[1]);
    write_pattern(0, 200000);
    assert_true(loop_fixture_turn(100) < IDLE_MS);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

static void a_reader_that_is_gone_is_no_trouble(void **state)
{
    (void)state;
    int ends[2], pair[2];
    make_pipe(ends);
    open_stream(-1, ends[1]);
    write_pattern(0, 100000); // a part is waiting when it goes
    close(ends[0]);
    assert_true(loop_fixture_turn(100) < IDLE_MS);
    write_pattern(0, 1000);
    assert_true(stream_lost(stream) >= 1000);
    stream_free(stream);
    close(ends[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    open_stream(pair[0], pair[0]);
    stream_listen(stream, &listener);
    close(pair[1]);
    assert_true(loop_fixture_turn(100) < IDLE_MS);
    write_pattern(0, 1000);
    assert_int_equal(stream_lost(stream), 1000);
    assert_true(loop_fixture_turn(100) < IDLE_MS);
    stream_free(stream);
    stream = NULL;
    close(pair[0]);
}

static void *read_late(void *context)
{
    size_t *total = context;
    unsigned char bytes[4096];
    usleep(50000);
    for (;;) {
        ssize_t n = read((int)total[1], bytes, sizeof bytes);
        if (n <= 0)
            return NULL;
        for (ssize_t i = 0; i < n; i++)
            if (bytes[i] != pattern(total[0] + (size_t)i))
                return context;
        total[0] += (size_t)n;
    }
}

static void the_last_words_reach_a_reader_that_is_behind(void **state)
{
    (void)state;
    int ends[2];
    pthread_t reader;
    void *wrong = NULL;
    struct timespec before, after;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    size_t total[2] = {0, (size_t)ends[0]};
    assert_int_equal(pthread_create(&reader, NULL, read_late, total), 0);
    open_stream(-1, ends[1]);
    write_pattern(0, 250000);
    stream_free(stream);
    close(ends[1]);
    pthread_join(reader, &wrong);
    assert_null(wrong);
    assert_int_equal(total[0], 250000);
    close(ends[0]);

    make_pipe(ends);
    open_stream(-1, ends[1]);
    write_pattern(0, 250000); // and nobody reads: it does not wait for ever
    clock_gettime(CLOCK_MONOTONIC, &before);
    stream_free(stream);
    stream = NULL;
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 10);
    close_both(ends);
}

static void *write_lines(void *context)
{
    char line[32];
    for (unsigned i = 0; i < 3000; i++) {
        int n = snprintf(line, sizeof line, "%c%07u\n", *(char *)context, i);
        stream_write(stream, line, (size_t)n);
    }
    return NULL;
}

static void lines_of_several_threads_stay_whole_and_in_order(void **state)
{
    (void)state;
    int ends[2];
    pthread_t threads[3];
    char names[3] = "abc", text[9];
    unsigned next[3] = {0, 0, 0};
    make_pipe(ends);
    open_stream(-1, ends[1]);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &names[i]), 0);
    for (unsigned got = 0; got < 9000; got++) {
        size_t have = 0;
        while (have < sizeof text) {
            ssize_t n = read(ends[0], text + have, sizeof text - have);
            if (n > 0)
                have += (size_t)n;
            else
                loop_fixture_turn(1);
        }
        assert_true(text[0] >= 'a' && text[0] <= 'c' && text[8] == '\n');
        assert_int_equal(strtoul(text + 1, NULL, 10), next[text[0] - 'a']++);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(stream_lost(stream), 0);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

// --- input ----------------------------------------------------------------------------------------------------------

static void write_all(int fd, size_t from, size_t n)
{
    unsigned char *bytes CLEANUP_FREE = malloc(n);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = pattern(from + i);
    assert_int_equal(write(fd, bytes, n), n);
}

static void check_taken(size_t n)
{
    assert_int_equal(taker.size, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(taker.bytes[i], pattern(i));
}

static void wait_taken(size_t n)
{
    for (unsigned i = 0; i < 2000 && taker.size < n; i++)
        loop_fixture_turn(2);
    check_taken(n);
}

static void input_waits_for_room_and_none_is_lost(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    open_stream(pair[0], pair[0]);
    write_all(pair[1], 0, 1000);
    assert_true(loop_fixture_turn(50) < IDLE_MS); // nobody listens
    stream_listen(stream, &listener);
    assert_true(loop_fixture_turn(50) < IDLE_MS);
    check_taken(0);
    for (size_t taken = 0; taken < 1000;) {
        taker.room = 16;
        taken += taken + 16 > 1000 ? 1000 - taken : 16;
        stream_more_room(stream);
        wait_taken(taken);
    }
    stream_write(stream, "and out", 7);
    char text[10];
    assert_int_equal(read(pair[1], text, sizeof text), 7);
    stream_free(stream);
    stream = NULL;
    close_both(pair);
}

static void room_made_while_reading_stops_is_not_missed(void **state)
{
    (void)state;
    int ends[2];
    make_pipe(ends);
    open_stream(ends[0], ends[1]);
    write_all(ends[1], 0, 50);
    taker.race = stream;
    stream_listen(stream, &listener);
    wait_taken(50);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
}

static void input_whose_writer_has_gone_is_kept_until_there_is_room(void **state)
{
    (void)state;
    int ends[2], pair[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    make_pipe(ends);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    const int inputs[2][2] = {{ends[0], ends[1]}, {pair[0], pair[1]}};
    for (unsigned i = 0; i < 2; i++) {
        memset(&taker, 0, sizeof taker);
        open_stream(inputs[i][0], i == 0 ? null : inputs[i][0]);
        stream_listen(stream, &listener);
        write_all(inputs[i][1], 0, 100);
        loop_fixture_turn(5);
        close(inputs[i][1]);
        assert_true(loop_fixture_turn(100) < IDLE_MS);
        check_taken(0);
        taker.room = 70;
        stream_more_room(stream);
        wait_taken(70);
        taker.room = 70;
        stream_more_room(stream);
        wait_taken(100);
        assert_true(loop_fixture_turn(100) < IDLE_MS);
        stream_free(stream);
        close(inputs[i][0]);
    }
    stream = NULL;
    close(null);
}

static void files_and_dev_null_will_do(void **state)
{
    (void)state;
    int in = memfd_create("input", MFD_CLOEXEC), out = memfd_create("output", MFD_CLOEXEC);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    unsigned char back[1000];
    write_all(in, 0, 250000);
    lseek(in, 0, SEEK_SET);
    open_stream(in, out);
    stream_listen(stream, &listener);
    write_pattern(0, 1000);
    assert_int_equal(io_read_full(out, back, sizeof back, 0), 0);
    for (size_t i = 0; i < sizeof back; i++)
        assert_int_equal(back[i], pattern(i));
    assert_true(loop_fixture_turn(50) < IDLE_MS);
    check_taken(0);
    taker.room = 1000;
    stream_more_room(stream);
    wait_taken(1000);
    taker.room = 1000000;
    stream_more_room(stream);
    wait_taken(250000);
    assert_true(loop_fixture_turn(50) < IDLE_MS);
    stream_free(stream);
    open_stream(null, null);
    stream_listen(stream, &listener);
    write_pattern(0, 1000000);
    assert_int_equal(stream_lost(stream), 0);
    assert_true(loop_fixture_turn(50) < IDLE_MS);
    stream_free(stream);
    stream = NULL;
    close(in);
    close(out);
    close(null);
}

static void another_listener_takes_over(void **state)
{
    (void)state;
    static struct taker other;
    const struct stream_listener second = {taker_room, taker_input, &other};
    int ends[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    make_pipe(ends);
    open_stream(ends[0], null);
    stream_listen(stream, &listener);
    write_all(ends[1], 0, 10);
    loop_fixture_turn(5); // the first has no room, and never will
    other.room = 100;
    stream_listen(stream, &second);
    for (unsigned i = 0; i < 1000 && other.size < 10; i++)
        loop_fixture_turn(5);
    assert_int_equal(other.size, 10);
    check_taken(0);
    stream_free(stream);
    stream = NULL;
    close_both(ends);
    close(null);
}

// --- what is put back -----------------------------------------------------------------------------------------------

static void descriptors_are_as_they_were_afterwards(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    open_stream(ends[0], ends[1]);
    assert_true(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    stream_free(stream);
    stream = NULL;
    assert_false(fcntl(ends[0], F_GETFL) & O_NONBLOCK);
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    close_both(ends);
}

static void a_descriptor_that_is_none_is_refused(void **state)
{
    (void)state;
    struct error error = {0};
    struct stream *none = NULL;
    assert_int_equal(stream_new(&loop, -1, 987, &none, &error), -EBADF);
    assert_null(none);
    assert_non_null(strstr(error.text, "console"));
}

static bool canonical(int fd)
{
    struct termios t;
    return tcgetattr(fd, &t) == 0 && t.c_lflag & ICANON && t.c_lflag & ECHO;
}

// In a session of its own, whose terminal it is: 0, or the number of the check that failed.
static int use_terminal(int terminal)
{
    if (setsid() < 0 || ioctl(terminal, TIOCSCTTY, 0) < 0)
        return 1;
    if (!canonical(terminal) || stream_new(&loop, terminal, terminal, &stream, NULL) < 0 || canonical(terminal))
        return 2;
    taker.room = 100;
    stream_listen(stream, &listener);
    stream_write(stream, "\n", 1);
    for (unsigned i = 0; i < 100 && taker.size < 2; i++)
        loop_fixture_turn(10);
    if (taker.size != 2 || memcmp(taker.bytes, "x\x03", 2) != 0) // the interrupt key is for the guest
        return 3;
    stream_free(stream);
    stream = NULL;
    return canonical(terminal) ? 0 : 4;
}

static void a_terminal_is_raw_meanwhile(void **state)
{
    (void)state;
    int master, terminal, status = 0;
    char out[10] = "";
    assert_int_equal(openpty(&master, &terminal, NULL, NULL, NULL), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(use_terminal(terminal));
    ssize_t n = read(master, out, sizeof out); // it is raw when this comes
    assert_int_equal(write(master, "x\x03", 2), 2);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(n, 1); // no carriage return was added
    assert_int_equal(out[0], '\n');
    close(master);
    close(terminal);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(output_leaves_at_once),
        T(a_batch_leaves_at_its_end),
        T(a_slow_reader_gets_everything_in_order),
        T(a_reader_that_reads_nothing_loses_the_oldest),
        T(a_full_reader_costs_no_time),
        T(a_reader_that_is_gone_is_no_trouble),
        T(the_last_words_reach_a_reader_that_is_behind),
        T(lines_of_several_threads_stay_whole_and_in_order),
        T(input_waits_for_room_and_none_is_lost),
        T(room_made_while_reading_stops_is_not_missed),
        T(input_whose_writer_has_gone_is_kept_until_there_is_room),
        T(files_and_dev_null_will_do),
        T(another_listener_takes_over),
        T(descriptors_are_as_they_were_afterwards),
        T(a_descriptor_that_is_none_is_refused),
        T(a_terminal_is_raw_meanwhile),
    };
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
