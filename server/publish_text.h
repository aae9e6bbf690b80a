// What publishers send over HTTP besides objects and manifests, as text (docs/api.md, "Publishing"): the parsers alone.
// Nothing is decided here, and nothing verified.
#pragma once

#include "catalog/catalog.h"

#define PUBLISH_CHALLENGE_SIZE 44 // 43 characters of base64url and a NUL byte: of challenges and of tokens
#define PUBLISH_CHALLENGE_BYTES 32
#define PUBLISH_SESSION_MAXIMUM 4096u // bytes of a session's signed text
#define PUBLISH_MISSING_LINES 4096u   // of one question
#define PUBLISH_MISSING_MAXIMUM (PUBLISH_MISSING_LINES * 80u)

// The part of an object that a request brings: Content-Range (RFC 9110, 14.4). Both numbers count bytes.
struct publish_part {
    uint64_t first, length, total; // length ≥ 1; first + length ≤ total
};
// "bytes A-B/TOTAL"; false for anything else, for "*" as well.
bool publish_text_parse_part(struct slice header, struct publish_part *ret);

// The body that asks for a challenge: one line "key <public key>". -EBADMSG.
int publish_text_parse_key(const void *bytes, size_t n, struct key_public *ret, struct error *error);

// A line of the question what is missing: "<sha256> <bytes>". 1, 0 at the end, or -EBADMSG, also behind the
// PUBLISH_MISSING_LINES-th line.
struct publish_object {
    struct sha256 name;
    uint64_t size;
};
int publish_text_next_object(struct text_reader *lines, struct publish_object *ret, struct error *error);

// The text that a session is opened with, without `---` and the signature:
//
//   rondo-publish 1
//   site <public key>
//   id <128-bit>
//   key <public key>
//   challenge <43 characters>
//
// These lines and no others, in this order. The text says which site is meant, so that no server can use what was
// signed for it at another one. -EBADMSG.
struct publish_session_text {
    struct key_public site, key;
    unsigned char id[CATALOG_ID_SIZE];
    unsigned char challenge[PUBLISH_CHALLENGE_BYTES];
};
int publish_text_parse_session(struct slice text, struct publish_session_text *ret, struct error *error);

// A tag as it stands in a query, percent-encoded. -EBADMSG if that is no name of a tag.
int publish_text_parse_tag(struct slice value, char ret[static CATALOG_NAME_SIZE], struct error *error);

// "Bearer TOKEN": the token's bytes.
bool publish_text_parse_token(struct slice header, unsigned char ret[static PUBLISH_CHALLENGE_BYTES]);
