// catalog/catalog.h: the grammar, signatures over it, shards, look-ups, changes.
#include "catalog_fixture.h"

#include "base/hash.h"

#include "base/banned.h"

#define ISSUED INT64_C(1795428000) // 2026-11-23T10:00:00Z
#define KEY_A "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"
#define KEY_B "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU" // RFC 8032, section 7.1, tests 2 and 3
#define HASH_A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH_B "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define HEAD                                                                                                           \
    "rondo-catalog 1\nsite zoo " KEY_A "\nid 00112233445566778899aabbccddeeff\nnumber 42\n"                            \
    "issued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n"
#define LISTS                                                                                                          \
    "mirror http://b.example/\nmirror https://a.example:8443/os/\nrevoke " KEY_B "\nkey " KEY_B " alice\n"             \
    "image alice.x 1 1 " HASH_A "\nimage debian 12.4 1 " HASH_A "\nimage debian 12.5 2 " HASH_B "\n"                   \
    "tag debian 12 12.5\ntag debian latest 12.5\n"

static int parse(const char *text, struct catalog *ret, struct error *error)
{
    const size_t n = strlen(text);
    char *exact CLEANUP_FREE = fixture_exact(text, n);
    return catalog_parse(exact, n, ret, error);
}

static void a_catalog_says_what_it_says(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free);
    struct error error;
    char key[KEY_TEXT_SIZE];
    char hash[SHA256_HEX_SIZE];
    assert_ok(parse(HEAD LISTS, &c, &error), error);
    assert_string_equal(c.site, "zoo");
    assert_string_equal(key_to_text(&c.site_key, key), KEY_A);
    assert_int_equal(c.id[0], 0x00);
    assert_int_equal(c.id[15], 0xff);
    assert_int_equal(c.number, 42);
    assert_int_equal(c.issued, ISSUED);
    assert_int_equal(c.expires, ISSUED + CATALOG_EXPIRES_DEFAULT);
    assert_int_equal(c.mirror_count, 2);
    assert_string_equal(c.mirrors[0], "http://b.example/");
    assert_string_equal(c.mirrors[1], "https://a.example:8443/os/");
    assert_int_equal(c.revoked_count, 1);
    assert_string_equal(key_to_text(&c.revoked[0], key), KEY_B);
    assert_int_equal(c.key_count, 1);
    assert_string_equal(c.keys[0].prefix, "alice");
    assert_int_equal(c.image_count, 3);
    assert_string_equal(c.images[2].version, "12.5");
    assert_int_equal(c.images[2].serial, 2);
    assert_string_equal(sha256_to_hex(&c.images[2].manifest, hash), HASH_B);
    assert_int_equal(c.tag_count, 2);
    assert_string_equal(c.tags[0].tag, "12");
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    assert_ok(catalog_format(&c, NULL, NULL, &text, &error), error);
    assert_string_equal(buf_text(&text), HEAD LISTS); // one catalog has one text
}

static void optional_lines_are_ignored(void **state)
{
    (void)state;
    struct catalog c CLEANUP(catalog_free);
    struct error error;
    assert_ok(parse("rondo-catalog 1\nopt-a\nsite zoo " KEY_A "\nopt-b x y z\nid 00112233445566778899aabbccddeeff\n"
                    "number 42\nissued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\nopt-c\n"
                    "image a 1 1 " HASH_A "\nopt-d ümlaut\nimage b 1 1 " HASH_A "\nopt-e\n",
                    &c, &error),
              error);
    assert_int_equal(c.image_count, 2);
}

