// Decisions about sites (trust.h). The rules, with the threat each answers (docs/security.md):
//
// 1. An address has one key: the one pinned, else the one remembered. Another is refused, whoever asks (arbitrary
//    installation). A pin does not overrule what is remembered: pins come from links. Only the site's root statements
//    replace a key by another, from the one that is known on (trust_roots.c).
// 2. A (key, id) has one number, which never falls (rollback), and a name in it one highest serial.
// 3. When an address shows another id than at last, the catalog must not be older than the one at last: else an old
//    catalog of an earlier id would be a way around 2. Under a new root statement that does not hold: what a thief of
//    the former key has signed binds nobody any more (fast-forward).
// 4. Time is the greater of our clock and the greatest `issued` of this key, so that a clock set back does not make old
//    catalogs fresh (indefinite freeze), and what is wrong is told apart: the clock or the catalog.
// 5. Each decision is one transaction that begins with the write lock. What did not change is not written, so that a
//    full disk does not keep anybody from what they have.
#include "catalog/trust.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/trust_private.h"

#include "base/banned.h"

// The one number that a statement gives; `none` if it gives no row. Ends the statement.
static int take_number(struct trust *t, sqlite3_stmt *statement, int64_t none, int64_t *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = statement;
    int r = trust_db_step(t, s, error);
    if (r < 0)
        return r;
    if (r == 1 && sqlite3_column_type(s, 0) != SQLITE_INTEGER)
        return trust_db_complain(t, error);
    *ret = r == 1 ? sqlite3_column_int64(s, 0) : none;
    return 0;
}

static int load_seen(struct trust *t, const struct catalog *c, int64_t *ret, struct error *error)
{
    sqlite3_stmt *s = NULL;
    int r = trust_db_start(t, &s, error, "SELECT number FROM seen WHERE key = ? AND id = ?", "bb", c->site_key.bytes,
                           sizeof c->site_key.bytes, c->id, sizeof c->id);
    return r < 0 ? r : take_number(t, s, 0, ret, error);
}

static int load_clock(struct trust *t, const struct key_public *key, int64_t *ret, struct error *error)
{
    sqlite3_stmt *s = NULL;
    int r = trust_db_start(t, &s, error, "SELECT issued FROM clock WHERE key = ?", "b", key->bytes, sizeof key->bytes);
    return r < 0 ? r : take_number(t, s, INT64_MIN, ret, error);
}

// Rules 2 and 3.
static int check_number(const struct trust_request *request, const struct known_site *site, const struct catalog *c,
                        int64_t seen, bool new_root, struct error *error)
{
    char last[32];
    char now[32];
    if ((int64_t)c->number < seen)
        return error_set(
            error, ESTALE,
            "%s offers catalog number %llu, older than number %lld that was seen before; it is refused, and "
            "nothing has changed. Try again later, or ask the site's owner",
            request->site, (unsigned long long)c->number, (long long)seen);
    if (!new_root && site->has_last && memcmp(site->id, c->id, sizeof c->id) != 0 && c->issued < site->issued)
        return error_set(
            error, ESTALE,
            "%s offers a catalog with another id, issued %s, older than the one of %s that was seen before; it "
            "is refused, and nothing has changed. Ask the site's owner",
            request->site, text_format_time(c->issued, now), text_format_time(site->issued, last));
    return 0;
}

// Rule 4.
static int check_time(const struct trust_request *request, const struct known_site *site, const struct catalog *c,
                      int64_t clock, struct trust_verdict *verdict, struct error *error)
{
    char now[32];
    char latest[32];
    char expires[32];
    verdict->latest = clock > c->issued ? clock : c->issued;
    verdict->clock_wrong = request->now < verdict->latest - TRUST_CLOCK_LEEWAY;
    const int64_t time = request->now > verdict->latest ? request->now : verdict->latest;
    const bool expired = c->expires <= time;
    verdict->fresh = !expired && !verdict->clock_wrong;
    text_format_time(request->now, now);
    text_format_time(verdict->latest, latest);
    text_format_time(c->expires, expires);
    const bool first = !site->has_last;
    if (expired && (request->for_update || request->require_fresh || first))
        return verdict->clock_wrong
                   ? error_set(
                         error, EKEYEXPIRED,
                         "the catalog of %s expired on %s, and the clock here is wrong: it says %s, but a catalog of "
                         "%s was seen. Set the clock; then ask the site's owner for a new catalog (rondo renew)",
                         request->site, expires, now, latest)
                   : error_set(
                         error, EKEYEXPIRED,
                         "the catalog of %s expired on %s (the clock here says %s); its owner must sign a new one "
                         "(rondo renew)",
                         request->site, expires, now);
    if (verdict->clock_wrong && request->require_fresh)
        return error_set(
            error, EKEYEXPIRED,
            "whether the catalog of %s is fresh cannot be told: the clock here says %s, but a catalog of %s "
            "was seen. Set the clock",
            request->site, now, latest);
    return 0;
}

