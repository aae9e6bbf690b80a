// Mirrors: the list of a site's sources. Fetching from them is mirrors_fetch.c's work, their health mirrors_health.c's.

#include "blockstore/mirrors.h"

#include "base/io.h"
#include "base/log.h"
#include "blockstore/mirrors_private.h"
#include "blockstore/transport_private.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

static int add_address(struct transport *t, struct mirrors *m, const char *address, struct error *error)
{
    struct source *s;
    int r = source_open(t, address, &s, error);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < m->count; i++)
        if (transport_same_source(m->mirror[i].source, s)) {
            source_close(s);
            return 0;
        }
    if (m->count == MIRRORS_MAXIMUM) {
        source_close(s);
        return error_set(error, E2BIG, "more than %u sources", MIRRORS_MAXIMUM);
    }
    m->mirror[m->count].here = !source_is_remote(s);
    m->mirror[m->count++].source = s;
    return 0;
}

int mirrors_new(struct transport *t, const char *const *addresses, unsigned count, struct mirrors **ret,
                struct error *error)
{
    struct mirrors *m = calloc(1, sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "no memory for the list of sources");
    pthread_mutex_init(&m->mutex, NULL);
    m->allowance = MIRRORS_HEDGE_SHARE * 2; // the first jobs may be late, too
    int first_failure = 0;
    for (unsigned i = 0; i < count; i++) {
        struct error reason;
        int r = add_address(t, m, addresses[i], &reason);
        if (r < 0)
            log_warning("%s; it is left out", reason.text);
        if (r < 0 && first_failure == 0)
            first_failure = error_set(error, -r, "%s", reason.text);
    }
    if (m->count == 0) {
        mirrors_free(m);
        return first_failure < 0 ? first_failure : error_set(error, EINVAL, "there is no source to fetch from");
    }
    *ret = m;
    return 0;
}

void mirrors_free(struct mirrors *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < m->count; i++)
        source_close(m->mirror[i].source);
    pthread_mutex_destroy(&m->mutex);
    free(m);
}

unsigned mirrors_count(const struct mirrors *m)
{
    return m->count;
}

struct source *mirrors_source(struct mirrors *m, unsigned i)
{
    return m->mirror[i].source;
}

bool mirrors_ignore_ranges(struct mirrors *m)
{
    unsigned i = 0;
    uint64_t wake;
    pthread_mutex_lock(&m->mutex);
    mirrors_health_pick(m->mirror, m->count, 0, 0, io_monotonic_ns(), &i, &wake);
    pthread_mutex_unlock(&m->mutex);
    return source_ignores_ranges(m->mirror[i].source);
}

void mirrors_wake_all(struct mirrors *m)
{
    for (struct fetch *f = m->fetches; f; f = f->next) {
        f->woken = true;
        pthread_cond_signal(&f->changed);
    }
}

void mirrors_cancel(struct mirrors *m)
{
    atomic_store(&m->cancelled, true);
    pthread_mutex_lock(&m->mutex);
    mirrors_wake_all(m);
    pthread_mutex_unlock(&m->mutex);
}
