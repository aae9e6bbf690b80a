// The table of open versions (see table.h).
#include "base/io.h"
#include "fuse-cloop/table_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

int table_new(struct store *store, struct state *state, struct table **ret, struct error *error)
{
    struct table *t = calloc(1, sizeof(*t));
    if (!t)
        return error_set(error, ENOMEM, "out of memory");
    t->store = store;
    t->state = state;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->changed, NULL);
    *ret = t;
    return 0;
}

void table_put_and_unlock(struct table *t, struct opened *o)
{
    bool last = o && --o->users == 0;
    pthread_mutex_unlock(&t->mutex);
    if (last) {
        version_close(o->version);
        free(o);
    }
}

void table_free(struct table *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < STATE_VERSIONS; i++) {
        pthread_mutex_lock(&t->mutex);
        table_put_and_unlock(t, t->entries[i].current);
        if (t->entries[i].lease.held)
            cache_end_lease(store_cache(t->store), &t->entries[i].lease.manifest, t->entries[i].lease.fd);
    }
    pthread_mutex_destroy(&t->mutex);
    pthread_cond_destroy(&t->changed);
    free(t);
}

struct version *table_version(struct opened *o)
{
    return o->version;
}

// --- with the mutex held -------------------------------------------------------------------------------------------

static bool is_current(const struct table *t, struct table_key key)
{
    return key.entry < state_entry_end(t->state) && key.generation != 0 &&
           atomic_load(&t->state->versions[key.entry].generation) == key.generation;
}

int table_find_entry(const struct table *t, const struct sha256 *manifest, struct table_key *ret)
{
    for (unsigned i = 0; i < state_entry_end(t->state); i++) {
        const struct state_version *v = &t->state->versions[i];
        uint64_t generation = atomic_load(&v->generation);
        if (generation != 0 && sha256_equal(&v->manifest, manifest)) {
            *ret = (struct table_key){.entry = i, .generation = generation};
            return 0;
        }
    }
    return -ENOENT;
}

void table_close(struct table *t, struct table_key key)
{
    pthread_mutex_lock(&t->mutex);
    t->entries[key.entry].connections--;
    t->entries[key.entry].used_ns = io_monotonic_ns();
    pthread_mutex_unlock(&t->mutex);
    table_update_lease(t, key.entry);
}

// --- using ---------------------------------------------------------------------------------------------------------

// The version of an entry that has none in this process yet. With the mutex; returns with it.
static int reopen(struct table *t, struct table_key key, struct error *error)
{
    struct entry *e = &t->entries[key.entry];
    if (e->opening) {
        unsigned attempts = e->attempts;
        while (is_current(t, key) && e->attempts == attempts)
            pthread_cond_wait(&t->changed, &t->mutex);
        return !is_current(t, key) ? -ESTALE : e->current ? 0 : error_set(error, -e->failure, "%s", e->reason.text);
    }
    e->connections++; // keeps the entry
    int r = table_reopen(t, key, error);
    pthread_mutex_lock(&t->mutex);
    e->connections--;
    return r;
}

int table_use(struct table *t, struct table_key key, struct opened **ret, struct error *error)
{
    int r = 0;
    pthread_mutex_lock(&t->mutex);
    bool reopened = is_current(t, key) && !t->entries[key.entry].current;
    if (!is_current(t, key))
        r = -ESTALE;
    else if (reopened)
        r = reopen(t, key, error);
    if (r == 0) {
        struct entry *e = &t->entries[key.entry];
        e->current->users++;
        e->used_ns = io_monotonic_ns();
        *ret = e->current;
    }
    pthread_mutex_unlock(&t->mutex);
    if (reopened)
        table_update_lease(t, key.entry); // for the files that a predecessor's readers have open
    return r == -ESTALE ? error_set(error, ESTALE, "that version is not open any more") : r;
}

void table_put(struct table *t, struct opened *o)
{
    pthread_mutex_lock(&t->mutex);
    table_put_and_unlock(t, o);
}

static bool was_replaced(struct table *t, struct table_key key, const struct opened *o)
{
    pthread_mutex_lock(&t->mutex);
    bool replaced = is_current(t, key) && t->entries[key.entry].current != o;
    pthread_mutex_unlock(&t->mutex);
    return replaced;
}

// What a read of n bytes really reads: less at the member's end, nothing of a member that is not there.
static size_t cut(const struct version *v, unsigned member, uint64_t offset, size_t n)
{
    const struct manifest *m = version_manifest(v);
    uint64_t size = member < m->member_count ? m->members[member].size : 0, left = offset < size ? size - offset : 0;
    return n < left ? n : (size_t)left;
}

int table_read(struct table *t, struct table_key key, unsigned member, uint64_t offset, size_t n,
               struct version_pieces *ret, struct error *error)
{
    for (;;) {
        struct opened *o = NULL;
        int r = table_use(t, key, &o, error);
        if (!o)
            return r;
        size_t length = cut(o->version, member, offset, n);
        if (length > 0)
            r = version_borrow(o->version, member, offset, length, ret, error);
        else
            *ret = (struct version_pieces){.count = 0};
        bool again = r < 0 && was_replaced(t, key, o);
        table_put(t, o);
        if (!again)
            return r;
    }
}

// --- looking -------------------------------------------------------------------------------------------------------

int table_find(struct table *t, const struct sha256 *manifest, struct table_key *ret)
{
    pthread_mutex_lock(&t->mutex);
    int r = table_find_entry(t, manifest, ret);
    pthread_mutex_unlock(&t->mutex);
    return r;
}

bool table_name(struct table *t, unsigned entry, struct table_key *ret_key, struct sha256 *ret_manifest)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t generation = entry < state_entry_end(t->state) ? atomic_load(&t->state->versions[entry].generation) : 0;
    if (generation != 0) {
        *ret_key = (struct table_key){.entry = entry, .generation = generation};
        *ret_manifest = t->state->versions[entry].manifest;
    }
    pthread_mutex_unlock(&t->mutex);
    return generation != 0;
}

int table_file_opened(struct table *t, struct table_key key)
{
    pthread_mutex_lock(&t->mutex);
    int r = is_current(t, key) ? 0 : -ESTALE;
    if (r == 0)
        atomic_fetch_add(&t->state->versions[key.entry].open_files, 1);
    pthread_mutex_unlock(&t->mutex);
    if (r == 0)
        table_update_lease(t, key.entry);
    return r;
}

void table_file_closed(struct table *t, struct table_key key)
{
    pthread_mutex_lock(&t->mutex);
    if (is_current(t, key) && atomic_load(&t->state->versions[key.entry].open_files) > 0)
        atomic_fetch_sub(&t->state->versions[key.entry].open_files, 1);
    t->file_closed_ns = io_monotonic_ns();
    pthread_mutex_unlock(&t->mutex);
    table_update_lease(t, key.entry);
}

unsigned table_connections(struct table *t)
{
    unsigned sum = 0;
    pthread_mutex_lock(&t->mutex);
    for (unsigned i = 0; i < STATE_VERSIONS; i++)
        sum += t->entries[i].connections;
    pthread_mutex_unlock(&t->mutex);
    return sum;
}

uint64_t table_last_file_closed_ns(struct table *t)
{
    pthread_mutex_lock(&t->mutex);
    uint64_t at = t->file_closed_ns;
    pthread_mutex_unlock(&t->mutex);
    return at;
}
