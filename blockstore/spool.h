// A spool: memory that may grow far beyond what should stay in RAM. It is a mapping of an unlinked file, so that the
// kernel can write its pages out when memory is short, and nothing of it outlives the process.
//
// Space is allocated in the file before it is mapped: a full disk is an error of spool_ensure, never a SIGBUS. New
// memory reads as zeros. One thread at a time.
#pragma once

#include <stdint.h>

struct spool {
    int fd;
    unsigned char *at; // moves when the spool grows: keep offsets, not pointers
    uint64_t size;     // bytes mapped
};

#define SPOOL_CLOSED                                                                                                   \
    {                                                                                                                  \
        .fd = -1                                                                                                       \
    }

// Takes over `fd`, a new, empty, unlinked file.
void spool_open(struct spool *s, int fd);
// Makes at least `size` bytes usable, and some more when it must grow: 0 or -errno (-ENOSPC, -ENOMEM).
int spool_ensure(struct spool *s, uint64_t size);
void spool_close(struct spool *s); // also one that is SPOOL_CLOSED
