// An ELF kernel, by the PVH boot protocol (Xen docs/misc/pvh.pandoc; the structures: Xen
// xen/include/public/arch-x86/hvm/start_info.h, version 1; the note: xen/include/public/elfnote.h; ELF: System V ABI,
// chapters 4 and 5, 64-bit files). This is how vmlinux, FreeBSD, NetBSD and firmware are started.
//
//   PT_LOAD segments to their physical addresses, the rest of each zeroed │ start info, module list (the initrd),
//   memory map and command line below 1 MiB │ entry: the note's address, 32-bit, paging off, EBX = start info
//
// 1. The headers are read once, into `struct program`; every sum is of numbers that cannot wrap it.
// 2. Segments lie in RAM between 1 MiB and the hole and do not overlap; the entry lies in one of them.
#include "vmm/load.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"
#include "vmm/layout.h"

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/banned.h"

#define SEGMENTS_MAXIMUM 64u
#define NOTES_MAXIMUM 65536u // bytes of one PT_NOTE
#define XEN_ELFNOTE_PHYS32_ENTRY 18u

// start_info.h, version 1: the start info, a module, an entry of the memory map; one after the other.
#define START_MAGIC 0x336ec578u
struct start {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, map;
    uint32_t map_count, reserved;
    struct {
        uint64_t address, size, cmdline, reserved;
    } module;
    struct {
        uint64_t address, size;
        uint32_t type, reserved;
    } ranges[LOAD_RANGES_MAXIMUM];
};

struct program {
    const char *name;
    uint64_t file_size;
    unsigned count; // of segments
    Elf64_Phdr segments[SEGMENTS_MAXIMUM];
    bool entry_found;
    uint64_t entry, end; // end: of the highest segment
};

static int damaged(const struct program *p, const char *what, struct error *error)
{
    return error_set(error, EBADMSG, "the kernel %s is damaged: %s", p->name, what);
}

static int read_part(const struct load_request *request, void *to, size_t n, uint64_t offset, struct error *error)
{
    int r = io_read_full(request->kernel, to, n, offset);
    if (r == -ENODATA)
        return load_refuse_truncated(request->kernel_name, error);
    return r < 0 ? error_set(error, -r, "cannot read the kernel %s: %s", request->kernel_name, strerror(-r)) : 0;
}

static int read_header(const struct load_request *request, struct program *p, Elf64_Ehdr *ret, struct error *error)
{
    if (p->file_size < sizeof *ret)
        return damaged(p, "the file ends within its header", error);
    int r = read_part(request, ret, sizeof *ret, 0, error);
    if (r < 0)
        return r;
    if (ret->e_ident[EI_DATA] != ELFDATA2LSB || ret->e_ident[EI_CLASS] != ELFCLASS64 || ret->e_machine != EM_X86_64)
        return error_set(error, EBADMSG, "%s is an ELF file for another kind of processor: an x86-64 kernel is needed",
                         p->name);
    if (ret->e_phnum == 0)
        return error_set(error, EBADMSG, "%s is an ELF file without segments (an object file?), no kernel", p->name);
    if (ret->e_phnum > SEGMENTS_MAXIMUM || ret->e_phentsize != sizeof(Elf64_Phdr))
        return damaged(p, "its program headers are malformed", error);
    p->count = ret->e_phnum;
    return 0;
}

static int read_segments(const struct load_request *request, struct program *p, const Elf64_Ehdr *head,
                         struct error *error)
{
    size_t size = p->count * sizeof(Elf64_Phdr);
    if (head->e_phoff > p->file_size || size > p->file_size - head->e_phoff)
        return damaged(p, "its program headers lie behind its end", error);
    int r = read_part(request, p->segments, size, head->e_phoff, error);
    for (unsigned i = 0; r == 0 && i < p->count; i++) {
        const Elf64_Phdr *s = &p->segments[i];
        if ((s->p_type == PT_LOAD || s->p_type == PT_NOTE) &&
            (s->p_offset > p->file_size || s->p_filesz > p->file_size - s->p_offset))
            r = load_refuse_truncated(p->name, error);
    }
    return r;
}

