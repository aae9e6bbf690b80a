// A bzImage, by Linux's 64-bit boot protocol (Linux Documentation/x86/boot.rst, "64-bit Boot Protocol"; the zero page:
// zero-page.rst; the structures of both: <asm/bootparam.h>).
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

#include "base/io.h"
#include "vmm/layout.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/banned.h"

#define SECTOR 512u
#define ENTRY_OFFSET 0x200 // startup_64
#define BOOT_FLAG 0xaa55
#define MAGIC 0x53726448u // "HdrS"
#define VERSION_MINIMUM 0x020c
#define LOADER_UNDEFINED 0xff

// The setup header ("The Real-Mode Kernel Header") lies at the same place in the file and in the zero page. It begins
// two bytes before its magic's jump; the byte of that jump says where it ends.
#define HEADER offsetof(struct boot_params, hdr)
#define HEADER_AFTER_JUMP (HEADER + offsetof(struct setup_header, header)) // and as many bytes as the jump is long

struct image {
    struct boot_params head; // the file's first bytes; what the file does not have is 0
    size_t head_size;
    uint64_t kernel_offset, kernel_size; // in the file
    uint64_t needed;                     // how many bytes it uses from pref_address on
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
        if (image->head_size >= k->offset + k->size &&
            memcmp((const char *)&image->head + k->offset, k->magic, k->size) == 0)
            return error_set(error, EBADMSG, "%s is %s", name, k->what);
    }
    return error_set(error, EBADMSG,
                     "%s is no Linux kernel: give a bzImage, which distributions call vmlinuz, or an ELF file with a "
                     "PVH entry",
                     name);
}

// --- the header -----------------------------------------------------------------------------------------------------

static int check_protocol(const struct image *image, const char *name, struct error *error)
{
    const struct setup_header *h = &image->head.hdr;
    if (h->boot_flag != BOOT_FLAG || h->header != MAGIC)
        return refuse_unknown(image, name, error);
    if (image->head_size < HEADER + offsetof(struct setup_header, handover_offset)) // what version 2.12 has
        return load_refuse_truncated(name, error);
    if (h->version < VERSION_MINIMUM)
        return error_set(
            error, EBADMSG,
            "the kernel %s is too old: it speaks version %u.%02u of the boot protocol, and 2.12 (Linux 3.8) "
            "is needed",
            name, h->version >> 8, h->version & 0xff);
    if (!(h->xloadflags & XLF_KERNEL_64))
        return error_set(error, EBADMSG, "%s is a 32-bit kernel: an x86-64 one is needed", name);
    if (!(h->loadflags & LOADED_HIGH))
        return error_set(error, EBADMSG, "%s is a zImage, for the first MiB of memory: a bzImage is needed", name);
    return 0;
}

static int check_sizes(struct image *image, uint64_t file_size, const char *name, struct error *error)
{
    const struct setup_header *h = &image->head.hdr;
    uint64_t stated = (uint64_t)h->syssize * 16;
    image->kernel_offset = ((h->setup_sects ? h->setup_sects : 4u) + 1) * SECTOR;
    if (file_size <= image->kernel_offset)
        return load_refuse_truncated(name, error);
    image->kernel_size = file_size - image->kernel_offset; // a signature may follow the kernel; it does no harm
    if (stated > image->kernel_size || (uint64_t)h->payload_offset + h->payload_length > image->kernel_size)
        return load_refuse_truncated(name, error);
    if (stated <= ENTRY_OFFSET)
        return error_set(error, EBADMSG, "the kernel %s is damaged: its header says that it is empty", name);
    return 0;
}

static int check_place(struct image *image, const struct guest_memory *m, const char *name, struct error *error)
{
    const struct setup_header *h = &image->head.hdr;
    image->needed = h->init_size > image->kernel_size ? h->init_size : image->kernel_size;
    if (h->pref_address < LAYOUT_EXTENDED_RAM || h->pref_address >= LAYOUT_LOW_RAM_END)
        return error_set(error, EBADMSG, "the kernel %s is damaged: it wants to be loaded at 0x%llx", name,
                         (unsigned long long)h->pref_address);
    if (!guest_memory_slice(m, h->pref_address, image->needed))
        return load_refuse_memory(m, name, "to unpack itself", h->pref_address + image->needed, error);
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
    ssize_t n = io_read_some(request->kernel, &ret->head, HEADER + sizeof ret->head.hdr, 0);
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

// The header is the file's, as far as it goes; all else was never the file's to say.
static void fill_zero_page(struct boot_params *page, const struct image *image, const struct guest_memory *m,
                           const struct load_request *request, uint64_t initrd, uint64_t initrd_size)
{
    struct load_range ranges[LOAD_RANGES_MAXIMUM];
    size_t size = HEADER_AFTER_JUMP + (image->head.hdr.jump >> 8) - HEADER; // the jump: its code, then its length
    size_t least = offsetof(struct setup_header, handover_offset);
    struct setup_header *h = &page->hdr;
    memset(page, 0, sizeof *page);
    memcpy(h, &image->head.hdr, size < least ? least : size > sizeof *h ? sizeof *h : size);
    h->type_of_loader = LOADER_UNDEFINED;
    h->ramdisk_image = (uint32_t)initrd;
    page->ext_ramdisk_image = (uint32_t)(initrd >> 32);
    h->ramdisk_size = (uint32_t)initrd_size;
    page->ext_ramdisk_size = (uint32_t)(initrd_size >> 32);
    h->cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
    h->setup_data = 0;
    page->acpi_rsdp_addr = request->rsdp;
    page->e820_entries = (uint8_t)load_memory_map(m, ranges);
    for (unsigned i = 0; i < page->e820_entries; i++)
        page->e820_table[i] = (struct boot_e820_entry){ranges[i].address, ranges[i].size, ranges[i].type};
}

int load_bzimage(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                 struct error *error)
{
    struct image image = {0};
    uint64_t initrd = 0, initrd_size = 0;
    const struct setup_header *h = &image.head.hdr;
    int r = examine(m, request, &image, error);
    if (r == 0)
        r = load_cmdline(m, request, h->cmdline_size, error);
    if (r == 0)
        r = load_tables(m, true, error);
    if (r == 0)
        r = load_initrd(m, request, h->pref_address + image.needed, (uint64_t)h->initrd_addr_max + 1, &initrd,
                        &initrd_size, error);
    if (r < 0)
        return r;
    struct boot_params *page = guest_memory_slice(m, LAYOUT_ZERO_PAGE, sizeof *page);
    void *kernel = guest_memory_slice(m, h->pref_address, image.kernel_size);
    if (!page || !kernel)
        return error_set(error, ENOMEM, "the machine's memory has no place for the kernel %s", request->kernel_name);
    r = io_read_full(request->kernel, kernel, image.kernel_size, image.kernel_offset);
    if (r < 0)
        return error_set(error, -r, "cannot read the kernel %s: %s", request->kernel_name, strerror(-r));
    fill_zero_page(page, &image, m, request, initrd, initrd_size);
    *ret =
        (struct load_entry){.long_mode = true, .address = h->pref_address + ENTRY_OFFSET, .argument = LAYOUT_ZERO_PAGE};
    return 0;
}
