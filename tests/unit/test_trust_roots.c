// catalog/trust.h with root statements: who follows which, from what was known before. Tests cite trust_roots.c's
// rules.
#include "catalog_fixture.h"

#include <sqlite3.h>

#include "catalog/trust.h"

#include "base/banned.h"

#define SITE "http://host/os/"
#define ISSUED INT64_C(1795428000) // 2026-11-23T10:00:00Z
#define DAY INT64_C(86400)
#define ROOTS 5u // root N has key N - 1 of `secret`, alone, for everything

struct world {
    char *folder;
    struct key_secret *secret[ROOTS];
    struct key_public key[ROOTS];
    struct root root[ROOTS + 1]; // by number, from 2
    struct buf file[ROOTS + 1];
    struct trust *t;
    struct error error;
};

// Root `number` by these keys; `tag` makes it another text.
static void make_root(struct world *w, unsigned number, unsigned key, const char *signers, const char *tag,
                      struct buf *ret)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    struct root root = {
        .number = number, .threshold = 1, .key_count = 1, .keys = {w->key[key]}, .catalog_key = w->key[key]};
    memcpy(root.site, "zoo", 4);
    memset(root.id, 7, sizeof root.id);
    assert_ok(root_format(&root, &text, &w->error), w->error);
    assert_int_equal(buf_append_format(&text, "%s", tag), 0);
    *ret = (struct buf)BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    assert_int_equal(buf_append(ret, text.data, text.size), 0);
    assert_int_equal(buf_append(ret, SIGNED_SEPARATOR, 4), 0);
    for (; *signers; signers++)
        assert_ok(signed_append_signature(w->secret[*signers - '0'], text.data, text.size, "root", ret, &w->error),
                  w->error);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->folder = fixture_folder();
    for (unsigned i = 0; i < ROOTS; i++) {
        w->secret[i] = fixture_key();
        key_public_of(w->secret[i], &w->key[i]);
    }
    for (unsigned n = 2; n <= ROOTS; n++) {
        make_root(w, n, n - 1, (char[]){(char)('0' + n - 2), (char)('0' + n - 1), '\0'}, "", &w->file[n]);
        assert_ok(root_open(w->file[n].data, w->file[n].size, &w->root[n], &w->error), w->error);
    }
    *state = w;
    return trust_open(w->folder, &w->t, &w->error);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    for (unsigned i = 0; i < ROOTS; i++)
        key_free(&w->secret[i]);
    for (unsigned n = 2; n <= ROOTS; n++)
        buf_free(&w->file[n]);
    fixture_remove(&w->folder);
    free(w);
    return 0;
}

// The site's catalog under root `n`, with this number; the caller frees.
static void make_catalog(const struct world *w, unsigned n, uint64_t number, struct catalog *ret)
{
    fixture_catalog(w->secret[n - 1], number, ISSUED, ret);
    ret->root_number = n;
    if (n > 1)
        ret->root_text = w->root[n].text;
}

// Fetches what is wanted, and decides. *ret_wanted: how many roots.
static int decide(struct world *w, const struct catalog *c, struct trust_request request, unsigned *ret_wanted)
{
    struct trust_verdict verdict = {.latest = 0};
    struct root from = {.number = 0};
    unsigned first = 99;
    request.site = SITE;
    if (!request.now)
        request.now = ISSUED;
    w->error.text[0] = '\0';
    assert_ok(trust_want_roots(w->t, &request, c, &first, &from, &w->error), w->error);
    assert_true(first >= 2 && first <= c->root_number + 1);
    *ret_wanted = c->root_number + 1 - first;
    if (from.number)
        assert_int_equal(from.number, first - 1);
    if (!request.roots.files)
        request.roots = (struct trust_roots){.first = first, .count = *ret_wanted, .files = &w->file[first]};
    int r = trust_check(w->t, &request, c, &verdict, &w->error);
    assert_int_equal(r < 0, w->error.text[0] != '\0');
    assert_true(text_is_printable(slice_of(w->error.text)));
    return r;
}

static int see(struct world *w, unsigned n, uint64_t number, const struct key_public *pin, unsigned *ret_wanted)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    make_catalog(w, n, number, &c);
    return decide(w, &c, (struct trust_request){.pin = pin}, ret_wanted);
}

