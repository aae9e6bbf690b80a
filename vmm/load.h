// Loading a kernel. Two protocols: Linux's 64-bit boot protocol for a bzImage (Linux Documentation/x86/boot.rst, 2.12
// or later with XLF_KERNEL_64), and PVH for an ELF file with a XEN_ELFNOTE_PHYS32_ENTRY note (Xen docs/misc/pvh.pandoc,
// include/public/arch-x86/hvm/start_info.h). The file is hostile: each number in it is checked before use (TRUST T27).
#pragma once

#include "base/error.h"
#include "vmm/guest_memory.h"
#include <stdbool.h>
#include <stdint.h>

#define LOAD_KERNEL_MAXIMUM (512ull << 20) // bytes of a kernel file
#define LOAD_INITRD_MAXIMUM (2048ull << 20)

// How the first vCPU begins.
struct load_entry {
    bool long_mode;    // 64-bit with paging and the zero page in RSI; otherwise 32-bit, EBX = start info (PVH)
    uint64_t address;  // RIP
    uint64_t argument; // the zero page or the start info
};

struct load_request {
    const char *kernel_name, *initrd_name; // for messages
    int kernel, initrd;                    // descriptors, read with pread; initrd −1: none
    const char *cmdline;
    uint64_t rsdp;
};

// Reads the files straight into guest memory and writes the tables at LAYOUT_…: GDT, page tables, zero page or start
// info, command line. -EBADMSG: not a kernel that we can start (the sentence says what is wrong with it); -ENOMEM: the
// guest's memory is too small for it (the sentence says how much it needs); -EINVAL: the command line is too long.
int load_kernel(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                struct error *error);

// The parts, as load_kernel and the fuzz targets call them.
int load_bzimage(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                 struct error *error);
int load_elf(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
             struct error *error);

// What both loaders need (load.c).
//
// The guest's memory map in the form of e820 (zero-page.rst; the types are ACPI 6.5, 15): sorted, no overlaps.
#define LOAD_RAM 1u
#define LOAD_RESERVED 2u
#define LOAD_RANGES_MAXIMUM 6u
struct load_range {
    uint64_t address, size;
    uint32_t type;
};
unsigned load_memory_map(const struct guest_memory *m, struct load_range ret[LOAD_RANGES_MAXIMUM]);
// The size in bytes of an open file that is to be loaded: a regular file of 1 byte to `maximum`.
int load_file_size(int fd, const char *name, uint64_t maximum, uint64_t *ret, struct error *error);
// For a file that its own headers make longer than it is: always -EBADMSG.
int load_refuse_truncated(const char *name, struct error *error);
// What does not fit: always -ENOMEM, with the sentence that says how much memory (an end address) it takes.
int load_refuse_memory(const struct guest_memory *m, const char *name, const char *why, uint64_t needed,
                       struct error *error);
// Where `size` bytes of an initrd go: as high as possible in low RAM, below `limit`, not below `floor`; page-aligned.
// 0: no place.
uint64_t load_place_initrd(const struct guest_memory *m, uint64_t size, uint64_t floor, uint64_t limit);
// Reads the initrd to its place; without one, both results are 0.
int load_initrd(const struct guest_memory *m, const struct load_request *request, uint64_t floor, uint64_t limit,
                uint64_t *ret_address, uint64_t *ret_size, struct error *error);
// Writes the command line; `maximum` is the longest that the kernel takes, without the NUL. -EINVAL if it is longer.
int load_cmdline(const struct guest_memory *m, const struct load_request *request, uint64_t maximum,
                 struct error *error);
// Writes the GDT with the selectors of layout.h, and for long mode the page tables: the first 4 GiB, each address
// mapped to itself by pages of 2 MiB, since not every processor has pages of 1 GiB.
int load_tables(const struct guest_memory *m, bool long_mode, struct error *error);
