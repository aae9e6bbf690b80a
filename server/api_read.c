// See api_read.h. A request goes: target → parameters → the index's tag (304) → rows → JSON.
//
// All that one answer says is of the state of the index that its ETag names, or of a later one: whoever keeps an answer
// and asks again gets a new one then.
#include "server/api_read.h"

#include "base/json.h"
#include "base/text.h"
#include "blockstore/manifest.h"
#include "server/query.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define ANSWER_MAXIMUM (4u << 20) // bytes: 100 versions with long texts take a tenth of it
#define LIMIT_DEFAULT 20u
#define CONTENT_TYPE "application/json"

enum endpoint { NOTHING, IMAGES, SEARCH, IMAGE, VERSIONS };

struct asked {
    enum endpoint endpoint;
    char name[CATALOG_NAME_SIZE]; // of IMAGE and VERSIONS
    struct query query;
};

// --- failures --------------------------------------------------------------------------------------------------------

int api_make_error(unsigned status, const char *message, const char *next, struct answer *ret)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16384);
    struct answer answer;
    int r = buf_append(&b, "{", 1);
    if (r == 0)
        r = json_append_text(&b, "error", message);
    if (r == 0 && next[0])
        r = json_append_text(&b, "next", next);
    if (r == 0)
        r = buf_append(&b, "}\n", 2);
    if (r == 0)
        r = answer_make(status, CONTENT_TYPE, "no-store", b.data, b.size, &answer);
    if (r != 0)
        return r;
    if ((status == 503 && !answer_add(answer.response, "Retry-After", "2")) ||
        (status == 405 && !answer_add(answer.response, "Allow", "GET, HEAD"))) {
        answer_destroy_response(&answer.response);
        return -ENOMEM;
    }
    *ret = answer;
    return 0;
}

static int make_failure(int r, const struct error *error, struct answer *ret)
{
    switch (-r) {
    case EINVAL:
        return api_make_error(400, error->text, "see docs/api.md for the parameters", ret);
    case ENOENT:
        return api_make_error(404, error->text, "GET " API_PREFIX "images lists all", ret);
    case ETIMEDOUT:
        return api_make_error(503, "this question takes too long", "ask with fewer words", ret);
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return api_make_error(503, "too busy", "try again", ret);
    default: // the index is made anew, or cannot be: the operator's log says more
        return api_make_error(503, "the index cannot be read now", "try again later", ret);
    }
}

// --- JSON ------------------------------------------------------------------------------------------------------------

static int append_time(struct buf *b, const char *key, int64_t seconds)
{
    char text[32];
    return json_append_text(b, key, text_format_time(seconds, text));
}

static int append_site(struct buf *b, const struct index_site *site)
{
    char key[KEY_TEXT_SIZE], id[2 * CATALOG_ID_SIZE + 1];
    for (size_t i = 0; i < CATALOG_ID_SIZE; i++)
        snprintf(id + 2 * i, 3, "%02x", site->id[i]);
    int r = json_append_key(b, "site");
    if (r == 0)
        r = buf_append(b, "{", 1);
    if (r == 0)
        r = json_append_text(b, "name", site->name);
    if (r == 0)
        r = json_append_text(b, "key", key_to_text(&site->key, key));
    if (r == 0)
        r = json_append_text(b, "id", id);
    if (r == 0)
        r = json_append_number(b, "number", site->number);
    if (r == 0)
        r = append_time(b, "issued", site->issued);
    if (r == 0)
        r = append_time(b, "expires", site->expires);
    if (r == 0)
        r = json_append_number(b, "images", site->images);
    if (r == 0)
        r = json_append_number(b, "versions", site->versions);
    return r == 0 ? buf_append(b, "}", 1) : r;
}

static int append_ports(struct buf *b, const char *ports)
{
    struct text_reader lines = text_reader_over(ports, strlen(ports), MANIFEST_TEXT_MAXIMUM);
    struct slice line;
    int r = json_append_key(b, "ports");
    if (r == 0)
        r = buf_append(b, "[", 1);
    for (const char *comma = ""; r == 0 && text_next_line(&lines, &line) == 1; comma = ", ") {
        char name[MANIFEST_TEXT_MAXIMUM + 1];
        const struct slice number = slice_cut_word(&line);
        snprintf(name, sizeof name, "%.*s", SLICE_ARGUMENTS(line));
        r = buf_append_format(b, "%s{\"number\": %.*s", comma, SLICE_ARGUMENTS(number));
        if (r == 0)
            r = json_append_text(b, "name", name);
        if (r == 0)
            r = buf_append(b, "}", 1);
    }
    return r == 0 ? buf_append(b, "]", 1) : r;
}

