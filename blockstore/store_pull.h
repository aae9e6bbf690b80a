// version_pull's two files share this.
#pragma once

#include "blockstore/store_private.h"

struct pull {
    struct version *v;
    int (*progress)(void *context, uint64_t have, uint64_t all);
    void *context;
    struct version_list list;
    size_t first; // pack of the window
    struct list_window window;

    pthread_mutex_t mutex;
    pthread_cond_t ended; // a worker
    size_t next;          // pack of the window, to be worked on; and its first chunk
    size_t next_chunk;
    unsigned working;
    uint64_t have, all; // stored bytes
    uint64_t missing;   // chunks that this round found missing
    uint64_t fetched;   // stored bytes, at leisure
    uint64_t wait_ns;   // until when fill_rate has the worker wait
    bool stop;
    int result; // the first failure
    struct error error;
};

// Remembers the first failure, and stops all.
void store_pull_fail(struct pull *p, int result, const struct error *error);
// The failure of rule 3.
int store_pull_not_kept(struct pull *p, struct error *error);
// Checks the chunks of a pack on the disk, and fetches those that are missing.
void store_pull_pack(struct pull *p, const struct list_pack *pack, const struct list_chunk *chunks, size_t count);
