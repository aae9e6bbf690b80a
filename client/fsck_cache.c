// rondo fsck without a site: the cache (cache_check.h), what was pulled, machines, the trust database. With --repair,
// what was pulled is made whole again from where it came; wrong objects that nobody keeps are dropped, and come again
// when somebody wants them. What only a machine's own files held cannot be mended by anybody.
#include "base/cleanup.h"
#include "blockstore/cache_check.h"
#include "blockstore/overlay_check.h"
#include "catalog/trust.h"
#include "client/cli.h"
#include "client/fsck.h"
#include "client/images.h"
#include "client/instance.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static void tell_object(void *context, const char *path, const char *what, bool mended)
{
    fsck_tell(context, path, what, NULL, mended);
}

static int report_check(void *context, uint64_t done, uint64_t all)
{
    (void)context;
    return fsck_progress("checking the cache", done, all);
}

// --- what was pulled -----------------------------------------------------------------------------------------------

struct pinned {
    struct sha256 *list; // malloc'ed
    size_t count, capacity;
};

static int note_pinned(void *context, const struct sha256 *manifest)
{
    struct pinned *p = context;
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 16;
        struct sha256 *grown = realloc(p->list, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        p->list = grown;
        p->capacity = capacity;
    }
    p->list[p->count++] = *manifest;
    return 0;
}

static int report_pull(void *context, uint64_t have, uint64_t all)
{
    return fsck_progress(context, have, all);
}

// Opens a version, and names it.
static int open_version(struct store *store, const struct sha256 *manifest, const struct fsck_sources *sources,
                        char *label, size_t capacity, struct version **ret, struct error *error)
{
    int r =
        version_open(store, manifest, sources ? sources->addresses : NULL, sources ? sources->count : 0, ret, error);
    if (r == 0)
        snprintf(label, capacity, "%s %s", version_manifest(*ret)->name, version_manifest(*ret)->version);
    return r;
}

// Whether all of it is there: what is, was hashed before (cache_check).
static int look_for_missing(struct store *store, const struct sha256 *manifest, char *label, size_t capacity,
                            struct error *error)
{
    struct version *v;
    uint64_t missing, all;
    char text[32];
    int r = open_version(store, manifest, NULL, label, capacity, &v, error);
    if (r < 0)
        return r;
    r = version_count_missing(v, &missing, &all, error);
    version_close(v);
    return r < 0 || missing == 0
               ? r
               : error_set(error, ENOENT, "%s of what was pulled are missing", text_format_size(missing, text));
}

static int pull_again(struct store *store, const struct sha256 *manifest, const struct fsck_sources *sources,
                      char *label, size_t capacity, struct error *error)
{
    CLEANUP_FREE struct sha256 *objects = NULL;
    struct version *v;
    size_t count;
    int r = open_version(store, manifest, sources, label, capacity, &v, error);
    if (r < 0)
        return r;
    r = version_pull(v, report_pull, label, &objects, &count, error);
    version_close(v);
    return r;
}

static int check_pinned(struct fsck *f, struct store *store, const struct sha256 *manifest, struct error *error)
{
    char label[2 * CATALOG_NAME_SIZE], hex[SHA256_HEX_SIZE];
    struct error why = {.text = ""};
    snprintf(label, sizeof(label), "version %.16s…", sha256_to_hex(manifest, hex));
    int r = look_for_missing(store, manifest, label, sizeof(label), &why);
    if (r == 0)
        return 0;
    if (r == -ENOMEM || r == -ECANCELED)
        return error_set(error, -r, "%s", why.text);
    CLEANUP_FREE struct fsck_sources *sources = malloc(sizeof(*sources));
    struct error refused = {.text = ""};
    bool mended = false;
    if (!sources)
        return error_set(error, ENOMEM, "out of memory");
    if (f->repair && !f->offline && fsck_find_sources(store, manifest, sources, &refused) == 0 && sources->count > 0) {
        r = pull_again(store, manifest, sources, label, sizeof(label), &refused);
        mended = r == 0;
        if (r == -ECANCELED)
            return error_set(error, ECANCELED, "cancelled");
    }
    fsck_tell(f, label, mended || !refused.text[0] ? why.text : refused.text, mended ? NULL : "rondo pull fetches it",
              mended);
    return 0;
}