static void malformed_catalogs_are_refused(void **state)
{
    (void)state;
#define SITE "rondo-catalog 1\nsite zoo " KEY_A "\n"
#define ID "id 00112233445566778899aabbccddeeff\n"
#define DATES "issued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n"
#define IMAGE "image debian 12.5 2 " HASH_B "\n"
    static const char *const cases[] = {
        "",
        "\n",
        "rondo-catalog 1",
        "rondo-catalog 1\n",
        "rondo-catalog 2\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
        "rondo-catalog 1 \nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
        "rondo-catalog\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
        "rondo-manifest 1\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
        "\nrondo-catalog 1\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
        "opt-a\nrondo-catalog 1\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite zoo\n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite Zoo " KEY_A "\n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite zoo  " KEY_A "\n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite zoo " KEY_A " \n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite zoo " KEY_A " x\n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite zoo " KEY_A "=\n" ID "number 42\n" DATES,
        "rondo-catalog 1\nsite zoo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n" ID "number 42\n" DATES,
        SITE "number 42\n" DATES,
        SITE "id 00112233445566778899aabbccddeef\nnumber 42\n" DATES,
        SITE "id 00112233445566778899aabbccddeefff\nnumber 42\n" DATES,
        SITE "id 00112233445566778899AABBCCDDEEFF\nnumber 42\n" DATES,
        SITE ID "number 0\n" DATES,
        SITE ID "number -1\n" DATES,
        SITE ID "number +1\n" DATES,
        SITE ID "number 042\n" DATES,
        SITE ID "number 0x2a\n" DATES,
        SITE ID "number 42 \n" DATES,
        SITE ID "number 9223372036854775808\n" DATES,
        SITE ID "number\n" DATES,
        SITE ID "number 42\nnumber 42\n" DATES,
        SITE ID ID "number 42\n" DATES,
        SITE SITE ID "number 42\n" DATES,
        SITE ID DATES "number 42\n",
        SITE ID "number 42\nexpires 2027-02-21T10:00:00Z\nissued 2026-11-23T10:00:00Z\n",
        SITE ID "number 42\nissued 2026-11-23T10:00:00Z\n",
        SITE ID "number 42\nissued 2026-11-23 10:00:00Z\nexpires 2027-02-21T10:00:00Z\n",
        SITE ID "number 42\nissued 2026-11-23T10:00:00\nexpires 2027-02-21T10:00:00Z\n",
        SITE ID "number 42\nissued 2026-02-29T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n",
        SITE ID "number 42\nissued 2026-11-23T10:00:00Z\nexpires 2026-11-23T10:00:00Z\n",
        SITE ID "number 42\nissued 2026-11-23T10:00:00Z\nexpires 2025-11-23T10:00:00Z\n",
        HEAD "\n",
        HEAD "x\n",
        HEAD "unknown line\n",
        HEAD "opt- x\n",
        HEAD "opt-a \033[2J\n",
        HEAD "opt-a \xe2\x80\xae\n",
        HEAD "opt-a \xff\n",
        HEAD "opt-a\t\n",
        HEAD "opt-a\r\n",
        HEAD "opt-a",
        HEAD "mirror http://b.example\n",
        HEAD "mirror HTTP://b.example/\n",
        HEAD "mirror http://b.example:80/\n",
        HEAD "mirror file:///etc/\n",
        HEAD "mirror /srv/site/\n",
        HEAD "mirror\n",
        HEAD "key\n",
        HEAD "image\n",
        HEAD "tag\n",
        HEAD "shard\n",
        HEAD "mirror http://u:p@b.example/\n",
        HEAD "mirror http://b.example/\nmirror http://a.example/\nmirror http://b.example/\n",
        HEAD "revoke\n",
        HEAD "revoke " KEY_B " x\n",
        HEAD "revoke " KEY_B "\nrevoke " KEY_B "\n",
        HEAD "revoke " KEY_B "\nrevoke " KEY_A "\n", // not in order of their bytes
        HEAD "revoke " KEY_B "\nmirror http://b.example/\n",
        HEAD "key " KEY_B "\n",
        HEAD "key alice " KEY_B "\n",
        HEAD "key " KEY_B " alice/\n",
        HEAD "key " KEY_B " *\n",
        HEAD "key " KEY_B " alice x\n",
        HEAD "key " KEY_B " alice\nkey " KEY_B " alice\n",
        HEAD "key " KEY_B " bob\nkey " KEY_B " alice\n",
        HEAD "image debian 12.5 2\n",
        HEAD "image debian 12.5 2 " HASH_B " x\n",
        HEAD "image debian 12.5 2 " HASH_B "0\n",
        HEAD "image debian 12.5 2  " HASH_B "\n",
        HEAD "image debian 12.5 0 " HASH_B "\n",
        HEAD "image debian 12.5 9223372036854775808 " HASH_B "\n",
        HEAD "image debian 12/5 2 " HASH_B "\n",
        HEAD "image debian .. 2 " HASH_B "\n",
        HEAD "image ../debian 12.5 2 " HASH_B "\n",
        HEAD "image De 12.5 2 " HASH_B "\n",
        HEAD "image debian 12.5 2 FEDCBA9876543210fedcba9876543210fedcba9876543210fedcba9876543210\n",
        HEAD IMAGE IMAGE,
        HEAD IMAGE "image debian 12.4 1 " HASH_A "\n",
        HEAD "image debian 12.4 2 " HASH_A "\n" IMAGE, // the same serial twice
        HEAD "tag debian latest 12.5\n" IMAGE,
        HEAD "tag debian latest 12.5\n",
        HEAD IMAGE "tag debian latest 12.6\n",
        HEAD IMAGE "tag other latest 12.5\n",
        HEAD IMAGE "tag debian latest\n",
        HEAD IMAGE "tag debian /x 12.5\n",
        HEAD IMAGE "tag debian 12.5 12.5\n",
        HEAD IMAGE "tag debian a 12.5\ntag debian a 12.5\n",
        HEAD IMAGE "tag debian b 12.5\ntag debian a 12.5\n",
        HEAD IMAGE "key " KEY_B " alice\n",
        HEAD "shard 0 " HASH_A " 100\n",
        HEAD "shard 0g " HASH_A " 100\n",
        HEAD "shard 0A " HASH_A " 100\n",
        HEAD "shard 00 " HASH_A " 0\n",
        HEAD "shard 00 " HASH_A " 4194305\n",
        HEAD "shard 00 " HASH_A "\n",
        HEAD "shard 01 " HASH_A " 100\nshard 00 " HASH_B " 100\n",
        HEAD "shard 00 " HASH_A " 100\nshard 00 " HASH_B " 100\n",
        HEAD IMAGE "shard 00 " HASH_A " 100\n",
        HEAD "key " KEY_B " alice\nshard 00 " HASH_A " 100\n",
        HEAD "shard 00 " HASH_A " 100\n" IMAGE,
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct catalog c = {.number = 77};
        struct error error = {""};
        if (parse(cases[i], &c, &error) != -EBADMSG)
            fail_msg("case %u was not refused as it should be", i);
        assert_int_equal(c.number, 77);
        assert_int_equal(strncmp(error.text, "malformed catalog", 17), 0);
        assert_true(text_is_printable(slice_of(error.text)));
    }
    struct catalog c CLEANUP(catalog_free);
    assert_int_equal(parse(HEAD IMAGE "tag debian latest 12.5\n", &c, NULL), 0); // the pieces themselves are good
    static const char with_nul[] = HEAD "opt-a \0\n";
    struct catalog d;
    assert_int_equal(catalog_parse(with_nul, sizeof with_nul - 1, &d, NULL), -EBADMSG);
    assert_int_equal(catalog_parse(NULL, 0, &d, NULL), -EBADMSG);
}

