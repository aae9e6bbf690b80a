// catalog/address.h: what is an address, what it means, and what is refused.
#include "catalog_fixture.h"

#include "catalog/address.h"

#include "base/banned.h"

#define KEY "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw" // of RFC 8032, section 7.1, test 2
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define DEFAULT "http://default.example/os/"
#define FOLDER "/home/me/my zoo"

static void good_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *site, *name, *selector;
        bool has_manifest, has_key;
    } cases[] = {
        {"debian", DEFAULT, "debian", "", false, false},
        {"debian:12", DEFAULT, "debian", "12", false, false},
        {"debian:12.5-RC+1_x", DEFAULT, "debian", "12.5-RC+1_x", false, false},
        {"a.debian", DEFAULT, "a.debian", "", false, false},
        {"debian@sha256:" HASH, DEFAULT, "debian", "", true, false},
        {"debian#" KEY, DEFAULT, "debian", "", false, true},
        {"debian:12@sha256:" HASH "#" KEY, DEFAULT, "debian", "12", true, true},
        {"http://host:8080/os/debian:12", "http://host:8080/os/", "debian", "12", false, false},
        {"http://host/debian", "http://host/", "debian", "", false, false},
        {"https://host/a/b/debian#" KEY, "https://host/a/b/", "debian", "", false, true},
        {"HTTP://HOST.Example/OS/debian", "http://host.example/OS/", "debian", "", false, false},
        {"http://host:80/debian", "http://host/", "debian", "", false, false},
        {"https://host:443/debian", "https://host/", "debian", "", false, false},
        {"https://host:80/debian", "https://host:80/", "debian", "", false, false},
        {"http://127.0.0.1:65535/debian", "http://127.0.0.1:65535/", "debian", "", false, false},
        {"http://[::1]/debian", "http://[::1]/", "debian", "", false, false},
        {"http://[0:0:0:0:0:0:0:1]:8080/debian:1", "http://[::1]:8080/", "debian", "1", false, false},
        {"http://[2001:DB8::A]/x/debian", "http://[2001:db8::a]/x/", "debian", "", false, false},
        {"http://xn--bcher-kva.example/debian", "http://xn--bcher-kva.example/", "debian", "", false, false},
        {"http://host_1/~me/a%20b/c@d:e/debian", "http://host_1/~me/a%20b/c@d:e/", "debian", "", false, false},
        {"./debian", FOLDER "/", "debian", "", false, false},
        {"../site/debian:12", "/home/me/site/", "debian", "12", false, false},
        {"site/debian", FOLDER "/site/", "debian", "", false, false},
        {"/srv/site/debian", "/srv/site/", "debian", "", false, false},
        {"/debian", "/", "debian", "", false, false},
        {"/srv//./a/../my site/ü/debian", "/srv/my site/ü/", "debian", "", false, false},
        {"../../../../../debian", "/", "debian", "", false, false},
        {"/srv/a:b@c#d?e/debian#" KEY, "/srv/a:b@c#d?e/", "debian", "", false, true},
        {"./a b:c/debian", FOLDER "/a b:c/", "debian", "", false, false},
        {"./-x/debian", FOLDER "/-x/", "debian", "", false, false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct address a;
        struct address again;
        struct error error;
        assert_ok(address_parse(cases[i].text, DEFAULT, FOLDER, &a, &error), error);
        assert_string_equal(a.site, cases[i].site);
        assert_string_equal(a.name, cases[i].name);
        assert_string_equal(a.selector, cases[i].selector);
        assert_int_equal(a.has_manifest, cases[i].has_manifest);
        assert_int_equal(a.has_key, cases[i].has_key);
        char text[SHA256_HEX_SIZE];
        if (a.has_manifest)
            assert_string_equal(sha256_to_hex(&a.manifest, text), HASH);
        if (a.has_key)
            assert_string_equal(key_to_text(&a.key, text), KEY);
        assert_int_equal(address_is_directory(a.site), a.site[0] == '/');
        // What was made of it parses to itself.
        char whole[2 * CATALOG_URL_SIZE];
        snprintf(whole, sizeof whole, "%s%s", a.site, a.name);
        assert_ok(address_parse(whole, NULL, "/elsewhere", &again, &error), error);
        assert_string_equal(again.site, a.site);
    }
}

