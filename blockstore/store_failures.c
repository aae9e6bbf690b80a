// What failed for the network's sake a moment ago (store.h, rule 6), for stores that remember it.
//
// The kernel reads ahead; when that fails, it reads the same pages again, one by one as they are asked for. Each of
// these reads would wait as long as the first one did. So a request that begins within REMEMBER_NS of a failure, for a
// chunk that failed then, fails at once instead of waiting for the network.
//
//   1. What is in memory, in the cache, or being looked for there is not concerned.
//   2. A request that began before the failure keeps the whole of its own waiting time.
//   3. A failure is remembered for the version whose sources failed, no other; another opening is another version.
//   4. Bounded: the oldest failure gives its place to the newest. A place that is lost costs a wait, nothing else.
//
// Everything here is called with the store's mutex held.
#include "base/io.h"
#include "blockstore/store_private.h"

#include "base/banned.h"

#define REMEMBER_NS UINT64_C(1000000000)

static struct store_failure *find(const struct version *v, const struct store_chunk *c)
{
    struct store_failures *all = v->store->failures;
    for (unsigned i = 0; i < all->count; i++) {
        struct store_failure *f = &all->list[i];
        if (f->version == v && f->kind == c->kind && sha256_equal(&f->name, &c->ref.name))
            return f;
    }
    return NULL;
}

static void note(struct version *v, const struct store_chunk *c)
{
    struct store_failures *all = v->store->failures;
    struct store_failure *f = find(v, c);
    if (!f) {
        f = &all->list[all->next];
        all->next = (all->next + 1) % STORE_FAILURES_MAXIMUM;
        all->count += all->count < STORE_FAILURES_MAXIMUM;
    }
    *f = (struct store_failure){.version = v, .kind = c->kind, .name = c->ref.name, .at_ns = io_monotonic_ns()};
}

void store_note_failures(struct version *v, struct store_chunk *const *chunks, unsigned count)
{
    for (unsigned i = 0; i < count && v->store->failures; i++)
        if (chunks[i] && chunks[i]->state != CHUNK_READY)
            note(v, chunks[i]);
}

const struct store_chunk *store_find_failed(const struct version *v, struct store_chunk *const *chunks, unsigned count,
                                            uint64_t begun_ns)
{
    for (unsigned i = 0; i < count && v->store->failures; i++) {
        if (chunks[i]->state != CHUNK_WANTED && chunks[i]->state != CHUNK_FETCHING)
            continue;
        const struct store_failure *f = find(v, chunks[i]);
        if (f && f->at_ns <= begun_ns && begun_ns - f->at_ns < REMEMBER_NS)
            return chunks[i];
    }
    return NULL;
}

void store_forget_failures(const struct version *v)
{
    struct store_failures *all = v->store->failures;
    for (unsigned i = 0; all && i < all->count; i++)
        if (all->list[i].version == v)
            all->list[i].version = NULL;
}
