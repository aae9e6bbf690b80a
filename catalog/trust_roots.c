// Which key may sign catalogs for an address: rule 1 of trust.c, with the root statements of catalog/root.h.
//
//   nothing known ──────────── the catalog's own root, signed by its own keys, as a first contact shows its key
//   one key named or pinned ── if it signs the catalog: the root that the catalog names; else the first root that this
//                              key has signed, and from there each to the next
//   a root known ───────────── from it each to the next; the number never falls
//
// 1. A root counts only after the one before it, but for the first of a chain; so it is fetched only after the one
//    before it was asked for, and the chain ends at the number and hash that the catalog names.
// 2. A pin is held to be one of the site's keys if the catalog is signed with it, or one of its roots has it, or a
// chain
//    from it leads to the root that the catalog names. So it goes on serving after the key was changed.
// 3. Root and catalog are remembered together, or not at all.
// 4. What was signed under an earlier root is out of date (-ESTALE); what a revoked key signs, or a key that never was
//    the site's, is not the site's (-EKEYREJECTED).
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/signed.h"
#include "catalog/trust_private.h"

#include "base/banned.h"

// What is known of an address's keys.
struct known_keys {
    bool has_root; // else only a key was named, if any
    struct root root;
    bool pin_vouched;     // rule 2, without a chain
    bool catalog_vouched; // the catalog's key is or was one of the site's
};

int trust_is_vouched(struct trust *t, const char *address, const struct key_public *key, bool *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error, "SELECT 1 FROM vouched WHERE address = ? AND key = ?", "tb", address,
                           key->bytes, sizeof key->bytes);
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r >= 0)
        *ret = r == 1;
    return r < 0 ? r : 0;
}

static int load_root(struct trust *t, const char *address, const struct known_site *site, struct known_keys *ret,
                     struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    struct slice text = {.length = 0};
    struct slice signatures;
    int r = trust_db_start(t, &s, error, "SELECT number, file FROM root WHERE address = ? ORDER BY number DESC LIMIT 1",
                           "t", address);
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r < 0)
        return r;
    if (r == 0) {
        ret->has_root = site->has_last;
        if (ret->has_root)
            root_imply(&site->key, &ret->root);
        return 0;
    }
    const void *file = sqlite3_column_blob(s, 1);
    const int n = sqlite3_column_bytes(s, 1);
    if (!file || n <= 0 || signed_split(file, (size_t)n, &text, &signatures, NULL) < 0 ||
        root_parse(text.at, text.length, &ret->root, NULL) < 0 || sqlite3_column_int64(s, 0) != ret->root.number ||
        !key_equal(&ret->root.catalog_key, &site->key))
        return trust_db_complain(t, error);
    ret->has_root = true;
    return 0;
}

static int load_keys(struct trust *t, const struct trust_request *request, const struct known_site *site,
                     const struct catalog *c, struct known_keys *ret, struct error *error)
{
    struct known_keys k = {.has_root = false};
    int r = site->known ? load_root(t, request->site, site, &k, error) : 0;
    if (r == 0 && site->known)
        r = trust_is_vouched(t, request->site, &c->site_key, &k.catalog_vouched, error);
    if (r == 0 && request->pin)
        r = trust_is_vouched(t, request->site, request->pin, &k.pin_vouched, error);
    if (r < 0)
        return r;
    k.pin_vouched |=
        !request->pin || key_equal(request->pin, &c->site_key) || (k.has_root && root_has_key(&k.root, request->pin));
    *ret = k;
    return 0;
}

// The key that a chain begins with where no root is known; NULL at a first contact.
static const struct key_public *named_key(const struct trust_request *request, const struct known_site *site)
{
    return site->known ? &site->key : request->pin;
}

static unsigned first_wanted(const struct trust_request *request, const struct known_site *site,
                             const struct known_keys *k, const struct catalog *c)
{
    const struct key_public *named = named_key(request, site);
    const unsigned last = c->root_number;
    if (k->has_root && k->root.number > last)
        return last + 1;
    if (!k->pin_vouched || (!k->has_root && named && !key_equal(named, &c->site_key)))
        return 2;
    return k->has_root ? k->root.number + 1 : last;
}

int trust_want_roots(struct trust *t, const struct trust_request *request, const struct catalog *c, unsigned *ret_first,
                     struct root *ret_from, struct error *error)
{
    struct known_site site = {.known = false};
    struct known_keys k = {.has_root = false};
    if (c->root_number <= 1) {
        *ret_first = 2;
        return 0;
    }
    int r = trust_load_site(t, request->site, &site, error);
    if (r == 0)
        r = load_keys(t, request, &site, c, &k, error);
    if (r < 0)
        return r;
    *ret_first = first_wanted(request, &site, &k, c);
    *ret_from = (struct root){.number = 0};
    if (k.has_root && *ret_first == k.root.number + 1)
        *ret_from = k.root;
    return 0;
}

