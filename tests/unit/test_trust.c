// catalog/trust.h: each rule, by the name of the attack it answers; the database's own damage; many processes.
#include "catalog_fixture.h"

#include <sqlite3.h>

#include "base/log.h"
#include "catalog/trust.h"

#include "base/banned.h"

#define SITE "http://host/os/"
#define ISSUED INT64_C(1795428000) // 2026-11-23T10:00:00Z
#define DAY INT64_C(86400)

struct world {
    char *folder;
    struct key_secret *key, *other_key;
    struct trust *t;
    struct error error;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->folder = fixture_folder();
    w->key = fixture_key();
    w->other_key = fixture_key();
    *state = w;
    return trust_open(w->folder, &w->t, &w->error);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    key_free(&w->key);
    key_free(&w->other_key);
    fixture_remove(&w->folder);
    free(w);
    return 0;
}

static void reopen(struct world *w)
{
    trust_close(w->t);
    w->t = NULL;
    assert_ok(trust_open(w->folder, &w->t, &w->error), w->error);
}

// One decision about a catalog with this number, at `now`; *change alters the catalog or the request.
static int check_with(struct world *w, const struct key_secret *k, uint64_t number, int64_t issued, int64_t now,
                      struct trust_request request, unsigned char id, struct trust_verdict *ret)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    fixture_catalog(k, number, issued, &c);
    memset(c.id, id, sizeof c.id);
    if (!request.site)
        request.site = SITE;
    request.now = now;
    w->error.text[0] = '\0';
    int r = trust_check(w->t, &request, &c, ret, &w->error);
    assert_int_equal(r < 0, w->error.text[0] != '\0');
    assert_true(text_is_printable(slice_of(w->error.text)));
    return r;
}

static int check(struct world *w, uint64_t number, int64_t now)
{
    struct trust_verdict verdict;
    return check_with(w, w->key, number, ISSUED, now, (struct trust_request){.site = SITE}, 7, &verdict);
}

static int settle(struct world *w, const struct catalog *c, const char *name, uint64_t serial)
{
    return trust_settle(w->t, &(struct trust_request){.site = SITE, .now = ISSUED}, c, name, serial, &w->error);
}

static void first_contact_is_remembered(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    const struct trust_request request = {.site = SITE};
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED + DAY, request, 7, &verdict), 0);
    assert_true(verdict.first_contact);
    assert_true(verdict.fresh);
    assert_false(verdict.clock_wrong);
    assert_int_equal(verdict.latest, ISSUED);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED + DAY, request, 7, &verdict), 0);
    assert_false(verdict.first_contact);
    reopen(w);
    assert_int_equal(check_with(w, w->key, 6, ISSUED, ISSUED + DAY, request, 7, &verdict), 0);
    assert_false(verdict.first_contact);
}

static void arbitrary_installation_another_key_is_refused(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict = {.latest = 77};
    struct key_public ours;
    struct key_public theirs;
    char text[KEY_TEXT_SIZE];
    key_public_of(w->key, &ours);
    key_public_of(w->other_key, &theirs);
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_int_equal(check_with(w, w->other_key, 99, ISSUED, ISSUED, (struct trust_request){.site = SITE}, 7, &verdict),
                     -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, key_to_text(&ours, text)));
    assert_non_null(strstr(w->error.text, key_to_text(&theirs, text)));
    assert_non_null(strstr(w->error.text, "rondo trust rm " SITE));
    assert_int_equal(verdict.latest, 77);
    // A pin, which may come from a link, does not overrule what is remembered.
    assert_int_equal(
        check_with(w, w->other_key, 99, ISSUED, ISSUED, (struct trust_request){.pin = &theirs}, 7, &verdict),
        -EKEYREJECTED);
    assert_int_equal(check(w, 5, ISSUED), 0); // nothing changed
    // Another address is another matter.
    assert_int_equal(
        check_with(w, w->other_key, 1, ISSUED, ISSUED, (struct trust_request){.site = "http://b/"}, 7, &verdict), 0);
    // Only after the user removed the key.
    assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    assert_int_equal(check_with(w, w->other_key, 99, ISSUED, ISSUED, (struct trust_request){.site = SITE}, 7, &verdict),
                     0);
    assert_true(verdict.first_contact);
}

