// catalog/catalog.h: looking things up, and changing them.
#include "tests/unit/catalog_text.h"

#include "base/banned.h"

static void names_versions_and_tags_are_found(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free);
    const struct catalog_image *image;
    struct error error;
    assert_ok(parse(HEAD "image debian 12.4 3 " HASH_A "\nimage debian 12.5 2 " HASH_B "\nimage other 1 1 " HASH_A "\n"
                         "tag debian 12 12.5\n",
                    &c, &error),
              error);
    static const struct {
        const char *name, *selector, *version;
    } cases[] = {
        {"debian", NULL, "12.4"},   {"debian", "", "12.4"},     {"debian", "latest", "12.4"}, {"debian", "12", "12.5"},
        {"debian", "12.5", "12.5"}, {"debian", "12.4", "12.4"}, {"other", "", "1"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_ok(catalog_find(&c, cases[i].name, cases[i].selector, &image, &error), error);
        assert_string_equal(image->version, cases[i].version);
        assert_string_equal(image->name, cases[i].name);
    }
    assert_int_equal(catalog_newest_serial(&c, "debian"), 3);
    assert_int_equal(catalog_newest_serial(&c, "none"), 0);
    assert_int_equal(catalog_find(&c, "debia", NULL, &image, &error), -ENOENT);
    assert_non_null(strstr(error.text, "there are: debian, other"));
    assert_int_equal(catalog_find(&c, "debian", "13\n", &image, &error), -ENOENT);
    assert_non_null(strstr(error.text, "versions: 12.4, 12.5; tags: 12"));
    assert_null(strchr(error.text, '\n'));
    assert_int_equal(catalog_find(&c, "other", "12", &image, &error), -ENOENT);
    assert_non_null(strstr(error.text, "tags: none"));
    assert_ok(catalog_set_tag(&c, "debian", "latest", "12.5", &error), error); // the tag wins over the serial
    assert_ok(catalog_find(&c, "debian", NULL, &image, &error), error);
    assert_string_equal(image->version, "12.5");
}

static void long_lists_are_cut_in_messages(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    const struct catalog_image *image;
    struct error error;
    for (unsigned i = 0; i < 100; i++) {
        struct catalog_image one = {.serial = 1, .version = "1"};
        snprintf(one.name, sizeof one.name, "image-%02u", i);
        assert_ok(catalog_add_image(&c, &one, &error), error);
    }
    assert_int_equal(catalog_find(&c, "none", NULL, &image, &error), -ENOENT);
    assert_non_null(strstr(error.text, "image-00, image-01"));
    const char *more = strstr(error.text, " and ");
    assert_non_null(more);
    unsigned left_out;
    char *end;
    left_out = (unsigned)strtoul(more + 5, &end, 10);
    assert_string_equal(end, " more");
    unsigned shown = 1;
    for (const char *p = error.text; (p = strchr(p, ',')); p++)
        shown++;
    assert_int_equal(shown + left_out, 100);
}

static void keys_publish_under_their_prefix_only(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free);
    struct key_public site;
    struct key_public alice;
    struct error error;
    assert_true(key_from_text(KEY_A, 43, &site));
    assert_true(key_from_text(KEY_B, 43, &alice));
    assert_ok(parse(HEAD "key " KEY_B " alice\nkey " KEY_B " d.e\n", &c, &error), error);
    static const struct {
        const char *name;
        int allowed;
    } cases[] = {{"alice", 1},  {"alice.x", 1}, {"alice.x.y", 1}, {"alicex", 0}, {"alic", 0}, {"x.alice", 0},
                 {"debian", 0}, {"d.e", 1},     {"d.e.f", 1},     {"d", 0},      {"d.ef", 0}, {"alice-x", 0}};
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(catalog_allows(&c, &alice, cases[i].name), cases[i].allowed);
        assert_int_equal(catalog_allows(&c, &site, cases[i].name), 1);
    }
    memcpy(alice.id, "whatever", KEY_ID_SIZE); // the id decides nothing
    assert_int_equal(catalog_allows(&c, &alice, "alice"), 1);
    struct key_public mallory = alice;
    mallory.bytes[0] ^= 1;
    assert_int_equal(catalog_allows(&c, &mallory, "alice"), 0);
}

// TRUST T34: the owner revokes a stolen key without having it.
static void revoked_keys_publish_nothing(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free);
    struct key_public alice;
    struct error error;
    assert_true(key_from_text(KEY_B, 43, &alice));
    assert_ok(parse(HEAD "revoke " KEY_B "\nkey " KEY_B " alice\n", &c, &error), error);
    assert_int_equal(catalog_allows(&c, &alice, "alice"), 0);
    c.site_key = alice;
    assert_int_equal(catalog_allows(&c, &alice, "alice"), 0);
}

