// See live_pages.h. A request goes: target → URL of the site → the index's rows → page → its ETag (304).
#include "server/live_pages.h"

#include "base/io.h"
#include "blockstore/manifest.h"
#include "server/query.h"
#include "web/assets.h"
#include "web/layout.h"
#include "web/pages.h"
#include "web/site_url.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/banned.h"

#define HTML_TYPE "text/html; charset=utf-8"
#define TEXT_TYPE "text/plain; charset=utf-8"
#define FOREVER "public, max-age=31536000, immutable" // of what is named by its hash

enum page {
    PAGE_LIST,
    PAGE_SEARCH,
    PAGE_IMAGE,
    PAGE_IMAGE_WITHOUT_SLASH,
    PAGE_LOGO,
    PAGE_SCRIPT,
    PAGE_ICON,
    PAGE_MISSING
};

struct asked {
    enum page page;
    unsigned number;              // of a list
    char name[CATALOG_NAME_SIZE]; // of an image
    const char *logo;             // the last part of the target
    char url[CATALOG_URL_SIZE];   // of the site
    uint64_t try_memory;          // see web/pages.h
    struct query query;
    char previous[8192], next[8192];
};

static const struct {
    const char *target;
    enum page page;
} singles[] = {{"/", PAGE_LIST},
               {"/search", PAGE_SEARCH},
               {"/rondo.js", PAGE_SCRIPT},
               {"/icon.svg", PAGE_ICON},
               {"/favicon.ico", PAGE_ICON}}; // which browsers ask for beside what is no page

static enum page find_single(const char *target)
{
    for (size_t i = 0; i < ARRAY_SIZE(singles); i++)
        if (strcmp(target, singles[i].target) == 0)
            return singles[i].page;
    return PAGE_MISSING;
}

bool live_pages_has(const char *target)
{
    return find_single(target) != PAGE_MISSING || strncmp(target, "/page/", 6) == 0 ||
           strncmp(target, "/images/", 8) == 0;
}

bool live_pages_is_browser(const struct request *request)
{
    return strstr(answer_header(request->connection, "Accept"), "text/html");
}

bool live_pages_tell_missing(const struct site_files *files, const struct request *request)
{
    struct site_path path;
    struct site_file file = {.fd = -1};
    if (!live_pages_is_browser(request))
        return false;
    int r = site_path_parse(request->target, strlen(request->target), &path);
    if (r == 0)
        r = site_files_open_file(files, &path, &file);
    cleanup_close(&file.fd);
    return r == -ENOENT;
}

// Names are not decoded: those of images need no encoding.
static void parse_image(const char *rest, struct asked *ret)
{
    const char *slash = strchr(rest, '/');
    struct slice name = {.at = rest, .length = slash ? (size_t)(slash - rest) : strlen(rest)};
    if (!text_is_image_name(name))
        return;
    memcpy(ret->name, name.at, name.length);
    if (!slash)
        ret->page = PAGE_IMAGE_WITHOUT_SLASH;
    else if (slash[1] == '\0')
        ret->page = PAGE_IMAGE;
    else
        ret->page = PAGE_LOGO;
    ret->logo = slash ? slash + 1 : "";
}

static void parse_target(const char *target, struct asked *ret)
{
    uint64_t number;
    *ret = (struct asked){.page = find_single(target), .number = 1};
    if (strncmp(target, "/images/", 8) == 0) {
        parse_image(target + 8, ret);
    } else if (strncmp(target, "/page/", 6) == 0) {
        struct slice digits = {.at = target + 6, .length = strcspn(target + 6, "/")};
        if (text_parse_u64(digits, INDEX_OFFSET_MAXIMUM / PAGES_ROWS, &number) && number >= 2 &&
            strcmp(digits.at + digits.length, "/") == 0) {
            ret->page = PAGE_LIST;
            ret->number = (unsigned)number;
        }
    }
}

// --- answers ---

static int make_text(unsigned status, const char *text, struct answer *ret)
{
    return answer_make(status, TEXT_TYPE, "no-store", text, strlen(text), ret);
}

