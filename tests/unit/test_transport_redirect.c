// Where redirects may lead (TRUST T09): the rules themselves, and the transport that obeys them. The address that a
// connection really has can only be tested with a public one, so those tests run in a network namespace of their
// own, with such an address on its loopback device; they are skipped where that is not allowed.

#include "blockstore/http_address.h"
#include "blockstore/transport.h"

#include "tests/unit/tiny_http.h"
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/banned.h"

#define PUBLIC_IP 0x08080808u // in the namespace only

static void redirects_keep_to_http_and_never_leave_https(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        int result;
    } table[] = {
        {"http://a/", "http://b/x?y=1", 0},
        {"http://a/", "https://b/", 0},
        {"https://a/", "https://b:444/", 0},
        {"https://a/", "http://a/", -EBADMSG},
        {"https://a/", "HTTP://a/", -EBADMSG},
        {"http://a/", "file:///etc/passwd", -EBADMSG},
        {"http://a/", "gopher://a/", -EBADMSG},
        {"http://a/", "ftp://a/", -EBADMSG},
        {"http://a/", "data:text/plain,x", -EBADMSG},
        {"http://a/", "javascript:alert(1)", -EBADMSG},
        {"http://a/", "http://u:p@b/", -EBADMSG},
        {"http://a/", "http://b/\x1b[31m", -EBADMSG},
        {"http://a/", "http://b:0x50/", -EBADMSG},
        {"http://a/", "//b/", -EBADMSG},
        {"http://a/", "", -EBADMSG},
        {"http://a/", "http://b/\x7f", -EBADMSG},
    };
    char address[HTTP_ADDRESS_SIZE];
    struct error e;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int r = http_address_redirect(table[i].from, table[i].to, address, &e);
        if (r != table[i].result)
            fail_msg("%s to %s: %d", table[i].from, table[i].to, r);
        if (r < 0) {
            assert_non_null(strstr(e.text, "refused"));
            assert_null(strchr(e.text, '\x1b'));
        }
    }
    char longest[HTTP_ADDRESS_SIZE + 10] = "http://b/";
    memset(longest + 9, 'x', sizeof(longest) - 10);
    assert_int_equal(http_address_redirect("http://a/", longest, address, &e), -EBADMSG);
    longest[HTTP_ADDRESS_SIZE - 2] = '\0'; // the longest that there may be
    assert_int_equal(http_address_redirect("http://a/", longest, address, &e), 0);
    memset(longest + 7, 'a', 3); // a host without a path, which gets one: no room for "/"
    longest[7] = 'b';
    assert_int_equal(http_address_normalize(longest, address, &e), -EINVAL);
}

