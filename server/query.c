// See query.h. libmicrohttpd has cut the query into names and values, and made spaces of "+"; values come
// percent-encoded (server/http_server.c), and are decoded here, once, to printable UTF-8.
#include "server/query.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "web/html.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

enum parameter { WORDS, OS, ARCH, PUBLISHER, MAX_SIZE, SORT, LIMIT, OFFSET, SELECTOR };

static const struct {
    const char *name;
    enum query_kind kind;
} parameters[] = {
    [WORDS] = {"q", QUERY_WORDS},
    [OS] = {"os", QUERY_FILTER},
    [ARCH] = {"arch", QUERY_FILTER},
    [PUBLISHER] = {"publisher", QUERY_FILTER},
    [MAX_SIZE] = {"max_size", QUERY_FILTER},
    [SORT] = {"sort", QUERY_FILTER},
    [LIMIT] = {"limit", QUERY_PAGE},
    [OFFSET] = {"offset", QUERY_PAGE},
    [SELECTOR] = {"version", QUERY_VERSION},
};
static const char *const orders[] = {
    [INDEX_BY_RELEVANCE] = "relevance", [INDEX_BY_NAME] = "name", [INDEX_BY_AGE] = "age"};

struct parsing {
    unsigned kinds, seen; // seen: a bit for each parameter
    struct query *query;
    struct error *error;
    int result;
};

static int hex_value(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)((at - digits) % 16) : -1;
}

static bool decode(const char *value, char ret[static QUERY_TEXT_SIZE])
{
    size_t n = 0;
    for (; *value; n++) {
        int byte = (unsigned char)*value++;
        if (byte == '%') {
            const int high = hex_value(value[0]), low = high < 0 ? -1 : hex_value(value[1]);
            if (low < 0)
                return false;
            byte = high << 4 | low;
            value += 2;
        }
        if (byte == 0 || n + 1 == QUERY_TEXT_SIZE)
            return false;
        ret[n] = (char)byte;
    }
    ret[n] = '\0';
    return text_is_printable(slice_of(ret));
}

static bool parse_number(const char *text, unsigned least, unsigned most, unsigned *ret)
{
    uint64_t number;
    if (!text_parse_u64(slice_of(text), most, &number) || number < least)
        return false;
    *ret = (unsigned)number;
    return true;
}

static bool parse_order(const char *text, enum index_order *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(orders); i++)
        if (strcmp(orders[i], text) == 0) {
            *ret = (enum index_order)i;
            return true;
        }
    return false;
}

// An empty value is no condition: a form sends its empty fields, too.
static bool take(struct query *q, enum parameter parameter, const char *text)
{
    char *const texts[] = {
        [WORDS] = q->words, [OS] = q->os, [ARCH] = q->arch, [PUBLISHER] = q->publisher, [SELECTOR] = q->version};
    if (text[0] == '\0')
        return true;
    switch (parameter) {
    case MAX_SIZE:
        return text_parse_size(text, &q->search.max_size);
    case SORT:
        return parse_order(text, &q->search.order);
    case LIMIT:
        return parse_number(text, 1, INDEX_LIMIT_MAXIMUM, &q->search.limit);
    case OFFSET:
        return parse_number(text, 0, INDEX_OFFSET_MAXIMUM, &q->search.offset);
    case WORDS:
    case OS:
    case ARCH:
    case PUBLISHER:
    case SELECTOR:
        memcpy(texts[parameter], text, strlen(text) + 1);
        return true;
    }
    return false;
}

static enum MHD_Result parse_one(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct parsing *p = context;
    char text[QUERY_TEXT_SIZE], shown[64];
    size_t i = 0;
    (void)kind;
    while (i < ARRAY_SIZE(parameters) && strcmp(parameters[i].name, name) != 0)
        i++;
    text_escape(slice_of(name), shown, sizeof shown);
    if (i == ARRAY_SIZE(parameters) || !(parameters[i].kind & p->kinds))
        p->result = error_set(p->error, EINVAL, "there is no parameter %s here", shown);
    else if (p->seen & 1u << i)
        p->result = error_set(p->error, EINVAL, "the parameter %s is there twice", shown);
    else if (!decode(value ? value : "", text) || !take(p->query, (enum parameter)i, text))
        p->result = error_set(p->error, EINVAL, "the parameter %s has a value that it cannot have", shown);
    p->seen |= i < ARRAY_SIZE(parameters) ? 1u << i : 0;
    return p->result < 0 ? MHD_NO : MHD_YES;
}

int query_parse(struct MHD_Connection *connection, unsigned kinds, unsigned limit, struct query *ret,
                struct error *error)
{
    *ret = (struct query){.search = {.limit = limit}};
    ret->search.words = ret->words;
    ret->search.os = ret->os;
    ret->search.arch = ret->arch;
    ret->search.publisher = ret->publisher;
    struct parsing p = {.kinds = kinds, .query = ret, .error = error};
    MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, parse_one, &p);
    return p.result;
}

static int append_text(struct buf *b, const char *name, const char *text)
{
    int r = text[0] ? buf_append_format(b, "%s=", name) : 0;
    if (r == 0)
        r = html_append_url(b, slice_of(text));
    return r == 0 && text[0] ? buf_append_format(b, "&") : r;
}

int query_append_page(struct buf *b, const struct query *q, unsigned offset)
{
    char size[24] = "";
    if (q->search.max_size)
        snprintf(size, sizeof size, "%llu", (unsigned long long)q->search.max_size);
    const struct {
        enum parameter parameter;
        const char *text;
    } texts[] = {{WORDS, q->words}, {OS, q->os},
                 {ARCH, q->arch},   {PUBLISHER, q->publisher},
                 {MAX_SIZE, size},  {SORT, q->search.order == INDEX_BY_RELEVANCE ? "" : orders[q->search.order]}};
    int r = buf_append_format(b, "?");
    for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
        r = append_text(b, parameters[texts[i].parameter].name, texts[i].text);
    return r == 0 ? buf_append_format(b, "limit=%u&offset=%u", q->search.limit, offset) : r;
}