int trust_load_root(struct trust *t, const char *site, unsigned number, struct buf *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error, "SELECT file FROM root WHERE address = ? AND number = ?", "ti", site,
                           (int64_t)number);
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r < 0)
        return r;
    const int n = r == 1 ? sqlite3_column_bytes(s, 0) : 0;
    if (r == 0)
        return error_set(error, ENOENT, "root %u of %s was never seen here", number, site);
    if (n <= 0 || (unsigned)n > ROOT_SIZE_MAXIMUM)
        return trust_db_complain(t, error);
    r = buf_append(ret, sqlite3_column_blob(s, 0), (size_t)n);
    return r < 0 ? error_set(error, -r, "not enough memory for root %u of %s", number, site) : 0;
}

static const struct buf *find_root(const struct trust_request *request, unsigned number)
{
    const struct trust_roots *roots = &request->roots;
    return number >= roots->first && number - roots->first < roots->count ? &roots->files[number - roots->first] : NULL;
}

// From `from` (NULL: from the first root that `named` has signed; without that, from root `last` itself) to `last`.
static int walk(const struct trust_request *request, const struct root *from, const struct key_public *named,
                unsigned last, struct root *ret, unsigned *ret_verified, struct error *error)
{
    char key[KEY_TEXT_SIZE];
    struct root now = {.number = 0};
    unsigned i = from ? from->number + 1 : named ? 2 : last;
    unsigned verified = 0;
    if (from)
        now = *from;
    for (; i <= last; i++) {
        const struct buf *file = find_root(request, i);
        if (!file)
            return error_set(error, ENETUNREACH,
                             "%s is at root %u of its keys, and root %u was never seen here; go online once",
                             request->site, last, i);
        int r = 0;
        if (now.number)
            r = root_follow(&now, file->data, file->size, &now, error);
        else if (!named || root_is_signed_by(file->data, file->size, named))
            r = root_open(file->data, file->size, &now, error);
        else
            continue;
        if (r == 0 && now.number != i)
            r = error_set(error, EBADMSG, "it is root %u", now.number);
        if (r < 0)
            return error_prefix(error, r,
                                "root %u of %s is refused, and nothing has changed (if the site's owner says "
                                "that all its keys are new: rondo trust rm '%s')",
                                i, request->site, request->site);
        verified = verified ? verified : i;
    }
    if (!now.number)
        return error_set(error, EKEYREJECTED,
                         "no root of %s is signed by %s, which was asked for; ask the site's owner", request->site,
                         key_to_text(named, key));
    *ret = now;
    *ret_verified = verified;
    return 0;
}

// The catalog has an older root than the one that is known.
static int refuse_older(const struct trust_request *request, const struct known_keys *k, const struct catalog *c,
                        struct error *error)
{
    char key[KEY_TEXT_SIZE];
    key_to_text(&c->site_key, key);
    if (root_revokes(&k->root, &c->site_key))
        return error_set(error, EKEYREJECTED,
                         "the catalog of %s is signed with the key %s, which the site has revoked (root %u); it is "
                         "refused, and nothing has changed",
                         request->site, key, k->root.number);
    return error_set(error, ESTALE,
                     "%s offers a catalog under root %u of its keys, older than root %u that was seen before; it is "
                     "refused, and nothing has changed. Try again later, or ask the site's owner",
                     request->site, c->root_number, k->root.number);
}

// For sites that have one key and no root statements, and for keys that never were the site's.
static int check_one_key(const struct trust_request *request, const struct known_site *site, const struct catalog *c,
                         struct error *error)
{
    char ours[KEY_TEXT_SIZE];
    char theirs[KEY_TEXT_SIZE];
    key_to_text(&c->site_key, theirs);
    if (site->known && !key_equal(&site->key, &c->site_key))
        return error_set(
            error, EKEYREJECTED,
            "the key of %s has changed: it was %s and is now %s. Somebody may be deceiving you. If the site's "
            "owner confirms the new key: rondo trust rm '%s'",
            request->site, key_to_text(&site->key, ours), theirs, request->site);
    if (request->pin && !key_equal(request->pin, &c->site_key))
        return error_set(error, EKEYREJECTED,
                         "%s is signed with the key %s, and %s was asked for; ask the site's owner which is right",
                         request->site, theirs, key_to_text(request->pin, ours));
    return 0;
}

