// Packs: the table and trailer come back as they were written, and nothing else is taken for one.
#include "blockstore/pack.h"

#include "base/cursor.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Three chunks: data of 2 blocks (raw), a page of 1, data of 32 (compressed to 100 bytes).
static const struct {
    unsigned char header[4];
    uint32_t length;
} chunks[] = {{{1, 0, 2, 0}, 8196}, {{2, 0, 1, 0}, 4100}, {{1, 1, 32, 0}, 100}};
#define CHUNKS 3
#define TABLE_OFFSET (8 + 8196 + 4100 + 100)
#define TABLE_LENGTH (CHUNKS * 44 + (2 + 32) * 32)
#define PACK_SIZE (TABLE_OFFSET + TABLE_LENGTH + 56)

static struct pack_table table;
static struct sha256 table_hash;

static struct sha256 hash_of_number(unsigned n)
{
    return sha256_of(&n, sizeof(n));
}

static int set_up(void **state)
{
    struct sha256 hashes[32];
    uint32_t offset = PACK_MAGIC_SIZE;
    (void)state;

    table = (struct pack_table){.bytes = BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM)};
    for (unsigned i = 0; i < CHUNKS; i++) {
        struct sha256 name = hash_of_number(i);
        for (unsigned j = 0; j < 32; j++)
            hashes[j] = hash_of_number(100 * (i + 1) + j);
        assert_int_equal(pack_table_add(&table, &name, offset, chunks[i].header, chunks[i].length, hashes), 0);
        offset += chunks[i].length;
    }
    assert_int_equal(offset, TABLE_OFFSET);
    assert_int_equal(pack_table_finish(&table, offset, &table_hash), 0);
    assert_int_equal(table.bytes.size, TABLE_LENGTH + 56);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_free(&table.bytes);
    return 0;
}

static unsigned char *trailer_bytes(void)
{
    return table.bytes.data + TABLE_LENGTH;
}

static struct pack_trailer trailer(void)
{
    struct pack_trailer t;
    assert_int_equal(pack_parse_trailer(trailer_bytes(), PACK_TRAILER_SIZE, PACK_SIZE, &t, NULL), 0);
    return t;
}

static void the_trailer_locates_the_table(void **state)
{
    struct pack_trailer t = trailer();
    (void)state;
    assert_int_equal(t.table_offset, TABLE_OFFSET);
    assert_int_equal(t.table_length, TABLE_LENGTH);
    assert_int_equal(t.chunk_count, CHUNKS);
    struct sha256 hash = sha256_of(table.bytes.data, TABLE_LENGTH);
    assert_true(sha256_equal(&hash, &t.table));
    assert_true(sha256_equal(&hash, &table_hash));
}

static void malformed_trailers_are_refused(void **state)
{
    static const struct {
        unsigned at;
        uint32_t value;
        const char *message;
    } cases[] = {
        {0, TABLE_OFFSET - 1, "contradicts its size"},
        {0, TABLE_OFFSET + 1, "contradicts its size"},
        {0, 0, "contradicts its size"},
        {0, UINT32_MAX, "contradicts its size"},
        {4, TABLE_LENGTH - 1, "contradicts its size"},
        {4, TABLE_LENGTH + 1, "contradicts its size"},
        {4, UINT32_MAX, "contradicts its size"},
        {8, 0, "contradicts its size"},
        {8, UINT32_MAX, "contradicts its size"},
        {8, TABLE_LENGTH / 44 + 1, "contradicts its size"},
        {12, 1, "contradicts its size"},
        {48, 0x4f444e52, "does not end as a pack"},
        {52, 0, "does not end as a pack"},
    };
    unsigned char bytes[PACK_TRAILER_SIZE + 1];
    struct pack_trailer t;
    struct error error;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        memcpy(bytes, trailer_bytes(), PACK_TRAILER_SIZE);
        put_le32(bytes + cases[i].at, cases[i].value);
        error.text[0] = '\0';
        int r = pack_parse_trailer(bytes, PACK_TRAILER_SIZE, PACK_SIZE, &t, &error);
        if (r != -EBADMSG || !strstr(error.text, cases[i].message))
            fail_msg("case %zu: %d \"%s\"", i, r, error.text);
    }
    memcpy(bytes, trailer_bytes(), PACK_TRAILER_SIZE);
    for (size_t n = 0; n <= sizeof(bytes); n++)
        assert_int_equal(pack_parse_trailer(bytes, n, PACK_SIZE, &t, NULL), n == PACK_TRAILER_SIZE ? 0 : -EBADMSG);
    assert_int_equal(pack_parse_trailer(bytes, PACK_TRAILER_SIZE, PACK_SIZE + 1, &t, NULL), -EBADMSG);
    assert_int_equal(pack_parse_trailer(bytes, PACK_TRAILER_SIZE, 0, &t, NULL), -EBADMSG);
    put_le32(bytes, PACK_SIZE_MAXIMUM - TABLE_LENGTH - 56 + 1);
    assert_int_equal(pack_parse_trailer(bytes, PACK_TRAILER_SIZE, PACK_SIZE_MAXIMUM + 1, &t, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "larger than any"));
}

struct walk {
    unsigned count, stop_at;
};

