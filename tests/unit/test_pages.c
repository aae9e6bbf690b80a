// web/pages.h: the pages as they should be, letter by letter (tests/unit/golden/), and what none of them ever holds,
// whatever the rows say.
#include "web/pages.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/manifest.h"
#include "tests/unit/html_check.h"
#include "tests/unit/pages_fixture.h"
#include "web/layout.h"
#include "web/site_url.h"

#include "base/banned.h"

#define URL "https://zoo.example/os/"

static const struct pages_query no_query = {.words = "", .os = "", .arch = "", .publisher = ""};

static void assert_page(const struct buf *page)
{
    const size_t mark = sizeof(LAYOUT_MARK) - 1;
    size_t at = 0;
    assert_true(slice_starts(slice_of(buf_text(page)), LAYOUT_MARK));
    if (!html_check(buf_text(page) + mark, page->size - mark, &at))
        fail_msg("not right at: %.200s", buf_text(page) + mark + at);
    assert_true(page->size <= PAGES_SIZE_MAXIMUM);
}

// The part of a page between <main> and </main> is that of the golden file. RONDO_GOLDEN=write writes it.
static void assert_golden(const struct buf *page, const char *name)
{
    char path[256];
    void *expected CLEANUP_FREE = NULL;
    size_t n;
    const char *from = strstr(buf_text(page), "<main"), *to = strstr(buf_text(page), "</main>");
    assert_non_null(from);
    assert_non_null(to);
    CLEANUP_FREE char *content = strndup(from, (size_t)(to - from));
    snprintf(path, sizeof(path), "tests/unit/golden/%s.html", name);
    if (getenv("RONDO_GOLDEN"))
        assert_int_equal(io_replace_file(AT_FDCWD, path, content, strlen(content), 0644), 0);
    assert_int_equal(io_read_file(AT_FDCWD, path, 1u << 20, &expected, &n), 0);
    assert_string_equal(content, (const char *)expected);
}

static void an_image_page_says_what_one_needs_to_decide(void **state)
{
    (void)state;
    struct index_site site = pages_make_site();
    struct index_version versions[2] = {pages_make_version(), pages_make_version()};
    struct index_list list = {.versions = versions, .count = 2, .all = 2};
    struct pages_site s = {.about = &site, .url = URL};
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    snprintf(versions[1].version, sizeof(versions[1].version), "12.4+1");
    versions[1].serial = 6;
    versions[1].tags = "";
    versions[1].revoked = true;
    assert_int_equal(pages_image(&s, &versions[0], &list, &page), 0);
    assert_page(&page);
    assert_golden(&page, "image");

    static const char offer[] = "<a class=\"button\" href=\"../../try/debian\">Try it in the browser</a>";
    const struct {
        uint64_t memory; // of machines to try
        const char *arch;
        bool offered;
    } offers[] = {{0, "x86_64", false},
                  {versions[0].memory - 1, "x86_64", false},
                  {versions[0].memory, "x86_64", true},
                  {versions[0].memory, "riscv64", false}};
    for (size_t i = 0; i < ARRAY_SIZE(offers); i++) {
        struct index_version v = versions[0];
        v.arch = offers[i].arch;
        s.try_memory = offers[i].memory;
        buf_clear(&page);
        assert_int_equal(pages_image(&s, &v, &list, &page), 0);
        assert_page(&page);
        assert_int_equal(strstr(buf_text(&page), offer) != NULL, offers[i].offered);
    }

    buf_clear(&page);
    assert_int_equal(pages_image(&s, &versions[1], &list, &page), 0);
    assert_page(&page);
    assert_null(strstr(buf_text(&page), "Open in Rondo"));
}

