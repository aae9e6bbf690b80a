// The child that reads a hostile file system. It takes everything from itself before it asks for the first byte:
//
//   1. no descriptor but the socket: no file, no network, no terminal
//   2. 256 MiB of memory, ten seconds of processor time
//   3. files, capabilities, new privileges; and all calls but to read and write that socket, to have memory, to end
//      (base/confine.h, tests/hostile/reader.calls)
//
// Another call ends it (SIGSYS), as does its parent's death. It never returns and frees nothing.
#include "client/clone_private.h"

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/cursor.h"
#include "base/spawn.h"
#include "client/partition.h"
#include <et/com_err.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/banned.h"

#define MEMORY_MAXIMUM (UINT64_C(256) << 20) // beside what our parent had mapped
#define SECONDS_MAXIMUM 10u

// libext2fs's io_manager is opened by a name; so what it reads is here. There is one child, and one thread in it.
static struct {
    int fd;
    struct clone_disk disk;
    struct partition part;
} reader;

// --- the parent ----------------------------------------------------------------------------------------------------

static void say(enum clone_message_type type, uint32_t value, uint64_t offset, const char *text)
{
    struct clone_message message = {.type = type, .value = value, .offset = offset};
    size_t length = strnlen(text, sizeof message.text - 1);
    memcpy(message.text, text, length);
    if (write(reader.fd, &message, sizeof message) != (ssize_t)sizeof message)
        _exit(1);
}

static _Noreturn void end(enum clone_message_type type, const char *text)
{
    say(type, 0, 0, text);
    _exit(0);
}

static void found(enum clone_message_type type, enum clone_kind kind, const char *text)
{
    say(type, kind, 0, text);
}

static int read_disk(void *context, uint64_t offset, void *to, size_t n)
{
    static unsigned char answer[sizeof(int32_t) + CLONE_READ_MAXIMUM];
    (void)context;
    for (size_t piece; n > 0; n -= piece, offset += piece, to = (char *)to + piece) {
        int32_t code;
        piece = n < CLONE_READ_MAXIMUM ? n : CLONE_READ_MAXIMUM;
        say(CLONE_READ, (uint32_t)piece, offset, "");
        ssize_t got = read(reader.fd, answer, sizeof answer);
        if (got < (ssize_t)sizeof code)
            _exit(1);
        memcpy(&code, answer, sizeof code);
        if (code < 0)
            return code;
        if ((size_t)got != sizeof code + piece)
            _exit(1);
        memcpy(to, answer + sizeof code, piece);
    }
    return 0;
}

// --- libext2fs's way to the partition ------------------------------------------------------------------------------

static struct struct_io_manager manager; // below

