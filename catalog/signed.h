// Signed text: one file that holds a text, a line `---`, and the lines of a minisign signature over everything before
// the `---` line (FORMATS, "Signed text"). Text and signature change together, and what is verified is exactly what is
// parsed: signed_verify returns the slice of the caller's own bytes that the signature covers.
//
// The signature is minisign's: a line `untrusted comment: …`, base64 of "ED" (BLAKE2b-512 prehashed) or "Ed" (legacy),
// key id and signature (64); a line `trusted comment: …`; base64 of the global signature over signature and trusted
// comment, which is checked as well. We write "ED" and accept both, as Debian's minisign does.
#pragma once

#include "base/text.h"
#include "catalog/key.h"

#define SIGNED_SEPARATOR "---\n"

// Appends text, separator and signature. The text must end in a newline and hold no `---` line. `trusted_comment` is
// printable text (≤ 256 bytes).
int signed_write(const struct key_secret *k, const void *text, size_t n, const char *trusted_comment, struct buf *ret,
                 struct error *error);

// Its last part alone: appends the four lines of one more signature over `text`. (A text may have several.)
int signed_append_signature(const struct key_secret *k, const void *text, size_t n, const char *trusted_comment,
                            struct buf *ret, struct error *error);

// Cuts the four lines of one signature off *rest: -EBADMSG if they are none. For signed_verify_detached.
int signed_cut_signature(struct slice *rest, struct slice *ret, struct error *error);

// The text before the separator; -EBADMSG if there is none.
int signed_split(const void *bytes, size_t n, struct slice *ret_text, struct slice *ret_signature, struct error *error);

// Verifies with this key and no other: -EKEYREJECTED if the signature is not this key's over this text, -EBADMSG if the
// file is malformed; -ENOMEM if there is no memory to verify it with.
int signed_verify(const void *bytes, size_t n, const struct key_public *key, struct slice *ret_text,
                  struct error *error);

// A detached minisign signature over `bytes` (for tests and tools): same checks.
int signed_verify_detached(const void *bytes, size_t n, const void *signature, size_t signature_size,
                           const struct key_public *key, struct error *error);