static int append_logo(struct buf *b, const struct index_version *v)
{
    char hex[SHA256_HEX_SIZE];
    int r = json_append_key(b, "logo");
    if (r == 0)
        r = buf_append(b, "{", 1);
    if (r == 0)
        r = json_append_text(b, "object", sha256_to_hex(&v->logo, hex));
    if (r == 0)
        r = json_append_number(b, "bytes", v->logo_size);
    if (r == 0)
        r = json_append_text(b, "type", v->logo_type);
    return r == 0 ? buf_append(b, "}", 1) : r;
}

static int append_texts(struct buf *b, const struct index_version *v)
{
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE];
    const struct {
        const char *key, *text;
    } texts[] = {
        {"name", v->name},
        {"version", v->version},
        {"manifest", sha256_to_hex(&v->manifest, hex)},
        {"publisher", key_to_text(&v->publisher, key)},
        {"tags", v->tags},
        {"title", v->title},
        {"summary", v->summary},
        {"os", v->os},
        {"arch", v->arch},
        {"licence", v->licence},
        {"homepage", v->homepage},
    };
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
        r = json_append_text(b, texts[i].key, texts[i].text);
    return r;
}

static int append_version(struct buf *b, const struct index_version *v, bool with_description)
{
    const struct {
        const char *key;
        uint64_t number;
    } numbers[] = {
        {"serial", v->serial},
        {"memory", v->memory},
        {"disk_bytes", v->disk_size},
        {"boot_bytes", v->boot_bytes},
        {"stored_bytes", v->stored_bytes},
        {"new_bytes", v->new_bytes},
        {"versions", v->version_count},
    };
    int r = buf_append(b, "{", 1);
    if (r == 0)
        r = append_texts(b, v);
    for (size_t i = 0; i < ARRAY_SIZE(numbers) && r == 0; i++)
        r = json_append_number(b, numbers[i].key, numbers[i].number);
    if (r == 0)
        r = append_time(b, "created", v->created);
    if (r == 0)
        r = json_append_bool(b, "revoked", v->revoked);
    if (r == 0)
        r = append_ports(b, v->ports);
    if (r == 0 && v->has_logo)
        r = append_logo(b, v);
    if (r == 0 && with_description)
        r = json_append_text(b, "description", v->description);
    return r == 0 ? buf_append(b, "}", 1) : r;
}

static int append_list(struct buf *b, const struct asked *a, const struct index_list *l)
{
    const uint64_t behind = (uint64_t)a->query.search.offset + l->count;
    int r = json_append_number(b, "all", l->all);
    if (r == 0)
        r = json_append_number(b, "offset", a->query.search.offset);
    if (r == 0)
        r = json_append_key(b, a->endpoint == VERSIONS ? "versions" : "images");
    if (r == 0)
        r = buf_append(b, "[", 1);
    for (unsigned i = 0; i < l->count && r == 0; i++) {
        r = buf_append_format(b, i ? ",\n" : "\n");
        if (r == 0)
            r = append_version(b, &l->versions[i], false);
    }
    if (r == 0)
        r = buf_append(b, "]", 1);
    if (r < 0 || l->count == 0 || behind >= l->all || behind > INDEX_OFFSET_MAXIMUM)
        return r;
    struct buf next CLEANUP(buf_free) = BUF_WITH_MAXIMUM(8192);
    r = query_append_page(&next, &a->query, (unsigned)behind);
    return r == 0 ? json_append_text(b, "next", buf_text(&next)) : r;
}

// --- answers ---------------------------------------------------------------------------------------------------------

static int ask(struct index *x, const struct asked *a, struct index_list *ret, struct error *error)
{
    const struct index_query *q = &a->query.search;
    switch (a->endpoint) {
    case IMAGE:
        return index_find_image(x, a->name, a->query.version, ret, error);
    case VERSIONS:
        return index_list_versions(x, a->name, q->limit, q->offset, ret, error);
    default:
        return index_search(x, q, ret, error);
    }
}

