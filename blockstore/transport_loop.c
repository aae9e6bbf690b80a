// The transport's thread: one curl multi handle, and the only caller of curl but for curl_multi_wakeup.
//
// 1. `active` and every easy handle belong to this thread. Others hand it transfers through `incoming`, and ask it
//    to end one by `cancelled`; both under the mutex, followed by a wake-up.
// 2. The thread sleeps in curl_multi_poll until there is something to do: an idle process wakes for nothing.
// 3. Who may run at one source is decided here, and curl never has to queue: its CURLMOPT_MAX_HOST_CONNECTIONS leaves
//    waiting requests asleep until their connect time-out now and then (seen with 7.88: 5 s, in one of four runs).
//    What somebody waits for goes first, and a share of the places is kept for it.
// 4. All signals are blocked here: they are the main program's, and a SIGPIPE of OpenSSL's write() becomes EPIPE.

#include "blockstore/transport_private.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/banned.h"

#define POLL_MS 600000      // curl's own timers shorten this
#define KEPT_CONNECTIONS 32 // idle ones, of all hosts

static void activate(struct transport *t, struct source_transfer *tr)
{
    tr->previous = NULL;
    tr->next = t->active;
    if (t->active)
        t->active->previous = tr;
    t->active = tr;
}

// Ends a transfer that is neither waiting nor running: from here on it is the waiter's, and its source may be gone.
static void publish(struct transport *t, struct source_transfer *tr)
{
    struct source_request *r = tr->request;
    if (tr->previous)
        tr->previous->next = tr->next;
    else
        t->active = tr->next;
    if (tr->next)
        tr->next->previous = tr->previous;
    transport_http_release(tr);
    if (r->result < 0 && r->result != -ECANCELED)
        atomic_fetch_add_explicit(&t->failures, 1, memory_order_relaxed);
    if (r->done)
        r->done(r->context);
    pthread_mutex_lock(&t->mutex);
    tr->over = true;
    pthread_cond_signal(&tr->changed);
    pthread_mutex_unlock(&t->mutex);
}

static int launch(struct transport *t, struct source_transfer *tr)
{
    int r = tr->easy ? 0 : transport_http_begin(tr); // there is one already if a redirect is followed
    if (r == 0 && curl_multi_add_handle(t->multi, tr->easy) != CURLM_OK)
        r = transport_fail(tr->source, tr->request, ENOMEM, "libcurl took no more requests");
    if (r < 0) {
        tr->request->result = r;
        return r;
    }
    tr->running = true;
    tr->source->running++;
    tr->source->running_ahead += tr->request->priority != SOURCE_DEMAND;
    return 0;
}

static void halt(struct transport *t, struct source_transfer *tr)
{
    curl_multi_remove_handle(t->multi, tr->easy);
    tr->running = false;
    tr->source->running--;
    tr->source->running_ahead -= tr->request->priority != SOURCE_DEMAND;
}

// Behind those of its own priority, before the lower ones.
static void wait_for_turn(struct source_transfer *tr)
{
    struct source_transfer **link = &tr->source->waiting_first;
    while (*link && (*link)->request->priority <= tr->request->priority)
        link = &(*link)->next_waiting;
    tr->next_waiting = *link;
    *link = tr;
}

static void stop_waiting(struct source_transfer *tr)
{
    struct source_transfer **link = &tr->source->waiting_first;
    while (*link != tr)
        link = &(*link)->next_waiting;
    *link = tr->next_waiting;
}

// (Of the waiting ones the first has the highest priority, so if it may not run none behind it may.)
static bool may_run(const struct source *s, const struct source_transfer *tr)
{
    unsigned reserved = s->limit / TRANSPORT_RESERVED_SHARE;
    if (s->running >= s->limit)
        return false;
    return tr->request->priority == SOURCE_DEMAND || s->running_ahead < s->limit - reserved;
}

// Starts what may be started. The source is not touched behind its last transfer.
static void launch_waiting(struct transport *t, struct source *s)
{
    for (struct source_transfer *tr = s->waiting_first, *next; tr && may_run(s, tr); tr = next) {
        next = tr->next_waiting;
        stop_waiting(tr);
        if (launch(t, tr) < 0)
            publish(t, tr);
    }
}

