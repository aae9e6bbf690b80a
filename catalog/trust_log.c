// The log of trust: what was seen of sites and decided about them (trust.h). It decides nothing itself.
//
// 1. What is decided is logged in the same transaction; a refusal, which changes nothing else, in one of its own, and
//    that it cannot be written (a full disk) is no failure.
// 2. What a site can repeat is there once: a catalog, or the refusal of one. So nothing is written where nothing is
//    new.
// 3. Bounded: LOG_SITE_MAXIMUM refusals and as many other entries of an address, LOG_MAXIMUM in all; the oldest go. The
//    refusals are counted for themselves, so that whoever has many catalogs refused pushes nothing else out.
#include <errno.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "catalog/trust_private.h"

#include "base/banned.h"

#define LOG_SITE_MAXIMUM 128
#define LOG_MAXIMUM 4096

// Only entries of catalogs and of refusals have a catalog.
static int count_entries(struct trust *t, const char *sql, const char *address, enum trust_event event,
                         const struct catalog *c, int64_t *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error, sql, "tibbib", address, (int64_t)event, c->site_key.bytes,
                           sizeof c->site_key.bytes, c->id, sizeof c->id, (int64_t)c->number, c->text.bytes,
                           sizeof c->text.bytes);
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r == 1)
        *ret = sqlite3_column_int64(s, 0);
    return r < 0 ? r : 0;
}

static int prune(struct trust *t, const char *address, enum trust_event event, struct error *error)
{
    const int64_t refusal = event >= TRUST_REFUSED_KEY;
    int r = trust_db_run(
        t, error,
        "DELETE FROM log WHERE address = ?1 AND (what >= ?2) = ?3 AND entry <= (SELECT entry FROM log WHERE "
        "address = ?1 AND (what >= ?2) = ?3 ORDER BY entry DESC LIMIT 1 OFFSET ?4)",
        "tiii", address, (int64_t)TRUST_REFUSED_KEY, refusal, (int64_t)LOG_SITE_MAXIMUM);
    return r < 0 ? r
                 : trust_db_run(t, error, "DELETE FROM log WHERE entry <= (SELECT max(entry) FROM log) - ?", "i",
                                (int64_t)LOG_MAXIMUM);
}

int trust_log_key(struct trust *t, int64_t time, const char *address, enum trust_event event,
                  const struct key_public *key, struct error *error)
{
    int r = trust_db_run(t, error, "INSERT INTO log(time, address, what, key) VALUES(?, ?, ?, ?)", "itib", time,
                         address, (int64_t)event, key->bytes, sizeof key->bytes);
    return r < 0 ? r : prune(t, address, event, error);
}

int trust_log_catalog(struct trust *t, int64_t time, const char *address, enum trust_event event,
                      const struct catalog *c, struct error *error)
{
    int64_t same = 0;
    int r = count_entries(
        t, "SELECT count(*) FROM log WHERE address = ? AND what = ? AND key = ? AND id = ? AND number = ? AND text = ?",
        address, event, c, &same, error);
    if (r < 0 || same > 0)
        return r;
    r = trust_db_run(t, error,
                     "INSERT INTO log(time, address, what, key, id, number, text) VALUES(?, ?, ?, ?, ?, ?, ?)",
                     "itibbib", time, address, (int64_t)event, c->site_key.bytes, sizeof c->site_key.bytes, c->id,
                     sizeof c->id, (int64_t)c->number, c->text.bytes, sizeof c->text.bytes);
    return r < 0 ? r : prune(t, address, event, error);
}

int trust_log_accepted(struct trust *t, int64_t time, const char *address, const struct catalog *c, struct error *error)
{
    int64_t others = 0;
    char key[KEY_TEXT_SIZE];
    // What is known of the same key, id and number under any address: one of them may be a mirror's.
    int r = count_entries(t,
                          "SELECT count(*) FROM log WHERE what = ?2 AND key = ?3 AND id = ?4 AND number = "
                          "?5 AND text <> ?6 AND NOT EXISTS (SELECT 1 FROM log WHERE address = ?1 AND what = ?2 AND "
                          "key = ?3 AND id = ?4 AND number = ?5 AND text = ?6)",
                          address, TRUST_CATALOG, c, &others, error);
    if (r == 0)
        r = trust_log_catalog(t, time, address, TRUST_CATALOG, c, error);
    if (r == 0 && others > 0)
        log_warning("%s has signed two different catalogs with the number %llu: somebody else may use its key %s. Ask "
                    "the site's owner; rondo trust log '%s' shows both",
                    address, (unsigned long long)c->number, key_to_text(&c->site_key, key), address);
    return r;
}

void trust_log_refusal(struct trust *t, int64_t time, const char *address, enum trust_event event,
                       const struct catalog *c)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    struct error why = {.text = ""};
    int r = trust_db_begin(t, &x, &why);
    if (r == 0)
        r = trust_log_catalog(t, time, address, event, c, &why);
    if (r == 0)
        r = trust_db_commit(&x, &why);
    if (r < 0)
        log_info("that a catalog of %s was refused is not in the log: %s", address, why.text);
}

const char *trust_event_name(enum trust_event event)
{
    static const char *const names[] = {
        [TRUST_FIRST_CONTACT] = "first-contact",
        [TRUST_PINNED] = "pinned",
        [TRUST_FORGOTTEN] = "forgotten",
        [TRUST_CATALOG] = "catalog",
        [TRUST_ROTATED] = "rotated",
        [TRUST_REFUSED_KEY] = "refused-key",
        [TRUST_REFUSED_NUMBER] = "refused-number",
        [TRUST_REFUSED_SERIAL] = "refused-serial",
        [TRUST_REFUSED_EXPIRED] = "refused-expired",
    };
    return (size_t)event < ARRAY_SIZE(names) ? names[event] : NULL;
}

static bool take_entry(sqlite3_stmt *s, struct trust_entry *ret)
{
    const int64_t what = sqlite3_column_int64(s, 2);
    ret->time = sqlite3_column_int64(s, 0);
    ret->site = (const char *)sqlite3_column_text(s, 1);
    ret->has_catalog = sqlite3_column_type(s, 4) != SQLITE_NULL;
    if (!ret->site || what < 0 || what > TRUST_REFUSED_EXPIRED || !trust_event_name((enum trust_event)what) ||
        !trust_db_take_blob(s, 3, ret->key.bytes, sizeof ret->key.bytes))
        return false;
    ret->event = (enum trust_event)what;
    if (!ret->has_catalog)
        return true;
    const int64_t number = sqlite3_column_int64(s, 5);
    ret->number = (uint64_t)number;
    return number > 0 && trust_db_take_blob(s, 4, ret->id, sizeof ret->id) &&
           trust_db_take_blob(s, 6, ret->text.bytes, sizeof ret->text.bytes);
}

int trust_list_log(struct trust *t, const char *site, int (*each)(void *context, const struct trust_entry *entry),
                   void *context, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error,
                           "SELECT time, address, what, key, id, number, text FROM log WHERE ?1 = '' OR address = ?1 "
                           "ORDER BY entry",
                           "t", site ? site : "");
    if (r < 0)
        return r;
    while ((r = trust_db_step(t, s, error)) == 1) {
        struct trust_entry entry = {.time = 0};
        if (!take_entry(s, &entry))
            return trust_db_complain(t, error);
        int stop = each(context, &entry);
        if (stop < 0)
            return stop;
    }
    return r;
}
