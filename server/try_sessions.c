// The thread of visitors' connections (see try_sessions.h). A connection has the slot of its place:
//
//   empty ──take (libmicrohttpd's threads)──▶ new ──the host is asked──▶ asking ──it gives a machine──▶ running ──▶
//   empty
//                                              ▲───── it has none yet ─────┤                              ▲
//                                                                          └─ none for ASK_SECONDS ─(closing)
//
// A place becomes free when its connection ends, its machine a moment later: so a host that has none is asked again.
// Nobody waits for its answer: it comes back with the place's number, which is never used again, and a machine of a
// visitor who has left is given up.
//
// Lock: `lock` guards the slots' states and `stopping`. A slot that is not empty is the thread's, but for `state`.
#include "server/try_sessions.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "server/try_session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/banned.h"

#define ASK_SECONDS 25
#define TICK_MS 1000
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_SECOND UINT64_C(1000000000)

enum state { EMPTY, NEW, ASKING, RUNNING };

struct slot {
    enum state state;
    uint64_t place, begun, again; // io_monotonic_ns(): when it was taken, and when the host is to be asked
    char image[TRY_IMAGE_SIZE];
    struct MHD_UpgradeResponseHandle *handle;
    struct try_session session;
};

struct try_sessions {
    pthread_mutex_t lock;
    pthread_t thread;
    int wake; // an eventfd
    bool stopping, stopped;
    bool deserted; // the host has gone
    const struct try_host *host;
    struct try_places *places;
    struct slot slots[TRY_MACHINES_MAXIMUM];
};

static void wake(const struct try_sessions *s)
{
    if (eventfd_write(s->wake, 1) < 0)
        log_error("a thread cannot be woken: %m");
}

// --- libmicrohttpd's threads ---------------------------------------------------------------------------------------

void try_sessions_take(struct try_sessions *s, uint64_t place, int socket, const void *early, size_t size,
                       struct MHD_UpgradeResponseHandle *handle)
{
    const uint64_t now = io_monotonic_ns();
    struct slot *slot = &s->slots[place % TRY_MACHINES_MAXIMUM];
    const int on = 1;
    char image[TRY_IMAGE_SIZE];
    pthread_mutex_lock(&s->lock);
    const bool wanted = !s->stopping && slot->state == EMPTY && try_places_open(s->places, place, now, image) == 0;
    if (wanted && try_session_begin(&slot->session, socket, early, size, now)) {
        slot->place = place;
        slot->begun = slot->again = now;
        slot->handle = handle;
        memcpy(slot->image, image, sizeof image);
        slot->state = NEW;
    } else {
        try_places_release(s->places, place);
        MHD_upgrade_action(handle, MHD_UPGRADE_ACTION_CLOSE);
    }
    pthread_mutex_unlock(&s->lock);
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // what is typed is shown at once
    wake(s);
}

// --- the thread ----------------------------------------------------------------------------------------------------

static void end_slot(struct try_sessions *s, struct slot *slot)
{
    try_session_end(&slot->session);
    MHD_upgrade_action(slot->handle, MHD_UPGRADE_ACTION_CLOSE); // from now on the socket is another's
    const uint64_t place = slot->place;
    pthread_mutex_lock(&s->lock);
    slot->state = EMPTY;
    pthread_mutex_unlock(&s->lock);
    try_places_release(s->places, place); // last: from now on somebody else may come to this slot
}

static void set_state(struct try_sessions *s, struct slot *slot, enum state state)
{
    pthread_mutex_lock(&s->lock);
    slot->state = state;
    pthread_mutex_unlock(&s->lock);
}

static void refuse(struct try_sessions *s, struct slot *slot, int r, uint64_t now)
{
    log_error("no machine of %s: %s", slot->image, strerror(-r));
    try_session_close(&slot->session, WEBSOCKET_TRY_LATER, now);
    set_state(s, slot, RUNNING);
}

static void ask_for_machine(struct try_sessions *s, struct slot *slot, uint64_t now)
{
    if (now - slot->begun >= ASK_SECONDS * NS_PER_SECOND) {
        refuse(s, slot, -EBUSY, now);
    } else if (slot->state == NEW && now >= slot->again) {
        int r = s->deserted ? -EPIPE : try_host_ask(s->host, slot->place, slot->image);
        if (r == 0)
            set_state(s, slot, ASKING);
        else if (r == -EAGAIN)
            slot->again = now + TICK_MS * NS_PER_MS;
        else
            refuse(s, slot, r, now);
    }
}

static void take_answer(struct try_sessions *s, const struct try_answer *answer, uint64_t now)
{
    struct slot *slot = &s->slots[answer->number % TRY_MACHINES_MAXIMUM];
    pthread_mutex_lock(&s->lock);
    const bool wanted = slot->state == ASKING && slot->place == answer->number;
    pthread_mutex_unlock(&s->lock);
    if (!wanted) {
        if (answer->stream >= 0)
            close(answer->stream);
    } else if (answer->stream == -EBUSY) {
        slot->again = now + TICK_MS * NS_PER_MS;
        set_state(s, slot, NEW);
    } else if (answer->stream < 0) {
        refuse(s, slot, answer->stream, now);
    } else {
        slot->session.stream = answer->stream;
        set_state(s, slot, RUNNING);
    }
}

