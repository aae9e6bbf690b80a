// Chunks: encoding and decoding, and everything that a stored chunk may not be.
#include "blockstore/chunk.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zstd.h>

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

// Words in an order that does not repeat: matches of many lengths and distances, as in real files.
static void fill_text(size_t n, uint32_t seed)
{
    static const char *const words[] = {"the ", "kernel ", "reads ", "a ",   "block ",
                                        "of ",  "0x7f45 ", "lib",    "\n\t", "\0\0\0"};
    uint32_t x = 2463534242u + seed;

    for (size_t i = 0; i < n;) {
        x = x * 1664525u + 1013904223u; // Numerical Recipes
        const char *word = words[(x >> 24) % (sizeof(words) / sizeof(*words))];
        for (size_t k = 0; i < n && (word[k] || k == 0); k++)
            blocks[i++] = (unsigned char)word[k];
        if (i < n)
            blocks[i++] = (unsigned char)(x >> 16);
    }
}

// Encodes `blocks` into `stored` with a new encoder.
static size_t encode(enum chunk_codec codec, int level, enum chunk_kind kind, unsigned nblocks)
{
    struct chunk_encoder *e;
    assert_int_equal(chunk_encoder_new(codec, level, &e), 0);
    int length = chunk_encode(e, kind, blocks, nblocks, stored);
    chunk_encoder_free(e);
    assert_true(length > (int)CHUNK_HEADER_SIZE);
    return (size_t)length;
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

static void check_round_trip_at(enum chunk_codec codec, int level, enum chunk_kind kind, unsigned nblocks,
                                bool compressed)
{
    unsigned decoded = 0;
    size_t length = encode(codec, level, kind, nblocks);

    assert_int_equal(stored[0], kind);
    assert_int_equal(stored[1], compressed ? codec : CHUNK_RAW);
    assert_int_equal(stored[2], nblocks);
    assert_int_equal(stored[3], 0);
    memset(back, 0xee, sizeof(back));
    assert_int_equal(decode(kind, length, &decoded, NULL), 0);
    assert_int_equal(decoded, nblocks);
    assert_memory_equal(back, blocks, (size_t)nblocks * BLOCK_SIZE);
    if ((size_t)nblocks * BLOCK_SIZE < sizeof(back))
        assert_int_equal(back[(size_t)nblocks * BLOCK_SIZE], 0xee);
}

static void check_round_trip(enum chunk_kind kind, unsigned nblocks, bool compressed)
{
    check_round_trip_at(CHUNK_ZSTD, CHUNK_LEVEL_DEFAULT, kind, nblocks, compressed);
    check_round_trip_at(CHUNK_LZ4, CHUNK_LEVEL_DEFAULT, kind, nblocks, compressed);
}

static void compressible_blocks_come_back(void **state)
{
    (void)state;
    fill_compressible(sizeof(blocks));
    check_round_trip(CHUNK_DATA, 1, true);
    check_round_trip(CHUNK_DATA, 31, true);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, true);
    check_round_trip(CHUNK_PAGE, PAGE_BLOCKS_MAXIMUM, true);
}

static void incompressible_blocks_are_stored_raw(void **state)
{
    (void)state;
    fill_random(0, sizeof(blocks));
    check_round_trip(CHUNK_DATA, 1, false);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, false);
    check_round_trip(CHUNK_PAGE, PAGE_BLOCKS_MAXIMUM, false);
}

static void an_incompressible_beginning_does_not_keep_the_rest_raw(void **state)
{
    (void)state;
    fill_compressible(sizeof(blocks));
    fill_random(0, CHUNK_BLOCKS_MAXIMUM / 2 * BLOCK_SIZE);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, true);
}

static void a_gain_below_three_percent_is_not_taken(void **state)
{
    (void)state;
    fill_random(0, CHUNK_BYTES_MAXIMUM);
    memset(blocks, 0, CHUNK_BYTES_MAXIMUM * 2 / 100);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, false);
    memset(blocks, 0, CHUNK_BYTES_MAXIMUM * 4 / 100);
    check_round_trip(CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM, true);
}

