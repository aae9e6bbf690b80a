// catalog/key.h: files of keys, whole or not there; passphrases.
#include "catalog_fixture.h"

#include "base/cursor.h"
#include "base/hash.h"
#include "catalog/key.h"

#include "base/banned.h"

static int refuse(void *context, const char *prompt, char *ret, size_t capacity)
{
    (void)context, (void)prompt, (void)ret, (void)capacity;
    return -ECANCELED;
}

static void written_files_are_read_back(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_secret *l CLEANUP(key_free) = NULL;
    struct key_public p;
    struct key_public q;
    struct error error;
    struct stat st;
    const char *path = fixture_path(folder, "site.key");
    assert_ok(key_write_files(k, path, NULL, &error), error);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_ok(key_read_secret(path, refuse, NULL, &l, &error), error); // nobody is asked
    key_public_of(k, &p);
    key_public_of(l, &q);
    assert_memory_equal(&p, &q, sizeof p);
    assert_ok(key_read_public(fixture_path(folder, "site.key.pub"), &q, &error), error);
    assert_memory_equal(&p, &q, sizeof p);
    char *file CLEANUP_FREE = fixture_read(folder, "site.key.pub", NULL);
    char *line = strchr(file, '\n') + 1;
    line[strlen(line) - 1] = '\0';
    assert_ok(key_read_public(line, &q, &error), error); // the line itself
    assert_memory_equal(&p, &q, sizeof p);
}

// Whoever reads a key need not have set the error to anything: it is written on failure only.
static void names_and_passphrases_have_a_maximum(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct error error;
    char name[PATH_TEXT_SIZE], passphrase[1025];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(key_write_files(k, name, NULL, &error), -ENAMETOOLONG);
    memset(passphrase, 'p', sizeof passphrase - 1);
    passphrase[sizeof passphrase - 1] = '\0';
    assert_int_equal(key_write_files(k, fixture_path(folder, "k"), passphrase, &error), -EINVAL);
    assert_non_null(strstr(error.text, "at most 1023 bytes"));
    assert_int_not_equal(access(fixture_path(folder, "k"), F_OK), 0);
}

// Invariant 3 of key_file.c. minisign -W writes no check sum, so nothing else would see it.
static void another_keys_public_half_is_refused(void **state)
{
    (void)state;
    unsigned char binary[158] = {'E', 'd', 0, 0, 'B', '2'};
    char text[300];
    struct error error;
    struct key_secret *k = NULL;
    binary[54 + 8] = 1; // a seed, and zeros for its public half
    int n = snprintf(text, sizeof text, "%s", FIXTURE_SECRET_COMMENT);
    n += (int)base64_encode(binary, sizeof binary, text + n, sizeof text - (size_t)n);
    text[n++] = '\n';
    assert_int_equal(key_parse_secret(text, (size_t)n, NULL, NULL, &k, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "belongs to another key"));
    text[n] = 'x';
    assert_int_equal(key_parse_secret(text, (size_t)n + 1, NULL, NULL, &k, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "expected a comment line and one line"));
}

static void a_key_that_was_read_leaves_the_error_alone(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_secret *l CLEANUP(key_free) = NULL;
    struct key_public p;
    struct error untouched;
    struct error error;
    assert_int_equal(key_write_files(k, fixture_path(folder, "site.key"), NULL, NULL), 0);
    memset(&untouched, 'x', sizeof untouched); // not even a NUL byte
    error = untouched;
    assert_int_equal(key_read_secret(fixture_path(folder, "site.key"), NULL, NULL, &l, &error), 0);
    assert_memory_equal(&error, &untouched, sizeof error);
    assert_int_equal(key_read_public(fixture_path(folder, "site.key.pub"), &p, &error), 0);
    assert_memory_equal(&error, &untouched, sizeof error);
}

static void no_file_is_written_over(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct error error;
    fixture_write(folder, "a", "mine", 4);
    assert_int_equal(key_write_files(k, fixture_path(folder, "a"), NULL, &error), -EEXIST);
    assert_non_null(strstr(error.text, "never written over"));
    assert_int_not_equal(access(fixture_path(folder, "a.pub"), F_OK), 0);
    fixture_write(folder, "b.pub", "mine", 4);
    assert_int_equal(key_write_files(k, fixture_path(folder, "b"), NULL, &error), -EEXIST);
    assert_int_not_equal(access(fixture_path(folder, "b"), F_OK), 0); // no half pair
    assert_int_equal(symlink("elsewhere", fixture_path(folder, "c")), 0);
    assert_true(key_write_files(k, fixture_path(folder, "c"), NULL, &error) < 0);
    assert_int_not_equal(access(fixture_path(folder, "elsewhere"), F_OK), 0);
    char *kept CLEANUP_FREE = fixture_read(folder, "a", NULL);
    assert_string_equal(kept, "mine");
}

// Every call to the operating system fails once; each time no file is left, and a later attempt works.
static void failing_writes_leave_nothing(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    char path[PATH_TEXT_SIZE];
    path_format(path, sizeof path, "%s/k", folder);
    unsigned long at = 1;
    for (;; at++) {
        io_fault_start(at, ENOSPC, false);
        int r = key_write_files(k, path, NULL, NULL);
        io_fault_stop();
        if (r == 0)
            break;
        assert_int_not_equal(access(path, F_OK), 0);
        assert_int_not_equal(access(fixture_path(folder, "k.pub"), F_OK), 0);
        assert_true(at < 100);
    }
    assert_true(at > 6); // open, write, fsync, close of two files
}