static int find_site(void *context, const struct trust_site *site)
{
    struct trust_site *ret = context;
    *ret = *site;
    ret->address = SITE;
    return 0;
}

static void assert_known(struct world *w, unsigned root, bool pinned)
{
    struct trust_site site = {.root = 0};
    assert_ok(trust_list(w->t, find_site, &site, &w->error), w->error);
    assert_int_equal(site.root, root);
    assert_int_equal(site.pinned, pinned);
    assert_true(key_equal(&site.key, &w->key[root - 1]));
}

static void a_site_without_roots_wants_none(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    assert_int_equal(wanted, 0);
    assert_int_equal(see(w, 1, 6, &w->key[0], &wanted), 0);
    assert_int_equal(wanted, 0);
    assert_known(w, 1, true);
}

static void a_client_many_roots_behind_follows_each(void **state) // TRUST T35
{
    struct world *w = *state;
    unsigned wanted;
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    assert_int_equal(see(w, 5, 9, NULL, &wanted), 0);
    assert_int_equal(wanted, 4);
    assert_known(w, 5, false);
    assert_int_equal(see(w, 5, 9, NULL, &wanted), 0);
    assert_int_equal(wanted, 0);
    trust_close(w->t); // it is on the disk
    w->t = NULL;
    assert_ok(trust_open(w->folder, &w->t, &w->error), w->error);
    assert_int_equal(see(w, 5, 10, NULL, &wanted), 0);
    assert_int_equal(wanted, 0);
}

static void every_key_of_the_chain_goes_on_serving_as_a_pin(void **state) // rule 2
{
    struct world *w = *state;
    unsigned wanted;
    assert_int_equal(see(w, 1, 5, &w->key[0], &wanted), 0);
    assert_int_equal(see(w, 4, 9, &w->key[0], &wanted), 0);
    assert_int_equal(wanted, 3);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(see(w, 4, 9, &w->key[i], &wanted), 0);
        assert_int_equal(wanted, 0);
    }
    assert_int_equal(see(w, 4, 9, &w->key[4], &wanted), -EKEYREJECTED);
    assert_int_equal(wanted, 3); // it may be one from before
    assert_known(w, 4, true);
    for (unsigned i = 0; i < 4; i++) // also named by the user
        assert_ok(trust_add(w->t, SITE, &w->key[i], &w->error), w->error);
    assert_int_equal(trust_add(w->t, SITE, &w->key[4], &w->error), -EKEYREJECTED);
}

static void a_first_contact_begins_where_its_pin_has_signed(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    for (unsigned i = 0; i < 4; i++) { // the key of root i + 1, at root 4
        assert_int_equal(see(w, 4, 9, &w->key[i], &wanted), 0);
        assert_int_equal(wanted, i == 3 ? 1 : 3);
        assert_known(w, 4, true);
        assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
        assert_ok(trust_add(w->t, SITE, &w->key[i], &w->error), w->error);
        assert_int_equal(see(w, 4, 9, NULL, &wanted), 0);
        assert_int_equal(wanted, i == 3 ? 1 : 3);
        assert_known(w, 4, true);
        assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    }
    assert_int_equal(see(w, 4, 9, &w->key[4], &wanted), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "no root of " SITE " is signed by"));
    assert_int_equal(see(w, 4, 9, NULL, &wanted), 0);
    assert_int_equal(wanted, 1);
    // An old link, to somebody who came later: followed once, then remembered.
    assert_int_equal(see(w, 4, 9, &w->key[0], &wanted), 0);
    assert_int_equal(wanted, 3);
    assert_int_equal(see(w, 4, 9, &w->key[0], &wanted), 0);
    assert_int_equal(wanted, 0);
}

static void rollback_to_an_older_root_is_refused(void **state) // rule 4
{
    struct world *w = *state;
    unsigned wanted;
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    assert_int_equal(see(w, 3, 9, NULL, &wanted), 0);
    for (unsigned n = 1; n < 3; n++) {
        assert_int_equal(see(w, n, INT64_MAX, NULL, &wanted), -ESTALE);
        assert_int_equal(wanted, 0);
        assert_non_null(strstr(w->error.text, "older than root 3"));
    }
    // By its key, an older root or none: and one that never was the site's.
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    make_catalog(w, 1, 10, &c);
    c.site_key = w->key[2];
    assert_int_equal(decide(w, &c, (struct trust_request){.now = ISSUED}, &wanted), -ESTALE);
    c.site_key = w->key[4];
    assert_int_equal(decide(w, &c, (struct trust_request){.now = ISSUED}, &wanted), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "has changed"));
    assert_known(w, 3, false);
}

