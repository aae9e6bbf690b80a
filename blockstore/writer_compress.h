// Compressing on all cores, in order: a ring of chunks that one thread fills and empties, and workers compress.
//
//      fill ──submit──▶ waiting ──a worker──▶ busy ──▶ done ──take, in the order of submission──▶ release ──▶ fill
//
// The ring bounds the memory (about 260 KiB a place), and is long enough that no worker waits while the publisher
// hashes or writes. One thread, the publisher, calls everything here.
#pragma once

#include "blockstore/chunk.h"
#include <stdbool.h>

struct compress_job {
    unsigned char blocks[CHUNK_BYTES_MAXIMUM]; // filled by the publisher
    unsigned nblocks;
    uint64_t chunk;                             // the publisher's number, passed through
    unsigned char stored[CHUNK_STORED_MAXIMUM]; // filled by a worker, with the next two
    int length;                                 // or -ENOMEM
    struct sha256 name;
};

struct compressor;

// `threads` workers (0: one for each processor that this process may use); 0, -EINVAL (codec,
// level), -ENOMEM or -EAGAIN.
int compress_open(unsigned threads, enum chunk_codec codec, int level, struct compressor **ret);
void compress_close(struct compressor *c); // waits for what the workers have in hand, drops the rest; NULL is fine

// The place to fill next, or NULL while all are taken. It stays the same until it is submitted.
struct compress_job *compress_next_place(struct compressor *c);
void compress_submit(struct compressor *c);

// The oldest submitted job, if it is done; with `wait`, also if it must be waited for. NULL if there is none. It must
// be released before the next one is taken.
struct compress_job *compress_take(struct compressor *c, bool wait);
void compress_release(struct compressor *c);