static int remember(struct trust *t, const struct trust_request *request, const struct known_site *site,
                    const struct catalog *c, int64_t seen, int64_t clock, const struct root_change *change,
                    struct error *error)
{
    const bool pinned = request->pin || site->pinned;
    const void *key = c->site_key.bytes;
    const size_t key_size = sizeof c->site_key.bytes;
    int r = change->advanced || change->pin_led ? trust_remember_root(t, request, site, c, change, error) : 0;
    if (r == 0 && (change->advanced || !site->has_last || site->pinned != pinned || site->issued != c->issued ||
                   memcmp(site->id, c->id, sizeof c->id) != 0))
        r = trust_db_run(t, error,
                         "INSERT OR REPLACE INTO site(address, key, pinned, id, issued) VALUES(?, ?, ?, ?, ?)", "tbibi",
                         request->site, key, key_size, (int64_t)pinned, c->id, sizeof c->id, c->issued);
    if (r == 0 && (int64_t)c->number > seen)
        r = trust_db_run(t, error, "INSERT OR REPLACE INTO seen(key, id, number) VALUES(?, ?, ?)", "bbi", key, key_size,
                         c->id, sizeof c->id, (int64_t)c->number);
    if (r == 0 && c->issued > clock)
        r = trust_db_run(t, error, "INSERT OR REPLACE INTO clock(key, issued) VALUES(?, ?)", "bi", key, key_size,
                         c->issued);
    if (r == 0 && (!site->known || site->pinned != pinned))
        r = trust_log_key(t, request->now, request->site, pinned ? TRUST_PINNED : TRUST_FIRST_CONTACT, &c->site_key,
                          error);
    return r < 0 ? r : trust_log_accepted(t, request->now, request->site, c, error);
}

// What is known of the catalog's site and key.
struct known {
    struct known_site site;
    int64_t seen, clock;
};

static int load_known(struct trust *t, const struct trust_request *request, const struct catalog *c, struct known *ret,
                      struct error *error)
{
    int r = trust_load_site(t, request->site, &ret->site, error);
    if (r == 0)
        r = load_seen(t, c, &ret->seen, error);
    return r < 0 ? r : load_clock(t, &c->site_key, &ret->clock, error);
}

static int decide(struct trust *t, const struct trust_request *request, const struct catalog *c, bool and_remember,
                  struct trust_verdict *ret, struct error *error)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    struct known known = {.seen = 0};
    struct trust_verdict verdict = {.first_contact = false};
    struct root_change change = {.advanced = false};
    enum trust_event refusal = TRUST_REFUSED_KEY;
    int r = trust_db_begin(t, &x, error);
    if (r == 0)
        r = load_known(t, request, c, &known, error);
    if (r < 0)
        return r;
    r = trust_check_key(t, request, &known.site, c, &change, error);
    if (r == -ESTALE || r == 0)
        refusal = TRUST_REFUSED_NUMBER;
    if (r == 0)
        r = check_number(request, &known.site, c, known.seen, change.advanced, error);
    if (r == 0) {
        refusal = TRUST_REFUSED_EXPIRED;
        r = check_time(request, &known.site, c, known.clock, &verdict, error);
    }
    if (r == -EKEYREJECTED || r == -ESTALE || r == -EKEYEXPIRED) {
        trust_db_end(&x);
        trust_log_refusal(t, request->now, request->site, refusal, c);
    }
    if (r < 0)
        return r;
    if (and_remember)
        r = remember(t, request, &known.site, c, known.seen, known.clock, &change, error);
    if (r == 0 && and_remember)
        r = trust_db_commit(&x, error);
    if (r < 0)
        return r;
    verdict.first_contact = !known.site.known && !request->pin;
    verdict.rotated = known.site.known && !key_equal(&known.site.key, &c->site_key);
    *ret = verdict;
    return 0;
}

int trust_check(struct trust *t, const struct trust_request *request, const struct catalog *c,
                struct trust_verdict *ret, struct error *error)
{
    return decide(t, request, c, true, ret, error);
}

int trust_look(struct trust *t, const struct trust_request *request, const struct catalog *c, struct trust_verdict *ret,
               struct error *error)
{
    return decide(t, request, c, false, ret, error);
}

