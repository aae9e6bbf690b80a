// base/hash.h: SHA-256 against the published vectors, streams, threads, files, and strict text forms.
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"

#include "base/banned.h"

#define HEX_OF_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HEX_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
// FIPS 180-2, appendix B.3: one million times "a"
#define HEX_OF_MILLION "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static void assert_hash(struct sha256 h, const char *wanted)
{
    char text[SHA256_HEX_SIZE];
    assert_string_equal(sha256_to_hex(&h, text), wanted);
}

static void published_vectors(void **state)
{
    (void)state;
    assert_hash(sha256_of("", 0), HEX_OF_EMPTY);
    assert_hash(sha256_of(NULL, 0), HEX_OF_EMPTY);
    assert_hash(sha256_of("abc", 3), HEX_OF_ABC);
    assert_hash(sha256_of("abc", 3), HEX_OF_ABC); // the context is used again
}

static void streams_hash_pieces_and_start_anew(void **state)
{
    (void)state;
    struct hash_stream *s CLEANUP(hash_stream_free) = hash_stream_new();
    assert_non_null(s);
    char piece[1000];
    memset(piece, 'a', sizeof piece);
    for (int i = 0; i < 1000; i++)
        hash_stream_add(s, piece, sizeof piece);
    assert_hash(hash_stream_end(s), HEX_OF_MILLION);
    assert_hash(hash_stream_end(s), HEX_OF_EMPTY);
    hash_stream_add(s, "a", 1);
    assert_hash(sha256_of("abc", 3), HEX_OF_ABC); // does not disturb the stream
    hash_stream_add(s, "", 0);
    hash_stream_add(s, "bc", 2);
    assert_hash(hash_stream_end(s), HEX_OF_ABC);
    struct hash_stream *none = NULL;
    hash_stream_free(&none);
}

static void *hash_in_thread(void *argument)
{
    (void)argument;
    struct sha256 first = sha256_of("abc", 3);
    for (int i = 0; i < 2000; i++) {
        struct sha256 h = sha256_of("abc", 3);
        if (!sha256_equal(&h, &first))
            return NULL;
    }
    char text[SHA256_HEX_SIZE];
    return (void *)(uintptr_t)(strcmp(sha256_to_hex(&first, text), HEX_OF_ABC) == 0);
}

static void threads_do_not_share_a_context(void **state)
{
    (void)state;
    pthread_t threads[8];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_in_thread, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_non_null(result);
    }
}

static void files_are_hashed_whole(void **state)
{
    (void)state;
    int fd CLEANUP_CLOSE = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    struct sha256 h;
    unsigned long long size = 99;
    assert_int_equal(sha256_of_file(fd, &h, &size), 0);
    assert_hash(h, HEX_OF_EMPTY);
    assert_int_equal(size, 0);
    char *bytes CLEANUP_FREE = malloc(1000000);
    assert_non_null(bytes);
    memset(bytes, 'a', 1000000);
    assert_int_equal(write(fd, bytes, 1000000), 1000000); // and leaves the file position at the end
    assert_int_equal(sha256_of_file(fd, &h, &size), 0);
    assert_hash(h, HEX_OF_MILLION);
    assert_int_equal(size, 1000000);
    assert_int_equal(sha256_of_file(fd, &h, NULL), 0);
}

static void failing_reads_leave_the_output(void **state)
{
    (void)state;
    int fd CLEANUP_CLOSE = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 700000), 0);
    struct sha256 h = {{7}};
    unsigned long long size = 99;
    io_fault_start(0, 0, false);
    assert_int_equal(sha256_of_file(fd, &h, &size), 0);
    unsigned long calls = io_fault_stop();
    assert_true(calls >= 4);
    for (unsigned long at = 1; at <= calls; at++) {
        struct sha256 untouched = {{7}};
        io_fault_start(at, EIO, false);
        int r = sha256_of_file(fd, &untouched, NULL);
        io_fault_stop();
        assert_true(r == -EIO || r == -ENOMEM);
        assert_int_equal(untouched.bytes[0], 7);
    }
    assert_int_equal(sha256_of_file(-1, &h, &size), -EBADF);
}

static void hex_is_strict(void **state)
{
    (void)state;
    struct sha256 h = {{7}};
    struct sha256 abc = sha256_of("abc", 3);
    assert_true(sha256_from_hex(HEX_OF_ABC "tail", 64, &h));
    assert_true(sha256_equal(&h, &abc));
    memset(&h, 7, sizeof h);
    assert_false(sha256_from_hex(HEX_OF_ABC, 63, &h));
    assert_false(sha256_from_hex(HEX_OF_ABC "0", 65, &h));
    assert_false(sha256_from_hex("", 0, &h));
    char text[] = HEX_OF_ABC;
    static const char wrong[] = {'A', 'F', 'g', '/', ':', '`', ' ', '\0', '\n', '-'};
    for (size_t i = 0; i < sizeof wrong; i++) {
        for (size_t at = 0; at < 64; at += 63) {
            char kept = text[at];
            text[at] = wrong[i];
            assert_false(sha256_from_hex(text, 64, &h));
            text[at] = kept;
        }
    }
    assert_int_equal(h.bytes[31], 7);
}

static void zero_is_recognised(void **state)
{
    (void)state;
    struct sha256 h = {{0}};
    assert_true(sha256_is_zero(&h));
    h.bytes[31] = 1;
    assert_false(sha256_is_zero(&h));
}

