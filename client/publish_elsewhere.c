// What older versions' packs at a site over HTTP say (publish_remote.h): their tables and pages, by ranges; all of a
// pack only where its publisher is somebody else, or where the site knows no ranges.
//
// Nothing is verified here, since whoever reads knows by which hash; so the bytes that came are of no use but to them.
// One window of the pack that was read last is kept: its end, which begins with the table in most packs, and what lies
// ahead of somebody who reads on.
#include "base/io.h"
#include "blockstore/pack.h"
#include "client/publish_remote.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define END_BYTES (256u << 10) // of a pack: its trailer and, of most, its table (a fiftieth of it)
#define END_SHARE 24u          // or so large a part of it
#define AHEAD_BYTES (2u << 20) // of a pack that is read from one end to the other
#define WAIT_SECONDS 30u       // while nothing comes
#define SLOW_BYTES 16384u      // a second: what a window may take

struct window {
    uint64_t from, to, got;
    unsigned char *bytes;
};

static void restart(void *context)
{
    struct window *w = context;
    w->got = 0;
}

static int sink(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct window *w = context;
    const unsigned char *at = bytes;
    if (offset + n <= w->from || offset >= w->to) // of a whole pack, sent by a server that knows no ranges
        return 0;
    if (offset < w->from) {
        at += w->from - offset;
        n -= (size_t)(w->from - offset);
        offset = w->from;
    }
    if (n > w->to - offset)
        n = (size_t)(w->to - offset);
    memcpy(w->bytes + (offset - w->from), at, n);
    w->got += n;
    return 0;
}

static int verify(void *context, struct error *error)
{
    const struct window *w = context;
    return w->got == w->to - w->from ? 0 : error_set(error, EBADMSG, "it has not as many bytes as its map says");
}

static int fetch(struct publish_elsewhere *e, const struct pack_reference *pack, uint64_t from, uint64_t to,
                 struct error *error)
{
    char path[80], hex[SHA256_HEX_SIZE];
    struct window w = {.from = from, .to = to, .bytes = malloc(to - from)};
    if (!w.bytes)
        return error_set(error, ENOMEM, "out of memory");
    sha256_to_hex(&pack->name, hex);
    snprintf(path, sizeof(path), "objects/%.2s/%s", hex, hex);
    struct mirrors_job job = {.path = path,
                              .offset = from,
                              .length = to - from,
                              .maximum = pack->size,
                              .restart = restart,
                              .sink = sink,
                              .verify = verify,
                              .context = &w,
                              .patience_ns = WAIT_SECONDS * UINT64_C(1000000000)};
    const uint64_t seconds = WAIT_SECONDS + pack->size / SLOW_BYTES;
    int r = mirrors_fetch(e->mirrors, &job, 1, io_monotonic_ns() + seconds * UINT64_C(1000000000));
    if (r < 0) {
        free(w.bytes);
        return r == -ENOENT ? r : error_set(error, -r, "%s", job.error.text);
    }
    free(e->bytes);
    e->pack = pack->name;
    e->bytes = w.bytes;
    e->from = from;
    e->to = to;
    return 0;
}

static int read_pack(void *context, const struct pack_reference *pack, uint64_t offset, void *to, size_t n,
                     struct error *error)
{
    struct publish_elsewhere *e = context;
    bool same = e->bytes && sha256_equal(&e->pack, &pack->name);
    if (pack->size > PACK_SIZE_MAXIMUM || offset > pack->size || n > pack->size - offset)
        return error_set(error, EBADMSG, "a map names bytes behind the end of a pack");
    if (!same || offset < e->from || offset + n > e->to) {
        uint64_t from = offset, end = offset + n;
        if (mirrors_ignore_ranges(e->mirrors)) {
            from = 0;
            end = pack->size;
        } else if (end == pack->size) {
            uint64_t tail = pack->size / END_SHARE > END_BYTES ? pack->size / END_SHARE : END_BYTES;
            if (end - from < tail)
                from = end < tail ? 0 : end - tail;
        } else if (same && e->read_to == offset && n < AHEAD_BYTES) {
            end = pack->size - from < AHEAD_BYTES ? pack->size : from + AHEAD_BYTES;
        }
        int r = fetch(e, pack, from, end, error);
        if (r < 0)
            return r;
    }
    // Failures are negative, which the analyzer does not know of error_set.
    // NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker)
    memcpy(to, e->bytes + (offset - e->from), n);
    e->read_to = offset + n;
    return 0;
}

int publish_elsewhere_open(struct publish_elsewhere *e, struct store *store, const char *site, struct error *error)
{
    e->elsewhere = (struct site_elsewhere){.read = read_pack, .context = e};
    return mirrors_new(store_transport(store), &site, 1, &e->mirrors, error);
}

void publish_elsewhere_close(struct publish_elsewhere *e)
{
    if (e->mirrors)
        mirrors_free(e->mirrors);
    free(e->bytes);
    e->mirrors = NULL;
    e->bytes = NULL;
}
