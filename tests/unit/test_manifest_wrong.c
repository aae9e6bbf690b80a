// Manifests: each way of being wrong has its message (a hostile publisher signs whatever it likes).
#include "tests/unit/manifest_fixture.h"

#include "base/banned.h"

// The good manifest with the first `old` replaced by `new`. `old` may be all of it.
static const struct {
    const char *old, *new, *message;
} bad[] = {
    {GOOD, "", "line 1: not a manifest"},
    {GOOD, "\n", "line 1: not a manifest"},
    {"rondo-manifest 1", "rondo-manifest 2", "line 1: not a manifest of version 1"},
    {"rondo-manifest 1", "rondo-manifest 1 ", "line 1: not a manifest"},
    {"rondo-manifest 1", "rondo-catalog 1", "line 1: not a manifest"},
    {"rondo-manifest 1\n", "\xef\xbb\xbfrondo-manifest 1\n", "line 1"},
    {"rondo-manifest 1\n", "rondo-manifest 1\r\n", "line 1"},
    {SIGNATURE, "", "the signature is missing"},
    {SIGNATURE, "---", "cut off"},
    {SIGNATURE, "--- \n", "unknown key '---'"},
    {TAIL SIGNATURE, "cmdline x", "cut off"},
    {"\nname debian\n", "\n", "line 2: 'version' stands where 'name' is missing"},
    {"name debian", "name", "line 2: 'name' is not an image name"},
    {"name debian", "name Debian", "line 2: 'name' is not an image name"},
    {"name debian", "name ../debian", "line 2: 'name' is not an image name"},
    {"name debian", "name .debian", "line 2: 'name' is not an image name"},
    {"name debian", "name deb/ian", "line 2: 'name' is not an image name"},
    {"name debian", "name deb ian", "line 2: 'name' is not an image name"},
    {"name debian", "name  debian", "line 2: 'name' is not an image name"},
    {"name debian", "name " A64 "a", "line 2: 'name' is not an image name"},
    {"name debian", "Name debian", "line 2: unknown key 'Name'"},
    {"name debian", " name debian", "line 2: unknown key ''"},
    {"name debian", "name\tdebian", "line 2: too long, cut off, or with characters"},
    {"name debian", "name deb\x1b[31mian", "line 2: too long, cut off, or with characters"},
    {"name debian\n", "name debian\nname debian\n", "line 3: 'name' is given twice"},
    {"version 12.5", "version", "'version' is not a version name"},
    {"version 12.5", "version 12/5", "'version' is not a version name"},
    {"serial 7", "serial 0", "'serial' is not a number"},
    {"serial 7", "serial -1", "'serial' is not a number"},
    {"serial 7", "serial 07", "'serial' is not a number"},
    {"serial 7", "serial 7 ", "'serial' is not a number"},
    {"serial 7", "serial 0x7", "'serial' is not a number"},
    {"serial 7", "serial 9223372036854775808", "'serial' is not a number"},
    {"serial 7", "serial 18446744073709551617", "'serial' is not a number"},
    {"serial 7\n", "", "line 4: 'parent' stands where 'serial' is missing"},
    {"parent " C64, "parent", "'parent' is not a SHA-256"},
    {"parent " C64, "parent 0123", "'parent' is not a SHA-256"},
    {"parent " C64, "parent " A64 "a", "'parent' is not a SHA-256"},
    {"parent 0", "parent Z", "'parent' is not a SHA-256"},
    {"parent 0123456789a", "parent 0123456789A", "'parent' is not a SHA-256"},
    {"created 2026-11-23T10:00:00Z", "created 2026-11-23", "'created' is not a time"},
    {"created 2026-11-23T10:00:00Z", "created 2026-13-23T10:00:00Z", "'created' is not a time"},
    {"created 2026-11-23T10:00:00Z", "created 1969-12-31T23:59:59Z", "'created' is not a time"},
    {"created 2026-11-23T10:00:00Z", "created 2026-11-23T10:00:00+01:00", "'created' is not a time"},
    {"publisher A", "publisher AA", "'publisher' is not a public key"},
    {"publisher " KEY, "publisher " KEY "=", "'publisher' is not a public key"},
    {"publisher " KEY, "publisher AAEC", "'publisher' is not a public key"},
    {"publisher AAEC", "publisher AA+C", "'publisher' is not a public key"},
    {"publisher " KEY "\n", "", "'arch' stands where 'publisher' is missing"},
    {"arch x86_64", "arch", "'arch' is not an architecture"},
    {"arch x86_64", "arch X86", "'arch' is not an architecture"},
    {"arch x86_64", "arch x{", "'arch' is not an architecture"},
    {"arch x86_64", "arch x/", "'arch' is not an architecture"},
    {"arch x86_64", "arch aaaaaaaaaaaaaaaa", "'arch' is not an architecture"},
    {"arch x86_64\n", "", "line 8: 'member' stands where 'arch' is missing"},
    {DISK KERNEL INITRD, "", "line 9: 'cmdline' stands where 'member' is missing"},
    {DISK KERNEL INITRD TAIL, "", "'member' is missing"},
    {"member disk", "member manifest", "'member' has a name that no member may have"},
    {"member disk", "member ..", "'member' has a name that no member may have"},
    {"member disk", "member a/b", "'member' has a name that no member may have"},
    {"member disk", "member 1disk", "'member' has a name that no member may have"},
    {"member disk", "member Disk", "'member' has a name that no member may have"},
    {"member disk", "member a{", "'member' has a name that no member may have"},
    {"member disk", "member a/", "'member' has a name that no member may have"},
    {"member disk", "member a:", "'member' has a name that no member may have"},
    {"member disk", "member ", "'member' has a name that no member may have"},
    {"member disk", "member aaaaaaaaaaaaaaaa", "'member' has a name that no member may have"},
    {"member kernel", "member disk", "line 10: 'member' is there twice"},
    {"2147483648", "-1", "'member' has no size"},
    {"2147483648", "17592186044417", "'member' has no size"},
    {"2147483648", "9223372036854775808", "'member' has no size"},
    {"2147483648", "2G", "'member' has no size"},
    {"2147483648 ", "2147483648  ", "'member' has no sound top page"},
    {"2147483648", "0", "'member' has no sound top page"},
    {"initrd 1000 -", "initrd 1000", "'member' has no sound top page"},
    {"initrd 1000 -", "initrd 1000 --", "'member' has no sound top page"},
    {"initrd 1000 -", "initrd 1000 - ", "'member' has no sound top page"},
    {"8400000,", "67108865,", "'member' has no sound top page"},
    {"8400000,", "4203,", "'member' has no sound top page"},
    {"8400000,", "08400000,", "'member' has no sound top page"},
    {",8,4096", ",7,4096", "'member' has no sound top page"},
    {",8,4096", ",8,4", "'member' has no sound top page"},
    {",8,4096", ",8,524293", "'member' has no sound top page"},
    {",8,4096", ",4294967295,4096", "'member' has no sound top page"},
    {",8,4096", ",8,4096,", "'member' has no sound top page"},
    {",8,4096", ",8,4096 x", "'member' has no sound top page"},
    {",8,4096", ",8", "'member' has no sound top page"},
    {",8,4096", ",,8,4096", "'member' has no sound top page"},
    {INITRD, "member b 0 -\nmember c 0 -\nmember d 0 -\nmember e 0 -\nmember f 0 -\nmember g 0 -\nmember h 0 -\n",
     "'member' is one too many"},
    {INITRD, "cmdline x\nmember initrd 1000 -\n", "line 12: 'member' is given twice or out of order"},
    {"cmdline console=ttyS0 root=/dev/vda rw", "cmdline", "'cmdline' is empty"},
    {"cmdline console=ttyS0 root=/dev/vda rw", "cmdline ", "'cmdline' is empty"},
    {"memory 512M", "memory 0", "'memory' is not a size"},
    {"memory 512M", "memory 512m", "'memory' is not a size"},
    {"memory 512M", "memory 512MB", "'memory' is not a size"},
    {"memory 512M", "memory 17T", "'memory' is not a size"},
    {"memory 512M", "memory 9223372036854775807T", "'memory' is not a size"},
    {"memory 512M", "memory 00000000000000000000000000512M", "'memory' is not a size"},
    {"boot " A64 " 2000000", "boot " A64, "'boot' has no size"},
    {"boot " A64 " 2000000", "boot " A64 " 63", "'boot' has no size"},
    {"boot " A64 " 2000000", "boot " A64 " 67108865", "'boot' has no size"},
    {"boot " A64 " 2000000", "boot 2000000", "'boot' has no SHA-256"},
    {"boot " B64, "boot " A64, "'boot' is there twice"},
    {"ready login:\ntitle Debian 12\n", "title Debian 12\nready login:\n", "'ready' is given twice or out of order"},
    {"title Debian 12", "title", "'title' is empty"},
    {"title Debian 12", "title \x7f", "too long, cut off, or with characters"},
    {"title Debian 12", "title \xc3", "too long, cut off, or with characters"},
    {"title Debian 12", "title \xed\xa0\x80", "too long, cut off, or with characters"},
    {"title Debian 12", "title evil \xe2\x80\xae txet", "too long, cut off, or with characters"},
    {"title Debian 12", "title zero\xe2\x80\x8bwidth", "too long, cut off, or with characters"},
    {"homepage https:", "homepage javascript:", "'homepage' is not an http:// or https:// address"},
    {"homepage https:", "homepage file:", "'homepage' is not an http:// or https:// address"},
    {"licence various\n", "license various\n", "unknown key 'license'"},
    {"licence various\n", "\nlicence various\n", "unknown key ''"},
    {"licence various\n", "# a remark\nlicence various\n", "unknown key '#'"},
    {"licence various\n", "opt- x\nlicence various\nlicence various\n", "'licence' is given twice"},
    {"licence various\n", "opt-A x\n", "unknown key 'opt-A'"},
    {"licence various\n", "option x\n", "unknown key 'option'"},
    {"os Debian GNU/Linux\n", "os Debian GNU/Linux\nos Debian\n", "'os' is given twice"},
    {"os Debian GNU/Linux\n", "os Debian GNU/Linux\nname debian\n", "'name' is given twice or out of order"},
};