static int make_failure(int r, const struct error *error, struct answer *ret)
{
    char text[ERROR_TEXT_SIZE + 8];
    if (r != -EINVAL)
        return make_text(503, "this page cannot be made now; try again later\n", ret);
    snprintf(text, sizeof(text), "%s\n", error->text);
    return make_text(400, text, ret);
}

static int add_headers(struct answer *answer, const char *const headers[][2], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!answer_add(answer->response, headers[i][0], headers[i][1])) {
            answer_destroy_response(&answer->response);
            return -ENOMEM;
        }
    return 0;
}

// `tag` "": it has none.
static int add_page_headers(const char *tag, struct answer *answer)
{
    char policy[LAYOUT_POLICY_SIZE];
    const char *const headers[][2] = {
        {"ETag", tag}, {"Content-Security-Policy", layout_policy(policy)}, {"Referrer-Policy", "no-referrer"}};
    return add_headers(answer, headers, ARRAY_SIZE(headers));
}

// What was made, or that the visitor has it already.
static int make_content(const struct request *request, unsigned status, const char *type, const char *cache_control,
                        const void *bytes, size_t n, struct answer *ret)
{
    struct sha256 hash = sha256_of(bytes, n);
    char tag[SHA256_HEX_SIZE + 2];
    snprintf(tag, sizeof(tag), "\"%s\"", LAYOUT_HASH(&hash));
    bool known = status == 200 && answer_is_known(request->connection, tag);
    int r = known ? answer_make(304, "", cache_control, "", 0, ret)
                  : answer_make(status, type, cache_control, bytes, n, ret);
    return r < 0 ? r : add_page_headers(status == 200 ? tag : "", ret);
}

static int make_redirect(const struct asked *a, struct answer *ret)
{
    char where[CATALOG_NAME_SIZE + 1];
    const char *const headers[][2] = {{"Location", where}};
    snprintf(where, sizeof(where), "%s/", a->name);
    int r = make_text(301, "the page is at the same address with a slash behind it\n", ret);
    return r < 0 ? r : add_headers(ret, headers, ARRAY_SIZE(headers));
}

// --- pages ---

struct collecting {
    char (*values)[PAGES_CHOICE_SIZE];
    unsigned *count;
};

static int collect(void *context, const char *value, uint64_t images)
{
    struct collecting *c = context;
    (void)images;
    if (*c->count < PAGES_CHOICES && value[0] && strlen(value) < PAGES_CHOICE_SIZE)
        memcpy(c->values[(*c->count)++], value, strlen(value) + 1);
    return 0;
}

static int read_choices(struct index *x, struct pages_choices *ret, struct error *error)
{
    *ret = (struct pages_choices){.os_count = 0};
    struct collecting os = {ret->os, &ret->os_count}, arch = {ret->arch, &ret->arch_count},
                      publisher = {ret->publisher, &ret->publisher_count};
    int r = index_walk_facet(x, INDEX_OS, collect, &os, error);
    if (r == 0)
        r = index_walk_facet(x, INDEX_ARCH, collect, &arch, error);
    return r == 0 ? index_walk_facet(x, INDEX_PUBLISHER, collect, &publisher, error) : r;
}

static int append_address(const struct query *q, unsigned offset, char *ret, size_t capacity)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(capacity - 1);
    int r = buf_append(&b, "search", 6);
    if (r == 0)
        r = query_append_page(&b, q, offset);
    if (r == 0)
        memcpy(ret, buf_text(&b), b.size + 1);
    return r;
}

static int make_search(struct pages_site *s, struct asked *a, const struct index_list *l, struct buf *page)
{
    const unsigned offset = a->query.search.offset;
    struct pages_query q = {.words = a->query.words,
                            .os = a->query.os,
                            .arch = a->query.arch,
                            .publisher = a->query.publisher,
                            .max_size = a->query.search.max_size};
    int r = 0;
    if (offset > 0) {
        r = append_address(&a->query, offset - PAGES_ROWS, a->previous, sizeof(a->previous));
        q.previous = a->previous;
    }
    if (r == 0 && l->count > 0 && offset + PAGES_ROWS < l->all && offset + PAGES_ROWS <= INDEX_OFFSET_MAXIMUM) {
        r = append_address(&a->query, offset + PAGES_ROWS, a->next, sizeof(a->next));
        q.next = a->next;
    }
    return r < 0 ? r : pages_search(s, &q, l, offset / PAGES_ROWS + 1, page);
}

