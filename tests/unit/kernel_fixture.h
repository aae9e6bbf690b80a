// Files of kernels made for a test: a bzImage and an ELF file of a few kilobytes, as a memfd, to be bent before
// loading; and a machine's memory to load them into.
#pragma once

#include "base/cursor.h"
#include "base/io.h"
#include "vmm/layout.h"
#include "vmm/load.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define FIXTURE_MEMORY (64ull << 20)
#define FIXTURE_FILE 16384u

static inline int fixture_file(const void *bytes, size_t n)
{
    int fd = memfd_create("a file of a test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, bytes, n, 0), 0);
    return fd;
}

struct fixture {
    struct guest_memory memory;
    unsigned char file[FIXTURE_FILE];
    size_t size;
    struct load_request request;
    struct load_entry entry;
    struct error error;
};

static inline void fixture_begin(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    assert_int_equal(guest_memory_make(FIXTURE_MEMORY, &f->memory, NULL), 0);
    f->request = (struct load_request){.kernel_name = "vmlinuz",
                                       .initrd_name = "initrd.img",
                                       .kernel = -1,
                                       .initrd = -1,
                                       .cmdline = "console=ttyS0",
                                       .rsdp = LAYOUT_ACPI};
}

static inline void fixture_end(struct fixture *f)
{
    cleanup_close(&f->request.initrd);
    guest_memory_free(&f->memory);
}

// Loads the file as it now is.
static inline int fixture_load(struct fixture *f)
{
    f->request.kernel = fixture_file(f->file, f->size);
    f->error.text[0] = 0;
    int r = load_kernel(&f->memory, &f->request, &f->entry, &f->error);
    cleanup_close(&f->request.kernel);
    return r;
}

// It is refused with this code and a sentence that names the file and holds these words.
static inline void fixture_refused(struct fixture *f, int code, const char *words)
{
    f->entry = (struct load_entry){.address = 77};
    int r = fixture_load(f);
    if (r != -code || !strstr(f->error.text, words) ||
        !(strstr(f->error.text, f->request.kernel_name) || strstr(f->error.text, f->request.initrd_name)))
        fail_msg("wanted %d \"%s\", got %d \"%s\"", -code, words, r, f->error.text);
    assert_int_equal(f->entry.address, 77);
}

static inline const unsigned char *fixture_at(struct fixture *f, uint64_t address, uint64_t size)
{
    const unsigned char *p = guest_memory_slice(&f->memory, address, size);
    assert_non_null(p);
    return p;
}

#define FIXTURE_SETUP 1024u // one setup sector and the boot sector
#define FIXTURE_PREFERRED (16ull << 20)

static inline void fixture_bzimage(struct fixture *f)
{
    unsigned char *b = f->file;
    fixture_begin(f);
    f->size = 9000;
    for (size_t i = FIXTURE_SETUP; i < f->size; i++)
        b[i] = (unsigned char)(i * 7);
    b[0x1f1] = 1;
    put_le32(b + 0x1f4, (uint32_t)(f->size - FIXTURE_SETUP) / 16);
    put_le16(b + 0x1fe, 0xaa55);
    b[0x201] = 0x6a; // the header ends at 0x26c
    memcpy(b + 0x202, "HdrS", 4);
    put_le16(b + 0x206, 0x020f);
    b[0x211] = 1;
    put_le32(b + 0x22c, 0x7fffffff);
    put_le32(b + 0x230, 2u << 20);
    b[0x234] = 1;
    put_le16(b + 0x236, 0x3f);
    put_le32(b + 0x238, 2047);
    put_le32(b + 0x248, 100);
    put_le32(b + 0x24c, 7000);
    put_le64(b + 0x258, FIXTURE_PREFERRED);
    put_le32(b + 0x260, 20u << 20);
}

#define FIXTURE_SEGMENTS 64u // where the program headers lie
#define FIXTURE_NOTE 1024u   // the note
#define FIXTURE_CODE 2048u   // the first segment
#define FIXTURE_DATA 4096u   // the second
#define FIXTURE_ENTRY 0x1000040u

// A field of program header `i` (an ELF64 file).
static inline unsigned char *fixture_segment(struct fixture *f, unsigned i, size_t field)
{
    return f->file + FIXTURE_SEGMENTS + i * sizeof(Elf64_Phdr) + field;
}
#define FIXTURE_FIELD(f, i, name) fixture_segment(f, i, offsetof(Elf64_Phdr, name))

static inline void fixture_put_segment(struct fixture *f, unsigned i, uint32_t type, uint64_t offset, uint64_t address,
                                       uint64_t file_size, uint64_t memory_size)
{
    put_le32(FIXTURE_FIELD(f, i, p_type), type);
    put_le64(FIXTURE_FIELD(f, i, p_offset), offset);
    put_le64(FIXTURE_FIELD(f, i, p_vaddr), address | 0xffffffff80000000);
    put_le64(FIXTURE_FIELD(f, i, p_paddr), address);
    put_le64(FIXTURE_FIELD(f, i, p_filesz), file_size);
    put_le64(FIXTURE_FIELD(f, i, p_memsz), memory_size);
    put_le64(FIXTURE_FIELD(f, i, p_align), 4);
}

// A note of another owner, then the PVH entry.
static inline size_t fixture_put_notes(unsigned char *to, unsigned entry_size)
{
    put_le32(to, 4);
    put_le32(to + 4, 3);
    put_le32(to + 8, 18);
    memcpy(to + 12, "GNU", 4);
    memcpy(to + 16, "abc", 4);
    put_le32(to + 20, 4);
    put_le32(to + 24, entry_size);
    put_le32(to + 28, 18);
    memcpy(to + 32, "Xen", 4);
    put_le32(to + 36, FIXTURE_ENTRY);
    if (entry_size == 8)
        put_le32(to + 40, 0);
    return 36 + entry_size;
}

static inline void fixture_elf(struct fixture *f)
{
    unsigned char *b = f->file;
    fixture_begin(f);
    f->size = 6000;
    memcpy(b, ELFMAG, SELFMAG);
    b[EI_CLASS] = ELFCLASS64;
    b[EI_DATA] = ELFDATA2LSB;
    put_le16(b + offsetof(Elf64_Ehdr, e_type), ET_EXEC);
    put_le16(b + offsetof(Elf64_Ehdr, e_machine), EM_X86_64);
    put_le64(b + offsetof(Elf64_Ehdr, e_phoff), FIXTURE_SEGMENTS);
    put_le16(b + offsetof(Elf64_Ehdr, e_phentsize), sizeof(Elf64_Phdr));
    put_le16(b + offsetof(Elf64_Ehdr, e_phnum), 3);
    for (unsigned i = FIXTURE_CODE; i < f->size; i++)
        b[i] = (unsigned char)(i * 5);
    size_t notes = fixture_put_notes(b + FIXTURE_NOTE, 8);
    fixture_put_segment(f, 0, PT_LOAD, FIXTURE_CODE, 0x1000000, 1000, 0x2000);
    fixture_put_segment(f, 1, PT_LOAD, FIXTURE_DATA, 0x1002000, 500, 100000);
    fixture_put_segment(f, 2, PT_NOTE, FIXTURE_NOTE, 0x1000000, notes, notes);
}