static void caps_hold(void **state)
{
    (void)state;
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1 << 20);
    struct catalog c;
    assert_int_equal(buf_append_format(&b, "%s", HEAD), 0);
    for (unsigned i = 0; i < CATALOG_MIRRORS_MAXIMUM; i++)
        assert_int_equal(buf_append_format(&b, "mirror http://%02u.example/\n", i), 0);
    assert_int_equal(catalog_parse(b.data, b.size, &c, NULL), 0);
    catalog_free(&c);
    assert_int_equal(buf_append_format(&b, "mirror http://more.example/\n"), 0);
    assert_int_equal(catalog_parse(b.data, b.size, &c, NULL), -EBADMSG);
    for (size_t line = CATALOG_LINE_MAXIMUM; line <= CATALOG_LINE_MAXIMUM + 1; line++) {
        buf_clear(&b);
        assert_int_equal(buf_append_format(&b, "%sopt-a %0*d\n", HEAD, (int)line - 6, 0), 0);
        int r = catalog_parse(b.data, b.size, &c, NULL);
        assert_int_equal(r, line == CATALOG_LINE_MAXIMUM ? 0 : -EBADMSG);
        if (r == 0)
            catalog_free(&c);
    }
    buf_clear(&b);
    assert_int_equal(buf_append_format(&b, "%s", HEAD), 0);
    while (b.size <= CATALOG_SIZE_MAXIMUM)
        assert_int_equal(buf_append_format(&b, "opt-a 0123456789\n"), 0);
    assert_int_equal(catalog_parse(b.data, b.size, &c, NULL), -EBADMSG);
    assert_int_equal(catalog_open(b.data, b.size, &c, NULL), -EBADMSG);
}