static void bad_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message; // part of it
    } cases[] = {
        {"", "no image name"},
        {":12", "no image name"},
        {"#" KEY, "no image name"},
        {"@sha256:" HASH, "no image name"},
        {"/", "no image name"},
        {"http://host/", "no image name"},
        {"http://host/os/", "no image name"},
        {"http://host", "no image name"},
        {"http://", "no image name"},
        {"http:///debian", "no host"},
        {"debian:", "tag or version"},
        {"debian:12:13", "tag or version"},
        {"debian:-x", "tag or version"},
        {"debian: 12", "tag or version"},
        {"debian:12\n", "tag or version"},
        {"./debian:..", "tag or version"},
        {"debian@", "sha256:"},
        {"debian@sha256:", "sha256:"},
        {"debian@md5:" HASH, "sha256:"},
        {"debian@SHA256:" HASH, "sha256:"},
        {"debian@sha256:" HASH "0", "sha256:"},
        {"debian@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef", "sha256:"},
        {"debian@sha256:" HASH ":12", "sha256:"},
        {"debian@sha256:" HASH "@sha256:" HASH, "sha256:"},
        {"debian#", "not a key"},
        {"debian#x", "not a key"},
        {"debian#" KEY "=", "not a key"},
        {"debian#" KEY "#" KEY, "not a key"},
        {"debian#" KEY ":12", "not a key"},
        {"debian#" KEY " --append init=/bin/sh", "before a host"},
        {"debian#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "not a key"},
        {"Debian", "a name is"},
        {"-x", "a name is"},
        {"--option", "a name is"},
        {"http://host/--option", "a name is"},
        {".", "a name is"},
        {"..", "a name is"},
        {"./..", "a name is"},
        {"http://host/..", "a name is"},
        {"debian\n", "a name is"},
        {"debian x", "a name is"},
        {"deb\xc3\xaf"
         "an",
         "a name is"},
        {"debian?x=1", "a name is"},
        {"http://host/debian?x=1", "a name is"},
        {"http://host/debian%00", "a name is"},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a name is"}, // 65
        {"rondo://x/--option", "a name is"},
        {"rondo://x/debian", "nothing else"},
        {"file:///etc/debian", "nothing else"},
        {"gopher://host/debian", "nothing else"},
        {"ftp://host/debian", "nothing else"},
        {"javascript://host/debian", "nothing else"},
        {"httpx://host/debian", "nothing else"},
        {" http://host/debian", "nothing else"},
        {"http:/host/../../x://debian", "no image name"},
        {"http://user@host/debian", "user or password"},
        {"http://user:password@host/debian", "user or password"},
        {"http://host@evil:80/debian", "user or password"},
        {"http://host:/debian", "a port"},
        {"http://host:0/debian", "a port"},
        {"http://host:65536/debian", "a port"},
        {"http://host:080/debian", "a port"},
        {"http://host:80:80/debian", "a port"},
        {"http://host:+80/debian", "a port"},
        {"http://host:99999999999999999999/debian", "a port"},
        {"http://:80/debian", "no host"},
        {"http://-host/debian", "malformed host"},
        {"http://.host/debian", "malformed host"},
        {"http://host./debian", "malformed host"},
        {"http://ho..st/debian", "malformed host"},
        {"http://ho st/debian", "malformed host"},
        {"http://ho%73t/debian", "malformed host"},
        {"http://h\xc3\xb6st/debian", "malformed host"},
        {"http://host\\evil/debian", "malformed host"},
        {"http://ho\nst/debian", "malformed host"},
        {"http://ho#st/debian", "malformed host"},
        {"http://ho?st/debian", "malformed host"},
        {"http://::1/debian", "no host"},
        {"http://[::1/debian", "IPv6"},
        {"http://[]/debian", "IPv6"},
        {"http://[::g]/debian", "IPv6"},
        {"http://[127.0.0.1]/debian", "IPv6"},
        {"http://[fe80::1%25eth0]/debian", "IPv6"},
        {"http://[::1]x/debian", "follow an IPv6"},
        {"http://[::1]:/debian", "a port"},
        {"http://host//debian", "empty path segment"},
        {"http://host/a//debian", "empty path segment"},
        {"http://host/./debian", ". or .."},
        {"http://host/a/../debian", ". or .."},
        {"http://host/../../etc/debian", ". or .."},
        {"http://host/%2e%2e/debian", "percent"},
        {"http://host/%2E/debian", "percent"},
        {"http://host/a%2fb/debian", "percent"},
        {"http://host/a%5Cb/debian", "percent"},
        {"http://host/a%00b/debian", "percent"},
        {"http://host/a%0d%0aX:/debian", "percent"},
        {"http://host/a%7f/debian", "percent"},
        {"http://host/a%25/debian", "percent"},
        {"http://host/a%2/debian", "percent"},
        {"http://host/a%/debian", "percent"},
        {"http://host/a%zz/debian", "percent"},
        {"http://host/-a/debian", "begin with -"},
        {"http://host/?q=/debian", "query"},
        {"http://host/a?b/debian", "query"},
        {"http://host/a#b/debian", "character"},
        {"http://host/a b/debian", "character"},
        {"http://host/a\"b/debian", "character"},
        {"http://host/a'b/debian", "character"},
        {"http://host/a<b>/debian", "character"},
        {"http://host/a\\b/debian", "character"},
        {"http://host/\xc3\xbc/debian", "character"},
        {"http://host/a\nb/debian", "character"},
        {"host:8080/os/debian:12", "write http:// before a host"},
        {"a b/debian", "./ before a directory"},
        {"user@host/debian", "before a host"},
        {"-x/debian", "begins with -"},
        {"./a\nb/debian", "control"},
        {"./a\033[2Jb/debian", "control"},
        {"./a\xe2\x80\xae"
         "b/debian",
         "control"}, // right-to-left override
        {"./\xff/debian", "control"},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct address a = {.site = "untouched"};
        struct error error = {""};
        if (address_parse(cases[i].text, DEFAULT, FOLDER, &a, &error) != -EINVAL)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(error.text, cases[i].message))
            fail_msg("%s: %s", cases[i].text, error.text);
        assert_non_null(strstr(error.text, "[URL/]name[:version][@sha256:…][#key]"));
        assert_true(text_is_printable(slice_of(error.text))); // what was typed is escaped
        assert_string_equal(a.site, "untouched");
    }
}

