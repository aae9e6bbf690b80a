// The lines that minisign's files are made of, for key_file.c and signed.c: a comment line with a fixed beginning, and
// a line of base64 of a fixed number of bytes. Formats: key.h and signed.h.
#pragma once

#include "base/text.h"

#define MINISIGN_COMMENT_PREFIX "untrusted comment: "
#define MINISIGN_TRUSTED_PREFIX "trusted comment: "
#define MINISIGN_COMMENT_MAXIMUM 1024u // bytes of a line with its newline; minisign 0.11's own limits
#define MINISIGN_TRUSTED_MAXIMUM 8192u

// Each takes one line off *rest. -EBADMSG, and *rest unchanged, if the line is not of that form: no newline at its end,
// longer than `maximum`, another prefix, or what text_is_printable refuses (a tab is allowed: minisign writes tabs).
int minisign_cut_comment(struct slice *rest, const char *prefix, size_t maximum, struct slice *ret_comment);
int minisign_cut_bytes(struct slice *rest, void *ret, size_t n); // canonical base64 of exactly `n` ≤ 256 bytes
