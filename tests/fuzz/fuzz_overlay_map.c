// Fuzz target: the overlay's map file. Input: one byte of choices (bit 0: make the header's hash right; bit 1: leave
// the lengths of the files wrong), 24 + 32 + 16 + 32 bytes of header, then the bytes of the map's first pages.
//
// Promises: a file that is refused is refused with a reason and changed in no way; of one that is accepted, every block
// reads as its two bits say or not at all, and what is written and discarded reads back, also after it was opened
// again.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/hash.h"
#include "base/log.h"
#include "blockstore/overlay.h"

#include "base/banned.h"

#define BLOCK 4096u
#define HEADER_BYTES 104u // the hash included
#define HASHED 72u
#define PAGE_BLOCKS 16384u
#define BASE_BYTE 0x5a
#define DATA_BYTE 0xa5

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char folder_path[] = "/dev/shm/rondo-fuzz-overlay.XXXXXX";
static int folder = -1;

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void remove_folder(void)
{
    unlinkat(folder, "disk.map", 0);
    unlinkat(folder, "disk.data", 0);
    rmdir(folder_path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    setenv("RONDO_LOG", "error", 1);
    if (freopen("/dev/null", "w", stdout) == NULL || !mkdtemp(folder_path))
        abort();
    folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(folder >= 0);
    atexit(remove_folder);
    return 0;
}

static int read_base(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)context;
    (void)offset;
    (void)n;
    for (unsigned i = 0; i < count; i++)
        memset(to[i].iov_base, BASE_BYTE, to[i].iov_len);
    return 0;
}

// The two files; false if this file system has none of that length.
static bool make_files(const unsigned char *header, const unsigned char *pages, size_t size, bool wrong_length)
{
    uint64_t blocks = get_le64(header + 16);
    if (blocks > UINT64_C(1) << 32)
        blocks = 1; // refused for its header, whatever the lengths are
    uint64_t map_size = 4096 + (blocks + PAGE_BLOCKS - 1) / PAGE_BLOCKS * 4096 - wrong_length;
    int map = openat(folder, "disk.map", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int file = openat(folder, "disk.data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(map >= 0 && file >= 0);
    check(pwrite(map, header, HEADER_BYTES, 0) == HEADER_BYTES);
    check(pwrite(map, pages, size, 4096) == (ssize_t)size);
    static unsigned char marked[64 * BLOCK];
    memset(marked, DATA_BYTE, sizeof marked);
    check(pwrite(file, marked, sizeof marked, 0) == sizeof marked);
    bool fits = ftruncate(map, (off_t)map_size) == 0 && ftruncate(file, (off_t)(blocks * BLOCK)) == 0;
    close(map);
    close(file);
    return fits;
}

// Of the first blocks, whose data is known.
static void check_reads(struct overlay *o, const unsigned char *bits, size_t size, uint64_t base_size)
{
    for (uint64_t block = 0; block < 64 && (block + 1) * BLOCK <= overlay_size(o); block++) {
        unsigned char bytes[BLOCK];
        int r = overlay_read(o, block * BLOCK, bytes, BLOCK);
        check(r == 0 || r == -EBADMSG);
        if (r < 0)
            continue;
        unsigned state = block / 4 < size ? (unsigned)bits[block / 4] >> (block % 4 * 2) & 3u : 0;
        check(state != 3);
        unsigned char expected = state == 1 ? DATA_BYTE : state == 2 || block * BLOCK >= base_size ? 0 : BASE_BYTE;
        check(bytes[0] == expected && bytes[BLOCK - 1] == expected);
    }
}

static void check_changes(struct overlay *o, bool *ret_changed)
{
    unsigned char byte = 0;
    uint64_t size = overlay_size(o), last = size - BLOCK;
    int r = overlay_write(o, last + 7, "changed", 7);
    check(r == 0 || r == -EBADMSG || r == -ENOSPC);
    *ret_changed = r == 0;
    if (r == 0 && last > 0) {
        check(overlay_discard(o, last - BLOCK, BLOCK) <= 0);
        r = overlay_read(o, last - 1, &byte, 1);
        check(r == -EBADMSG || byte == 0);
    }
    check(overlay_flush(o) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 1 + HEADER_BYTES || size > 1 + HEADER_BYTES + 3 * 4096)
        return -1;
    unsigned char header[HEADER_BYTES];
    memcpy(header, data + 1, HEADER_BYTES);
    if (data[0] & 1) {
        struct sha256 hash = sha256_of(header, HASHED);
        memcpy(header + HASHED, hash.bytes, SHA256_SIZE);
    }
    const unsigned char *pages = data + 1 + HEADER_BYTES;
    size -= 1 + HEADER_BYTES;
    if (!make_files(header, pages, size, data[0] & 2))
        return 0;
    struct sha256 manifest;
    memcpy(manifest.bytes, header + 24, SHA256_SIZE);
    const struct overlay_base base = {.read = read_base, .size = 20 * BLOCK};
    struct overlay *o = NULL;
    struct error error = {0};
    int r = overlay_open(folder, &manifest, &base, &o, &error);
    check(r == 0 || ((r == -EBADMSG || r == -EINVAL) && error.text[0]));
    if (r < 0)
        return 0;
    bool changed;
    check_reads(o, pages, size, base.size);
    check_changes(o, &changed);
    check(overlay_close(o, NULL) == 0);
    check(overlay_open(folder, &manifest, &base, &o, NULL) == 0);
    char text[8] = {0};
    if (changed)
        check(overlay_read(o, overlay_size(o) - BLOCK + 7, text, 7) == 0 && memcmp(text, "changed", 7) == 0);
    check(overlay_close(o, NULL) == 0);
    return 0;
}
