// Fuzz target: a disk's partition tables. The input is the disk; whatever is listed lies within it.
#include "client/partition.h"
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

struct input {
    const unsigned char *data;
    size_t size;
};

static void check(bool promise)
{
    if (!promise)
        abort();
}

static int read_input(void *context, uint64_t offset, void *to, size_t n)
{
    const struct input *i = context;
    check(offset <= i->size && n <= i->size - offset);
    memcpy(to, i->data + offset, n);
    return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct input input = {data, size};
    struct partition parts[PARTITIONS_MAXIMUM];
    const struct clone_disk disk = {.read = read_input, .context = &input, .size = size};
    unsigned count = partition_list(&disk, parts);
    check(count <= PARTITIONS_MAXIMUM);
    for (unsigned i = 0; i < count; i++)
        check(parts[i].start > 0 && parts[i].size > 0 && parts[i].start <= size &&
              parts[i].size <= size - parts[i].start);
    return 0;
}
