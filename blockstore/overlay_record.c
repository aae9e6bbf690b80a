// See overlay_record.h. Each read takes a number and writes its record at that place, so that threads never wait for
// each other and a restarted engine goes on where the one before it ended.
#include "blockstore/overlay_record.h"

#include "base/io.h"
#include "blockstore/chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define WORD_BITS 64u

// Whether any block of these had not been read before; now they have.
static bool mark_read(struct overlay_record *r, uint64_t offset, size_t n)
{
    bool first = false;
    if (n == 0 || offset >= r->base.size)
        return true; // not for us to judge
    const uint64_t end = n < r->base.size - offset ? offset + n : r->base.size;
    for (uint64_t block = offset / BLOCK_SIZE; block <= (end - 1) / BLOCK_SIZE; block++) {
        const uint64_t bit = UINT64_C(1) << block % WORD_BITS;
        _Atomic uint64_t *word = &r->read_words[block / WORD_BITS];
        // Most reads find it set, and need not take the word's cache line from the others.
        if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
            first |= !(atomic_fetch_or_explicit(word, bit, memory_order_relaxed) & bit);
    }
    return first;
}

static int read_and_note(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    struct overlay_record *r = context;
    // Far below the maximum a number cannot wrap: reads beyond it stop counting.
    if (atomic_load_explicit(&r->next, memory_order_relaxed) < OVERLAY_READS_MAXIMUM && mark_read(r, offset, n)) {
        unsigned number = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
        const struct overlay_read note = {.offset = offset, .length = n};
        if (number < OVERLAY_READS_MAXIMUM)
            (void)io_write_full(r->fd, &note, sizeof note, (uint64_t)number * sizeof note); // rule 1
    }
    return r->base.read(r->base.context, offset, to, count, n);
}

int overlay_record_open(struct overlay_record *r, int fd, const struct overlay_base *base,
                        struct overlay_base *base_in_place, struct error *error)
{
    struct stat st;
    if (fd < 0) {
        r->read_words = NULL;
        *base_in_place = *base;
        return 0;
    }
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot examine the file for the reads of the base: %m");
    if (!S_ISREG(st.st_mode))
        return error_set(error, EINVAL, "the reads of the base can be noted in a regular file only");
    const uint64_t words = (base->size / BLOCK_SIZE + WORD_BITS) / WORD_BITS;
    r->read_words = calloc(words, sizeof *r->read_words);
    if (!r->read_words)
        return error_set(error, ENOMEM, "out of memory");
    uint64_t there = (uint64_t)st.st_size / sizeof(struct overlay_read);
    r->fd = fd;
    r->base = *base;
    atomic_init(&r->next, there < OVERLAY_READS_MAXIMUM ? (unsigned)there : OVERLAY_READS_MAXIMUM);
    *base_in_place = (struct overlay_base){.read = read_and_note, .context = r, .size = base->size};
    return 0;
}

void overlay_record_close(struct overlay_record *r)
{
    free(r->read_words);
    r->read_words = NULL;
}
