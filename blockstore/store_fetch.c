// Requests to the network: each is one range of one pack that holds several wanted chunks, or the whole pack.
//
//   store_new_fetch (mutex held): chunks become FETCHING, the fetch joins version.fetches
//   store_run_fetches: mirrors_fetch runs all of them; for each
//       sink     copies what belongs to a wanted chunk into that chunk's own buffer; the bytes between are dropped
//       verify   hashes and decodes each chunk; right ones are published and cached at once, and stay so even if
//                another of the same range is wrong, and the range is asked for again elsewhere
//       restart  a chunk that arrived whole in an attempt that failed is judged too, so a bad link gets on
//       end      the same for the last attempt, at the deadline; what is left fails
//
//   1. Memory of a fetch: the stored bytes of its chunks, never the gaps, nor the rest of a whole pack.
//   2. A pack that arrives whole goes through a cache_stream, which hashes it and keeps it only if that is right
//      (store.h rule 3). If it is wrong as a whole, its right chunks are used and kept nevertheless, and the source is
//      a liar.
//   3. Pieces and chunks belong to the fetch from its making to its end: only `whole` and the list need the mutex.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static void free_fetch(struct fetch *f)
{
    for (unsigned i = 0; i < f->count; i++)
        free(f->pieces[i].stored);
    cache_stream_free(f->stream);
    free(f->pieces);
    free(f);
}

struct fetch *store_new_fetch(struct version *v, struct store_chunk *const *chunks, unsigned count, bool whole,
                              uint64_t deadline_ns)
{
    struct fetch *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->pieces = calloc(count, sizeof(*f->pieces));
    if (!f->pieces) {
        free(f);
        return NULL;
    }
    f->version = v;
    f->pack = chunks[0]->ref.pack;
    f->start = chunks[0]->ref.offset;
    f->whole = whole;
    f->count = f->left = count;
    f->priority = SOURCE_STREAM; // unless a reader wants one of them
    store_object_path(&f->pack.name, f->path);
    for (unsigned i = 0; i < count; i++) {
        uint64_t end = (uint64_t)chunks[i]->ref.offset + chunks[i]->ref.length;
        f->end = end > f->end ? end : f->end;
        f->pieces[i].chunk = chunks[i];
        f->pieces[i].ref = chunks[i]->ref;
        chunks[i]->tried_until_ns = deadline_ns;
        if (!chunks[i]->ahead)
            f->priority = v->at_leisure ? SOURCE_FILL : SOURCE_DEMAND;
        store_set_state(v->store, chunks[i], CHUNK_FETCHING);
    }
    if (!v->at_leisure)
        v->store->missed_ns = io_monotonic_ns();
    f->next = v->fetches;
    v->fetches = f;
    v->fetch_count++;
    return f;
}

static int allocate_pieces(struct fetch *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        f->pieces[i].stored = io->malloc(f->pieces[i].ref.length);
        if (!f->pieces[i].stored)
            return -ENOMEM;
    }
    return 0;
}

// --- bytes arrive --------------------------------------------------------------------------------------------------

// The first bytes of an attempt tell whether the whole pack is coming.
static int begin(struct fetch *f, uint64_t offset)
{
    struct store *s = f->version->store;
    f->begun = true;
    if (offset != 0) {
        cache_stream_free(f->stream); // of an earlier attempt, elsewhere
        f->stream = NULL;
        return 0;
    }
    pthread_mutex_lock(&s->mutex);
    f->whole = true;
    pthread_mutex_unlock(&s->mutex);
    if (!s->cache)
        return 0;
    return f->stream ? cache_stream_restart(f->stream)
                     : cache_stream_new(s->cache, &f->pack.name, f->pack.size, &f->stream);
}

static void copy_overlap(struct fetch_piece *p, uint64_t offset, const unsigned char *bytes, size_t n)
{
    const struct chunk_reference *ref = &p->ref;
    uint64_t from = offset > ref->offset ? offset : ref->offset;
    uint64_t end = (uint64_t)ref->offset + ref->length;
    uint64_t to = offset + n < end ? offset + n : end;
    if (p->done || from >= to || from != (uint64_t)ref->offset + p->filled)
        return;
    memcpy(p->stored + p->filled, bytes + (from - offset), to - from);
    p->filled += (uint32_t)(to - from);
}

static int sink(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct fetch *f = context;
    if (f->left == 0)
        return -EALREADY; // an attempt that failed as a whole had all that is wanted
    int r = f->begun ? 0 : begin(f, offset);
    if (r == 0 && f->stream)
        r = cache_stream_add(f->stream, bytes, n);
    if (r < 0)
        return r;
    for (unsigned i = f->passed; i < f->count; i++) {
        const struct chunk_reference *ref = &f->pieces[i].ref;
        if (ref->offset >= offset + n)
            break;
        copy_overlap(&f->pieces[i], offset, bytes, n);
        if (i == f->passed && (uint64_t)ref->offset + ref->length <= offset + n)
            f->passed++;
    }
    return 0;
}

// --- bytes are judged ----------------------------------------------------------------------------------------------

