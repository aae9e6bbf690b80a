// Leases of the versions in the table (cache_lease of blockstore/cache.h): held as long as an entry has a connection or
// an open file, so that no cleaning of the cache takes what a machine needs. An entry that nobody uses has none, though
// it stays open.
//
//   1. `lease` belongs to the thread that set `changing`; it works without the mutex, and looks again afterwards, so
//   that
//      whoever changed the entry meanwhile need not wait.
#include "fuse-cloop/table_private.h"

#include "base/banned.h"

static bool is_right(const struct table *t, unsigned entry)
{
    const struct entry *e = &t->entries[entry];
    const struct state_version *v = &t->state->versions[entry];
    bool wanted = atomic_load(&v->generation) != 0 && (e->connections > 0 || atomic_load(&v->open_files) > 0);
    return e->lease.held ? wanted && sha256_equal(&e->lease.manifest, &v->manifest) : !wanted;
}

void table_update_lease(struct table *t, unsigned entry)
{
    struct cache *cache = store_cache(t->store);
    struct table_lease *lease = &t->entries[entry].lease;
    if (!cache)
        return;
    pthread_mutex_lock(&t->mutex);
    while (!lease->changing && !is_right(t, entry)) {
        struct sha256 manifest = t->state->versions[entry].manifest;
        lease->changing = true;
        pthread_mutex_unlock(&t->mutex);
        if (lease->held) {
            cache_end_lease(cache, &lease->manifest, lease->fd);
        } else {
            lease->manifest = manifest;
            lease->fd = cache_lease(cache, &manifest);
        }
        pthread_mutex_lock(&t->mutex);
        lease->held = !lease->held;
        lease->changing = false;
    }
    pthread_mutex_unlock(&t->mutex);
}