static void every_changed_byte_of_a_signed_catalog_is_refused(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    fixture_catalog(k, 5, ISSUED, &c);
    fixture_sign(k, &c, &file);
    assert_ok(catalog_open(file.data, file.size, &back, &error), error);
    assert_int_equal(back.number, 5);
    const char *comment = (const char *)memmem(file.data, file.size, "untrusted comment: ", 19) + 19;
    const char *comment_end = strchr(comment, '\n');
    for (size_t i = 0; i < file.size; i++) {
        const char *at = (const char *)file.data + i;
        // Covered by nothing: the untrusted comment's text, and the digits that hold bits of the key id.
        const bool uncovered = (at >= comment && at < comment_end) || (at >= comment_end + 3 && at < comment_end + 15);
        for (int bit = 0; bit < 8; bit++) {
            struct catalog changed CLEANUP(catalog_free) = {.number = 0};
            file.data[i] = (unsigned char)(file.data[i] ^ 1 << bit);
            int r = catalog_open(file.data, file.size, &changed, NULL);
            file.data[i] = (unsigned char)(file.data[i] ^ 1 << bit);
            if (!uncovered)
                assert_int_equal(r, -EBADMSG);
            if (r == 0)
                assert_int_equal(changed.image_count, back.image_count);
        }
    }
}

static void a_catalog_is_signed_with_its_own_key(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_secret *l CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back;
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    fixture_catalog(k, 5, ISSUED, &c);
    fixture_sign(l, &c, &file);
    assert_int_equal(catalog_open(file.data, file.size, &back, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "zoo"));
    // One that revokes its own key is not used.
    c.revoked = malloc(sizeof *c.revoked);
    c.revoked[0] = c.site_key;
    c.revoked_count = 1;
    buf_clear(&file);
    fixture_sign(k, &c, &file);
    assert_int_equal(catalog_open(file.data, file.size, &back, &error), -EKEYREJECTED);
    assert_non_null(strstr(error.text, "revoked its own key"));
}

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

// Shards. `objects` keeps what was stored.
struct objects {
    struct buf texts[300];
    unsigned count, fail_at;
};

static int store(void *context, const void *bytes, size_t n, struct sha256 *ret)
{
    struct objects *o = context;
    if (o->fail_at && o->count + 1 == o->fail_at)
        return -ENOSPC;
    struct buf *b = &o->texts[o->count++];
    b->maximum = CATALOG_SHARD_MAXIMUM;
    assert_int_equal(buf_append(b, bytes, n), 0);
    *ret = sha256_of(bytes, n);
    return 0;
}

static void free_objects(struct objects *o)
{
    for (unsigned i = 0; i < o->count; i++)
        buf_free(&o->texts[i]);
    *o = (struct objects){.count = 0};
}

