// What publishers send over HTTP as text (server/publish_text.c).
#include "server/publish_text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

static char key_text[KEY_TEXT_SIZE];

static int make_key(void **state)
{
    struct key_secret *secret;
    struct key_public public;

    (void)state;
    if (key_generate(&secret, NULL) < 0)
        return -1;
    key_public_of(secret, &public);
    key_free(&secret);
    key_to_text(&public, key_text);
    return 0;
}

static void a_part_lies_within_its_object(void **state)
{
    static const struct {
        const char *header;
        bool right;
        uint64_t first, length, total;
    } table[] = {
        {"bytes 0-0/1", true, 0, 1, 1},
        {"BYTES 10-19/20", true, 10, 10, 20},
        {"bytes 0-9223372036854775806/9223372036854775807", true, 0, INT64_MAX, INT64_MAX},
        {"bytes 0-1/1", false, 0, 0, 0},
        {"bytes 1-0/2", false, 0, 0, 0},
        {"bytes 0-0/0", false, 0, 0, 0},
        {"bytes 0-0/*", false, 0, 0, 0},
        {"bytes */5", false, 0, 0, 0},
        {"bytes 0-/5", false, 0, 0, 0},
        {"bytes -4/5", false, 0, 0, 0},
        {"bytes 0-4", false, 0, 0, 0},
        {"bytes 0-4/5 ", false, 0, 0, 0},
        {"bytes  0-4/5", false, 0, 0, 0},
        {"bytes 00-4/5", false, 0, 0, 0},
        {"bytes=0-4/5", false, 0, 0, 0},
        {"bytes 0-18446744073709551615/18446744073709551616", false, 0, 0, 0},
        {"bytes ", false, 0, 0, 0},
        {"", false, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct publish_part part = {.total = 77};
        const bool right = publish_text_parse_part(slice_of(table[i].header), &part);
        if (right != table[i].right || (right && (part.first != table[i].first || part.length != table[i].length)) ||
            part.total != (right ? table[i].total : 77))
            fail_msg("'%s'", table[i].header);
    }
}

static void a_key_is_one_line(void **state)
{
    static const char *const forms[] = {"key %s",    "key %s\n\n", "key  %s\n",   "Key %s\n",
                                        "key %s \n", "%s\n",       "key %.42s\n", "key %s\nkey %s\n"};
    struct key_public key;
    char body[256];

    (void)state;
    int n = snprintf(body, sizeof body, "key %s\n", key_text);
    assert_int_equal(publish_text_parse_key(body, (size_t)n, &key, NULL), 0);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct buf b = BUF_WITH_MAXIMUM(256);
        for (const char *at = forms[i]; *at; at++) {
            if (*at != '%') {
                assert_int_equal(buf_append(&b, at, 1), 0);
                continue;
            }
            const bool cut = at[1] == '.';
            assert_int_equal(buf_append(&b, key_text, cut ? 42 : 43), 0);
            at += cut ? 4 : 1;
        }
        assert_int_equal(publish_text_parse_key(b.data, b.size, &key, NULL), -EBADMSG);
        buf_free(&b);
    }
    assert_int_equal(publish_text_parse_key("", 0, &key, NULL), -EBADMSG);
}

static int count_objects(const char *text, struct publish_object *ret)
{
    struct text_reader lines = text_reader_over(text, strlen(text), 80);
    int r, count = 0;

    while ((r = publish_text_next_object(&lines, ret, NULL)) > 0)
        count++;
    return r < 0 ? r : count;
}

#define HEX "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void objects_are_listed_a_line_each(void **state)
{
    static const char *const wrong[] = {
        HEX "\n",         HEX " \n", HEX " -1\n",         HEX " 1",       HEX " 1 1\n", " " HEX " 1\n",
        "../" HEX " 1\n", "\n",      HEX " 4294967296\n", "x" HEX " 1\n", HEX "\t1\n"};
    struct publish_object object;

    (void)state;
    assert_int_equal(count_objects("", &object), 0);
    assert_int_equal(count_objects(HEX " 5\n" HEX " 4294967295\n", &object), 2);
    assert_int_equal(object.size, 4294967295);
    assert_int_equal(object.name.bytes[1], 0x11);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (count_objects(wrong[i], &object) != -EBADMSG)
            fail_msg("'%s'", wrong[i]);

    struct buf many = BUF_WITH_MAXIMUM(1 << 20);
    for (unsigned i = 0; i < PUBLISH_MISSING_LINES; i++)
        assert_int_equal(buf_append(&many, HEX " 1\n", strlen(HEX " 1\n")), 0);
    assert_true(many.size <= PUBLISH_MISSING_MAXIMUM);
    assert_int_equal(count_objects(buf_text(&many), &object), PUBLISH_MISSING_LINES);
    assert_int_equal(buf_append(&many, HEX " 1\n", strlen(HEX " 1\n")), 0);
    assert_int_equal(count_objects(buf_text(&many), &object), -EBADMSG);
    buf_free(&many);
}