static bool overlap(const Elf64_Phdr *a, const Elf64_Phdr *b)
{
    return a->p_paddr < b->p_paddr + b->p_memsz && b->p_paddr < a->p_paddr + a->p_memsz;
}

static int check_segment(const struct guest_memory *m, struct program *p, unsigned index, struct error *error)
{
    const Elf64_Phdr *s = &p->segments[index];
    if (s->p_filesz > s->p_memsz)
        return damaged(p, "a segment is larger in the file than in memory", error);
    if (s->p_paddr < LAYOUT_EXTENDED_RAM || s->p_paddr >= LAYOUT_LOW_RAM_END ||
        s->p_memsz > LAYOUT_LOW_RAM_END - s->p_paddr)
        return error_set(error, EBADMSG,
                         "the kernel %s cannot be loaded: it has a segment at 0x%llx, not from 1 MiB to 3 GiB", p->name,
                         (unsigned long long)s->p_paddr);
    if (!guest_memory_slice(m, s->p_paddr, s->p_memsz))
        return load_refuse_memory(m, p->name, "for its segments", s->p_paddr + s->p_memsz, error);
    for (unsigned i = 0; i < index; i++)
        if (p->segments[i].p_type == PT_LOAD && p->segments[i].p_memsz > 0 && overlap(s, &p->segments[i]))
            return damaged(p, "two of its segments overlap", error);
    if (s->p_paddr + s->p_memsz > p->end)
        p->end = s->p_paddr + s->p_memsz;
    return 0;
}

// Of `size` bytes: to the next multiple of the alignment; the last note may end unpadded.
static void skip_padding(struct cursor *c, size_t size, size_t alignment)
{
    size_t padding = (alignment - (size - c->left) % alignment) % alignment;
    cursor_bytes(c, padding < c->left ? padding : c->left);
}

// One note: three words (sizes of name and contents, type), the name, the contents. Where contents and notes begin is
// aligned, counted from the first note.
static void look_for_entry(struct program *p, const unsigned char *bytes, size_t size, size_t alignment)
{
    struct cursor c = cursor_over(bytes, size);
    while (c.left >= 12 && !c.failed) {
        uint32_t name_size = cursor_u32(&c), content_size = cursor_u32(&c), type = cursor_u32(&c);
        const unsigned char *name = cursor_bytes(&c, name_size);
        skip_padding(&c, size, alignment);
        const unsigned char *content = cursor_bytes(&c, content_size);
        if (name && content && name_size == 4 && memcmp(name, "Xen", 4) == 0 && type == XEN_ELFNOTE_PHYS32_ENTRY &&
            (content_size == 4 || content_size == 8)) {
            p->entry = content_size == 4 ? get_le32(content) : get_le64(content);
            p->entry_found = true;
            return;
        }
        skip_padding(&c, size, alignment);
    }
}

static int read_notes(const struct load_request *request, struct program *p, struct error *error)
{
    for (unsigned i = 0; i < p->count && !p->entry_found; i++) {
        const Elf64_Phdr *s = &p->segments[i];
        if (s->p_type != PT_NOTE || s->p_filesz == 0)
            continue;
        if (s->p_filesz > NOTES_MAXIMUM)
            return damaged(p, "its notes are too long", error);
        unsigned char *bytes CLEANUP_FREE = malloc(s->p_filesz);
        if (!bytes)
            return error_set(error, ENOMEM, "no memory for the notes of %s", p->name);
        int r = read_part(request, bytes, s->p_filesz, s->p_offset, error);
        if (r < 0)
            return r;
        look_for_entry(p, bytes, s->p_filesz, s->p_align == 8 ? 8 : 4);
    }
    if (!p->entry_found)
        return error_set(error, EBADMSG,
                         "%s is an ELF file without a PVH entry: a kernel needs CONFIG_PVH to be started so; or give "
                         "its bzImage, which distributions call vmlinuz",
                         p->name);
    for (unsigned i = 0; i < p->count; i++) {
        const Elf64_Phdr *s = &p->segments[i];
        if (s->p_type == PT_LOAD && p->entry >= s->p_paddr && p->entry - s->p_paddr < s->p_memsz)
            return 0;
    }
    return damaged(p, "its PVH entry lies outside its segments", error);
}

