// Manifests: what is read, and that what is written parses back.
#include "tests/unit/manifest_fixture.h"

#include "base/banned.h"

static void a_full_manifest_is_understood(void **state)
{
    struct error error = {""};
    (void)state;
    int r = parse(GOOD, strlen(GOOD), &error);
    assert_string_equal(error.text, "");
    assert_int_equal(r, 0);
    assert_string_equal(parsed->name, "debian");
    assert_string_equal(parsed->version, "12.5");
    assert_int_equal(parsed->serial, 7);
    assert_true(parsed->has_parent);
    assert_hash(&parsed->parent, C64);
    assert_int_equal(parsed->created, 1795428000);
    for (unsigned i = 0; i < PUBLIC_KEY_SIZE; i++)
        assert_int_equal(parsed->publisher[i], i);
    assert_string_equal(parsed->arch, "x86_64");
    assert_int_equal(parsed->member_count, 3);
    const struct manifest_member *m = parsed->members;
    assert_string_equal(m[0].name, "disk");
    assert_int_equal(m[0].size, 2147483648);
    assert_false(m[0].zero);
    assert_hash(&m[0].top.name, A64);
    assert_hash(&m[0].top.pack.name, B64);
    assert_int_equal(m[0].top.pack.size, 8400000);
    assert_hash(&m[0].top.pack.table, C64);
    assert_int_equal(m[0].top.offset, 8);
    assert_int_equal(m[0].top.length, 4096);
    assert_string_equal(m[1].name, "kernel");
    assert_true(m[2].zero);
    assert_int_equal(m[2].size, 1000);
    assert_string_equal(parsed->cmdline, "console=ttyS0 root=/dev/vda rw");
    assert_int_equal(parsed->memory, 512u << 20);
    assert_int_equal(parsed->boot_count, 2);
    assert_hash(&parsed->boot[1].pack, B64);
    assert_int_equal(parsed->boot[1].size, 100);
    assert_string_equal(parsed->ready, "login:");
    assert_string_equal(parsed->title, "Debian 12");
    assert_string_equal(parsed->summary, "A small d\xc3\xa9"
                                         "bian");
    assert_string_equal(parsed->homepage, "https://www.debian.org/");
    assert_string_equal(parsed->licence, "various");
    assert_string_equal(parsed->os, "Debian GNU/Linux");
}

static void members_are_found_by_name(void **state)
{
    (void)state;
    assert_int_equal(parse(GOOD, strlen(GOOD), NULL), 0);
    assert_int_equal(manifest_find_member(parsed, "disk"), 0);
    assert_int_equal(manifest_find_member(parsed, "initrd"), 2);
    assert_int_equal(manifest_find_member(parsed, "init"), -ENOENT);
    assert_int_equal(manifest_find_member(parsed, ""), -ENOENT);
}

static void optional_lines_may_be_absent(void **state)
{
    (void)state;
    assert_int_equal(parse(MINIMAL SIGNATURE, strlen(MINIMAL SIGNATURE), NULL), 0);
    assert_false(parsed->has_parent);
    assert_int_equal(parsed->memory, 0);
    assert_int_equal(parsed->boot_count, 0);
    assert_string_equal(parsed->title, "");
}

static void lines_marked_optional_are_passed_over(void **state)
{
    static const char text[] = "rondo-manifest 1\nopt-a\nname a\nversion 1\nopt-a x\nserial 1\ncreated "
                               "1970-01-01T00:00:00Z\npublisher " KEY
                               "\narch x86_64\nmember disk 0 -\nopt-colour blue and green\nos X\nopt-z 1\n" SIGNATURE;
    (void)state;
    assert_int_equal(parse(text, strlen(text), NULL), 0);
    assert_string_equal(parsed->os, "X");
}

static void what_follows_the_text_is_not_looked_at(void **state)
{
    (void)state;
    assert_int_equal(parse(MINIMAL "---\n\x01\xff", strlen(MINIMAL) + 6, NULL), 0);
    assert_int_equal(parse(MINIMAL "---\n", strlen(MINIMAL) + 4, NULL), 0);
}