// A thief of the key has signed number 2^63-1, in the year 9998, and another id.
static void fast_forward_ends_with_a_new_key(void **state) // TRUST T06
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    const int64_t far = INT64_C(253300000000);
    assert_int_equal(see(w, 1, 13, NULL, &wanted), 0);
    make_catalog(w, 1, INT64_MAX, &c);
    assert_int_equal(decide(w, &c, (struct trust_request){.now = ISSUED}, &wanted), 0);
    memset(c.id, 8, sizeof c.id);
    c.issued = far;
    c.expires = far + DAY;
    assert_int_equal(decide(w, &c, (struct trust_request){.now = ISSUED}, &wanted), 0);
    assert_ok(
        trust_settle(w->t, &(struct trust_request){.site = SITE, .now = ISSUED}, &c, "debian", INT64_MAX, &w->error),
        w->error);
    assert_int_equal(see(w, 1, 14, NULL, &wanted), -ESTALE);
    assert_int_equal(see(w, 2, 14, NULL, &wanted), 0);
    assert_int_equal(decide(w, &c, (struct trust_request){.now = ISSUED}, &wanted), -ESTALE);
    struct catalog now CLEANUP(catalog_free) = {.number = 0};
    make_catalog(w, 2, 15, &now);
    assert_ok(trust_settle(w->t, &(struct trust_request){.site = SITE, .now = ISSUED}, &now, "debian", 3, &w->error),
              w->error);
    assert_int_equal(see(w, 2, 14, NULL, &wanted), -ESTALE); // of the new key no number falls either
    // With --require-fresh, too: the thief's date has gone with his key.
    assert_int_equal(decide(w, &now, (struct trust_request){.require_fresh = true}, &wanted), 0);
}

// What is shown to somebody who knows root 1, instead of roots 2 and 3; nothing of it is remembered.
static void what_does_not_follow_is_refused(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf bad[2];
    make_catalog(w, 3, 9, &c);
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    const struct {
        unsigned number[2];
        const char *signers[2], *tag;
        int result;
        const char *reason;
    } table[] = {
        {{2, 3}, {"1", "12"}, "", -EKEYREJECTED, "root 2 is signed by 0 of the keys of root 1"}, // new keys only
        {{2, 3}, {"0", "12"}, "", -EKEYREJECTED, "root 2 is signed by 0 of its own keys"},       // old keys only
        {{2, 3}, {"01", "2"}, "", -EKEYREJECTED, "root 3 is signed by 0 of the keys of root 2"},
        {{2, 3}, {"01", "02"}, "", -EKEYREJECTED, "root 3 is signed by 0 of the keys of root 2"},
        {{2, 3}, {"01", "11"}, "", -EKEYREJECTED, "root 3 is signed by 0 of its own keys"},
        {{3, 3}, {"012", "12"}, "", -EBADMSG, "it is root 3, and 2 comes after 1"},       // a gap
        {{2, 2}, {"01", "12"}, "", -ESTALE, "it is root 2, and 3 comes after 2"},         // an old one again
        {{2, 3}, {"01", "12"}, "opt-x y\n", -EKEYREJECTED, "two statements were signed"}, // a fork
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        for (unsigned k = 0; k < 2; k++)
            make_root(w, table[i].number[k], k + 1, table[i].signers[k], table[i].tag, &bad[k]);
        const struct trust_request request = {.roots = {.first = 2, .count = 2, .files = bad}};
        assert_int_equal(decide(w, &c, request, &wanted), table[i].result);
        if (!strstr(w->error.text, table[i].reason))
            fail_msg("%zu: %s", i, w->error.text);
        for (unsigned k = 0; k < 2; k++)
            buf_free(&bad[k]);
        assert_known(w, 1, false);
    }
    // One that is not there.
    const struct trust_request less = {.roots = {.first = 2, .count = 1, .files = &w->file[2]}};
    assert_int_equal(decide(w, &c, less, &wanted), -ENETUNREACH);
    assert_non_null(strstr(w->error.text, "go online"));
    assert_known(w, 1, false);
    assert_int_equal(see(w, 3, 9, NULL, &wanted), 0);
    assert_known(w, 3, false);
}

