// How versions come into the table, and get more sources (rules 1 to 4 of table.h).
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fuse-cloop/table_private.h"
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

// A free entry, or the one that was used least recently among those that nobody uses.
static int choose_entry(const struct table *t)
{
    int best = -EBUSY;
    for (unsigned i = 0; i < STATE_VERSIONS; i++) {
        const struct entry *e = &t->entries[i];
        const struct state_version *v = &t->state->versions[i];
        if (atomic_load(&v->generation) == 0)
            return (int)i;
        bool busy = e->connections > 0 || e->opening || (e->current && e->current->users > 1) ||
                    atomic_load(&v->open_files) > 0;
        if (!busy && (best < 0 || e->used_ns < t->entries[best].used_ns))
            best = (int)i;
    }
    return best;
}

static bool knows_all(const struct state_version *v, const char *const *addresses, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!state_has_address(v, addresses[i]))
            return false;
    return true;
}

// A list of addresses that outlives the mutex; of a version's old and new ones, before some are left out.
struct addresses {
    char *texts[2 * MIRRORS_MAXIMUM];
    unsigned count;
};

static void free_addresses(struct addresses *a)
{
    for (unsigned i = 0; i < a->count; i++)
        free(a->texts[i]);
    a->count = 0;
}

static int add_address(struct addresses *a, const char *address)
{
    for (unsigned i = 0; i < a->count; i++)
        if (strcmp(a->texts[i], address) == 0)
            return 0;
    if (a->count == ARRAY_SIZE(a->texts))
        return -E2BIG;
    char *copy = strdup(address);
    if (!copy)
        return -ENOMEM;
    a->texts[a->count++] = copy;
    return 0;
}

static int list_addresses(const struct state_version *v, struct addresses *ret)
{
    int r = 0;
    for (const char *a = NULL; r == 0 && (a = state_next_address(v, a));)
        r = add_address(ret, a);
    return r;
}

static size_t size_of_addresses(const struct addresses *a)
{
    size_t size = 0;
    for (unsigned i = 0; i < a->count; i++)
        size += strlen(a->texts[i]) + 1;
    return size;
}

static bool has_address(const struct addresses *a, const char *address)
{
    for (unsigned i = 0; i < a->count; i++)
        if (strcmp(a->texts[i], address) == 0)
            return true;
    return false;
}

// The addresses that the version has, and those wanted. If there is no room for all, the oldest are left out: where a
// version came from long ago must not keep it from coming from where it is now. True if some were.
static int merge_addresses(const struct state_version *v, const struct addresses *wanted, struct addresses *ret)
{
    int r = list_addresses(v, ret);
    bool left_out = false;
    for (unsigned i = 0; i < wanted->count && r == 0; i++)
        r = add_address(ret, wanted->texts[i]);
    while (r == 0 && (ret->count > MIRRORS_MAXIMUM || size_of_addresses(ret) > STATE_ADDRESSES_SIZE)) {
        unsigned oldest = 0;
        while (oldest < ret->count && has_address(wanted, ret->texts[oldest]))
            oldest++;
        if (oldest == ret->count)
            return -E2BIG;
        free(ret->texts[oldest]);
        ret->count--;
        memmove(ret->texts + oldest, ret->texts + oldest + 1, (ret->count - oldest) * sizeof(ret->texts[0]));
        left_out = true;
    }
    return r < 0 ? r : left_out;
}

static int open_version(struct table *t, const struct sha256 *manifest, const struct addresses *a, struct opened **ret,
                        struct error *error)
{
    struct opened *o CLEANUP_FREE = calloc(1, sizeof(*o));
    if (!o)
        return error_set(error, ENOMEM, "out of memory");
    int r = version_open(t->store, manifest, (const char *const *)a->texts, a->count, &o->version, error);
    if (r < 0)
        return r;
    version_stream(o->version);
    o->users = 1;
    *ret = TAKE_PTR(o);
    return 0;
}

static const char too_many_addresses[] = "the version has too many sources";

