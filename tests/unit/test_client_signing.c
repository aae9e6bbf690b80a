// client/signing.h: texts on their way to where the key is, and back.
#include "catalog_fixture.h"

#include "client/cli.h"
#include "client/signing.h"
#include <sys/stat.h>

#include "base/banned.h"

#define KEY "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"
#define UNSOUND_KEY "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" // of order 4
#define MANIFEST(key)                                                                                                  \
    "rondo-manifest 1\nname zoo\nversion 1\nserial 7\ncreated 2026-11-23T10:00:00Z\npublisher " key                    \
    "\narch x86_64\nmember disk 0 -\n"
#define CATALOG                                                                                                        \
    "rondo-catalog 1\nsite zoo " KEY "\nid 00112233445566778899aabbccddeeff\nnumber 42\n"                              \
    "issued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n"
#define ROOT "rondo-root 1\nsite zoo\nid 00112233445566778899aabbccddeeff\nnumber 2\nthreshold 1\n"

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static struct error error;

static void a_text_is_told_by_its_first_line(void **state)
{
    static const struct {
        const char *text, *what; // what it is; of what is refused, what is wrong
        int result;
    } table[] = {
        {MANIFEST(KEY), "manifest of zoo 1, serial 7", 0},
        {CATALOG, "catalog of zoo, number 42", 0},
        {ROOT "key " KEY "\ncatalog " KEY "\n", "root statement of zoo, number 2", 0},
        {ROOT "key " UNSOUND_KEY "\ncatalog " KEY "\n", "a public key", -EBADMSG},
        {MANIFEST(UNSOUND_KEY), "its publisher's key is not a usable one", -EBADMSG},
        {MANIFEST(KEY) "opt", "line 9", -EBADMSG},
        {"rondo-catalog 1\nsite zoo\n", "line 2", -EBADMSG},
        {"rondo-catalog 2\n", "neither a manifest, nor a catalog, nor a root statement", -EBADMSG},
        {"", "neither a manifest, nor a catalog, nor a root statement", -EBADMSG},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct signing_text t CLEANUP(signing_free) = {.manifest = NULL};
        char what[128];
        error.text[0] = '\0';
        assert_int_equal(signing_parse(slice_of(table[i].text), &t, &error), table[i].result);
        const char *said = table[i].result == 0 ? signing_describe(&t, what, sizeof what) : error.text;
        if (!strstr(said, table[i].what))
            fail_msg("%s: %s", table[i].what, said);
        assert_true(table[i].result == 0 || (!t.manifest && t.catalog.number == 0)); // untouched
    }
}

static void no_other_file_is_written_over(void **state)
{
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    static const char *const own[] = {MANIFEST(KEY), "rondo-root 1\n", CATALOG};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(own); i++) // new the first time, its like there the second
        assert_ok(signing_write_text(fixture_path(folder, "text"), own[i], strlen(own[i]), &error), error);
    char *text CLEANUP_FREE = fixture_read(folder, "text", NULL);
    assert_string_equal(text, CATALOG);
    assert_ok(signing_write_text(fixture_path(folder, "text"), "x", 1, &error), error);
    assert_int_equal(signing_write_text(fixture_path(folder, "text"), "y", 1, &error), -EEXIST);
    assert_non_null(strstr(error.text, "is no text to be signed; choose another file"));
    assert_int_equal(signing_write_text(folder, "y", 1, &error), -EEXIST);
    assert_int_equal(signing_write_text(fixture_path(folder, "none/text"), "y", 1, &error), -ENOENT);
    assert_non_null(strstr(error.text, "cannot write "));
}

static int read_signed(const char *path, size_t maximum, char ret[static 256])
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(maximum);
    error.text[0] = '\0';
    int r = signing_read_signed(path, &b, &error);
    snprintf(ret, 256, "%s", buf_text(&b));
    return r;
}

static void a_signature_stands_in_the_file_or_beside_it(void **state)
{
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    char text[256];
    (void)state;
    fixture_write(folder, "whole", "text\n---\nsignature\n", 19);
    fixture_write(folder, "text", "text\n", 5);
    fixture_write(folder, "text.minisig", "signature\n", 10);
    fixture_write(folder, "alone", "text\n", 5);
    assert_ok(read_signed(fixture_path(folder, "whole"), 100, text), error);
    assert_string_equal(text, "text\n---\nsignature\n");
    assert_ok(read_signed(fixture_path(folder, "text"), 100, text), error);
    assert_string_equal(text, "text\n---\nsignature\n");

    assert_int_equal(read_signed(fixture_path(folder, "alone"), 100, text), -EBADMSG);
    assert_non_null(strstr(error.text, "alone is not signed: give the file that rondo sign wrote"));
    assert_int_equal(mkdir(fixture_path(folder, "alone.minisig"), 0700), 0);
    assert_int_equal(read_signed(fixture_path(folder, "alone"), 100, text), -EISDIR);
    assert_non_null(strstr(error.text, "alone.minisig"));
    assert_int_equal(rmdir(fixture_path(folder, "alone.minisig")), 0);
    assert_int_equal(read_signed(fixture_path(folder, "none"), 100, text), -ENOENT);
    assert_non_null(strstr(error.text, "cannot read "));
    for (size_t room = 0; room < 19; room += 3) { // too little for the text, the line, or the signature
        assert_int_equal(read_signed(fixture_path(folder, "whole"), room, text), -E2BIG);
        assert_int_equal(read_signed(fixture_path(folder, "text"), room, text), -EBADMSG);
        assert_non_null(strstr(error.text, "longer than any may be"));
    }

    int r = -ENOMEM;
    for (unsigned long at = 1; r < 0; at++) { // each call and each allocation
        io_fault_start(at, ENOMEM, false);
        r = read_signed(fixture_path(folder, "text"), 100, text);
        io_fault_stop();
        assert_true(at < 50 && (r == 0 || r == -ENOMEM) && (r == 0 || error.text[0] != '\0'));
    }

    // A path that has room for the file, and none for its signature's name.
    char *path CLEANUP_FREE = malloc(2 * PATH_TEXT_SIZE);
    const char *file = fixture_path(folder, "alone");
    const size_t length = strlen(file), slashes = PATH_TEXT_SIZE - 3 - length;
    memset(path, '/', slashes);
    memcpy(path + slashes, file, length + 1);
    assert_int_equal(read_signed(path, 100, text), -ENAMETOOLONG);
    assert_non_null(strstr(error.text, "is too long"));
}

static void a_public_key_is_given_by_its_text_or_by_its_file(void **state)
{
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_public own, found;
    char text[KEY_TEXT_SIZE];
    (void)state;
    key_public_of(k, &own);
    assert_ok(key_write_files(k, fixture_path(folder, "k"), NULL, &error), error);
    assert_ok(signing_read_public(fixture_path(folder, "k.pub"), &found, &error), error);
    assert_true(key_equal(&own, &found));
    assert_ok(signing_read_public(key_to_text(&own, text), &found, &error), error);
    assert_true(key_equal(&own, &found));
    assert_int_equal(signing_read_public(UNSOUND_KEY, &found, &error), -ENOENT); // taken for a file's name
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_told_by_its_first_line),
        cmocka_unit_test(no_other_file_is_written_over),
        cmocka_unit_test(a_signature_stands_in_the_file_or_beside_it),
        cmocka_unit_test(a_public_key_is_given_by_its_text_or_by_its_file),
    };
    return cmocka_run_group_tests_name("client signing", tests, NULL, NULL);
}
