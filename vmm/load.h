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
// The guest's memory map in the form of e820: at most `capacity` entries; returns how many.
struct load_range {
    uint64_t address, size;
    uint32_t type; // 1 RAM, 2 reserved, 3 ACPI (reclaimable)
};
unsigned load_memory_map(const struct guest_memory *m, struct load_range *ret, unsigned capacity);
// Where `size` bytes of an initrd go: as high as possible in low RAM, below `limit`, not below `floor`; page-aligned.
// 0: no place.
uint64_t load_place_initrd(const struct guest_memory *m, uint64_t size, uint64_t floor, uint64_t limit);
int load_initrd(const struct guest_memory *m, const struct load_request *request, uint64_t floor, uint64_t limit,
                uint64_t *ret_address, uint64_t *ret_size, struct error *error);
