// See export_roots.h. From the newest root, which this user has verified, backwards: each is taken if the one after it
// follows it. They are verified once more by whoever imports them.
#include "client/export_roots.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "blockstore/archive.h"
#include "client/resolve_private.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

_Static_assert(ARCHIVE_ROOTS_MAXIMUM == ROOT_NUMBER_MAXIMUM, "every root has a place");

// Is `bytes` root `number`, and does `next` (NULL: none) follow it?
static bool is_right(const struct buf *bytes, unsigned number, const struct buf *next)
{
    struct root root, after;
    return root_open(bytes->data, bytes->size, &root, NULL) == 0 && root.number == number &&
           (!next || root_follow(&root, next->data, next->size, &after, NULL) == 0);
}

// What is remembered; if that is missing or damaged, what the first source has that is right.
static int get_one(struct trust *t, struct store *store, const struct resolved *r, unsigned number,
                   const struct buf *next, struct buf *ret)
{
    struct error why = {.text = ""};
    *ret = (struct buf)BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    if (trust_load_root(t, r->address.site, number, ret, NULL) == 0 && is_right(ret, number, next))
        return 0;
    buf_free(ret);
    for (unsigned i = 0; !r->offline && i < r->source_count; i++) {
        if (resolve_fetch_root(&(struct resolve_place){store, r->sources[i]}, number, ret, &why) < 0)
            continue;
        if (is_right(ret, number, next))
            return 0;
        buf_free(ret);
    }
    return -ENOENT;
}

int export_roots_get(struct store *store, const struct resolved *r, struct export_roots *ret, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    char home[PATH_TEXT_SIZE];
    struct trust *t = NULL;
    int result = catalog_open(r->catalog.data, r->catalog.size, &c, error);
    *ret = (struct export_roots){.first = c.root_number + 1};
    if (result < 0 || c.root_number <= 1)
        return result;
    result = path_make(PATH_HOME, home, error);
    if (result == 0)
        result = trust_open(home, &t, error);
    if (result < 0)
        return result;
    struct buf *const files = ret->files; // until all are there, root i is files[i - 2]
    while (ret->first > 2) {
        const unsigned number = ret->first - 1;
        if (get_one(t, store, r, number, ret->count ? &files[number - 1] : NULL, &files[number - 2]) < 0)
            break;
        ret->first = number;
        ret->count++;
    }
    trust_close(t);
    if (ret->first > 2) {
        memmove(files, files + ret->first - 2, ret->count * sizeof(*files));
        fprintf(stderr,
                "rondo: of the site's root statements those before %u are not to be had: whoever knows only an older "
                "key of it cannot import this without going online once\n",
                ret->first);
    }
    return 0;
}

void export_roots_free(struct export_roots *roots)
{
    for (unsigned i = 0; i < roots->count; i++)
        buf_free(&roots->files[i]);
    roots->count = 0;
}
