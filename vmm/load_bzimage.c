// A bzImage, by Linux's 64-bit boot protocol (Linux Documentation/x86/boot.rst, "64-bit Boot Protocol"; the zero page:
// zero-page.rst and arch/x86/include/uapi/asm/bootparam.h).
//
//   file:   setup code, (setup_sects + 1) × 512 bytes, with the setup header at 0x1f1 │ the kernel, from here to the
//   end memory: zero page (setup header copied into it, e820) │ … │ pref_address: the kernel; entry 0x200 bytes further
//
// The kernel unpacks itself to pref_address whatever else it is told, and needs init_size bytes there; so it is put
// exactly there, and a machine whose memory ends before pref_address + init_size cannot run it.
//
// 1. The header is read once; each field is checked before it decides anything; the guest gets this copy.
// 2. The kernel and init_size lie in RAM between 1 MiB and the hole, the initrd above them.
#include "vmm/load.h"

#include "base/cursor.h"
#include "base/io.h"
#include "base/text.h"
#include "vmm/layout.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define SECTOR 512u
#define ZERO_PAGE_SIZE 4096u
#define HEAD_SIZE 1024u    // what is read first: the boot sector and the setup header
#define ENTRY_OFFSET 0x200 // startup_64

// The setup header ("The Real-Mode Kernel Header"): offsets in the file and, for the kernel's copy, in the zero page.
enum {
    SETUP_SECTS = 0x1f1, // u8; 0 means 4
    SYSSIZE = 0x1f4,     // u32, of the kernel, in units of 16 bytes
    BOOT_FLAG = 0x1fe,   // u16, 0xaa55
    JUMP_LENGTH = 0x201, // u8: the header ends 0x202 + this
    MAGIC = 0x202,       // "HdrS"
    VERSION = 0x206,     // u16
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    RAMDISK_IMAGE = 0x218,   // u32
    RAMDISK_SIZE = 0x21c,    // u32
    CMD_LINE_PTR = 0x228,    // u32
    INITRD_ADDR_MAX = 0x22c, // u32, the last byte that an initrd may occupy
    XLOADFLAGS = 0x236,      // u16
    CMDLINE_SIZE = 0x238,    // u32, without the NUL
    PAYLOAD_OFFSET = 0x248,  // u32, from the kernel's first byte
    PAYLOAD_LENGTH = 0x24c,  // u32
    SETUP_DATA = 0x250,      // u64
    PREF_ADDRESS = 0x258,    // u64
    INIT_SIZE = 0x260,       // u32
    HEADER_END = 0x264,      // of what version 2.12 has; the rest is copied if it is there
};

// The rest of the zero page.
enum {
    ACPI_RSDP_ADDR = 0x070,    // u64
    EXT_RAMDISK_IMAGE = 0x0c0, // u32: the upper halves
    EXT_RAMDISK_SIZE = 0x0c4,
    EXT_CMD_LINE_PTR = 0x0c8,
    E820_ENTRIES = 0x1e8, // u8
    E820_TABLE = 0x2d0,
    E820_ENTRY_SIZE = 20,
    HEADER_PLACE_END = 0x290, // where the setup header's room ends
};

#define VERSION_MINIMUM 0x020c
#define LOADFLAGS_LOADED_HIGH 0x01
#define XLF_KERNEL_64 0x01
#define LOADER_UNDEFINED 0xff

struct image {
    unsigned char head[HEAD_SIZE]; // the file's first bytes
    size_t head_size;
    uint64_t kernel_offset, kernel_size; // in the file
    uint64_t address, needed;            // where it goes, and how many bytes from there it uses
    uint64_t initrd_limit;
    uint32_t cmdline_size;
};

// --- saying what a file is that cannot be started -------------------------------------------------------------------

struct known {
    unsigned offset, size;
    const char *magic;
    const char *what;
};

