// The index's rows, as an update writes them, and what is told of the whole of them.
//
// 1. What follows from `version` and `site` (image, words, facet) is only ever made from these.
#include "catalog/index_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/io.h"

#include "base/banned.h"

static uint64_t disk_size_of(const struct manifest *m)
{
    int disk = manifest_find_member(m, "disk");
    return disk < 0 ? 0 : m->members[disk].size;
}

static uint64_t boot_bytes_of(const struct manifest *m)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < m->boot_count; i++)
        sum += m->boot[i].size;
    return sum;
}

#define PORTS_SIZE (MANIFEST_PORTS_MAXIMUM * (MANIFEST_PORT_NAME_SIZE + 8))

static void list_ports(const struct manifest *m, char ret[static PORTS_SIZE])
{
    size_t n = 0;
    ret[0] = '\0';
    for (unsigned i = 0; i < m->port_count; i++)
        n += (size_t)snprintf(ret + n, PORTS_SIZE - n, "%u %s\n", m->ports[i].number, m->ports[i].name);
}

int index_add_version(struct index *x, const struct manifest *m, const struct index_facts *f, struct error *error)
{
    const bool has_logo = m->logo.type != MANIFEST_LOGO_NONE;
    char ports[PORTS_SIZE];
    list_ports(m, ports);
    return index_db_run(
        x, error,
        "INSERT INTO version(name, serial, version, manifest, before, created, publisher, arch, os, licence, title, "
        "summary, homepage, description, ports, logo, logo_size, logo_type, memory, disk, boot, stored, new, tags, "
        "revoked) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, "
        "?21, ?22, ?23, ?24, ?25)",
        "titbbibtttttttt"
        "bitiiiiiti",
        m->name, (int64_t)m->serial, m->version, f->image->manifest.bytes, (size_t)SHA256_SIZE,
        f->before ? f->before->bytes : f->image->manifest.bytes, (size_t)(f->before ? SHA256_SIZE : 0), m->created,
        m->publisher, (size_t)PUBLIC_KEY_SIZE, m->arch, m->os, m->licence, m->title, m->summary, m->homepage,
        m->description, ports, m->logo.object.bytes, (size_t)(has_logo ? SHA256_SIZE : 0),
        (int64_t)(has_logo ? m->logo.size : 0), has_logo ? manifest_logo_type_name(m->logo.type) : "",
        (int64_t)m->memory, (int64_t)disk_size_of(m), (int64_t)boot_bytes_of(m), (int64_t)f->stored, (int64_t)f->new,
        f->tags, (int64_t)f->revoked);
}

// --- images ----------------------------------------------------------------------------------------------------------

static int remove_words(struct index *x, const char *name, struct error *error)
{
    return index_db_run(x, error, "DELETE FROM words WHERE rowid = (SELECT id FROM image WHERE name = ?1)", "t", name);
}

int index_show_image(struct index *x, const char *name, const char *latest, struct error *error)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    char key[KEY_TEXT_SIZE];
    struct key_public publisher = {.id = {0}};
    // Best: the one that latest names, unless it is revoked; then the newest; a revoked one only if there is no other.
    int r = index_db_start(x, &s, error,
                           "SELECT id, publisher FROM version WHERE name = ?1 ORDER BY revoked, version = ?2 DESC, "
                           "serial DESC LIMIT 1",
                           "tt", name, latest);
    if (r == 0)
        r = index_db_step(x, s, error);
    if (r < 0)
        return r;
    if (r == 0) {
        r = remove_words(x, name, error);
        if (r == 0)
            r = index_db_run(x, error, "DELETE FROM tag WHERE name = ?1", "t", name);
        return r < 0 ? r : index_db_run(x, error, "DELETE FROM image WHERE name = ?1", "t", name);
    }
    const int64_t shown = sqlite3_column_int64(s, 0);
    if (sqlite3_column_bytes(s, 1) == KEY_PUBLIC_SIZE)
        memcpy(publisher.bytes, sqlite3_column_blob(s, 1), KEY_PUBLIC_SIZE);
    index_db_finish(&s);
    r = remove_words(x, name, error);
    if (r == 0)
        r = index_db_run(
            x, error,
            "INSERT INTO image(name, shown, versions, created, os, arch, publisher, stored) SELECT name, id, (SELECT "
            "count(*) FROM version WHERE name = ?2), created, os, arch, ?3, stored FROM version WHERE id = ?1 ON "
            "CONFLICT(name) DO UPDATE SET shown = excluded.shown, versions = excluded.versions, created = "
            "excluded.created, os = excluded.os, arch = excluded.arch, publisher = excluded.publisher, stored = "
            "excluded.stored",
            "itt", shown, name, key_to_text(&publisher, key));
    return r < 0 ? r
                 : index_db_run(x, error,
                                "INSERT INTO words(rowid, name, title, summary, description, os) SELECT image.id, "
                                "image.name, title, summary, description, version.os FROM image JOIN version ON "
                                "version.id = image.shown WHERE image.name = ?1",
                                "t", name);
}