// Another process has taken a newer root between the two steps: the command goes on with what it looked at, and the
// newer root stays.
static void who_is_overtaken_goes_on_and_changes_nothing(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct trust_verdict verdict;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    const struct trust_request request = {
        .site = SITE, .now = ISSUED, .roots = {.first = 2, .count = 1, .files = &w->file[2]}};
    make_catalog(w, 2, 6, &c);
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    assert_ok(trust_look(w->t, &request, &c, &verdict, &w->error), w->error);
    assert_int_equal(see(w, 3, 7, NULL, &wanted), 0);
    assert_ok(trust_settle(w->t, &request, &c, "debian", 1, &w->error), w->error);
    assert_known(w, 3, false);
    assert_int_equal(trust_look(w->t, &request, &c, &verdict, &w->error), -ESTALE);
}

static void a_fork_of_the_root_that_is_known_is_refused(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    assert_int_equal(see(w, 2, 5, NULL, &wanted), 0);
    make_catalog(w, 2, 6, &c);
    c.root_text.bytes[0] ^= 1;
    assert_int_equal(decide(w, &c, (struct trust_request){.now = ISSUED}, &wanted), -EKEYREJECTED);
    assert_int_equal(wanted, 0);
    assert_non_null(strstr(w->error.text, "two statements were signed"));
    assert_known(w, 2, false);
}

static void another_number_in_a_roots_place_is_refused(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    make_catalog(w, 3, 5, &c);
    const struct trust_request request = {.roots = {.first = 3, .count = 1, .files = &w->file[4]}};
    assert_int_equal(decide(w, &c, request, &wanted), -EBADMSG);
    assert_int_equal(wanted, 1);
    assert_non_null(strstr(w->error.text, "it is root 4"));
    const struct trust_request before = {.roots = {.first = 4, .count = 1, .files = &w->file[4]}};
    assert_int_equal(decide(w, &c, before, &wanted), -ENETUNREACH);
}

// A first contact by somebody's key of root 3, who revokes that of root 2.
static void a_revoked_key_signs_again_in_vain(void **state) // rule 4
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    struct root root = w->root[3];
    root.revoked[0] = w->key[1];
    root.revoked_count = 1;
    assert_ok(root_format(&root, &text, &w->error), w->error);
    for (unsigned i = 1; i <= 2; i++) {
        if (i == 1)
            assert_ok(signed_write(w->secret[i], text.data, text.size, "root", &file, &w->error), w->error);
        else
            assert_ok(signed_append_signature(w->secret[i], text.data, text.size, "root", &file, &w->error), w->error);
    }
    assert_int_equal(see(w, 2, 5, NULL, &wanted), 0);
    make_catalog(w, 3, 6, &c);
    c.root_text = sha256_of(text.data, text.size);
    const struct trust_request request = {.roots = {.first = 3, .count = 1, .files = &file}};
    assert_int_equal(decide(w, &c, request, &wanted), -EKEYREJECTED); // the catalog lacks the revocation
    assert_non_null(strstr(w->error.text, "does not revoke"));
    assert_ok(catalog_add_revoked(&c, &w->key[1], &w->error), w->error);
    assert_int_equal(decide(w, &c, request, &wanted), 0);
    assert_int_equal(see(w, 2, 7, NULL, &wanted), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "has revoked (root 3)"));
    assert_int_equal(decide(w, &c, (struct trust_request){.pin = &w->key[1]}, &wanted), 0); // a pin still leads there
    assert_known(w, 3, true);
}