static void pins_decide_at_first_contact(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    struct key_public ours;
    struct key_public theirs;
    key_public_of(w->key, &ours);
    key_public_of(w->other_key, &theirs);
    memset(ours.id, 0, sizeof ours.id); // as from an address
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED, (struct trust_request){.pin = &theirs}, 7, &verdict),
                     -EKEYREJECTED);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED, (struct trust_request){.require_pin = true}, 7, &verdict),
                     -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "rondo trust add"));
    const struct trust_request pinned = {.pin = &ours, .require_pin = true};
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED, pinned, 7, &verdict), 0);
    assert_false(verdict.first_contact); // the user named the key: nothing to show
    // Remembered, it is no first contact any more.
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED, (struct trust_request){.require_pin = true}, 7, &verdict),
                     0);
}

static void rollback_a_lower_number_is_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_int_equal(check(w, 4, ISSUED), -ESTALE);
    assert_non_null(strstr(w->error.text, "number 4"));
    assert_non_null(strstr(w->error.text, "number 5"));
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_int_equal(check(w, INT64_MAX, ISSUED), 0);
    reopen(w);
    assert_int_equal(check(w, INT64_MAX - 1, ISSUED), -ESTALE);
    // Forgetting the address does not forget what was seen of the key.
    assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    assert_int_equal(check(w, 5, ISSUED), -ESTALE);
}

// A thief of the key has published number 2^63-1: the owner starts anew under another id.
static void fast_forward_is_mended_by_a_new_id(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    const struct trust_request request = {.site = SITE};
    assert_int_equal(check(w, INT64_MAX, ISSUED), 0);
    assert_int_equal(check_with(w, w->key, 1, ISSUED + DAY, ISSUED + DAY, request, 8, &verdict), 0);
    assert_int_equal(check_with(w, w->key, 2, ISSUED + DAY, ISSUED + DAY, request, 8, &verdict), 0);
    assert_int_equal(check_with(w, w->key, 1, ISSUED + DAY, ISSUED + DAY, request, 8, &verdict), -ESTALE);
    // An old catalog of the earlier id is no way back.
    assert_int_equal(check_with(w, w->key, INT64_MAX, ISSUED, ISSUED + DAY, request, 7, &verdict), -ESTALE);
    assert_non_null(strstr(w->error.text, "another id"));
}

static void rollback_a_lower_serial_is_refused(void **state)
{
    struct world *w = *state;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    fixture_catalog(w->key, 5, ISSUED, &c);
    assert_ok(settle(w, &c, "debian", 3), w->error);
    assert_ok(settle(w, &c, "debian", 3), w->error);
    assert_ok(settle(w, &c, "debian", 7), w->error);
    reopen(w);
    assert_int_equal(settle(w, &c, "debian", 6), -ESTALE);
    assert_non_null(strstr(w->error.text, "serial 7"));
    assert_ok(settle(w, &c, "debian", 7), w->error);
    assert_ok(settle(w, &c, "other", 1), w->error);
    assert_int_equal(settle(w, &c, "other", UINT64_MAX), -EBADMSG);
    memset(c.id, 8, sizeof c.id);
    assert_ok(settle(w, &c, "debian", 1), w->error); // kept per id
}

static int look(struct world *w, const struct catalog *c, bool *ret_first)
{
    struct trust_verdict verdict = {.first_contact = false};
    int r = trust_look(w->t, &(struct trust_request){.site = SITE, .now = ISSUED}, c, &verdict, &w->error);
    *ret_first = verdict.first_contact;
    return r;
}

// A catalog of a higher number, later, but with a lower serial, leaves no trace.
static void a_lower_serial_changes_nothing(void **state)
{
    struct world *w = *state;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog rolled_back CLEANUP(catalog_free) = {.number = 0};
    bool first = false;
    fixture_catalog(w->key, 5, ISSUED, &c);
    fixture_catalog(w->key, 9, ISSUED + DAY, &rolled_back);
    assert_ok(look(w, &c, &first), w->error);
    assert_true(first);
    assert_ok(look(w, &c, &first), w->error);
    assert_true(first); // looking remembers nothing
    assert_ok(settle(w, &c, "debian", 3), w->error);
    assert_ok(look(w, &rolled_back, &first), w->error);
    assert_false(first);
    assert_int_equal(settle(w, &rolled_back, "debian", 2), -ESTALE);
    reopen(w);
    assert_int_equal(check(w, 4, ISSUED), -ESTALE);
    assert_ok(check(w, 5, ISSUED), w->error);
    struct trust_verdict verdict;
    assert_ok(check_with(w, w->key, 6, ISSUED, ISSUED, (struct trust_request){.site = SITE}, 7, &verdict), w->error);
    assert_int_equal(verdict.latest, ISSUED); // nor was its date remembered
    // A catalog that was overtaken between the two steps is neither refused nor remembered.
    assert_ok(settle(w, &c, "debian", 4), w->error);
    assert_int_equal(check(w, 5, ISSUED), -ESTALE);
    assert_int_equal(settle(w, &c, "debian", 3), -ESTALE);
}

