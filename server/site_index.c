// See site_index.h.
#include "server/site_index.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

static int update(const struct state *state, const char *site, bool anew, struct index_counts *ret, struct error *error)
{
    struct index *x CLEANUP(index_close) = NULL;
    int r = index_open(state->index, true, &x, error);
    return r < 0 ? r : index_update(x, site, anew, ret, error);
}

int site_index_open(const char *state, const char *site, struct site_index *ret, struct error *error)
{
    struct index_counts counts;
    struct error why = {.text = ""};
    int r = state_open(state, site, &ret->state, error);
    if (r < 0)
        return r;
    r = update(&ret->state, site, false, &counts, &why);
    if (r == -EBADMSG || r == -EKEYREJECTED) // what was indexed before, if anything, stays
        log_warning("the index is not brought up to date: %s", why.text);
    else if (r < 0 && r != -ENOENT)
        return error_set(error, -r, "%s", why.text);
    ret->folder = io_open(ret->state.folder, "index", O_RDONLY | O_DIRECTORY, 0);
    if (ret->folder < 0)
        return error_set(error, -ret->folder, "cannot open the index's folder in %s: %s", state,
                         strerror(-ret->folder));
    return index_pool_open(ret->state.index, &ret->pool, error);
}

void site_index_close(struct site_index *i)
{
    index_pool_close(&i->pool);
    cleanup_close(&i->folder);
    i->folder = -1;
    state_close(&i->state);
}

int site_index_renew(const char *state, const char *site, struct index_counts *ret, struct error *error)
{
    struct state s CLEANUP(state_close) = {.folder = -1};
    int r = state_open(state, site, &s, error);
    return r < 0 ? r : update(&s, site, true, ret, error);
}