static void finish_piece(struct fetch *f, struct fetch_piece *p, int result, struct decoded *d,
                         const struct error *error)
{
    struct store *s = f->version->store;
    const struct chunk_reference *ref = &p->ref;

    p->done = true;
    f->left--;
    if (result == 0)
        atomic_fetch_add(&s->fetched, 1);
    pthread_mutex_lock(&s->mutex);
    if (result == 0)
        store_publish_chunk(s, p->chunk, d);
    else
        store_fail_chunk(s, p->chunk, result, error);
    pthread_mutex_unlock(&s->mutex);
    p->chunk = NULL; // it may be evicted from here on
    if (result == 0 && s->cache && !f->kept)
        cache_write(s->cache, &ref->pack.name, ref->pack.size, ref->offset, p->stored, ref->length);
    free(TAKE_PTR(p->stored));
}

// True if the piece's bytes settled it: right, or malformed whoever sends them.
static bool judge_piece(struct fetch *f, struct fetch_piece *p, struct error *error)
{
    struct store_chunk *c = p->chunk;
    struct decoded d;
    struct error malformed;
    int r = -EBADMSG;

    if (p->filled == p->ref.length)
        r = store_decode(c->kind, c->level, &p->ref, p->stored, &d, &malformed);
    else
        error_set(&malformed, EBADMSG, "bytes %u to %u are not in it", p->ref.offset, p->ref.offset + p->ref.length);
    if (r == -EBADMSG) {
        atomic_fetch_add(&f->version->store->wrong, 1);
        error_set(error, EBADMSG, "%s", malformed.text);
        p->filled = 0; // not to be judged again
        return false;
    }
    if (r == -EPROTO)
        error_prefix(&malformed, 0, "this version is damaged at its publisher");
    finish_piece(f, p, r == -EPROTO ? -EBADMSG : r, &d, &malformed);
    return true;
}

// Before each attempt: what the one before delivered whole counts, although it failed; the rest is forgotten.
static void restart(void *context)
{
    struct fetch *f = context;
    struct error error;
    f->begun = false;
    f->passed = 0;
    for (unsigned i = 0; i < f->count; i++) {
        struct fetch_piece *p = &f->pieces[i];
        if (!p->done && p->filled == p->ref.length)
            judge_piece(f, p, &error);
        p->filled = 0;
    }
}

static int verify(void *context, struct error *error)
{
    struct fetch *f = context;
    int result = 0;

    if (f->stream) {
        int r = cache_stream_finish(f->stream);
        f->kept = r == 0;
        if (r == -EBADMSG) {
            atomic_fetch_add(&f->version->store->wrong, 1);
            result = error_set(error, EBADMSG, "the bytes do not match the pack's name");
        }
    }
    for (unsigned i = 0; i < f->count; i++)
        if (!f->pieces[i].done && !judge_piece(f, &f->pieces[i], error))
            result = -EBADMSG;
    return result;
}

// --- the end -------------------------------------------------------------------------------------------------------

static void end_fetch(struct fetch *f, int result, const struct error *why)
{
    struct version *v = f->version;
    struct store *s = v->store;
    struct decoded nothing = {0};

    for (unsigned i = 0; i < f->count; i++) {
        struct fetch_piece *p = &f->pieces[i];
        char chunk[SHA256_HEX_SIZE];
        struct error error;
        if (p->done)
            continue;
        if (result != -EBADMSG && p->stored && p->filled == p->ref.length && judge_piece(f, p, &error))
            continue;
        int r = result < 0 ? result : -EBADMSG;
        error_set(&error, -r, "chunk %s: %s", sha256_to_hex(&p->ref.name, chunk),
                  why && why->text[0] ? why->text : strerror(-r));
        if (r == -EBADMSG)
            log_warning("%s", error.text);
        finish_piece(f, p, r, &nothing, &error);
    }
    if (s->cache && !f->kept && result == 0)
        cache_complete(s->cache, &f->pack.name, f->pack.size); // what was wrong in a whole pack may be right now
    pthread_mutex_lock(&s->mutex);
    struct fetch **at = &v->fetches;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    v->fetch_count--;
    if (f->kept)
        store_retry_wanted(s, &f->pack.name);
    if (result == 0)
        store_stream_wake(v);
    pthread_cond_broadcast(&s->changed);
    pthread_cond_broadcast(&s->stream_changed); // it may wait for this pack
    pthread_mutex_unlock(&s->mutex);
    free_fetch(f);
}

void store_run_fetches(struct version *v, struct fetch **fetches, unsigned count, uint64_t deadline_ns)
{
    struct mirrors_job jobs[STORE_JOBS_MAXIMUM];
    unsigned at[STORE_JOBS_MAXIMUM], n = 0;

    for (unsigned i = 0; i < count; i++) {
        struct fetch *f = fetches[i];
        if (allocate_pieces(f) < 0) {
            struct error error = {"out of memory"};
            end_fetch(f, -ENOMEM, &error);
            continue;
        }
        at[n] = i;
        jobs[n++] = (struct mirrors_job){.path = f->path,
                                         .offset = f->whole ? 0 : f->start,
                                         .length = f->whole ? 0 : f->end - f->start,
                                         .maximum = f->pack.size,
                                         .priority = f->priority,
                                         .restart = restart,
                                         .sink = sink,
                                         .verify = verify,
                                         .context = f};
    }
    if (n > 0)
        mirrors_fetch(v->mirrors, jobs, n, deadline_ns);
    for (unsigned i = 0; i < n; i++)
        end_fetch(fetches[at[i]], jobs[i].result, &jobs[i].error);
}
