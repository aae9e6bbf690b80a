// Holding requests until what they need is back; overlay_hold.h says for what.
//
//             first request held                   last held request served
//   serving ──── outage … ────> holding (n requests) ───── recovered ─────> serving
//                                     └─ overlay_hold_stop ─> stopped: every held request fails, nothing is said
//
// 1. `lock` guards everything but the reads themselves. Messages are sent under it, so that they arrive in the order in
//    which things happened.
// 2. A base file lives as long as somebody reads from it: a read of a lost mount may hang while its successor works.
#include "blockstore/overlay_hold.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

#define SECOND_NS UINT64_C(1000000000)
#define COMPLAINT_NS (UINT64_C(60) * SECOND_NS) // a guest that repeats its requests must not fill the log
#define LOOK_MS 500                             // what an outage may be noticed too late

struct base_file {
    int fd;
    unsigned users; // reads in progress, and one for being the current base
};

// A read in progress, on its thread's stack.
struct base_read {
    struct base_read *after, **before; // in overlay_hold.reads
    uint64_t since, offset;
    int failure; // of the last attempt; 0: none has ended
    bool held;   // counted in `outages`
};

struct overlay_hold {
    struct overlay_hold_settings settings;
    uint64_t base_size;
    pthread_mutex_t lock;
    pthread_cond_t changed; // stopped, or another base
    struct base_file *base;
    struct base_read *reads;
    unsigned outages, spaces; // requests held for each reason
    bool stopped, said_failed;
    uint64_t may_complain; // of an outage that is passed on, from this moment
};