// 1 if the rows are these tags already.
static int has_tags(struct index *x, const char *name, const struct catalog_tag *tags, size_t count,
                    struct error *error)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    size_t n = 0;
    bool same = true;
    int r = index_db_start(x, &s, error, "SELECT tag, version FROM tag WHERE name = ?1 ORDER BY tag", "t", name);
    while (r == 0 && same && (r = index_db_step(x, s, error)) == 1) {
        const char *tag = (const char *)sqlite3_column_text(s, 0), *version = (const char *)sqlite3_column_text(s, 1);
        same = n < count && tag && version && strcmp(tag, tags[n].tag) == 0 && strcmp(version, tags[n].version) == 0;
        n++;
        r = 0;
    }
    return r < 0 ? r : same && n == count;
}

int index_put_tags(struct index *x, const char *name, const struct catalog_tag *tags, size_t count, bool *ret_changed,
                   struct error *error)
{
    int r = has_tags(x, name, tags, count, error);
    if (r != 0)
        return r < 0 ? r : 0;
    *ret_changed = true;
    r = index_db_run(x, error, "DELETE FROM tag WHERE name = ?1", "t", name);
    for (size_t i = 0; i < count && r == 0; i++)
        r = index_db_run(x, error, "INSERT INTO tag VALUES(?1, ?2, ?3)", "ttt", name, tags[i].tag, tags[i].version);
    return r;
}

int index_count_facets(struct index *x, struct error *error)
{
    static const char *const steps[] = {
        "DELETE FROM facet",
        "INSERT INTO facet SELECT 0, os, count(*) FROM image WHERE os <> '' GROUP BY os",
        "INSERT INTO facet SELECT 1, arch, count(*) FROM image WHERE arch <> '' GROUP BY arch",
        "INSERT INTO facet SELECT 2, publisher, count(*) FROM image GROUP BY publisher",
    };
    _Static_assert(INDEX_OS == 0 && INDEX_ARCH == 1 && INDEX_PUBLISHER == 2, "what the statements say");
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(steps) && r == 0; i++)
        r = index_db_run(x, error, steps[i], "");
    return r;
}

int index_walk_facet(struct index *x, enum index_facet facet,
                     int (*each)(void *context, const char *value, uint64_t images), void *context, struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    int r = index_db_begin(x, false, &t, error);
    if (r == 0)
        r = index_db_start(x, &s, error,
                           "SELECT value, images FROM facet WHERE kind = ?1 ORDER BY images DESC, value LIMIT ?2", "ii",
                           (int64_t)facet, (int64_t)INDEX_LIMIT_MAXIMUM);
    while (r == 0 && (r = index_db_step(x, s, error)) == 1) {
        const char *value = (const char *)sqlite3_column_text(s, 0);
        r = value ? each(context, value, (uint64_t)sqlite3_column_int64(s, 1))
                  : error_set(error, ENOMEM, "out of memory");
    }
    return r;
}