static errcode_t open_channel(const char *name, int flags, io_channel *ret)
{
    io_channel c = calloc(1, sizeof *c);
    (void)name;
    (void)flags;
    if (!c)
        return EXT2_ET_NO_MEMORY;
    c->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    c->manager = &manager;
    c->block_size = 1024;
    c->refcount = 1;
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

// A count below zero is one of bytes, not of blocks.
static errcode_t read_blocks(io_channel c, unsigned long long block, int count, void *to)
{
    uint64_t at, n, size = c->block_size > 0 ? (uint64_t)c->block_size : 1;
    n = count < 0 ? (uint64_t)(-(int64_t)count) : (uint64_t)count * size;
    if (__builtin_mul_overflow(block, size, &at) || at > reader.part.size || n > reader.part.size - at)
        return EXT2_ET_SHORT_READ;
    return read_disk(NULL, reader.part.start + at, to, n) < 0 ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t read_blocks_long(io_channel c, unsigned long block, int count, void *to)
{
    return read_blocks(c, block, count, to);
}

static errcode_t write_blocks(io_channel c, unsigned long block, int count, const void *from)
{
    (void)c;
    (void)block;
    (void)count;
    (void)from;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t flush(io_channel c)
{
    (void)c;
    return 0;
}

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "rondo",
    .open = open_channel,
    .close = close_channel,
    .set_blksize = set_block_size,
    .read_blk = read_blocks_long,
    .read_blk64 = read_blocks,
    .write_blk = write_blocks,
    .flush = flush,
};

// --- what the child gives up ---------------------------------------------------------------------------------------

// Bytes that are mapped already: the first number of statm (proc(5)) counts pages.
static uint64_t mapped_bytes(void)
{
    char text[64] = "";
    int fd CLEANUP_CLOSE = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    return strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

const struct confine_call clone_reader_calls[] = {
    CONFINE_CALL(read, "what our parent answers"),
    CONFINE_CALL(write, "questions to it, and what was found"),
    CONFINE_CALL(exit_group, "the end"),
    CONFINE_CALL(brk, "memory"),
    CONFINE_CALL2(mmap, CONFINE_WITHOUT(2, PROT_EXEC), CONFINE_WITH(3, MAP_ANONYMOUS), "memory"),
    CONFINE_CALL1(mprotect, CONFINE_WITHOUT(2, PROT_EXEC), "a heap grows in its room"),
    CONFINE_CALL(mremap, "a large piece of memory grows"),
    CONFINE_CALL(munmap, "memory is given back"),
    CONFINE_CALL(madvise, "the same"),
    CONFINE_CALL1(sigaltstack, CONFINE_IS(0, 0), "the address sanitizer asks before a function that does not return"),
};

const size_t clone_reader_call_count = ARRAY_SIZE(clone_reader_calls);

static void give_up_rights(int fd)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct error error = {.text = ""};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)signal(signals[i], SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    reader.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    spawn_close_all_but(&reader.fd, 1);
    for (int i = 0; i < 3; i++)
        close(i);
    uint64_t mapped = mapped_bytes();
    if (reader.fd < 0 || mapped == 0 || confine_limit(RLIMIT_AS, mapped + MEMORY_MAXIMUM) < 0 ||
        confine_limit(RLIMIT_CPU, SECONDS_MAXIMUM) < 0 || confine_rights(NULL, 0, 0, &error) < 0 ||
        confine_calls("rondo-reader", clone_reader_calls, clone_reader_call_count, &error) < 0)
        end(CLONE_FAILED, "this host cannot confine its reader");
}

// --- the file system -----------------------------------------------------------------------------------------------

// The magic number, ext2_fs.h: in the superblock, which is at 1024.
static bool is_ext(struct partition part)
{
    unsigned char magic[2];
    const uint64_t at = 1024 + offsetof(struct ext2_super_block, s_magic);
    if (part.size < at + sizeof magic)
        return false;
    int r = read_disk(NULL, part.start + at, magic, sizeof magic);
    if (r < 0)
        end(CLONE_FAILED, strerror(-r));
    return get_le16(magic) == EXT2_SUPER_MAGIC;
}

static errcode_t open_file_system(struct partition part, ext2_filsys *ret)
{
    reader.part = part;
    // Wrong checksums keep nobody from looking: what is found is found.
    return ext2fs_open("disk", EXT2_FLAG_64BITS | EXT2_FLAG_SKIP_MMP | EXT2_FLAG_IGNORE_CSUM_ERRORS, 0, 0, &manager,
                       ret);
}

// The first that has a folder /etc.
static ext2_filsys find_file_system(void)
{
    struct partition parts[PARTITIONS_MAXIMUM];
    errcode_t failure = 0;
    parts[0] = (struct partition){.size = reader.disk.size};
    unsigned count = is_ext(parts[0]) ? 1 : partition_list(&reader.disk, parts);
    for (unsigned i = 0; i < count; i++) {
        ext2_filsys fs;
        if (!is_ext(parts[i]))
            continue;
        errcode_t r = open_file_system(parts[i], &fs);
        if (r == 0) {
            ext2_ino_t inode;
            r = ext2fs_lookup(fs, EXT2_ROOT_INO, "etc", 3, NULL, &inode);
            if (r == 0)
                return fs;
            ext2fs_free(fs);
        }
        if (r != EXT2_ET_FILE_NOT_FOUND && failure == 0)
            failure = r;
    }
    if (failure != 0)
        end(CLONE_FAILED, error_message(failure));
    end(CLONE_NOTHING, "");
}

void clone_reader(int fd, uint64_t size)
{
    initialize_ext2_error_table();
    give_up_rights(fd);
    reader.disk = (struct clone_disk){.read = read_disk, .size = size};
    ext2_filsys fs = find_file_system();
    if (ext2fs_has_feature_journal_needs_recovery(fs->super))
        say(CLONE_UNCLEAN, 0, 0, "");
    clone_search(fs, found);
    end(CLONE_SEARCHED, "");
}
