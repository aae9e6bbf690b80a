// An ELF kernel, by the PVH boot protocol (Xen docs/misc/pvh.pandoc; the structures: Xen
// xen/include/public/arch-x86/hvm/start_info.h, version 1; the note: xen/include/public/elfnote.h; ELF: System V ABI,
// chapters 4 and 5). This is how vmlinux, FreeBSD, NetBSD and firmware are started.
//
//   PT_LOAD segments to their physical addresses, the rest of each zeroed │ start info, module list (the initrd),
//   memory map and command line below 1 MiB │ entry: the note's address, 32-bit, paging off, EBX = start info
//
// 1. The headers are read once and copied into `struct segment`s; every sum is of numbers that cannot wrap it.
// 2. Segments lie in RAM between 1 MiB and the hole and do not overlap; the entry lies in one of them.
#include "vmm/load.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"
#include "base/text.h"
#include "vmm/layout.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/banned.h"

#define SEGMENTS_MAXIMUM 64u
#define NOTES_MAXIMUM 65536u // bytes of one PT_NOTE
#define XEN_ELFNOTE_PHYS32_ENTRY 18u

#define START_MAGIC 0x336ec578u
#define START_VERSION 1u
#define START_SIZE 56u
#define MODULE_SIZE 32u
#define RANGE_SIZE 24u

struct segment {
    uint32_t type;
    uint64_t offset, address, file_size, memory_size, alignment;
};

struct program {
    const char *name;
    uint64_t file_size;
    bool wide; // ELF64
    uint64_t table;
    unsigned count; // of segments
    struct segment segments[SEGMENTS_MAXIMUM];
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
        return error_set(error, EBADMSG, "the kernel %s is incomplete: the file ends too early; copy it again",
                         request->kernel_name);
    return r < 0 ? error_set(error, -r, "cannot read the kernel %s: %s", request->kernel_name, strerror(-r)) : 0;
}

