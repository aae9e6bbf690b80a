// The drain: compressed chunks, in order, into packs.
//
// A pack is hashed as it is written, since nothing in it is changed later. It is closed when its chunks reach
// PACK_SIZE_TARGET (one of the boot set: PACK_SIZE_TARGET_BOOT), and handed to the sealer, which makes it durable and
// gives it its name on the site; but its name is known from here on, so pages may refer to it. (The manifest comes
// after the last pack was sealed.)
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static int write_bytes(struct writer *w, const void *bytes, size_t n, struct error *error)
{
    int r = io_write_full(w->pack.fd, bytes, n, w->pack.size);
    if (r < 0)
        return site_write_failed(w->site, error, r, "a pack");
    hash_stream_add(w->pack.hash, bytes, n);
    w->pack.size += (uint32_t)n;
    return 0;
}

static int open_pack(struct writer *w, struct error *error)
{
    int fd = site_make_temporary(w->site, w->pack.temporary, error);
    if (fd < 0)
        return fd;
    w->pack.fd = fd;
    w->pack.size = 0;
    buf_clear(&w->pack.table.bytes);
    w->pack.table.chunk_count = 0;
    int r = writer_index_open_pack(w->index, &w->pack.number);
    if (r < 0)
        return site_write_failed(w->site, error, r, "the block index");
    if (w->boot.packing)
        writer_index_mark_boot(w->index, w->pack.number);
    return write_bytes(w, PACK_MAGIC, PACK_MAGIC_SIZE, error);
}

int writer_append_chunk(struct writer *w, uint64_t chunk, const struct sha256 *name, const void *stored, size_t length,
                        const struct sha256 *block_hashes, struct error *error)
{
    int r = w->pack.fd < 0 ? open_pack(w, error) : 0;
    if (r < 0)
        return r;
    struct writer_index_place place = {w->pack.number, w->pack.size, (uint32_t)length};
    r = writer_index_place_chunk(w->index, chunk, name, &place);
    if (r < 0)
        return site_write_failed(w->site, error, r, "the block index");
    r = pack_table_add(&w->pack.table, name, place.offset, stored, length, block_hashes);
    if (r < 0)
        return site_write_failed(w->site, error, r, "a pack's table");
    r = write_bytes(w, stored, length, error);
    if (r < 0)
        return r;
    w->counts.chunks++;
    return 0;
}

int writer_close_pack(struct writer *w, struct error *error)
{
    struct sealed_pack sealed = {.fd = w->pack.fd};

    if (w->pack.fd < 0)
        return 0;
    int r = pack_table_finish(&w->pack.table, w->pack.size, &sealed.reference.table);
    if (r < 0)
        return site_write_failed(w->site, error, r, "a pack's table");
    r = write_bytes(w, w->pack.table.bytes.data, w->pack.table.bytes.size, error);
    if (r < 0)
        return r;
    sealed.reference.name = hash_stream_end(w->pack.hash);
    sealed.reference.size = w->pack.size;
    memcpy(sealed.temporary, w->pack.temporary, SITE_TEMPORARY_SIZE);
    w->pack.fd = -1;
    writer_index_close_pack(w->index, w->pack.number, &sealed.reference);
    w->closed_below = w->appended_below;
    w->counts.packs++;
    w->counts.written_bytes += sealed.reference.size;
    return seal_pack(w->sealer, &sealed, error);
}

void writer_drop_pack(struct writer *w)
{
    if (w->pack.fd >= 0) {
        cleanup_close(&w->pack.fd); // what was written is thrown away
        w->pack.fd = -1;
        site_drop_temporary(w->site, w->pack.temporary);
    }
    hash_stream_free(&w->pack.hash);
    buf_free(&w->pack.table.bytes);
}

// A chunk with the name of one that is stored already (a segment stored afresh meets those of the last time) is placed
// where that one is; one of the boot set only if that is in a boot pack.
static bool find_same(const struct writer *w, const struct sha256 *name, struct writer_index_place *ret)
{
    uint64_t chunk;
    unsigned position;

    return (w->boot.packing ? writer_find_boot(w, WRITER_INDEX_CHUNK, name, &chunk, &position)
                            : writer_index_find(w->index, WRITER_INDEX_CHUNK, name, 0, &chunk, &position)) &&
           writer_index_find_place(w->index, chunk, ret);
}

static int append_job(struct writer *w, const struct compress_job *job, struct error *error)
{
    struct writer_index_place place;
    int r;

    if (job->length < 0)
        return error_set(error, -job->length, "out of memory to compress");
    if (find_same(w, &job->name, &place)) {
        r = writer_index_place_chunk(w->index, job->chunk, &job->name, &place);
        if (r < 0)
            return site_write_failed(w->site, error, r, "the block index");
    } else {
        r = writer_append_chunk(w, job->chunk, &job->name, job->stored, (size_t)job->length,
                                writer_index_block_hashes(w->index, job->chunk), error);
        if (r < 0)
            return r;
    }
    w->appended++;
    w->appended_below = job->chunk + 1;
    if (w->pack.fd < 0)
        w->closed_below = w->appended_below;
    else if (w->pack.size >= (w->boot.packing ? PACK_SIZE_TARGET_BOOT : PACK_SIZE_TARGET))
        return writer_close_pack(w, error);
    return 0;
}

int writer_drain(struct writer *w, bool wait, struct error *error)
{
    for (struct compress_job *job; (job = compress_take(w->compressor, wait)); wait = false) {
        int r = append_job(w, job, error);
        compress_release(w->compressor);
        if (r == 0)
            r = writer_store_leaves(w, error);
        if (r < 0)
            return r;
    }
    return 0;
}

int writer_drain_all(struct writer *w, struct error *error)
{
    int r = 0;

    while (r == 0 && w->appended < w->submitted) {
        r = writer_drain(w, true, error);
        if (r == 0)
            r = writer_report_progress(w, false, error);
    }
    return r;
}
