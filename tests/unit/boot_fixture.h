// What the tests of boots share: whether all that a boot reads can be read from its packs alone.
#pragma once

#include "writer_fixture.h"

static inline int boot_number(const struct manifest *m, const struct sha256 *pack)
{
    for (unsigned i = 0; i < m->boot_count; i++)
        if (sha256_equal(&m->boot[i].pack, pack))
            return (int)i;
    return -1;
}

// Walks down to the block: every pack on the way is a boot pack, and each lies before the one below it.
static inline void assert_block_is_in_boot(const struct publication *p, unsigned member, uint64_t block)
{
    static struct comparison c;
    const struct manifest_member *m = &p->manifest.members[member];
    unsigned char *bytes = malloc(PAGE_BYTES_MAXIMUM);
    struct chunk_reference ref = m->top;
    struct map_page page;
    int number = -1;

    assert_non_null(bytes);
    c = (struct comparison){.site = p->site};
    for (unsigned level = map_levels(m->size); !m->zero && level-- > 0;) {
        int own = boot_number(&p->manifest, &ref.pack.name);
        if (own <= number)
            fail_msg("member %u, block %llu: the page of level %u is in boot pack %d", member,
                     (unsigned long long)block, level, own);
        number = own;
        unsigned n = read_chunk(&c, CHUNK_PAGE, &ref, bytes);
        assert_int_equal(map_page_parse(bytes, (size_t)n * BLOCK_SIZE, level, &page, NULL), 0);
        if (level > 0) {
            uint64_t child = block / map_child_blocks(level) % MAP_FANOUT;
            if (!map_page_reference(&page, (unsigned)child, &ref))
                break;
            continue;
        }
        struct map_run run = map_leaf_find(&page, (unsigned)(block % MAP_LEAF_BLOCKS));
        if (run.zero)
            break;
        assert_true(map_page_reference(&page, run.reference, &ref));
        if (boot_number(&p->manifest, &ref.pack.name) <= number)
            fail_msg("member %u, block %llu is in boot pack %d", member, (unsigned long long)block,
                     boot_number(&p->manifest, &ref.pack.name));
    }
    free(bytes);
}

static inline void assert_boot_is_whole(const struct publication *p)
{
    for (size_t i = 0; i < p->boot->read_count; i++)
        for (uint32_t k = 0; k < p->boot->reads[i].blocks; k++)
            assert_block_is_in_boot(p, p->boot->reads[i].member, p->boot->reads[i].first + k);
}
