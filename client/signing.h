// Texts that are signed in a separate step, where the key is: what `rondo publish --unsigned` and `rondo renew
// --unsigned` leave in a file, `rondo sign` (or minisign -S) signs, and `rondo publish --signed` takes in; and root
// statements, which several keys sign, between `rondo key rotate --unsigned` and `rondo key rotate --signed`.
#pragma once

#include "base/buf.h"
#include "blockstore/manifest.h"
#include "catalog/root.h"

// A manifest, a catalog or a root statement, parsed; whether it is signed, and by whom, is the caller's matter.
struct signing_text {
    struct manifest *manifest; // NULL: it is none
    struct root root;          // number 0: it is none
    struct catalog catalog;    // else; its head alone, if it has shards
    struct key_public signer;  // whose signature the text asks for; of a root's several, the one that signs catalogs
};
// `text` has no `---` line. -EBADMSG unless it is one of them to the letter. The caller frees with signing_free.
int signing_parse(struct slice text, struct signing_text *ret, struct error *error);
void signing_free(struct signing_text *t); // for CLEANUP
// "manifest of debian 12.5, serial 7", "catalog of os, number 12", "root statement of os, number 2", for messages.
const char *signing_describe(const struct signing_text *t, char *ret, size_t capacity);

// Writes a text to a file, whole or not at all. -EEXIST if the file is there and is not such a text.
int signing_write_text(const char *path, const void *text, size_t n, struct error *error);

// Reads FILE: signed text, or a text beside which FILE.minisig has minisign's signature. In either case *ret is what
// rondo sign makes: text, `---`, signature; nothing is verified yet.
int signing_read_signed(const char *path, struct buf *ret, struct error *error);

// A public key: FILE.pub, minisign's line, or the 43 characters that an address has.
int signing_read_public(const char *key, struct key_public *ret, struct error *error);