static void what_is_written_parses_back(void **state)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct error error = {""};
    (void)state;
    assert_int_equal(parse(GOOD, strlen(GOOD), NULL), 0);
    assert_int_equal(manifest_format(parsed, &text, &error), 0);
    assert_string_equal(buf_text(&text), TEXT);
    buf_clear(&text);
    assert_int_equal(parse(MINIMAL SIGNATURE, strlen(MINIMAL SIGNATURE), NULL), 0);
    assert_int_equal(manifest_format(parsed, &text, &error), 0);
    assert_string_equal(buf_text(&text), MINIMAL);
}

static void memory_is_written_exactly(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {{1, "memory 1\n"},           {1536, "memory 1536\n"},
                 {3 << 10, "memory 3K\n"},    {513ull << 20, "memory 513M\n"},
                 {1ull << 30, "memory 1G\n"}, {16ull << 40, "memory 16T\n"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
        assert_int_equal(parse(MINIMAL SIGNATURE, strlen(MINIMAL SIGNATURE), NULL), 0);
        parsed->memory = cases[i].bytes;
        assert_int_equal(manifest_format(parsed, &text, NULL), 0);
        assert_non_null(strstr(buf_text(&text), cases[i].text));
    }
}

static void set_newline(struct manifest *m)
{
    memcpy(m->title, "x\nos evil", 10);
}
static void set_newline_in_name(struct manifest *m)
{
    memcpy(m->name, "x\nversion 9", 12);
}
static void set_newline_in_member(struct manifest *m)
{
    memcpy(m->members[0].name, "disk 0 -\nm", 11);
}
static void set_no_name(struct manifest *m)
{
    m->name[0] = '\0';
}
static void set_serial(struct manifest *m)
{
    m->serial = 0;
}
static void set_huge_serial(struct manifest *m)
{
    m->serial = UINT64_MAX;
}
static void set_created(struct manifest *m)
{
    m->created = -1;
}
static void set_members(struct manifest *m)
{
    m->member_count = 0;
}
static void set_many_members(struct manifest *m)
{
    m->member_count = MANIFEST_MEMBERS_MAXIMUM + 1;
}
static void set_size(struct manifest *m)
{
    m->members[0].size = MEMBER_SIZE_MAXIMUM + 1;
}
static void set_top(struct manifest *m)
{
    m->members[0].zero = false;
}
static void set_boot(struct manifest *m)
{
    m->boot_count = 1;
}
static void set_homepage(struct manifest *m)
{
    memcpy(m->homepage, "javascript:1", 13);
}
static void set_memory(struct manifest *m)
{
    m->memory = (16ull << 40) + 1;
}

static void what_would_not_parse_back_is_not_written(void **state)
{
    void (*const changes[])(struct manifest * m) = {
        set_newline,  set_newline_in_name, set_newline_in_member, set_no_name, set_serial, set_huge_serial,
        set_created,  set_members,         set_many_members,      set_size,    set_top,    set_boot,
        set_homepage, set_memory};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
        struct error error = {""};
        assert_int_equal(parse(MINIMAL SIGNATURE, strlen(MINIMAL SIGNATURE), NULL), 0);
        changes[i](parsed);
        int r = manifest_format(parsed, &text, &error);
        if (r != -EINVAL || error.text[0] == '\0' || text.size != 0)
            fail_msg("change %zu: %d \"%s\" %s", i, r, error.text, buf_text(&text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_manifest_is_understood),
        cmocka_unit_test(members_are_found_by_name),
        cmocka_unit_test(optional_lines_may_be_absent),
        cmocka_unit_test(lines_marked_optional_are_passed_over),
        cmocka_unit_test(what_follows_the_text_is_not_looked_at),
        cmocka_unit_test(what_is_written_parses_back),
        cmocka_unit_test(memory_is_written_exactly),
        cmocka_unit_test(what_would_not_parse_back_is_not_written),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