static void lists_show_images_and_the_way_on(void **state)
{
    (void)state;
    struct index_site site = pages_make_site();
    struct index_version versions[2] = {pages_make_version(), pages_make_version()};
    struct index_list list = {.versions = versions, .count = 2, .all = 45};
    struct pages_choices choices = {.os = {"Debian", "Alpine"}, .arch = {"x86_64"}, .os_count = 2, .arch_count = 1};
    struct pages_site s = {.about = &site, .url = URL};
    struct pages_query q = no_query;
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    versions[1].has_logo = false;
    versions[1].title = "";
    assert_int_equal(pages_list(&s, &list, 1, &page), 0);
    assert_page(&page);
    assert_golden(&page, "front");
    buf_clear(&page);
    assert_int_equal(pages_list(&s, &list, 3, &page), 0);
    assert_page(&page);
    assert_golden(&page, "last");

    s.choices = &choices;
    q.words = "\"><script>a&b";
    q.os = "Alpine";
    q.max_size = 17u << 20;
    q.previous = "search?q=a&os=%22";
    q.next = "search?offset=40";
    buf_clear(&page);
    assert_int_equal(pages_search(&s, &q, &list, 2, &page), 0);
    assert_page(&page);
    assert_golden(&page, "search");
    list = (struct index_list){.all = 0};
    buf_clear(&page);
    assert_int_equal(pages_search(&s, &no_query, &list, 1, &page), 0);
    assert_page(&page);
    assert_non_null(strstr(buf_text(&page), "No image fits"));
    buf_clear(&page);
    assert_int_equal(pages_missing(&s, &page), 0);
    assert_page(&page);
    assert_non_null(strstr(buf_text(&page), "src=\"/os/rondo.js\""));
    buf_clear(&page);
    assert_int_equal(pages_nothing(URL, &page), 0);
    assert_page(&page);
    assert_non_null(strstr(buf_text(&page), "Nothing was published here yet"));
    assert_null(strstr(buf_text(&page), "Site key")); // nobody knows it yet
    assert_non_null(strstr(buf_text(&page), "<link rel=\"icon\" href=\"/os/icon.svg\""));
}

// T32: every text that a publisher, a catalog or a visitor chooses.
static void hostile_texts_stay_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"<script>alert(1)</script>",
                                        "\"><img src=x onerror=alert(1)>",
                                        "' onmouseover='alert(1)",
                                        "javascript:alert(1)",
                                        "</title></style></code></pre><svg onload=alert(1)>",
                                        "%s%n&lt;b&gt;<!--",
                                        "]]>-->",
                                        "https://x/\"onclick=\"alert(1)",
                                        "https://user:pass@x/",
                                        "80 <b>\n90 </dl>\n",
                                        "[a](javascript:alert(1))",
                                        "```\n</code></pre><script>\n",
                                        "\xE2\x80\xAEtxt.exe\xC3",
                                        "data:text/html,<script>"};
    struct index_site site = pages_make_site();
    struct pages_site s = {.about = &site, .url = URL};
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct index_version v = pages_make_with_text(texts[i]);
        struct index_list list = {.versions = &v, .count = 1, .all = 1};
        struct pages_query q = {texts[i], texts[i], texts[i], texts[i], 0, NULL, NULL};
        struct pages_choices choices = {.os_count = 2, .arch_count = 2, .publisher_count = 2};
        for (unsigned n = 0; n < 2; n++) {
            snprintf(choices.os[n], PAGES_CHOICE_SIZE, "%s", texts[i]);
            snprintf(choices.arch[n], PAGES_CHOICE_SIZE, "%s", texts[i]);
            snprintf(choices.publisher[n], PAGES_CHOICE_SIZE, "%s", texts[i]);
        }
        s.choices = NULL;
        buf_clear(&page);
        assert_int_equal(pages_image(&s, &v, &list, &page), 0);
        assert_page(&page);
        s.choices = &choices;
        buf_clear(&page);
        assert_int_equal(pages_list(&s, &list, 1, &page), 0);
        assert_page(&page);
        buf_clear(&page);
        assert_int_equal(pages_search(&s, &q, &list, 1, &page), 0);
        assert_page(&page);
        snprintf(site.name, sizeof(site.name), "%s", texts[i]);
    }
}

