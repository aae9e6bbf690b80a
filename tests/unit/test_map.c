// Map pages: what is built is found again, and a page that breaks a rule of the format is refused.
#include "blockstore/map.h"

#include "base/cursor.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned char page[PAGE_BYTES_MAXIMUM];
static struct map_extent extents[MAP_LEAF_BLOCKS];
static uint32_t seed;

static uint32_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static struct sha256 hash_of_number(uint64_t n)
{
    return sha256_of(&n, sizeof(n));
}

// Chunk n lies in pack n / 100.
static int find_chunk(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    (void)context;
    *ret = (struct chunk_reference){.name = hash_of_number(chunk),
                                    .pack = {.name = hash_of_number(1000000 + chunk / 100),
                                             .size = 8u << 20,
                                             .table = hash_of_number(2000000 + chunk / 100)},
                                    .offset = 8 + (uint32_t)(chunk % 100) * 1000,
                                    .length = 1000};
    return 0;
}

static int find_nothing(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    (void)context, (void)chunk, (void)ret;
    return -EAGAIN;
}

static unsigned make_random_extents(unsigned chunks)
{
    unsigned n = 0;

    for (unsigned block = next_random() % 3; block < MAP_LEAF_BLOCKS;) {
        unsigned in_chunk = next_random() % 32, blocks = 1 + next_random() % (32 - in_chunk);
        if (block + blocks > MAP_LEAF_BLOCKS)
            break;
        extents[n++] = (struct map_extent){block, (uint16_t)blocks, (uint8_t)in_chunk, next_random() % chunks};
        block += blocks + (next_random() % 2 ? next_random() % 60 : 0);
    }
    return n;
}

static void levels_follow_from_the_size(void **state)
{
    static const struct {
        uint64_t size;
        unsigned levels;
    } cases[] = {{0, 1},
                 {1, 1},
                 {128ull << 20, 1},
                 {(128ull << 20) + 1, 2},
                 {128ull << 30, 2},
                 {(128ull << 30) + 1, 3},
                 {1ull << 40, 3},
                 {MEMBER_SIZE_MAXIMUM, 3},
                 {UINT64_MAX, 3}}; // no member's: as many as there may be
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(map_levels(cases[i].size), cases[i].levels);
    assert_int_equal(map_child_blocks(1), 32768);
    assert_int_equal(map_child_blocks(2), 32768ull * 1024);
}

static void every_block_is_found_where_it_was_put(void **state)
{
    (void)state;
    for (seed = 1; seed <= 20; seed++) {
        uint32_t kept = seed;
        unsigned n = make_random_extents(500);
        seed = kept;
        struct map_page leaf;
        size_t size;
        assert_int_equal(map_leaf_build(extents, n, find_chunk, NULL, page, &size), 0);
        assert_int_equal(size % BLOCK_SIZE, 0);
        assert_int_equal(map_page_parse(page, size, 0, &leaf, NULL), 0);
        assert_int_equal(leaf.extents, n);
        unsigned i = 0;
        for (unsigned block = 0; block < MAP_LEAF_BLOCKS; block++) {
            while (i < n && extents[i].first + extents[i].blocks <= block)
                i++;
            struct map_run run = map_leaf_find(&leaf, block);
            if (i == n || extents[i].first > block) {
                assert_true(run.zero);
                assert_int_equal(run.blocks, (i == n ? MAP_LEAF_BLOCKS : extents[i].first) - block);
                continue;
            }
            struct chunk_reference found, wanted;
            assert_false(run.zero);
            assert_int_equal(run.blocks, extents[i].first + extents[i].blocks - block);
            assert_int_equal(run.block_in_chunk, extents[i].block_in_chunk + block - extents[i].first);
            assert_true(map_page_reference(&leaf, run.reference, &found));
            find_chunk(NULL, extents[i].chunk, &wanted);
            assert_memory_equal(&found, &wanted, sizeof(found));
        }
    }
}

static void an_empty_leaf_is_all_zeros(void **state)
{
    struct map_page leaf;
    size_t size;
    (void)state;
    assert_int_equal(map_leaf_build(NULL, 0, find_chunk, NULL, page, &size), 0);
    assert_int_equal(size, BLOCK_SIZE);
    assert_int_equal(map_page_parse(page, size, 0, &leaf, NULL), 0);
    struct map_run run = map_leaf_find(&leaf, 5);
    assert_true(run.zero);
    assert_int_equal(run.blocks, MAP_LEAF_BLOCKS - 5);
}

