// web/html.h and web/markdown.h: what is escaped, what Markdown becomes, and that nothing else gets through.
#include "web/markdown.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/html_check.h"

#include "base/banned.h"

static void assert_renders(const char *text, const char *expected)
{
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1u << 20);
    struct html h = {.to = &out};
    size_t at;
    assert_int_equal(markdown_render(&h, slice_of(text), 1u << 20), 0);
    assert_int_equal(h.result, 0);
    assert_string_equal(buf_text(&out), expected);
    assert_true(html_check(buf_text(&out), out.size, &at));
}

static void blocks_are_known(void **state)
{
    (void)state;
    assert_renders("", "");
    assert_renders("\n \n", "");
    assert_renders("one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>\n");
    assert_renders("# a\n## b\n### c\n#### d", "<h3>a</h3>\n<h4>b</h4>\n<h5>c</h5>\n<p>#### d</p>\n");
    assert_renders("text\n# a\n###\n\t \n- \tb\t", "<p>text</p>\n<h3>a</h3>\n<p>###</p>\n<ul>\n<li>b</li>\n</ul>\n");
    assert_renders("#a", "<p>#a</p>\n");
    assert_renders("text\n- one\n  more\n\n- two\n* three\n\nend",
                   "<p>text</p>\n<ul>\n<li>one\n  more</li>\n<li>two</li>\n<li>three</li>\n</ul>\n<p>end</p>\n");
    assert_renders("1. one\n2. two\n- other", "<ol>\n<li>one</li>\n<li>two</li>\n</ol>\n<ul>\n<li>other</li>\n</ul>\n");
    assert_renders("12345. no list", "<p>12345. no list</p>\n");
    assert_renders("```sh\n**a** <b>\n\n# c\n```\nend",
                   "<pre><code>**a** &lt;b&gt;\n\n# c\n</code></pre>\n<p>end</p>\n");
    assert_renders("```\nnever closed", "<pre><code>never closed\n</code></pre>\n");
}

static void marks_are_known(void **state)
{
    (void)state;
    assert_renders("a **b** *c* `d`", "<p>a <strong>b</strong> <em>c</em> <code>d</code></p>\n");
    assert_renders("**a *b* c** d", "<p><strong>a <em>b</em> c</strong> d</p>\n");
    assert_renders("*a **b** c*", "<p><em>a <strong>b</strong> c</em></p>\n");
    assert_renders("5 * 3 * 2 ** 4, **open", "<p>5 * 3 * 2 ** 4, **open</p>\n");
    assert_renders("\\*a\\* `\\*` \\q", "<p>*a* <code>\\*</code> \\q</p>\n");
    assert_renders("`**a**` `open", "<p><code>**a**</code> `open</p>\n");
    assert_renders("[a **b**](https://example.org/?a=1&b=2)",
                   "<p><a rel=\"nofollow noopener noreferrer\" href=\"https://example.org/?a=1&amp;b=2\">a "
                   "<strong>b</strong></a></p>\n");
    assert_renders("a *\nb* `a\\b` *", "<p>a *\nb* <code>a\\b</code> *</p>\n");
    assert_renders("[a] (b) [c [d](https://e/) [f]",
                   "<p>[a] (b) <a rel=\"nofollow noopener noreferrer\" href=\"https://e/\">c [d</a> [f]</p>\n");
    assert_renders("[a", "<p>[a</p>\n");
    assert_renders("[a](https://e/", "<p>[a](https://e/</p>\n");
    assert_renders("[](https://example.org/) []", "<p>[](https://example.org/) []</p>\n");
}

// T32: what a browser would do something with stays text.
static void nothing_else_gets_through(void **state)
{
    (void)state;
    assert_renders("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n");
    assert_renders("<img src=x onerror='alert(1)'>", "<p>&lt;img src=x onerror=&#39;alert(1)&#39;&gt;</p>\n");
    assert_renders("![a](https://example.org/a.png)",
                   "<p>!<a rel=\"nofollow noopener noreferrer\" href=\"https://example.org/a.png\">a</a></p>\n");
    assert_renders("&lt;b&gt; &#60;", "<p>&amp;lt;b&amp;gt; &amp;#60;</p>\n");
    static const char *const not_links[] = {"javascript:alert(1)",
                                            "JaVaScRiPt:alert(1)",
                                            " javascript:alert(1)",
                                            "data:text/html,x",
                                            "vbscript:x",
                                            "//example.org/",
                                            "/catalog.rondo",
                                            "https://a\" onclick=\"x",
                                            "https://",
                                            "https:example.org",
                                            "http://user@host/",
                                            "http://a:b@host/",
                                            "https://a b/",
                                            "https://a\\b/",
                                            "https://<b>/",
                                            "rondo://x/y",
                                            "file:///etc/passwd",
                                            "https:///x",
                                            "HTTPS://example.org/"};
    for (size_t i = 0; i < ARRAY_SIZE(not_links); i++) {
        char text[256], expected[512];
        struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
        struct html h = {.to = &out};
        assert_false(html_is_link(slice_of(not_links[i])));
        snprintf(text, sizeof(text), "[a](%s)", not_links[i]);
        html_escape(&h, slice_of(text));
        snprintf(expected, sizeof(expected), "<p>%s</p>\n", buf_text(&out));
        assert_renders(text, expected);
    }
    char long_one[1100] = "https://";
    memset(long_one + 8, 'a', sizeof(long_one) - 9);
    assert_false(html_is_link(slice_of(long_one)));
    assert_false(html_is_link(slice_of("https://example.org/ü")));
    assert_true(html_is_link(slice_of("https://example.org:8443/a/b?c=d@e#f")));
}