static void indefinite_freeze_an_expired_catalog_blocks_updates_only(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    const int64_t expiry = ISSUED + CATALOG_EXPIRES_DEFAULT;
    const struct trust_request update = {.for_update = true};
    const struct trust_request fresh = {.require_fresh = true};
    const struct trust_request run = {.site = SITE};
    // Never verified before: there is nothing to go on with.
    assert_int_equal(check_with(w, w->key, 5, ISSUED, expiry, run, 7, &verdict), -EKEYEXPIRED);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, expiry - 1, update, 7, &verdict), 0);
    assert_true(verdict.fresh);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, expiry, update, 7, &verdict), -EKEYEXPIRED);
    assert_non_null(strstr(w->error.text, "2027-02-21T10:00:00Z"));
    assert_non_null(strstr(w->error.text, "rondo renew"));
    assert_int_equal(check_with(w, w->key, 5, ISSUED, expiry, fresh, 7, &verdict), -EKEYEXPIRED);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, expiry, run, 7, &verdict), 0);
    assert_false(verdict.fresh);
    assert_false(verdict.clock_wrong);
}

// TRUST T37: the clock and the catalog are told apart.
static void a_wrong_clock_is_told(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    const struct trust_request run = {.site = SITE};
    const struct trust_request fresh = {.require_fresh = true};
    const struct trust_request update = {.for_update = true};
    assert_int_equal(check_with(w, w->key, 5, ISSUED, 0, run, 7, &verdict), 0); // 1970, from the catalog's own date
    assert_true(verdict.clock_wrong);
    assert_false(verdict.fresh);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, 0, fresh, 7, &verdict), -EKEYEXPIRED);
    assert_non_null(strstr(w->error.text, "1970-01-01T00:00:00Z"));
    assert_non_null(strstr(w->error.text, "Set the clock"));
    assert_int_equal(check_with(w, w->key, 5, ISSUED, 0, update, 7, &verdict), 0);
    // Some seconds between two clocks are no error.
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED - TRUST_CLOCK_LEEWAY, run, 7, &verdict), 0);
    assert_false(verdict.clock_wrong);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED - TRUST_CLOCK_LEEWAY - 1, run, 7, &verdict), 0);
    assert_true(verdict.clock_wrong);
    // Set back, it does not make an old catalog of the same number fresh again: later dates were seen.
    assert_int_equal(check_with(w, w->key, 6, ISSUED + 200 * DAY, ISSUED + 200 * DAY, run, 7, &verdict), 0);
    reopen(w);
    assert_int_equal(check_with(w, w->key, 6, ISSUED, ISSUED + DAY, update, 7, &verdict), -EKEYEXPIRED);
    assert_non_null(strstr(w->error.text, "clock here is wrong"));
    // The year 2100: expired, and said with both dates.
    assert_int_equal(check_with(w, w->key, 6, ISSUED, INT64_C(4102444800), update, 7, &verdict), -EKEYEXPIRED);
    assert_non_null(strstr(w->error.text, "2100-01-01T00:00:00Z"));
    const int64_t extremes[] = {INT64_MIN, INT64_MAX};
    for (unsigned i = 0; i < 2; i++)
        check_with(w, w->key, 6, ISSUED, extremes[i], run, 7, &verdict);
}

static void one_sites_dates_do_not_expire_anothers(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    assert_int_equal(check_with(w, w->other_key, 1, ISSUED + 5000 * DAY, ISSUED,
                                (struct trust_request){.site = "http://hostile/"}, 7, &verdict),
                     0);
    assert_true(verdict.clock_wrong);
    assert_int_equal(check_with(w, w->key, 1, ISSUED, ISSUED, (struct trust_request){.for_update = true}, 7, &verdict),
                     0);
    assert_true(verdict.fresh);
}