static void lengths_are_bounded(void **state)
{
    (void)state;
    static const char head[] = "http://host/";
    char *text CLEANUP_FREE = malloc(1 << 20);
    struct address a;
    struct error error;
    memset(text, 'a', 1 << 20);
    text[(1 << 20) - 1] = '\0';
    assert_int_equal(address_parse(text, DEFAULT, FOLDER, &a, &error), -EINVAL);
    memcpy(text, head, strlen(head));
    assert_int_equal(address_parse(text, DEFAULT, FOLDER, &a, &error), -EINVAL);
    for (size_t n = CATALOG_URL_SIZE - 3; n < CATALOG_URL_SIZE + 3; n++) { // of the site
        static const char tails[2][8] = {"/debian", "/debian"};
        memset(text, 'a', n);
        memcpy(text, head, strlen(head));
        memcpy(text + n - 1, tails[0], sizeof tails[0]);
        assert_int_equal(address_parse(text, NULL, FOLDER, &a, NULL), n < CATALOG_URL_SIZE ? 0 : -EINVAL);
        memset(text, 'a', n);
        text[0] = '/';
        memcpy(text + n - 1, tails[0], sizeof tails[0]);
        assert_int_equal(address_parse(text, NULL, FOLDER, &a, NULL), n < CATALOG_URL_SIZE ? 0 : -EINVAL);
    }
    snprintf(text, 1 << 20, "http://%.*s/debian", 64,
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_int_equal(address_parse(text, NULL, FOLDER, &a, NULL), -EINVAL); // a label of 64
    text[7] = '.';
    assert_int_equal(address_parse(text, NULL, FOLDER, &a, NULL), -EINVAL);
}

static void a_bare_name_needs_a_default_site(void **state)
{
    (void)state;
    struct address a;
    struct error error;
    assert_int_equal(address_parse("debian", NULL, FOLDER, &a, &error), -EINVAL);
    assert_non_null(strstr(error.text, "RONDO_SITE"));
    assert_ok(address_parse("debian", "http://Host/os", FOLDER, &a, &error), error);
    assert_string_equal(a.site, "http://host/os/");
    assert_ok(address_parse("debian", "./zoo", FOLDER, &a, &error), error);
    assert_string_equal(a.site, FOLDER "/zoo/");
    assert_int_equal(address_parse("debian", "gopher://x", FOLDER, &a, &error), -EINVAL);
    assert_ok(address_parse("http://host/debian", "gopher://x", FOLDER, &a, &error), error); // not needed
}

static void sites(void **state)
{
    (void)state;
    static const struct {
        const char *text, *site; // NULL: refused
    } cases[] = {
        {"http://host", "http://host/"},
        {"http://host/", "http://host/"},
        {"https://host:8443/a/b", "https://host:8443/a/b/"},
        {".", FOLDER "/"},
        {"..", "/home/me/"},
        {"site", FOLDER "/site/"},
        {"/", "/"},
        {"/srv/my site", "/srv/my site/"},
        {"", NULL},
        {"host:8080", NULL},
        {"--to", NULL},
        {"http://", NULL},
        {"http://host//", NULL},
        {"http://host/#" KEY, NULL},
        {"http://host/?a", NULL},
        {"file:///srv", NULL},
        {"a\nb", NULL},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        char site[CATALOG_URL_SIZE] = "untouched";
        struct error error;
        int r = address_parse_site(cases[i].text, FOLDER, site, &error);
        assert_int_equal(r, cases[i].site ? 0 : -EINVAL);
        assert_string_equal(site, cases[i].site ? cases[i].site : "untouched");
        char url[CATALOG_URL_SIZE];
        const bool is_url = cases[i].site && cases[i].site[0] != '/';
        assert_int_equal(address_parse_url(slice_of(cases[i].text), url, NULL), is_url ? 0 : -EINVAL);
    }
}

static void links_are_addresses_with_another_beginning(void **state)
{
    (void)state;
    static const struct {
        const char *link, *site, *selector;
        bool has_key;
    } cases[] = {
        {"rondo://host/debian", "https://host/", "", false},
        {"rondo://Host.Example:8443/OS/debian:12@sha256:" HASH "#" KEY, "https://host.example:8443/OS/", "12", true},
        {"RONDO://host/os/debian", "https://host/os/", "", false},
        {"rondo://localhost:8080/debian", "http://localhost:8080/", "", false},
        {"rondo://LOCALHOST/debian", "http://localhost/", "", false},
        {"rondo://127.0.0.1:443/debian", "http://127.0.0.1:443/", "", false},
        {"rondo://127.255.0.3:80/debian", "http://127.255.0.3/", "", false},
        {"rondo://[::1]:8080/debian", "http://[::1]:8080/", "", false},
        {"rondo://[0:0:0:0:0:0:0:1]/debian", "http://[::1]/", "", false},
        {"rondo://127.evil.example/debian", "https://127.evil.example/", "", false},
        {"rondo://127.x/debian", "https://127.x/", "", false},
        {"rondo://localhost.example/debian", "https://localhost.example/", "", false},
        {"rondo://[::2]/debian", "https://[::2]/", "", false},
        {"rondo://10.0.0.1/debian", "https://10.0.0.1/", "", false},
        {"rondo+http://10.0.0.1/os/debian", "http://10.0.0.1/os/", "", false},
        {"rondo+http://localhost/debian", "http://localhost/", "", false},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct address a;
        struct error error;
        assert_ok(address_parse_link(cases[i].link, &a, &error), error);
        assert_string_equal(a.site, cases[i].site);
        assert_string_equal(a.name, "debian");
        assert_string_equal(a.selector, cases[i].selector);
        assert_int_equal(a.has_key, cases[i].has_key);
        assert_int_equal(a.has_manifest, cases[i].has_key);
    }
}

static void what_is_no_link_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "debian",
        "http://host/debian",
        "https://host/debian",
        "/srv/site/debian",
        "rondo:",
        "rondo:/host/debian",
        "rondo://",
        "rondo:///debian",
        "rondo:////etc/debian",
        "rondo://host",
        "rondo://host/",
        "rondo:debian",
        "rondo+https://host/debian",
        "rondo+file:///etc/debian",
        " rondo://host/debian",
        "rondo://http://host/debian",
        "rondo://host/../debian",
        "rondo://host/debian --append x",
        "rondo://host/--append=x",
        "rondo://host/debian?memory=64G",
        "rondo://user@host/debian",
        ("rondo://host/debian#" KEY "?"),
        "rondo://host/debian\n",
        "rondo://\xe2\x80\xae/debian",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct address a;
        struct error error = {""};
        memset(&a, 0x5a, sizeof a);
        if (address_parse_link(bad[i], &a, &error) != -EINVAL || !strstr(error.text, "is not a link to an image"))
            fail_msg("\"%s\": %s", bad[i], error.text);
        assert_true(text_is_printable(slice_of(error.text)));
        assert_int_equal(((unsigned char *)&a)[0], 0x5a);
    }
    static char longest[8192] = "rondo://host/";
    memset(longest + strlen(longest), 'a', sizeof longest - 1 - strlen(longest));
    struct address a;
    struct error error = {""};
    assert_int_equal(address_parse_link(longest, &a, &error), -EINVAL);
    assert_non_null(strstr(error.text, "it is longer than"));
}

// Anybody chooses the site of a file that is imported.
static void what_people_paste_is_one_word(void **state)
{
    static const struct {
        const char *site, *version, *word;
    } table[] = {
        {"https://zoo.example/os/", "1", "https://zoo.example/os/debian:1"},
        {"https://zoo.example/os/", "", "https://zoo.example/os/debian"},
        {"http://[::1]:8080/", "1", "'http://[::1]:8080/debian:1'"},
        {"https://zoo.example/$(reboot)/", "1", "'https://zoo.example/$(reboot)/debian:1'"},
        {"/home/it's mine/", "", "'/home/it'\\''s mine/debian'"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct buf word CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ADDRESS_WORD_MAXIMUM);
        assert_int_equal(address_append_word(&word, table[i].site, "debian", table[i].version), 0);
        assert_string_equal(buf_text(&word), table[i].word);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_addresses),
        cmocka_unit_test(bad_addresses),
        cmocka_unit_test(lengths_are_bounded),
        cmocka_unit_test(a_bare_name_needs_a_default_site),
        cmocka_unit_test(sites),
        cmocka_unit_test(links_are_addresses_with_another_beginning),
        cmocka_unit_test(what_is_no_link_is_refused),
        cmocka_unit_test(what_people_paste_is_one_word),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
