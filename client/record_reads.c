// What a recording is made of (see record.h): no machine, no file, only values.
#include "client/record.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

int record_add_reads(struct profile *p, unsigned member, const struct overlay_read *reads, size_t count)
{
    const uint64_t size = p->members[member].size;
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        const uint64_t offset = reads[i].offset, length = reads[i].length;
        if (length == 0 || offset >= size || length > size - offset)
            continue;
        const uint64_t first = offset / BLOCK_SIZE, last = (offset + length - 1) / BLOCK_SIZE;
        r = profile_add_read(p, member, first, last - first + 1);
    }
    return r == -E2BIG ? 0 : r;
}

bool record_make_pattern(const char *text, char *ret, size_t capacity)
{
    size_t n = 0;
    for (; *text; text++) {
        if (n + 3 > capacity)
            return false;
        if (strchr(".[\\()*+?{|^$", *text)) // POSIX, Extended Regular Expressions, 9.4.3
            ret[n++] = '\\';
        ret[n++] = *text;
    }
    ret[n] = '\0';
    return true;
}
