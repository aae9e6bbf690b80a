// Gathering: new blocks become chunks of up to 32, which the compressor gets one after the other.
#include "blockstore/writer_private.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static int begin_chunk(struct writer *w, struct error *error)
{
    struct compress_job *job;

    while (!(job = compress_next_place(w->compressor))) {
        int r = writer_drain(w, true, error);
        if (r < 0)
            return r;
    }
    int r = writer_index_begin_chunk(w->index, &job->chunk);
    if (r < 0)
        return site_write_failed(w->site, error, r, "the block index");
    job->nblocks = 0;
    w->gathering = job;
    return 0;
}

static int submit_chunk(struct writer *w, struct error *error)
{
    w->gathering = NULL;
    w->next_chunk = writer_index_chunk_count(w->index);
    w->submitted++;
    compress_submit(w->compressor);
    int r = writer_drain(w, false, error);
    return r < 0 ? r : writer_report_progress(w, false, error);
}

int writer_flush_chunk(struct writer *w, struct error *error)
{
    return w->gathering ? submit_chunk(w, error) : 0;
}

int writer_gather_block(struct writer *w, const unsigned char *bytes, const struct sha256 *hash, uint64_t *ret_chunk,
                        unsigned *ret_position, struct error *error)
{
    int r = w->gathering ? 0 : begin_chunk(w, error);
    if (r < 0)
        return r;
    struct compress_job *job = w->gathering;
    uint64_t chunk = job->chunk; // NOLINT(clang-analyzer-core.NullDereference): begin_chunk's failures are negative
    unsigned position = job->nblocks++;
    memcpy(job->blocks + (size_t)position * BLOCK_SIZE, bytes, BLOCK_SIZE);
    r = writer_index_add_block(w->index, chunk, position, hash);
    if (r < 0)
        return site_write_failed(w->site, error, r, "the block index");
    w->counts.new_blocks++;
    if (job->nblocks == CHUNK_BLOCKS_MAXIMUM)
        r = submit_chunk(w, error);
    if (r < 0)
        return r;
    *ret_chunk = chunk;
    *ret_position = position;
    return 0;
}
