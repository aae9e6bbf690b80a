// rondo fsck SITE: the root statements in the site's folder, without which nobody follows a change of its keys. Each
// must follow the one before it, and the last be the one that the catalog names (mirror_roots.h). With --repair those
// that are missing or wrong are fetched from the mirrors that the catalog names.
#include "client/fsck.h"
#include "client/mirror_roots.h"
#include <errno.h>

#include "base/banned.h"

#define FETCH_SECONDS 10u // while nothing at all comes

static void tell(void *context, const char *path, const char *what)
{
    fsck_tell(context, path, what, "restore it from a mirror or a backup", false);
}

static void count(void *context, const char *path, const char *what)
{
    uint64_t *wrong = context;
    (void)path;
    (void)what;
    ++*wrong;
}

static void tell_mended(struct fsck *f)
{
    const bool quiet = f->quiet;
    f->quiet = false;
    fsck_tell(f, "roots", "some were damaged or missing, and are fetched", NULL, true);
    f->quiet = quiet;
}

static int fetch(struct fsck *f, struct site *s, const struct catalog *c, uint64_t *done, struct error *error)
{
    const struct store_options options = {.wait_seconds = FETCH_SECONDS};
    struct store *store;
    int r = store_new(&options, &store, error);
    if (r < 0)
        return r;
    r = -ENOENT;
    for (unsigned i = 0; i < c->mirror_count && r < 0 && r != -ENOSPC; i++)
        r = mirror_roots(s, &(struct resolve_place){store, c->mirrors[i]}, c, error);
    store_free(store);
    if (r == 0) {
        tell_mended(f);
        ++*done;
    }
    return r == -ENOSPC ? r : 0;
}

void fsck_check_roots(struct fsck *f, const struct site *s, const struct catalog *c)
{
    mirror_roots_check(s, c, tell, f);
}

int fsck_mend_roots(struct fsck *f, struct site *s, const struct catalog *c, uint64_t *done, struct error *error)
{
    uint64_t wrong = 0;
    mirror_roots_check(s, c, count, &wrong);
    return wrong > 0 && !f->offline ? fetch(f, s, c, done, error) : 0;
}
