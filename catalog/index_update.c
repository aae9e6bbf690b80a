// Making the index say what the site says: name by name, in the order of the catalog, within one transaction.
//
// Of each name, the rows that the catalog does not list any more go, versions that have no row are read, verified and
// measured, and rows whose tags, standing or predecessor changed are corrected. A name with nothing of that costs one
// question. At most two versions' manifests and maps are in memory.
//
// 1. A row's manifest was verified, and never changes under its name: it is not read again.
// 2. A version that cannot be read is left out and counted; it is tried again at every update.
#include "catalog/index_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "catalog/site_catalog.h"

#include "base/banned.h"

#define TAGS_SIZE 4096

// One version of a name, listed or read.
struct entry {
    const struct catalog_image *image;
    struct index_known known;  // .id 0: it has no row
    struct manifest *manifest; // NULL: not read
    struct index_pieces pieces;
};

struct update {
    struct index *x;
    struct site *site;
    const struct catalog *catalog;
    struct sha256_keys keys;
    struct index_counts counts;
};

static void let_go(struct entry *e)
{
    free(e->manifest);
    e->manifest = NULL;
    index_free_pieces(&e->pieces);
}

// Its manifest with its publisher, and its map's pieces, if they are not in memory already.
static int read_version(const struct update *u, struct entry *e, struct error *error)
{
    if (e->manifest)
        return 0;
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof *m);
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = site_catalog_read_manifest(u->site, e->image, m, error);
    if (r == 0)
        r = index_measure(u->site, m, &u->keys, &e->pieces, error);
    if (r == 0) {
        memcpy(e->known.publisher.bytes, m->publisher, KEY_PUBLIC_SIZE);
        e->manifest = TAKE_PTR(m);
    }
    return r;
}

static int refuse(struct update *u, const struct entry *e, int r, const struct error *why, struct error *error)
{
    if (r == -ENOMEM)
        return error_set(error, ENOMEM, "%s", why->text);
    log_warning("%s %s is not shown: %s", e->image->name, e->image->version, why->text);
    u->counts.refused++;
    u->counts.unread += r == -EIO || r == -EACCES || r == -EMFILE || r == -ENFILE; // not for what its bytes say
    return 0;
}

// --- rows that are there ---------------------------------------------------------------------------------------------

static int by_serial(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->image->serial > y->image->serial) - (x->image->serial < y->image->serial);
}

static bool is_row_of(sqlite3_stmt *s, const struct entry *e)
{
    const char *version = (const char *)sqlite3_column_text(s, 2);
    return version && strcmp(version, e->image->version) == 0 && sqlite3_column_bytes(s, 3) == SHA256_SIZE &&
           memcmp(sqlite3_column_blob(s, 3), e->image->manifest.bytes, SHA256_SIZE) == 0;
}

static int take_known(sqlite3_stmt *s, struct index_known *ret)
{
    const char *tags = (const char *)sqlite3_column_text(s, 6);
    struct index_known known = {.id = sqlite3_column_int64(s, 0), .revoked = sqlite3_column_int(s, 7) != 0};
    if (sqlite3_column_bytes(s, 4) == SHA256_SIZE)
        memcpy(known.before.bytes, sqlite3_column_blob(s, 4), SHA256_SIZE);
    if (sqlite3_column_bytes(s, 5) == KEY_PUBLIC_SIZE)
        memcpy(known.publisher.bytes, sqlite3_column_blob(s, 5), KEY_PUBLIC_SIZE);
    known.tags = tags ? strdup(tags) : NULL;
    if (!known.tags)
        return -ENOMEM;
    *ret = known;
    return 0;
}

// Finds the rows of a name's versions, and removes those that are not listed (any more). Entries are sorted.
static int match_rows(struct update *u, const char *name, struct entry *entries, size_t count, bool *ret_changed,
                      struct error *error)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    int r = index_db_start(u->x, &s, error,
                           "SELECT id, serial, version, manifest, before, publisher, tags, revoked FROM version WHERE "
                           "name = ?1 ORDER BY serial",
                           "t", name);
    size_t i = 0;
    while (r == 0 && (r = index_db_step(u->x, s, error)) == 1) {
        const uint64_t serial = (uint64_t)sqlite3_column_int64(s, 1);
        while (i < count && entries[i].image->serial < serial)
            i++;
        if (i < count && entries[i].image->serial == serial && is_row_of(s, &entries[i])) {
            r = take_known(s, &entries[i].known);
            if (r < 0)
                return error_set(error, ENOMEM, "out of memory");
            continue;
        }
        r = index_db_run(u->x, error, "DELETE FROM version WHERE id = ?1", "i", sqlite3_column_int64(s, 0));
        u->counts.removed++;
        *ret_changed = true;
    }
    return r;
}