static size_t replace(const char *old, const char *new, char *ret_text, size_t capacity)
{
    const char *at = strstr(GOOD, old);
    assert_non_null(at);
    int n = snprintf(ret_text, capacity, "%.*s%s%s", (int)(at - GOOD), GOOD, new, at + strlen(old));
    assert_true(n >= 0 && (size_t)n < capacity);
    return (size_t)n;
}

static void every_way_of_being_wrong_has_its_message(void **state)
{
    static char text[8192];
    (void)state;
    assert_true(ARRAY_SIZE(bad) >= 100);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error error = {""};
        size_t n = replace(bad[i].old, bad[i].new, text, sizeof(text));
        memset(parsed, 0x5a, sizeof(*parsed));
        int r = parse(text, n, &error);
        if (r != -EBADMSG || !strstr(error.text, bad[i].message))
            fail_msg("case %zu (\"%.40s\" → \"%.40s\"): %d \"%s\"", i, bad[i].old, bad[i].new, r, error.text);
        for (size_t j = 0; j < sizeof(*parsed); j++)
            assert_int_equal(((unsigned char *)parsed)[j], 0x5a);
    }
}

static void nul_bytes_are_refused_wherever_they_stand(void **state)
{
    static char text[sizeof(GOOD)];
    (void)state;
    for (size_t i = 0; i < strlen(TEXT); i++) {
        memcpy(text, GOOD, sizeof(GOOD));
        text[i] = '\0';
        assert_int_equal(parse(text, strlen(GOOD), NULL), -EBADMSG);
    }
}

