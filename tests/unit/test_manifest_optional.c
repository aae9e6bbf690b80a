// Manifests: the opt-… lines for pages (manifest_optional.c): what is accepted, what refuses the manifest, and that
// what is written parses back.
#include "tests/unit/manifest_fixture.h"

#include "base/banned.h"

#define LOGO "opt-logo " A64 " 1234 png\n"

static int parse_with(const char *lines, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    assert_int_equal(buf_append_format(&text, MINIMAL "%s" SIGNATURE, lines), 0);
    return parse(buf_text(&text), text.size, error);
}

// `n` lines of the same text.
static int parse_with_many(const char *line, size_t n, struct error *error)
{
    struct buf lines CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(buf_append_format(&lines, "%s\n", line), 0);
    return parse_with(buf_text(&lines), error);
}

static void what_pages_show_is_understood(void **state)
{
    (void)state;
    assert_int_equal(parse_with("opt-description # Small\nopt-description\nopt-description     code\n" LOGO
                                "opt-port 80 web server\nopt-port 65535 x\nopt-description end\n",
                                NULL),
                     0);
    assert_string_equal(parsed->description, "# Small\n\n    code\nend\n");
    assert_int_equal(parsed->logo.type, MANIFEST_LOGO_PNG);
    assert_int_equal(parsed->logo.size, 1234);
    assert_hash(&parsed->logo.object, A64);
    assert_int_equal(parsed->port_count, 2);
    assert_int_equal(parsed->ports[0].number, 80);
    assert_string_equal(parsed->ports[0].name, "web server");
    assert_int_equal(parsed->ports[1].number, 65535);
}

static void it_may_be_absent(void **state)
{
    (void)state;
    assert_int_equal(parse_with("opt-logos x\nopt-portable 1\nopt-descriptions\n", NULL), 0);
    assert_string_equal(parsed->description, "");
    assert_int_equal(parsed->logo.type, MANIFEST_LOGO_NONE);
    assert_int_equal(parsed->port_count, 0);
}