static int check_entry(void *context, const struct pack_entry *e)
{
    struct walk *walk = context;
    unsigned i = walk->count++;
    struct sha256 name = hash_of_number(i);
    assert_true(sha256_equal(&e->name, &name));
    assert_int_equal(e->length, chunks[i].length);
    assert_int_equal(e->kind, chunks[i].header[0]);
    assert_int_equal(e->nblocks, chunks[i].header[2]);
    if (e->kind == CHUNK_PAGE)
        assert_null(e->block_hashes);
    for (unsigned j = 0; e->block_hashes && j < e->nblocks; j++) {
        struct sha256 hash = hash_of_number(100 * (i + 1) + j);
        assert_memory_equal(e->block_hashes + (size_t)j * 32, hash.bytes, 32);
    }
    return walk->count == walk->stop_at ? -ECANCELED : 0;
}

static int count_entry(void *context, const struct pack_entry *e)
{
    (void)e;
    ++*(unsigned *)context;
    return 0;
}

static void entries_come_back_in_order(void **state)
{
    struct pack_trailer t = trailer();
    struct walk walk = {0, 0};
    (void)state;
    assert_int_equal(pack_walk_table(table.bytes.data, TABLE_LENGTH, &t, check_entry, &walk, NULL), 0);
    assert_int_equal(walk.count, CHUNKS);
}

static void a_walk_ends_where_its_caller_says(void **state)
{
    struct pack_trailer t = trailer();
    struct walk walk = {0, 2};
    (void)state;
    assert_int_equal(pack_walk_table(table.bytes.data, TABLE_LENGTH, &t, check_entry, &walk, NULL), -ECANCELED);
    assert_int_equal(walk.count, 2);
}

static void malformed_tables_give_no_entry_at_all(void **state)
{
    const unsigned second = 44 + 2 * 32, third = second + 44;
    const struct {
        unsigned at;
        uint32_t value;
    } cases[] = {
        {32, 7},    // begins inside the magic
        {32, 9},    // leaves a gap
        {36, 8195}, // length and header do not belong together
        {36, 0},
        {36, UINT32_MAX},
        {40, 0x00020003},            // kind 3
        {40, 0x00020301},            // codec 3
        {40, 0x00030001},            // 3 blocks
        {40, 0x01020001},            // reserved byte
        {second + 32, 8 + 8196 - 1}, // overlaps the one before
        {second + 32, 8 + 8196 + 1},
        {second + 40, 0x00010001}, // a page that calls itself data: hashes are missing
        {third + 32, UINT32_MAX},
        {third + 36, 99}, // the table does not begin where the last chunk ends
        {third + 36, 101},
        {third + 36, UINT32_MAX},
        {third + 40, 0x00210101}, // 33 blocks
        {third + 40, 0x001f0101}, // 31 blocks: a hash too many
    };
    struct pack_trailer t = trailer();
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned char *bytes = malloc(TABLE_LENGTH);
        unsigned count = 0;
        assert_non_null(bytes);
        memcpy(bytes, table.bytes.data, TABLE_LENGTH);
        put_le32(bytes + cases[i].at, cases[i].value);
        int r = pack_walk_table(bytes, TABLE_LENGTH, &t, count_entry, &count, NULL);
        if (r != -EBADMSG || count != 0)
            fail_msg("case %zu: %d, %u entries", i, r, count);
        free(bytes);
    }
}

static void counts_and_lengths_must_agree(void **state)
{
    struct pack_trailer t = trailer();
    unsigned count = 0;
    (void)state;
    assert_int_equal(pack_walk_table(table.bytes.data, TABLE_LENGTH - 1, &t, count_entry, &count, NULL), -EBADMSG);
    t.chunk_count = CHUNKS - 1;
    assert_int_equal(pack_walk_table(table.bytes.data, TABLE_LENGTH, &t, count_entry, &count, NULL), -EBADMSG);
    t.chunk_count = CHUNKS + 1;
    assert_int_equal(pack_walk_table(table.bytes.data, TABLE_LENGTH, &t, count_entry, &count, NULL), -EBADMSG);
    t = trailer();
    t.table_offset++;
    assert_int_equal(pack_walk_table(table.bytes.data, TABLE_LENGTH, &t, count_entry, &count, NULL), -EBADMSG);
    assert_int_equal(count, 0);
}

static void every_flipped_bit_is_refused_or_stays_in_bounds(void **state)
{
    struct pack_trailer t = trailer();
    (void)state;
    for (size_t i = 0; i < TABLE_LENGTH; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            unsigned count = 0;
            table.bytes.data[i] ^= (unsigned char)(1u << bit);
            int r = pack_walk_table(table.bytes.data, TABLE_LENGTH, &t, count_entry, &count, NULL);
            assert_true((r == 0 && count == CHUNKS) || (r == -EBADMSG && count == 0));
            table.bytes.data[i] ^= (unsigned char)(1u << bit);
        }
    }
}

static void a_table_stays_within_its_maximum(void **state)
{
    struct pack_table small = {.bytes = BUF_WITH_MAXIMUM(100)};
    struct sha256 name = hash_of_number(1), hashes[2] = {hash_of_number(2), hash_of_number(3)};
    (void)state;
    assert_int_equal(pack_table_add(&small, &name, 8, chunks[0].header, 8196, hashes), -E2BIG);
    assert_int_equal(small.chunk_count, 0);
    assert_int_equal(pack_table_add(&small, &name, 8, chunks[1].header, 4100, NULL), 0);
    assert_int_equal(pack_table_finish(&small, 4108, &name), 0);
    buf_free(&small.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_trailer_locates_the_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_trailers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(entries_come_back_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_walk_ends_where_its_caller_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_tables_give_no_entry_at_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_and_lengths_must_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_refused_or_stays_in_bounds, set_up, tear_down),
        cmocka_unit_test(a_table_stays_within_its_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