// RFC 4648, section 10.
static void base64_vectors(void **state)
{
    (void)state;
    static const char *const vectors[][3] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
    };
    char text[16];
    unsigned char bytes[16];
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        size_t n = strlen(vectors[i][0]);
        assert_int_equal(base64_encode(vectors[i][0], n, text, sizeof text), strlen(vectors[i][1]));
        assert_string_equal(text, vectors[i][1]);
        assert_int_equal(base64url_encode(vectors[i][0], n, text, sizeof text), strlen(vectors[i][2]));
        assert_string_equal(text, vectors[i][2]);
        assert_int_equal(base64_decode(vectors[i][1], strlen(vectors[i][1]), bytes, sizeof bytes), n);
        assert_memory_equal(bytes, vectors[i][0], n);
        assert_int_equal(base64url_decode(vectors[i][2], strlen(vectors[i][2]), bytes, sizeof bytes), n);
        assert_memory_equal(bytes, vectors[i][0], n);
    }
}

static void base64_alphabets_differ(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0xFB, 0xFF, 0xBF};
    unsigned char back[3];
    char text[8];
    base64_encode(bytes, 3, text, sizeof text);
    assert_string_equal(text, "+/+/");
    base64url_encode(bytes, 3, text, sizeof text);
    assert_string_equal(text, "-_-_");
    assert_int_equal(base64_decode("-_-_", 4, back, 3), -1);
    assert_int_equal(base64url_decode("+/+/", 4, back, 3), -1);
}

static void base64_refuses_all_but_one_text(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "Z",    "Zg",     "Zg=",  "Zg===", "Zm8",      "Zm8==", "=",    "==",   "====",  "Z===", "Zh==",
        "Zm9=", "Zm9v\n", "Zm9 ", "Zm\tv", "Zg==Zg==", "=Zm9",  "Z=9v", "Zm=v", "Zm9vZ", "Zg=a", "Zm9*"};
    static const char *const wrong_url[] = {"Z", "Zg==", "Zh", "Zm9", "Zm9vZ", "Zm9v=", "Zm 9", "Zm8=", "\xC3\xA9vv"};
    unsigned char bytes[16] = {7};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(base64_decode(wrong[i], strlen(wrong[i]), bytes, sizeof bytes), -1);
    for (size_t i = 0; i < ARRAY_SIZE(wrong_url); i++)
        assert_int_equal(base64url_decode(wrong_url[i], strlen(wrong_url[i]), bytes, sizeof bytes), -1);
    assert_int_equal(base64url_decode("Zm\0v", 4, bytes, sizeof bytes), -1);
    assert_int_equal(bytes[0], 7);
}

// Of all last digits only those are right whose unused bits are zero: 4 behind one byte, 16 behind two.
static void base64_refuses_every_stray_bit(void **state)
{
    (void)state;
    unsigned one = 0;
    unsigned two = 0;
    unsigned one_padded = 0;
    unsigned two_padded = 0;
    unsigned char bytes[4];
    for (int c = 0; c < 256; c++) {
        char text[4] = {'Z', (char)c, '=', '='};
        one += base64url_decode(text, 2, bytes, sizeof bytes) == 1;
        one_padded += base64_decode(text, 4, bytes, sizeof bytes) == 1;
        text[1] = 'Z';
        text[2] = (char)c;
        two += base64url_decode(text, 3, bytes, sizeof bytes) == 2;
        two_padded += base64_decode(text, 4, bytes, sizeof bytes) == 2;
    }
    assert_int_equal(one, 4);
    assert_int_equal(two, 16);
    assert_int_equal(one_padded, 4);
    assert_int_equal(two_padded, 16);
}

static void base64_respects_the_capacity(void **state)
{
    (void)state;
    char text[9] = "untouch";
    unsigned char bytes[4] = {7, 7, 7, 7};
    assert_int_equal(base64_encode("foobar", 6, text, 8), -1); // 8 digits need 9 bytes
    assert_string_equal(text, "untouch");
    assert_int_equal(base64_encode("foobar", 6, text, 9), 8);
    assert_int_equal(base64url_encode("", 0, text, 0), -1);
    assert_int_equal(base64url_encode("", 0, text, 1), 0);
    assert_int_equal(base64_encode("x", SIZE_MAX, text, SIZE_MAX), -1);
    assert_int_equal(base64_decode("Zm9vYg==", 8, bytes, 3), -1);
    assert_int_equal(bytes[0], 7);
    assert_int_equal(base64_decode("Zm9vYg==", 8, bytes, 4), 4);
}

static void base64_round_trip_of_every_length(void **state)
{
    (void)state;
    unsigned char bytes[100];
    unsigned char back[100];
    char text[200];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 97 + 13);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        long length = base64_encode(bytes, n, text, sizeof text);
        assert_int_equal(length, (n + 2) / 3 * 4);
        assert_int_equal(base64_decode(text, (size_t)length, back, n), n);
        assert_memory_equal(back, bytes, n);
        length = base64url_encode(bytes, n, text, sizeof text);
        assert_int_equal(length, (n * 4 + 2) / 3);
        assert_int_equal(base64url_decode(text, (size_t)length, back, n), n);
        assert_memory_equal(back, bytes, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(streams_hash_pieces_and_start_anew),
        cmocka_unit_test(threads_do_not_share_a_context),
        cmocka_unit_test(files_are_hashed_whole),
        cmocka_unit_test(failing_reads_leave_the_output),
        cmocka_unit_test(hex_is_strict),
        cmocka_unit_test(zero_is_recognised),
        cmocka_unit_test(base64_vectors),
        cmocka_unit_test(base64_alphabets_differ),
        cmocka_unit_test(base64_refuses_all_but_one_text),
        cmocka_unit_test(base64_refuses_every_stray_bit),
        cmocka_unit_test(base64_respects_the_capacity),
        cmocka_unit_test(base64_round_trip_of_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
