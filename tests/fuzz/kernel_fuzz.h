// What the fuzz targets of the kernel loaders share: the input as a file, a machine of 32 MiB to load it into, and what
// must hold whatever the file says.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "vmm/layout.h"
#include "vmm/load.h"

#define KERNEL_FUZZ_MEMORY (32ull << 20)
#define KERNEL_FUZZ_INITRD 5000u

typedef int kernel_fuzz_loader(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                               struct error *error);

static inline void kernel_fuzz_check(bool promise)
{
    if (!promise)
        abort();
}

// Below 1 MiB, only the places of layout.h may have been written.
static inline void kernel_fuzz_check_low(const unsigned char *low)
{
    static const struct {
        uint64_t from, to;
    } free_places[] = {{0, LAYOUT_GDT},
                       {LAYOUT_GDT + LAYOUT_GDT_SIZE, LAYOUT_PVH_START},
                       {LAYOUT_PAGE_TABLES + 6 * 4096, LAYOUT_CMDLINE},
                       {LAYOUT_CMDLINE + LAYOUT_CMDLINE_MAXIMUM, LAYOUT_EXTENDED_RAM}};
    for (size_t i = 0; i < sizeof free_places / sizeof free_places[0]; i++)
        kernel_fuzz_check(low[free_places[i].from] == 0 &&
                          memcmp(low + free_places[i].from, low + free_places[i].from + 1,
                                 free_places[i].to - free_places[i].from - 1) == 0); // all are equal, and so 0
}

// Loads the input; true if it was accepted.
static inline bool kernel_fuzz(const unsigned char *data, size_t size, kernel_fuzz_loader *load)
{
    static unsigned char *bytes;
    static int kernel = -1, initrd = -1;
    struct load_entry entry = {.address = UINT64_MAX};
    struct error error = {{0}};

    if (!bytes) {
        bytes = calloc(1, KERNEL_FUZZ_MEMORY); // of its own, so that the sanitizer sees its ends
        kernel = memfd_create("kernel", MFD_CLOEXEC);
        initrd = memfd_create("initrd", MFD_CLOEXEC);
        kernel_fuzz_check(bytes && kernel >= 0 && initrd >= 0 && ftruncate(initrd, KERNEL_FUZZ_INITRD) == 0);
    }
    kernel_fuzz_check(ftruncate(kernel, 0) == 0 && io_write_full(kernel, data, size, 0) == 0);
    const struct guest_memory memory = {
        .size = KERNEL_FUZZ_MEMORY,
        .regions = {{.address = 0, .size = KERNEL_FUZZ_MEMORY, .bytes = bytes}},
        .region_count = 1,
    };
    const struct load_request request = {.kernel_name = "kernel",
                                         .initrd_name = "initrd",
                                         .kernel = kernel,
                                         .initrd = size % 2 ? initrd : -1,
                                         .cmdline = "console=ttyS0",
                                         .rsdp = LAYOUT_ACPI};
    int r = load(&memory, &request, &entry, &error);
    kernel_fuzz_check_low(bytes);
    if (r < 0) {
        kernel_fuzz_check(error.text[0] != 0 && entry.address == UINT64_MAX);
        return false;
    }
    kernel_fuzz_check(r == 0 && entry.address >= LAYOUT_EXTENDED_RAM && entry.address < KERNEL_FUZZ_MEMORY);
    return true;
}