static void keys_are_revoked_in_order_and_never_the_sites(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct key_public keys[3], unsound = {.bytes = {0}};
    struct error error = {.text = ""};
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    fixture_catalog(k, 5, 1000, &c);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
        struct key_secret *other CLEANUP(key_free) = fixture_key();
        key_public_of(other, &keys[i]);
        assert_ok(catalog_add_revoked(&c, &keys[i], &error), error);
        assert_ok(catalog_add_revoked(&c, &keys[i], &error), error); // twice is once
    }
    assert_int_equal(catalog_add_revoked(&c, &c.site_key, &error), -EINVAL);
    assert_int_equal(catalog_add_revoked(&c, &unsound, &error), -EINVAL);
    assert_int_equal(c.revoked_count, ARRAY_SIZE(keys));
    assert_ok(catalog_format(&c, NULL, NULL, &text, &error), error);
    assert_ok(catalog_parse(text.data, text.size, &back, &error), error);
    for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
        assert_true(catalog_revokes(&back, &keys[i]));
    assert_false(catalog_revokes(&back, &c.site_key));
}

static void changes_keep_a_catalog_well_formed(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    const struct catalog_image *found;
    struct key_public p;
    struct error error;
    key_public_of(k, &p);
    fixture_catalog(k, 1, ISSUED, &c); // 12.4, 12.5, 13.0: serials 1, 2, 3; tags 12, latest
    struct catalog_image image = {.name = "debian", .version = "14", .serial = 3};
    assert_int_equal(catalog_add_image(&c, &image, &error), -EINVAL);
    assert_non_null(strstr(error.text, "above 3"));
    image.serial = 9;
    assert_ok(catalog_add_image(&c, &image, &error), error);
    assert_ok(catalog_find(&c, "debian", "", &found, &error), error);
    assert_string_equal(found->version, "14");
    image = (struct catalog_image){.name = "debian", .version = "12.5", .serial = 10}; // replaces
    assert_ok(catalog_add_image(&c, &image, &error), error);
    assert_int_equal(c.image_count, 4);
    assert_ok(catalog_find(&c, "debian", "12.5", &found, &error), error);
    assert_int_equal(found->serial, 10);
    image = (struct catalog_image){.name = "debian", .version = "12", .serial = 11};
    assert_int_equal(catalog_add_image(&c, &image, NULL), -EINVAL); // a tag of that name
    image = (struct catalog_image){.name = "new", .version = "latest", .serial = 1};
    assert_int_equal(catalog_add_image(&c, &image, NULL), -EINVAL);
    image = (struct catalog_image){.name = "../x", .version = "1", .serial = 1};
    assert_int_equal(catalog_add_image(&c, &image, NULL), -EINVAL);
    image = (struct catalog_image){.name = "x", .version = "a b", .serial = 1};
    assert_int_equal(catalog_add_image(&c, &image, NULL), -EINVAL);
    image = (struct catalog_image){.name = "x", .version = "1", .serial = UINT64_MAX};
    assert_int_equal(catalog_add_image(&c, &image, NULL), -EINVAL);
    assert_int_equal(catalog_set_tag(&c, "debian", "13", "none", NULL), -ENOENT);
    assert_int_equal(catalog_set_tag(&c, "debian", "13", "latest", NULL), -EINVAL); // a tag of a tag
    assert_int_equal(catalog_set_tag(&c, "debian", "13.0", "14", NULL), -EINVAL);   // a version of that name
    assert_int_equal(catalog_set_tag(&c, "debian", "a/b", "14", NULL), -EINVAL);
    assert_int_equal(catalog_add_key(&c, &p, "*", NULL), -EINVAL);
    assert_ok(catalog_add_key(&c, &p, "bob", &error), error);
    assert_ok(catalog_add_key(&c, &p, "alice", &error), error);
    assert_ok(catalog_add_key(&c, &p, "bob", &error), error); // there already
    assert_int_equal(c.key_count, 2);
    assert_ok(catalog_advance(&c, ISSUED + 1, 60, &error), error);
    assert_int_equal(c.number, 2);
    assert_int_equal(catalog_advance(&c, ISSUED, 0, NULL), -EINVAL);
    assert_int_equal(catalog_advance(&c, -1, 60, NULL), -EINVAL);
    assert_int_equal(catalog_advance(&c, ISSUED, INT64_MAX, NULL), -EINVAL);
    assert_int_equal(c.number, 2);
    assert_ok(catalog_format(&c, NULL, NULL, &text, &error), error);
    c.number = INT64_MAX;
    assert_int_equal(catalog_advance(&c, ISSUED, 60, NULL), -EOVERFLOW);
    struct catalog d;
    assert_int_equal(catalog_start(&d, "My Zoo", &p, NULL), -EINVAL);
    struct catalog a;
    struct catalog b;
    assert_ok(catalog_start(&a, "zoo", &p, &error), error);
    assert_ok(catalog_start(&b, "zoo", &p, &error), error);
    assert_memory_not_equal(a.id, b.id, sizeof a.id);
}