static void hear_host(struct try_sessions *s, uint64_t now)
{
    struct try_answer answer;
    int r;
    while ((r = try_host_hear(s->host, &answer)) > 0)
        take_answer(s, &answer, now);
    if (r == 0)
        return;
    s->deserted = true; // SIGCHLD says so, too, and ends the server
    for (unsigned i = 0; i < TRY_MACHINES_MAXIMUM; i++) {
        pthread_mutex_lock(&s->lock);
        const bool asking = s->slots[i].state == ASKING;
        pthread_mutex_unlock(&s->lock);
        if (asking)
            refuse(s, &s->slots[i], r, now);
    }
}

static unsigned prepare(struct try_sessions *s, struct pollfd *polls, bool *ret_stopping)
{
    enum state states[TRY_MACHINES_MAXIMUM];
    unsigned count = 0;
    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < TRY_MACHINES_MAXIMUM; i++)
        states[i] = s->slots[i].state;
    *ret_stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < TRY_MACHINES_MAXIMUM; i++) {
        struct pollfd *p = &polls[TRY_SESSION_POLLS * i];
        p[0] = p[1] = (struct pollfd){.fd = -1};
        if (states[i] == EMPTY)
            continue;
        count++;
        if (states[i] == NEW || states[i] == ASKING)
            ask_for_machine(s, &s->slots[i], io_monotonic_ns());
        if (s->slots[i].state == RUNNING)
            try_session_prepare(&s->slots[i].session, p);
        else
            p[0] = (struct pollfd){.fd = s->slots[i].session.socket, .events = POLLRDHUP};
    }
    return count;
}

static void handle(struct try_sessions *s, const struct pollfd *polls, bool stopping)
{
    const uint64_t now = io_monotonic_ns();
    for (unsigned i = 0; i < TRY_MACHINES_MAXIMUM; i++) {
        struct slot *slot = &s->slots[i];
        pthread_mutex_lock(&s->lock);
        const enum state state = slot->state;
        pthread_mutex_unlock(&s->lock);
        if (state == EMPTY)
            continue;
        const struct pollfd *p = &polls[TRY_SESSION_POLLS * i];
        if (stopping)
            try_session_close(&slot->session, WEBSOCKET_GOING_AWAY, now);
        if (state == RUNNING || stopping ? !try_session_handle(&slot->session, p, now) || stopping : p[0].revents != 0)
            end_slot(s, slot);
    }
}

static void *work(void *argument)
{
    struct try_sessions *s = argument;
    struct pollfd polls[2 + TRY_SESSION_POLLS * TRY_MACHINES_MAXIMUM];
    eventfd_t count;
    bool stopping = false;
    while (!stopping) {
        unsigned connections = prepare(s, polls + 2, &stopping);
        polls[0] = (struct pollfd){.fd = s->wake, .events = POLLIN};
        polls[1] = (struct pollfd){.fd = s->deserted ? -1 : s->host->fd, .events = POLLIN};
        if (poll(polls, ARRAY_SIZE(polls), stopping ? 0 : connections ? TICK_MS : -1) < 0)
            continue;
        if (polls[0].revents)
            eventfd_read(s->wake, &count);
        if (polls[1].revents)
            hear_host(s, io_monotonic_ns());
        handle(s, polls + 2, stopping);
    }
    return NULL;
}

// --- its life ------------------------------------------------------------------------------------------------------

int try_sessions_start(const struct try_host *host, struct try_places *places, struct try_sessions **ret,
                       struct error *error)
{
    int event CLEANUP_CLOSE = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return error_set(error, errno, "cannot make an eventfd: %m");
    struct try_sessions *s CLEANUP_FREE = calloc(1, sizeof *s);
    if (!s)
        return error_set(error, ENOMEM, "not enough memory to start");
    s->host = host;
    s->places = places;
    s->wake = event;
    pthread_mutex_init(&s->lock, NULL);
    int code = pthread_create(&s->thread, NULL, work, s);
    if (code) {
        pthread_mutex_destroy(&s->lock);
        return error_set(error, code, "cannot start a thread: %s", strerror(code));
    }
    (void)TAKE_FD(event);
    *ret = TAKE_PTR(s);
    return 0;
}

void try_sessions_wind_down(struct try_sessions *s)
{
    if (!s || s->stopped)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    wake(s);
    pthread_join(s->thread, NULL);
    s->stopped = true;
}

void try_sessions_stop(struct try_sessions **s)
{
    if (!*s)
        return;
    try_sessions_wind_down(*s);
    pthread_mutex_destroy(&(*s)->lock);
    close((*s)->wake);
    free(*s);
    *s = NULL;
}