static void addresses_have_one_form(void **state)
{
    (void)state;
    static const struct {
        const char *text, *normal; // NULL: refused
    } table[] = {
        {"http://a", "http://a/"},
        {"HTTP://A.example:80/x", "http://a.example/x/"},
        {"https://a:443/x/", "https://a/x/"},
        {"https://a:80/", "https://a:80/"},
        {"http://[::1]:8080/", "http://[::1]:8080/"},
        {"http://a/?q", NULL},
        {"http://a/?", NULL},
        {"http://a/#f", NULL},
        {"http://a/#", NULL},
        {"http:///a", NULL},
        {"http://a%2eb/", NULL},
        {"http://a b/", NULL},
        {"ftp://a/", NULL},
        {"a/", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char address[HTTP_ADDRESS_SIZE] = "before";
        struct error e = {.text = ""};
        int r = http_address_normalize(table[i].text, address, &e);
        if (r != (table[i].normal ? 0 : -EINVAL) || strcmp(address, table[i].normal ? table[i].normal : "before") != 0)
            fail_msg("%s: %d %s", table[i].text, r, address);
        assert_int_equal(e.text[0] != '\0', r < 0);
    }
    assert_true(http_address_has_scheme("ftp://a/"));
    assert_false(http_address_has_scheme("://a/"));
    assert_false(http_address_has_scheme("srv/site"));
}

static void private_addresses_are_known(void **state)
{
    (void)state;
    static const char *const private[] = {"127.0.0.1",
                                          "10.1.2.3",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.168.1.1",
                                          "169.254.169.254",
                                          "0.0.0.0",
                                          "100.64.0.1",
                                          "224.0.0.1",
                                          "255.255.255.255",
                                          "::1",
                                          "::",
                                          "fe80::1",
                                          "fd00::1",
                                          "ff02::1",
                                          "::ffff:127.0.0.1",
                                          "::ffff:10.0.0.1",
                                          "64:ff9b::a00:1",
                                          "2002:a00:1::1",
                                          "::7f00:1",
                                          "not an address",
                                          ""};
    static const char *const public[] = {"8.8.8.8",          "172.32.0.1",     "172.15.0.1",     "100.128.0.1",
                                         "192.169.0.1",      "11.0.0.1",       "2600::1",        "2a00:1450::1",
                                         "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"};
    for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
        if (!http_address_text_is_private(private[i]))
            fail_msg("%s", private[i]);
    for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++)
        if (http_address_text_is_private(public[i]))
            fail_msg("%s", public[i]);
    static const char *const hosts[] = {"http://localhost/",      "http://LOCALHOST./x", "http://a.localhost:81/",
                                        "http://127.1/",          "http://0x7f000001/",  "http://2130706433/",
                                        "http://[::1]/",          "http://[fe80::1]:8/", "http://0177.0.0.1/",
                                        "http://[::ffff:a00:1]/", "not an address"};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
        if (!http_address_names_private_host(hosts[i]))
            fail_msg("%s", hosts[i]);
    const struct sockaddr local = {.sa_family = AF_UNIX};
    assert_true(http_address_is_private(&local));               // of what is not known, the worst
    assert_false(http_address_names_private_host("http://b/")); // a name of one letter
    assert_false(http_address_text_is_private("2003::1"));
    assert_false(http_address_names_private_host("http://example.com/"));
    assert_false(http_address_names_private_host("http://mylocalhost/"));
    assert_false(http_address_names_private_host("http://[2600::1]/"));
    assert_false(http_address_names_private_host("http://8.8.8.8/"));
}

static void this_computer_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        bool is_loopback;
    } table[] = {
        {"http://127.0.0.1/", true},    {"http://127.255.0.9:8080/x", true}, {"http://128.0.0.1/", false},
        {"http://10.0.0.1/", false},    {"http://[::1]:80/", true},          {"http://[::2]/", false},
        {"http://localhost/", true},    {"http://a.localhost:1/", true},     {"http://xlocalhost/", false},
        {"http://a/", false},           {"not an address", false},           {"http://[::1", false},
        {"http://127.0.0.1.b/", false},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (http_address_names_loopback(table[i].address) != table[i].is_loopback)
            fail_msg("%s", table[i].address);
}

static int ignore(void *context, uint64_t offset, const void *bytes, size_t n)
{
    (void)context;
    (void)offset;
    (void)bytes;
    (void)n;
    return 0;
}

static int fetch(struct source *s, const char *path, struct error *ret_error)
{
    struct source_request r = {.path = path, .maximum = 1000, .sink = ignore};
    source_start(s, &r);
    source_wait(s, &r);
    *ret_error = r.error;
    return r.result;
}

// Redirects what a proxy is asked for; its context is the place.
static bool act_as_proxy(struct tiny_request *q, void *context)
{
    if (strncmp(q->path, "http://", 7) != 0 || strstr(q->path, "/final"))
        return tiny_reply(q, "200 OK", "", "done", 4);
    char field[200];
    snprintf(field, sizeof(field), "Location: %s\r\n", (const char *)context);
    return tiny_reply(q, "302 Found", field, "", 0);
}

static void redirects_to_private_hosts_are_refused_behind_a_proxy(void **state)
{
    (void)state;
    static const struct {
        const char *base, *to;
        int result;
    } table[] = {
        {"http://site.test/", "http://169.254.169.254/final", -EBADMSG},
        {"http://site.test/", "http://2130706433/final", -EBADMSG},
        {"http://site.test/", "http://localhost/final", -EBADMSG},
        {"http://site.test/", "http://other.test/final", 0},
        {"http://10.0.0.1/", "http://10.0.0.2/final", 0},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char place[100];
        snprintf(place, sizeof(place), "%s", table[i].to);
        struct tiny_http *proxy = tiny_http_start(act_as_proxy, place);
        struct transport *t;
        struct source *s;
        struct error e;
        setenv("http_proxy", proxy->address, 1);
        assert_int_equal(transport_new(&t, NULL), 0);
        assert_int_equal(source_open(t, table[i].base, &s, NULL), 0);
        assert_int_equal(fetch(s, "x", &e), table[i].result);
        assert_int_equal(proxy->requests, table[i].result ? 1 : 2);
        unsetenv("http_proxy");
        source_close(s);
        transport_free(t);
        tiny_http_stop(proxy);
    }
}

