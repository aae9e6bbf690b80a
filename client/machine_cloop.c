// The keeper: a thread of the supervisor that owns its connection to rondo-cloop and goes on with a successor when that
// ends.
//
// It is a thread because the supervisor's loop may itself wait for the mount (opening the base disk, an engine that
// reads before it greets), and nobody but us may be able to bring the mount back.
//
// 1. *options->cloop is used under cloop_mutex only, from machine_keep_cloop to machine_leave_cloop.
// 2. After each recovery `base_wanted` becomes readable: the loop then hands rondo-overlay the base disk anew, which
// may lie
//    in another mount now.
// 3. The session is held before anything else is asked of a successor, so that it may die at once, too.
#include "base/cleanup.h"
#include "base/log.h"
#include "client/machine.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "base/banned.h"

#define RETRY_MS 1000
#define LEAVE_SECONDS 2

struct keeper {
    struct machine *machine;
    pthread_t thread;
    pthread_mutex_t mutex;
    int stop; // eventfd
};

static int recover(struct machine *m, struct error *error)
{
    struct supervisor_options *o = m->options;
    const struct instance_settings *s = &m->instance->settings;
    char *sources[CATALOG_MIRRORS_MAXIMUM], folder[PATH_TEXT_SIZE];
    for (unsigned i = 0; i < s->source_count; i++)
        sources[i] = (char *)s->sources[i]; // not written to
    if (o->cloop.socket >= 0)
        close(TAKE_FD(o->cloop.socket));
    int r = cloop_connect(&o->cloop, error);
    if (r == 0)
        r = cloop_hold(&o->cloop, error);
    if (r == 0)
        r = cloop_open_version(&o->cloop, &s->manifest, sources, o->offline ? 0 : s->source_count, folder, error);
    if (r < 0 && o->cloop.socket >= 0)
        close(TAKE_FD(o->cloop.socket));
    return r;
}

static void *keep(void *context)
{
    struct keeper *k = context;
    struct machine *m = k->machine;
    for (;;) {
        // It says nothing unasked, and answers belong to whoever asked: only the end of the connection is of interest.
        struct pollfd polls[] = {{.fd = k->stop, .events = POLLIN},
                                 {.fd = m->options->cloop.socket, .events = POLLRDHUP}};
        bool lost = polls[1].fd < 0;
        int n = poll(polls, ARRAY_SIZE(polls), lost ? RETRY_MS : -1);
        if (n < 0)
            continue;
        if (polls[0].revents)
            return NULL;
        if (!lost && !polls[1].revents)
            continue;
        struct error error = {.text = ""};
        if (!lost)
            log_warning("rondo-cloop ended; going on with another");
        pthread_mutex_lock(&k->mutex);
        int r = recover(m, &error);
        pthread_mutex_unlock(&k->mutex);
        if (r < 0)
            log_error("%s", error.text);
        else if (eventfd_write(m->base_wanted, 1) < 0)
            log_error("cannot ask for the base disk: %s", strerror(errno));
    }
}

int machine_keep_cloop(struct machine *m, struct error *error)
{
    struct keeper *k CLEANUP_FREE = calloc(1, sizeof(*k));
    if (!k)
        return error_set(error, ENOMEM, "out of memory");
    CLEANUP_CLOSE int wanted = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CLEANUP_CLOSE int stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wanted < 0 || stop < 0)
        return error_set(error, errno, "cannot make the descriptors of the thread that keeps rondo-cloop: %m");
    k->machine = m;
    k->stop = stop;
    pthread_mutex_init(&k->mutex, NULL);
    m->base_wanted = wanted;
    int r = pthread_create(&k->thread, NULL, keep, k);
    if (r != 0) {
        m->base_wanted = -1;
        return error_set(error, r, "cannot start the thread that keeps rondo-cloop: %s", strerror(r));
    }
    wanted = stop = -1; // the keeper's, and *m's
    m->keeper = TAKE_PTR(k);
    return 0;
}

bool machine_leave_cloop(struct machine *m)
{
    struct keeper *k = m->keeper;
    struct timespec until;
    if (!k)
        return true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LEAVE_SECONDS;
    if (eventfd_write(k->stop, 1) < 0 || pthread_timedjoin_np(k->thread, NULL, &until) != 0)
        return false;
    close(k->stop);
    close(TAKE_FD(m->base_wanted));
    pthread_mutex_destroy(&k->mutex);
    free(TAKE_PTR(m->keeper));
    return true;
}

void machine_cloop_counts(struct machine *m, char *ret_text, size_t capacity)
{
    struct keeper *k = m->keeper;
    int r = -EBUSY; // being recovered: not now
    if (!k || pthread_mutex_trylock(&k->mutex) == 0) {
        r = cloop_counts(&m->options->cloop, ret_text, capacity, NULL);
        if (k)
            pthread_mutex_unlock(&k->mutex);
    }
    if (r < 0)
        snprintf(ret_text, capacity, "requests=0 bytes=0");
}