static const struct buf *object_of(const struct objects *o, const struct sha256 *hash)
{
    for (unsigned i = 0; i < o->count; i++) {
        struct sha256 h = sha256_of(o->texts[i].data, o->texts[i].size);
        if (sha256_equal(&h, hash))
            return &o->texts[i];
    }
    return NULL;
}

static void large_catalog(const struct key_secret *k, unsigned images, struct catalog *c)
{
    struct error error;
    struct key_public p;
    fixture_catalog(k, 1, ISSUED, c);
    key_public_of(k, &p);
    for (unsigned i = 0; i < images; i++) {
        struct catalog_image image = {.version = "1.0", .serial = 1 + i};
        snprintf(image.name, sizeof image.name, "image-%u.part", i);
        assert_ok(catalog_add_image(c, &image, &error), error);
    }
    assert_ok(catalog_add_key(c, &p, "image-7", &error), error);
}

static void beyond_64_kib_names_go_to_shards(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct objects objects CLEANUP(free_objects) = {.count = 0};
    struct objects again CLEANUP(free_objects) = {.count = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf second CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    const struct catalog_image *image;
    struct key_public p;
    struct error error;
    large_catalog(k, 1000, &c);
    key_public_of(k, &p);
    assert_ok(catalog_format(&c, store, &objects, &text, &error), error);
    assert_true(text.size < CATALOG_TEXT_MAXIMUM);
    assert_ok(signed_write(k, text.data, text.size, "c", &file, &error), error);
    assert_ok(catalog_open(file.data, file.size, &back, &error), error);
    assert_true(back.shard_count > 200);
    assert_int_equal(back.shard_count, objects.count);
    assert_int_equal(back.image_count, 0);

    // One shard is all that one name needs, with the key line that governs it.
    assert_int_equal(catalog_find(&back, "image-7.part", NULL, &image, &error), -EINVAL); // not read yet
    const struct catalog_shard *shard = catalog_find_shard(&back, "image-7.part");
    assert_non_null(shard);
    const struct buf *object = object_of(&objects, &shard->object);
    assert_non_null(object);
    assert_int_equal(object->size, shard->size);
    assert_ok(catalog_parse_shard(&back, shard, object->data, object->size, &error), error);
    assert_null(catalog_find_shard(&back, "image-7.part"));
    assert_ok(catalog_find(&back, "image-7.part", NULL, &image, &error), error);
    assert_int_equal(image->serial, 8);
    assert_int_equal(back.key_count, 1);
    assert_int_equal(catalog_parse_shard(&back, shard, object->data, object->size, &error), -EINVAL); // twice

    // With shards missing it is neither changed nor written: names would be lost.
    assert_int_equal(catalog_format(&back, store, &again, &second, &error), -EINVAL);
    struct catalog_image debian = {.name = "debian", .version = "20", .serial = 20};
    assert_non_null(catalog_find_shard(&back, "debian"));
    assert_int_equal(catalog_add_image(&back, &debian, &error), -EINVAL);
    assert_int_equal(catalog_set_tag(&back, "debian", "x", "12.5", &error), -EINVAL);
    assert_int_equal(catalog_remove_tag(&back, "debian", "x", &error), -EINVAL);
    assert_int_equal(catalog_remove_image(&back, "debian", "12.4", &error), -EINVAL);
    assert_int_equal(catalog_add_key(&back, &p, "debian", &error), -EINVAL);

    for (unsigned i = 0; i < back.shard_count; i++) {
        if (back.shards[i].loaded)
            continue;
        object = object_of(&objects, &back.shards[i].object);
        assert_ok(catalog_parse_shard(&back, &back.shards[i], object->data, object->size, &error), error);
    }
    assert_int_equal(back.image_count, c.image_count);
    assert_int_equal(back.tag_count, c.tag_count);
    assert_ok(catalog_format(&back, store, &again, &second, &error), error);
    assert_string_equal(buf_text(&second), buf_text(&text));
}

static void shards_are_what_was_signed(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct objects objects CLEANUP(free_objects) = {.count = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    large_catalog(k, 1000, &c);
    assert_ok(catalog_format(&c, store, &objects, &text, &error), error);
    assert_ok(catalog_parse(text.data, text.size, &back, &error), error);
    struct catalog_shard *shard = &back.shards[3];
    const struct buf *object = object_of(&objects, &shard->object);
    const struct buf *other = object_of(&objects, &back.shards[4].object);
    assert_int_equal(catalog_parse_shard(&back, shard, other->data, other->size, &error), -EBADMSG);
    for (size_t i = 0; i < object->size; i++) {
        object->data[i] ^= 1;
        assert_int_equal(catalog_parse_shard(&back, shard, object->data, object->size, &error), -EBADMSG);
        object->data[i] ^= 1;
    }
    assert_int_equal(catalog_parse_shard(&back, shard, object->data, object->size - 1, &error), -EBADMSG);
    assert_int_equal(back.image_count, 0);
    // Signed, but malformed: lines of another shard; lines of a head; nothing sensible.
    const char *const bad[] = {(const char *)other->data, HEAD,  "mirror http://a.example/\n",
                               "shard 00 " HASH_A " 5\n", "x\n", "image"};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        const size_t n = strlen(bad[i]);
        shard->object = sha256_of(bad[i], n);
        shard->size = (uint32_t)n;
        assert_int_equal(catalog_parse_shard(&back, shard, bad[i], n, &error), -EBADMSG);
        assert_non_null(strstr(error.text, "malformed shard"));
    }
    assert_int_equal(back.image_count, 0);
    assert_false(shard->loaded);
    struct catalog_shard unknown = *shard;
    back.shard_count = 1;
    assert_int_equal(catalog_parse_shard(&back, &unknown, "", 0, &error), -EINVAL);
}

static void a_shard_that_cannot_be_stored_stops_the_writing(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct objects objects CLEANUP(free_objects) = {.fail_at = 10};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error;
    large_catalog(k, 1000, &c);
    assert_int_equal(catalog_format(&c, store, &objects, &text, &error), -ENOSPC);
    assert_int_equal(text.size, 0);
}

// Each allocation fails once, and nothing leaks or crashes (the sanitizers look on).
static void lack_of_memory_is_survived(void **state)
{
    (void)state;
    for (unsigned long at = 1;; at++) {
        struct catalog c = {.number = 0};
        io_fault_start(at, ENOMEM, false);
        int r = catalog_parse(HEAD LISTS, strlen(HEAD LISTS), &c, NULL);
        io_fault_stop();
        if (r == 0) {
            catalog_free(&c);
            assert_true(at > 4);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(c.images);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_catalog_says_what_it_says),
        cmocka_unit_test(optional_lines_are_ignored),
        cmocka_unit_test(malformed_catalogs_are_refused),
        cmocka_unit_test(caps_hold),
        cmocka_unit_test(every_changed_byte_of_a_signed_catalog_is_refused),
        cmocka_unit_test(a_catalog_is_signed_with_its_own_key),
        cmocka_unit_test(names_versions_and_tags_are_found),
        cmocka_unit_test(long_lists_are_cut_in_messages),
        cmocka_unit_test(keys_publish_under_their_prefix_only),
        cmocka_unit_test(revoked_keys_publish_nothing),
        cmocka_unit_test(keys_are_revoked_in_order_and_never_the_sites),
        cmocka_unit_test(changes_keep_a_catalog_well_formed),
        cmocka_unit_test(tags_and_versions_go_without_a_trace),
        cmocka_unit_test(what_would_not_parse_back_is_not_written),
        cmocka_unit_test(beyond_64_kib_names_go_to_shards),
        cmocka_unit_test(shards_are_what_was_signed),
        cmocka_unit_test(a_shard_that_cannot_be_stored_stops_the_writing),
        cmocka_unit_test(lack_of_memory_is_survived),
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
