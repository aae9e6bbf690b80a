// A slow link: relays TCP with a round-trip time and one bottleneck for each direction.
//
//   relay LISTEN-PORT TARGET-PORT RTT-MS MBIT      (both ports on 127.0.0.1; LISTEN-PORT 0 takes a free one; MBIT 0: no
//   limit)
//
//   sender → (waits in its socket while QUEUE_PIECES are ahead) → bottleneck → half a round trip → receiver
//
// All connections share the bottleneck, as on an access line, and take turns piece by piece; little waits in front of
// it, so that a small answer is not late behind a large one. A new connection waits one round trip for its handshake.
// Loss and slow start are not modelled. Prints the port it listens on; on SIGTERM it ends, and prints "CONNECTIONS
// UP-BYTES DOWN-BYTES".
//
// One thread. Invariants: 1. pieces of a flow are delivered in order, none before it is due; 2. a line never carries
// more than its rate over any time longer than SLIP; 3. an answer that the receiver does not take holds up its own flow
// alone.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIECE 16384
#define QUEUE_PIECES 4 // ahead of the bottleneck, over all connections
#define WINDOW 64      // pieces of one flow that have been read and not been delivered
#define SLIP 5000000   // ns that a line which never ran empty may catch up after we were scheduled late
#define CONNECTIONS_MAXIMUM 256
#define SECOND 1000000000ll

struct piece {
    int64_t due;
    int size, sent; // size 0: the end
    char bytes[PIECE];
};

// One direction of a connection: a ring of pieces on their way.
struct flow {
    int from, to; // indexes of fd
    unsigned first, count;
    bool read_end, done, blocked; // blocked: the receiver takes no more
    struct piece *ring;
};

struct connection {
    int fd[2]; // client, server; -1: none
    int64_t handshake_ends;
    struct flow flow[2]; // up, down
};

static struct line {
    int64_t free; // when the last byte that entered has left
    bool busy;    // something has waited ever since
    uint64_t total;
    unsigned turn;
} lines[2];

