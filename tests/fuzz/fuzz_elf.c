// Fuzz target: an ELF kernel, started by PVH. What is accepted is entered in 32-bit mode with the start info.
#include "base/cursor.h"
#include "tests/fuzz/kernel_fuzz.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static int load(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                struct error *error)
{
    int r = load_elf(m, request, ret, error);
    if (r < 0)
        return r;
    const unsigned char *info = guest_memory_slice(m, ret->argument, 56);
    kernel_fuzz_check(!ret->long_mode && info != NULL && get_le32(info) == 0x336ec578);
    kernel_fuzz_check(get_le32(info + 12) == (request->initrd >= 0 ? 1 : 0));
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    kernel_fuzz(data, size, load);
    return 0;
}
