// Asking the index.
//
// Words are ranked by bm25, which has to look at every image that has them all: for up to RANKED_MAXIMUM images. A
// question that more than that answer to is not told apart by its words; images with the words in their names come
// first then, and what was added last comes first among these and among the others.
//
// 1. All that one function returns is of one state of the index.
// 2. A row that holds what the update never writes is damage, -EUCLEAN, and is not returned.
#include "catalog/index_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#include "base/banned.h"

#define RANKED_MAXIMUM 1000

#define FACTS                                                                                                          \
    "SELECT v.manifest, v.publisher, v.serial, v.created, v.memory, v.disk, v.boot, v.stored, v.new, v.revoked, "      \
    "i.versions, v.logo, v.logo_size, v.name, v.version, v.arch, v.os, v.licence, v.title, v.summary, v.homepage, "    \
    "v.ports, v.tags, v.logo_type, "
#define FILTER                                                                                                         \
    "(?1 = '' OR substr(i.os, 1, length(?1)) = ?1 COLLATE NOCASE) AND (?2 = '' OR i.arch = ?2) AND (?3 = '' OR "       \
    "i.publisher = ?3) AND (?4 = 0 OR i.stored <= ?4) "
#define ALL "FROM image i WHERE " FILTER
#define FOUND "FROM words JOIN image i ON i.id = words.rowid WHERE words MATCH ?5 AND " FILTER
#define SHOW(which)                                                                                                    \
    FACTS "'' FROM (" which ") AS x JOIN image i ON i.id = x.id JOIN version v ON v.id = i.shown ORDER BY x.place"

enum column { // of FACTS
    MANIFEST,
    PUBLISHER,
    FIRST_NUMBER,
    LOGO = 11,
    LOGO_SIZE,
    NAME,
    VERSION,
    FIRST_TEXT,
    DESCRIPTION = 24,
};
#define TEXTS (DESCRIPTION + 1 - FIRST_TEXT)

static int complain(const struct index *x, struct error *error)
{
    return error_set(error, EUCLEAN,
                     "the index %s holds what is never written there; rondo-server reindex makes it anew",
                     index_db_path(x));
}

static bool take_blob(sqlite3_stmt *s, int column, void *ret, size_t n)
{
    const bool fits = sqlite3_column_bytes(s, column) == (int)n;
    if (fits)
        memcpy(ret, sqlite3_column_blob(s, column), n);
    return fits;
}

static bool take_name(sqlite3_stmt *s, int column, char ret[static CATALOG_NAME_SIZE])
{
    const char *text = (const char *)sqlite3_column_text(s, column);
    const int n = sqlite3_column_bytes(s, column);
    if (!text || n <= 0 || n >= (int)CATALOG_NAME_SIZE)
        return false;
    memcpy(ret, text, (size_t)n + 1);
    return true;
}

// All texts of a row in one piece of memory, which begins at the first one, `arch`.
static int take_texts(sqlite3_stmt *s, struct index_version *v)
{
    const char **const to[TEXTS] = {&v->arch,     &v->os,    &v->licence, &v->title,     &v->summary,
                                    &v->homepage, &v->ports, &v->tags,    &v->logo_type, &v->description};
    size_t size = 0;
    for (int i = 0; i < TEXTS; i++)
        size += (size_t)sqlite3_column_bytes(s, FIRST_TEXT + i) + 1;
    char *at = malloc(size);
    if (!at)
        return -ENOMEM;
    for (int i = 0; i < TEXTS; i++) {
        const char *text = (const char *)sqlite3_column_text(s, FIRST_TEXT + i);
        const size_t n = text ? (size_t)sqlite3_column_bytes(s, FIRST_TEXT + i) : 0;
        memcpy(at, text ? text : "", n + 1);
        *to[i] = at;
        at += n + 1;
    }
    return 0;
}

static int take_version(struct index *x, sqlite3_stmt *s, struct index_version *ret, struct error *error)
{
    struct index_version v = {.serial = 0};
    uint64_t *const numbers[] = {&v.serial,       NULL,        &v.memory, &v.disk_size, &v.boot_bytes,
                                 &v.stored_bytes, &v.new_bytes};
    v.has_logo = sqlite3_column_bytes(s, LOGO) > 0;
    if (!take_blob(s, MANIFEST, v.manifest.bytes, sizeof v.manifest.bytes) ||
        !take_blob(s, PUBLISHER, v.publisher.bytes, sizeof v.publisher.bytes) || !take_name(s, NAME, v.name) ||
        !take_name(s, VERSION, v.version) || (v.has_logo && !take_blob(s, LOGO, v.logo.bytes, sizeof v.logo.bytes)))
        return complain(x, error);
    for (int i = 0; i < (int)ARRAY_SIZE(numbers); i++) {
        const int64_t number = sqlite3_column_int64(s, FIRST_NUMBER + i);
        if (number < 0)
            return complain(x, error);
        if (numbers[i])
            *numbers[i] = (uint64_t)number;
        else
            v.created = number;
    }
    v.revoked = sqlite3_column_int(s, FIRST_NUMBER + 7) != 0;
    v.version_count = (unsigned)sqlite3_column_int(s, FIRST_NUMBER + 8);
    v.logo_size = (uint32_t)sqlite3_column_int(s, LOGO_SIZE);
    if (take_texts(s, &v) < 0)
        return error_set(error, ENOMEM, "out of memory");
    *ret = v;
    return 0;
}

