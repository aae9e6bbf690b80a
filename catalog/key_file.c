// Key files in minisign's format (key.h tells it byte by byte).
//
// Encryption: a stream as long as what it hides (104 bytes) comes from scrypt (RFC 7914) over the passphrase and the
// salt, and is XORed. The file holds no N, r, p but two limits, from which they follow as libsodium's
// crypto_pwhash_scryptsalsa208sha256 has it; see cost_from_limits.
//
// 1. A file is exactly its lines: nothing before, between or behind.
// 2. The limits come from the file, so what they may ask for is capped before scrypt runs: minisign's own default
//    (1 GiB) and eight times its work.
// 3. The public half of a secret key file must be the one that belongs to its seed: signing with another's public key
//    under the hash gives the secret away.
// 4. Passphrases, streams and plain secrets are wiped on every way out.
// 5. No file is ever written over.
#include "catalog/key.h"

#include <blake2.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/key_private.h"
#include "catalog/minisign.h"

#include "base/banned.h"

#define PUBLIC_FILE_SIZE (2 + KEY_ID_SIZE + KEY_PUBLIC_SIZE) // algorithm, id, key
#define SALT_SIZE 32
#define CHECK_SIZE 32
#define HIDDEN_SIZE (KEY_ID_SIZE + KEY_SEED_SIZE + KEY_PUBLIC_SIZE + CHECK_SIZE)
#define SECRET_FILE_SIZE (2 + 2 + 2 + SALT_SIZE + 8 + 8 + HIDDEN_SIZE)
#define PASSPHRASE_SIZE 1024 // with its NUL byte; minisign's own limit

static const unsigned char algorithm_ed25519[2] = {'E', 'd'};
static const unsigned char algorithm_scrypt[2] = {'S', 'c'};
static const unsigned char algorithm_none[2] = {0, 0};
static const unsigned char algorithm_blake2b[2] = {'B', '2'};

// What we write: N = 2^18, r = 8, p = 1 (256 MiB, about half a second), above OWASP's floor of N = 2^17 and within the
// memory of a small machine. minisign reads any.
#define OUR_OPSLIMIT UINT64_C(8388608)
#define OUR_MEMLIMIT (UINT64_C(256) << 20)

#define SCRYPT_R 8u
#define SCRYPT_N_MAXIMUM (UINT64_C(1) << 20)
#define SCRYPT_WORK_MAXIMUM (UINT64_C(1) << 23) // N times p

struct cost {
    uint64_t n;
    uint64_t p;
};

// scrypt needs 128·N·r bytes of memory and 4·N·r·p operations. Whichever limit is tighter for p = 1 decides N: the
// largest power of two within it (but at least 2). Operations that the memory limit left over become p.
static struct cost cost_from_limits(uint64_t opslimit, uint64_t memlimit)
{
    const uint64_t operations = opslimit < 32768 ? 32768 : opslimit;
    const bool tight_on_operations = operations < memlimit / 32;
    const uint64_t bound = tight_on_operations ? operations / (4 * SCRYPT_R) : memlimit / (128 * SCRYPT_R);
    struct cost cost = {.n = 2, .p = 1};
    while (cost.n <= bound / 2)
        cost.n *= 2;
    if (!tight_on_operations) { // so there are at least 32·N operations, and p is 1 at least
        const uint64_t rp = operations / 4 / cost.n;
        cost.p = (rp > 0x3fffffff ? 0x3fffffff : rp) / SCRYPT_R;
    }
    return cost;
}

