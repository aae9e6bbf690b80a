// rondo publish and commit to a site over HTTP: what the files of that share.
//
//   publish_remote.c      the site, its catalog, the work folder
//   publish_send.c        what is sent, and what came of it
//   publish_session.c     the conversation with the server (docs/api.md): who we are, what is missing, the manifest
//   publish_elsewhere.c   what older versions' packs at the site say, read by ranges
//
//   address → catalog, verified and trusted as by every reader → may this key publish this name? → session
//     → packs into the work folder, as into a site → manifest, signed → objects that the site lacks → the manifest
//     → the site's catalog again: does it list this?
//
// 1. Of the server only what is signed is believed: the catalog by its key (trust database, pin in the address), older
//    versions by the hashes that it names. What we sign is a manifest of blocks that were hashed here, or that older
//    versions name by hash and that we signed before (blockstore/parent.h); and the text of a session, of one form,
//    for the site whose catalog was verified.
// 2. The work folder is <cache>/publishing/<site key>/<image>, a site's folder without a catalog, and locked as one.
//    Interrupted at any moment, the same command goes on from the packs that are whole in it, and the server from the
//    bytes that it has. When the site lists the version, the folder goes.
// 3. The work folder holds the signed manifest before that is handed in: so a command that was killed behind that is
//    told from one whose version somebody else published.
#pragma once

#include "blockstore/mirrors.h"
#include "client/images.h"
#include "client/publish_private.h"
#include "client/upload.h"

struct publish_elsewhere {
    struct site_elsewhere elsewhere; // its context is this
    struct mirrors *mirrors;
    // The bytes that came last
    struct sha256 pack;
    uint64_t from, to;
    unsigned char *bytes;
    uint64_t read_to; // where the last read of that pack ended
};
int publish_elsewhere_open(struct publish_elsewhere *e, struct store *store, const char *site, struct error *error);
void publish_elsewhere_close(struct publish_elsewhere *e); // also if it is zeroed

struct publish_remote {
    char site[CATALOG_URL_SIZE]; // its address, without the key
    bool has_pin;
    struct key_public pin;
    struct images images;
    struct publish_elsewhere elsewhere;
    struct upload *upload;
    char work[PATH_TEXT_SIZE];
    struct upload_counts counts;
};

// The site's catalog as it is now, into p->catalog.
int publish_remote_get_catalog(struct publication *p, struct error *error);
const struct catalog_image *publish_remote_find_version(const struct publication *p); // p's, if it is listed

// Proves to the server that we have the publisher's key; the token is the upload's then.
int publish_session_open(struct publication *p, struct error *error);
// Asks which of the objects (sorted by name) are missing there, and from where on.
int publish_session_ask_missing(struct publication *p, struct upload_object *objects, size_t n, struct error *error);
// Hands the signed manifest in. *ret_status is 201: listed, they say; 202: it waits for the site's key; else *error has
// the words for it: 409, 422; 429 or 503: somebody else is changing the site just now. *ret_serial is what a 409 says
// of the newest version, which may be one that waits: 0 if it says nothing.
int publish_session_hand_in(struct publication *p, const struct buf *file, long *ret_status, uint64_t *ret_serial,
                            struct error *error);