static int make_body(const struct asked *a, const struct index_site *site, const struct index_list *l, struct buf *b)
{
    int r = buf_append(b, "{", 1);
    if (r == 0)
        r = append_site(b, site);
    if (r == 0 && a->endpoint == IMAGE)
        r = json_append_key(b, "image");
    if (r == 0)
        r = a->endpoint == IMAGE ? append_version(b, &l->versions[0], true) : append_list(b, a, l);
    return r == 0 ? buf_append(b, "}\n", 2) : r;
}

static int add_tag(struct answer *answer, const char *tag)
{
    if (answer_add(answer->response, "ETag", tag))
        return 0;
    answer_destroy_response(&answer->response);
    return -ENOMEM;
}

// 0; -ENOMEM for want of an answer; what the index says goes into *ret_asked.
static int answer_from(struct index *x, const struct request *request, const struct asked *a, int *ret_asked,
                       struct answer *ret)
{
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct buf body CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ANSWER_MAXIMUM);
    struct index_site site;
    struct error error = {.text = ""};
    char tag[sizeof site.tag + 2];
    int r = index_get_site(x, &site, &error);
    if (r == 0)
        snprintf(tag, sizeof tag, "\"%s\"", site.tag);
    if (r == 0 && answer_is_known(request->connection, tag)) {
        *ret_asked = 0;
        r = answer_make(304, "", "no-cache", "", 0, ret);
        return r < 0 ? r : add_tag(ret, tag);
    }
    if (r == 0)
        r = ask(x, a, &list, &error);
    *ret_asked = r;
    if (r != 0)
        return make_failure(r, &error, ret);
    r = make_body(a, &site, &list, &body);
    if (r == 0)
        r = answer_make(200, CONTENT_TYPE, "no-cache", body.data, body.size, ret);
    return r < 0 ? r : add_tag(ret, tag);
}

// Names are not decoded: those of images need no encoding.
static void parse_target(const char *target, struct asked *ret)
{
    static const char images[] = API_PREFIX "images/";
    if (strcmp(target, API_PREFIX "images") == 0) {
        ret->endpoint = IMAGES;
    } else if (strcmp(target, API_PREFIX "search") == 0) {
        ret->endpoint = SEARCH;
    } else if (strncmp(target, images, strlen(images)) == 0) {
        const char *name = target + strlen(images), *slash = strchr(name, '/');
        const struct slice s = {.at = name, .length = slash ? (size_t)(slash - name) : strlen(name)};
        if (!text_is_image_name(s) || (slash && strcmp(slash, "/versions") != 0))
            return;
        memcpy(ret->name, s.at, s.length);
        ret->endpoint = slash ? VERSIONS : IMAGE;
    }
}

int api_read_answer(struct index_pool *pool, const struct request *request, struct answer *ret)
{
    static const unsigned kinds[] = {[NOTHING] = QUERY_NONE,
                                     [IMAGES] = QUERY_PAGE | QUERY_FILTER,
                                     [SEARCH] = QUERY_PAGE | QUERY_FILTER | QUERY_WORDS,
                                     [IMAGE] = QUERY_VERSION,
                                     [VERSIONS] = QUERY_PAGE};
    struct asked a = {.endpoint = NOTHING};
    struct index *x;
    struct error error = {.text = ""};
    if (strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0)
        return api_make_error(405, "only GET and HEAD are answered here", "", ret);
    if (answer_has_body(request->connection))
        return api_make_error(400, "a request that reads has no body", "", ret);
    parse_target(request->target, &a);
    if (a.endpoint == NOTHING)
        return api_make_error(404, "there is nothing of that name in this API", "see docs/api.md", ret);
    int r = query_parse(request->connection, kinds[a.endpoint], LIMIT_DEFAULT, &a.query, &error);
    if (r < 0)
        return make_failure(r, &error, ret);
    r = index_pool_take(pool, &x, &error);
    if (r < 0)
        return make_failure(-EUCLEAN, &error, ret);
    int asked = 0;
    r = answer_from(x, request, &a, &asked, ret);
    index_pool_give(pool, x, asked);
    return r;
}