void index_list_free(struct index_list *l)
{
    for (unsigned i = 0; i < l->count; i++)
        free((void *)(uintptr_t)l->versions[i].arch);
    free(l->versions);
    *l = (struct index_list){.versions = NULL};
}

// Adds the rows of `s` to a list that has room for INDEX_LIMIT_MAXIMUM.
static int take_all(struct index *x, sqlite3_stmt *s, struct index_list *l, struct error *error)
{
    int r;
    while ((r = index_db_step(x, s, error)) == 1) {
        if (l->count == INDEX_LIMIT_MAXIMUM)
            return complain(x, error);
        r = take_version(x, s, &l->versions[l->count], error);
        if (r < 0)
            return r;
        l->count++;
    }
    return r;
}

static int begin_list(struct index *x, struct index_transaction *t, struct index_list *l, struct error *error)
{
    int r = index_db_begin(x, false, t, error);
    if (r < 0)
        return r;
    l->versions = calloc(INDEX_LIMIT_MAXIMUM, sizeof *l->versions);
    return l->versions ? 0 : error_set(error, ENOMEM, "out of memory");
}

static void hand_over(struct index_list *l, struct index_list *ret)
{
    *ret = *l;
    *l = (struct index_list){.versions = NULL};
}

// --- searching -------------------------------------------------------------------------------------------------------

struct search {
    struct index *x;
    const char *os, *arch, *publisher;
    int64_t max_size, limit, offset;
    struct index_list *list;
};

// `expression` "": without words.
static int count(const struct search *f, const char *expression, int64_t *ret, struct error *error)
{
    return expression[0] ? index_db_number(f->x, ret, error, "SELECT count(*) " FOUND, "tttit", f->os, f->arch,
                                           f->publisher, f->max_size, expression)
                         : index_db_number(f->x, ret, error, "SELECT count(*) " ALL, "ttti", f->os, f->arch,
                                           f->publisher, f->max_size);
}

static int show(const struct search *f, const char *sql, const char *expression, int64_t limit, int64_t offset,
                struct error *error)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    int r = index_db_start(f->x, &s, error, sql, "tttitii", f->os, f->arch, f->publisher, f->max_size, expression,
                           limit, offset);
    return r < 0 ? r : take_all(f->x, s, f->list, error);
}

static int show_many(const struct search *f, const char *expression, struct error *error)
{
    static const char added_last[] =
        SHOW("SELECT i.id AS id, -i.id AS place " FOUND "ORDER BY words.rowid DESC LIMIT ?6 OFFSET ?7");
    char part[2 * INDEX_EXPRESSION_SIZE + 32];
    int64_t named = 0;
    snprintf(part, sizeof part, "{name} : (%s)", expression);
    int r = count(f, part, &named, error);
    if (r == 0 && f->offset < named)
        r = show(f, added_last, part, f->limit, f->offset, error);
    snprintf(part, sizeof part, "(%s) NOT ({name} : (%s))", expression, expression);
    const int64_t left = f->limit - f->list->count;
    if (r == 0 && left > 0)
        r = show(f, added_last, part, left, f->offset > named ? f->offset - named : 0, error);
    return r;
}

