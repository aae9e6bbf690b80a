// Guest memory: see guest_memory.h for the invariants (numbered there).
//
// The file of the memory is a memfd, so that pages can be given back by punching holes (rule 3: the mapping stays), and
// so that the memory is counted as shared memory of this process and of nobody else. It is left out of core dumps.
#include "vmm/guest_memory.h"

#include "base/text.h"
#include "vmm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/banned.h"

#define MEMORY_UNIT (2ull << 20)
#define PAGE 4096u

// A machine that the host's memory and swap together cannot hold would end in the kernel killing some process.
static int check_host(uint64_t size, struct error *error)
{
    struct sysinfo host;
    char wanted[32], there[32];
    if (sysinfo(&host) < 0)
        return error_set(error, errno, "cannot ask how much memory this host has: %s", strerror(errno));
    uint64_t total = ((uint64_t)host.totalram + host.totalswap) * host.mem_unit;
    if (size > total)
        return error_set(error, ENOMEM,
                         "the machine wants %s of memory, and this host has %s with its swap: give it less (--memory)",
                         text_format_size(size, wanted), text_format_size(total, there));
    return 0;
}

static int map_region(struct guest_memory *m, uint64_t address, uint64_t size, uint64_t file_offset)
{
    void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, (off_t)file_offset);
    if (bytes == MAP_FAILED)
        return -errno;
    madvise(bytes, size, MADV_DONTDUMP); // advice: a core dump is larger without it, no more
    m->regions[m->region_count++] =
        (struct guest_region){.address = address, .size = size, .bytes = bytes, .file_offset = file_offset};
    return 0;
}

int guest_memory_make(uint64_t size, struct guest_memory *ret, struct error *error)
{
    struct guest_memory m = {.fd = -1, .size = size};
    char text[32];
    if (size < LAYOUT_MEMORY_MINIMUM || size > LAYOUT_MEMORY_MAXIMUM || size % MEMORY_UNIT != 0)
        return error_set(error, EINVAL, "a machine has 16 MiB to 1 TiB of memory, a multiple of 2 MiB, not %llu bytes",
                         (unsigned long long)size);
    int r = check_host(size, error);
    if (r < 0)
        return r;
    uint64_t low = size < LAYOUT_LOW_RAM_END ? size : LAYOUT_LOW_RAM_END;
    m.fd = memfd_create("guest memory", MFD_CLOEXEC);
    if (m.fd < 0 || ftruncate(m.fd, (off_t)size) < 0)
        r = -errno;
    if (r == 0)
        r = map_region(&m, 0, low, 0);
    if (r == 0 && size > low)
        r = map_region(&m, LAYOUT_HIGH_RAM, size - low, low);
    if (r < 0) {
        guest_memory_free(&m);
        return error_set(error, ENOMEM, "cannot make the machine's memory of %s: %s", text_format_size(size, text),
                         strerror(-r));
    }
    *ret = m;
    return 0;
}

void guest_memory_free(struct guest_memory *m)
{
    for (unsigned i = 0; i < m->region_count; i++)
        munmap(m->regions[i].bytes, m->regions[i].size);
    if (m->fd >= 0)
        close(m->fd); // nothing in it is to be kept
    *m = (struct guest_memory){.fd = -1};
}

// The region that holds [address, address + length) wholly, or NULL (rule 1). No sum here can wrap.
static const struct guest_region *find(const struct guest_memory *m, uint64_t address, uint64_t length)
{
    for (unsigned i = 0; i < m->region_count; i++) {
        const struct guest_region *region = &m->regions[i];
        if (address < region->address || address - region->address >= region->size)
            continue;
        return length <= region->size - (address - region->address) ? region : NULL;
    }
    return NULL;
}

void *guest_memory_slice(const struct guest_memory *m, uint64_t address, uint64_t length)
{
    const struct guest_region *region = find(m, address, length);
    return region ? region->bytes + (address - region->address) : NULL;
}

int guest_memory_read(const struct guest_memory *m, uint64_t address, void *to, size_t n)
{
    const void *from = guest_memory_slice(m, address, n);
    if (!from)
        return -EFAULT;
    memcpy(to, from, n);
    return 0;
}

int guest_memory_write(const struct guest_memory *m, uint64_t address, const void *from, size_t n)
{
    void *to = guest_memory_slice(m, address, n);
    if (!to)
        return -EFAULT;
    memcpy(to, from, n);
    return 0;
}

int guest_memory_release(const struct guest_memory *m, uint64_t address, uint64_t length)
{
    const struct guest_region *region = find(m, address, length);
    if (!region || length == 0 || address % PAGE != 0 || length % PAGE != 0)
        return -EFAULT;
    uint64_t offset = address - region->address;
    if (m->fd < 0) {
        memset(region->bytes + offset, 0, length);
        return 0;
    }
    if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(region->file_offset + offset),
                  (off_t)length) < 0)
        return -errno;
    return 0;
}
