// A guest's request to its disk: "segments u8, then for each: flags (writable) u8, length u16; then the readable
// bytes". The disk is a small file that must keep its size, and bytes outside the guest's segments must stay as they
// are.
#include "base/vector.h"
#include "vmm/block_request.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define DISK_SIZE (1u << 20)
#define MEMORY_SIZE (256u << 10)
#define GUARD 0xa5

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static struct block_backend *make_disk(int *ret_fd)
{
    struct block_backend *b = NULL;
    int fd = memfd_create("disk", MFD_CLOEXEC);
    require(fd >= 0 && ftruncate(fd, DISK_SIZE) == 0);
    *ret_fd = fd;
    require(block_file_new(dup(fd), "disk", false, -1, &b, NULL) == 0);
    return b;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static struct block_backend *disk;
    static int fd;
    static unsigned char memory[MEMORY_SIZE];
    static const unsigned char serial[BLOCK_SERIAL_SIZE] = "fuzz";
    struct virtqueue_chain chain = {.head = 0};
    struct block_outcome outcome;
    size_t used = 0;

    if (!disk)
        disk = make_disk(&fd);
    unsigned count = size ? *data++ % (VIRTQUEUE_CHAIN_MAXIMUM + 1) : 0;
    size -= size > 0;
    memset(memory, GUARD, sizeof memory);
    for (unsigned i = 0; i < count && size >= 3; i++, data += 3, size -= 3) {
        bool writable = data[0] & 1;
        size_t n = (size_t)data[1] | (size_t)data[2] << 8;
        if (n == 0 || (!writable && chain.writable) || used + n + 1 > sizeof memory)
            continue;
        chain.segments[chain.readable + chain.writable] = (struct iovec){.iov_base = memory + used, .iov_len = n};
        used += n + 1; // a guard between any two
        *(writable ? &chain.writable : &chain.readable) += 1;
        *(writable ? &chain.writable_bytes : &chain.readable_bytes) += n;
    }
    struct vector v = vector_over(chain.segments);
    vector_copy_to(&v, data, size < chain.readable_bytes ? size : chain.readable_bytes);
    disk->read_only = size % 7 == 6;
    if (block_request_perform(disk, serial, &chain, &outcome) == 0) {
        const struct iovec *last = &chain.segments[chain.readable + chain.writable - 1];
        unsigned char status = ((unsigned char *)last->iov_base)[last->iov_len - 1];
        require(status <= 2 && outcome.failed == (status != 0));
        require(outcome.written <= chain.writable_bytes);
    }
    for (unsigned i = 0; i < chain.readable + chain.writable; i++)
        require(((unsigned char *)chain.segments[i].iov_base)[chain.segments[i].iov_len] == GUARD);
    struct stat st;
    require(fstat(fd, &st) == 0 && st.st_size == DISK_SIZE);
    return 0;
}