int index_sum_new_bytes(struct index *x, const struct key_public *publisher, uint64_t *ret, struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    int64_t sum = 0;
    int r = index_db_begin(x, false, &t, error); // which gives it a time limit of its own
    if (r == 0)
        r = index_db_number(x, &sum, error, "SELECT coalesce(sum(new), 0) FROM version WHERE publisher = ?1", "b",
                            (const void *)publisher->bytes, (size_t)KEY_PUBLIC_SIZE);
    if (r == 0)
        *ret = (uint64_t)sum;
    return r;
}

// --- the whole -------------------------------------------------------------------------------------------------------

int index_remove_all(struct index *x, struct error *error)
{
    static const char *const steps[] = {"DELETE FROM words", "DELETE FROM facet", "DELETE FROM image",
                                        "DELETE FROM tag", "DELETE FROM version"};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(steps) && r == 0; i++)
        r = index_db_run(x, error, steps[i], "");
    return r;
}

int index_put_site(struct index *x, const struct catalog *c, bool changed, struct error *error)
{
    struct timespec now = {.tv_sec = 0};
    io->clock_gettime(CLOCK_REALTIME, &now);
    const int64_t change = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    // The number of the change: the time of it, so that an index that is made anew does not count through old ones
    // again.
    return index_db_run(
        x, error,
        "INSERT INTO site SELECT 1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, (SELECT count(*) FROM image), "
        "(SELECT count(*) FROM version) WHERE TRUE ON CONFLICT(one) DO UPDATE SET name = excluded.name, "
        "key = excluded.key, id = excluded.id, number = excluded.number, issued = excluded.issued, "
        "expires = excluded.expires, change = iif(?9 OR text <> excluded.text, max(change + 1, "
        "excluded.change), change), text = excluded.text, images = excluded.images, versions = "
        "excluded.versions",
        "tbbiiibii", c->site, c->site_key.bytes, (size_t)KEY_PUBLIC_SIZE, c->id, (size_t)CATALOG_ID_SIZE,
        (int64_t)c->number, c->issued, c->expires, c->text.bytes, (size_t)SHA256_SIZE, change, (int64_t)changed);
}

int index_get_site(struct index *x, struct index_site *ret, struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    struct index_site site = {.name = ""};
    struct sha256 text;
    char hex[SHA256_HEX_SIZE];
    int r = index_db_begin(x, false, &t, error);
    if (r == 0)
        r = index_db_start(x, &s, error,
                           "SELECT name, key, id, text, number, issued, expires, images, versions, change FROM site",
                           "");
    if (r == 0)
        r = index_db_step(x, s, error);
    if (r == 0)
        return error_set(error, ENOENT, "nothing is published here yet");
    if (r < 0)
        return r;
    const char *name = (const char *)sqlite3_column_text(s, 0);
    if (!name || strlen(name) >= sizeof site.name || sqlite3_column_bytes(s, 1) != KEY_PUBLIC_SIZE ||
        sqlite3_column_bytes(s, 2) != CATALOG_ID_SIZE || sqlite3_column_bytes(s, 3) != SHA256_SIZE)
        return error_set(error, EUCLEAN, "the index %s holds what is never written there", index_db_path(x));
    memcpy(site.name, name, strlen(name) + 1);
    memcpy(site.key.bytes, sqlite3_column_blob(s, 1), KEY_PUBLIC_SIZE);
    memcpy(site.id, sqlite3_column_blob(s, 2), CATALOG_ID_SIZE);
    memcpy(text.bytes, sqlite3_column_blob(s, 3), SHA256_SIZE);
    site.number = (uint64_t)sqlite3_column_int64(s, 4);
    site.issued = sqlite3_column_int64(s, 5);
    site.expires = sqlite3_column_int64(s, 6);
    site.images = (uint64_t)sqlite3_column_int64(s, 7);
    site.versions = (uint64_t)sqlite3_column_int64(s, 8);
    snprintf(site.tag, sizeof site.tag, "%llu-%.8s-%llx", (unsigned long long)site.number, sha256_to_hex(&text, hex),
             (unsigned long long)sqlite3_column_int64(s, 9));
    *ret = site;
    return 0;
}
