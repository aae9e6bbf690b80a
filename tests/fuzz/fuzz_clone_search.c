// Fuzz target: a guest's ext2, ext3 or ext4 file system, and what we look for in it. It has 128 blocks of 1 KiB; the
// input is those that are not empty: "number u8, then 1,024 bytes", in any order. What is found is named in the bounds
// of a message, by a path from the table of client/clone_search.c, or by a line of /etc/shadow.
//
// libext2fs is not ours; the program runs it in a process that has nothing to lose (client/clone_reader.c).
#include "client/clone_private.h"

#include "base/cursor.h"
#include "client/cli.h"
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define BLOCK 1024u
#define DISK_SIZE (128 * BLOCK)

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static unsigned char disk[DISK_SIZE];

static void check(bool promise)
{
    if (!promise)
        abort();
}

// --- libext2fs's way to the bytes -----------------------------------------------------------------------------------

static struct struct_io_manager manager; // below

static errcode_t open_channel(const char *name, int flags, io_channel *ret)
{
    io_channel c = calloc(1, sizeof *c);
    (void)name;
    (void)flags;
    check(c != NULL);
    *c = (struct struct_io_channel){
        .magic = EXT2_ET_MAGIC_IO_CHANNEL, .manager = &manager, .block_size = BLOCK, .refcount = 1};
    *ret = c;
    return 0;
}

static errcode_t close_channel(io_channel c)
{
    if (--c->refcount == 0)
        free(c);
    return 0;
}

static errcode_t set_block_size(io_channel c, int size)
{
    c->block_size = size;
    return 0;
}

static errcode_t read_blocks(io_channel c, unsigned long long block, int count, void *to)
{
    uint64_t at, n = count < 0 ? (uint64_t)(-(int64_t)count) : (uint64_t)count * (unsigned)c->block_size;
    if (__builtin_mul_overflow(block, (unsigned)c->block_size, &at) || at > DISK_SIZE || n > DISK_SIZE - at)
        return EXT2_ET_SHORT_READ;
    memcpy(to, disk + at, n);
    return 0;
}

static errcode_t read_blocks_long(io_channel c, unsigned long block, int count, void *to)
{
    return read_blocks(c, block, count, to);
}

static errcode_t flush(io_channel c)
{
    (void)c;
    return 0;
}

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "fuzz",
    .open = open_channel,
    .close = close_channel,
    .set_blksize = set_block_size,
    .read_blk = read_blocks_long,
    .read_blk64 = read_blocks,
    .flush = flush,
};

// --- what is found ---------------------------------------------------------------------------------------------------

static void found(enum clone_message_type type, enum clone_kind kind, const char *text)
{
    if (type == CLONE_GENERALIZES)
        return;
    check(type == CLONE_FOUND && kind < CLONE_KINDS && strlen(text) > 0);
    check(kind == CLONE_PASSWORDS ? strchr(text, ':') == NULL : text[0] == '/' && strlen(text) < CLONE_WORD_SIZE);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct cursor input = cursor_over(data, size);
    ext2_filsys fs;
    memset(disk, 0, sizeof disk);
    while (input.left > 0) {
        unsigned char *at = disk + cursor_u8(&input) % 128u * BLOCK;
        cursor_copy(&input, at, input.left < BLOCK ? input.left : BLOCK);
    }
    if (ext2fs_open("disk", EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | EXT2_FLAG_IGNORE_CSUM_ERRORS, 0, 0, &manager,
                    &fs) != 0)
        return 0;
    clone_search(fs, found);
    ext2fs_free(fs);
    return 0;
}
