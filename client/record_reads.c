// What a recording is made of (see record.h): no machine, only values.
#include "base/cleanup.h"
#include "base/io.h"
#include "client/record.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static int add_reads(struct profile *p, unsigned member, const struct overlay_read *reads, size_t count)
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

static int add_whole(struct profile *p, const struct manifest_member *member)
{
    unsigned number;
    int r = profile_add_member(p, member->name, member->size, &number);
    if (r == 0)
        r = profile_add_read(p, number, 0, map_blocks(member->size));
    return r == -E2BIG ? 0 : r;
}

int record_make_profile(const struct manifest *d, int reads, size_t count, struct profile **ret, struct error *error)
{
    struct profile *p CLEANUP(cleanup_profile) = profile_new();
    const size_t maximum = count < OVERLAY_READS_MAXIMUM ? count : OVERLAY_READS_MAXIMUM;
    CLEANUP_FREE struct overlay_read *list = calloc(maximum ? maximum : 1, sizeof(*list));
    unsigned disk = 0;
    int r = p && list ? 0 : -ENOMEM;
    for (unsigned i = 1; i < d->member_count && r == 0; i++)
        r = add_whole(p, &d->members[i]);
    if (r == 0)
        r = profile_add_member(p, d->members[0].name, d->members[0].size, &disk);
    ssize_t n = r == 0 ? io_read_some(reads, list, maximum * sizeof(*list), 0) : r;
    r = n < 0 ? (int)n : add_reads(p, disk, list, (size_t)n / sizeof(*list));
    if (r < 0)
        return error_set(error, -r, "its reads make no profile: %s", strerror(-r));
    *ret = TAKE_PTR(p);
    return 0;
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
