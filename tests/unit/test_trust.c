// catalog/trust.h: each rule, by the name of the attack it answers.
#include "trust_fixture.h"

#include "base/banned.h"

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
    assert_non_null(strstr(w->error.text, "rondo trust rm '" SITE "'"));
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
        TEST(the_last_catalog_is_kept),
        TEST(keys_are_listed_added_and_removed),
        TEST(an_added_key_is_no_first_contact),
    };
    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
