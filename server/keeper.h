// The keeper: the process beside the server that alone changes the site. It has no network; the web process, which has,
// holds no key and may write nothing of the site. Who takes the web process over can thus publish no more than what a
// publisher signed whose key the catalog allows.
//
//   web process                                     keeper (base/beside.h)
//   staging: objects that were uploaded  ─────┐
//   "hand-in KEY CLIENT TAG", a manifest ───▶ checks all of it by itself ─▶ objects placed ─▶ catalog signed
//                                        ◀─── a status of HTTP, and the answer's JSON
//
// 1. Of what it is told it believes what hashes and verifies: the manifest by its publisher's key, the right to the
//    name by the site's own signed catalog, each object by its hash, taken while it is copied to where the web process
//    cannot write, and the version as a whole by what its map says.
// 2. Every change is made under the site's lock, in the order of a publication (blockstore/site.h): objects, manifest,
//    catalog. So it is safe beside `rondo publish` in the same folder, and killed at any moment it leaves a valid site.
// 3. What was taken in stays in the staging area until the catalog lists it, or it is on the list of what waits for the
//    site's key: killed before, the keeper finds all of it there when the manifest is handed in again.
// 4. It ends with the web process, and the web process with it.
#pragma once

#include "base/beside.h"
#include "base/confine.h"
#include "catalog/key.h"

#define KEEPER_AUDIT_LOG "audit.log"

struct keeper_options {
    const char *site, *state; // folders
    const char *site_key;     // file of the secret key that signs catalogs, without passphrase; NULL: catalogs wait
                              // for a key that is elsewhere (server/keeper_pending.c)
    uint64_t quota;           // bytes that a publisher may bring into the site
};
// While there is one thread. Makes the state folder where it is missing. The key is read by the keeper alone.
int keeper_start(const struct keeper_options *options, struct beside *ret, struct error *error);

struct keeper_answer {
    unsigned status; // of HTTP
    char json[SOCKET_LINE_MAXIMUM];
};
// A manifest that was handed in: the descriptor of a file with its bytes, which stays the caller's. `tag` may be "";
// `client` is for the audit log. Any thread; waits until the version was read, hashed and listed, or refused. A failure
// is the keeper's end.
int keeper_hand_in(struct beside *keeper, const struct key_public *key, const char *client, const char *tag, int fd,
                   struct keeper_answer *ret, struct error *error);

extern const struct confine_call keeper_calls[];
extern const size_t keeper_call_count;
