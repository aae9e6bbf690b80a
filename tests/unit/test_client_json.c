// client/json.h: what is written is JSON whatever the text, and what is read is found, or said not to be there.
#include "client/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/banned.h"

static void test_strings(void **state)
{
    (void)state;
    static const struct {
        const char *text, *json;
    } table[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a \"b\" \\ c", "\"a \\\"b\\\" \\\\ c\""},
        {"tab\tnew\nline", "\"tab\\tnew\\nline\""},
        {"\033[31m", "\"\\u001b[31m\""},
        {"☃ ä", "\"☃ ä\""},
        {"</script>'; DROP TABLE", "\"</script>'; DROP TABLE\""},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct buf b = BUF_WITH_MAXIMUM(1024);
        assert_int_equal(json_append_string(&b, table[i].text), 0);
        assert_string_equal(buf_text(&b), table[i].json);
        char back[256];
        char object[512];
        snprintf(object, sizeof(object), "{\"x\": %s}", buf_text(&b));
        assert_true(json_find(object, strlen(object), "$.x", back, sizeof(back)));
        assert_string_equal(back, table[i].text); // and it comes back
        buf_free(&b);
    }
}

static void test_objects(void **state)
{
    (void)state;
    struct buf b = BUF_WITH_MAXIMUM(1024);
    assert_int_equal(buf_append(&b, "{", 1), 0);
    assert_int_equal(json_append_text(&b, "name", "a\"b"), 0);
    assert_int_equal(json_append_number(&b, "largest", UINT64_MAX), 0);
    assert_int_equal(json_append_bool(&b, "yes", true), 0);
    assert_int_equal(json_append_bool(&b, "no", false), 0);
    assert_int_equal(buf_append(&b, "}", 1), 0);
    assert_string_equal(buf_text(&b),
                        "{\"name\": \"a\\\"b\", \"largest\": 18446744073709551615, \"yes\": true, \"no\": false}");
    buf_free(&b);
}

static void test_room(void **state)
{
    (void)state;
    struct buf b = BUF_WITH_MAXIMUM(10);
    assert_int_equal(json_append_string(&b, "longer than that"), -E2BIG);
    buf_free(&b);
}

static void test_finding(void **state)
{
    (void)state;
    static const char json[] =
        "{\"return\": {\"status\": \"running\", \"n\": 12, \"list\": [1, {\"a\": \"b\"}], \"null\": null}}";
    char value[16] = "untouched";
    assert_true(json_find(json, strlen(json), "$.return.status", value, sizeof(value)));
    assert_string_equal(value, "running");
    assert_true(json_find(json, strlen(json), "$.return.n", value, sizeof(value)));
    assert_string_equal(value, "12");
    assert_true(json_find(json, strlen(json), "$.return.list[1].a", value, sizeof(value)));
    assert_string_equal(value, "b");
    static const char *const absent[] = {"$.none", "$.return.none", "$.return.null", "$.return.list[7]", "no path", ""};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
        assert_false(json_find(json, strlen(json), absent[i], value, sizeof(value)));
    assert_string_equal(value, "b"); // untouched by what was not found
    assert_true(json_find(json, strlen(json), "$.return.status", value, 8));
    assert_false(json_find(json, strlen(json), "$.return.status", value, 7)); // no room for it
    static const char *const wrong[] = {"", "{", "{\"a\"", "text", "{\"a\": }", "\xff\xfe", "[1,2"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(json_find(wrong[i], strlen(wrong[i]), "$.a", value, sizeof(value)));
    assert_false(json_find(json, 20, "$.return.status", value, sizeof(value))); // cut short
    assert_false(json_find("{\"a\": 1}\0", 9, "$.b", value, sizeof(value)));
    char deep[6000];
    memset(deep, '[', sizeof(deep));
    assert_false(json_find(deep, sizeof(deep), "$.a", value, sizeof(value)));
}

struct walked {
    unsigned rows, stop_at; // 0: not
    char text[256];
};

static int take(void *context, const struct slice values[])
{
    struct walked *w = context;
    size_t n = strlen(w->text);
    for (unsigned i = 0; i < 2; i++)
        n += (size_t)snprintf(w->text + n, sizeof(w->text) - n, "%.*s%s", values[i].at ? (int)values[i].length : 1,
                              values[i].at ? values[i].at : "-", i ? ";" : ",");
    return ++w->rows == w->stop_at ? 7 : 0;
}

static int walk(const char *json, unsigned maximum, struct walked *w)
{
    static const char *const fields[] = {"$.a", "$.b"};
    return json_walk(json, strlen(json), "$.list", fields, 2, maximum, take, w);
}

static void test_walking(void **state)
{
    (void)state;
    static const char json[] = "{\"list\": [{\"a\": \"x\\n☃\", \"b\": 12}, {\"b\": true}, {\"a\": null, \"b\": [1]}]}";
    struct walked w = {.rows = 0};
    assert_int_equal(walk(json, 3, &w), 0);
    assert_string_equal(w.text, "x\n☃,12;-,1;-,[1];");
    w = (struct walked){.rows = 0};
    assert_int_equal(walk("{\"list\": []}", 0, &w), 0);
    assert_int_equal(w.rows, 0);
    assert_int_equal(walk(json, 2, &w), -EBADMSG); // one too many
    w = (struct walked){.stop_at = 2};
    assert_int_equal(walk(json, 3, &w), 7);
    assert_int_equal(w.rows, 2);
    static const char *const wrong[] = {"",
                                        "{",
                                        "[]",
                                        "{}",
                                        "{\"list\": {\"a\": 1}}",
                                        "{\"list\": \"[]\"}",
                                        "{\"list\": [\"text\"]}",
                                        "{\"list\": [{\"a\": 1}",
                                        "\xff",
                                        "{\"list\": 1}"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(walk(wrong[i], 9, &w), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_strings), cmocka_unit_test(test_objects),
                                       cmocka_unit_test(test_room), cmocka_unit_test(test_finding),
                                       cmocka_unit_test(test_walking)};
    return cmocka_run_group_tests_name("client_json", tests, NULL, NULL);
}