// XORs `hidden` with the stream. -E2BIG if the limits ask for more than invariant 2 allows.
static int xor_stream(const char *passphrase, const unsigned char salt[static SALT_SIZE], uint64_t opslimit,
                      uint64_t memlimit, unsigned char hidden[static HIDDEN_SIZE])
{
    const struct cost cost = cost_from_limits(opslimit, memlimit);
    if (cost.n > SCRYPT_N_MAXIMUM || cost.p > SCRYPT_WORK_MAXIMUM / cost.n)
        return -E2BIG;
    unsigned char stream[HIDDEN_SIZE];
    const uint64_t memory = 128 * SCRYPT_R * (cost.n + cost.p + 8); // of libcrypto: V, B and some blocks
    if (EVP_PBE_scrypt(passphrase, strlen(passphrase), salt, SALT_SIZE, cost.n, SCRYPT_R, cost.p, memory, stream,
                       sizeof stream) != 1)
        return -ENOMEM;
    for (size_t i = 0; i < sizeof stream; i++)
        hidden[i] ^= stream[i];
    OPENSSL_cleanse(stream, sizeof stream);
    return 0;
}

// BLAKE2b-256 of algorithm, key id, seed and public key.
static void check_sum(const unsigned char hidden[static HIDDEN_SIZE], unsigned char ret[static CHECK_SIZE])
{
    unsigned char covered[2 + HIDDEN_SIZE - CHECK_SIZE];
    memcpy(covered, algorithm_ed25519, 2);
    memcpy(covered + 2, hidden, sizeof covered - 2);
    (void)blake2b(ret, covered, NULL, CHECK_SIZE, sizeof covered, 0); // refuses only wrong sizes and NULLs
    OPENSSL_cleanse(covered, sizeof covered);
}

// Public keys.

int key_parse_public(const void *bytes, size_t n, struct key_public *ret, struct error *error)
{
    unsigned char binary[PUBLIC_FILE_SIZE];
    struct slice rest = {.at = bytes, .length = n};
    struct slice comment;
    if (n > KEY_FILE_MAXIMUM)
        return error_set(error, EBADMSG, "not a public key: longer than %u bytes", KEY_FILE_MAXIMUM);
    if (slice_starts(rest, MINISIGN_COMMENT_PREFIX) &&
        minisign_cut_comment(&rest, MINISIGN_COMMENT_PREFIX, MINISIGN_COMMENT_MAXIMUM, &comment) < 0)
        return error_set(error, EBADMSG, "not a public key: its comment line is malformed");
    // The line alone, as it is given on a command line, has no newline.
    bool line_alone = rest.at == bytes && base64_decode(rest.at, rest.length, binary, sizeof binary) == sizeof binary;
    if (!line_alone && (minisign_cut_bytes(&rest, binary, sizeof binary) < 0 || rest.length > 0))
        return error_set(error, EBADMSG, "not a public key: expected a comment line and one line of %u base64 digits",
                         (PUBLIC_FILE_SIZE + 2) / 3 * 4);
    struct cursor c = cursor_over(binary, sizeof binary);
    const unsigned char *algorithm = cursor_bytes(&c, 2);
    if (memcmp(algorithm, algorithm_ed25519, 2) != 0)
        return error_set(error, EBADMSG, "not an Ed25519 public key: unknown algorithm");
    struct key_public k = {.id = {0}};
    cursor_copy(&c, k.id, sizeof k.id);
    cursor_copy(&c, k.bytes, sizeof k.bytes);
    if (!key_is_sound(&k))
        return error_set(error, EBADMSG, "not a usable public key: anybody could sign for it");
    *ret = k;
    return 0;
}

int key_read_public(const char *path, struct key_public *ret, struct error *error)
{
    unsigned char binary[PUBLIC_FILE_SIZE];
    const size_t length = strlen(path);
    if (base64_decode(path, length, binary, sizeof binary) == sizeof binary)
        return key_parse_public(path, length, ret, error);
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    int r = io_read_file(AT_FDCWD, path, KEY_FILE_MAXIMUM, &bytes, &n);
    if (r < 0)
        return error_set(error, -r, "cannot read the public key %s: %s", path, strerror(-r));
    r = key_parse_public(bytes, n, ret, error);
    return r < 0 ? error_prefix(error, r, "%s", path) : 0;
}

