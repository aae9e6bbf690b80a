// Libraries whose memory ends (libcrypto, libcurl; pthread's keys for zstd), or their random numbers: nothing is ever
// verified, made or let through then, and the failure has a name. The memory is theirs by their own hooks, which must
// be set before their first call; so this is a program of its own.
#define OPENSSL_SUPPRESS_DEPRECATED // RAND_METHOD is the only way to have no random numbers
#include "catalog_fixture.h"

#include "base/hash.h"
#include "blockstore/chunk.h"
#include "blockstore/http_address.h"
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <pthread.h>

#include "base/banned.h"

#define CALLS_MAXIMUM 1000

static unsigned long left; // allocations until the one that fails; 0: none does

static bool fails(void)
{
    return left > 0 && --left == 0;
}

static void *crypto_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : malloc(n);
}

static void *crypto_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return fails() ? NULL : realloc(p, n);
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

static void *curl_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

static void *curl_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

static char *curl_strdup(const char *s)
{
    return fails() ? NULL : strdup(s);
}

static void *curl_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

// Whether the work came to its end before the allocation that was to fail. Each test fails the first of its work, then
// the second, and so on, until that is so.
static bool none_failed(void)
{
    const bool none = left > 0;
    left = 0;
    return none;
}

static void without_memory_nothing_is_signed_and_nothing_is_verified(void **state)
{
    struct key_secret *k CLEANUP(key_free) = NULL;
    struct key_public public;
    unsigned char right[KEY_SIGNATURE_SIZE], wrong[KEY_SIGNATURE_SIZE] = {3};
    struct error error = {""};
    unsigned failed = 0;
    (void)state;
    // What libcrypto prepares once it prepares now: it never tries again where that failed.
    assert_ok(key_generate(&k, &error), error);
    key_public_of(k, &public);
    assert_ok(key_sign(k, "text", 4, right, &error), error);
    assert_true(key_verify(&public, "text", 4, right));
    for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
        struct key_secret *made CLEANUP(key_free) = NULL;
        int r = key_generate(&made, &error);
        const bool none = none_failed();
        assert_true(r == 0 ? made != NULL : (r == -ENOMEM || r == -EIO) && made == NULL && error.text[0] && !none);
        failed += r < 0;
        if (none)
            break;
    }
    for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
        unsigned char signature[KEY_SIGNATURE_SIZE];
        int r = key_sign(k, "text", 4, signature, &error);
        if (none_failed())
            break;
        assert_true(r == 0 ? memcmp(signature, right, sizeof right) == 0 : r == -ENOMEM);
        failed += r < 0;
    }
    for (int good = 0; good < 2; good++)
        for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
            bool verified = key_verify(&public, "text", 4, good ? right : wrong);
            if (none_failed()) {
                assert_int_equal(verified, good);
                break;
            }
            assert_true(good || !verified);
            failed += good && !verified;
        }
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1024);
    struct slice text;
    assert_ok(signed_write(k, "text\n", 5, "a comment", &file, &error), error);
    for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) { // it is never said to be wrong
        int r = signed_verify(file.data, file.size, &public, &text, &error);
        if (none_failed())
            break;
        assert_ok(r, error); // for there is memory the second time
    }
    for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
        const bool can = key_can_verify();
        if (none_failed()) {
            assert_true(can);
            break;
        }
        failed += !can;
    }
    assert_true(failed > 8);
    ERR_clear_error();
}

static int random_bytes(unsigned char *to, int n)
{
    memset(to, 7, (size_t)n);
    return !fails();
}

static void without_random_numbers_no_key_is_made(void **state)
{
    static const RAND_METHOD method = {.bytes = random_bytes, .pseudorand = random_bytes};
    struct key_secret *k = NULL;
    struct error error = {""};
    (void)state;
    assert_int_equal(RAND_set_rand_method(&method), 1);
    for (unsigned long at = 1; at <= 2; at++) { // those of the key, and of its id
        left = at;
        assert_int_equal(key_generate(&k, &error), -EIO);
        assert_non_null(strstr(error.text, "no random numbers"));
        assert_null(k);
    }
    left = 0; // these random numbers stay: libcrypto prepares its own once, and not again if that fails
}

static void without_memory_no_address_is_let_through(void **state)
{
    static const char *const texts[] = {"HTTP://a.example:80/x", "ftp://a/", "http://[::1]:81/"};
    unsigned failed = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char address[HTTP_ADDRESS_SIZE];
        struct error error;
        const bool good = i != 1;
        for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
            int r = http_address_normalize(texts[i], address, &error);
            if (none_failed()) {
                assert_int_equal(r, good ? 0 : -EINVAL);
                break;
            }
            assert_true(r == -ENOMEM || r == (good ? 0 : -EINVAL));
            failed += r == -ENOMEM;
        }
        for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
            int r = http_address_redirect("http://b/", texts[i], address, &error);
            if (none_failed())
                break;
            assert_true(r == -ENOMEM || r == (good ? 0 : -EBADMSG));
            failed += r == -ENOMEM;
        }
        for (unsigned long at = 1; (left = at) < CALLS_MAXIMUM; at++) {
            bool private = http_address_names_private_host(texts[i]);
            if (none_failed()) {
                assert_int_equal(private, i != 0);
                break;
            }
            assert_true(private || i == 0);
        }
    }
    assert_true(failed > 10);
}

// A process has 1,024 of these keys; a decoder needs one, once, for all threads.
static void without_a_key_for_its_threads_nothing_is_decoded(void **state)
{
    static unsigned char blocks[BLOCK_SIZE], stored[CHUNK_STORED_MAXIMUM];
    static pthread_key_t keys[2048];
    struct chunk_encoder *encoder;
    struct error error = {""};
    unsigned count = 0, nblocks = 77;
    (void)state;
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, 3, &encoder), 0);
    int n = chunk_encode(encoder, CHUNK_DATA, blocks, 1, stored);
    assert_true(n > 0);
    chunk_encoder_free(encoder);
    chunk_encoder_free(NULL);
    const struct sha256 name = sha256_of(stored, (size_t)n);
    while (count < ARRAY_SIZE(keys) && pthread_key_create(&keys[count], NULL) == 0)
        count++;
    assert_int_equal(chunk_decode(CHUNK_DATA, &name, stored, (size_t)n, blocks, &nblocks, &error), -ENOMEM);
    assert_string_equal(error.text, "out of memory");
    assert_int_equal(nblocks, 77);
    while (count > 0)
        pthread_key_delete(keys[--count]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_random_numbers_no_key_is_made),
        cmocka_unit_test(without_memory_nothing_is_signed_and_nothing_is_verified),
        cmocka_unit_test(without_memory_no_address_is_let_through),
        cmocka_unit_test(without_a_key_for_its_threads_nothing_is_decoded),
    };
    if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1 ||
        curl_global_init_mem(CURL_GLOBAL_DEFAULT, curl_malloc, free, curl_realloc, curl_strdup, curl_calloc) !=
            CURLE_OK)
        return 1;
    return cmocka_run_group_tests_name("library memory", tests, NULL, NULL);
}
