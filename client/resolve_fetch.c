// The small files of a site that are asked for by name: its catalog, and its root statements where the catalog names
// one that is not known (catalog/root.h). What is fetched here is believed by nobody yet: trust decides.
//
// 1. Root statements are fetched only if the catalog names a newer one than is known, or its key is another one than
//    was named; so a site whose keys never change costs no request for them.
// 2. They are at most ROOT_NUMBER_MAXIMUM files of ROOT_SIZE_MAXIMUM bytes, and the first that does not follow the one
//    before it is the last that is asked for.
#include "base/cleanup.h"
#include "base/io.h"
#include "client/cli.h"
#include "client/resolve_private.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

// How long a failure that may pass is tried again where nothing else could serve. (Who was silent until the transport
// gave up is not asked twice: that takes longer.)
#define RETRY_SECONDS 2
#define RETRY_FIRST_MS 50
#define ROOTS_SECONDS 60 // for all root statements of a site together

int resolve_collect(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct buf *b = context;
    if (offset != b->size)
        return -EBADMSG;
    return buf_append(b, bytes, n) == -E2BIG ? -EBADMSG : 0;
}

int resolve_fetch(const struct resolve_place *from, const char *path, const char *etag, bool patient,
                  struct resolve_fetched *ret, struct error *error)
{
    struct source *source;
    int r = source_open(store_transport(from->store), from->address, &source, error);
    if (r < 0)
        return r;
    uint64_t end = io_monotonic_ns() + RETRY_SECONDS * 1000000000ull;
    if (source_is_remote(source))
        cli_progress("asking %s", from->address);
    for (int wait = RETRY_FIRST_MS;; wait = wait < RETRY_SECONDS * 1000 ? wait * 2 : wait) {
        buf_clear(&ret->bytes);
        struct source_request request = {.path = path,
                                         .maximum = ret->bytes.maximum,
                                         .if_etag = etag && *etag ? etag : NULL,
                                         .sink = resolve_collect,
                                         .context = &ret->bytes};
        source_start(source, &request);
        source_wait(source, &request);
        r = request.result;
        ret->not_modified = request.not_modified;
        snprintf(ret->etag, sizeof(ret->etag), "%s", request.etag);
        if (r < 0)
            *error = request.error;
        if (!error_is_network(r) || io_monotonic_ns() > end || (!patient && wait > RETRY_FIRST_MS))
            break;
        poll(NULL, 0, wait);
    }
    cli_progress_end();
    source_close(source);
    return r;
}

// --- root statements -------------------------------------------------------------------------------------------------

void resolve_drop_roots(struct resolve_decision *d)
{
    for (unsigned i = 0; i < d->request.roots.count; i++)
        buf_free(&d->roots[i]);
    free(d->roots);
    d->roots = NULL;
    d->request.roots = (struct trust_roots){.count = 0};
}

int resolve_fetch_root(const struct resolve_place *from, unsigned number, struct buf *ret, struct error *error)
{
    char path[ROOT_PATH_SIZE];
    struct resolve_fetched fetched = {.bytes = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM)};
    int r = resolve_fetch(from, root_path(number, path), NULL, false, &fetched, error);
    if (r == 0)
        *ret = fetched.bytes;
    else
        buf_free(&fetched.bytes);
    if (r == -ENOENT)
        return error_set(error, EBADMSG, "%s lacks %s, which its catalog needs; tell its owner", from->address, path);
    return r;
}

static int fetch_roots(struct resolve_decision *d, const struct resolve_place *from, unsigned first, unsigned last,
                       struct root *after, struct error *error)
{
    const uint64_t end = io_monotonic_ns() + ROOTS_SECONDS * 1000000000ull;
    int r = 0;
    d->roots = calloc(last - first + 1, sizeof(*d->roots));
    if (!d->roots)
        return error_set(error, ENOMEM, "out of memory");
    d->request.roots = (struct trust_roots){.first = first, .files = d->roots};
    for (unsigned i = first; i <= last && r == 0; i++) {
        struct buf *file = &d->roots[i - first];
        if (io_monotonic_ns() > end)
            return error_set(error, EHOSTUNREACH, "%s gives its root statements too slowly", from->address);
        r = resolve_fetch_root(from, i, file, error);
        d->request.roots.count += r == 0;
        if (r == 0 && after->number)
            r = root_follow(after, file->data, file->size, after, NULL) < 0; // trust says what is wrong with it
    }
    return r < 0 ? r : 0;
}

int resolve_get_roots(struct resolve_decision *d, const struct catalog *c, const struct resolve_place *from,
                      struct error *error)
{
    struct root after = {.number = 0};
    unsigned first = 0;
    int r = trust_want_roots(d->trust, &d->request, c, &first, &after, error);
    if (r < 0 || first > c->root_number || !from)
        return r;
    resolve_drop_roots(d);
    return fetch_roots(d, from, first, c->root_number, &after, error);
}
