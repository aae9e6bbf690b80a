// Keys in minisign's format: Ed25519 through libcrypto. A key is named everywhere by its 32-byte public key in
// base64url (43 characters); minisign's 8-byte key ids are only a hint and decide nothing.
//
// Public key file: a comment line, then base64 of "Ed", key id (8), public key (32).
// Secret key file: a comment line, then base64 of "Ed", "Sc" (scrypt) or two zero bytes (no passphrase), "B2", salt
// (32), opslimit u64, memlimit u64, and, XORed with the scrypt stream where there is a passphrase: key id (8), secret
// seed and public key (64), BLAKE2b-256 of ("Ed", key id, secret key) (32). That is the format of minisign 0.11's own
// files. (minisign leaves those last 32 bytes zero where there is no passphrase; we write them, and accept both.)
//
// The files are read and written in catalog/key_file.c; the arithmetic is in catalog/key.c.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

#define KEY_PUBLIC_SIZE 32
#define KEY_ID_SIZE 8
#define KEY_TEXT_SIZE 44 // base64url of a public key and a NUL byte
#define KEY_SIGNATURE_SIZE 64
#define KEY_FILE_MAXIMUM 4096u

struct key_public {
    unsigned char bytes[KEY_PUBLIC_SIZE];
    unsigned char id[KEY_ID_SIZE]; // zero when not known (a key that came from a catalog or an address)
};
struct key_secret; // kept in memory that is wiped when freed

bool key_equal(const struct key_public *a, const struct key_public *b); // by the 32 bytes alone
const char *key_to_text(const struct key_public *k, char text[static KEY_TEXT_SIZE]);
bool key_from_text(const char *text, size_t length,
                   struct key_public *ret); // strict; refuses what key_is_sound refuses
bool key_is_text(const char *text);         // would it take that?
// False for points of small order, for which a signature over everything can be made, and for encodings that are not
// the shortest of their point. Every way in asks this.
bool key_is_sound(const struct key_public *k);

int key_generate(struct key_secret **ret, struct error *error);
void key_free(struct key_secret **k); // wipes; for CLEANUP too
void key_public_of(const struct key_secret *k, struct key_public *ret);

// A bare Ed25519 signature (RFC 8032) over `bytes`; files are signed with catalog/signed.h.
int key_sign(const struct key_secret *k, const void *bytes, size_t n, unsigned char ret[static KEY_SIGNATURE_SIZE],
             struct error *error);
// key_verify says false as well where libcrypto lacks memory, and key_can_verify whether it can verify a signature that
// is known to be right.
bool key_can_verify(void);
bool key_verify(const struct key_public *k, const void *bytes, size_t n,
                const unsigned char signature[static KEY_SIGNATURE_SIZE]);

// Asks for a passphrase: writes at most `capacity` bytes with the NUL byte; returns its length (0: none) or -errno.
typedef int key_ask_passphrase(void *context, const char *prompt, char *ret, size_t capacity);

// Writes FILE (mode 0600, never over an existing file: -EEXIST) and FILE.pub. `passphrase` NULL or "": not encrypted.
int key_write_files(const struct key_secret *k, const char *path, const char *passphrase, struct error *error);
// `ask` (may be NULL: encrypted files are then refused, -EACCES) is called only if the file is encrypted. -EKEYREJECTED
// if the passphrase is wrong, -EBADMSG if the file is malformed.
int key_read_secret(const char *path, key_ask_passphrase *ask, void *context, struct key_secret **ret,
                    struct error *error);
int key_parse_secret(const void *bytes, size_t n, key_ask_passphrase *ask, void *context, struct key_secret **ret,
                     struct error *error);
// `path` names FILE.pub, or is itself the base64 line of such a file (as for `minisign -P`).
int key_read_public(const char *path, struct key_public *ret, struct error *error);
int key_parse_public(const void *bytes, size_t n, struct key_public *ret, struct error *error); // the file, or its line
