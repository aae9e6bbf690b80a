// Fuzz target: a bzImage. A kernel that is accepted was copied whole to where it wants to be, and its zero page holds
// its own setup header.
#include "base/cursor.h"
#include "tests/fuzz/kernel_fuzz.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const unsigned char *zero_page;

static int load(const struct guest_memory *m, const struct load_request *request, struct load_entry *ret,
                struct error *error)
{
    int r = load_bzimage(m, request, ret, error);
    if (r < 0)
        return r;
    zero_page = guest_memory_slice(m, ret->argument, 4096);
    kernel_fuzz_check(ret->long_mode && zero_page != NULL);
    uint64_t initrd = get_le32(zero_page + 0x218);
    kernel_fuzz_check((initrd != 0) == (request->initrd >= 0));
    kernel_fuzz_check(initrd == 0 || (initrd >= get_le64(zero_page + 0x258) + get_le32(zero_page + 0x260) &&
                                      guest_memory_slice(m, initrd, KERNEL_FUZZ_INITRD) != NULL));
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (kernel_fuzz(data, size, load))
        kernel_fuzz_check(size > 0x264 && memcmp(zero_page + 0x22c, data + 0x22c, 0x248 - 0x22c) == 0 &&
                          memcmp(zero_page + 0x258, data + 0x258, 12) == 0);
    return 0;
}
