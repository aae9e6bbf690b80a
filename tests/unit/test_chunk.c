// Chunks: encoding and decoding, and everything that a stored chunk may not be.
#include "blockstore/chunk.h"

#include <errno.h>
#include <lz4.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned char blocks[PAGE_BYTES_MAXIMUM], stored[PAGE_STORED_MAXIMUM + 1], back[PAGE_BYTES_MAXIMUM];

static void fill_compressible(size_t n)
{
    for (size_t i = 0; i < n; i++)
        blocks[i] = (unsigned char)((unsigned char)"some text that repeats, "[i % 24] + i / 4096 % 7);
}

static void fill_random(size_t from, size_t to)
{
    uint32_t x = 2463534242u; // xorshift (Marsaglia): no two runs of equal bytes worth compressing

    for (size_t i = from; i < to; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        blocks[i] = (unsigned char)(x >> 11);
    }
}

static int decode(enum chunk_kind kind, size_t length, unsigned *ret_nblocks, struct error *error)
{
    // Exactly as long as it says, so that the sanitizer sees a read beyond its end.
    unsigned char *exact = malloc(length);
    assert_non_null(exact);
    memcpy(exact, stored, length);
    struct sha256 name = sha256_of(exact, length);
    int r = chunk_decode(kind, &name, exact, length, back, ret_nblocks, error);
    free(exact);
    return r;
}

static void check_round_trip(enum chunk_kind kind, unsigned nblocks, enum chunk_codec codec)
{
    unsigned decoded = 0;
    size_t length = chunk_encode(kind, CHUNK_LEVEL_DEFAULT, blocks, nblocks, stored);

    assert_int_equal(stored[0], kind);
    assert_int_equal(stored[1], codec);
    assert_int_equal(stored[2], nblocks);
    assert_int_equal(stored[3], 0);
    memset(back, 0xee, sizeof(back));
    assert_int_equal(decode(kind, length, &decoded, NULL), 0);
    assert_int_equal(decoded, nblocks);
    assert_memory_equal(back, blocks, (size_t)nblocks * BLOCK_SIZE);
    if ((size_t)nblocks * BLOCK_SIZE < sizeof(back))
        assert_int_equal(back[(size_t)nblocks * BLOCK_SIZE], 0xee);
}

static void compressible_blocks_come_back(void **state)
{
    (void)state;
    fill_compressible(sizeof(blocks));
    check_round_trip(CHUNK_DATA, 1, CHUNK_LZ4);
    check_round_trip(CHUNK_DATA, 31, CHUNK_LZ4);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, CHUNK_LZ4);
    check_round_trip(CHUNK_PAGE, PAGE_BLOCKS_MAXIMUM, CHUNK_LZ4);
}

static void incompressible_blocks_are_stored_raw(void **state)
{
    (void)state;
    fill_random(0, sizeof(blocks));
    check_round_trip(CHUNK_DATA, 1, CHUNK_RAW);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, CHUNK_RAW);
    check_round_trip(CHUNK_PAGE, PAGE_BLOCKS_MAXIMUM, CHUNK_RAW);
}

static void an_incompressible_beginning_does_not_keep_the_rest_raw(void **state)
{
    (void)state;
    fill_compressible(sizeof(blocks));
    fill_random(0, CHUNK_BLOCKS_MAXIMUM / 2 * BLOCK_SIZE);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, CHUNK_LZ4);
}

static void a_gain_below_three_percent_is_not_taken(void **state)
{
    (void)state;
    fill_random(0, CHUNK_BYTES_MAXIMUM);
    memset(blocks, 0, CHUNK_BYTES_MAXIMUM * 2 / 100);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, CHUNK_RAW);
    memset(blocks, 0, CHUNK_BYTES_MAXIMUM * 4 / 100);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, CHUNK_LZ4);
}

static void encoding_is_deterministic(void **state)
{
    static unsigned char again[CHUNK_STORED_MAXIMUM];
    (void)state;
    fill_compressible(CHUNK_BYTES_MAXIMUM);
    size_t length = chunk_encode(CHUNK_DATA, 9, blocks, 32, stored);
    for (int i = 0; i < 3; i++) {
        chunk_encode(CHUNK_DATA, 9, again, 17, back); // something else in between
        assert_int_equal(chunk_encode(CHUNK_DATA, 9, blocks, 32, again), length);
        assert_memory_equal(again, stored, length);
    }
}

static void a_changed_byte_is_refused_before_decoding(void **state)
{
    unsigned nblocks = 77;
    struct error error;
    (void)state;
    fill_compressible(2 * BLOCK_SIZE);
    size_t length = chunk_encode(CHUNK_DATA, 9, blocks, 2, stored);
    struct sha256 name = sha256_of(stored, length);
    memset(back, 0xee, sizeof(back));
    for (size_t i = 0; i < length; i++) {
        stored[i] ^= 0x20;
        error.text[0] = '\0';
        assert_int_equal(chunk_decode(CHUNK_DATA, &name, stored, length, back, &nblocks, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "do not match its name"));
        stored[i] ^= 0x20;
    }
    assert_int_equal(chunk_decode(CHUNK_DATA, &name, stored, length - 1, back, &nblocks, NULL), -EBADMSG);
    assert_int_equal(nblocks, 77);
    assert_int_equal(back[0], 0xee);
    assert_int_equal(chunk_decode(CHUNK_DATA, &name, stored, length, back, &nblocks, NULL), 0);
}