static void equal_extents_give_equal_pages(void **state)
{
    static unsigned char again[PAGE_BYTES_MAXIMUM];
    size_t size, size_again;
    (void)state;
    seed = 7;
    unsigned n = make_random_extents(300);
    assert_int_equal(map_leaf_build(extents, n, find_chunk, NULL, page, &size), 0);
    memset(again, 0xff, sizeof(again));
    assert_int_equal(map_leaf_build(extents, n, find_chunk, NULL, again, &size_again), 0);
    assert_int_equal(size, size_again);
    assert_memory_equal(page, again, size);
}

// Of n single blocks in n chunks, spread over packs of 100: 8 + 68 * ceil(n / 100) + 49 * n bytes.
static int build_scattered(unsigned n, size_t *ret_size)
{
    for (unsigned i = 0; i < n; i++)
        extents[i] = (struct map_extent){.first = 2 * i, .blocks = 1, .chunk = i};
    return map_leaf_build(extents, n, find_chunk, NULL, page, ret_size);
}

static void a_leaf_that_would_overflow_is_refused(void **state)
{
    const unsigned fits = 10552; // 8 + 68 * 106 + 49 * 10552 = 524264 ≤ 524288
    struct map_page leaf;
    size_t size = 1;
    (void)state;
    assert_int_equal(build_scattered(fits, &size), 0);
    assert_int_equal(size, PAGE_BYTES_MAXIMUM);
    assert_int_equal(map_page_parse(page, size, 0, &leaf, NULL), 0);
    size = 1;
    assert_int_equal(build_scattered(fits + 1, &size), -E2BIG);
    assert_int_equal(build_scattered(16384, &size), -E2BIG);
    assert_int_equal(size, 1);
}

// Chunk n lies in pack n, alone.
static int find_alone(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    int r = find_chunk(context, chunk, ret);
    ret->pack.name = hash_of_number(chunk);
    return r;
}

static void a_page_may_end_where_a_block_ends(void **state)
{
    struct map_page leaf;
    size_t size = 0;
    (void)state;
    for (unsigned n = 7; n < 600; n++) { // one of these is whole: 8 + 68 * 7 + 42 * 7 + 7 * 474 = 4096
        for (unsigned i = 0; i < n; i++)
            extents[i] = (struct map_extent){i * 2, 1, 0, i % 7};
        assert_int_equal(map_leaf_build(extents, n, find_alone, NULL, page, &size), 0);
        assert_int_equal(map_page_parse(page, size, 0, &leaf, NULL), 0);
        assert_int_equal(leaf.extents, n);
    }
}

// More packs than a page has room for, more extents than it can count, and two chunks that meet in the builder's table.
static void a_page_that_cannot_be_is_not_built(void **state)
{
    const unsigned packs = PAGE_BYTES_MAXIMUM / MAP_PACK_SIZE + 1;
    static struct chunk_reference children[PAGE_BYTES_MAXIMUM / MAP_PACK_SIZE + 1];
    static struct map_extent many[65536];
    struct map_page leaf;
    size_t size = 1;
    uint64_t other = 1;
    (void)state;
    for (unsigned i = 0; i < packs; i++)
        find_alone(NULL, i, &children[i]);
    assert_int_equal(map_index_build(1, children, packs, page, &size), -E2BIG);
    assert_int_equal(map_leaf_build(many, 65536, find_alone, NULL, page, &size), -E2BIG);
    assert_int_equal(size, 1);
    while ((other * 0x9e3779b97f4a7c15ull) >> 49 != 0) // the slot of chunk 0
        other++;
    extents[0] = (struct map_extent){0, 1, 0, 0};
    extents[1] = (struct map_extent){1, 1, 0, other};
    assert_int_equal(map_leaf_build(extents, 2, find_alone, NULL, page, &size), 0);
    assert_int_equal(map_page_parse(page, size, 0, &leaf, NULL), 0);
    assert_int_equal(leaf.references, 2);
}

static void a_chunk_without_reference_fails_the_build(void **state)
{
    size_t size = 1;
    (void)state;
    seed = 3;
    unsigned n = make_random_extents(30);
    assert_int_equal(map_leaf_build(extents, n, find_nothing, NULL, page, &size), -EAGAIN);
    assert_int_equal(size, 1);
}