// Secret keys.

static int decrypt(struct cursor *c, key_ask_passphrase *ask, void *context, unsigned char hidden[static HIDDEN_SIZE],
                   struct error *error)
{
    unsigned char salt[SALT_SIZE];
    cursor_copy(c, salt, sizeof salt);
    const uint64_t opslimit = cursor_u64(c);
    const uint64_t memlimit = cursor_u64(c);
    cursor_copy(c, hidden, HIDDEN_SIZE);
    if (!ask)
        return error_set(error, EACCES,
                         "the secret key is encrypted, and there is nobody to ask for its passphrase; "
                         "run this on a terminal, or use a key without one");
    char passphrase[PASSPHRASE_SIZE] = "";
    int r = ask(context, "Passphrase: ", passphrase, sizeof passphrase);
    passphrase[sizeof passphrase - 1] = '\0';
    if (r < 0)
        error_set(error, -r, "no passphrase was given: %s", strerror(-r));
    else if (r == 0)
        r = error_set(error, EACCES, "the secret key is encrypted, and the passphrase given is empty");
    else if ((r = xor_stream(passphrase, salt, opslimit, memlimit, hidden)) == -E2BIG)
        r = error_set(error, EBADMSG, "the secret key asks for more scrypt work than minisign's own default");
    else if (r < 0)
        error_set(error, -r, "cannot decrypt the secret key (scrypt needs up to 1 GiB): %s", strerror(-r));
    OPENSSL_cleanse(passphrase, sizeof passphrase);
    return r;
}

// From the plain bytes to a key. A wrong passphrase and a damaged file look alike where there was a passphrase.
static int key_from_plain(const unsigned char plain[static HIDDEN_SIZE], bool was_encrypted, struct key_secret **ret,
                          struct error *error)
{
    static const unsigned char zeros[CHECK_SIZE];
    const unsigned char *seed = plain + KEY_ID_SIZE;
    const unsigned char *public = seed + KEY_SEED_SIZE;
    const unsigned char *check = public + KEY_PUBLIC_SIZE;
    unsigned char expected[CHECK_SIZE];
    check_sum(plain, expected);
    const bool unchecked = !was_encrypted && memcmp(check, zeros, CHECK_SIZE) == 0; // minisign -W writes no sum
    if (!unchecked && CRYPTO_memcmp(check, expected, CHECK_SIZE) != 0)
        return was_encrypted ? error_set(error, EKEYREJECTED, "wrong passphrase for the secret key")
                             : error_set(error, EBADMSG, "the secret key is damaged: its check sum is wrong");
    struct key_secret *k CLEANUP(key_free) = NULL;
    int r = key_from_seed(seed, plain, &k);
    if (r < 0)
        return error_set(error, -r, "cannot take the secret key: %s", strerror(-r));
    if (memcmp(k->public.bytes, public, KEY_PUBLIC_SIZE) != 0)
        return error_set(error, EBADMSG, "the secret key is damaged: its public half belongs to another key");
    *ret = TAKE_PTR(k);
    return 0;
}

static int parse_binary(const unsigned char binary[static SECRET_FILE_SIZE], key_ask_passphrase *ask, void *context,
                        unsigned char hidden[static HIDDEN_SIZE], struct key_secret **ret, struct error *error)
{
    struct cursor c = cursor_over(binary, SECRET_FILE_SIZE);
    const unsigned char *signature_algorithm = cursor_bytes(&c, 2);
    const unsigned char *kdf_algorithm = cursor_bytes(&c, 2);
    const unsigned char *check_algorithm = cursor_bytes(&c, 2);
    const bool encrypted = memcmp(kdf_algorithm, algorithm_scrypt, 2) == 0;
    if (memcmp(signature_algorithm, algorithm_ed25519, 2) != 0 || memcmp(check_algorithm, algorithm_blake2b, 2) != 0 ||
        (!encrypted && memcmp(kdf_algorithm, algorithm_none, 2) != 0))
        return error_set(error, EBADMSG, "not an Ed25519 secret key: unknown algorithm");
    if (encrypted) {
        int r = decrypt(&c, ask, context, hidden, error);
        if (r < 0)
            return r;
    } else {
        cursor_bytes(&c, SALT_SIZE + 8 + 8); // without meaning here
        cursor_copy(&c, hidden, HIDDEN_SIZE);
    }
    return key_from_plain(hidden, encrypted, ret, error);
}