// --- one name --------------------------------------------------------------------------------------------------------

// `before`: the next older version that is in the index; NULL: none.
static int add_version(struct update *u, const struct catalog *view, struct entry *e, struct entry *before,
                       bool *ret_changed, struct error *error)
{
    char tags[TAGS_SIZE];
    struct error why = {.text = ""};
    int r = read_version(u, e, &why);
    if (r < 0)
        return refuse(u, e, r, &why, error);
    // Without the map of the version before, all of this one is new; and that is looked at again the next time.
    const bool compared = before && read_version(u, before, &why) == 0;
    catalog_list_tags(view, e->image, tags, sizeof tags);
    const struct index_facts facts = {
        .image = e->image,
        .before = compared ? &before->image->manifest : NULL,
        .tags = tags,
        .stored = index_sum_pieces(&e->pieces, NULL),
        .new = index_sum_pieces(&e->pieces, compared ? &before->pieces : NULL),
        .revoked = !catalog_allows(view, &e->known.publisher, e->image->name),
    };
    r = index_add_version(u->x, e->manifest, &facts, error);
    if (r < 0)
        return r;
    e->known.id = sqlite3_last_insert_rowid(u->x->db);
    u->counts.added++;
    *ret_changed = true;
    return 0;
}

static int correct_new_bytes(struct update *u, struct entry *e, struct entry *before, bool *ret_changed,
                             struct error *error)
{
    static const struct sha256 none = {.bytes = {0}};
    const struct sha256 *is = before ? &before->image->manifest : &none;
    struct error why = {.text = ""};
    if (sha256_equal(is, &e->known.before))
        return 0;
    int r = read_version(u, e, &why);
    if (r == 0 && before)
        r = read_version(u, before, &why);
    if (r < 0) {
        log_warning("what is new in %s %s is not known: %s", e->image->name, e->image->version, why.text);
        return r == -ENOMEM ? error_set(error, ENOMEM, "out of memory") : 0;
    }
    *ret_changed = true;
    return index_db_run(u->x, error, "UPDATE version SET new = ?2, before = ?3 WHERE id = ?1", "iib", e->known.id,
                        (int64_t)index_sum_pieces(&e->pieces, before ? &before->pieces : NULL), is->bytes,
                        (size_t)(before ? SHA256_SIZE : 0));
}

static int correct_version(struct update *u, const struct catalog *view, struct entry *e, struct entry *before,
                           bool *ret_changed, struct error *error)
{
    char tags[TAGS_SIZE];
    const bool revoked = !catalog_allows(view, &e->known.publisher, e->image->name);
    catalog_list_tags(view, e->image, tags, sizeof tags);
    int r = correct_new_bytes(u, e, before, ret_changed, error);
    if (r < 0 || (revoked == e->known.revoked && strcmp(tags, e->known.tags) == 0))
        return r;
    *ret_changed = true;
    return index_db_run(u->x, error, "UPDATE version SET tags = ?2, revoked = ?3 WHERE id = ?1", "iti", e->known.id,
                        tags, (int64_t)revoked);
}

static int update_entries(struct update *u, const struct catalog *view, struct entry *entries, size_t count,
                          bool *ret_changed, struct error *error)
{
    struct entry *before = NULL;
    int r = match_rows(u, view->images[0].name, entries, count, ret_changed, error);
    for (size_t i = 0; i < count && r == 0; i++) {
        struct entry *e = &entries[i];
        r = e->known.id ? correct_version(u, view, e, before, ret_changed, error)
                        : add_version(u, view, e, before, ret_changed, error);
        if (r < 0 || !e->known.id)
            continue;
        u->counts.versions++;
        if (before)
            let_go(before);
        before = e;
    }
    return r;
}

