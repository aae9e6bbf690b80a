// See site_index.h.
#include "server/site_index.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "base/banned.h"

int site_index_open(const char *state, const char *site, struct site_index *ret, struct error *error)
{
    int r = state_open(state, site, &ret->state, error);
    if (r == 0)
        r = state_lock(&ret->state, state, error);
    if (r == 0)
        r = indexer_start(&ret->state, site, &ret->indexer, error);
    if (r < 0)
        return r;
    ret->folder = io_open(ret->state.folder, "index", O_RDONLY | O_DIRECTORY, 0);
    if (ret->folder < 0)
        return error_set(error, -ret->folder, "cannot open the index's folder in %s: %s", state,
                         strerror(-ret->folder));
    return index_pool_open(ret->state.index, &ret->indexer, &ret->pool, error);
}

void site_index_close(struct site_index *i)
{
    index_pool_close(&i->pool);
    cleanup_close(&i->folder);
    i->folder = -1;
    state_close(&i->state);
}

void site_index_reap(const struct site_index *i)
{
    if (i->pool && waitpid(i->indexer.pid, NULL, WNOHANG) == i->indexer.pid)
        log_warning("the index is no longer kept up to date, for its process has ended; start the server again");
}

int site_index_renew(const char *state, const char *site, struct index_counts *ret, struct error *error)
{
    struct state s CLEANUP(state_close) = {.folder = -1};
    struct index *x CLEANUP(index_close) = NULL;
    int r = state_open(state, site, &s, error);
    if (r == 0)
        r = index_open(s.index, true, &x, error);
    return r < 0 ? r : index_update(x, site, true, ret, error);
}