// T28: a publisher signs whatever it likes.
static void each_way_of_being_wrong_refuses_the_manifest(void **state)
{
    static const struct {
        const char *lines, *message;
    } bad[] = {
        {"opt-logo\n", "line 9: 'opt-logo' has no SHA-256"},
        {"opt-logo ../../etc/passwd 5 png\n", "'opt-logo' has no SHA-256"},
        {"opt-logo " A64 "a 5 png\n", "'opt-logo' has no SHA-256"},
        {"opt-logo " A64 "\n", "'opt-logo' has no size"},
        {"opt-logo " A64 " 0 png\n", "'opt-logo' has no size"},
        {"opt-logo " A64 " 524289 png\n", "'opt-logo' has no size"},
        {"opt-logo " A64 " 18446744073709551617 png\n", "'opt-logo' has no size"},
        {"opt-logo " A64 " -1 png\n", "'opt-logo' has no size"},
        {"opt-logo " A64 " 5\n", "'opt-logo' is neither png nor jpeg"},
        {"opt-logo " A64 " 5 svg\n", "'opt-logo' is neither png nor jpeg"},
        {"opt-logo " A64 " 5 PNG\n", "'opt-logo' is neither png nor jpeg"},
        {"opt-logo " A64 " 5 png \n", "'opt-logo' is neither png nor jpeg"},
        {"opt-logo " A64 " 5 none\n", "'opt-logo' is neither png nor jpeg"},
        {LOGO LOGO, "line 10: 'opt-logo' is given twice"},
        {"opt-port\n", "'opt-port' has no number"},
        {"opt-port 0 x\n", "'opt-port' has no number"},
        {"opt-port 65536 x\n", "'opt-port' has no number"},
        {"opt-port 080 x\n", "'opt-port' has no number"},
        {"opt-port http 80\n", "'opt-port' has no number"},
        {"opt-port 80\n", "'opt-port' has no name"},
        {"opt-port 80 \n", "'opt-port' has no name"},
        {"opt-port 80  x\n", "'opt-port' has no name"},
        {"opt-port 80 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "'opt-port' has no name"},
        {"opt-port 80 x\nopt-port 80 y\n", "line 10: 'opt-port' is there twice"},
        {"opt-port 80 \x1b[2J\n", "line 9: too long, cut off, or with characters"},
        {"opt-description a\tb\n", "line 9: too long, cut off, or with characters"},
        {"opt-description \xe2\x80\xae\n", "line 9: too long, cut off, or with characters"},
        {"opt-port 1 a\nopt-port 2 a\nopt-port 3 a\nopt-port 4 a\nopt-port 5 a\nopt-port 6 a\nopt-port 7 a\n"
         "opt-port 8 a\nopt-port 9 a\nopt-port 10 a\nopt-port 11 a\nopt-port 12 a\nopt-port 13 a\nopt-port 14 a\n"
         "opt-port 15 a\nopt-port 16 a\nopt-port 17 a\n",
         "line 25: 'opt-port' is one too many"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct error error = {""};
        int r = parse_with(bad[i].lines, &error);
        if (r != -EBADMSG || !strstr(error.text, bad[i].message))
            fail_msg("case %zu: %d \"%s\"", i, r, error.text);
    }
}

static void a_description_has_a_maximum(void **state)
{
    static char line[1024 + sizeof("opt-description ")];
    struct error error = {""};
    (void)state;
    memset(line, 'x', sizeof(line) - 1);
    memcpy(line, "opt-description ", sizeof("opt-description ") - 1);
    line[sizeof(line) - 2] = '\0'; // 1023 bytes, and a newline
    assert_int_equal(parse_with_many(line, 16, NULL), 0);
    assert_int_equal(strlen(parsed->description), MANIFEST_DESCRIPTION_MAXIMUM);
    assert_int_equal(parse_with_many(line, 17, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "longer than 16384 bytes"));
    assert_int_equal(parse_with_many("opt-description", MANIFEST_DESCRIPTION_LINES_MAXIMUM, NULL), 0);
    assert_int_equal(parse_with_many("opt-description", MANIFEST_DESCRIPTION_LINES_MAXIMUM + 1, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "'opt-description' is one too many"));
}

static void what_is_written_parses_back(void **state)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    static const char lines[] = "opt-description\nopt-description a\nopt-logo " B64 " 524288 jpeg\nopt-port 22 ssh\n";
    (void)state;
    assert_int_equal(parse_with(lines, NULL), 0);
    assert_int_equal(manifest_format(parsed, &text, NULL), 0);
    assert_non_null(strstr(buf_text(&text), lines));
    assert_int_equal(buf_append(&text, SIGNATURE, strlen(SIGNATURE)), 0);
    assert_int_equal(parse(buf_text(&text), text.size, NULL), 0);
    assert_string_equal(parsed->description, "\na\n");
    assert_int_equal(parsed->logo.type, MANIFEST_LOGO_JPEG);
    assert_string_equal(parsed->ports[0].name, "ssh");
}

static void cut_last_line(struct manifest *m)
{
    memcpy(m->description, "a\nb", sizeof("a\nb"));
}
static void colour_description(struct manifest *m)
{
    memcpy(m->description, "\x1b[31m\n", sizeof("\x1b[31m\n"));
}
static void break_port_name(struct manifest *m)
{
    m->ports[0] = (struct manifest_port){.number = 80, .name = "a\nos X"};
    m->port_count = 1;
}
static void name_no_port(struct manifest *m)
{
    m->ports[0] = (struct manifest_port){.number = 80};
    m->port_count = 1;
}
static void name_too_many_ports(struct manifest *m)
{
    m->port_count = MANIFEST_PORTS_MAXIMUM + 1;
}
static void swell_logo(struct manifest *m)
{
    m->logo = (struct manifest_logo){.type = MANIFEST_LOGO_PNG, .size = MANIFEST_LOGO_MAXIMUM + 1};
}

static void what_would_not_parse_back_is_not_written(void **state)
{
    static void (*const changes[])(struct manifest * m) = {cut_last_line, colour_description,  break_port_name,
                                                           name_no_port,  name_too_many_ports, swell_logo};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
        struct error error = {""};
        assert_int_equal(parse_with("", NULL), 0);
        changes[i](parsed);
        int r = manifest_format(parsed, &text, &error);
        if (r != -EINVAL || error.text[0] == '\0' || text.size != 0)
            fail_msg("change %zu: %d \"%s\"", i, r, error.text);
    }
}

static void pictures_are_known_by_their_first_bytes(void **state)
{
    (void)state;
    assert_int_equal(manifest_detect_logo("\x89PNG\r\n\x1a\n", 8), MANIFEST_LOGO_PNG);
    assert_int_equal(manifest_detect_logo("\x89PNG\r\n\x1a\n", 7), MANIFEST_LOGO_NONE);
    assert_int_equal(manifest_detect_logo("\xff\xd8\xff", 3), MANIFEST_LOGO_JPEG);
    assert_int_equal(manifest_detect_logo("\xff\xd8", 2), MANIFEST_LOGO_NONE);
    assert_int_equal(manifest_detect_logo("<svg xmlns='http://www.w3.org/2000/svg'/>", 40), MANIFEST_LOGO_NONE);
    assert_int_equal(manifest_detect_logo("GIF89a", 6), MANIFEST_LOGO_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_pages_show_is_understood),
        cmocka_unit_test(it_may_be_absent),
        cmocka_unit_test(each_way_of_being_wrong_refuses_the_manifest),
        cmocka_unit_test(a_description_has_a_maximum),
        cmocka_unit_test(what_is_written_parses_back),
        cmocka_unit_test(what_would_not_parse_back_is_not_written),
        cmocka_unit_test(pictures_are_known_by_their_first_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