static int settle_serial(struct trust *t, const struct catalog *c, const char *name, uint64_t newest_serial,
                         struct error *error)
{
    sqlite3_stmt *s = NULL;
    int64_t highest = 0;
    if (newest_serial > INT64_MAX)
        return error_set(error, EBADMSG, "the serial of %s is out of range", name);
    int r = trust_db_start(t, &s, error, "SELECT serial FROM serials WHERE key = ? AND id = ? AND name = ?", "bbt",
                           c->site_key.bytes, sizeof c->site_key.bytes, c->id, sizeof c->id, name);
    if (r == 0)
        r = take_number(t, s, 0, &highest, error);
    if (r < 0)
        return r;
    if ((int64_t)newest_serial < highest)
        return error_set(
            error, ESTALE,
            "the newest version of %s in the site %s has serial %llu, but serial %lld was seen before; it is "
            "refused. Name an older version to run it, or ask the site's owner",
            name, c->site, (unsigned long long)newest_serial, (long long)highest);
    if ((int64_t)newest_serial == highest)
        return 0;
    return trust_db_run(t, error, "INSERT OR REPLACE INTO serials(key, id, name, serial) VALUES(?, ?, ?, ?)", "bbti",
                        c->site_key.bytes, sizeof c->site_key.bytes, c->id, sizeof c->id, name, (int64_t)newest_serial);
}

int trust_settle(struct trust *t, const struct trust_request *request, const struct catalog *c, const char *name,
                 uint64_t newest_serial, struct error *error)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    struct known known = {.seen = 0};
    struct root_change change = {.advanced = false};
    int r = trust_db_begin(t, &x, error);
    if (r == 0)
        r = load_known(t, request, c, &known, error);
    if (r < 0)
        return r;
    r = trust_check_key(t, request, &known.site, c, &change, error); // that of a first contact may be known by now
    const bool overtaken = r == -ESTALE; // by a catalog under a newer root, since trust_look
    if (overtaken)
        r = 0;
    const bool known_key = r == 0;
    if (r == 0 && name)
        r = settle_serial(t, c, name, newest_serial, error);
    if (r == -EKEYREJECTED || r == -ESTALE) {
        trust_db_end(&x);
        trust_log_refusal(t, request->now, request->site, known_key ? TRUST_REFUSED_SERIAL : TRUST_REFUSED_KEY, c);
        return r;
    }
    if (r == 0 && !overtaken && check_number(request, &known.site, c, known.seen, change.advanced, NULL) == 0)
        r = remember(t, request, &known.site, c, known.seen, known.clock, &change, error);
    return r < 0 ? r : trust_db_commit(&x, error);
}

int trust_load_catalog(struct trust *t, const char *site, void **ret_bytes, size_t *ret_size, char ret_etag[static 128],
                       int64_t *ret_checked, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error, "SELECT bytes, etag, checked FROM contacts WHERE address = ?", "t", site);
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r < 0)
        return r;
    if (r == 0)
        return error_set(error, ENOENT, "no catalog of %s is stored here yet", site);
    const void *bytes = sqlite3_column_blob(s, 0);
    const int size = sqlite3_column_bytes(s, 0);
    const char *etag = (const char *)sqlite3_column_text(s, 1);
    if (!bytes || size <= 0 || (unsigned)size > CATALOG_SIZE_MAXIMUM || !etag || strlen(etag) >= 128)
        return trust_db_complain(t, error);
    char *copy = io->malloc((size_t)size + 1);
    if (!copy)
        return error_set(error, ENOMEM, "not enough memory for the catalog of %s", site);
    memcpy(copy, bytes, (size_t)size);
    copy[size] = '\0';
    *ret_bytes = copy;
    *ret_size = (size_t)size;
    memcpy(ret_etag, etag, strlen(etag) + 1);
    *ret_checked = sqlite3_column_int64(s, 2);
    return 0;
}

int trust_save_catalog(struct trust *t, const char *site, const void *bytes, size_t n, const char *etag,
                       int64_t checked, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    struct known_site known = {.known = false};
    int64_t seen = 0;
    const bool usable_etag = strlen(etag) < 128 && text_is_printable(slice_of(etag));
    int r = catalog_open(bytes, n, &c, error);
    if (r == 0)
        r = trust_db_begin(t, &x, error);
    if (r == 0)
        r = trust_load_site(t, site, &known, error);
    if (r == 0)
        r = load_seen(t, &c, &seen, error);
    if (r < 0)
        return r;
    if (!known.known || !key_equal(&known.key, &c.site_key))
        return error_set(error, EKEYREJECTED, "the catalog is not signed with the key known for %s", site);
    if ((int64_t)c.number < seen)
        return 0;
    r = trust_db_run(t, error, "INSERT OR REPLACE INTO contacts(address, bytes, etag, checked) VALUES(?, ?, ?, ?)",
                     "tbti", site, bytes, n, usable_etag ? etag : "", checked);
    return r < 0 ? r : trust_db_commit(&x, error);
}

int trust_forget_checks(struct trust *t, const struct key_public *key, struct error *error)
{
    return trust_db_run(t, error,
                        "UPDATE contacts SET checked = max(checked - 86400, 0) WHERE address IN (SELECT address FROM "
                        "site WHERE key = ?)",
                        "b", key->bytes, sizeof key->bytes);
}