static int check_all_pinned(struct fsck *f, struct store *store, struct error *error)
{
    struct pinned p = {.count = 0};
    int r = cache_walk_pins(store_cache(store), NULL, note_pinned, &p);
    if (r < 0)
        error_set(error, -r, "cannot list what was pulled: %s", strerror(-r));
    for (size_t i = 0; i < p.count && r == 0; i++)
        r = check_pinned(f, store, &p.list[i], error);
    free(p.list);
    return r;
}

// --- machines ------------------------------------------------------------------------------------------------------

struct machine_check {
    struct fsck *f;
    const char *name;
    unsigned checked, running;
};

static void tell_disk(void *context, bool whole, const char *text)
{
    struct machine_check *c = context;
    char object[CATALOG_NAME_SIZE + 16], next[2 * CATALOG_NAME_SIZE + 128];
    snprintf(object, sizeof(object), "machine %s", c->name);
    if (whole)
        snprintf(next, sizeof(next),
                 "what it wrote is lost: rondo rm %s removes it, rondo update %s --discard replaces it by a newer "
                 "version",
                 c->name, c->name);
    else
        snprintf(next, sizeof(next), "rondo rollback %s, if it has a snapshot that is whole", c->name);
    fsck_tell(c->f, object, text, next, false);
}

static int check_machine(void *context, struct instance *i, const struct error *damage)
{
    struct machine_check *c = context;
    char object[CATALOG_NAME_SIZE + 16], next[CATALOG_NAME_SIZE + 64];
    c->name = i->name;
    c->checked++;
    if (damage) {
        snprintf(object, sizeof(object), "machine %s", i->name);
        snprintf(next, sizeof(next), "rondo rm %s removes it", i->name);
        fsck_tell(c->f, object, damage->text, next, false);
        return 0;
    }
    if (cli_interrupted())
        return -ECANCELED;
    if (instance_is_running(i)) {
        c->running++;
        return 0;
    }
    return overlay_check(i->folder_fd, &i->settings.manifest, tell_disk, c);
}

// --- the whole -----------------------------------------------------------------------------------------------------

static int check_trust(struct fsck *f, struct error *error)
{
    char home[PATH_TEXT_SIZE];
    struct trust *trust;
    struct error damage = {.text = ""};
    int r = path_find(PATH_HOME, home, error);
    if (r < 0)
        return r;
    r = trust_check_file(home, &damage);
    if (r == 0)
        return 0;
    if (r != -EUCLEAN)
        return error_set(error, -r, "%s", damage.text);
    bool mended = f->repair && trust_open(home, &trust, NULL) == 0; // moves it aside, and says so
    if (mended)
        trust_close(trust);
    fsck_tell(f, "trust.db", damage.text, mended ? NULL : "the next command that needs it begins a new one", mended);
    return 0;
}

int fsck_cache(struct fsck *f, struct error *error)
{
    struct images images = {.store = NULL};
    struct cache_checked sum = {.objects = 0};
    struct cache_check check = {.repair = f->repair, .problem = tell_object, .progress = report_check, .context = f};
    struct machine_check machines = {.f = f};
    char size[32];
    int r = check_trust(f, error);
    if (r == 0)
        r = images_open(&images, error);
    if (r == 0)
        r = cache_check(store_cache(images.store), &check, &sum, error);
    if (r == 0)
        r = check_all_pinned(f, images.store, error);
    images_close(&images);
    if (r == 0) {
        r = instance_list(check_machine, &machines, error);
        if (r < 0 && !error->text[0])
            error_set(error, -r, "the check of the machines ended before its end: %s",
                      r == -ECANCELED ? "cancelled" : strerror(-r));
    }
    if (r < 0)
        return r;
    if (f->json)
        fsck_end_list(f, true);
    if (f->json)
        printf("  \"objects\": %llu, \"bytes\": %llu, \"chunks\": %llu, \"machines\": %u, \"running\": %u\n}\n",
               (unsigned long long)sum.objects, (unsigned long long)sum.object_bytes, (unsigned long long)sum.chunks,
               machines.checked, machines.running);
    else
        printf("%s (%s) and %s of incomplete packs are right; looked at %s%s\n",
               TEXT_COUNT(sum.objects, "whole object"), text_format_size(sum.object_bytes, size),
               TEXT_COUNT(sum.chunks, "chunk"), TEXT_COUNT(machines.checked, "machine"),
               machines.running ? ", but for the disks of those that run" : "");
    return 0;
}
