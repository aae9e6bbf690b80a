// Memory for decoded chunks (see blocks.h). The mutex guards the list of spare pieces, and is not held while pieces are
// mapped or unmapped.
#include "blockstore/blocks.h"
#include "blockstore/chunk.h"
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "base/banned.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void *spare[BLOCKS_SPARE_MAXIMUM];
static unsigned spare_count;

void *blocks_new(void)
{
    void *piece = NULL;
    pthread_mutex_lock(&mutex);
    if (spare_count > 0)
        piece = spare[--spare_count];
    pthread_mutex_unlock(&mutex);
    if (piece)
        return piece;
    piece = mmap(NULL, CHUNK_BYTES_MAXIMUM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return piece == MAP_FAILED ? NULL : piece;
}

void blocks_free(void *piece)
{
    if (!piece)
        return;
    pthread_mutex_lock(&mutex);
    bool keep = spare_count < BLOCKS_SPARE_MAXIMUM;
    if (keep)
        spare[spare_count++] = piece;
    pthread_mutex_unlock(&mutex);
    if (!keep)
        munmap(piece, CHUNK_BYTES_MAXIMUM);
}

void blocks_trim(void)
{
    void *pieces[BLOCKS_SPARE_MAXIMUM];
    pthread_mutex_lock(&mutex);
    unsigned n = spare_count;
    memcpy(pieces, spare, sizeof(pieces));
    spare_count = 0;
    pthread_mutex_unlock(&mutex);
    while (n > 0)
        munmap(pieces[--n], CHUNK_BYTES_MAXIMUM);
}