static void an_index_has_children_and_zeros(void **state)
{
    static struct chunk_reference children[MAP_FANOUT + 1];
    struct chunk_reference found;
    struct map_page index;
    size_t size;
    (void)state;
    for (unsigned level = 1; level <= 2; level++) {
        for (unsigned i = 0; i < MAP_FANOUT; i++) {
            find_chunk(NULL, i * 1000, &children[i]);
            if (i % 3 == 1)
                children[i] = (struct chunk_reference){.length = 0};
        }
        assert_int_equal(map_index_build(level, children, MAP_FANOUT, page, &size), 0);
        assert_int_equal(map_page_parse(page, size, level, &index, NULL), 0);
        assert_int_equal(index.references, MAP_FANOUT);
        for (unsigned i = 0; i < MAP_FANOUT; i++) {
            assert_int_equal(map_page_reference(&index, i, &found), i % 3 != 1);
            if (i % 3 != 1)
                assert_memory_equal(&found, &children[i], sizeof(found));
        }
        assert_int_equal(map_page_parse(page, size, level - 1, &index, NULL), -EBADMSG);
        assert_int_equal(map_page_parse(page, size, 3 - level, &index, NULL), -EBADMSG);
    }
}

// A small sound page to damage: 2 packs, 3 references, 4 extents (leaf) or none (index).
static size_t build_small(unsigned level)
{
    static const struct map_extent four[] = {{0, 5, 0, 1}, {5, 1, 31, 102}, {100, 32, 0, 103}, {32767, 1, 7, 1}};
    struct chunk_reference children[3];
    size_t size;

    if (level == 0) {
        assert_int_equal(map_leaf_build(four, 4, find_chunk, NULL, page, &size), 0);
        return size;
    }
    find_chunk(NULL, 1, &children[0]);
    find_chunk(NULL, 102, &children[1]);
    find_chunk(NULL, 103, &children[2]);
    assert_int_equal(map_index_build(level, children, 3, page, &size), 0);
    return size;
}

#define PACKS 8u
#define REFERENCES (PACKS + 2 * 68)
#define EXTENTS (REFERENCES + 3 * 42)
#define END (EXTENTS + 4 * 7)

static void pages_that_break_a_rule_are_refused(void **state)
{
    static const struct {
        unsigned level, at, bytes;
        uint32_t value;
        const char *message;
    } cases[] = {
        {0, 0, 1, 0, "type 0"},
        {0, 0, 1, 2, "type 2"},
        {0, 0, 1, 3, "type 3"},
        {0, 1, 1, 1, "level 1"},
        {1, 0, 1, 1, "type 1"},
        {1, 1, 1, 0, "level 0"},
        {1, 1, 1, 2, "level 2"},
        {1, 1, 1, 255, "level 255"},
        {0, 2, 2, 1, "contradict"},          // packs
        {0, 2, 2, 3, "outside of its pack"}, // what follows shifts
        {0, 2, 2, 65535, "contradict"},
        {0, 4, 2, 0, "contradict"}, // references
        {0, 4, 2, 65535, "contradict"},
        {0, 6, 2, 3, "contradict"},   // extents: what follows is not zero
        {0, 6, 2, 5, "out of order"}, // a fifth one of zeros
        {0, 6, 2, 65535, "contradict"},
        {1, 6, 2, 1, "extents"},
        {1, 4, 2, 1025, "children"},
        {0, END, 1, 1, "contradict"}, // the rest is zeros
        {0, 4095, 1, 1, "contradict"},
        {0, PACKS + 32, 4, (64u << 20) + 1, "larger than any"},
        {0, PACKS + 32, 4, 0, "outside of its pack"},
        {0, PACKS + 32, 4, 8 + 1000 + 1000 + 99, "outside of its pack"},
        {0, REFERENCES + 32, 2, 2, "outside of its pack"}, // pack number
        {0, REFERENCES + 32, 2, 65535, "outside of its pack"},
        {0, REFERENCES + 34, 4, 7, "outside of its pack"}, // offset
        {0, REFERENCES + 34, 4, UINT32_MAX, "outside of its pack"},
        {0, REFERENCES + 34, 4, (8u << 20) - 1099, "outside of its pack"},
        {0, REFERENCES + 38, 4, 0, "outside of its pack"}, // length
        {0, REFERENCES + 38, 4, 4, "outside of its pack"},
        {0, REFERENCES + 38, 4, CHUNK_STORED_MAXIMUM + 1, "outside of its pack"},
        {1, REFERENCES + 38, 4, PAGE_STORED_MAXIMUM + 1, "outside of its pack"},
        {1, REFERENCES + 38, 4, 0, "outside of its pack"}, // not all of it is zero
        {1, REFERENCES + 42 + 38, 4, UINT32_MAX, "outside of its pack"},
        {0, EXTENTS + 2, 2, 0, "extents"},  // no blocks
        {0, EXTENTS + 2, 2, 6, "extents"},  // overlaps the next
        {0, EXTENTS + 4, 1, 28, "extents"}, // leaves its chunk
        {0, EXTENTS + 4, 1, 255, "extents"},
        {0, EXTENTS + 5, 2, 3, "extents"}, // reference number
        {0, EXTENTS + 5, 2, 65535, "extents"},
        {0, EXTENTS + 7, 2, 4, "extents"}, // out of order
        {0, EXTENTS + 14 + 2, 2, 33, "extents"},
        {0, EXTENTS + 21, 2, 32768, "extents"}, // beyond the segment
        {0, EXTENTS + 21, 2, 65535, "extents"},
        {0, EXTENTS + 21 + 2, 2, 2, "extents"},
    };
    struct map_page parsed;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct error error = {""};
        size_t size = build_small(cases[i].level);
        unsigned char value[4];
        put_le32(value, cases[i].value);
        memcpy(page + cases[i].at, value, cases[i].bytes);
        int r = map_page_parse(page, size, cases[i].level, &parsed, &error);
        if (r != -EBADMSG || !strstr(error.text, cases[i].message))
            fail_msg("case %zu: %d \"%s\"", i, r, error.text);
    }
}