// A version that is not in the table: opened first, and entered only if that succeeds.
static int open_new(struct table *t, const struct sha256 *manifest, const struct addresses *a,
                    struct table_key *ret_key, struct error *error)
{
    struct opened *o = NULL;
    struct opened *given_up = NULL;
    int r = open_version(t, manifest, a, &o, error);
    if (!o)
        return r;
    pthread_mutex_lock(&t->mutex);
    if (table_find_entry(t, manifest, ret_key) == 0) { // somebody else was quicker
        table_put_and_unlock(t, o);
        return -EAGAIN;
    }
    int chosen = choose_entry(t);
    r = chosen < 0 ? error_set(error, EBUSY, "%u versions are in use at once; stop a machine first", STATE_VERSIONS)
                   : 0;
    if (r == 0) {
        struct entry *e = &t->entries[chosen];
        given_up = e->current;
        e->current = NULL;
        r = state_set_version(t->state, (unsigned)chosen, manifest, &ret_key->generation);
        for (unsigned i = 0; i < a->count && r == 0; i++)
            r = state_add_address(&t->state->versions[chosen], a->texts[i]);
        if (r < 0) {
            atomic_store(&t->state->versions[chosen].generation, 0);
            error_set(error, -r, "%s", too_many_addresses);
        } else {
            e->current = o;
            e->connections = 1;
            e->used_ns = io_monotonic_ns();
            e->attempts++;
            e->failure = 0;
            ret_key->entry = (unsigned)chosen;
            o = NULL;
        }
    }
    table_put_and_unlock(t, given_up);
    if (o) {
        pthread_mutex_lock(&t->mutex);
        table_put_and_unlock(t, o);
    }
    return r;
}

// The entry is in the table, and has got a connection by us: adds the addresses that it lacks. Called with the mutex
// held; returns without it.
static int add_sources(struct table *t, struct table_key key, const struct addresses *wanted, struct error *error)
{
    struct entry *e = &t->entries[key.entry];
    struct state_version *v = &t->state->versions[key.entry];
    struct addresses all CLEANUP(free_addresses) = {.count = 0};
    while (e->opening)
        pthread_cond_wait(&t->changed, &t->mutex);
    if (e->current && knows_all(v, (const char *const *)wanted->texts, wanted->count)) {
        pthread_mutex_unlock(&t->mutex);
        return 0;
    }
    int r = merge_addresses(v, wanted, &all);
    bool left_out = r > 0;
    if (r < 0) {
        pthread_mutex_unlock(&t->mutex);
        return error_set(error, -r, "%s", too_many_addresses);
    }
    e->opening = true;
    struct sha256 manifest = v->manifest;
    pthread_mutex_unlock(&t->mutex);
    struct opened *o = NULL;
    struct error why = {.text = ""};
    r = open_version(t, &manifest, &all, &o, &why);
    pthread_mutex_lock(&t->mutex);
    if (r == 0 && left_out)
        state_clear_addresses(v);
    for (unsigned i = 0; i < all.count && r == 0; i++)
        if (!state_has_address(v, all.texts[i]))
            r = state_add_address(v, all.texts[i]);
    e->opening = false;
    e->attempts++;
    e->failure = r;
    e->reason = why;
    pthread_cond_broadcast(&t->changed);
    struct opened *old = r == 0 ? e->current : o;
    bool open_already = e->current != NULL;
    if (r == 0)
        e->current = o;
    table_put_and_unlock(t, old);
    if (r == -ENOSPC)
        return error_set(error, E2BIG, "%s", too_many_addresses);
    if (r < 0 && open_already && error_is_network(r)) {
        log_warning("the new sources of an open version are not used: %s", why.text);
        return 0;
    }
    return r < 0 ? error_set(error, -r, "%s", why.text) : 0;
}

static int open_wanted(struct table *t, const struct sha256 *manifest, const struct addresses *wanted,
                       struct table_key *ret_key, struct error *error)
{
    for (;;) {
        struct table_key key;
        pthread_mutex_lock(&t->mutex);
        if (table_find_entry(t, manifest, &key) == 0) {
            t->entries[key.entry].connections++;
            t->entries[key.entry].used_ns = io_monotonic_ns();
            int r = add_sources(t, key, wanted, error);
            if (r < 0)
                table_close(t, key);
            else
                *ret_key = key;
            return r;
        }
        pthread_mutex_unlock(&t->mutex);
        int r = open_new(t, manifest, wanted, &key, error);
        if (r == 0)
            *ret_key = key;
        if (r != -EAGAIN)
            return r;
    }
}

int table_open(struct table *t, const struct sha256 *manifest, const char *const *addresses, unsigned count,
               struct table_key *ret_key, struct error *error)
{
    struct addresses wanted CLEANUP(free_addresses) = {.count = 0};
    for (unsigned i = 0; i < count; i++) {
        int r = add_address(&wanted, addresses[i]);
        if (r < 0)
            return error_set(error, -r, "%s", r == -E2BIG ? too_many_addresses : "out of memory");
    }
    int r = open_wanted(t, manifest, &wanted, ret_key, error);
    if (r == 0)
        table_update_lease(t, ret_key->entry);
    return r;
}

int table_reopen(struct table *t, struct table_key key, struct error *error)
{
    return add_sources(t, key, &(struct addresses){.count = 0}, error);
}
