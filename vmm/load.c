// Loading a kernel: which loader takes the file, and what both need. See load.h.
//
// A file is read once, straight to where the guest will find it. What a loader decides by (headers, program headers,
// notes) it first copies, checks and uses only there.
//
// 1. Nothing is written below 1 MiB but at the addresses of layout.h, and nothing of a kernel or an initrd there.
// 2. The initrd lies above the kernel and all that the kernel says it needs while it unpacks itself.
#include "vmm/load.h"

#include "base/cursor.h"
#include "base/io.h"
#include "base/text.h"
#include "vmm/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

#define PAGE 4096u
#define LARGE_PAGE (2ull << 20)
#define MAPPED (4ull << 30)

// Page table entries (Intel SDM volume 3, 4.5): present, writable; a PD's entry is a page itself.
#define ENTRY_TABLE 0x03u
#define ENTRY_LARGE_PAGE 0x83u

static const unsigned char elf_magic[4] = {0x7f, 'E', 'L', 'F'};

// What a BIOS has at the reset vector: a jump to its beginning. Linux restarts a machine of ours by going there in real
// mode, as it takes hardware-reduced ACPI for a sign of EFI, and asks that, in vain, instead of ACPI's reset register
// (reboot.c: reboot_init).
static int put_reset_vector(const struct guest_memory *m, struct error *error)
{
    static const unsigned char code[] = {0xb0, 0xfe, // mov $0xfe, %al: pulse the reset line
                                         0xe6, LAYOUT_PORT_I8042_STATUS,
                                         0xf4,        // out %al, $0x64; hlt
                                         0xeb, 0xfd}; // should it ever wake: the hlt again
    int r = guest_memory_write(m, LAYOUT_RESET_VECTOR, code, sizeof code);
    return r == 0 ? 0 : error_set(error, -r, "the memory has no room for a reset vector");
}

int load_kernel(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                struct error *error)
{
    unsigned char magic[sizeof elf_magic] = {0};
    ssize_t n = io_read_some(request->kernel, magic, sizeof magic, 0);
    if (n < 0)
        return error_set(error, (int)-n, "cannot read the kernel %s: %s", request->kernel_name, strerror((int)-n));
    int r = put_reset_vector(m, error);
    if (r < 0)
        return r;
    if (memcmp(magic, elf_magic, sizeof magic) == 0)
        return load_elf(m, request, ret, error);
    return load_bzimage(m, request, ret, error);
}

int load_file_size(int fd, const char *name, uint64_t maximum, uint64_t *ret, struct error *error)
{
    struct stat status;
    char text[32];
    if (io->fstat(fd, &status) < 0)
        return error_set(error, errno, "cannot look at %s: %s", name, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, EINVAL, "%s is not a file but a folder, a device or a pipe", name);
    if (status.st_size == 0)
        return error_set(error, EBADMSG, "%s is empty", name);
    if ((uint64_t)status.st_size > maximum)
        return error_set(error, EBADMSG, "%s is larger than %s, which no kernel or initrd is: is it the right file?",
                         name, text_format_size(maximum, text));
    *ret = (uint64_t)status.st_size;
    return 0;
}

int load_refuse_truncated(const char *name, struct error *error)
{
    return error_set(error, EBADMSG, "the kernel %s is incomplete: the file ends too early; copy it again", name);
}

int load_refuse_memory(const struct guest_memory *m, const char *name, const char *why, uint64_t needed,
                       struct error *error)
{
    char least[32], there[32];
    return error_set(error, ENOMEM, "%s needs %s %s, and the machine has %s of memory: give it more (--memory)", name,
                     text_format_size(needed, least), why, text_format_size(m->size, there));
}

static uint64_t low_ram_end(const struct guest_memory *m)
{
    return m->regions[0].size; // the first begins at 0
}

unsigned load_memory_map(const struct guest_memory *m, struct load_range ret[LOAD_RANGES_MAXIMUM])
{
    unsigned n = 0;
    uint64_t low = low_ram_end(m);
    ret[n++] = (struct load_range){0, LAYOUT_BASE_RAM_END, LOAD_RAM};
    ret[n++] = (struct load_range){LAYOUT_BASE_RAM_END, LAYOUT_EXTENDED_RAM - LAYOUT_BASE_RAM_END, LOAD_RESERVED};
    ret[n++] = (struct load_range){LAYOUT_EXTENDED_RAM, low - LAYOUT_EXTENDED_RAM, LOAD_RAM}; // of 16 MiB at least
    ret[n++] = (struct load_range){LAYOUT_ECAM, LAYOUT_ECAM_SIZE, LOAD_RESERVED};
    ret[n++] = (struct load_range){LAYOUT_KVM_IDENTITY_MAP, 4 * PAGE, LOAD_RESERVED}; // and the TSS behind it
    if (m->region_count > 1)
        ret[n++] = (struct load_range){LAYOUT_HIGH_RAM, m->regions[1].size, LOAD_RAM};
    return n;
}