// `view` is the part of the catalog about one name.
static int update_name(struct update *u, const struct catalog *view, struct error *error)
{
    const struct catalog_image *latest = NULL;
    bool changed = false;
    const size_t count = view->image_count;
    struct entry *entries = calloc(count, sizeof *entries);
    if (!entries)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < count; i++)
        entries[i].image = &view->images[i];
    qsort(entries, count, sizeof *entries, by_serial);
    int r = update_entries(u, view, entries, count, &changed, error);
    bool shown = false;
    for (size_t i = 0; i < count; i++) {
        shown = shown || entries[i].known.id != 0;
        let_go(&entries[i]);
        free(entries[i].known.tags);
    }
    free(entries);
    if (r == 0 && shown)
        r = index_put_tags(u->x, view->images[0].name, view->tags, view->tag_count, &changed, error);
    if (r < 0 || !changed)
        return r;
    (void)catalog_find(view, view->images[0].name, NULL, &latest, NULL);
    return index_show_image(u->x, view->images[0].name, latest ? latest->version : "", error);
}

// --- all names -------------------------------------------------------------------------------------------------------

// Removes the images that come in between two names of the catalog (NULL: the beginning, the end).
static int remove_between(struct update *u, const char *after, const char *before, struct error *error)
{
    char name[CATALOG_NAME_SIZE];
    for (;;) {
        sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
        int r = index_db_start(u->x, &s, error, "SELECT name FROM image WHERE name > ?1 ORDER BY name LIMIT 1", "t",
                               after ? after : "");
        if (r == 0)
            r = index_db_step(u->x, s, error);
        const char *found = r == 1 ? (const char *)sqlite3_column_text(s, 0) : NULL;
        if (!found || (before && strcmp(found, before) >= 0))
            return r < 0 ? r : 0;
        snprintf(name, sizeof name, "%s", found);
        index_db_finish(&s);
        r = match_rows(u, name, NULL, 0, &(bool){false}, error);
        if (r == 0)
            r = index_show_image(u->x, name, "", error);
        if (r < 0)
            return r;
    }
}

static int update_names(struct update *u, struct error *error)
{
    const struct catalog *c = u->catalog;
    const char *last = NULL;
    unsigned tag = 0;
    int r = 0;
    for (unsigned i = 0, next; i < c->image_count && r == 0; i = next) {
        const char *name = c->images[i].name;
        struct catalog view = *c;
        for (next = i + 1; next < c->image_count && strcmp(c->images[next].name, name) == 0;)
            next++;
        while (tag < c->tag_count && strcmp(c->tags[tag].name, name) < 0)
            tag++;
        view.tags = c->tags ? c->tags + tag : NULL;
        for (view.tag_count = 0; tag < c->tag_count && strcmp(c->tags[tag].name, name) == 0; tag++)
            view.tag_count++;
        view.images = c->images + i;
        view.image_count = next - i;
        r = remove_between(u, last, name, error);
        if (r == 0)
            r = update_name(u, &view, error);
        last = name;
    }
    return r < 0 ? r : remove_between(u, last, NULL, error);
}

static int update(struct update *u, bool anew, struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    const sqlite3_int64 changes = sqlite3_total_changes64(u->x->db);
    int r = index_db_begin(u->x, true, &t, error);
    if (r == 0 && anew)
        r = index_remove_all(u->x, error);
    if (r == 0)
        r = update_names(u, error);
    const bool changed = sqlite3_total_changes64(u->x->db) != changes;
    if (r == 0 && changed)
        r = index_count_facets(u->x, error);
    if (r == 0)
        r = index_put_site(u->x, u->catalog, changed, error);
    return r < 0 ? r : index_db_commit(&t, error);
}

int index_update(struct index *x, const char *folder, bool anew, struct index_counts *ret, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct update u = {.x = x, .catalog = &c};
    int r = sha256_make_keys(&u.keys);
    if (r < 0)
        return error_set(error, -r, "no random numbers can be had");
    r = site_open_reading(folder, &u.site, error);
    if (r == 0)
        r = site_catalog_read(u.site, &c, error);
    if (r == 0)
        r = update(&u, anew, error);
    site_close(u.site);
    if (r == 0)
        *ret = u.counts;
    return r;
}