int key_parse_secret(const void *bytes, size_t n, key_ask_passphrase *ask, void *context, struct key_secret **ret,
                     struct error *error)
{
    unsigned char binary[SECRET_FILE_SIZE];
    unsigned char hidden[HIDDEN_SIZE];
    struct slice rest = {.at = bytes, .length = n};
    struct slice comment;
    if (n > KEY_FILE_MAXIMUM ||
        minisign_cut_comment(&rest, MINISIGN_COMMENT_PREFIX, MINISIGN_COMMENT_MAXIMUM, &comment) < 0)
        return error_set(error, EBADMSG, "not a secret key: expected a line \"%s…\"", MINISIGN_COMMENT_PREFIX);
    if (minisign_cut_bytes(&rest, binary, sizeof binary) < 0 || rest.length > 0) {
        OPENSSL_cleanse(binary, sizeof binary);
        return error_set(error, EBADMSG, "not a secret key: expected a comment line and one line of %u base64 digits",
                         (SECRET_FILE_SIZE + 2) / 3 * 4);
    }
    int r = parse_binary(binary, ask, context, hidden, ret, error);
    OPENSSL_cleanse(binary, sizeof binary);
    OPENSSL_cleanse(hidden, sizeof hidden);
    return r;
}

int key_read_secret(const char *path, key_ask_passphrase *ask, void *context, struct key_secret **ret,
                    struct error *error)
{
    void *bytes = NULL;
    size_t n;
    int r = io_read_file(AT_FDCWD, path, KEY_FILE_MAXIMUM, &bytes, &n);
    if (r < 0)
        return error_set(error, -r, "cannot read the secret key %s: %s", path, strerror(-r));
    r = key_parse_secret(bytes, n, ask, context, ret, error);
    if (r < 0)
        error_prefix(error, r, "%s", path);
    OPENSSL_cleanse(bytes, n);
    free(bytes);
    return r;
}

// Writing.

static int write_new(const char *path, const struct buf *content, mode_t mode, struct error *error)
{
    int fd = io_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, mode);
    if (fd == -EEXIST)
        return error_set(error, EEXIST, "%s exists; a key is never written over: choose another name", path);
    if (fd < 0)
        return error_set(error, -fd, "cannot make %s: %s", path, strerror(-fd));
    int r = io_write_full(fd, content->data, content->size, 0);
    if (r == 0 && io->fsync(fd) < 0)
        r = -errno;
    int closed = io_close(fd);
    if (r == 0)
        r = closed;
    if (r == 0)
        return 0;
    io->unlinkat(AT_FDCWD, path, 0); // ours: O_EXCL made it
    return error_set(error, -r, "cannot write %s: %s", path, strerror(-r));
}

static int format_public(const struct key_public *k, struct buf *ret)
{
    unsigned char binary[PUBLIC_FILE_SIZE];
    char line[(PUBLIC_FILE_SIZE + 2) / 3 * 4 + 1];
    char text[KEY_TEXT_SIZE];
    memcpy(binary, algorithm_ed25519, 2);
    memcpy(binary + 2, k->id, KEY_ID_SIZE);
    memcpy(binary + 2 + KEY_ID_SIZE, k->bytes, KEY_PUBLIC_SIZE);
    base64_encode(binary, sizeof binary, line, sizeof line);
    return buf_append_format(ret, MINISIGN_COMMENT_PREFIX "rondo public key %s\n%s\n", key_to_text(k, text), line);
}

