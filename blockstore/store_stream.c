// The stream: a version's boot packs, in order, from the moment that it is opened (store_stream.h).
//
// Threads take turns: one has a pack arriving; another asks for the next one when what is left of the first arrives
// within about a round trip, so that the link is never idle, and hardly ever shared. The packs with the map's pages are
// so small that they and the first pack of data are asked for at once.
#include "blockstore/store_stream.h"
#include "base/io.h"
#include "base/log.h"
#include "base/thread.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/banned.h"

#define STREAM_STACK (256u << 10)
#define PAUSE_FIRST_NS (2ull * 1000000000)
#define PAUSE_LAST_NS (60ull * 1000000000)

static bool over(const struct stream *st)
{
    return st->stop || atomic_load(&st->version->cancelled);
}

// --- which pack next, with the mutex held --------------------------------------------------------------------------

static bool is_coming(const struct version *v, const struct sha256 *pack)
{
    for (const struct stream_pack *p = v->store->arriving; p; p = p->next)
        if (sha256_equal(&p->name, pack))
            return true;
    for (const struct fetch *f = v->fetches; f; f = f->next)
        if (f->whole && sha256_equal(&f->pack.name, pack))
            return true;
    return false;
}

// What is on its way has the link nearly to itself, and memory for one more is there.
static bool may_ask(const struct stream *st, uint32_t size)
{
    const struct store *s = st->version->store;
    uint64_t rest = 0;
    for (unsigned i = 0; i < STORE_STREAM_THREADS; i++)
        if (st->packs[i].asked)
            rest += st->packs[i].size - st->packs[i].arrived;
    return rest <= stream_lead(st) && (s->arriving_bytes == 0 || s->arriving_bytes + size <= STORE_STREAM_MEMORY);
}

// Puts the next pack into `p` and the list of arriving ones. False when there is none left.
static bool take_next(struct stream *st, struct stream_pack *p)
{
    struct store *s = st->version->store;
    const struct manifest *m = st->version->manifest;
    while (!over(st) && st->next < m->boot_count) {
        const struct manifest_boot *line = &m->boot[st->next];
        if (line->size > STORE_STREAM_PACK_MAXIMUM || line->size == 0) {
            st->next++;
            continue;
        }
        if (st->paused > 0 || !may_ask(st, line->size) || is_coming(st->version, &line->pack)) {
            pthread_cond_wait(&s->stream_changed, &s->mutex);
            continue;
        }
        *p = (struct stream_pack){.stream = st,
                                  .name = line->pack,
                                  .size = line->size,
                                  .asked = true,
                                  .asked_ns = io_monotonic_ns(),
                                  .next = s->arriving};
        p->progress_ns = p->asked_ns;
        s->arriving = p;
        s->arriving_bytes += p->size;
        st->next++;
        return true;
    }
    return false;
}

static void leave_list(struct store *s, struct stream_pack *p)
{
    struct stream_pack **at = &s->arriving;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    s->arriving_bytes -= p->size;
    p->asked = false;
    p->stream->idle_ns = io_monotonic_ns();
    stream_pack_forget(p);
    store_retry_wanted(s, &p->name);
    pthread_cond_broadcast(&s->changed); // whoever waits for it goes another way
    pthread_cond_broadcast(&s->stream_changed);
}

// --- one pack after the other --------------------------------------------------------------------------------------

// Nothing arrives: waits until a reader's request succeeds, for longer each time. With the mutex; the pack's memory is
// given back meanwhile.
static void pause_stream(struct stream *st, struct stream_pack *p, unsigned times)
{
    struct store *s = st->version->store;
    uint64_t ns = times < 5 ? PAUSE_FIRST_NS << times : PAUSE_LAST_NS;
    uint64_t until = io_monotonic_ns() + (ns < PAUSE_LAST_NS ? ns : PAUSE_LAST_NS);
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    unsigned recoveries = st->recoveries;
    st->paused++;
    leave_list(s, p);
    while (!over(st) && st->recoveries == recoveries && io_monotonic_ns() < until)
        pthread_cond_timedwait(&s->stream_changed, &s->mutex, &t);
    st->paused--;
    pthread_cond_broadcast(&s->stream_changed);
}

static void note_end(struct stream *st, const struct stream_pack *p, int result)
{
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(&p->name, hex);
    if (result == 1 || result == -ENOSPC) {
        if (!st->stop)
            log_info("the boot packs of %s %s cannot be kept in the cache, and are not fetched ahead",
                     st->version->manifest->name, st->version->manifest->version);
        st->stop = true;
    } else if (result == -ENOMEM) {
        st->stop = true;
    } else if (result < 0 && result != -ECANCELED) {
        log_warning("boot pack %s is left to those who read it: %s", hex, strerror(-result));
    }
}

static void *work(void *context)
{
    struct stream_pack *p = context;
    struct stream *st = p->stream;
    struct store *s = st->version->store;
    unsigned failures = 0;
    pthread_mutex_lock(&s->mutex);
    while (take_next(st, p)) {
        unsigned number = st->next - 1;
        pthread_mutex_unlock(&s->mutex);
        int r = cache_has_object(s->cache, &p->name) ? 0 : stream_pack_fetch(p);
        pthread_mutex_lock(&s->mutex);
        if (error_is_network(r) && !over(st)) {
            pause_stream(st, p, failures++);
            if (number < st->next)
                st->next = number; // those behind it are passed over if they have come meanwhile
            continue;
        }
        failures = 0;
        note_end(st, p, r);
        leave_list(s, p);
    }
    pthread_cond_broadcast(&s->stream_changed);
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

// --- from outside --------------------------------------------------------------------------------------------------

void version_stream(struct version *v)
{
    if (v->stream || !v->mirrors || !v->store->cache || v->manifest->boot_count == 0)
        return;
    struct stream *st = calloc(1, sizeof(*st));
    if (!st)
        return; // whoever reads fetches for itself
    st->version = v;
    st->idle_ns = io_monotonic_ns();
    pthread_mutex_lock(&v->store->mutex);
    for (; st->started < STORE_STREAM_THREADS; st->started++) {
        st->packs[st->started].stream = st;
        if (thread_start(&st->threads[st->started], STREAM_STACK, work, &st->packs[st->started]) < 0)
            break;
    }
    v->stream = st;
    pthread_mutex_unlock(&v->store->mutex);
}

void store_stream_wake(struct version *v)
{
    if (!v->stream)
        return;
    v->stream->recoveries++;
    pthread_cond_broadcast(&v->store->stream_changed);
}

void store_stream_end(struct version *v)
{
    struct stream *st = v->stream;
    if (!st)
        return;
    pthread_mutex_lock(&v->store->mutex);
    st->stop = true;
    pthread_cond_broadcast(&v->store->stream_changed);
    pthread_mutex_unlock(&v->store->mutex);
    mirrors_cancel(v->mirrors);
    for (unsigned i = 0; i < st->started; i++)
        pthread_join(st->threads[i], NULL);
    v->stream = NULL;
    free(st);
}