static void tags_and_versions_go_without_a_trace(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog never CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf wanted CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    fixture_catalog(k, 1, ISSUED, &c); // debian 12.4, 12.5 (tag 12), 13.0 (tag latest)
    const struct catalog_image other = {.name = "a", .version = "1", .serial = 1};
    assert_ok(catalog_add_image(&c, &other, &error), error);
    static const struct {
        const char *name, *version;
        int code;
        const char *says;
    } refused[] = {
        {"debian", "13.0", -EINVAL, "bears the tag latest"}, // and is the newest
        {"debian", "12.5", -EINVAL, "bears the tag 12"},
        {"debian", "12", -EINVAL, "12 is a tag; the version that it names is 12.5"},
        {"debian", "latest", -EINVAL, "latest is a tag"},
        {"debian", "9", -ENOENT, "versions: 12.4, 12.5, 13.0"},
        {"debian", "", -EINVAL, "is a tag"},
        {"none", "1", -ENOENT, "there are: a, debian"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
        assert_int_equal(catalog_remove_image(&c, refused[i].name, refused[i].version, &error), refused[i].code);
        if (!strstr(error.text, refused[i].says))
            fail_msg("%s %s: %s", refused[i].name, refused[i].version, error.text);
    }
    assert_int_equal(catalog_remove_tag(&c, "debian", "latest", &error), -EINVAL);
    assert_int_equal(catalog_remove_tag(&c, "debian", "12.5", &error), -EINVAL); // a version
    assert_int_equal(catalog_remove_tag(&c, "debian", "13", &error), -ENOENT);
    assert_int_equal(catalog_remove_tag(&c, "a", "12", &error), -ENOENT);
    assert_int_equal(c.image_count, 4);
    assert_int_equal(c.tag_count, 3);

    assert_ok(catalog_remove_tag(&c, "debian", "12", &error), error);
    assert_ok(catalog_remove_image(&c, "debian", "12.5", &error), error);
    assert_ok(catalog_remove_image(&c, "debian", "12.4", &error), error);
    assert_ok(catalog_set_tag(&c, "debian", "x", "13.0", &error), error);
    assert_ok(catalog_remove_tag(&c, "debian", "x", &error), error);
    assert_ok(catalog_format(&c, NULL, NULL, &text, &error), error);
    assert_null(strstr(buf_text(&text), "12."));
    // The newest stays even without a tag: its serial is what readers remember.
    const struct catalog_image newer = {.name = "debian", .version = "14", .serial = 4};
    assert_ok(catalog_add_image(&c, &newer, &error), error);
    assert_ok(catalog_set_tag(&c, "debian", "latest", "13.0", &error), error);
    assert_int_equal(catalog_remove_image(&c, "debian", "14", &error), -EINVAL);
    assert_non_null(strstr(error.text, "newest"));
    assert_ok(catalog_set_tag(&c, "debian", "latest", "14", &error), error);
    assert_ok(catalog_remove_image(&c, "debian", "13.0", &error), error);
    assert_int_equal(catalog_newest_serial(&c, "debian"), 4);

    // The same catalog, had the others never been.
    key_public_of(k, &never.site_key);
    struct key_public public = never.site_key;
    assert_ok(catalog_start(&never, "zoo", &public, &error), error);
    memcpy(never.id, c.id, sizeof never.id);
    assert_ok(catalog_advance(&never, ISSUED, CATALOG_EXPIRES_DEFAULT, &error), error);
    assert_ok(catalog_add_image(&never, &other, &error), error);
    assert_ok(catalog_add_image(&never, &newer, &error), error);
    buf_clear(&text);
    assert_ok(catalog_format(&c, NULL, NULL, &text, &error), error);
    assert_ok(catalog_format(&never, NULL, NULL, &wanted, &error), error);
    assert_string_equal(buf_text(&text), buf_text(&wanted));
}

static void what_would_not_parse_back_is_not_written(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    fixture_catalog(k, 1, ISSUED, &c);
    c.images[0].version[0] = ' ';
    assert_int_equal(catalog_format(&c, NULL, NULL, &text, &error), -EINVAL);
    c.images[0].version[0] = '1';
    c.number = 0;
    assert_int_equal(catalog_format(&c, NULL, NULL, &text, &error), -EINVAL);
    c.number = 1;
    c.expires = c.issued;
    assert_int_equal(catalog_format(&c, NULL, NULL, &text, &error), -EINVAL);
    c.expires = INT64_MAX;
    assert_int_equal(catalog_format(&c, NULL, NULL, &text, &error), -EINVAL);
    assert_int_equal(text.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_versions_and_tags_are_found),
        cmocka_unit_test(long_lists_are_cut_in_messages),
        cmocka_unit_test(keys_publish_under_their_prefix_only),
        cmocka_unit_test(revoked_keys_publish_nothing),
        cmocka_unit_test(keys_are_revoked_in_order_and_never_the_sites),
        cmocka_unit_test(changes_keep_a_catalog_well_formed),
        cmocka_unit_test(tags_and_versions_go_without_a_trace),
        cmocka_unit_test(what_would_not_parse_back_is_not_written),
    };
    return cmocka_run_group_tests_name("catalog_changes", tests, NULL, NULL);
}
