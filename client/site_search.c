// See site_search.h.
//
//   API? ──200──▶ rows, pages by `next` until there are enough
//    │ 404, or a folder
//    ▼
//   the catalog, verified and trusted as by rondo ls: names that have all the words
#include "client/site_search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "client/json.h"
#include "client/resolve_private.h"
#include "web/html.h"

#include "base/banned.h"

#define PATH_SIZE 4096

struct asking {
    struct images *images;
    const char *site;
    const struct site_search *search;
    int (*each)(void *context, const struct site_hit *hit);
    void *context;
    uint64_t rows, all;
    bool looking;       // the page is only looked at, to be read once more if all of it is right
    unsigned page_rows; // of the page that is read
};

// --- the API ---------------------------------------------------------------------------------------------------------

enum field {
    NAME,
    VERSION,
    SERIAL,
    MANIFEST,
    PUBLISHER,
    TAGS,
    TITLE,
    SUMMARY,
    OS,
    ARCH,
    LICENCE,
    HOMEPAGE,
    MEMORY,
    DISK_BYTES,
    BOOT_BYTES,
    STORED_BYTES,
    VERSIONS,
    REVOKED,
    FIELDS
};
static const char *const fields[FIELDS] = {
    [NAME] = "$.name",
    [VERSION] = "$.version",
    [SERIAL] = "$.serial",
    [MANIFEST] = "$.manifest",
    [PUBLISHER] = "$.publisher",
    [TAGS] = "$.tags",
    [TITLE] = "$.title",
    [SUMMARY] = "$.summary",
    [OS] = "$.os",
    [ARCH] = "$.arch",
    [LICENCE] = "$.licence",
    [HOMEPAGE] = "$.homepage",
    [MEMORY] = "$.memory",
    [DISK_BYTES] = "$.disk_bytes",
    [BOOT_BYTES] = "$.boot_bytes",
    [STORED_BYTES] = "$.stored_bytes",
    [VERSIONS] = "$.versions",
    [REVOKED] = "$.revoked",
};

static void copy_name(struct slice name, char ret[static CATALOG_NAME_SIZE])
{
    memcpy(ret, name.at, name.length);
    ret[name.length] = '\0';
}

static bool take_numbers(const struct slice v[], struct site_hit *h)
{
    const struct {
        enum field field;
        uint64_t *to;
    } numbers[] = {{SERIAL, &h->serial},
                   {MEMORY, &h->memory},
                   {DISK_BYTES, &h->disk_bytes},
                   {BOOT_BYTES, &h->boot_bytes},
                   {STORED_BYTES, &h->stored_bytes},
                   {VERSIONS, &h->versions}};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (!v[numbers[i].field].at || !text_parse_u64(v[numbers[i].field], INT64_MAX, numbers[i].to))
            return false;
    return true;
}

static int take_row(void *context, const struct slice v[])
{
    struct asking *a = context;
    struct key_public key;
    struct site_hit h = {.site = a->site};
    struct slice *const texts[] = {&h.tags, &h.title, &h.summary, &h.os, &h.arch, &h.licence, &h.homepage};
    uint64_t revoked;
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        *texts[i] = v[TAGS + i];
        if (!texts[i]->at)
            return -EBADMSG;
    }
    if (!v[NAME].at || !text_is_image_name(v[NAME]) || !v[VERSION].at || !text_is_version_name(v[VERSION]) ||
        !v[MANIFEST].at || !sha256_from_hex(v[MANIFEST].at, v[MANIFEST].length, &h.manifest) || !v[PUBLISHER].at ||
        !key_from_text(v[PUBLISHER].at, v[PUBLISHER].length, &key) || !v[REVOKED].at ||
        !text_parse_u64(v[REVOKED], 1, &revoked) || !take_numbers(v, &h))
        return -EBADMSG;
    copy_name(v[NAME], h.name);
    copy_name(v[VERSION], h.version);
    key_to_text(&key, h.publisher);
    h.revoked = revoked == 1;
    if (a->looking)
        a->page_rows++;
    if (a->looking || a->rows == a->search->limit) // the last page may have more than was wanted
        return 0;
    a->rows++;
    return a->each(a->context, &h);
}

static int append_parameter(struct buf *b, const char *name, const char *text)
{
    int r = text && text[0] ? buf_append_format(b, "&%s=", name) : 0;
    return r == 0 && text && text[0] ? html_append_url(b, slice_of(text)) : r;
}

static int format_query(const struct asking *a, struct buf *b, struct error *error)
{
    const struct site_search *s = a->search;
    const uint64_t rows = s->limit < SITE_SEARCH_ROWS ? s->limit : SITE_SEARCH_ROWS;
    int r = buf_append_format(b, "?limit=%u", (unsigned)rows);
    if (r == 0)
        r = append_parameter(b, "q", s->words);
    if (r == 0)
        r = append_parameter(b, "os", s->os);
    if (r == 0)
        r = append_parameter(b, "arch", s->arch);
    if (r == 0)
        r = append_parameter(b, "publisher", s->publisher);
    return r < 0 ? error_set(error, EINVAL, "that is too much to search for; use fewer words") : 0;
}