uint64_t load_place_initrd(const struct guest_memory *m, uint64_t size, uint64_t floor, uint64_t limit)
{
    uint64_t end = low_ram_end(m);
    if (limit < end)
        end = limit;
    if (floor < LAYOUT_EXTENDED_RAM)
        floor = LAYOUT_EXTENDED_RAM;
    if (size > end)
        return 0;
    uint64_t address = (end - size) / PAGE * PAGE;
    return address >= floor ? address : 0;
}

int load_initrd(const struct guest_memory *m, const struct load_request *request, uint64_t floor, uint64_t limit,
                uint64_t *ret_address, uint64_t *ret_size, struct error *error)
{
    uint64_t address = 0, size = 0;
    if (request->initrd >= 0) {
        int r = load_file_size(request->initrd, request->initrd_name, LOAD_INITRD_MAXIMUM, &size, error);
        if (r < 0)
            return r;
        address = load_place_initrd(m, size, floor, limit);
        void *to = address ? guest_memory_slice(m, address, size) : NULL;
        if (!to)
            return load_refuse_memory(m, request->initrd_name, "behind its kernel", floor + size, error);
        r = io_read_full(request->initrd, to, size, 0);
        if (r < 0)
            return error_set(error, -r, "cannot read the initrd %s: %s", request->initrd_name, strerror(-r));
    }
    *ret_address = address;
    *ret_size = size;
    return 0;
}

int load_cmdline(const struct guest_memory *m, const struct load_request *request, uint64_t maximum,
                 struct error *error)
{
    size_t n = strlen(request->cmdline);
    if (maximum > LAYOUT_CMDLINE_MAXIMUM - 1)
        maximum = LAYOUT_CMDLINE_MAXIMUM - 1;
    if (n > maximum)
        return error_set(error, EINVAL, "the command line has %zu characters, and the kernel %s takes %llu: shorten it",
                         n, request->kernel_name, (unsigned long long)maximum);
    int r = guest_memory_write(m, LAYOUT_CMDLINE, request->cmdline, n + 1);
    return r < 0 ? error_set(error, -r, "the machine's memory has no place for the command line") : 0;
}

int load_tables(const struct guest_memory *m, bool long_mode, struct error *error)
{
    // Flat segments of 4 GiB; the code's is of 64 bits (L) or of 32 (D); the TSS is there to be loaded, of 104 bytes
    // at 0 and never used.
    const uint64_t gdt[LAYOUT_GDT_SIZE / 8] = {
        [LAYOUT_GDT_CODE / 8] = long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
        [LAYOUT_GDT_DATA / 8] = 0x00cf93000000ffff,
        [LAYOUT_GDT_TSS / 8] = 0x00008b0000000067,
    };
    const unsigned directories = MAPPED >> 30;
    unsigned char *table = guest_memory_slice(m, LAYOUT_GDT, sizeof gdt);
    unsigned char *pages = guest_memory_slice(m, LAYOUT_PAGE_TABLES, (2 + directories) * PAGE);
    if (!table || !pages)
        return error_set(error, ENOMEM, "the machine's memory has no place for its first tables");
    for (unsigned i = 0; i < LAYOUT_GDT_SIZE / 8; i++)
        put_le64(table + 8 * i, gdt[i]);
    if (!long_mode)
        return 0;
    memset(pages, 0, 2 * PAGE);
    put_le64(pages, (LAYOUT_PAGE_TABLES + PAGE) | ENTRY_TABLE);
    for (unsigned i = 0; i < directories; i++)
        put_le64(pages + PAGE + 8 * i, (LAYOUT_PAGE_TABLES + (2 + i) * PAGE) | ENTRY_TABLE);
    for (uint64_t i = 0; i < MAPPED / LARGE_PAGE; i++)
        put_le64(pages + 2 * PAGE + 8 * i, i * LARGE_PAGE | ENTRY_LARGE_PAGE);
    return 0;
}
