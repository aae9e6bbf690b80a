// What the two files of the loop share: store_chunks.c turns, store_chunks_take.c says what is taken to the network.
#pragma once

#include "blockstore/store_private.h"

// What one thread asks for.
struct store_request {
    struct version *v;
    struct store *s;
    enum chunk_kind kind;
    unsigned level;
    bool ahead; // nobody waits for them
    const struct chunk_reference *refs;
    unsigned count;
    uint64_t begun_ns, deadline_ns;
    uint64_t look_again_ns; // when the stream may have turned out to be late
    unsigned arrivals;      // of the store, when chunks were taken to look for them on the disk
    struct store_chunk *chunks[STORE_BATCH_MAXIMUM]; // held, or NULL
    struct error *error;
};

// --- store_chunks_take.c; with the mutex held --------------------------------------------------------------------

// A chunk that nobody is at work on is taken with this request's own reference, whoever asked for it first.
void store_adopt_chunk(struct store_request *q, unsigned i);
// What has arrived in the stream between the look at the disk and now. True if there is any.
bool store_find_arrived(struct store_request *q);
// Makes fetches out of WANTED chunks, each with at least one of our own.
unsigned store_take_fetches(struct store_request *q, struct fetch **ret, int *ret_failure);