// What an encoder saw before leaves no trace: every chunk comes out as from a new one.
static void encoding_is_deterministic(void **state)
{
    static unsigned char again[PAGE_STORED_MAXIMUM];
    static const struct {
        enum chunk_codec codec;
        int level;
    } cases[] = {{CHUNK_LZ4, 9}, {CHUNK_ZSTD, 1}, {CHUNK_ZSTD, 3}, {CHUNK_ZSTD, 9}, {CHUNK_ZSTD, 12}};
    (void)state;
    for (unsigned c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
        struct chunk_encoder *e;
        assert_int_equal(chunk_encoder_new(cases[c].codec, cases[c].level, &e), 0);
        for (unsigned i = 0; i < 24; i++) {
            // Other contents, other lengths, and now and then what does not compress.
            bool page = i % 8 == 7;
            unsigned nblocks = page ? PAGE_BLOCKS_MAXIMUM : 1 + i * 13 % CHUNK_BLOCKS_MAXIMUM;
            fill_text((size_t)nblocks * BLOCK_SIZE, i / 3);
            if (i % 5 == 4)
                fill_random(0, (size_t)nblocks * BLOCK_SIZE);
            size_t length = encode(cases[c].codec, cases[c].level, page ? CHUNK_PAGE : CHUNK_DATA, nblocks);
            assert_int_equal(chunk_encode(e, page ? CHUNK_PAGE : CHUNK_DATA, blocks, nblocks, again), length);
            assert_memory_equal(again, stored, length);
        }
        chunk_encoder_free(e);
    }
}

// The decoder wants the plainest of frames; so every level must make it, of every size.
static void every_level_is_understood(void **state)
{
    (void)state;
    fill_text(sizeof(blocks), 1);
    for (int level = 1; level <= chunk_level_maximum(CHUNK_LZ4); level++)
        check_round_trip_at(CHUNK_LZ4, level, CHUNK_DATA, 1 + (unsigned)level, true);
    for (int level = 1; level <= chunk_level_maximum(CHUNK_ZSTD); level++) {
        static const unsigned sizes[] = {1, 4, 5, 16, 17, 32};
        for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
            check_round_trip_at(CHUNK_ZSTD, level, CHUNK_DATA, sizes[i], true);
        check_round_trip_at(CHUNK_ZSTD, level, CHUNK_PAGE, level % 2 ? PAGE_BLOCKS_MAXIMUM : 65, true);
    }
}

static void another_codec_or_level_is_refused(void **state)
{
    struct chunk_encoder *e = NULL;
    (void)state;
    assert_int_equal(chunk_encoder_new(CHUNK_RAW, 1, &e), -EINVAL);
    assert_int_equal(chunk_encoder_new((enum chunk_codec)3, 1, &e), -EINVAL);
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, 0, &e), -EINVAL);
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, -1, &e), -EINVAL);
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, chunk_level_maximum(CHUNK_ZSTD) + 1, &e), -EINVAL);
    assert_int_equal(chunk_encoder_new(CHUNK_LZ4, chunk_level_maximum(CHUNK_LZ4) + 1, &e), -EINVAL);
    assert_null(e);
}

#if !defined(__SANITIZE_ADDRESS__) // its allocator ends the process instead
static void no_memory_is_an_error_and_never_a_raw_chunk(void **state)
{
    (void)state;
    struct chunk_encoder *e;
    struct rlimit before, none;
    fill_text(CHUNK_BYTES_MAXIMUM, 1);
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, 9, &e), 0);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    malloc_trim(0);
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    int r = chunk_encode(e, CHUNK_DATA, blocks, CHUNK_BLOCKS_MAXIMUM, stored);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(r, -ENOMEM);
    assert_true(chunk_encode(e, CHUNK_DATA, blocks, CHUNK_BLOCKS_MAXIMUM, stored) > 0); // and then it goes on
    chunk_encoder_free(e);
}
#endif

