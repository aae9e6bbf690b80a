// Trust: what this user has seen and decided, in SQLite at <home>/trust.db. It answers one question: may this catalog,
// from this address, be used, now?
//
//   root      per address: the root statements that were verified (catalog/root.h), of which the newest counts; none
//             where the site has only its first key
//   vouched   per address: the keys that the site has or had by its roots; old addresses may pin any of them
//   site      address → key (first contact remembered; "pinned" when the user wrote it), id and date of its last
//             catalog
//   seen      per (site key, id): the highest catalog number
//   serials   per (site key, id, name): the highest serial
//   clock     per site key: the greatest `issued` ever verified. Not one for all: else one site's catalog from the
//             year 9999 would make every other site's catalogs look expired
//   contacts  per address: the last catalog (its bytes, ETag, when it was checked)
//   log       what was seen and decided, for people to read and compare; nothing is decided by it
//
// One clock reading per command: the caller passes `now`. A changed database is written in one transaction with what
// the decision was; on refusal nothing but the log changes. A damaged database is moved aside with a warning naming it,
// and rebuilt: what was known of sites is then learned anew (TRUST T16), so that is said aloud.
//
// Any number of processes may use the database at once; a `struct trust` belongs to one thread. -EBUSY if others hold
// the database for longer than ten seconds.
#pragma once

#include "catalog/address.h"
#include "catalog/root.h"

struct trust;
int trust_open(const char *home, struct trust **ret, struct error *error);
void trust_close(struct trust *t);

// Looks the whole database over, and changes nothing: 0 (also if there is none), -EUCLEAN if it is damaged.
int trust_check_file(const char *home, struct error *error);

struct trust_roots { // files roots/first, roots/first + 1, … of a site, as they came
    unsigned first, count;
    const struct buf *files;
};
struct trust_request {
    const char *site;             // address, ends in "/"
    const struct key_public *pin; // from the address or the configuration, or NULL
    bool require_pin;             // --require-pin: unpinned first contact is refused, exit 5
    bool require_fresh;           // --require-fresh: an expired catalog is exit 6 even offline
    bool for_update;              // pull: an expired catalog is exit 6; otherwise it is one warning
    int64_t now;                  // seconds since 1970
    struct trust_roots roots;     // those that trust_want_roots asked for
};
struct trust_verdict {
    bool first_contact; // the key was remembered just now, and nobody had named it: show it
    bool rotated;       // its key is another one than before, which the site's root statements vouch for: tell it
    bool fresh;         // not expired, as far as that can be told
    bool clock_wrong;   // our clock lies before the greatest `issued` ever seen of this key: fresh cannot be told
    int64_t latest;     // that `issued`, for the message
};
#define TRUST_CLOCK_LEEWAY 300 // seconds by which clocks may differ before we call ours wrong

// Which root statements must be in the request before a catalog can be decided about: from *ret_first to the
// catalog's root_number; none if *ret_first is greater. A site whose keys were never changed needs none, nor does one
// of which the newest root is known. *ret_from is the root that they are to follow (root_follow), so that fetching them
// can end at the first that does not; its number is 0 where there is none.
int trust_want_roots(struct trust *t, const struct trust_request *request, const struct catalog *c, unsigned *ret_first,
                     struct root *ret_from, struct error *error);

// The file of a root statement that was verified for this address: -ENOENT if it was not seen.
int trust_load_root(struct trust *t, const char *site, unsigned number, struct buf *ret, struct error *error);

// Decides about a catalog whose signature was verified, and remembers it: 0, or -EKEYREJECTED (another key than the
// remembered or pinned one; message shows both and how to accept: `rondo trust rm`), -ESTALE (number lower than seen;
// or another id than at last, issued earlier), -EKEYEXPIRED (also at first contact: there is nothing verified earlier
// that could go on being used), -ENETUNREACH (a root statement that is wanted is not in the request).
int trust_check(struct trust *t, const struct trust_request *request, const struct catalog *c,
                struct trust_verdict *ret, struct error *error);

// The same in two steps, for a catalog whose versions are looked at in between. The first decides as trust_check does,
// and remembers nothing. The second decides about one name in it (NULL: none): its newest serial may not be lower than
// the highest seen (-ESTALE), though an older version that is still listed may be asked for. Then it remembers the
// catalog and the serial, in one transaction; a catalog that another process has overtaken meanwhile is none to refuse,
// and none to remember.
int trust_look(struct trust *t, const struct trust_request *request, const struct catalog *c, struct trust_verdict *ret,
               struct error *error);
int trust_settle(struct trust *t, const struct trust_request *request, const struct catalog *c, const char *name,
                 uint64_t newest_serial, struct error *error);

// The last catalog seen at this address: -ENOENT if there is none. *ret_bytes is malloc'ed. They are bytes from a disk:
// catalog_open them again.
int trust_load_catalog(struct trust *t, const char *site, void **ret_bytes, size_t *ret_size, char ret_etag[static 128],
                       int64_t *ret_checked, struct error *error);
// Stores a catalog that trust_check has accepted: -EKEYREJECTED if it is not one of the key remembered for the address.
// A catalog lower than what another process has seen meanwhile is not stored; that is no failure.
int trust_save_catalog(struct trust *t, const char *site, const void *bytes, size_t n, const char *etag,
                       int64_t checked, struct error *error);

// The catalogs of this key were changed by ourselves: those stored here count as checked a day earlier than they were.
int trust_forget_checks(struct trust *t, const struct key_public *key, struct error *error);

// For `trust ls|add|rm` and messages. A negative return of `each` ends the list and is returned. trust_add:
// -EKEYREJECTED if another key is remembered. trust_remove: -ENOENT if there is none; numbers and serials seen of the
// key stay known.
struct trust_site {
    const char *address; // valid during the call
    struct key_public key;
    bool pinned;
    unsigned root; // number of the newest root statement that is known; 1: none but the key itself
};
int trust_list(struct trust *t, int (*each)(void *context, const struct trust_site *site), void *context,
               struct error *error);
int trust_add(struct trust *t, const char *site, const struct key_public *key, struct error *error);
int trust_remove(struct trust *t, const char *site, struct error *error);

// The log, oldest first. Numbers are stored: none is ever given another meaning. Two users who see the same site
// compare their entries of catalogs: one number with two texts means that the site, or a thief of its key, shows each
// of them something else (TRUST T36); so does a warning, where one user sees both.
enum trust_event {
    TRUST_FIRST_CONTACT, // a key was remembered that nobody had named
    TRUST_PINNED,        // a key was named by the user or an address
    TRUST_FORGOTTEN,     // trust_remove
    TRUST_CATALOG,       // accepted, for the first time
    TRUST_ROTATED,       // the site's key is another one, by its root statements
    TRUST_REFUSED_KEY =
        64, // refusals from here on: another key than the known or named one, or one that nobody had named
    TRUST_REFUSED_NUMBER,
    TRUST_REFUSED_SERIAL,
    TRUST_REFUSED_EXPIRED,
};
const char *trust_event_name(enum trust_event event); // "first-contact", …
struct trust_entry {
    int64_t time;     // by the clock of that day
    const char *site; // valid during the call
    enum trust_event event;
    struct key_public key;
    bool has_catalog; // of TRUST_CATALOG and the refusals
    unsigned char id[CATALOG_ID_SIZE];
    uint64_t number;
    struct sha256 text; // of the catalog before its `---` line, so that it does not depend on the signature's comments
};
// `site` NULL: of all. A negative return of `each` ends the list and is returned.
int trust_list_log(struct trust *t, const char *site, int (*each)(void *context, const struct trust_entry *entry),
                   void *context, struct error *error);