// The longest that the index can hand over, of the letter that takes most room.
static void pages_have_at_most_50_KiB(void **state)
{
    (void)state;
    char *description CLEANUP_FREE = malloc((16u << 10) + 1), text[1024];
    struct index_site site = pages_make_site();
    struct index_version versions[50];
    struct index_list list = {.versions = versions, .count = ARRAY_SIZE(versions), .all = UINT64_MAX};
    struct pages_choices choices = {
        .os_count = PAGES_CHOICES, .arch_count = PAGES_CHOICES, .publisher_count = PAGES_CHOICES};
    char address[3200]; // four parameters of 256 letters, each as %XX
    struct pages_query q = {text, text, text, text, UINT64_MAX, address, address};
    char url[CATALOG_URL_SIZE] = "http://", homepage[HTML_LINK_MAXIMUM + 1] = "https://h/", ports[2048];
    struct pages_site s = {.about = &site, .url = url};
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    assert_non_null(description);
    memset(description, '&', 16u << 10);
    description[16u << 10] = '\0';
    for (size_t i = 0; i < 16u << 10; i += 30)
        memcpy(description + i, "\n\n", 2);
    memset(text, '"', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    memset(address, 'a', sizeof(address) - 1);
    address[sizeof(address) - 1] = '\0';
    memset(url + 7, 'u', sizeof(url) - 9);
    url[sizeof(url) - 2] = '/';
    memset(homepage + 10, '&', sizeof(homepage) - 11);
    for (unsigned i = 0, n = 0; i < MANIFEST_PORTS_MAXIMUM; i++)
        n += (unsigned)snprintf(ports + n, sizeof(ports) - n, "%u %.31s\n", 65535 - i, text);
    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        versions[i] = pages_make_with_text(text);
        memset(versions[i].name, 'n', CATALOG_NAME_SIZE - 1);
        memset(versions[i].version, 'v', CATALOG_NAME_SIZE - 1);
        versions[i].ports = ports;
        versions[i].homepage = homepage;
        versions[i].revoked = i > 0;
        versions[i].memory = versions[i].disk_size = versions[i].stored_bytes = UINT64_MAX;
        versions[i].boot_bytes = versions[i].new_bytes = UINT64_MAX;
        versions[i].logo_type = "jpeg";
        versions[i].description = description;
    }
    memset(site.name, 's', CATALOG_NAME_SIZE - 1);
    for (unsigned i = 0; i < PAGES_CHOICES; i++) {
        memcpy(choices.os[i], text, PAGES_CHOICE_SIZE - 1);
        memcpy(choices.arch[i], text, PAGES_CHOICE_SIZE - 1);
        memcpy(choices.publisher[i], text, PAGES_CHOICE_SIZE - 1);
    }
    assert_int_equal(pages_image(&s, &versions[0], &list, &page), 0);
    assert_page(&page);
    assert_true(page.size > 40000);
    assert_non_null(strstr(buf_text(&page), "The rest is too long for a page"));
    assert_non_null(strstr(buf_text(&page), "&amp;&amp;&amp;</p>")); // but some of it is there
    versions[0].revoked = true;
    buf_clear(&page);
    assert_int_equal(pages_image(&s, &versions[0], &list, &page), 0);
    assert_page(&page);
    versions[0].revoked = false;
    s.choices = &choices;
    list.count = PAGES_ROWS;
    buf_clear(&page);
    assert_int_equal(pages_list(&s, &list, 2, &page), 0);
    assert_page(&page);
    buf_clear(&page);
    assert_int_equal(pages_search(&s, &q, &list, 2, &page), 0);
    assert_page(&page);
}

