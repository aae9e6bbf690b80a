// catalog/trust.h: a refusal changes nothing but the log, and what the log has.
#include "trust_fixture.h"

#include <sqlite3.h>

#include "base/banned.h"

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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_refusal_changes_nothing),
        TEST(the_log_tells_what_was_seen_and_decided),
        TEST(two_catalogs_of_one_number_are_both_logged),
        TEST(the_log_is_bounded_and_refusals_push_nothing_else_out),
    };
    return cmocka_run_group_tests_name("trust log", tests, NULL, NULL);
}