// One page; *next gets the query of the next one, or "".
static int ask_page(struct asking *a, const char *query, char next[static PATH_SIZE], struct error *error)
{
    const struct resolve_place place = {.store = a->images->store, .address = a->site};
    struct resolve_fetched answer = {.bytes = BUF_WITH_MAXIMUM(SITE_SEARCH_ANSWER_MAXIMUM)};
    char path[PATH_SIZE + 32], all[32];
    uint64_t number = 0;
    snprintf(path, sizeof(path), "api/v1/%s%s", a->search->words[0] ? "search" : "images", query);
    int r = resolve_fetch(&place, path, NULL, false, &answer, error);
    struct buf body CLEANUP(buf_free) = answer.bytes;
    if (r < 0)
        return r;
    const char *json = buf_text(&body);
    a->page_rows = 0;
    next[0] = '\0';
    if (!json_find(json, body.size, "$.all", all, sizeof(all)) || !text_parse_u64(slice_of(all), UINT32_MAX, &number))
        r = -EBADMSG;
    a->all = number;
    json_find(json, body.size, "$.next", next, PATH_SIZE);
    for (a->looking = true; r == 0; a->looking = false) {
        r = json_walk(json, body.size, "$.images", fields, FIELDS, SITE_SEARCH_ROWS, take_row, a);
        if (r == 0 && next[0] && (next[0] != '?' || a->page_rows == 0))
            r = -EBADMSG;
        if (!a->looking)
            break;
    }
    return r == -EBADMSG  ? error_set(error, EBADMSG, "what %s answers is no list of images; tell its owner", a->site)
           : r == -ENOMEM ? error_set(error, ENOMEM, "out of memory")
                          : r;
}

// -ENOENT: there is no API.
static int ask_api(struct asking *a, struct error *error)
{
    struct buf query CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PATH_SIZE - 1);
    char next[PATH_SIZE];
    if (address_is_directory(a->site))
        return -ENOENT;
    int r = format_query(a, &query, error);
    if (r == 0)
        r = ask_page(a, buf_text(&query), next, error);
    while (r == 0 && next[0] && a->rows < a->search->limit) {
        char now[PATH_SIZE];
        memcpy(now, next, sizeof(now));
        r = ask_page(a, now, next, error);
        if (r == -ENOENT)
            r = error_set(error, EBADMSG, "%s has no page behind another, which it names", a->site);
        if (r == -EINVAL)
            r = error_set(error, EBADMSG, "%s names a next page that is none", a->site);
    }
    return r;
}

// --- the catalog -----------------------------------------------------------------------------------------------------

// Names are lower case.
static bool has_word(const char *name, struct slice word)
{
    char text[SITE_SEARCH_WORDS_MAXIMUM + 1];
    for (size_t i = 0; i < word.length; i++)
        text[i] = word.at[i] >= 'A' && word.at[i] <= 'Z' ? (char)(word.at[i] | 32) : word.at[i];
    text[word.length] = '\0';
    return strstr(name, text) != NULL;
}

static bool has_words(const char *name, const char *words)
{
    struct slice rest = slice_of(words);
    while (rest.length > 0)
        if (!has_word(name, slice_cut_word(&rest)))
            return false;
    return true;
}

static int take_image(struct asking *a, const struct catalog *c, const struct catalog_image *image)
{
    char tags[1024];
    struct site_hit h = {.site = a->site, .is_signed = true, .serial = image->serial, .manifest = image->manifest};
    a->all++;
    if (a->rows == a->search->limit)
        return 0;
    a->rows++;
    copy_name(slice_of(image->name), h.name);
    copy_name(slice_of(image->version), h.version);
    catalog_list_tags(c, image, tags, sizeof(tags));
    h.tags = slice_of(tags);
    return a->each(a->context, &h);
}

static int ask_catalog(struct asking *a, struct error *error)
{
    const struct site_search *s = a->search;
    struct catalog c = {.number = 0};
    const struct catalog_image *shown = NULL;
    bool fresh;
    if (s->os || s->arch || s->publisher)
        return error_set(error, ENOENT,
                         "%s has no search, and its catalog alone tells neither systems nor publishers; search it "
                         "without --os, --arch and --publisher",
                         a->site);
    int r =
        resolve_catalog(a->images->store, &a->images->configuration, a->site, &a->images->resolve, &c, &fresh, error);
    if (r < 0)
        return r;
    cli_progress_end();
    fprintf(stderr, "rondo: %s has no search; these are the names that its signed catalog lists\n", a->site);
    for (unsigned i = 0; i < c.image_count && r == 0; i++) { // sorted: the versions of a name follow one another
        const char *name = c.images[i].name;
        if ((i > 0 && strcmp(name, c.images[i - 1].name) == 0) || !has_words(name, s->words))
            continue;
        r = catalog_find(&c, name, NULL, &shown, error);
        if (r == 0)
            r = take_image(a, &c, shown);
    }
    catalog_free(&c);
    return r;
}

int site_search(struct images *images, const char *site, const struct site_search *search,
                int (*each)(void *context, const struct site_hit *hit), void *context, uint64_t *ret_all,
                struct error *error)
{
    struct asking a = {.images = images, .site = site, .search = search, .each = each, .context = context};
    int r = ask_api(&a, error);
    if (r == -ENOENT)
        r = ask_catalog(&a, error);
    if (r == 0)
        *ret_all = a.all;
    return r;
}