static void verified_roots_can_be_had_again(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    assert_int_equal(see(w, 3, 9, NULL, &wanted), 0);
    for (unsigned n = 2; n <= 3; n++) {
        buf_clear(&file);
        assert_ok(trust_load_root(w->t, SITE, n, &file, &w->error), w->error);
        assert_int_equal(file.size, w->file[n].size);
        assert_memory_equal(file.data, w->file[n].data, file.size);
    }
    assert_int_equal(trust_load_root(w->t, SITE, 4, &file, &w->error), -ENOENT);
    assert_int_equal(trust_load_root(w->t, "http://other/", 2, &file, &w->error), -ENOENT);
    assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    assert_int_equal(trust_load_root(w->t, SITE, 2, &file, &w->error), -ENOENT);
}

static void a_pin_that_leads_elsewhere_is_refused(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf files[2];
    assert_int_equal(see(w, 3, 5, NULL, &wanted), 0); // roots 1 and 2 were never seen
    make_catalog(w, 3, 6, &c);
    make_root(w, 2, 1, "01", "", &files[0]);
    make_root(w, 3, 2, "12", "opt-x y\n", &files[1]);
    const struct trust_request request = {.pin = &w->key[0], .roots = {.first = 2, .count = 2, .files = files}};
    assert_int_equal(decide(w, &c, request, &wanted), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "leads to another root"));
    buf_free(&files[0]);
    buf_free(&files[1]);
}

static void unpinned_first_contact_stays_refused(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    make_catalog(w, 2, 5, &c);
    assert_int_equal(decide(w, &c, (struct trust_request){.require_pin = true}, &wanted), -EKEYREJECTED);
    assert_int_equal(decide(w, &c, (struct trust_request){.require_pin = true, .pin = &w->key[0]}, &wanted), 0);
}

static int count_event(void *context, const struct trust_entry *entry)
{
    unsigned *counts = context;
    counts[entry->event]++;
    return 0;
}

static void changes_and_refusals_are_logged(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    unsigned counts[TRUST_REFUSED_EXPIRED + 1] = {0};
    assert_int_equal(see(w, 1, 5, NULL, &wanted), 0);
    assert_int_equal(see(w, 3, 9, NULL, &wanted), 0);
    assert_int_equal(see(w, 2, 10, NULL, &wanted), -ESTALE);
    assert_ok(trust_list_log(w->t, SITE, count_event, counts, &w->error), w->error);
    assert_int_equal(counts[TRUST_FIRST_CONTACT], 1);
    assert_int_equal(counts[TRUST_ROTATED], 1);
    assert_int_equal(counts[TRUST_CATALOG], 2);
    assert_int_equal(counts[TRUST_REFUSED_NUMBER], 1);
    assert_string_equal(trust_event_name(TRUST_ROTATED), "rotated");
}

static void what_rondo_does_not_write_is_not_believed(void **state)
{
    struct world *w = *state;
    unsigned wanted;
    static const char *const changes[] = {
        "UPDATE root SET file = x'00'",
        "UPDATE root SET file = x''",
        "UPDATE root SET number = number + 9",
        "UPDATE site SET key = (SELECT key FROM vouched WHERE key <> site.key LIMIT 1)",
    };
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        sqlite3 *db;
        assert_int_equal(see(w, 3, 9, &w->key[0], &wanted), 0);
        assert_int_equal(sqlite3_open(fixture_path(w->folder, "trust.db"), &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, changes[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        struct catalog c CLEANUP(catalog_free) = {.number = 0};
        struct root from;
        unsigned first;
        make_catalog(w, 3, 9, &c);
        assert_int_equal(trust_want_roots(w->t, &(struct trust_request){.site = SITE}, &c, &first, &from, &w->error),
                         -EUCLEAN);
        assert_ok(trust_remove(w->t, SITE, &w->error), w->error);
    }
    assert_int_equal(see(w, 3, 9, NULL, &wanted), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_site_without_roots_wants_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_many_roots_behind_follows_each, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_key_of_the_chain_goes_on_serving_as_a_pin, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_first_contact_begins_where_its_pin_has_signed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rollback_to_an_older_root_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fast_forward_ends_with_a_new_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_does_not_follow_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_is_overtaken_goes_on_and_changes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fork_of_the_root_that_is_known_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_number_in_a_roots_place_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_revoked_key_signs_again_in_vain, set_up, tear_down),
        cmocka_unit_test_setup_teardown(verified_roots_can_be_had_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pin_that_leads_elsewhere_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unpinned_first_contact_stays_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_and_refusals_are_logged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_rondo_does_not_write_is_not_believed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
