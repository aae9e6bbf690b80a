// The sites that this user knows: the list that `rondo trust` shows and changes. Rule 1 of trust.c is kept here, too: a
// key that is known is only ever replaced after it was removed.
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/trust_private.h"

#include "base/banned.h"

int trust_load_site(struct trust *t, const char *address, struct known_site *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    struct known_site site = {.known = true};
    int r = trust_db_start(t, &s, error, "SELECT key, pinned, id, issued FROM site WHERE address = ?", "t", address);
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r < 0)
        return r;
    if (r == 0) {
        *ret = (struct known_site){.known = false};
        return 0;
    }
    if (!trust_db_take_blob(s, 0, site.key.bytes, sizeof site.key.bytes) || !key_is_sound(&site.key))
        return trust_db_complain(t, error);
    site.pinned = sqlite3_column_int64(s, 1) != 0;
    site.has_last = sqlite3_column_type(s, 2) != SQLITE_NULL;
    site.issued = sqlite3_column_int64(s, 3);
    if (site.has_last && !trust_db_take_blob(s, 2, site.id, sizeof site.id))
        return trust_db_complain(t, error);
    *ret = site;
    return 0;
}

int trust_list(struct trust *t, int (*each)(void *context, const struct trust_site *site), void *context,
               struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error,
                           "SELECT address, key, pinned, coalesce((SELECT max(number) FROM root WHERE "
                           "root.address = site.address), 1) FROM site ORDER BY address",
                           "");
    if (r < 0)
        return r;
    while ((r = trust_db_step(t, s, error)) == 1) {
        struct trust_site site = {.address = (const char *)sqlite3_column_text(s, 0),
                                  .pinned = sqlite3_column_int64(s, 2) != 0};
        const int64_t root = sqlite3_column_int64(s, 3);
        if (!site.address || !trust_db_take_blob(s, 1, site.key.bytes, sizeof site.key.bytes) ||
            !key_is_sound(&site.key) || root < 1 || root > ROOT_NUMBER_MAXIMUM)
            return trust_db_complain(t, error);
        site.root = (unsigned)root;
        int stop = each(context, &site);
        if (stop < 0)
            return stop;
    }
    return r;
}

int trust_add(struct trust *t, const char *site, const struct key_public *key, struct error *error)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    struct known_site known = {.known = false};
    char text[KEY_TEXT_SIZE];
    bool vouched = false;
    if (!key_is_sound(key))
        return error_set(error, EINVAL, "not a usable public key: anybody could sign for it");
    int r = trust_db_begin(t, &x, error);
    if (r == 0)
        r = trust_load_site(t, site, &known, error);
    if (r < 0)
        return r;
    if (known.known && !key_equal(&known.key, key) && (r = trust_is_vouched(t, site, key, &vouched, error)) < 0)
        return r;
    if (known.known && !key_equal(&known.key, key) && !vouched)
        return error_set(error, EKEYREJECTED, "another key is known for %s: %s; to replace it: rondo trust rm '%s'",
                         site, key_to_text(&known.key, text), site);
    if (known.known)
        r = trust_db_run(t, error, "UPDATE site SET pinned = 1 WHERE address = ?", "t", site);
    else
        r = trust_db_run(t, error, "INSERT INTO site(address, key, pinned) VALUES(?, ?, 1)", "tb", site, key->bytes,
                         sizeof key->bytes);
    if (r == 0 && !known.pinned)
        r = trust_log_key(t, io_realtime_seconds(), site, TRUST_PINNED, key, error);
    return r < 0 ? r : trust_db_commit(&x, error);
}

int trust_remove(struct trust *t, const char *site, struct error *error)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    struct known_site known = {.known = false};
    int r = trust_db_begin(t, &x, error);
    if (r == 0)
        r = trust_load_site(t, site, &known, error);
    if (r < 0)
        return r;
    if (!known.known)
        return error_set(error, ENOENT, "no key is known for %s; see: rondo trust ls", site);
    r = trust_db_run(t, error, "DELETE FROM site WHERE address = ?", "t", site);
    if (r == 0)
        r = trust_db_run(t, error, "DELETE FROM root WHERE address = ?", "t", site);
    if (r == 0)
        r = trust_db_run(t, error, "DELETE FROM vouched WHERE address = ?", "t", site);
    if (r == 0)
        r = trust_db_run(t, error, "DELETE FROM contacts WHERE address = ?", "t", site);
    if (r == 0)
        r = trust_log_key(t, io_realtime_seconds(), site, TRUST_FORGOTTEN, &known.key, error);
    return r < 0 ? r : trust_db_commit(&x, error);
}