static void headers_outside_the_format_are_refused(void **state)
{
    static const struct {
        unsigned char header[4];
        enum chunk_kind wanted;
        size_t length;
        const char *message;
    } cases[] = {
        {{1, 0, 1, 0}, CHUNK_DATA, 0, "too short"},
        {{1, 0, 1, 0}, CHUNK_DATA, 3, "too short"},
        {{1, 1, 1, 0}, CHUNK_DATA, 4, "too short"},
        {{0, 0, 1, 0}, CHUNK_DATA, 4100, "kind 0"},
        {{2, 0, 1, 0}, CHUNK_DATA, 4100, "kind 2"},
        {{1, 0, 1, 0}, CHUNK_PAGE, 4100, "kind 1"},
        {{255, 0, 1, 0}, CHUNK_PAGE, 4100, "kind 255"},
        {{1, 0, 0, 0}, CHUNK_DATA, 5, "0 blocks"},
        {{1, 0, 33, 0}, CHUNK_DATA, 4 + 33 * 4096, "33 blocks"},
        {{2, 0, 129, 0}, CHUNK_PAGE, 4 + 129 * 4096, "129 blocks"},
        {{1, 0, 255, 0}, CHUNK_DATA, 4 + 255 * 4096, "255 blocks"},
        {{1, 0, 1, 1}, CHUNK_DATA, 4100, "header is not one of version 1"},
        {{1, 2, 1, 0}, CHUNK_DATA, 4100, "unknown codec 2"},
        {{1, 255, 1, 0}, CHUNK_DATA, 4100, "unknown codec 255"},
        {{1, 0, 1, 0}, CHUNK_DATA, 4099, "raw chunk of 1 blocks has 4099 bytes"},
        {{1, 0, 1, 0}, CHUNK_DATA, 4101, "raw chunk of 1 blocks has 4101 bytes"},
        {{1, 0, 2, 0}, CHUNK_DATA, 4100, "raw chunk of 2 blocks"},
        {{1, 1, 1, 0}, CHUNK_DATA, 4100, "compressed chunk of 1 blocks has 4100 bytes"},
        {{1, 1, 1, 0}, CHUNK_DATA, (size_t)UINT32_MAX + 5, "compressed chunk of 1 blocks"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned nblocks = 77;
        struct error error = {""};
        int r = chunk_check_header(cases[i].wanted, cases[i].header, cases[i].length, &nblocks, &error);
        if (r != -EBADMSG || !strstr(error.text, cases[i].message) || nblocks != 77)
            fail_msg("case %zu: %d, %u blocks, \"%s\"", i, r, nblocks, error.text);
    }
}

static void bodies_that_decode_to_another_length_are_refused(void **state)
{
    unsigned nblocks;
    struct error error = {""};
    (void)state;
    fill_compressible(4 * BLOCK_SIZE);
    for (unsigned real = 1; real <= 4; real++) {
        for (unsigned claimed = 1; claimed <= 4; claimed++) {
            size_t length = chunk_encode(CHUNK_DATA, 9, blocks, real, stored);
            stored[2] = (unsigned char)claimed;
            assert_int_equal(decode(CHUNK_DATA, length, &nblocks, &error), real == claimed ? 0 : -EBADMSG);
        }
    }
    assert_non_null(strstr(error.text, "does not decompress"));
}

static void garbage_that_hashes_right_is_refused(void **state)
{
    unsigned nblocks;
    (void)state;
    fill_random(0, BLOCK_SIZE);
    for (size_t length = 5; length < 600; length++) {
        memcpy(stored, (unsigned char[]){CHUNK_DATA, CHUNK_LZ4, 32, 0}, 4);
        memcpy(stored + 4, blocks + length, length - 4);
        assert_int_equal(decode(CHUNK_DATA, length, &nblocks, NULL), -EBADMSG);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compressible_blocks_come_back),
        cmocka_unit_test(incompressible_blocks_are_stored_raw),
        cmocka_unit_test(an_incompressible_beginning_does_not_keep_the_rest_raw),
        cmocka_unit_test(a_gain_below_three_percent_is_not_taken),
        cmocka_unit_test(encoding_is_deterministic),
        cmocka_unit_test(a_changed_byte_is_refused_before_decoding),
        cmocka_unit_test(headers_outside_the_format_are_refused),
        cmocka_unit_test(bodies_that_decode_to_another_length_are_refused),
        cmocka_unit_test(garbage_that_hashes_right_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
