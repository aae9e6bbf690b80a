// What a thread that lacks chunks takes to the network: WANTED ones of its own, and what lies near them in their packs,
// as few requests (store.h, rules 2 and 3). All of it with the mutex held.
#include "blockstore/store_chunks.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define CANDIDATES_MAXIMUM 256u // WANTED chunks that one turn looks at

void store_adopt_chunk(struct store_request *q, unsigned i)
{
    q->chunks[i]->ref = q->refs[i];
    q->chunks[i]->level = q->level;
    q->chunks[i]->owner = q->v;
}

static bool pack_is_coming(const struct version *v, const struct sha256 *pack)
{
    for (const struct fetch *f = v->fetches; f; f = f->next)
        if (f->whole && sha256_equal(&f->pack.name, pack))
            return true;
    return false;
}

static bool may_take(struct store_request *q, const struct store_chunk *c)
{
    return c->state == CHUNK_WANTED && c->owner == q->v && !pack_is_coming(q->v, &c->ref.pack.name) &&
           store_stream_find(q->v, &c->ref, !q->ahead, q->begun_ns, &q->look_again_ns) == STREAM_NEVER;
}

bool store_find_arrived(struct store_request *q)
{
    bool any = false;
    for (unsigned i = 0; i < q->count; i++)
        if (q->chunks[i]->state == CHUNK_WANTED &&
            store_stream_find(q->v, &q->refs[i], !q->ahead, q->begun_ns, &q->look_again_ns) == STREAM_HERE) {
            store_set_state(q->s, q->chunks[i], CHUNK_UNCHECKED);
            any = true;
        }
    return any;
}

static int compare_places(const void *pa, const void *pb)
{
    const struct store_chunk *a = *(struct store_chunk *const *)pa, *b = *(struct store_chunk *const *)pb;
    int r = memcmp(&a->ref.pack.name, &b->ref.pack.name, SHA256_SIZE);
    return r ? r : (a->ref.offset > b->ref.offset) - (a->ref.offset < b->ref.offset);
}

// WANTED chunks: this request's own, marked, then others of the same version; sorted by their places.
static unsigned gather(struct store_request *q, struct store_chunk **ret)
{
    unsigned n = 0;
    for (unsigned i = 0; i < q->count; i++) {
        if (q->chunks[i]->state != CHUNK_WANTED || q->chunks[i]->mark == q)
            continue;
        store_adopt_chunk(q, i);
        if (!may_take(q, q->chunks[i]))
            continue;
        q->chunks[i]->mark = q;
        ret[n++] = q->chunks[i];
    }
    if (n == 0)
        return 0;
    for (struct store_chunk *c = q->s->wanted.first; c && n < CANDIDATES_MAXIMUM; c = c->list_after)
        if (c->mark != q && may_take(q, c))
            ret[n++] = c;
    qsort(ret, n, sizeof(struct store_chunk *), compare_places);
    return n;
}

// How many of the sorted chunks, from the first, belong into one request.
static unsigned group_length(struct store_chunk *const *sorted, unsigned n, bool whole)
{
    const struct chunk_reference *first = &sorted[0]->ref;
    uint64_t end = (uint64_t)first->offset + first->length;
    unsigned i = 1;
    for (; i < n; i++) {
        const struct chunk_reference *ref = &sorted[i]->ref;
        uint64_t ref_end = (uint64_t)ref->offset + ref->length;
        if (!sha256_equal(&ref->pack.name, &first->pack.name))
            break;
        if (!whole && (ref->offset > end + STORE_GAP_MAXIMUM || ref_end > first->offset + STORE_REQUEST_MAXIMUM))
            break;
        end = ref_end > end ? ref_end : end;
    }
    return i;
}

unsigned store_take_fetches(struct store_request *q, struct fetch **ret, int *ret_failure)
{
    struct store_chunk *sorted[CANDIDATES_MAXIMUM];
    bool whole = mirrors_ignore_ranges(q->v->mirrors);
    unsigned n = gather(q, sorted), fetches = 0;

    for (unsigned at = 0, length; at < n && q->v->fetch_count < STORE_JOBS_MAXIMUM; at += length) {
        length = group_length(sorted + at, n - at, whole);
        bool ours = false;
        for (unsigned i = at; i < at + length; i++)
            ours |= sorted[i]->mark == q;
        if (!ours)
            continue;
        ret[fetches] = store_new_fetch(q->v, sorted + at, length, whole, q->deadline_ns);
        if (!ret[fetches]) {
            *ret_failure = -ENOMEM;
            break;
        }
        for (unsigned i = at; i < at + length; i++)
            atomic_fetch_add(&q->s->overtaken, store_stream_lists(q->v, &sorted[i]->ref.pack.name));
        fetches++;
    }
    for (unsigned i = 0; i < n; i++)
        sorted[i]->mark = NULL;
    return fetches;
}