static const struct known known_files[] = {
    {4, 4, "zimg", "a compressed EFI program of another kind of processor; rondo-vmm runs x86-64 kernels"},
    {56, 4, "ARM\x64", "a kernel for ARM processors; rondo-vmm runs x86-64 kernels"},
    {56, 4, "RSC\x05", "a kernel for RISC-V processors; rondo-vmm runs x86-64 kernels"},
    {0, 2, "\x1f\x8b",
     "compressed with gzip: unpack it (gunzip), or give the bzImage, which distributions call vmlinuz"},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     "compressed with xz: unpack it (unxz), or give the bzImage, which distributions call vmlinuz"},
    {0, 4, "\x28\xb5\x2f\xfd",
     "compressed with zstd: unpack it (unzstd), or give the bzImage, which distributions call vmlinuz"},
    {0, 3, "BZh", "compressed with bzip2: unpack it (bunzip2), or give the bzImage, which distributions call vmlinuz"},
    {0, 6, "070701", "a cpio archive, as an initrd is: are --kernel and --initrd exchanged?"},
    {0, 2, "MZ",
     "an EFI program without Linux's boot header, perhaps a unified kernel image; take the kernel out of it: "
     "objcopy -O binary --only-section=.linux IMAGE KERNEL"},
    {0, 2, "#!", "a script, not a kernel"},
};

static int refuse_unknown(const struct image *image, const char *name, struct error *error)
{
    for (size_t i = 0; i < sizeof known_files / sizeof known_files[0]; i++) {
        const struct known *k = &known_files[i];
        if (image->head_size >= k->offset + k->size && memcmp(image->head + k->offset, k->magic, k->size) == 0)
            return error_set(error, EBADMSG, "%s is %s", name, k->what);
    }
    return error_set(error, EBADMSG,
                     "%s is no Linux kernel: give a bzImage, which distributions call vmlinuz, or an ELF file with a "
                     "PVH entry",
                     name);
}

static int refuse_truncated(const char *name, struct error *error)
{
    return error_set(error, EBADMSG, "the kernel %s is incomplete: the file ends too early; copy it again", name);
}

// --- the header -----------------------------------------------------------------------------------------------------

static int check_protocol(const struct image *image, const char *name, struct error *error)
{
    const unsigned char *head = image->head;
    if (image->head_size < MAGIC + 4 || get_le16(head + BOOT_FLAG) != 0xaa55 || memcmp(head + MAGIC, "HdrS", 4) != 0)
        return refuse_unknown(image, name, error);
    if (image->head_size < HEADER_END)
        return refuse_truncated(name, error);
    unsigned version = get_le16(head + VERSION);
    if (version < VERSION_MINIMUM)
        return error_set(
            error, EBADMSG,
            "the kernel %s is too old: it speaks version %u.%02u of the boot protocol, and 2.12 (Linux 3.8) "
            "is needed",
            name, version >> 8, version & 0xff);
    if (!(get_le16(head + XLOADFLAGS) & XLF_KERNEL_64))
        return error_set(error, EBADMSG, "%s is a 32-bit kernel: an x86-64 one is needed", name);
    if (!(head[LOADFLAGS] & LOADFLAGS_LOADED_HIGH))
        return error_set(error, EBADMSG, "%s is a zImage, for the first MiB of memory: a bzImage is needed", name);
    return 0;
}

static int check_sizes(struct image *image, uint64_t file_size, const char *name, struct error *error)
{
    const unsigned char *head = image->head;
    unsigned sectors = head[SETUP_SECTS] ? head[SETUP_SECTS] : 4;
    uint64_t stated = (uint64_t)get_le32(head + SYSSIZE) * 16;
    uint64_t payload_end = (uint64_t)get_le32(head + PAYLOAD_OFFSET) + get_le32(head + PAYLOAD_LENGTH);

    image->kernel_offset = (sectors + 1) * SECTOR;
    if (file_size <= image->kernel_offset)
        return refuse_truncated(name, error);
    image->kernel_size = file_size - image->kernel_offset; // a signature may follow the kernel; it does no harm
    if (stated > image->kernel_size || payload_end > image->kernel_size)
        return refuse_truncated(name, error);
    if (stated <= ENTRY_OFFSET)
        return error_set(error, EBADMSG, "the kernel %s is damaged: its header says that it is empty", name);
    return 0;
}

static int check_place(struct image *image, const struct guest_memory *m, const char *name, struct error *error)
{
    char needed[32], there[32];
    uint64_t init_size = get_le32(image->head + INIT_SIZE);
    image->address = get_le64(image->head + PREF_ADDRESS);
    image->needed = init_size > image->kernel_size ? init_size : image->kernel_size;
    if (image->address < LAYOUT_EXTENDED_RAM || image->address >= LAYOUT_LOW_RAM_END)
        return error_set(error, EBADMSG, "the kernel %s is damaged: it wants to be loaded at 0x%llx", name,
                         (unsigned long long)image->address);
    if (!guest_memory_slice(m, image->address, image->needed))
        return error_set(error, ENOMEM,
                         "the kernel %s needs %s to unpack itself, and the machine has %s of memory: give it more "
                         "(--memory)",
                         name, text_format_size(image->address + image->needed, needed),
                         text_format_size(m->size, there));
    image->initrd_limit = (uint64_t)get_le32(image->head + INITRD_ADDR_MAX) + 1;
    image->cmdline_size = get_le32(image->head + CMDLINE_SIZE);
    return 0;
}