static int search(const struct search *f, enum index_order order, const char *expression, struct error *error)
{
    static const char ranked[] =
        SHOW("SELECT i.id AS id, rank AS place " FOUND "ORDER BY rank, i.id LIMIT ?6 OFFSET ?7"),
                      found_by_name[] =
                          SHOW("SELECT i.id AS id, i.name AS place " FOUND "ORDER BY i.name LIMIT ?6 OFFSET ?7"),
                      found_by_age[] = SHOW("SELECT i.id AS id, -i.created AS place " FOUND
                                            "ORDER BY i.created DESC, i.name LIMIT ?6 OFFSET ?7") ", i.name",
                      by_name[] = SHOW("SELECT i.id AS id, i.name AS place " ALL
                                       "AND ?5 = '' ORDER BY i.name LIMIT ?6 OFFSET ?7"),
                      by_age[] = SHOW("SELECT i.id AS id, -i.created AS place " ALL
                                      "AND ?5 = '' ORDER BY i.created DESC, i.name LIMIT ?6 OFFSET ?7") ", i.name";
    int64_t all = 0;
    int r = count(f, expression, &all, error);
    if (r < 0)
        return r;
    f->list->all = (uint64_t)all;
    if (!expression[0])
        return show(f, order == INDEX_BY_AGE ? by_age : by_name, "", f->limit, f->offset, error);
    if (order == INDEX_BY_RELEVANCE && all > RANKED_MAXIMUM)
        return show_many(f, expression, error);
    return show(f,
                order == INDEX_BY_RELEVANCE ? ranked
                : order == INDEX_BY_NAME    ? found_by_name
                                            : found_by_age,
                expression, f->limit, f->offset, error);
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

static int64_t cut_limit(unsigned limit)
{
    return limit == 0 || limit > INDEX_LIMIT_MAXIMUM ? INDEX_LIMIT_MAXIMUM : limit;
}

static int64_t cut_offset(unsigned offset)
{
    return offset > INDEX_OFFSET_MAXIMUM ? INDEX_OFFSET_MAXIMUM : offset;
}

int index_search(struct index *x, const struct index_query *q, struct index_list *ret, struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    char expression[INDEX_EXPRESSION_SIZE];
    const struct search f = {.x = x,
                             .os = text_or_empty(q->os),
                             .arch = text_or_empty(q->arch),
                             .publisher = text_or_empty(q->publisher),
                             .max_size = q->max_size > INT64_MAX ? INT64_MAX : (int64_t)q->max_size,
                             .limit = cut_limit(q->limit),
                             .offset = cut_offset(q->offset),
                             .list = &list};
    int r = index_quote_words(text_or_empty(q->words), expression, error);
    if (r == 0)
        r = begin_list(x, &t, &list, error);
    if (r == 0)
        r = search(&f, q->order, expression, error);
    if (r == 0)
        hand_over(&list, ret);
    return r;
}

// --- one image -------------------------------------------------------------------------------------------------------

static int complain_about_name(const char *name, const char *selector, struct error *error)
{
    char shown[CATALOG_NAME_SIZE * 4], of[CATALOG_NAME_SIZE * 4];
    text_escape(slice_of(name), shown, sizeof shown);
    return selector[0] ? error_set(error, ENOENT, "no version or tag %s of %s here",
                                   text_escape(slice_of(selector), of, sizeof of), shown)
                       : error_set(error, ENOENT, "no image %s here", shown);
}

int index_find_image(struct index *x, const char *name, const char *selector, struct index_list *ret,
                     struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    const char *wanted = text_or_empty(selector);
    int r = begin_list(x, &t, &list, error);
    if (r == 0 && wanted[0])
        r = index_db_start(x, &s, error,
                           FACTS
                           "v.description FROM version v JOIN image i ON i.name = v.name WHERE v.name = ?1 AND "
                           "(v.version = ?2 OR v.version = (SELECT version FROM tag WHERE name = ?1 AND tag = ?2)) "
                           "ORDER BY v.version = ?2 DESC LIMIT 1",
                           "tt", name, wanted);
    else if (r == 0)
        r = index_db_start(x, &s, error,
                           FACTS "v.description FROM image i JOIN version v ON v.id = i.shown WHERE i.name = ?1", "t",
                           name);
    if (r == 0)
        r = take_all(x, s, &list, error);
    if (r == 0 && list.count == 0)
        r = complain_about_name(name, wanted, error);
    if (r == 0) {
        list.all = list.count;
        hand_over(&list, ret);
    }
    return r;
}

int index_list_versions(struct index *x, const char *name, unsigned limit, unsigned offset, struct index_list *ret,
                        struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    int64_t all = 0;
    int r = begin_list(x, &t, &list, error);
    if (r == 0)
        r = index_db_number(x, &all, error, "SELECT count(*) FROM version WHERE name = ?1", "t", name);
    if (r == 0 && all == 0)
        r = complain_about_name(name, "", error);
    if (r == 0)
        r = index_db_start(x, &s, error,
                           FACTS "'' FROM version v JOIN image i ON i.name = v.name WHERE v.name = ?1 ORDER BY "
                                 "v.serial DESC LIMIT ?2 OFFSET ?3",
                           "tii", name, cut_limit(limit), cut_offset(offset));
    if (r == 0)
        r = take_all(x, s, &list, error);
    if (r == 0) {
        list.all = (uint64_t)all;
        hand_over(&list, ret);
    }
    return r;
}