static void sizes_that_no_page_has_are_refused(void **state)
{
    struct map_page parsed;
    (void)state;
    size_t size = build_small(0);
    assert_int_equal(size, 4096);
    memset(page + size, 0, sizeof(page) - size);
    for (size_t n = 0; n <= 3 * 4096; n++)
        assert_int_equal(map_page_parse(page, n, 0, &parsed, NULL), n == 4096 ? 0 : -EBADMSG);
    assert_int_equal(map_page_parse(page, PAGE_BYTES_MAXIMUM, 0, &parsed, NULL), -EBADMSG);
    assert_int_equal(map_page_parse(page, PAGE_BYTES_MAXIMUM + 4096, 0, &parsed, NULL), -EBADMSG); // it is not read
    assert_int_equal(map_page_parse(page, size, MAP_LEVELS_MAXIMUM, &parsed, NULL), -EBADMSG);
}

static void a_damaged_page_is_refused_or_stays_in_bounds(void **state)
{
    (void)state;
    seed = 99;
    for (unsigned i = 0; i < 200000; i++) {
        unsigned level = i % 2;
        unsigned char *exact = malloc(4096);
        struct map_page parsed;
        assert_non_null(exact);
        if (i % 64 < 2)
            build_small(level);
        memcpy(exact, page, 4096);
        for (unsigned j = next_random() % 4; j > 0; j--)
            exact[next_random() % (END + 4)] = (unsigned char)next_random();
        if (i % 64 < 62 && map_page_parse(exact, 4096, exact[1] % 3, &parsed, NULL) == 0) {
            struct chunk_reference ref;
            for (unsigned j = 0; j < parsed.references; j++)
                if (map_page_reference(&parsed, j, &ref))
                    assert_true((uint64_t)ref.offset + ref.length <= ref.pack.size);
            for (unsigned j = 0; parsed.level == 0 && j < 64; j++) {
                unsigned block = next_random() % MAP_LEAF_BLOCKS;
                struct map_run run = map_leaf_find(&parsed, block);
                assert_true(run.blocks >= 1 && block + run.blocks <= MAP_LEAF_BLOCKS);
                if (!run.zero)
                    assert_true(run.reference < parsed.references && run.block_in_chunk + run.blocks <= 32);
            }
        }
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_follow_from_the_size),
        cmocka_unit_test(every_block_is_found_where_it_was_put),
        cmocka_unit_test(an_empty_leaf_is_all_zeros),
        cmocka_unit_test(equal_extents_give_equal_pages),
        cmocka_unit_test(a_page_may_end_where_a_block_ends),
        cmocka_unit_test(a_page_that_cannot_be_is_not_built),
        cmocka_unit_test(a_leaf_that_would_overflow_is_refused),
        cmocka_unit_test(a_chunk_without_reference_fails_the_build),
        cmocka_unit_test(an_index_has_children_and_zeros),
        cmocka_unit_test(pages_that_break_a_rule_are_refused),
        cmocka_unit_test(sizes_that_no_page_has_are_refused),
        cmocka_unit_test(a_damaged_page_is_refused_or_stays_in_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