// What an SQL query gives, as text.
static char *query(const struct world *w, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(fixture_path(w->folder, "trust.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    char *text = strdup((const char *)sqlite3_column_text(s, 0));
    assert_non_null(text);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return text;
}

// But the log, once.
static void a_refusal_changes_nothing(void **state)
{
    static const char all[] = "SELECT (SELECT group_concat(hex(key) || number) FROM seen) || (SELECT group_concat("
                              "address || hex(key) || pinned || hex(id) || issued) FROM site) || (SELECT group_concat("
                              "hex(key) || issued) FROM clock) || (SELECT count(*) FROM serials)";
    struct world *w = *state;
    struct trust_verdict verdict;
    size_t before = 0;
    size_t after;
    assert_int_equal(check(w, 5, ISSUED), 0);
    char *known CLEANUP_FREE = query(w, all);
    char *a CLEANUP_FREE = NULL;
    const struct trust_request update = {.for_update = true};
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(check_with(w, w->key, 4, ISSUED, ISSUED, update, 7, &verdict), -ESTALE);
        assert_int_equal(check_with(w, w->key, 9, ISSUED, ISSUED + 1000 * DAY, update, 7, &verdict), -EKEYEXPIRED);
        assert_int_equal(check_with(w, w->other_key, 9, ISSUED, ISSUED, update, 7, &verdict), -EKEYREJECTED);
        assert_int_equal(check(w, 5, ISSUED + 1), 0); // nor does what is known already
        if (i == 0)
            a = fixture_read(w->folder, "trust.db", &before);
    }
    char *b CLEANUP_FREE = fixture_read(w->folder, "trust.db", &after);
    char *still CLEANUP_FREE = query(w, all);
    assert_string_equal(known, still);
    assert_int_equal(before, after);
    assert_memory_equal(a, b, before);
}

// The log.

struct listing {
    char text[4096]; // "first-contact catalog:5 …"
    unsigned count;
};

static int list_entry(void *context, const struct trust_entry *e)
{
    struct listing *l = context;
    const size_t n = strlen(l->text);
    l->count++;
    if (n < sizeof l->text - 64)
        snprintf(l->text + n, sizeof l->text - n, "%s%s%s%.0llu", n ? " " : "", trust_event_name(e->event),
                 e->has_catalog ? ":" : "", (unsigned long long)e->number);
    return 0;
}

static struct listing list_log(struct world *w, const char *site)
{
    struct listing l = {.text = ""};
    assert_ok(trust_list_log(w->t, site, list_entry, &l, &w->error), w->error);
    return l;
}

static void the_log_tells_what_was_seen_and_decided(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    struct key_public public;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    key_public_of(w->key, &public);
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_int_equal(check(w, 6, ISSUED), 0);
    assert_int_equal(check(w, 5, ISSUED), -ESTALE);
    assert_int_equal(check_with(w, w->other_key, 9, ISSUED, ISSUED, (struct trust_request){.site = SITE}, 7, &verdict),
                     -EKEYREJECTED);
    assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    assert_ok(trust_add(w->t, SITE, &public, &w->error), w->error);
    assert_string_equal(list_log(w, NULL).text,
                        "first-contact catalog:5 catalog:6 refused-number:5 refused-key:9 forgotten pinned");
    assert_string_equal(list_log(w, "http://other/").text, "");
    assert_int_equal(list_log(w, SITE).count, 7);

    fixture_catalog(w->key, 7, ISSUED, &c);
    memset(c.id, 7, sizeof c.id);
    assert_ok(settle(w, &c, "debian", 5), w->error);
    assert_int_equal(settle(w, &c, "debian", 4), -ESTALE);
    assert_int_equal(check_with(w, w->key, 8, ISSUED, ISSUED + 1000 * DAY,
                                (struct trust_request){.site = SITE, .require_fresh = true}, 7, &verdict),
                     -EKEYEXPIRED);
    assert_non_null(strstr(list_log(w, SITE).text, "pinned catalog:7 refused-serial:7 refused-expired:8"));
}

// TRUST T36, in one client: the number again, with another text.
static void two_catalogs_of_one_number_are_both_logged(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    for (unsigned i = 0; i < 3; i++) {
        struct catalog c CLEANUP(catalog_free) = {.number = 0};
        fixture_catalog(w->key, 5, ISSUED, &c);
        memset(c.id, 7, sizeof c.id);
        memset(c.text.bytes, i == 1, sizeof c.text.bytes);
        assert_ok(trust_check(w->t, &(struct trust_request){.site = SITE, .now = ISSUED}, &c, &verdict, &w->error),
                  w->error);
    }
    assert_string_equal(list_log(w, SITE).text, "first-contact catalog:5 catalog:5");
}

static void the_log_is_bounded_and_refusals_push_nothing_else_out(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    assert_int_equal(check(w, 1000, ISSUED), 0);
    for (uint64_t i = 1; i <= 150; i++)
        assert_int_equal(check(w, i, ISSUED), -ESTALE);
    assert_int_equal(list_log(w, SITE).count, 2 + 128);
    assert_int_equal(strncmp(list_log(w, SITE).text, "first-contact catalog:1000 refused-number:23 ", 45), 0);
    for (uint64_t i = 1; i <= 150; i++)
        assert_int_equal(check(w, 1000 + i, ISSUED), 0);
    assert_int_equal(list_log(w, SITE).count, 2 * 128);
    const struct trust_request other = {.site = "http://other/"};
    assert_int_equal(check_with(w, w->key, 2000, ISSUED, ISSUED, other, 7, &verdict), 0);
    assert_int_equal(list_log(w, "http://other/").count, 2);
}

static void the_last_catalog_is_kept(void **state)
{
    struct world *w = *state;
    struct buf five CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf six CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf foreign CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct catalog c = {.number = 0};
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    char etag[128];
    int64_t checked;
    fixture_catalog(w->key, 5, ISSUED, &c);
    fixture_sign(w->key, &c, &five);
    c.number = 6;
    fixture_sign(w->key, &c, &six);
    catalog_free(&c);
    fixture_catalog(w->other_key, 9, ISSUED, &c);
    fixture_sign(w->other_key, &c, &foreign);
    catalog_free(&c);
    assert_int_equal(trust_load_catalog(w->t, SITE, &bytes, &n, etag, &checked, &w->error), -ENOENT);
    assert_int_equal(trust_save_catalog(w->t, SITE, five.data, five.size, "", 1, &w->error), -EKEYREJECTED); // unknown
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_ok(trust_save_catalog(w->t, SITE, five.data, five.size, "\"e5\"", 55, &w->error), w->error);
    assert_int_equal(check(w, 6, ISSUED), 0);
    assert_ok(trust_save_catalog(w->t, SITE, six.data, six.size, "\"e6\"", 66, &w->error), w->error);
    assert_ok(trust_save_catalog(w->t, SITE, five.data, five.size, "\"e5\"", 77, &w->error), w->error); // too late
    assert_int_equal(trust_save_catalog(w->t, SITE, foreign.data, foreign.size, "", 1, &w->error), -EKEYREJECTED);
    five.data[20] ^= 1;
    assert_true(trust_save_catalog(w->t, SITE, five.data, five.size, "", 1, &w->error) < 0);
    reopen(w);
    assert_ok(trust_load_catalog(w->t, SITE, &bytes, &n, etag, &checked, &w->error), w->error);
    assert_int_equal(n, six.size);
    assert_memory_equal(bytes, six.data, n);
    assert_string_equal(etag, "\"e6\"");
    assert_int_equal(checked, 66);
    char long_etag[200];
    memset(long_etag, 'e', sizeof long_etag - 1);
    long_etag[sizeof long_etag - 1] = '\0';
    assert_ok(trust_save_catalog(w->t, SITE, six.data, six.size, long_etag, 67, &w->error), w->error);
    free(bytes);
    assert_ok(trust_load_catalog(w->t, SITE, &bytes, &n, etag, &checked, &w->error), w->error);
    assert_string_equal(etag, ""); // then it is asked for whole
}

static int collect(void *context, const struct trust_site *site)
{
    char text[KEY_TEXT_SIZE];
    return buf_append_format(context, "%s %.4s %d\n", site->address, key_to_text(&site->key, text), site->pinned);
}

static int stop_at_once(void *context, const struct trust_site *site)
{
    (void)site;
    ++*(int *)context;
    return -ECANCELED;
}

static void keys_are_listed_added_and_removed(void **state)
{
    struct world *w = *state;
    struct key_public ours;
    struct key_public theirs;
    struct buf list CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    char text[KEY_TEXT_SIZE];
    char expected[200];
    int calls = 0;
    key_public_of(w->key, &ours);
    key_public_of(w->other_key, &theirs);
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_ok(trust_add(w->t, "/srv/it's; DROP TABLE site;--/", &theirs, &w->error), w->error);
    assert_ok(trust_list(w->t, collect, &list, &w->error), w->error);
    int n = snprintf(expected, sizeof expected, "/srv/it's; DROP TABLE site;--/ %.4s 1\n", key_to_text(&theirs, text));
    snprintf(expected + n, sizeof expected - (size_t)n, SITE " %.4s 0\n", key_to_text(&ours, text));
    assert_string_equal(buf_text(&list), expected);
    assert_int_equal(trust_list(w->t, stop_at_once, &calls, &w->error), -ECANCELED);
    assert_int_equal(calls, 1);
    assert_int_equal(trust_add(w->t, SITE, &theirs, &w->error), -EKEYREJECTED);
    assert_ok(trust_add(w->t, SITE, &ours, &w->error), w->error); // now pinned
    assert_int_equal(check(w, 6, ISSUED), 0);
    buf_clear(&list);
    assert_ok(trust_list(w->t, collect, &list, &w->error), w->error);
    assert_non_null(strstr(buf_text(&list), " 1\n" SITE));
    assert_string_equal(strrchr(buf_text(&list), ' '), " 1\n");
    struct key_public weak = {.bytes = {1}};
    assert_int_equal(trust_add(w->t, "http://weak/", &weak, &w->error), -EINVAL);
    assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    assert_int_equal(trust_remove(w->t, SITE, &w->error), -ENOENT);
}

// A key that the user added says where to go, but nothing was seen of the site yet.
static void an_added_key_is_no_first_contact(void **state)
{
    struct world *w = *state;
    struct key_public ours;
    struct trust_verdict verdict;
    key_public_of(w->key, &ours);
    assert_ok(trust_add(w->t, SITE, &ours, &w->error), w->error);
    const struct trust_request request = {.require_pin = true};
    assert_int_equal(
        check_with(w, w->key, 5, ISSUED, ISSUED + 1000 * DAY, (struct trust_request){.site = SITE}, 7, &verdict),
        -EKEYEXPIRED);
    assert_int_equal(check_with(w, w->key, 5, ISSUED, ISSUED, request, 7, &verdict), 0);
    assert_false(verdict.first_contact);
    assert_int_equal(check_with(w, w->other_key, 5, ISSUED, ISSUED, request, 7, &verdict), -EKEYREJECTED);
}

static void the_database_is_the_users_alone(void **state)
{
    struct world *w = *state;
    struct stat st;
    const char *path = fixture_path(w->folder, "trust.db");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(chmod(path, 0664), 0);
    reopen(w);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    trust_close(w->t);
    w->t = NULL;
    assert_int_equal(rename(path, fixture_path(w->folder, "elsewhere")), 0);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(trust_open(w->folder, &w->t, &w->error), -EPERM);
    assert_non_null(strstr(w->error.text, "trust.db"));
}

// Databases that were moved aside, without their journals.
static unsigned count_aside(const struct world *w)
{
    unsigned count = 0;
    DIR *d = opendir(w->folder);
    for (struct dirent *e; (e = readdir(d));)
        count += strncmp(e->d_name, "trust.db.damaged-", 17) == 0 && strlen(e->d_name) == 25;
    closedir(d);
    return count;
}

static void exec_sql(const struct world *w, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(fixture_path(w->folder, "trust.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

// TRUST T16. Each damage is found at the next opening; the file is kept aside; what was known is learned anew.
static void a_damaged_database_is_moved_aside(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    static const char *const damages[] = {
        "CREATE TRIGGER t AFTER INSERT ON seen BEGIN DELETE FROM seen; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more(x)",
        "DROP TABLE seen",
        "DROP TABLE seen; CREATE TABLE seen(key BLOB, id BLOB, number INTEGER)",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1", // with the tables of 3
        "PRAGMA user_version = 2",
        "DROP TABLE log",
        "PRAGMA application_id = 1",
    };
    log_start("test_trust");
    unsigned expected = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(damages) + 4; i++) {
        assert_int_equal(check(w, 5, ISSUED), 0);
        assert_int_equal(check(w, 4, ISSUED), -ESTALE);
        trust_close(w->t);
        w->t = NULL;
        size_t n;
        char *file CLEANUP_FREE = fixture_read(w->folder, "trust.db", &n);
        if (i < ARRAY_SIZE(damages)) {
            exec_sql(w, damages[i]);
        } else if (i == ARRAY_SIZE(damages)) {
            fixture_write(w->folder, "trust.db", "bla\n", 4);
        } else if (i == ARRAY_SIZE(damages) + 1) {
            fixture_write(w->folder, "trust.db", file, n / 2 + 100);
        } else if (i == ARRAY_SIZE(damages) + 2) {
            memset(file + 4096, 0x5a, 4096); // the root of a table
            fixture_write(w->folder, "trust.db", file, n);
        } else {
            memset(file, 0, n);
            fixture_write(w->folder, "trust.db", file, n);
            fixture_write(w->folder, "trust.db-journal", "a journal of the damaged one", 28);
            fixture_write(w->folder, "trust.db-wal", "a journal of the damaged one", 28);
        }
        reopen(w);
        assert_int_not_equal(access(fixture_path(w->folder, "trust.db-journal"), F_OK), 0);
        assert_int_not_equal(access(fixture_path(w->folder, "trust.db-wal"), F_OK), 0);
        assert_int_equal(count_aside(w), ++expected);
        assert_int_equal(check_with(w, w->key, 4, ISSUED, ISSUED, (struct trust_request){.site = SITE}, 7, &verdict),
                         0);
        assert_true(verdict.first_contact);
    }
}

static void wrong_values_in_rows_are_not_used(void **state)
{
    struct world *w = *state;
    static const char *const damages[] = {
        "UPDATE site SET key = x'00'",
        "UPDATE site SET key = zeroblob(32)", // a key of small order
        "UPDATE site SET key = zeroblob(1000000)",
        "UPDATE site SET id = x'00'",
        "UPDATE log SET what = 99",
        "UPDATE log SET key = x'00'",
        "UPDATE log SET number = 0 WHERE number IS NOT NULL",
        "UPDATE log SET text = x'00' WHERE number IS NOT NULL",
        "UPDATE contacts SET bytes = zeroblob(70000)",
        "UPDATE contacts SET bytes = x''",
        "UPDATE contacts SET etag = hex(zeroblob(100))",
    };
    struct buf five CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    fixture_catalog(w->key, 5, ISSUED, &c);
    fixture_sign(w->key, &c, &five);
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_ok(trust_save_catalog(w->t, SITE, five.data, five.size, "", 1, &w->error), w->error);
    size_t n;
    char *file CLEANUP_FREE = fixture_read(w->folder, "trust.db", &n);
    for (unsigned i = 0; i < ARRAY_SIZE(damages); i++) {
        void *bytes = NULL;
        char etag[128];
        int64_t checked;
        size_t size;
        trust_close(w->t);
        fixture_write(w->folder, "trust.db", file, n);
        exec_sql(w, damages[i]);
        w->t = NULL;
        assert_ok(trust_open(w->folder, &w->t, &w->error), w->error);
        if (strstr(damages[i], "contacts"))
            assert_int_equal(trust_load_catalog(w->t, SITE, &bytes, &size, etag, &checked, &w->error), -EUCLEAN);
        else if (strstr(damages[i], "log"))
            assert_int_equal(trust_list_log(w->t, NULL, list_entry, &(struct listing){.text = ""}, &w->error),
                             -EUCLEAN);
        else
            assert_int_equal(check(w, 6, ISSUED), -EUCLEAN);
        assert_non_null(strstr(w->error.text, "trust.db"));
    }
}

static void a_newer_database_is_left_alone(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    w->t = NULL;
    exec_sql(w, "PRAGMA user_version = 4");
    assert_int_equal(trust_open(w->folder, &w->t, &w->error), -EOPNOTSUPP);
    assert_non_null(strstr(w->error.text, "newer rondo"));
    assert_int_equal(count_aside(w), 0);
}

// What is known stays known.
static void an_older_database_gets_what_it_lacks(void **state)
{
    struct world *w = *state;
    assert_int_equal(check(w, 5, ISSUED), 0);
    trust_close(w->t);
    w->t = NULL;
    exec_sql(w, "DROP TABLE log; DROP TABLE root; DROP TABLE vouched; PRAGMA user_version = 1");
    assert_ok(trust_check_file(w->folder, &w->error), w->error);
    reopen(w);
    assert_int_equal(count_aside(w), 0);
    assert_int_equal(check(w, 4, ISSUED), -ESTALE);
    assert_string_equal(list_log(w, SITE).text, "refused-number:4");
    reopen(w);
    assert_ok(trust_check_file(w->folder, &w->error), w->error);
}

// Processes that start at once, on a folder in this state, and each climb from 1 to ROUNDS; each refuses to fall back.
#define PROCESSES 8
#define ROUNDS 12

static int climb(struct world *w)
{
    struct trust *t = NULL;
    int r = trust_open(w->folder, &t, &w->error);
    for (uint64_t number = 1; r == 0 && number <= ROUNDS; number++) {
        struct catalog c CLEANUP(catalog_free) = {.number = 0};
        struct trust_verdict verdict;
        const struct trust_request request = {.site = SITE, .now = ISSUED};
        fixture_catalog(w->key, number, ISSUED, &c);
        r = trust_check(t, &request, &c, &verdict, &w->error);
        if (r == -ESTALE) // another process is ahead
            r = 0;
        if (r == 0 && (r = trust_settle(t, &request, &c, "debian", number, &w->error)) == -ESTALE)
            r = 0;
    }
    trust_close(t);
    return r;
}

static void climb_together(struct world *w)
{
    pid_t children[PROCESSES];
    trust_close(w->t);
    w->t = NULL;
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            int r = climb(w);
            if (r < 0)
                fprintf(stderr, "# %s\n", w->error.text);
            _exit(r < 0);
        }
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    reopen(w);
    assert_int_equal(check(w, ROUNDS - 1, ISSUED), -ESTALE);
    assert_int_equal(check(w, ROUNDS, ISSUED), 0);
}

static void many_processes_make_one_new_database(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    w->t = NULL;
    assert_int_equal(unlink(fixture_path(w->folder, "trust.db")), 0);
    climb_together(w);
    assert_int_equal(count_aside(w), 0);
}

// Each finds the damage; one moves it aside, and nobody moves the new one.
static void many_processes_move_damage_aside_once(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    w->t = NULL;
    fixture_write(w->folder, "trust.db", "bla\n", 4);
    climb_together(w);
    assert_int_equal(count_aside(w), 1);
}

static void a_folder_that_cannot_be_used_is_told(void **state)
{
    struct world *w = *state;
    struct trust *t = NULL;
    fixture_write(w->folder, "file", "x", 1);
    assert_true(trust_open(fixture_path(w->folder, "file"), &t, &w->error) < 0);
    assert_non_null(strstr(w->error.text, "file"));
    assert_null(t);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(first_contact_is_remembered),
        TEST(arbitrary_installation_another_key_is_refused),
        TEST(pins_decide_at_first_contact),
        TEST(rollback_a_lower_number_is_refused),
        TEST(fast_forward_is_mended_by_a_new_id),
        TEST(rollback_a_lower_serial_is_refused),
        TEST(a_lower_serial_changes_nothing),
        TEST(indefinite_freeze_an_expired_catalog_blocks_updates_only),
        TEST(a_wrong_clock_is_told),
        TEST(one_sites_dates_do_not_expire_anothers),
        TEST(a_refusal_changes_nothing),
        TEST(the_log_tells_what_was_seen_and_decided),
        TEST(two_catalogs_of_one_number_are_both_logged),
        TEST(the_log_is_bounded_and_refusals_push_nothing_else_out),
        TEST(the_last_catalog_is_kept),
        TEST(keys_are_listed_added_and_removed),
        TEST(an_added_key_is_no_first_contact),
        TEST(the_database_is_the_users_alone),
        TEST(a_damaged_database_is_moved_aside),
        TEST(wrong_values_in_rows_are_not_used),
        TEST(a_newer_database_is_left_alone),
        TEST(an_older_database_gets_what_it_lacks),
        TEST(many_processes_make_one_new_database),
        TEST(many_processes_move_damage_aside_once),
        TEST(a_folder_that_cannot_be_used_is_told),
    };
    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