// The newest root: the one that is known, or what a chain leads to.
static int check_roots(const struct trust_request *request, const struct known_site *site, const struct known_keys *k,
                       const struct catalog *c, struct root_change *ret, struct error *error)
{
    const unsigned last = c->root_number;
    struct root_change change = {.root = k->root};
    struct root from_pin;
    unsigned unused = 0;
    int r = 0;
    change.advanced = !k->has_root || k->root.number < last;
    if (change.advanced) {
        const struct key_public *named = named_key(request, site);
        if (named && key_equal(named, &c->site_key))
            named = NULL; // it has signed the catalog, which names the root
        r = walk(request, k->has_root ? &k->root : NULL, named, last, &change.root, &change.verified, error);
    }
    if (r == 0 && (r = root_check_catalog(&change.root, c, error)) < 0)
        error_prefix(error, r, "the catalog of %s is refused, and nothing has changed", request->site);
    if (r == 0 && !k->pin_vouched) {
        r = walk(request, NULL, request->pin, last, &from_pin, &unused, error);
        if (r == 0 && !sha256_equal(&from_pin.text, &change.root.text))
            r = error_set(error, EKEYREJECTED, "the key that was asked for leads to another root of %s", request->site);
        change.pin_led = true;
    }
    if (r == 0)
        *ret = change;
    return r;
}

int trust_check_key(struct trust *t, const struct trust_request *request, const struct known_site *site,
                    const struct catalog *c, struct root_change *ret, struct error *error)
{
    struct known_keys k = {.has_root = false};
    char key[KEY_TEXT_SIZE];
    int r = load_keys(t, request, site, c, &k, error);
    if (r < 0)
        return r;
    if (!site->known && !request->pin && request->require_pin)
        return error_set(
            error, EKEYREJECTED,
            "first contact with %s, whose key nobody has named; ask its owner for the key and add it to the "
            "address (it says #%s), or: rondo trust add '%s' KEY",
            request->site, key_to_text(&c->site_key, key), request->site);
    if (k.has_root && c->root_number < k.root.number)
        return k.catalog_vouched || key_equal(&k.root.catalog_key, &c->site_key)
                   ? refuse_older(request, &k, c, error)
                   : check_one_key(request, site, c, error);
    if (c->root_number > 1)
        return check_roots(request, site, &k, c, ret, error);
    r = check_one_key(request, site, c, error);
    if (r == 0)
        root_imply(&c->site_key, &ret->root);
    return r;
}

// --- remembering

static int vouch_for(struct trust *t, const char *address, const struct key_public *key, struct error *error)
{
    return trust_db_run(t, error, "INSERT OR IGNORE INTO vouched(address, key) VALUES(?, ?)", "tb", address, key->bytes,
                        sizeof key->bytes);
}

static int vouch_for_all(struct trust *t, const char *address, const struct root *root, struct error *error)
{
    int r = vouch_for(t, address, &root->catalog_key, error);
    for (unsigned i = 0; i < root->key_count && r == 0; i++)
        r = vouch_for(t, address, &root->keys[i], error);
    return r;
}

int trust_remember_root(struct trust *t, const struct trust_request *request, const struct known_site *site,
                        const struct catalog *c, const struct root_change *change, struct error *error)
{
    struct known_keys k = {.has_root = false};
    int r = load_keys(t, request, site, c, &k, error);
    if (r == 0 && k.has_root)
        r = vouch_for_all(t, request->site, &k.root, error);
    else if (r == 0 && named_key(request, site))
        r = vouch_for(t, request->site, named_key(request, site), error);
    if (r == 0 && change->pin_led)
        r = vouch_for(t, request->site, request->pin, error);
    for (unsigned i = change->verified; change->advanced && i <= change->root.number && r == 0; i++) {
        const struct buf *file = find_root(request, i);
        struct slice text = {.length = 0};
        struct slice signatures;
        struct root root;
        if (!file) // trust_check_key has just looked at it, and at its signatures
            return error_set(error, ENETUNREACH, "root %u of %s was never seen here", i, request->site);
        r = signed_split(file->data, file->size, &text, &signatures, error);
        if (r == 0)
            r = root_parse(text.at, text.length, &root, error);
        if (r == 0)
            r = vouch_for_all(t, request->site, &root, error);
        if (r == 0)
            r = trust_db_run(t, error, "INSERT OR REPLACE INTO root(address, number, file) VALUES(?, ?, ?)", "tib",
                             request->site, (int64_t)i, file->data, file->size);
    }
    if (r == 0 && site->known && change->advanced)
        r = trust_log_key(t, request->now, request->site, TRUST_ROTATED, &c->site_key, error);
    return r;
}