static struct connection *connections[CONNECTIONS_MAXIMUM];
static struct pollfd polled[2 * CONNECTIONS_MAXIMUM + 1]; // two for each connection, and the listener
static double ns_per_byte;
static int64_t rtt, queue_ns;
static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static struct sockaddr_in address(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void prepare(int fd)
{
    int one = 1;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void close_connection(unsigned i)
{
    struct connection *c = connections[i];
    for (int k = 0; k < 2; k++) {
        if (c->fd[k] >= 0)
            close(c->fd[k]);
        free(c->flow[k].ring);
    }
    free(c);
    connections[i] = NULL;
}

static void accept_connection(int listener, int64_t now)
{
    unsigned i = 0;
    int fd = accept(listener, NULL, NULL);
    while (i < CONNECTIONS_MAXIMUM && connections[i])
        i++;
    struct connection *c = i < CONNECTIONS_MAXIMUM ? calloc(1, sizeof(*c)) : NULL;
    if (fd < 0 || !c) {
        if (fd >= 0)
            close(fd);
        free(c);
        return;
    }
    prepare(fd);
    *c = (struct connection){.fd = {fd, -1}, .handshake_ends = now + rtt};
    connections[i] = c;
}

static void begin(unsigned i, int target)
{
    struct connection *c = connections[i];
    struct sockaddr_in to = address(target);
    c->fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int k = 0; k < 2; k++) {
        c->flow[k] = (struct flow){.from = k, .to = !k, .ring = malloc(WINDOW * sizeof(struct piece))};
        if (!c->flow[k].ring)
            die("malloc");
    }
    if (c->fd[1] < 0 || connect(c->fd[1], (struct sockaddr *)&to, sizeof(to)) < 0) {
        close_connection(i);
        return;
    }
    prepare(c->fd[1]);
}

// Takes one piece of what a sender has into the line; false if there is nothing.
static bool take(struct connection *c, struct flow *f, struct line *line, int64_t now)
{
    struct piece *p = &f->ring[(f->first + f->count) % WINDOW];
    ssize_t n = read(c->fd[f->from], p->bytes, PIECE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    f->read_end = n <= 0;
    p->size = n > 0 ? (int)n : 0;
    p->sent = 0;
    int64_t earliest = line->busy ? now - SLIP : now;
    line->free = (line->free > earliest ? line->free : earliest) + (int64_t)(p->size * ns_per_byte);
    line->total += (uint64_t)p->size;
    p->due = line->free + rtt / 2;
    f->count++;
    return true;
}

// Lets flows that have something enter the line, in turns, until enough waits in front of it.
static void fill_line(int k, int64_t now)
{
    struct line *line = &lines[k];
    unsigned idle = 0;
    while (line->free - now < queue_ns && idle < CONNECTIONS_MAXIMUM) {
        unsigned i = line->turn++ % CONNECTIONS_MAXIMUM;
        struct connection *c = connections[i];
        struct flow *f = c ? &c->flow[k] : NULL;
        bool may = f && f->ring && !f->read_end && f->count < WINDOW;
        idle = may && take(c, f, line, now) ? 0 : idle + 1;
    }
    line->busy = line->free - now >= queue_ns;
}

// Delivers what is due; false if the receiver is gone.
static bool deliver(struct connection *c, struct flow *f, int64_t now)
{
    f->blocked = false;
    while (f->count && f->ring[f->first].due <= now) {
        struct piece *p = &f->ring[f->first];
        if (p->size == 0) {
            shutdown(c->fd[f->to], SHUT_WR);
            f->done = true;
        } else {
            ssize_t n = send(c->fd[f->to], p->bytes + p->sent, (size_t)(p->size - p->sent), MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN && errno != EINTR)
                return false;
            p->sent += n > 0 ? (int)n : 0;
            if (p->sent < p->size) {
                f->blocked = true;
                return true;
            }
        }
        f->first = (f->first + 1) % WINDOW;
        f->count--;
    }
    return true;
}

// What to wait for; returns the time of the next thing that is due.
static int64_t prepare_poll(int64_t now)
{
    int64_t next = now + SECOND;
#define SOONER(time) next = (time) < next ? (time) : next
    for (unsigned i = 0; i < CONNECTIONS_MAXIMUM; i++) {
        struct connection *c = connections[i];
        polled[2 * i] = polled[2 * i + 1] = (struct pollfd){.fd = -1};
        if (!c)
            continue;
        if (c->fd[1] < 0)
            SOONER(c->handshake_ends);
        for (unsigned k = 0; k < 2 && c->fd[1] >= 0; k++) {
            struct flow *f = &c->flow[k];
            int64_t enter = lines[k].free - queue_ns;
            if (f->count && !f->blocked)
                SOONER(f->ring[f->first].due);
            if (f->blocked)
                polled[2 * i + !k].events |= POLLOUT;
            if (!f->read_end && f->count < WINDOW && enter >= now)
                SOONER(enter + 1);
            else if (!f->read_end && f->count < WINDOW)
                polled[2 * i + k].events |= POLLIN;
        }
        for (unsigned k = 0; k < 2; k++)
            polled[2 * i + k].fd = polled[2 * i + k].events ? c->fd[k] : -1;
    }
    return next;
#undef SOONER
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: relay LISTEN-PORT TARGET-PORT RTT-MS MBIT\n");
        return 2;
    }
    int target = atoi(argv[2]);
    double mbit = atof(argv[4]);
    rtt = (int64_t)(atof(argv[3]) * 1e6);
    ns_per_byte = mbit > 0 ? 8000 / mbit : 0;
    queue_ns = (int64_t)(QUEUE_PIECES * PIECE * ns_per_byte) + 1;
    prctl(PR_SET_TIMERSLACK, 1000);

    struct sockaddr_in at = address(atoi(argv[1]));
    socklen_t length = sizeof(at);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(listener, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(listener, 128) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &length) < 0)
        die("relay: listen");
    sigset_t handled, before;
    struct sigaction action = {.sa_handler = stop};
    sigemptyset(&handled);
    sigaddset(&handled, SIGTERM);
    sigaddset(&handled, SIGINT);
    if (sigprocmask(SIG_BLOCK, &handled, &before) < 0 || sigaction(SIGTERM, &action, NULL) < 0 ||
        sigaction(SIGINT, &action, NULL) < 0)
        die("relay: signals");
    if (printf("%d\n", ntohs(at.sin_port)) < 0 || fflush(stdout) != 0)
        die("relay: output");

    unsigned accepted = 0;
    while (!stopped) {
        int64_t now = now_ns(), wait = prepare_poll(now) - now;
        wait = wait > 0 ? wait : 0;
        polled[2 * CONNECTIONS_MAXIMUM] = (struct pollfd){.fd = listener, .events = POLLIN};
        struct timespec timeout = {.tv_sec = wait / SECOND, .tv_nsec = wait % SECOND};
        if (ppoll(polled, 2 * CONNECTIONS_MAXIMUM + 1, &timeout, &before) < 0) {
            if (errno != EINTR)
                die("relay: poll");
            continue;
        }
        now = now_ns();
        fill_line(0, now);
        fill_line(1, now);
        for (unsigned i = 0; i < CONNECTIONS_MAXIMUM; i++) {
            struct connection *c = connections[i];
            if (c && c->fd[1] < 0 && c->handshake_ends <= now)
                begin(i, target);
            else if (c && c->fd[1] >= 0 &&
                     (!deliver(c, &c->flow[0], now) || !deliver(c, &c->flow[1], now) ||
                      (c->flow[0].done && c->flow[1].done)))
                close_connection(i);
        }
        if (polled[2 * CONNECTIONS_MAXIMUM].revents) {
            accept_connection(listener, now);
            accepted++;
        }
    }
    printf("%u %llu %llu\n", accepted, (unsigned long long)lines[0].total, (unsigned long long)lines[1].total);
    return 0;
}