static void passphrases_protect(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_secret *l CLEANUP(key_free) = NULL;
    struct key_public p;
    struct key_public q;
    struct error error;
    char path[PATH_TEXT_SIZE];
    path_format(path, sizeof path, "%s/k", folder);
    assert_ok(key_write_files(k, path, "correct horse", &error), error);
    assert_int_equal(key_read_secret(path, NULL, NULL, &l, &error), -EACCES);
    assert_int_equal(key_read_secret(path, refuse, NULL, &l, &error), -ECANCELED);
    assert_int_equal(key_read_secret(path, fixture_answer, (void *)"", &l, &error), -EACCES);
    assert_int_equal(key_read_secret(path, fixture_answer, (void *)"wrong horse", &l, &error), -EKEYREJECTED);
    assert_non_null(strstr(error.text, "wrong passphrase"));
    assert_null(l);
    assert_ok(key_read_secret(path, fixture_answer, (void *)"correct horse", &l, &error), error);
    key_public_of(k, &p);
    key_public_of(l, &q);
    assert_memory_equal(&p, &q, sizeof p);
}

// The limits come from the file: what they ask for is refused before any work is done.
static void greedy_scrypt_limits_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t opslimit, memlimit;
    } limits[] = {{UINT64_MAX, UINT64_MAX},
                  {UINT64_C(1) << 33, UINT64_C(1) << 34},
                  {UINT64_MAX, 0},
                  {UINT64_C(1) << 40, 1024},
                  {UINT64_C(1) << 26, UINT64_MAX},
                  {0, 0}}; // the least that there is: nothing is wrong with it but the passphrase
    for (unsigned i = 0; i < ARRAY_SIZE(limits); i++) {
        unsigned char binary[158] = {'E', 'd', 'S', 'c', 'B', '2'};
        char text[300];
        struct error error;
        struct key_secret *k = NULL;
        put_le64(binary + 38, limits[i].opslimit);
        put_le64(binary + 46, limits[i].memlimit);
        int n = snprintf(text, sizeof text, "%s", FIXTURE_SECRET_COMMENT);
        n += (int)base64_encode(binary, sizeof binary, text + n, sizeof text - (size_t)n);
        text[n++] = '\n';
        const bool least = limits[i].opslimit == 0;
        assert_int_equal(key_parse_secret(text, (size_t)n, fixture_answer, (void *)"x", &k, &error),
                         least ? -EKEYREJECTED : -EBADMSG);
        assert_non_null(strstr(error.text, least ? "wrong passphrase" : "more scrypt work"));
    }
}

// Any change of any byte of a secret key file is seen, but for the comment's text, what a file without a passphrase
// does not use (salt and limits), and nothing else.
static void every_changed_byte_of_a_secret_key_is_seen(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct error error;
    size_t n;
    assert_ok(key_write_files(k, fixture_path(folder, "k"), "", &error), error);
    char *file CLEANUP_FREE = fixture_read(folder, "k", &n);
    const size_t comment = strlen("untrusted comment: ");
    const size_t line = (size_t)(strchr(file, '\n') + 1 - file);
    const size_t unused = line + 8;        // the base64 digits that carry bytes 6 to 53 alone
    const size_t used = line + 54 / 3 * 4; // byte 54 begins a group of four digits
    for (size_t i = 0; i < n; i++) {
        if ((i >= comment && i < line - 1) || (i >= unused && i < used))
            continue;
        for (int bit = 0; bit < 8; bit++) {
            struct key_secret *l CLEANUP(key_free) = NULL;
            file[i] = (char)(file[i] ^ 1 << bit);
            assert_int_equal(key_parse_secret(file, n, NULL, NULL, &l, NULL) == 0, 0);
            file[i] = (char)(file[i] ^ 1 << bit);
        }
    }
}

static void key_files_that_are_no_files_are_told(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_public p;
    struct key_secret *k = NULL;
    struct error error;
    assert_int_equal(key_read_public(fixture_path(folder, "none"), &p, &error), -ENOENT);
    assert_non_null(strstr(error.text, "none"));
    assert_int_equal(key_read_secret(folder, NULL, NULL, &k, &error), -EISDIR);
    char *big CLEANUP_FREE = calloc(1, KEY_FILE_MAXIMUM + 1);
    fixture_write(folder, "big", big, KEY_FILE_MAXIMUM + 1);
    assert_int_equal(key_read_public(fixture_path(folder, "big"), &p, &error), -EFBIG);
    fixture_write(folder, "bad", "junk\n", 5);
    assert_int_equal(key_read_public(fixture_path(folder, "bad"), &p, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "/bad: not a public key"));
    assert_int_equal(key_read_secret(fixture_path(folder, "bad"), NULL, NULL, &k, &error), -EBADMSG);
    assert_int_equal(strncmp(error.text, folder, strlen(folder)), 0); // the file is named
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_are_read_back),
        cmocka_unit_test(names_and_passphrases_have_a_maximum),
        cmocka_unit_test(another_keys_public_half_is_refused),
        cmocka_unit_test(a_key_that_was_read_leaves_the_error_alone),
        cmocka_unit_test(no_file_is_written_over),
        cmocka_unit_test(failing_writes_leave_nothing),
        cmocka_unit_test(passphrases_protect),
        cmocka_unit_test(greedy_scrypt_limits_are_refused),
        cmocka_unit_test(every_changed_byte_of_a_secret_key_is_seen),
        cmocka_unit_test(key_files_that_are_no_files_are_told),
    };
    return cmocka_run_group_tests_name("key_file", tests, NULL, NULL);
}
