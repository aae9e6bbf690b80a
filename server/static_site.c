// A request goes: method → target (site_path) → open (site_files) → conditions (304) → range (206, 416) → whole file.
// Each step either decides the answer or hands on to the next.
//
// File bodies go out by sendfile(2): libmicrohttpd uses it for responses that are made from a descriptor. The
// response owns the descriptor and closes it.

#include "server/static_site.h"

#include "base/cleanup.h"
#include "server/answer.h"
#include "server/range.h"

#include <string.h>
#include <strings.h>

#include "base/banned.h"

static bool is_method_known(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

bool static_site_refuses(struct MHD_Connection *connection, const char *method)
{
    return !is_method_known(method) || answer_has_body(connection);
}

// An answer without a file. It must not be cached: what is missing now may be published in a minute.
static int make_refusal(unsigned status, struct answer *ret)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {400, "bad request\n"},
        {403, "this file may not be read\n"},
        {404, "not found\n"},
        {405, "only GET and HEAD are served here\n"},
        {414, "the address is too long\n"},
        {416, "the file ends before the range begins\n"},
        {500, "the file could not be opened\n"},
        {503, "too busy, try again\n"},
    };
    const char *text = "";

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i].status == status)
            text = texts[i].text;
    struct answer answer;
    int r = answer_make(status, "text/plain; charset=utf-8", "no-store", text, strlen(text), &answer);
    if (r < 0)
        return r;
    if ((status == 405 && !answer_add(answer.response, "Allow", "GET, HEAD")) ||
        (status == 503 && !answer_add(answer.response, "Retry-After", "1"))) {
        answer_destroy_response(&answer.response);
        return -ENOMEM;
    }
    *ret = answer;
    return 0;
}

static unsigned status_of(int r)
{
    switch (-r) {
    case EINVAL:
        return 400;
    case EACCES:
    case EPERM:
        return 403;
    case ENOENT:
        return 404;
    case ENAMETOOLONG:
        return 414;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
        return 503;
    default:
        return 500;
    }
}

static bool is_unchanged(struct MHD_Connection *connection, const struct site_file *file)
{
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "If-None-Match"))
        return answer_is_known(connection, file->tag);
    return file->last_modified[0] &&
           slice_equal(slice_of(answer_header(connection, "If-Modified-Since")), file->last_modified);
}

static enum MHD_Result count_ranges(void *count, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    (void)value;
    *(unsigned *)count += strcasecmp(name, "Range") == 0;
    return MHD_YES;
}

// A range is defined for GET alone (RFC 9110, 14.2), and two Range headers have no meaning.
static enum range_kind range_of(struct MHD_Connection *connection, const char *method, const struct site_file *file,
                                struct byte_range *ret)
{
    unsigned count = 0;

    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_ranges, &count);
    if (count != 1 || strcmp(method, "GET") != 0)
        return RANGE_WHOLE;
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "If-Range") &&
        !conditions_if_range(slice_of(answer_header(connection, "If-Range")), file->tag, file->last_modified))
        return RANGE_WHOLE;
    return range_parse(slice_of(answer_header(connection, "Range")), file->size, ret);
}

static bool add_description(struct MHD_Response *response, const struct site_file *file)
{
    return answer_add(response, "ETag", file->tag) && answer_add(response, "Last-Modified", file->last_modified) &&
           answer_add(response, "Cache-Control", file->cache_control);
}

static int make_not_modified(const struct site_file *file, struct answer *ret)
{
    struct MHD_Response *response CLEANUP_RESPONSE = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);

    if (!response || !add_description(response, file))
        return -ENOMEM;
    *ret = (struct answer){.status = 304, .response = TAKE_PTR(response)};
    return 0;
}

static int make_unsatisfiable(const struct site_file *file, struct answer *ret)
{
    struct answer answer;
    char text[64];

    int r = make_refusal(416, &answer);
    if (r < 0)
        return r;
    (void)snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)file->size);
    if (!answer_add(answer.response, "Content-Range", text)) {
        answer_destroy_response(&answer.response);
        return -ENOMEM;
    }
    *ret = answer;
    return 0;
}

// Takes the descriptor out of *file.
static int make_content(struct site_file *file, const struct byte_range *range, struct answer *ret)
{
    uint64_t first = range ? range->first : 0, length = range ? range->length : file->size;
    char text[96];

    struct MHD_Response *response CLEANUP_RESPONSE = MHD_create_response_from_fd_at_offset64(length, file->fd, first);
    if (!response)
        return -ENOMEM;
    file->fd = -1;
    if (!add_description(response, file) || !answer_add(response, "Content-Type", file->content_type) ||
        !answer_add(response, "Accept-Ranges", "bytes") || !answer_add(response, "X-Content-Type-Options", "nosniff"))
        return -ENOMEM;
    if (range) {
        (void)snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first,
                       (unsigned long long)(first + length - 1), (unsigned long long)file->size);
        if (!answer_add(response, "Content-Range", text))
            return -ENOMEM;
    }
    *ret = (struct answer){.status = range ? 206 : 200, .bytes = length, .response = TAKE_PTR(response)};
    return 0;
}

static int make_answer(const struct static_site *site, struct MHD_Connection *connection, const char *method,
                       const char *target, struct answer *ret)
{
    struct site_path path;
    struct site_file file = {.fd = -1};
    struct byte_range range;

    if (!is_method_known(method))
        return make_refusal(405, ret);
    if (answer_has_body(connection))
        return make_refusal(400, ret);

    int r = site_path_parse(target, strlen(target), &path);
    if (r == 0)
        r = site_files_open_file(site->files, &path, &file);
    if (r != 0)
        return make_refusal(status_of(r), ret);

    if (is_unchanged(connection, &file)) {
        r = make_not_modified(&file, ret);
    } else {
        switch (range_of(connection, method, &file, &range)) {
        case RANGE_WHOLE:
            r = make_content(&file, NULL, ret);
            break;
        case RANGE_PART:
            r = make_content(&file, &range, ret);
            break;
        case RANGE_UNSATISFIABLE:
            r = make_unsatisfiable(&file, ret);
            break;
        }
    }
    cleanup_close(&file.fd);
    return r;
}

enum MHD_Result static_site_answer(const struct static_site *site, struct MHD_Connection *connection,
                                   const char *method, const char *target, bool last)
{
    const struct request request = {.connection = connection, .method = method, .target = target};
    struct answer answer = {0};
    int r = make_answer(site, connection, method, target, &answer);
    return answer_send(&request, r, &answer, site->log, last);
}
