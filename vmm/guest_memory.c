// Guest memory: see guest_memory.h for the invariants (numbered there).
//
// Each region begins at a multiple of 2 MiB in our address space as it does in the guest's, so that the kernel can back
// both with huge pages, where the host allows them: a boot then costs hundreds of page faults, not tens of thousands.
// That, and no other process that would share it, is why it is anonymous memory and no file. It is left out of core
// dumps.
#include "vmm/guest_memory.h"

#include "base/text.h"
#include "vmm/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

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

// Address space of that size that begins at a multiple of MEMORY_UNIT; what is reserved around it is given back.
static void *reserve(uint64_t size)
{
    unsigned char *all = mmap(NULL, size + MEMORY_UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return MAP_FAILED;
    size_t before = -(uintptr_t)all % MEMORY_UNIT;
    munmap(all, before); // of nothing, it is refused and does no harm
    munmap(all + before + size, MEMORY_UNIT - before);
    return all + before;
}

static int map_region(struct guest_memory *m, uint64_t address, uint64_t size)
{
    void *bytes = reserve(size);
    if (bytes == MAP_FAILED)
        return -errno;
    m->regions[m->region_count++] = (struct guest_region){.address = address, .size = size, .bytes = bytes};
    if (mprotect(bytes, size, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    madvise(bytes, size, MADV_DONTDUMP); // advice: a core dump is larger without it, no more
    madvise(bytes, size, MADV_HUGEPAGE); // refused where the kernel has none
    return 0;
}

int guest_memory_make(uint64_t size, struct guest_memory *ret, struct error *error)
{
    struct guest_memory m = {.mapped = true, .size = size};
    char text[32];
    if (size < LAYOUT_MEMORY_MINIMUM || size > LAYOUT_MEMORY_MAXIMUM || size % MEMORY_UNIT != 0)
        return error_set(error, EINVAL, "a machine has 16 MiB to 1 TiB of memory, a multiple of 2 MiB, not %llu bytes",
                         (unsigned long long)size);
    int r = check_host(size, error);
    if (r < 0)
        return r;
    uint64_t low = size < LAYOUT_LOW_RAM_END ? size : LAYOUT_LOW_RAM_END;
    r = map_region(&m, 0, low);
    if (r == 0 && size > low)
        r = map_region(&m, LAYOUT_HIGH_RAM, size - low);
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
    for (unsigned i = 0; i < m->region_count && m->mapped; i++)
        munmap(m->regions[i].bytes, m->regions[i].size);
    *m = (struct guest_memory){.mapped = false};
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
    if (m->mapped)
        return madvise(region->bytes + offset, length, MADV_DONTNEED) < 0 ? -errno : 0;
    memset(region->bytes + offset, 0, length);
    return 0;
}