// 0, or a failure that make_failure knows; *ret_status is 200 or 404.
static int make_list(struct index *x, struct asked *a, struct pages_site *s, struct buf *page, unsigned *ret_status,
                     struct error *error)
{
    struct pages_choices choices;
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct index_query all = {.order = INDEX_BY_NAME, .limit = PAGES_ROWS, .offset = (a->number - 1) * PAGES_ROWS};
    int r = read_choices(x, &choices, error);
    if (r == 0)
        r = index_search(x, a->page == PAGE_SEARCH ? &a->query.search : &all, &list, error);
    if (r < 0)
        return r;
    s->choices = &choices;
    *ret_status = a->page == PAGE_LIST && a->number > 1 && list.count == 0 ? 404 : 200;
    if (*ret_status == 404)
        r = pages_missing(s, page);
    else if (a->page == PAGE_SEARCH)
        r = make_search(s, a, &list, page);
    else
        r = pages_list(s, &list, a->number, page);
    s->choices = NULL;
    return r;
}

static int make_image(struct index *x, const struct asked *a, const struct pages_site *s, struct buf *page,
                      unsigned *ret_status, struct error *error)
{
    struct index_list one CLEANUP(index_list_free) = {.versions = NULL};
    struct index_list versions CLEANUP(index_list_free) = {.versions = NULL};
    int r = a->page == PAGE_MISSING ? -ENOENT : index_find_image(x, a->name, NULL, &one, error);
    if (r == 0)
        r = index_list_versions(x, a->name, PAGES_VERSIONS, 0, &versions, error);
    *ret_status = r == -ENOENT ? 404 : 200;
    if (r == -ENOENT)
        return pages_missing(s, page);
    return r < 0 ? r : pages_image(s, &one.versions[0], &versions, page);
}

// The object's descriptor. What its manifest says of it is held against the file: its size, and what kind of picture it
// begins as; its hash is in its name, as with every object (server/static_site.h).
static int open_logo(const struct site_files *files, const struct index_version *v)
{
    struct site_path path = {.kind = SITE_PATH_OBJECT};
    struct site_file file;
    unsigned char head[16];
    const char *hex = LAYOUT_HASH(&v->logo);
    snprintf(path.name, sizeof(path.name), "objects/%.2s/%s", hex, hex);
    int r = site_files_open_file(files, &path, &file);
    if (r < 0)
        return r;
    int fd CLEANUP_CLOSE = file.fd;
    const ssize_t n = io_read_some(fd, head, sizeof(head), 0);
    if (file.size != v->logo_size || n < 0 ||
        strcmp(manifest_logo_type_name(manifest_detect_logo(head, (size_t)n)), v->logo_type) != 0)
        return -EBADMSG;
    return TAKE_FD(fd);
}

// Takes the descriptor: libmicrohttpd sends from it, and closes it.
static int make_logo(int fd, const struct index_version *v, struct answer *ret)
{
    struct MHD_Response *response CLEANUP_RESPONSE = MHD_create_response_from_fd64(v->logo_size, fd);
    char type[32];
    if (!response) {
        close(fd);
        return -ENOMEM;
    }
    snprintf(type, sizeof(type), "image/%s", v->logo_type);
    if (!answer_add(response, "Content-Type", type) || !answer_add(response, "Cache-Control", FOREVER) ||
        !answer_add(response, "X-Content-Type-Options", "nosniff"))
        return -ENOMEM;
    *ret = (struct answer){.status = 200, .bytes = v->logo_size, .response = TAKE_PTR(response)};
    return 0;
}

