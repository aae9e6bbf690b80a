// catalog/catalog.h: the grammar, and signatures over it.
#include "tests/unit/catalog_text.h"

#include "base/banned.h"

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

// T28: each with its message.
static void malformed_catalogs_are_refused(void **state)
{
    (void)state;
#define SITE "rondo-catalog 1\nsite zoo " KEY_A "\n"
#define ID "id 00112233445566778899aabbccddeeff\n"
#define DATES "issued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n"
#define IMAGE "image debian 12.5 2 " HASH_B "\n"
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "line 1: expected rondo-catalog"},
        {"\n", "line 1: expected rondo-catalog"},
        {"rondo-catalog 1", "line 1: not a line of printable text, or too long"},
        {"rondo-catalog 1\n", "line 2: expected site"},
        {"rondo-catalog 2\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
         "line 1: a catalog of another format; a newer rondo may know it"},
        {"rondo-catalog 1 \nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
         "line 1: a catalog of another format; a newer rondo may know it"},
        {"rondo-catalog\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
         "line 1: a catalog of another format; a newer rondo may know it"},
        {"rondo-manifest 1\nsite zoo " KEY_A "\n" ID "number 42\n" DATES, "line 1: expected rondo-catalog"},
        {"\nrondo-catalog 1\nsite zoo " KEY_A "\n" ID "number 42\n" DATES, "line 1: expected rondo-catalog"},
        {"opt-a\nrondo-catalog 1\nsite zoo " KEY_A "\n" ID "number 42\n" DATES,
         "line 2: expected before every other line"},
        {"rondo-catalog 1\nsite zoo\n" ID "number 42\n" DATES, "line 2: expected: site NAME KEY"},
        {"rondo-catalog 1\nsite Zoo " KEY_A "\n" ID "number 42\n" DATES, "line 2: expected: site NAME KEY"},
        {"rondo-catalog 1\nsite zoo  " KEY_A "\n" ID "number 42\n" DATES, "line 2: expected: site NAME KEY"},
        {"rondo-catalog 1\nsite zoo " KEY_A " \n" ID "number 42\n" DATES, "line 2: expected: site NAME KEY"},
        {"rondo-catalog 1\nsite zoo " KEY_A " x\n" ID "number 42\n" DATES, "line 2: expected: site NAME KEY"},
        {"rondo-catalog 1\nsite zoo " KEY_A "=\n" ID "number 42\n" DATES, "line 2: expected: site NAME KEY"},
        {"rondo-catalog 1\nsite zoo AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n" ID "number 42\n" DATES,
         "line 2: expected: site NAME KEY"},
        {SITE "number 42\n" DATES, "line 3: expected id"},
        {SITE "id 00112233445566778899aabbccddeef\nnumber 42\n" DATES, "line 3: an id is 32 hex digits in lower case"},
        {SITE "id 00112233445566778899aabbccddeefff\nnumber 42\n" DATES,
         "line 3: an id is 32 hex digits in lower case"},
        {SITE "id 00112233445566778899AABBCCDDEEFF\nnumber 42\n" DATES, "line 3: an id is 32 hex digits in lower case"},
        {SITE "id 0011223344556677/899aabbccddeeff\nnumber 42\n" DATES, "line 3: an id is 32 hex digits in lower case"},
        {SITE ID "\t\n", "line 4: not a line of printable text, or too long"},
        {SITE ID "number 42\n\t\n", "line 5: not a line of printable text, or too long"},
        {SITE ID "number 42\nissued 2026-11-23T10:00:00Z\n\t\n", "line 6: not a line of printable text, or too long"},
        {SITE ID "number 0\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number -1\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number +1\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number 042\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number 0x2a\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number 42 \n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number 9223372036854775808\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number\n" DATES, "line 4: a catalog's number is decimal, from 1 to 2^63-1"},
        {SITE ID "number 42\nnumber 42\n" DATES, "line 5: expected issued"},
        {SITE ID ID "number 42\n" DATES, "line 4: expected number"},
        {SITE SITE ID "number 42\n" DATES, "line 3: expected id"},
        {SITE ID DATES "number 42\n", "line 4: expected number"},
        {SITE ID "number 42\nexpires 2027-02-21T10:00:00Z\nissued 2026-11-23T10:00:00Z\n", "line 5: expected issued"},
        {SITE ID "number 42\nissued 2026-11-23T10:00:00Z\n", "line 6: expected expires"},
        {SITE ID "number 42\nissued 2026-11-23 10:00:00Z\nexpires 2027-02-21T10:00:00Z\n",
         "line 5: expected a time as in 2026-11-23T10:00:00Z"},
        {SITE ID "number 42\nissued 2026-11-23T10:00:00\nexpires 2027-02-21T10:00:00Z\n",
         "line 5: expected a time as in 2026-11-23T10:00:00Z"},
        {SITE ID "number 42\nissued 2026-02-29T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n",
         "line 5: expected a time as in 2026-11-23T10:00:00Z"},
        {SITE ID "number 42\nissued 2026-11-23T10:00:00Z\nexpires 2026-11-23T10:00:00Z\n",
         "line 6: it expires before it is issued"},
        {SITE ID "number 42\nissued 2026-11-23T10:00:00Z\nexpires 2025-11-23T10:00:00Z\n",
         "line 6: it expires before it is issued"},
        {HEAD "\n", "line 7: an unknown line, or one out of order"},
        {HEAD "x\n", "line 7: an unknown line, or one out of order"},
        {HEAD "unknown line\n", "line 7: an unknown line, or one out of order"},
        {HEAD "opt- x\n", "line 7: an unknown line, or one out of order"},
        {HEAD "opt-a \033[2J\n", "line 7: not a line of printable text, or too long"},
        {HEAD "opt-a \xe2\x80\xae\n", "line 7: not a line of printable text, or too long"},
        {HEAD "opt-a \xff\n", "line 7: not a line of printable text, or too long"},
        {HEAD "opt-a\t\n", "line 7: not a line of printable text, or too long"},
        {HEAD "opt-a\r\n", "line 7: not a line of printable text, or too long"},
        {HEAD "opt-a", "line 7: not a line of printable text, or too long"},
        {HEAD "mirror http://b.example\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "mirror HTTP://b.example/\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "mirror http://b.example:80/\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "mirror file:///etc/\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "mirror /srv/site/\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "mirror\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "key\n", "line 7: expected: key KEY PREFIX"},
        {HEAD "image\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "tag\n", "line 7: expected: tag NAME TAG VERSION"},
        {HEAD "shard\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "mirror http://u:p@b.example/\n", "line 7: a mirror is a URL in its plain form that ends in /"},
        {HEAD "mirror http://b.example/\nmirror http://a.example/\nmirror http://b.example/\n",
         "line 9: a mirror that was there already"},
        {HEAD "revoke\n", "line 7: expected: revoke KEY"},
        {HEAD "revoke " KEY_B " x\n", "line 7: expected: revoke KEY"},
        {HEAD "revoke " KEY_B "\nrevoke " KEY_B "\n", "line 8: not in order, or there already"},
        {HEAD "revoke " KEY_B "\nrevoke " KEY_A "\n",
         "line 8: not in order, or there already"}, // not in order of their bytes
        {HEAD "revoke " KEY_B "\nmirror http://b.example/\n", "line 8: an unknown line, or one out of order"},
        {HEAD "key " KEY_B "\n", "line 7: expected: key KEY PREFIX"},
        {HEAD "key alice " KEY_B "\n", "line 7: expected: key KEY PREFIX"},
        {HEAD "key " KEY_B " alice/\n", "line 7: expected: key KEY PREFIX"},
        {HEAD "key " KEY_B " *\n", "line 7: expected: key KEY PREFIX"},
        {HEAD "key " KEY_B " alice x\n", "line 7: expected: key KEY PREFIX"},
        {HEAD "key " KEY_B " alice\nkey " KEY_B " alice\n", "line 8: not in order, or there already"},
        {HEAD "key " KEY_B " bob\nkey " KEY_B " alice\n", "line 8: not in order, or there already"},
        {HEAD "image debian 12.5 2\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12.5 2 " HASH_B " x\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12.5 2 " HASH_B "0\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12.5 2  " HASH_B "\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12.5 0 " HASH_B "\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12.5 9223372036854775808 " HASH_B "\n",
         "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12/5 2 " HASH_B "\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian .. 2 " HASH_B "\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image ../debian 12.5 2 " HASH_B "\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image De 12.5 2 " HASH_B "\n", "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD "image debian 12.5 2 FEDCBA9876543210fedcba9876543210fedcba9876543210fedcba9876543210\n",
         "line 7: expected: image NAME VERSION SERIAL SHA256"},
        {HEAD IMAGE IMAGE, "line 8: not in order, or there already"},
        {HEAD IMAGE "image debian 12.4 1 " HASH_A "\n", "line 8: not in order, or there already"},
        {HEAD "image debian 12.4 2 " HASH_A "\n" IMAGE,
         "two versions of debian have the serial 2"}, // the same serial twice
        {HEAD "tag debian latest 12.5\n" IMAGE, "line 7: a tag for a version that is not there"},
        {HEAD "tag debian latest 12.5\n", "line 7: a tag for a version that is not there"},
        {HEAD IMAGE "tag debian latest 12.6\n", "line 8: a tag for a version that is not there"},
        {HEAD IMAGE "tag other latest 12.5\n", "line 8: a tag for a version that is not there"},
        {HEAD IMAGE "tag debian latest\n", "line 8: expected: tag NAME TAG VERSION"},
        {HEAD IMAGE "tag debian /x 12.5\n", "line 8: expected: tag NAME TAG VERSION"},
        {HEAD IMAGE "tag debian 12.5 12.5\n", "line 8: a tag that is also the name of a version"},
        {HEAD IMAGE "tag debian a 12.5\ntag debian a 12.5\n", "line 9: not in order, or there already"},
        {HEAD IMAGE "tag debian b 12.5\ntag debian a 12.5\n", "line 9: not in order, or there already"},
        {HEAD IMAGE "key " KEY_B " alice\n", "line 8: an unknown line, or one out of order"},
        {HEAD "shard 0 " HASH_A " 100\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "shard 0g " HASH_A " 100\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "shard 0A " HASH_A " 100\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "shard 00 " HASH_A " 0\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "shard 00 " HASH_A " 4194305\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "shard 00 " HASH_A "\n", "line 7: expected: shard XX SHA256 BYTES"},
        {HEAD "shard 01 " HASH_A " 100\nshard 00 " HASH_B " 100\n", "line 8: not in order, or there already"},
        {HEAD "shard 00 " HASH_A " 100\nshard 00 " HASH_B " 100\n", "line 8: not in order, or there already"},
        {HEAD IMAGE "shard 00 " HASH_A " 100\n",
         "line 8: key, image and tag lines stand in the catalog or in shards, not in both"},
        {HEAD "key " KEY_B " alice\nshard 00 " HASH_A " 100\n",
         "line 8: key, image and tag lines stand in the catalog or in shards, not in both"},
        {HEAD "shard 00 " HASH_A " 100\n" IMAGE, "line 8: an unknown line, or one out of order"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct catalog c = {.number = 77};
        struct error error = {""};
        if (parse(cases[i].text, &c, &error) != -EBADMSG || strncmp(error.text, "malformed catalog: ", 19) != 0 ||
            strcmp(error.text + 19, cases[i].message) != 0)
            fail_msg("case %u: \"%s\", not \"%s\"", i, error.text, cases[i].message);
        assert_int_equal(c.number, 77);
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
    // One that is signed and malformed is, all the same.
    struct buf malformed CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    char key[KEY_TEXT_SIZE], text[200];
    int n = snprintf(text, sizeof text, "rondo-catalog 1\nsite zoo %s\nid 0\n", key_to_text(&c.site_key, key));
    assert_ok(signed_write(k, text, (size_t)n, "", &malformed, &error), error);
    assert_int_equal(catalog_open(malformed.data, malformed.size, &back, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "line 3: an id is"));
    // One that revokes its own key is not used.
    c.revoked = malloc(sizeof *c.revoked);
    c.revoked[0] = c.site_key;
    c.revoked_count = 1;
    buf_clear(&file);
    fixture_sign(k, &c, &file);
    assert_int_equal(catalog_open(file.data, file.size, &back, &error), -EKEYREJECTED);
    assert_non_null(strstr(error.text, "revoked its own key"));
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
    };
    return cmocka_run_group_tests_name("catalog", tests, NULL, NULL);
}