// Goes where its context says for /x, and answers everything else.
static bool redirect_x(struct tiny_request *q, void *context)
{
    if (strcmp(q->path, "/x") != 0)
        return tiny_reply(q, "200 OK", "", "done", 4);
    char field[200];
    snprintf(field, sizeof(field), "Location: %s\r\n", (const char *)context);
    return tiny_reply(q, "302 Found", field, "", 0);
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            print_error("# line %d: %s; %s\n", __LINE__, #condition, e.text);                                          \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void test_in_namespace(void)
{
    struct error e = {.text = ""};
    char place[200] = "";
    struct tiny_http *inner = tiny_http_start(redirect_x, place);
    struct tiny_http *outer = tiny_http_start_at(PUBLIC_IP, redirect_x, place);
    struct transport *t;
    struct source *public, *private;
    CHECK(transport_new(&t, &e) == 0);
    CHECK(source_open(t, outer->address, &public, &e) == 0);
    CHECK(source_open(t, inner->address, &private, &e) == 0);

    // From a public address to a private one: no connection is made.
    snprintf(place, sizeof(place), "%sfinal", inner->address);
    CHECK(fetch(public, "x", &e) == -EBADMSG && strstr(e.text, "private"));
    CHECK(inner->connections == 0);
    // Public to public, and private to private.
    snprintf(place, sizeof(place), "%sfinal", outer->address);
    CHECK(fetch(public, "x", &e) == 0);
    snprintf(place, sizeof(place), "%sfinal", inner->address);
    CHECK(fetch(private, "x", &e) == 0);
    // A connection that is kept open for another source is no way round it.
    CHECK(inner->connections == 1 && inner->requests == 2);
    CHECK(fetch(public, "x", &e) == -EBADMSG && strstr(e.text, "private"));
    CHECK(inner->connections == 1 && inner->requests == 2);
    // Out to a public address, and back in.
    snprintf(place, sizeof(place), "%sx", outer->address);
    CHECK(fetch(private, "x", &e) == -EBADMSG); // a loop
    static char back[200];
    snprintf(back, sizeof(back), "%sfinal", inner->address);
    struct tiny_http *outer2 = tiny_http_start_at(PUBLIC_IP, redirect_x, back);
    snprintf(place, sizeof(place), "%sx", outer2->address);
    unsigned before = inner->requests;
    CHECK(fetch(private, "x", &e) == -EBADMSG && strstr(e.text, "private"));
    CHECK(inner->requests == before + 1);

    source_close(public);
    source_close(private);
    transport_free(t);
    tiny_http_stop(inner);
    tiny_http_stop(outer);
    tiny_http_stop(outer2);
}

static bool enter_namespace(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    struct ifreq address = {.ifr_name = "lo:1"};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(PUBLIC_IP)};
    memcpy(&address.ifr_addr, &in, sizeof(in));
    bool done = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &up) == 0 && ioctl(fd, SIOCSIFADDR, &address) == 0;
    close(fd);
    return done;
}

static void address_of_the_connection_decides(void **state)
{
    (void)state;
    enum { CANNOT = 77 };
    assert_int_equal(fflush(stdout), 0); // what waits there would be printed twice
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!enter_namespace())
            _exit(CANNOT);
        test_in_namespace();
        exit(0); // not _exit: the sanitizers look for leaks
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT)
        print_message("# not tested: no network namespace of our own\n");
    else
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                          "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++)
        unsetenv(proxies[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redirects_keep_to_http_and_never_leave_https),
        cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(private_addresses_are_known),
        cmocka_unit_test(this_computer_is_known),
        cmocka_unit_test(redirects_to_private_hosts_are_refused_behind_a_proxy),
        cmocka_unit_test(address_of_the_connection_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