static void only_harmless_urls_get_into_commands(void **state)
{
    (void)state;
    static const char *const right[] = {"http://a/", "https://zoo.example:8443/os/x-1_~/", "http://[::1]:8080/"};
    static const char *const wrong[] = {"",
                                        "http://",
                                        "http:///",
                                        "ftp://a/",
                                        "https://a",
                                        "http://a b/",
                                        "http://a;id/",
                                        "http://a/$(x)/",
                                        "http://a/`x`/",
                                        "http://a'/",
                                        "http://a\"/",
                                        "http://u@a/",
                                        "http://a/?q/",
                                        "http://a//b/",
                                        "http://a/#/",
                                        "http://a\n/",
                                        "HTTP://a/",
                                        "http://a&b/",
                                        "http://a\\/",
                                        "http://a/<b>/"};
    static const struct {
        const char *url, *link;
    } links[] = {{"https://zoo.example/os/", "rondo://zoo.example/os/"},
                 {"http://zoo.example/", "rondo+http://zoo.example/"},
                 {"http://127.zoo.example/", "rondo+http://127.zoo.example/"},
                 {"http://zoo.localhost/", "rondo://zoo.localhost/"},
                 {"http://localhost:8080/", "rondo://localhost:8080/"},
                 {"http://127.0.0.1:80/", "rondo://127.0.0.1:80/"},
                 {"http://[::1]:80/", "rondo://[::1]:80/"}};
    char url[CATALOG_URL_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(right); i++)
        assert_true(site_url_is_right(slice_of(right[i])));
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_false(site_url_is_right(slice_of(wrong[i])));
    for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
        struct buf link CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
        assert_int_equal(site_url_append_link(links[i].url, &link), 0);
        assert_string_equal(buf_text(&link), links[i].link);
    }
    assert_true(site_url_from_host("zoo.example:8080", false, url));
    assert_string_equal(url, "http://zoo.example:8080/");
    assert_true(site_url_from_host("zoo.example", true, url));
    assert_string_equal(url, "https://zoo.example/");
    assert_false(site_url_from_host("zoo.example/evil", false, url));
    assert_false(site_url_from_host("", false, url));
    assert_false(site_url_from_host("a\" onclick=\"", false, url));
    struct index_site site = pages_make_site();
    struct index_list none = {.all = 0};
    struct index_version v = pages_make_version();
    struct pages_site s = {.about = &site, .url = "http://a;id/"};
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    assert_int_equal(pages_list(&s, &none, 1, &page), -EINVAL);
    assert_int_equal(pages_image(&s, &v, &none, &page), -EINVAL);
    assert_int_equal(pages_missing(&s, &page), -EINVAL);
}

// What the policy allows is what the page has: the hash is that of its style.
static void the_policy_names_the_style(void **state)
{
    (void)state;
    char policy[LAYOUT_POLICY_SIZE], hash[64];
    struct index_site site = pages_make_site();
    struct index_list none = {.all = 0};
    struct pages_site s = {.about = &site, .url = URL};
    struct buf page CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM);
    site.images = 0;
    assert_int_equal(pages_list(&s, &none, 1, &page), 0);
    assert_page(&page);
    assert_non_null(strstr(buf_text(&page), "Nothing was published here yet"));
    const char *from = strstr(buf_text(&page), "<style>") + 7, *to = strstr(buf_text(&page), "</style>");
    struct sha256 style = sha256_of(from, (size_t)(to - from));
    assert_true(base64_encode(style.bytes, sizeof(style.bytes), hash, sizeof(hash)) > 0);
    assert_non_null(strstr(layout_policy(policy), hash));
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(buf_text(&page), " style="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_page_says_what_one_needs_to_decide),
        cmocka_unit_test(lists_show_images_and_the_way_on),
        cmocka_unit_test(hostile_texts_stay_text),
        cmocka_unit_test(pages_have_at_most_50_KiB),
        cmocka_unit_test(only_harmless_urls_get_into_commands),
        cmocka_unit_test(the_policy_names_the_style),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
