// Fuzz target: a boot profile. One that is accepted is within its limits, has no block twice, and what is written from
// it reads back as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "blockstore/profile.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(int promise)
{
    if (!promise)
        abort();
}

static void check_reads(const struct profile *p)
{
    uint64_t blocks = 0;

    check(p->member_count >= 1 && p->member_count <= PROFILE_MEMBERS_MAXIMUM);
    check(p->read_count >= 1 && p->read_count <= PROFILE_READS_MAXIMUM);
    for (size_t i = 0; i < p->read_count; i++) {
        const struct profile_read *a = &p->reads[i];
        check(a->member < p->member_count && a->blocks > 0);
        check(a->first + a->blocks <= map_blocks(p->members[a->member].size));
        blocks += a->blocks;
        for (size_t j = i; i < 100 && j-- > 0;) {
            const struct profile_read *b = &p->reads[j];
            check(a->member != b->member || a->first >= b->first + b->blocks || b->first >= a->first + a->blocks);
        }
    }
    check(blocks == p->block_count && blocks <= PROFILE_BLOCKS_MAXIMUM);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PROFILE_TEXT_MAXIMUM);
    struct profile *p CLEANUP(cleanup_profile) = NULL, *back CLEANUP(cleanup_profile) = NULL;
    struct error error = {""};

    if (profile_parse(data, size, &p, &error) < 0) {
        check(error.text[0] != '\0' && text_is_printable(slice_of(error.text)));
        return 0;
    }
    check_reads(p);
    check(profile_format(p, &text) == 0);
    check(profile_parse(text.data, text.size, &back, NULL) == 0);
    check(back->read_count == p->read_count && back->member_count == p->member_count);
    check(memcmp(back->reads, p->reads, p->read_count * sizeof(*p->reads)) == 0);
    return 0;
}