static int format_secret(const struct key_secret *k, const char *passphrase, struct buf *ret)
{
    unsigned char binary[SECRET_FILE_SIZE] = {0};
    unsigned char *salt = binary + 6;
    unsigned char *hidden = binary + SECRET_FILE_SIZE - HIDDEN_SIZE;
    char line[(SECRET_FILE_SIZE + 2) / 3 * 4 + 1];
    const bool encrypted = passphrase && *passphrase;
    memcpy(binary, algorithm_ed25519, 2);
    memcpy(binary + 4, algorithm_blake2b, 2);
    memcpy(hidden, k->public.id, KEY_ID_SIZE);
    memcpy(hidden + KEY_ID_SIZE, k->seed, KEY_SEED_SIZE);
    memcpy(hidden + KEY_ID_SIZE + KEY_SEED_SIZE, k->public.bytes, KEY_PUBLIC_SIZE);
    check_sum(hidden, hidden + HIDDEN_SIZE - CHECK_SIZE);
    int r = 0;
    if (encrypted) {
        memcpy(binary + 2, algorithm_scrypt, 2);
        put_le64(salt + SALT_SIZE, OUR_OPSLIMIT);
        put_le64(salt + SALT_SIZE + 8, OUR_MEMLIMIT);
        r = RAND_bytes(salt, SALT_SIZE) == 1 ? xor_stream(passphrase, salt, OUR_OPSLIMIT, OUR_MEMLIMIT, hidden) : -EIO;
    }
    if (r == 0) {
        base64_encode(binary, sizeof binary, line, sizeof line);
        r = buf_append_format(ret, MINISIGN_COMMENT_PREFIX "rondo %ssecret key\n%s\n", encrypted ? "encrypted " : "",
                              line);
    }
    OPENSSL_cleanse(binary, sizeof binary);
    OPENSSL_cleanse(line, sizeof line);
    return r;
}

// Both or none: half a pair is no use to anybody.
static int write_pair(const char *path, const struct buf *secret, const char *public_path, const struct buf *public,
                      struct error *error)
{
    int r = write_new(path, secret, 0600, error);
    if (r < 0)
        return r;
    r = write_new(public_path, public, 0644, error);
    if (r == 0 && (r = io_sync_folder_of(AT_FDCWD, path)) < 0) {
        error_set(error, -r, "cannot sync the folder of %s: %s", path, strerror(-r));
        io->unlinkat(AT_FDCWD, public_path, 0);
    }
    if (r < 0)
        io->unlinkat(AT_FDCWD, path, 0);
    return r;
}

int key_write_files(const struct key_secret *k, const char *path, const char *passphrase, struct error *error)
{
    char public_path[PATH_TEXT_SIZE];
    struct buf secret = BUF_WITH_MAXIMUM(KEY_FILE_MAXIMUM);
    struct buf public CLEANUP(buf_free) = BUF_WITH_MAXIMUM(KEY_FILE_MAXIMUM);
    int r = path_format(public_path, sizeof public_path, "%s.pub", path);
    if (r < 0)
        return error_set(error, -r, "the file name %s is too long", path);
    if (passphrase && strlen(passphrase) >= PASSPHRASE_SIZE)
        return error_set(error, EINVAL, "a passphrase has at most %d bytes", PASSPHRASE_SIZE - 1);
    unsigned char *room; // taken at once, so that no copy of the secret stays behind in freed memory
    r = buf_reserve(&secret, KEY_FILE_MAXIMUM, &room);
    if (r == 0)
        r = format_secret(k, passphrase, &secret);
    if (r == 0)
        r = format_public(&k->public, &public);
    if (r < 0)
        error_set(error, -r, "cannot make %s: %s", path, strerror(-r));
    else
        r = write_pair(path, &secret, public_path, &public, error);
    OPENSSL_cleanse(secret.data, secret.size);
    buf_free(&secret);
    return r;
}