#define CHALLENGE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define ID "00112233445566778899aabbccddeeff"

static void a_session_has_its_lines_and_no_others(void **state)
{
    static const char *const lines[] = {"rondo-publish 1\n", NULL, "id " ID "\n", NULL, "challenge " CHALLENGE "\n"};
    struct publish_session_text t;
    char all[1024];
    size_t starts[6] = {0};

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        int n = lines[i]
                    ? snprintf(all + starts[i], sizeof all - starts[i], "%s", lines[i])
                    : snprintf(all + starts[i], sizeof all - starts[i], "%s %s\n", i == 1 ? "site" : "key", key_text);
        starts[i + 1] = starts[i] + (size_t)n;
    }
    const struct slice whole = {.at = all, .length = starts[5]};
    assert_int_equal(publish_text_parse_session(whole, &t, NULL), 0);
    assert_int_equal(t.id[15], 0xff);
    assert_int_equal(t.challenge[31], 31);
    assert_true(key_equal(&t.site, &t.key));

    for (size_t i = 0; i < 5; i++) { // each line left out, doubled, or the last one
        char other[2048];
        size_t n = 0;
        memcpy(other, all, starts[i]);
        memcpy(other + starts[i], all + starts[i + 1], starts[5] - starts[i + 1]);
        n = starts[5] - (starts[i + 1] - starts[i]);
        assert_int_equal(publish_text_parse_session((struct slice){.at = other, .length = n}, &t, NULL), -EBADMSG);
        memcpy(other, all, starts[i + 1]);
        memcpy(other + starts[i + 1], all + starts[i], starts[5] - starts[i]);
        n = starts[5] + starts[i + 1] - starts[i];
        assert_int_equal(publish_text_parse_session((struct slice){.at = other, .length = n}, &t, NULL), -EBADMSG);
        if (i > 0)
            assert_int_equal(publish_text_parse_session((struct slice){.at = all, .length = starts[i]}, &t, NULL),
                             -EBADMSG);
    }
    assert_int_equal(publish_text_parse_session((struct slice){.at = all, .length = starts[5] - 1}, &t, NULL),
                     -EBADMSG);
    for (size_t i = 0; i < starts[5]; i++) { // each byte another one: refused, or another value
        const char before = all[i];
        all[i] = before == '!' ? '?' : '!';
        assert_int_equal(publish_text_parse_session(whole, &t, NULL), -EBADMSG);
        all[i] = before;
    }
}

static void a_tag_is_a_name(void **state)
{
    static const struct {
        const char *value, *tag;
    } table[] = {{"stable", "stable"}, {"v1.0%2Bb", "v1.0+b"}, {"a%2bb", "a+b"}, {"", NULL},
                 {"%2e", NULL},        {"a%2Fb", NULL},        {"a%00b", NULL},  {"a%2", NULL},
                 {"a%zz", NULL},       {"a b", NULL},          {"../x", NULL},   {"%41", "A"}};
    char tag[CATALOG_NAME_SIZE], longest[CATALOG_NAME_SIZE + 1];

    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        int r = publish_text_parse_tag(slice_of(table[i].value), tag, NULL);
        if (r != (table[i].tag ? 0 : -EBADMSG) || (r == 0 && strcmp(tag, table[i].tag) != 0))
            fail_msg("'%s'", table[i].value);
    }
    memset(longest, 'a', sizeof longest);
    assert_int_equal(publish_text_parse_tag((struct slice){.at = longest, .length = 64}, tag, NULL), 0);
    assert_int_equal(publish_text_parse_tag((struct slice){.at = longest, .length = 65}, tag, NULL), -EBADMSG);
}

static void a_token_has_its_scheme(void **state)
{
    unsigned char token[PUBLISH_CHALLENGE_BYTES];

    (void)state;
    assert_true(publish_text_parse_token(slice_of("Bearer " CHALLENGE), token));
    assert_int_equal(token[31], 31);
    assert_true(publish_text_parse_token(slice_of("bearer " CHALLENGE), token));
    assert_false(publish_text_parse_token(slice_of("Basic " CHALLENGE), token));
    assert_false(publish_text_parse_token(slice_of("Bearer"), token));
    assert_false(publish_text_parse_token(slice_of("Bearer " CHALLENGE "A"), token));
    assert_false(publish_text_parse_token(slice_of("Bearer " CHALLENGE "="), token));
    assert_false(publish_text_parse_token(slice_of("Bearer  " CHALLENGE), token));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_lies_within_its_object),
        cmocka_unit_test(a_key_is_one_line),
        cmocka_unit_test(objects_are_listed_a_line_each),
        cmocka_unit_test(a_session_has_its_lines_and_no_others),
        cmocka_unit_test(a_tag_is_a_name),
        cmocka_unit_test(a_token_has_its_scheme),
    };

    return cmocka_run_group_tests(tests, make_key, NULL);
}