static int examine(const struct guest_memory *m, const struct load_request *request, struct image *ret,
                   struct error *error)
{
    const char *name = request->kernel_name;
    uint64_t file_size;
    int r = load_file_size(request->kernel, name, LOAD_KERNEL_MAXIMUM, &file_size, error);
    if (r < 0)
        return r;
    ssize_t n = io_read_some(request->kernel, ret->head, sizeof ret->head, 0);
    if (n < 0)
        return error_set(error, (int)-n, "cannot read the kernel %s: %s", name, strerror((int)-n));
    ret->head_size = (size_t)n;
    r = check_protocol(ret, name, error);
    if (r == 0)
        r = check_sizes(ret, file_size, name, error);
    if (r == 0)
        r = check_place(ret, m, name, error);
    return r;
}

// --- the zero page --------------------------------------------------------------------------------------------------

static void fill_zero_page(unsigned char *page, const struct image *image, const struct guest_memory *m,
                           const struct load_request *request, uint64_t initrd, uint64_t initrd_size)
{
    struct load_range ranges[LOAD_RANGES_MAXIMUM];
    unsigned count = load_memory_map(m, ranges);
    size_t end = MAGIC + (size_t)image->head[JUMP_LENGTH];

    if (end < HEADER_END)
        end = HEADER_END;
    if (end > HEADER_PLACE_END)
        end = HEADER_PLACE_END;
    if (end > image->head_size)
        end = image->head_size;
    memset(page, 0, ZERO_PAGE_SIZE);
    memcpy(page + SETUP_SECTS, image->head + SETUP_SECTS, end - SETUP_SECTS);
    page[TYPE_OF_LOADER] = LOADER_UNDEFINED;
    put_le32(page + RAMDISK_IMAGE, (uint32_t)initrd);
    put_le32(page + EXT_RAMDISK_IMAGE, (uint32_t)(initrd >> 32));
    put_le32(page + RAMDISK_SIZE, (uint32_t)initrd_size);
    put_le32(page + EXT_RAMDISK_SIZE, (uint32_t)(initrd_size >> 32));
    put_le32(page + CMD_LINE_PTR, (uint32_t)LAYOUT_CMDLINE);
    put_le32(page + EXT_CMD_LINE_PTR, (uint32_t)(LAYOUT_CMDLINE >> 32));
    put_le64(page + SETUP_DATA, 0);
    put_le64(page + ACPI_RSDP_ADDR, request->rsdp);
    page[E820_ENTRIES] = (unsigned char)count;
    for (unsigned i = 0; i < count; i++) {
        unsigned char *entry = page + E820_TABLE + i * E820_ENTRY_SIZE;
        put_le64(entry, ranges[i].address);
        put_le64(entry + 8, ranges[i].size);
        put_le32(entry + 16, ranges[i].type);
    }
}

int load_bzimage(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                 struct error *error)
{
    struct image image = {0};
    uint64_t initrd = 0, initrd_size = 0;
    int r = examine(m, request, &image, error);
    if (r == 0)
        r = load_cmdline(m, request, image.cmdline_size, error);
    if (r == 0)
        r = load_tables(m, true, error);
    if (r == 0)
        r = load_initrd(m, request, image.address + image.needed, image.initrd_limit, &initrd, &initrd_size, error);
    if (r < 0)
        return r;
    unsigned char *page = guest_memory_slice(m, LAYOUT_ZERO_PAGE, ZERO_PAGE_SIZE);
    void *kernel = guest_memory_slice(m, image.address, image.kernel_size);
    if (!page || !kernel)
        return error_set(error, ENOMEM, "the machine's memory has no place for the kernel %s", request->kernel_name);
    r = io_read_full(request->kernel, kernel, image.kernel_size, image.kernel_offset);
    if (r < 0)
        return error_set(error, -r, "cannot read the kernel %s: %s", request->kernel_name, strerror(-r));
    fill_zero_page(page, &image, m, request, initrd, initrd_size);
    *ret =
        (struct load_entry){.long_mode = true, .address = image.address + ENTRY_OFFSET, .argument = LAYOUT_ZERO_PAGE};
    return 0;
}