static struct {
    unsigned char stored[CHUNK_STORED_MAXIMUM];
    size_t length;
    struct sha256 name;
} shared;

static void *decode_in_a_thread(void *context)
{
    unsigned char *to = malloc(CHUNK_BYTES_MAXIMUM);
    unsigned nblocks, *right = context;

    for (unsigned i = 0; to && i < 20; i++)
        *right += chunk_decode(CHUNK_DATA, &shared.name, shared.stored, shared.length, to, &nblocks, NULL) == 0 &&
                  nblocks == CHUNK_BLOCKS_MAXIMUM && memcmp(to, blocks, CHUNK_BYTES_MAXIMUM) == 0;
    free(to);
    return NULL;
}

// Each has a context of its own, which ends with it (the sanitizer sees what is left).
static void many_threads_decode_at_once(void **state)
{
    pthread_t threads[8];
    unsigned right[8] = {0};
    (void)state;
    fill_text(CHUNK_BYTES_MAXIMUM, 7);
    shared.length = encode(CHUNK_ZSTD, 9, CHUNK_DATA, CHUNK_BLOCKS_MAXIMUM);
    memcpy(shared.stored, stored, shared.length);
    shared.name = sha256_of(shared.stored, shared.length);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, decode_in_a_thread, &right[i]), 0);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(right[i], 20);
    }
}

static void a_changed_byte_is_refused_before_decoding(void **state)
{
    unsigned nblocks = 77;
    struct error error;
    (void)state;
    fill_compressible(2 * BLOCK_SIZE);
    size_t length = encode(CHUNK_ZSTD, 9, CHUNK_DATA, 2);
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
        {{1, 3, 1, 0}, CHUNK_DATA, 4100, "unknown codec 3"},
        {{1, 255, 1, 0}, CHUNK_DATA, 4100, "unknown codec 255"},
        {{1, 0, 1, 0}, CHUNK_DATA, 4099, "raw chunk of 1 blocks has 4099 bytes"},
        {{1, 0, 1, 0}, CHUNK_DATA, 4101, "raw chunk of 1 blocks has 4101 bytes"},
        {{1, 0, 2, 0}, CHUNK_DATA, 4100, "raw chunk of 2 blocks"},
        {{1, 1, 1, 0}, CHUNK_DATA, 4100, "compressed chunk of 1 blocks has 4100 bytes"},
        {{1, 1, 1, 0}, CHUNK_DATA, (size_t)UINT32_MAX + 5, "compressed chunk of 1 blocks"},
        {{1, 2, 1, 0}, CHUNK_DATA, 4, "too short"},
        {{1, 2, 1, 0}, CHUNK_DATA, 4100, "compressed chunk of 1 blocks has 4100 bytes"},
        {{2, 2, 128, 0}, CHUNK_PAGE, 4 + 128 * 4096, "compressed chunk of 128 blocks"},
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
    for (enum chunk_codec codec = CHUNK_LZ4; codec <= CHUNK_ZSTD; codec++)
        for (unsigned real = 1; real <= 4; real++)
            for (unsigned claimed = 1; claimed <= 4; claimed++) {
                size_t length = encode(codec, 9, CHUNK_DATA, real);
                stored[2] = (unsigned char)claimed;
                assert_int_equal(decode(CHUNK_DATA, length, &nblocks, &error), real == claimed ? 0 : -EBADMSG);
            }
    assert_non_null(strstr(error.text, "does not decompress"));
}

