// The threads that serve (see workers.h). The mutex guards the counts and the ownership of slots; a thread holds it
// only before and after a request.
#include "fuse-cloop/workers.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/thread.h"
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/banned.h"

#define RETRY_MS 100 // after a failure of the device that should not be

struct workers {
    struct session *session;
    int ended_fd;
    pthread_mutex_t mutex;
    pthread_cond_t changed; // a thread has ended
    unsigned threads, idle; // idle: those that wait for a request
    bool owned[STATE_SLOTS];
};

struct worker {
    struct workers *all;
    unsigned slot;
    unsigned char request[SESSION_REQUEST_SIZE];
};

static void *work(void *context);

// Starts a thread for this slot. With the mutex.
static int start_one(struct workers *w, unsigned slot)
{
    struct worker *one = malloc(sizeof(*one));
    if (!one)
        return -ENOMEM;
    one->all = w;
    one->slot = slot;
    int r = thread_start(NULL, WORKERS_STACK, work, one);
    if (r < 0) {
        free(one);
        return r;
    }
    w->owned[slot] = true;
    w->threads++;
    w->idle++;
    return 0;
}

// With the mutex.
static void start_another(struct workers *w)
{
    for (unsigned slot = 0; slot < STATE_SLOTS; slot++)
        if (!w->owned[slot]) {
            int r = start_one(w, slot);
            if (r < 0)
                log_warning("no further thread to serve reads: %s", strerror(-r));
            return;
        }
}

static void take_up(struct workers *w)
{
    pthread_mutex_lock(&w->mutex);
    if (--w->idle == 0)
        start_another(w);
    pthread_mutex_unlock(&w->mutex);
}

// True if the thread is to go on. One that leaves is not idle any more, not even for a moment: the last idle one, when
// it takes up a request, would count on it and start nobody.
static bool lay_down(struct workers *w)
{
    pthread_mutex_lock(&w->mutex);
    bool stay = w->idle < WORKERS_IDLE;
    w->idle += stay;
    pthread_mutex_unlock(&w->mutex);
    return stay;
}

static void *work(void *context)
{
    struct worker *one = context;
    struct workers *w = one->all;
    struct fuse_buf buf = {.mem = one->request};
    bool go_on = true;
    if (session_receive_slot(w->session, one->slot, &buf)) {
        take_up(w);
        session_process(w->session, &buf);
        go_on = lay_down(w);
    }
    while (go_on) {
        int r = session_receive(w->session, one->slot, &buf);
        if (r == 0)
            break;
        if (r < 0) {
            if (r != -EINTR && r != -EAGAIN) {
                log_error("reading from /dev/fuse: %s", strerror(-r));
                poll(NULL, 0, RETRY_MS);
            }
            continue;
        }
        take_up(w);
        session_process(w->session, &buf);
        go_on = lay_down(w);
    }
    pthread_mutex_lock(&w->mutex);
    w->owned[one->slot] = false;
    w->threads--;
    w->idle -= go_on;
    if (go_on && eventfd_write(w->ended_fd, 1) < 0) // left the loop because the mount is gone
        log_error("cannot tell that the mount is gone: %s", strerror(errno));
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    free(one);
    return NULL;
}

int workers_start(struct session *s, int ended_fd, struct workers **ret, struct error *error)
{
    struct workers *w = calloc(1, sizeof(*w));
    pthread_condattr_t attributes;
    if (!w)
        return error_set(error, ENOMEM, "out of memory");
    w->session = s;
    w->ended_fd = ended_fd;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    int r = 0;
    pthread_mutex_lock(&w->mutex);
    for (unsigned slot = 0; slot < STATE_SLOTS && r == 0; slot++)
        if (state_slot_is_used(s->state, slot))
            r = start_one(w, slot);
    if (r == 0 && w->idle < 2)
        start_another(w);
    if (r == 0 && w->threads == 0)
        r = -EAGAIN;
    pthread_mutex_unlock(&w->mutex);
    if (r < 0)
        return error_set(error, -r, "cannot start the threads that serve: %s", strerror(-r)); // the process ends
    *ret = w;
    return 0;
}

bool workers_wait(struct workers *w, unsigned milliseconds)
{
    uint64_t end = io_monotonic_ns() + milliseconds * 1000000ull;
    struct timespec until = {.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
    pthread_mutex_lock(&w->mutex);
    while (w->threads > 0 && pthread_cond_timedwait(&w->changed, &w->mutex, &until) == 0)
        ;
    bool all = w->threads == 0;
    pthread_mutex_unlock(&w->mutex);
    return all;
}
