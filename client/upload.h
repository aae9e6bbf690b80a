// Sending to a catalog server (docs/api.md, "Publishing"): small requests one after the other, and objects side by
// side. The server is a stranger:
//
//   1. What it answers is bounded in bytes (UPLOAD_ANSWER_MAXIMUM, header lines too) and in the time without any, and
//      is escaped before it is shown.
//   2. Redirects are told, not followed: neither the token nor an object goes anywhere but to the address that was
//      given.
//   3. It decides what is sent again, but no object is sent without end: upload_objects sends each at most once, and
//      who calls it again looks whether anything has become of the last time.
//
// All of it belongs to one thread, the caller's. While it waits, a remembered signal (cli_catch_signals) ends it with
// -ECANCELED, and a terminal sees what is waited for.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "blockstore/site.h"

#define UPLOAD_ANSWER_MAXIMUM (1u << 20)
#define UPLOAD_AT_ONCE 4u            // objects
#define UPLOAD_ANSWER_SECONDS 30u    // without a byte, of an answer to what is quickly decided
#define UPLOAD_TOKEN_SIZE 44         // 43 characters of base64url, and a NUL byte
#define UPLOAD_MISSING_MAXIMUM 4096u // lines of one question

struct upload;
int upload_open(const char *site, struct upload **ret, struct error *error); // `site` ends in "/"
void upload_close(struct upload *u);                                         // NULL is fine
void upload_set_token(struct upload *u, const char token[static UPLOAD_TOKEN_SIZE]);

struct upload_answer {
    long status;     // of HTTP
    struct buf body; // the caller frees it, whatever upload_post returned
};
#define UPLOAD_ANSWER_NONE                                                                                             \
    {                                                                                                                  \
        .body = BUF_WITH_MAXIMUM(UPLOAD_ANSWER_MAXIMUM)                                                                \
    }
// Sends `n` bytes to `path` below the API's address, and takes the answer, whatever its status is. `doing` is for
// people ("asking what is missing"). A second try is made where the connection failed.
int upload_post(struct upload *u, const char *path, const void *body, size_t n, unsigned seconds, const char *doing,
                struct upload_answer *ret, struct error *error);

// What a status means that the caller has no better words for: -EKEYREJECTED (401, 403), -ENOENT (404, 405, 501: no
// publishing there), -EEXIST (409), -ENOSPC (413, 507), -EBADMSG (422 and what is no answer of ours), -ENETUNREACH
// (408, 429, 5xx). `did` is what was refused: "the session", "object 0123…".
int upload_explain(const struct upload *u, const char *did, const struct upload_answer *a, struct error *error);
// A text of a JSON answer ("$.token") of 43 characters of base64url; -EBADMSG for anything else.
int upload_find_token(const struct upload *u, const struct upload_answer *a, const char *path,
                      char ret[static UPLOAD_TOKEN_SIZE], struct error *error);

struct upload_object {
    struct sha256 name;
    uint32_t size;
    uint32_t offset; // so much of it is there already
    bool missing;    // the server lacks it; set by whoever asked
    bool sent;       // it was said to be there, whole and verified
};
struct upload_counts {
    uint64_t bytes; // of bodies that were sent
    uint64_t objects;
    long status; // of the last object that did not arrive; 0: the network's fault
};
// Sends those of the objects that are missing, from the site's folder, at most UPLOAD_AT_ONCE side by side; each
// is tried once. 0 also if some did not arrive, and `sent` tells which did; *counts is added to.
// -EKEYREJECTED if the token is not accepted any more: a new session is needed. -ENOSPC, -EBADMSG: it is of no use to
// go on.
int upload_objects(struct upload *u, struct site *from, struct upload_object *objects, size_t n,
                   struct upload_counts *counts, struct error *error);