static void garbage_that_hashes_right_is_refused(void **state)
{
    unsigned nblocks;
    (void)state;
    fill_random(0, BLOCK_SIZE);
    for (size_t length = 5; length < 600; length++) {
        memcpy(stored + 4, blocks + length, length - 4);
        memcpy(stored, (unsigned char[]){CHUNK_DATA, CHUNK_LZ4, 32, 0}, 4);
        assert_int_equal(decode(CHUNK_DATA, length, &nblocks, NULL), -EBADMSG);
        stored[1] = CHUNK_ZSTD;
        assert_int_equal(decode(CHUNK_DATA, length, &nblocks, NULL), -EBADMSG);
    }
}

// The body is cut at every length, changed in every byte, and gets a byte more: an answer each time, and never more
// than the chunk's blocks. (tests/fuzz/format_seeds has the frames that zstd would take and this format does not.)
static void damaged_frames_never_write_beyond_the_blocks(void **state)
{
    unsigned nblocks;
    (void)state;
    fill_text(2 * BLOCK_SIZE, 3);
    size_t length = encode(CHUNK_ZSTD, 9, CHUNK_DATA, 2);
    memset(back, 0xee, sizeof(back));
    for (size_t cut = CHUNK_HEADER_SIZE; cut < length; cut++)
        assert_int_equal(decode(CHUNK_DATA, cut, &nblocks, NULL), -EBADMSG);
    stored[length] = 0;
    assert_int_equal(decode(CHUNK_DATA, length + 1, &nblocks, NULL), -EBADMSG);
    for (size_t i = CHUNK_HEADER_SIZE; i < length; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            stored[i] ^= (unsigned char)(1u << bit);
            int r = decode(CHUNK_DATA, length, &nblocks, NULL);
            assert_true(r == -EBADMSG || (r == 0 && nblocks == 2));
            stored[i] ^= (unsigned char)(1u << bit);
        }
        assert_int_equal(back[2 * BLOCK_SIZE], 0xee);
    }
    assert_int_equal(decode(CHUNK_DATA, length, &nblocks, NULL), 0); // what failed before it leaves no trace
    assert_memory_equal(back, blocks, 2 * BLOCK_SIZE);
}

// libzstd's one-call function, as another writer would use it, makes what the format wants.
static void a_frame_of_libzstd_by_itself_is_right(void **state)
{
    unsigned nblocks;
    (void)state;
    fill_text(CHUNK_BYTES_MAXIMUM, 5);
    size_t n = ZSTD_compress(stored + CHUNK_HEADER_SIZE, CHUNK_BYTES_MAXIMUM - 1, blocks, CHUNK_BYTES_MAXIMUM, 3);
    assert_false(ZSTD_isError(n));
    memcpy(stored, (unsigned char[]){CHUNK_DATA, CHUNK_ZSTD, CHUNK_BLOCKS_MAXIMUM, 0}, CHUNK_HEADER_SIZE);
    assert_int_equal(decode(CHUNK_DATA, CHUNK_HEADER_SIZE + n, &nblocks, NULL), 0);
    assert_memory_equal(back, blocks, CHUNK_BYTES_MAXIMUM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(no_memory_is_an_error_and_never_a_raw_chunk), // first: the heap has no room to take it from
#endif
        cmocka_unit_test(compressible_blocks_come_back),
        cmocka_unit_test(incompressible_blocks_are_stored_raw),
        cmocka_unit_test(an_incompressible_beginning_does_not_keep_the_rest_raw),
        cmocka_unit_test(a_gain_below_three_percent_is_not_taken),
        cmocka_unit_test(encoding_is_deterministic),
        cmocka_unit_test(every_level_is_understood),
        cmocka_unit_test(another_codec_or_level_is_refused),
        cmocka_unit_test(many_threads_decode_at_once),
        cmocka_unit_test(a_changed_byte_is_refused_before_decoding),
        cmocka_unit_test(headers_outside_the_format_are_refused),
        cmocka_unit_test(bodies_that_decode_to_another_length_are_refused),
        cmocka_unit_test(garbage_that_hashes_right_is_refused),
        cmocka_unit_test(damaged_frames_never_write_beyond_the_blocks),
        cmocka_unit_test(a_frame_of_libzstd_by_itself_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