static int answer_logo(struct index *x, const struct site_files *files, const struct request *request,
                       const struct asked *a, int *ret_asked, struct answer *ret)
{
    struct index_list one CLEANUP(index_list_free) = {.versions = NULL};
    struct error error = {.text = ""};
    char name[LAYOUT_LOGO_SIZE], tag[SHA256_HEX_SIZE + 2];
    *ret_asked = index_find_image(x, a->name, NULL, &one, &error);
    const struct index_version *v = *ret_asked == 0 ? &one.versions[0] : NULL;
    if (*ret_asked < 0 && *ret_asked != -ENOENT)
        return make_failure(*ret_asked, &error, ret);
    const bool known = v && v->has_logo && strcmp(layout_logo_name(v, name), a->logo) == 0;
    int fd = known ? open_logo(files, v) : -ENOENT;
    if (fd < 0)
        return make_text(404, "not found\n", ret);
    snprintf(tag, sizeof(tag), "\"%s\"", LAYOUT_HASH(&v->logo));
    int r;
    if (answer_is_known(request->connection, tag)) {
        close(fd);
        r = answer_make(304, "", FOREVER, "", 0, ret);
    } else {
        r = make_logo(fd, v, ret);
    }
    return r < 0 ? r : add_page_headers(tag, ret);
}

static int answer_page(struct index *x, const struct request *request, struct asked *a, int *ret_asked,
                       struct answer *ret)
{
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    struct index_site about;
    struct pages_site s = {.about = &about, .url = a->url, .try_memory = a->try_memory};
    struct error error = {.text = ""};
    unsigned status = 200;
    int r = index_get_site(x, &about, &error);
    if (r == -ENOENT) {
        status = 404;
        r = pages_nothing(a->url, &page);
    } else if (r == 0 && (a->page == PAGE_LIST || a->page == PAGE_SEARCH)) {
        r = make_list(x, a, &s, &page, &status, &error);
    } else if (r == 0) {
        r = make_image(x, a, &s, &page, &status, &error);
    }
    *ret_asked = r;
    return r < 0 ? make_failure(r, &error, ret)
                 : make_content(request, status, HTML_TYPE, "no-cache", page.data, page.size, ret);
}

int live_pages_answer(struct index_pool *pool, const struct site_files *files, uint64_t try_memory,
                      const struct request *request, struct answer *ret)
{
    struct error error = {.text = ""};
    struct index *x;
    int asked = 0;
    bool secure = strcasecmp(answer_header(request->connection, "X-Forwarded-Proto"), "https") == 0;
    if ((strcmp(request->method, "GET") != 0 && strcmp(request->method, "HEAD") != 0) ||
        answer_has_body(request->connection))
        return make_text(400, "pages are for GET and HEAD, without a body\n", ret);
    CLEANUP_FREE struct asked *a = malloc(sizeof(*a));
    if (!a)
        return -ENOMEM;
    parse_target(request->target, a);
    a->try_memory = try_memory;
    if (a->page == PAGE_SCRIPT)
        return make_content(request, 200, "text/javascript; charset=utf-8", "max-age=3600", assets_script,
                            strlen(assets_script), ret);
    if (a->page == PAGE_ICON)
        return make_content(request, 200, "image/svg+xml", "max-age=86400", assets_icon, strlen(assets_icon), ret);
    if (a->page == PAGE_IMAGE_WITHOUT_SLASH)
        return make_redirect(a, ret);
    if (!site_url_from_host(answer_header(request->connection, "Host"), secure, a->url))
        return make_text(400, "the request does not say to which host it goes\n", ret);
    if (a->page == PAGE_SEARCH) {
        int r =
            query_parse(request->connection, QUERY_PAGE | QUERY_FILTER | QUERY_WORDS, PAGES_ROWS, &a->query, &error);
        if (r < 0)
            return make_failure(r, &error, ret);
        a->query.search.limit = PAGES_ROWS;
        a->query.search.offset -= a->query.search.offset % PAGES_ROWS;
    }
    int r = index_pool_take(pool, &x, &error);
    if (r < 0)
        return make_failure(-EUCLEAN, &error, ret);
    r = a->page == PAGE_LOGO ? answer_logo(x, files, request, a, &asked, ret) : answer_page(x, request, a, &asked, ret);
    index_pool_give(pool, x, asked);
    return r;
}
