// Memory for the blocks of a decoded chunk: pieces of CHUNK_BYTES_MAXIMUM, aligned to pages.
//
// The memory of a chunk that is evicted is what the next one is decoded into, so a store that is busy makes no page
// faults, and the kernel copies whole pages out of it. Pieces are mapped by themselves, not taken from malloc: what is
// not used any more goes back to the system at once, whatever lies beside it.
//
// Any thread, any number of stores; the spare pieces are the process's.
#pragma once

#define BLOCKS_SPARE_MAXIMUM 16u // pieces kept for the next chunks: 2 MiB

void *blocks_new(void);        // contents undefined; NULL if there is no memory
void blocks_free(void *piece); // NULL is fine
void blocks_trim(void);        // gives the spare ones back to the system