static int read_header(const struct load_request *request, struct program *p, struct error *error)
{
    unsigned char head[sizeof(Elf64_Ehdr)] = {0};
    size_t size = p->file_size < sizeof head ? p->file_size : sizeof head;
    int r = read_part(request, head, size, 0, error);
    if (r < 0)
        return r;
    p->wide = head[EI_CLASS] == ELFCLASS64;
    if (size < (p->wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
        return damaged(p, "the file ends within its header", error);
    struct cursor c = cursor_over(head + EI_NIDENT, sizeof head - EI_NIDENT);
    cursor_u16(&c); // e_type: relocatable or fixed, the addresses hold
    unsigned machine = cursor_u16(&c);
    if (head[EI_DATA] != ELFDATA2LSB || (head[EI_CLASS] != ELFCLASS64 && head[EI_CLASS] != ELFCLASS32) ||
        (machine != EM_X86_64 && machine != EM_386))
        return error_set(error, EBADMSG, "%s is an ELF file for another kind of processor: an x86-64 kernel is needed",
                         p->name);
    cursor_u32(&c);                                       // e_version
    cursor_bytes(&c, p->wide ? 8 : 4);                    // e_entry: where a program would begin
    p->table = p->wide ? cursor_u64(&c) : cursor_u32(&c); // e_phoff
    cursor_bytes(&c, p->wide ? 8 : 4);                    // e_shoff
    cursor_u32(&c);                                       // e_flags
    cursor_u16(&c);                                       // e_ehsize
    unsigned entry_size = cursor_u16(&c);
    p->count = cursor_u16(&c);
    if (p->count == 0)
        return error_set(error, EBADMSG, "%s is an ELF file without segments (an object file?), no kernel", p->name);
    if (p->count > SEGMENTS_MAXIMUM || entry_size != (p->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return damaged(p, "its program headers are malformed", error);
    return 0;
}

static struct segment parse_segment(struct cursor *c, bool wide)
{
    struct segment s = {.type = cursor_u32(c)};
    if (wide)
        cursor_u32(c); // p_flags
    s.offset = wide ? cursor_u64(c) : cursor_u32(c);
    cursor_bytes(c, wide ? 8 : 4); // p_vaddr
    s.address = wide ? cursor_u64(c) : cursor_u32(c);
    s.file_size = wide ? cursor_u64(c) : cursor_u32(c);
    s.memory_size = wide ? cursor_u64(c) : cursor_u32(c);
    if (!wide)
        cursor_u32(c); // p_flags
    s.alignment = wide ? cursor_u64(c) : cursor_u32(c);
    return s;
}

static int read_segments(const struct load_request *request, struct program *p, struct error *error)
{
    unsigned char table[SEGMENTS_MAXIMUM * sizeof(Elf64_Phdr)];
    size_t size = p->count * (p->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
    if (p->table > p->file_size || size > p->file_size - p->table)
        return damaged(p, "its program headers lie behind its end", error);
    int r = read_part(request, table, size, p->table, error);
    if (r < 0)
        return r;
    struct cursor c = cursor_over(table, size);
    for (unsigned i = 0; i < p->count; i++) {
        struct segment *s = &p->segments[i];
        *s = parse_segment(&c, p->wide);
        if ((s->type == PT_LOAD || s->type == PT_NOTE) &&
            (s->offset > p->file_size || s->file_size > p->file_size - s->offset))
            return error_set(error, EBADMSG, "the kernel %s is incomplete: the file ends too early; copy it again",
                             p->name);
    }
    return 0;
}

static bool overlap(const struct segment *a, const struct segment *b)
{
    return a->address < b->address + b->memory_size && b->address < a->address + a->memory_size;
}

static int check_segment(const struct guest_memory *m, struct program *p, unsigned index, struct error *error)
{
    const struct segment *s = &p->segments[index];
    char needed[32], there[32];
    if (s->file_size > s->memory_size)
        return damaged(p, "a segment is larger in the file than in memory", error);
    if (s->address < LAYOUT_EXTENDED_RAM || s->address >= LAYOUT_LOW_RAM_END ||
        s->memory_size > LAYOUT_LOW_RAM_END - s->address)
        return error_set(error, EBADMSG,
                         "the kernel %s cannot be loaded: it has a segment at 0x%llx, not from 1 MiB to 3 GiB", p->name,
                         (unsigned long long)s->address);
    if (!guest_memory_slice(m, s->address, s->memory_size))
        return error_set(error, ENOMEM,
                         "the kernel %s needs %s, and the machine has %s of memory: give it more (--memory)", p->name,
                         text_format_size(s->address + s->memory_size, needed), text_format_size(m->size, there));
    for (unsigned i = 0; i < index; i++)
        if (p->segments[i].type == PT_LOAD && p->segments[i].memory_size > 0 && overlap(s, &p->segments[i]))
            return damaged(p, "two of its segments overlap", error);
    if (s->address + s->memory_size > p->end)
        p->end = s->address + s->memory_size;
    return 0;
}

// One note: three words (sizes of name and contents, type), the name, the contents, each padded.
static void look_for_entry(struct program *p, const unsigned char *bytes, size_t size, size_t alignment)
{
    struct cursor c = cursor_over(bytes, size);
    while (c.left >= 12 && !c.failed) {
        uint32_t name_size = cursor_u32(&c), content_size = cursor_u32(&c), type = cursor_u32(&c);
        const unsigned char *name = cursor_bytes(&c, name_size);
        cursor_bytes(&c, (alignment - name_size % alignment) % alignment);
        const unsigned char *content = cursor_bytes(&c, content_size);
        if (name && content && name_size == 4 && memcmp(name, "Xen", 4) == 0 && type == XEN_ELFNOTE_PHYS32_ENTRY &&
            (content_size == 4 || content_size == 8)) {
            p->entry = content_size == 4 ? get_le32(content) : get_le64(content);
            p->entry_found = true;
            return;
        }
        size_t padding = (alignment - content_size % alignment) % alignment;
        cursor_bytes(&c, padding < c.left ? padding : c.left); // the last note may end unpadded
    }
}

static int read_notes(const struct load_request *request, struct program *p, struct error *error)
{
    for (unsigned i = 0; i < p->count && !p->entry_found; i++) {
        const struct segment *s = &p->segments[i];
        if (s->type != PT_NOTE || s->file_size == 0)
            continue;
        if (s->file_size > NOTES_MAXIMUM)
            return damaged(p, "its notes are too long", error);
        unsigned char *bytes CLEANUP_FREE = malloc(s->file_size);
        if (!bytes)
            return error_set(error, ENOMEM, "no memory for the notes of %s", p->name);
        int r = read_part(request, bytes, s->file_size, s->offset, error);
        if (r < 0)
            return r;
        look_for_entry(p, bytes, s->file_size, s->alignment == 8 ? 8 : 4);
    }
    if (!p->entry_found)
        return error_set(error, EBADMSG,
                         "%s is an ELF file without a PVH entry: a kernel needs CONFIG_PVH to be started so; or give "
                         "its bzImage, which distributions call vmlinuz",
                         p->name);
    for (unsigned i = 0; i < p->count; i++) {
        const struct segment *s = &p->segments[i];
        if (s->type == PT_LOAD && p->entry >= s->address && p->entry - s->address < s->memory_size)
            return 0;
    }
    return damaged(p, "its PVH entry lies outside its segments", error);
}

static int load_segments(const struct guest_memory *m, const struct load_request *request, const struct program *p,
                         struct error *error)
{
    for (unsigned i = 0; i < p->count; i++) {
        const struct segment *s = &p->segments[i];
        if (s->type != PT_LOAD || s->memory_size == 0)
            continue;
        unsigned char *to = guest_memory_slice(m, s->address, s->memory_size);
        if (!to)
            return error_set(error, ENOMEM, "the machine's memory has no place for the kernel %s", p->name);
        int r = read_part(request, to, s->file_size, s->offset, error);
        if (r < 0)
            return r;
        memset(to + s->file_size, 0, s->memory_size - s->file_size);
    }
    return 0;
}

// Start info, then the module list, then the memory map.
static int write_start_info(const struct guest_memory *m, const struct load_request *request, uint64_t initrd,
                            uint64_t initrd_size, struct error *error)
{
    struct load_range ranges[LOAD_RANGES_MAXIMUM];
    unsigned count = load_memory_map(m, ranges);
    unsigned char info[START_SIZE + MODULE_SIZE + LOAD_RANGES_MAXIMUM * RANGE_SIZE] = {0};
    unsigned char *module = info + START_SIZE, *map = module + MODULE_SIZE;

    put_le32(info, START_MAGIC);
    put_le32(info + 4, START_VERSION);
    put_le32(info + 12, initrd ? 1 : 0); // modules
    put_le64(info + 16, initrd ? LAYOUT_PVH_START + START_SIZE : 0);
    put_le64(info + 24, LAYOUT_CMDLINE);
    put_le64(info + 32, request->rsdp);
    put_le64(info + 40, LAYOUT_PVH_START + START_SIZE + MODULE_SIZE);
    put_le32(info + 48, count);
    put_le64(module, initrd);
    put_le64(module + 8, initrd_size);
    for (unsigned i = 0; i < count; i++) {
        put_le64(map + i * RANGE_SIZE, ranges[i].address);
        put_le64(map + i * RANGE_SIZE + 8, ranges[i].size);
        put_le32(map + i * RANGE_SIZE + 16, ranges[i].type);
    }
    int r = guest_memory_write(m, LAYOUT_PVH_START, info, sizeof info);
    return r < 0 ? error_set(error, -r, "the machine's memory has no place for the start info") : 0;
}

int load_elf(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
             struct error *error)
{
    struct program p = {.name = request->kernel_name};
    uint64_t initrd = 0, initrd_size = 0;
    int r = load_file_size(request->kernel, p.name, LOAD_KERNEL_MAXIMUM, &p.file_size, error);
    if (r == 0)
        r = read_header(request, &p, error);
    if (r == 0)
        r = read_segments(request, &p, error);
    for (unsigned i = 0; r == 0 && i < p.count; i++)
        if (p.segments[i].type == PT_LOAD && p.segments[i].memory_size > 0)
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