static int check_base(int fd, uint64_t *ret_size, struct error *error)
{
    struct stat st;
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot examine the base disk: %m");
    if (!S_ISREG(st.st_mode))
        return error_set(error, EINVAL, "the base disk's descriptor is not a regular file");
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static struct base_file *new_base(int fd)
{
    struct base_file *base = malloc(sizeof *base);
    if (base)
        *base = (struct base_file){.fd = fd, .users = 1};
    return base;
}

// With the lock held.
static void let_go(struct base_file *base)
{
    if (--base->users > 0)
        return;
    cleanup_close(&base->fd); // read-only: nothing can be lost
    free(base);
}

// Conditions that wait on the monotonic clock: a change of the time of day must not stretch a wait.
static int make_condition(pthread_cond_t *ret)
{
    pthread_condattr_t attributes;
    int r = pthread_condattr_init(&attributes);
    if (r != 0)
        return -r;
    r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(ret, &attributes);
    pthread_condattr_destroy(&attributes);
    return -r;
}

int overlay_hold_new(const struct overlay_hold_settings *settings, int base_fd, struct overlay_hold **ret,
                     struct error *error)
{
    int fd CLEANUP_CLOSE = base_fd;
    uint64_t size = 0;
    int r = fd < 0 ? 0 : check_base(fd, &size, error);
    if (r < 0)
        return r;
    struct overlay_hold *h CLEANUP_FREE = calloc(1, sizeof *h);
    struct base_file *base CLEANUP_FREE = new_base(fd);
    if (!h || !base)
        return error_set(error, ENOMEM, "out of memory");
    r = -pthread_mutex_init(&h->lock, NULL);
    if (r < 0)
        return error_set(error, -r, "cannot make a lock: %s", strerror(-r));
    r = make_condition(&h->changed);
    if (r < 0) {
        pthread_mutex_destroy(&h->lock);
        return error_set(error, -r, "cannot make a lock: %s", strerror(-r));
    }
    h->settings = *settings;
    h->base_size = size;
    h->base = TAKE_PTR(base);
    (void)TAKE_FD(fd);
    *ret = TAKE_PTR(h);
    return 0;
}

void overlay_hold_free(struct overlay_hold *h)
{
    let_go(h->base);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

uint64_t overlay_hold_base_size(const struct overlay_hold *h)
{
    return h->base_size;
}

// With the lock held (invariant 1). A supervisor that is gone is noticed by whoever receives from it.
static void say(struct overlay_hold *h, const char *text)
{
    log_info("%s", text);
    int r = socket_send(h->settings.control, text, NULL, 0);
    if (r < 0)
        log_warning("the supervisor could not be told: %s", strerror(-r));
}

// Until `deadline`, or a change. With the lock held.
static void wait_until(struct overlay_hold *h, uint64_t deadline)
{
    struct timespec at = {.tv_sec = (time_t)(deadline / SECOND_NS), .tv_nsec = (long)(deadline % SECOND_NS)};
    pthread_cond_timedwait(&h->changed, &h->lock, &at);
}

// The read has waited too long: from now until its end there is an outage. With the lock held.
static void hold_read(struct overlay_hold *h, struct base_read *read)
{
    char text[256];
    read->held = true;
    if (h->outages++ > 0)
        return;
    if (read->failure < 0)
        snprintf(text, sizeof text, "outage the base disk could not be read at offset %llu: %s",
                 (unsigned long long)read->offset, strerror(-read->failure));
    else
        snprintf(text, sizeof text, "outage the base disk has not answered for %u seconds at offset %llu",
                 h->settings.outage_after_seconds, (unsigned long long)read->offset);
    say(h, text);
}

// One attempt, without the lock, which is held before and after.
static int try_read(struct overlay_hold *h, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    struct base_file *base = h->base;
    base->users++;
    pthread_mutex_unlock(&h->lock);
    int r = io_readv_full(base->fd, to, count, n, offset);
    pthread_mutex_lock(&h->lock);
    let_go(base);
    return r;
}

// With the lock held.
static void complain(struct overlay_hold *h, const struct base_read *read, uint64_t now)
{
    if (now < h->may_complain)
        return;
    h->may_complain = now + COMPLAINT_NS;
    log_warning("the base disk could not be read at offset %llu: %s; the guest gets I/O errors",
                (unsigned long long)read->offset, strerror(-read->failure));
}

// After a failed read: 0 to try again (the wait is over), or -EIO to give up. With the lock held.
static int wait_for_base(struct overlay_hold *h, struct base_read *read)
{
    uint64_t now = io_monotonic_ns(), outage_at = read->since + h->settings.outage_after_seconds * SECOND_NS;
    if (h->stopped)
        return -EIO;
    if (now >= outage_at) {
        if (h->settings.pass_outage) {
            complain(h, read, now);
            return -EIO;
        }
        if (!read->held)
            hold_read(h, read);
        outage_at = UINT64_MAX;
    }
    wait_until(h, now + SECOND_NS < outage_at ? now + SECOND_NS : outage_at);
    return 0;
}

int overlay_hold_read_base(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    struct overlay_hold *h = context;
    struct base_read read = {.since = io_monotonic_ns(), .offset = offset};
    int r;
    pthread_mutex_lock(&h->lock);
    read.before = &h->reads;
    read.after = h->reads;
    if (read.after)
        read.after->before = &read.after;
    h->reads = &read;
    while ((r = try_read(h, offset, to, count, n)) < 0) {
        read.failure = r;
        r = wait_for_base(h, &read);
        if (r < 0)
            break;
    }
    *read.before = read.after;
    if (read.after)
        read.after->before = read.before;
    if (read.held && --h->outages == 0 && r == 0 && !h->stopped)
        say(h, "recovered");
    pthread_mutex_unlock(&h->lock);
    return r;
}

int overlay_hold_look(struct overlay_hold *h)
{
    uint64_t after = h->settings.outage_after_seconds * SECOND_NS;
    if (h->settings.pass_outage || after == 0) // then only a failure decides
        return -1;
    uint64_t now = io_monotonic_ns();
    pthread_mutex_lock(&h->lock);
    for (struct base_read *read = h->reads; read && !h->stopped; read = read->after)
        if (!read->held && now - read->since >= after && now > read->since)
            hold_read(h, read);
    pthread_mutex_unlock(&h->lock);
    return LOOK_MS;
}

int overlay_hold_replace_base(struct overlay_hold *h, int base_fd, struct error *error)
{
    int fd CLEANUP_CLOSE = base_fd;
    uint64_t size = 0;
    int r = check_base(fd, &size, error);
    if (r < 0)
        return r;
    if (size != h->base_size)
        return error_set(error, EINVAL, "the new base disk has %llu bytes instead of %llu", (unsigned long long)size,
                         (unsigned long long)h->base_size);
    struct base_file *base = new_base(fd);
    if (!base)
        return error_set(error, ENOMEM, "out of memory");
    (void)TAKE_FD(fd);
    pthread_mutex_lock(&h->lock);
    let_go(h->base);
    h->base = base;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
    return 0;
}

bool overlay_hold_wait_for_space(struct overlay_hold *h, bool *held)
{
    pthread_mutex_lock(&h->lock);
    if (!h->stopped) {
        if (!*held && h->spaces++ == 0) {
            char text[SOCKET_LINE_MAXIMUM / 2];
            snprintf(text, sizeof text, "no-space %s", h->settings.folder);
            say(h, text);
        }
        *held = true;
        uint64_t deadline = io_monotonic_ns() + SECOND_NS;
        while (!h->stopped && io_monotonic_ns() < deadline)
            wait_until(h, deadline);
    }
    bool go_on = !h->stopped;
    pthread_mutex_unlock(&h->lock);
    return go_on;
}

void overlay_hold_end_wait(struct overlay_hold *h, const bool *held)
{
    if (!*held)
        return;
    pthread_mutex_lock(&h->lock);
    if (--h->spaces == 0 && !h->stopped)
        say(h, "space");
    pthread_mutex_unlock(&h->lock);
}

void overlay_hold_say_failed(struct overlay_hold *h, const char *sentence)
{
    char text[ERROR_TEXT_SIZE + 16];
    snprintf(text, sizeof text, "failed %s", sentence);
    pthread_mutex_lock(&h->lock);
    if (!h->said_failed)
        say(h, text);
    h->said_failed = true;
    pthread_mutex_unlock(&h->lock);
}

void overlay_hold_stop(struct overlay_hold *h)
{
    pthread_mutex_lock(&h->lock);
    h->stopped = true;
    pthread_cond_broadcast(&h->changed);
    pthread_mutex_unlock(&h->lock);
}