static void a_cut_manifest_is_refused_wherever_it_is_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < strlen(TEXT "---\n"); n++)
        assert_int_equal(parse(GOOD, n, NULL), -EBADMSG);
    assert_int_equal(parse(GOOD, strlen(TEXT "---\n"), NULL), 0);
}

static void lines_and_files_have_a_maximum(void **state)
{
    struct error error = {""};
    char *big = malloc(10u << 20);
    (void)state;
    assert_non_null(big);
    memset(big, 'x', 10u << 20); // a remark of 10 MB
    memcpy(big, "rondo-manifest 1\nopt-x ", sizeof("rondo-manifest 1\nopt-x ") - 1);
    assert_int_equal(parse(big, 10u << 20, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "larger than any may be"));
    assert_int_equal(parse(big, MANIFEST_SIZE_MAXIMUM, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "line 2: too long"));

    static const char end[] = {'\n', '-', '-', '-', '\n'};
    size_t head = strlen(MINIMAL);
    for (size_t length = MANIFEST_TEXT_MAXIMUM - 1; length <= MANIFEST_TEXT_MAXIMUM; length++) {
        memcpy(big, MINIMAL "title ", head + 6);
        memset(big + head + 6, 'x', length);
        memcpy(big + head + 6 + length, end, sizeof(end));
        assert_int_equal(parse(big, head + 6 + length + sizeof(end), &error),
                         length < MANIFEST_TEXT_MAXIMUM ? 0 : -EBADMSG);
    }
    assert_non_null(strstr(error.text, "'title' is too long"));
    free(big);
}

static void too_many_boot_packs_are_refused(void **state)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct error error = {""};
    (void)state;
    assert_int_equal(buf_append_format(&text, "%s", MINIMAL), 0);
    for (unsigned i = 0; i <= MANIFEST_BOOT_MAXIMUM; i++)
        assert_int_equal(buf_append_format(&text, "boot %064u 1000\n", i), 0);
    assert_int_equal(buf_append_format(&text, "---\n"), 0);
    assert_int_equal(parse(buf_text(&text), text.size, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "'boot' is one too many"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_of_being_wrong_has_its_message),
        cmocka_unit_test(nul_bytes_are_refused_wherever_they_stand),
        cmocka_unit_test(a_cut_manifest_is_refused_wherever_it_is_cut),
        cmocka_unit_test(lines_and_files_have_a_maximum),
        cmocka_unit_test(too_many_boot_packs_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