static void escaping_covers_every_byte(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
        struct html h = {.to = &out};
        char byte = (char)c;
        size_t at;
        html_escape(&h, (struct slice){.at = &byte, .length = 1});
        assert_true(html_check(buf_text(&out), out.size, &at));
        assert_true(out.size > 0);
    }
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct html h = {.to = &out};
    HTML(&h, "<p title=\"%\">%</p>", "\" onclick=\"x", "\xC3 \u202Eabc\u200B ü");
    assert_string_equal(buf_text(&out), "<p title=\"&#34; onclick=&#34;x\">\uFFFD \uFFFD\uFFFD\uFFFD"
                                        "abc\uFFFD\uFFFD\uFFFD ü</p>");
    buf_clear(&out);
    html_escape_cut(&h, slice_of("größer"), 3); // ö has two bytes
    html_escape_cut(&h, slice_of(" <b>"), 9);
    assert_string_equal(buf_text(&out), "gr… &lt;b…");
    buf_clear(&out);
    assert_int_equal(html_append_url(&out, slice_of("a+b c&d=ü~")), 0);
    assert_string_equal(buf_text(&out), "a%2Bb%20c%26d%3D%C3%BC~");
    HTML(&h, "<b>%</b>");
    assert_int_equal(h.result, -EINVAL);
    h.result = 0;
    HTML(&h, "<b></b>", "too many");
    assert_int_equal(h.result, -EINVAL);
    struct buf small CLEANUP(buf_free) = BUF_WITH_MAXIMUM(2);
    assert_int_equal(html_append_url(&small, slice_of("abc")), -E2BIG);
}

static void what_does_not_fit_is_left_out_whole(void **state)
{
    (void)state;
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct html h = {.to = &out};
    assert_int_equal(markdown_render(&h, slice_of("one\n\n**two**\n\nthree"), 12), 1);
    assert_string_equal(buf_text(&out), "<p>one</p>\n");
    buf_clear(&out);
    assert_int_equal(markdown_render(&h, slice_of("much too long\n"), 5), 1);
    assert_string_equal(buf_text(&out), "");
    struct buf small CLEANUP(buf_free) = BUF_WITH_MAXIMUM(10);
    h = (struct html){.to = &small};
    (void)markdown_render(&h, slice_of("a text that is longer than ten bytes"), 100);
    assert_int_equal(h.result, -E2BIG);

    // Escaped, one block is more than the buffer, which is larger than the room: the page goes on without it.
    char ampersands[300];
    memset(ampersands, '&', sizeof(ampersands));
    memcpy(ampersands, "one\n\n", strlen("one\n\n")); // NOLINT(bugprone-not-null-terminated-result): no string
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(400);
    h = (struct html){.to = &page};
    assert_int_equal(markdown_render(&h, (struct slice){.at = ampersands, .length = sizeof(ampersands)}, 300), 1);
    HTML(&h, "<p>two</p>\n");
    assert_int_equal(h.result, 0);
    assert_string_equal(buf_text(&page), "<p>one</p>\n<p>two</p>\n");
}

// Memory ends at each byte in turn: what was begun stops there, and the failure stays.
static void a_full_buffer_ends_it_anywhere(void **state)
{
    (void)state;
    static const char text[] = "# a\n*b* **c [d](http://e) f** `g`\n*\n* h\n\n***i\n```\nj\n```\n[k](http://l\n\\";
    struct buf whole CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct html h = {.to = &whole};
    assert_int_equal(markdown_render(&h, slice_of(text), 4096), 0);
    for (size_t maximum = 0; maximum < whole.size; maximum++) {
        struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(maximum);
        h = (struct html){.to = &out};
        (void)markdown_render(&h, slice_of(text), 4096);
        assert_int_equal(h.result, -E2BIG);
        HTML(&h, "<p>%</p>", "a");
        assert_int_equal(h.result, -E2BIG);
        assert_memory_equal(buf_text(&out), buf_text(&whole), out.size);
    }
    static const char zeros[] = "\\\0 *\0* [a](http://b\0) \0";
    whole.size = 0;
    h = (struct html){.to = &whole};
    assert_int_equal(markdown_render(&h, (struct slice){.at = zeros, .length = sizeof(zeros)}, 4096), 0);
    assert_null(strstr(buf_text(&whole), "href"));
    assert_int_equal(html_append_url(&whole, (struct slice){.at = zeros, .length = sizeof(zeros)}), 0);
    assert_false(html_is_link((struct slice){.at = "http://b\0", .length = 9}));
}

// Marks that never close, and nest without an end: 64 KiB of each, in no time that anybody notices (markdown.c, 2).
static void hostile_marks_take_linear_time(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "*", "**", "`", "[", "[a](", "*a **b ", "\\", "- ", "* a\n", "[a](http://b) ", "***a"};
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(64u << 10);
        struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16u << 20);
        struct html h = {.to = &out};
        size_t at;
        while (buf_append(&text, pieces[i], strlen(pieces[i])) == 0)
            continue;
        assert_int_equal(markdown_render(&h, slice_of(buf_text(&text)), 16u << 20), 0);
        assert_int_equal(h.result, 0);
        assert_true(html_check(buf_text(&out), out.size, &at));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_known),
        cmocka_unit_test(marks_are_known),
        cmocka_unit_test(nothing_else_gets_through),
        cmocka_unit_test(escaping_covers_every_byte),
        cmocka_unit_test(what_does_not_fit_is_left_out_whole),
        cmocka_unit_test(a_full_buffer_ends_it_anywhere),
        cmocka_unit_test(hostile_marks_take_linear_time),
    };
    return cmocka_run_group_tests_name("markdown", tests, NULL, NULL);
}