static int load_segments(const struct guest_memory *m, const struct load_request *request, const struct program *p,
                         struct error *error)
{
    for (unsigned i = 0; i < p->count; i++) {
        const Elf64_Phdr *s = &p->segments[i];
        if (s->p_type != PT_LOAD || s->p_memsz == 0)
            continue;
        unsigned char *to = guest_memory_slice(m, s->p_paddr, s->p_memsz);
        if (!to)
            return error_set(error, ENOMEM, "the machine's memory has no place for the kernel %s", p->name);
        int r = read_part(request, to, s->p_filesz, s->p_offset, error);
        if (r < 0)
            return r;
        memset(to + s->p_filesz, 0, s->p_memsz - s->p_filesz);
    }
    return 0;
}

static int write_start_info(const struct guest_memory *m, const struct load_request *request, uint64_t initrd,
                            uint64_t initrd_size, struct error *error)
{
    struct load_range ranges[LOAD_RANGES_MAXIMUM];
    struct start start = {
        .magic = START_MAGIC,
        .version = 1,
        .module_count = initrd ? 1 : 0,
        .modules = initrd ? LAYOUT_PVH_START + offsetof(struct start, module) : 0,
        .cmdline = LAYOUT_CMDLINE,
        .rsdp = request->rsdp,
        .map = LAYOUT_PVH_START + offsetof(struct start, ranges),
        .map_count = load_memory_map(m, ranges),
        .module = {.address = initrd, .size = initrd_size},
    };
    for (unsigned i = 0; i < start.map_count; i++) {
        start.ranges[i].address = ranges[i].address;
        start.ranges[i].size = ranges[i].size;
        start.ranges[i].type = ranges[i].type;
    }
    int r = guest_memory_write(m, LAYOUT_PVH_START, &start, sizeof start);
    return r < 0 ? error_set(error, -r, "the machine's memory has no place for the start info") : 0;
}

int load_elf(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
             struct error *error)
{
    struct program p = {.name = request->kernel_name};
    Elf64_Ehdr head = {.e_phnum = 0};
    uint64_t initrd = 0, initrd_size = 0;
    int r = load_file_size(request->kernel, p.name, LOAD_KERNEL_MAXIMUM, &p.file_size, error);
    if (r == 0)
        r = read_header(request, &p, &head, error);
    if (r == 0)
        r = read_segments(request, &p, &head, error);
    for (unsigned i = 0; r == 0 && i < p.count; i++)
        if (p.segments[i].p_type == PT_LOAD && p.segments[i].p_memsz > 0)
            r = check_segment(m, &p, i, error);
    if (r == 0)
        r = read_notes(request, &p, error);
    if (r == 0)
        r = load_cmdline(m, request, LAYOUT_CMDLINE_MAXIMUM - 1, error);
    if (r == 0)
        r = load_tables(m, false, error);
    if (r == 0)
        r = load_initrd(m, request, p.end, LAYOUT_LOW_RAM_END, &initrd, &initrd_size, error);
    if (r == 0)
        r = load_segments(m, request, &p, error);
    if (r == 0)
        r = write_start_info(m, request, initrd, initrd_size, error);
    if (r < 0)
        return r;
    *ret = (struct load_entry){.long_mode = false, .address = p.entry, .argument = LAYOUT_PVH_START};
    return 0;
}