// The source does not answer: those who wait for their turn had better ask another one now.
static void fail_waiting(struct transport *t, struct source *s)
{
    for (struct source_transfer *tr = s->waiting_first, *next; tr; tr = next) {
        next = tr->next_waiting;
        stop_waiting(tr);
        tr->request->result =
            transport_fail(s, tr->request, ENETUNREACH, "the server did not answer the requests before this one");
        publish(t, tr);
    }
}

static void cancel(struct transport *t, struct source_transfer *tr)
{
    if (tr->running)
        halt(t, tr);
    else
        stop_waiting(tr);
    launch_waiting(t, tr->source);
    tr->request->result = transport_fail(tr->source, tr->request, ECANCELED, "cancelled");
    publish(t, tr);
}

static void learn_limit(struct source_transfer *tr)
{
    long version = 0;
    curl_easy_getinfo(tr->easy, CURLINFO_HTTP_VERSION, &version);
    tr->source->limit = version >= CURL_HTTP_VERSION_2_0 ? TRANSPORT_HOST_STREAMS : TRANSPORT_HOST_CONNECTIONS;
}

static void end(struct transport *t, struct source_transfer *tr, CURLcode code)
{
    halt(t, tr);
    learn_limit(tr);
    if (transport_http_end(tr, code) && launch(t, tr) == 0)
        return;
    if (code == CURLE_OPERATION_TIMEDOUT || code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        fail_waiting(t, tr->source);
    else
        launch_waiting(t, tr->source);
    publish(t, tr);
}

static struct source_transfer *find_cancelled(struct transport *t, bool any)
{
    pthread_mutex_lock(&t->mutex);
    struct source_transfer *tr = t->active;
    while (tr && !tr->cancelled && !any)
        tr = tr->next;
    pthread_mutex_unlock(&t->mutex);
    return tr;
}

// What others asked for since the last time. False when the thread is to end.
static bool take_orders(struct transport *t)
{
    pthread_mutex_lock(&t->mutex);
    bool stopping = t->stopping;
    struct source_transfer *incoming = t->incoming_first;
    t->incoming_first = NULL;
    t->incoming_last = &t->incoming_first;
    bool cancels = t->cancels;
    t->cancels = false;
    pthread_mutex_unlock(&t->mutex);

    while (incoming) {
        struct source_transfer *tr = incoming;
        incoming = tr->next;
        activate(t, tr);
        wait_for_turn(tr);
        launch_waiting(t, tr->source);
    }
    for (struct source_transfer *tr; (cancels || stopping) && (tr = find_cancelled(t, stopping));)
        cancel(t, tr);
    return !stopping;
}

static void *run(void *context)
{
    struct transport *t = context;
    while (take_orders(t)) {
        int still_running, left;
        curl_multi_perform(t->multi, &still_running);
        for (CURLMsg *message; (message = curl_multi_info_read(t->multi, &left));) {
            struct source_transfer *tr = NULL;
            if (message->msg == CURLMSG_DONE &&
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &tr) == CURLE_OK)
                end(t, tr, message->data.result);
        }
        curl_multi_poll(t->multi, NULL, 0, transport_ahead_tidy(t, POLL_MS), NULL);
    }
    return NULL;
}

static int start(struct transport *t)
{
    CURLM *multi = curl_multi_init();
    if (!multi)
        return -ENOMEM;
    curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
    t->multi = multi;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&t->thread, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        curl_multi_cleanup(multi);
        t->multi = NULL;
        return -r;
    }
    pthread_setname_np(t->thread, "rondo-net");
    t->running = true;
    return 0;
}

int transport_loop_wake(struct transport *t)
{
    int r = t->running ? 0 : start(t);
    if (r == 0)
        curl_multi_wakeup(t->multi);
    return r;
}

int transport_loop_submit(struct source_transfer *tr)
{
    struct transport *t = tr->source->transport;
    pthread_mutex_lock(&t->mutex);
    int r = transport_loop_wake(t);
    if (r == 0) {
        tr->next = NULL;
        *t->incoming_last = tr;
        t->incoming_last = &tr->next;
    }
    pthread_mutex_unlock(&t->mutex);
    return r;
}

void transport_loop_stop(struct transport *t)
{
    if (!t->running)
        return;
    pthread_mutex_lock(&t->mutex);
    t->stopping = true;
    curl_multi_wakeup(t->multi);
    pthread_mutex_unlock(&t->mutex);
    pthread_join(t->thread, NULL);
    curl_multi_cleanup(t->multi);
}
