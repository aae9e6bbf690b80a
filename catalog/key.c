// Ed25519 keys in memory: making them, their text, signing and verifying, all through libcrypto.
//
// 1. A key is its 32 bytes: two keys are equal if these are, whatever their ids.
// 2. No unsound public key comes in. RFC 8032 lets a verifier accept a key of small order, and libcrypto does; with
//    such a key one signature verifies over every text.
// 3. Secret bytes live in `struct key_secret` and in libcrypto's objects, and are wiped on every way out.
#include "catalog/key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "catalog/key_private.h"

#include "base/banned.h"

static void pkey_free(EVP_PKEY **p)
{
    EVP_PKEY_free(*p);
}

static void context_free(EVP_MD_CTX **c)
{
    EVP_MD_CTX_free(*c);
}

bool key_equal(const struct key_public *a, const struct key_public *b)
{
    return memcmp(a->bytes, b->bytes, KEY_PUBLIC_SIZE) == 0;
}

// The y coordinates of the eight points whose order divides 8 (the sign of x, the top bit, is left out): computed from
// the curve of RFC 8032, section 5.1, as the multiples by the group's prime order of some points.
static const unsigned char small_order[][KEY_PUBLIC_SIZE] = {
    {0},
    {1},
    {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
     0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
    {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
     0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
    {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
};

// True if y, without the sign bit, is at least p = 2^255 - 19, whose bytes are ed ff … ff 7f.
static bool is_not_reduced(const unsigned char y[static KEY_PUBLIC_SIZE])
{
    if (y[KEY_PUBLIC_SIZE - 1] != 0x7f || y[0] < 0xed)
        return false;
    for (size_t i = 1; i < KEY_PUBLIC_SIZE - 1; i++)
        if (y[i] != 0xff)
            return false;
    return true;
}

bool key_is_sound(const struct key_public *k)
{
    unsigned char y[KEY_PUBLIC_SIZE];
    memcpy(y, k->bytes, sizeof y);
    y[KEY_PUBLIC_SIZE - 1] &= 0x7f;
    for (size_t i = 0; i < ARRAY_SIZE(small_order); i++)
        if (memcmp(y, small_order[i], sizeof y) == 0)
            return false;
    return !is_not_reduced(y);
}

const char *key_to_text(const struct key_public *k, char text[static KEY_TEXT_SIZE])
{
    base64url_encode(k->bytes, KEY_PUBLIC_SIZE, text, KEY_TEXT_SIZE); // 32 bytes are always 43 digits
    return text;
}

bool key_from_text(const char *text, size_t length, struct key_public *ret)
{
    struct key_public k = {.id = {0}};
    if (length != KEY_TEXT_SIZE - 1 || base64url_decode(text, length, k.bytes, sizeof k.bytes) != KEY_PUBLIC_SIZE ||
        !key_is_sound(&k))
        return false;
    *ret = k;
    return true;
}

bool key_is_text(const char *text)
{
    struct key_public key;
    return key_from_text(text, strlen(text), &key);
}

int key_from_seed(const unsigned char seed[static KEY_SEED_SIZE], const unsigned char id[static KEY_ID_SIZE],
                  struct key_secret **ret)
{
    struct key_secret *k CLEANUP(key_free) = calloc(1, sizeof *k);
    EVP_PKEY *pkey CLEANUP(pkey_free) = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, KEY_SEED_SIZE);
    size_t size = KEY_PUBLIC_SIZE;
    if (!k || !pkey || EVP_PKEY_get_raw_public_key(pkey, k->public.bytes, &size) != 1)
        return -ENOMEM; // every 32 bytes are a valid seed
    memcpy(k->public.id, id, KEY_ID_SIZE);
    memcpy(k->seed, seed, KEY_SEED_SIZE);
    *ret = TAKE_PTR(k);
    return 0;
}

int key_generate(struct key_secret **ret, struct error *error)
{
    unsigned char seed[KEY_SEED_SIZE];
    unsigned char id[KEY_ID_SIZE];
    int r;
    if (RAND_priv_bytes(seed, sizeof seed) != 1 || RAND_bytes(id, sizeof id) != 1)
        r = error_set(error, EIO, "cannot make a key: no random numbers from the system");
    else if ((r = key_from_seed(seed, id, ret)) < 0)
        error_set(error, -r, "cannot make a key: %s", strerror(-r));
    OPENSSL_cleanse(seed, sizeof seed);
    return r;
}

void key_free(struct key_secret **k)
{
    if (!*k)
        return;
    OPENSSL_cleanse(*k, sizeof **k);
    free(*k);
    *k = NULL;
}

void key_public_of(const struct key_secret *k, struct key_public *ret)
{
    *ret = k->public;
}

int key_sign(const struct key_secret *k, const void *bytes, size_t n, unsigned char ret[static KEY_SIGNATURE_SIZE],
             struct error *error)
{
    EVP_PKEY *pkey CLEANUP(pkey_free) = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->seed, KEY_SEED_SIZE);
    EVP_MD_CTX *context CLEANUP(context_free) = EVP_MD_CTX_new();
    unsigned char signature[KEY_SIGNATURE_SIZE];
    size_t size = sizeof signature;
    if (!pkey || !context || EVP_DigestSignInit(context, NULL, NULL, NULL, pkey) != 1 ||
        EVP_DigestSign(context, signature, &size, bytes, n) != 1)
        return error_set(error, ENOMEM, "cannot sign: libcrypto failed");
    memcpy(ret, signature, sizeof signature);
    return 0;
}

bool key_verify(const struct key_public *k, const void *bytes, size_t n,
                const unsigned char signature[static KEY_SIGNATURE_SIZE])
{
    if (!key_is_sound(k))
        return false;
    EVP_PKEY *pkey CLEANUP(pkey_free) = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, k->bytes, KEY_PUBLIC_SIZE);
    EVP_MD_CTX *context CLEANUP(context_free) = EVP_MD_CTX_new();
    return pkey && context && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pkey) == 1 &&
           EVP_DigestVerify(context, signature, KEY_SIGNATURE_SIZE, bytes, n) == 1;
}

bool key_can_verify(void)
{
    static const struct key_public known = {
        // RFC 8032, 7.1, test 1: of no byte
        .bytes = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
                  0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a}};
    static const unsigned char right[KEY_SIGNATURE_SIZE] = {
        0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72, 0x90, 0x86, 0xe2, 0xcc, 0x80, 0x6e, 0x82, 0x8a,
        0x84, 0x87, 0x7f, 0x1e, 0xb8, 0xe5, 0xd9, 0x74, 0xd8, 0x73, 0xe0, 0x65, 0x22, 0x49, 0x01, 0x55,
        0x5f, 0xb8, 0x82, 0x15, 0x90, 0xa3, 0x3b, 0xac, 0xc6, 0x1e, 0x39, 0x70, 0x1c, 0xf9, 0xb4, 0x6b,
        0xd2, 0x5b, 0xf5, 0xf0, 0x59, 0x5b, 0xbe, 0x24, 0x65, 0x51, 0x41, 0x43, 0x8e, 0x7a, 0x10, 0x0b};
    return key_verify(&known, "", 0, right);
}
