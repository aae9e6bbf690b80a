// The head of an HTTP answer: its fields as they come, and the verdict when all were seen.
//
// 1. The head decides before the first body byte: which bytes are delivered, at which offset, and how many are
//    allowed.
// 2. Bytes are taken as they are: nothing compressed is asked for, and an answer that is compressed all the same
//    is refused.
// 3. Each hop has a head of its own: of the one before, nothing counts.

#include "blockstore/transport_private.h"

#include "base/io.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

void transport_http_forget_head(struct source_transfer *tr)
{
    tr->head_over = false;
    tr->coded = false;
    tr->has_range = false;
    tr->declared = UINT64_MAX;
    tr->wanted = false;
    tr->enough = false;
    tr->taken = 0;
    tr->request->etag[0] = '\0';
    tr->request->retry_after_ms = 0;
}

static void judge_partial(struct source_transfer *tr)
{
    const struct source_request *r = tr->request;
    if (!r->length)
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server answered with a part, though nobody asked for one");
    else if (!tr->has_range)
        TRANSPORT_HTTP_FAIL(tr, EBADMSG,
                            "the server answered with a part, but not which one (no readable Content-Range)");
    else if (tr->range.first != r->offset || tr->range.last != r->offset + r->length - 1)
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "bytes %llu to %llu were asked for, and the server answered with %llu to %llu",
                            (unsigned long long)r->offset, (unsigned long long)(r->offset + r->length - 1),
                            (unsigned long long)tr->range.first, (unsigned long long)tr->range.last);
    else if (tr->declared != UINT64_MAX && tr->declared != r->length)
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "%llu bytes were asked for, and the server announces %llu",
                            (unsigned long long)r->length, (unsigned long long)tr->declared);
    tr->offset = r->offset;
    tr->limit = r->length;
    atomic_store_explicit(&tr->source->ignores_ranges, false, memory_order_relaxed);
}

static void judge_whole(struct source_transfer *tr)
{
    struct source_request *r = tr->request;
    if (tr->declared != UINT64_MAX && tr->declared > r->maximum)
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server announces %llu bytes, where at most %llu can be right",
                            (unsigned long long)tr->declared, (unsigned long long)r->maximum);
    tr->offset = 0;
    tr->limit = r->maximum;
    if (r->length) {
        r->whole = true;
        bool same = r->offset == 0 && tr->declared == r->length; // a server may answer such a range either way
        if (!same)
            atomic_store_explicit(&tr->source->ignores_ranges, true, memory_order_relaxed);
    }
}

// All header lines of an answer were seen.
static void judge_head(struct source_transfer *tr)
{
    long status = transport_http_status(tr);
    if (status < 200) { // "100 Continue" and the like: the answer is still to come
        transport_http_forget_head(tr);
        return;
    }
    tr->head_over = true;
    tr->wanted = status == 200 || status == 206;
    if (!tr->wanted)
        return;
    if (tr->coded)
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server compresses in transit, though nobody asked for it");
    else if (status == 206)
        judge_partial(tr);
    else
        judge_whole(tr);
}

static void take_field(struct source_transfer *tr, struct slice name, struct slice value)
{
    struct source_request *r = tr->request;
    if (http_header_is(name, "content-range"))
        tr->has_range = http_header_parse_content_range(value, &tr->range);
    else if (http_header_is(name, "content-length"))
        text_parse_u64(value, INT64_MAX, &tr->declared);
    else if (http_header_is(name, "content-encoding"))
        tr->coded |= !http_header_is(value, "identity");
    else if (http_header_is(name, "transfer-encoding"))
        tr->coded |= !http_header_is(value, "chunked") && !http_header_is(value, "identity");
    else if (http_header_is(name, "etag"))
        http_header_copy_etag(value, r->etag, sizeof(r->etag));
    else if (http_header_is(name, "retry-after"))
        http_header_parse_retry_after(value, io_realtime_seconds(), TRANSPORT_RETRY_AFTER_MS, &r->retry_after_ms);
}

size_t transport_http_take_header(char *bytes, size_t size, size_t count, void *context)
{
    struct source_transfer *tr = context;
    size_t n = size * count;
    tr->header_bytes += n;
    if (tr->header_bytes > TRANSPORT_HEADER_BYTES) {
        TRANSPORT_HTTP_FAIL(tr, EBADMSG, "the server sends more than %d bytes of header lines", TRANSPORT_HEADER_BYTES);
        return 0;
    }
    struct slice line = {.at = bytes, .length = n}, name, value;
    if (tr->head_over) // trailers say nothing that we use
        return n;
    if (slice_equal(line, "\r\n") || slice_equal(line, "\n"))
        judge_head(tr);
    else if (http_header_split(line, &name, &value))
        take_field(tr, name, value);
    return tr->failure < 0 ? 0 : n;
}
