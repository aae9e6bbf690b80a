// catalog/key.h: keys, their text, their files, and minisign's files.
#include "catalog_fixture.h"

#include "base/cursor.h"
#include "base/hash.h"
#include "catalog/key.h"

#include "base/banned.h"

static const char secret_comment[] = "untrusted comment: minisign encrypted secret key\n";

static int answer(void *context, const char *prompt, char *ret, size_t capacity)
{
    (void)prompt;
    const char *text = context;
    assert_true(strlen(text) < capacity);
    memcpy(ret, text, strlen(text) + 1);
    return (int)strlen(text);
}

static int refuse(void *context, const char *prompt, char *ret, size_t capacity)
{
    (void)context, (void)prompt, (void)ret, (void)capacity;
    return -ECANCELED;
}

// RFC 8032, section 7.1, test 2, through a secret key file of ours.
static void signatures_are_those_of_the_rfc(void **state)
{
    (void)state;
    static const unsigned char seed[32] = {0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3,
                                           0x46, 0xec, 0x11, 0x4e, 0x0f, 0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab,
                                           0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb};
    static const unsigned char public[32] = {0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a,
                                             0xa7, 0x4d, 0x1b, 0x7e, 0xbc, 0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4,
                                             0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
    static const unsigned char signature_start[8] = {0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8};
    unsigned char binary[158] = {'E', 'd', 0, 0, 'B', '2'};
    memcpy(binary + 54 + 8, seed, 32);
    memcpy(binary + 54 + 40, public, 32);
    char text[300];
    int n = snprintf(text, sizeof text, "%s", secret_comment);
    n += (int)base64_encode(binary, sizeof binary, text + n, sizeof text - (size_t)n);
    text[n++] = '\n';
    struct error error;
    struct key_secret *k CLEANUP(key_free) = NULL;
    assert_ok(key_parse_secret(text, (size_t)n, NULL, NULL, &k, &error), error);
    struct key_public p;
    key_public_of(k, &p);
    assert_memory_equal(p.bytes, public, 32);
    unsigned char signature[KEY_SIGNATURE_SIZE];
    assert_ok(key_sign(k, "\x72", 1, signature, &error), error);
    assert_memory_equal(signature, signature_start, sizeof signature_start);
    assert_true(key_verify(&p, "\x72", 1, signature));
    assert_false(key_verify(&p, "\x73", 1, signature));
    assert_false(key_verify(&p, "\x72", 0, signature));
    for (unsigned i = 0; i < sizeof signature * 8; i++) {
        signature[i / 8] ^= (unsigned char)(1 << i % 8);
        assert_false(key_verify(&p, "\x72", 1, signature));
        signature[i / 8] ^= (unsigned char)(1 << i % 8);
    }
}

static void text_is_43_digits_and_nothing_else(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_public p;
    struct key_public q;
    char text[KEY_TEXT_SIZE + 1];
    key_public_of(k, &p);
    assert_int_equal(strlen(key_to_text(&p, text)), 43);
    assert_true(key_from_text(text, 43, &q));
    assert_true(key_equal(&p, &q));
    static const unsigned char no_id[KEY_ID_SIZE];
    assert_memory_equal(q.id, no_id, sizeof no_id);
    assert_false(key_from_text(text, 42, &q));
    assert_false(key_from_text(text, 0, &q));
    text[43] = '=';
    assert_false(key_from_text(text, 44, &q));
    for (const char *c = "+/=. \n"; *c; c++) {
        char changed[KEY_TEXT_SIZE];
        key_to_text(&p, changed);
        changed[7] = *c;
        assert_false(key_from_text(changed, 43, &q));
    }
    // Beside p, and so near to what is refused, are sound ones.
    static const unsigned char places[] = {0, 30}; // y is below p by 2, or by 2^240 and more
    for (size_t i = 0; i < sizeof places; i++) {
        memset(p.bytes, 0xff, sizeof p.bytes);
        p.bytes[31] = 0x7f;
        p.bytes[places[i]] = places[i] == 0 ? 0xeb : 0xfe;
        assert_true(key_is_sound(&p));
    }
    // The last digit carries two bits that must be zero: A, E, I, … are the only ones allowed.
    key_to_text(&p, text);
    text[42] = 'B';
    assert_false(key_from_text(text, 43, &q));
}

static void keys_are_equal_by_their_bytes_alone(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_secret *l CLEANUP(key_free) = fixture_key();
    struct key_public p;
    struct key_public q;
    struct key_public r;
    key_public_of(k, &p);
    key_public_of(l, &q);
    r = p;
    memset(r.id, 0x55, sizeof r.id);
    memcpy(q.id, p.id, sizeof q.id);
    assert_true(key_equal(&p, &r));
    assert_false(key_equal(&p, &q));
}

// With such a key, a signature of R = A and S = 0, or the like, verifies over every text.
static void keys_that_anybody_can_sign_for_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", // y = 0
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA", // y = 0, other x
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", // y = 1
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA", // y = 1, sign of x set
        "7P_______________________________________38", // y = -1
        "7f_______________________________________38", // y = p, that is 0
        "7v_______________________________________38", // y = p + 1, that is 1
        "7v________________________________________8", // the same, sign of x set
        "JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", // order 8
        "JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_IU", "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o",
        "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA_o",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        struct key_public p;
        unsigned char binary[42] = {'E', 'd'};
        char line[100];
        assert_int_equal(base64url_decode(texts[i], 43, binary + 10, 32), 32);
        base64_encode(binary, sizeof binary, line, sizeof line);
        assert_false(key_from_text(texts[i], 43, &p));
        assert_int_equal(key_parse_public(line, strlen(line), &p, NULL), -EBADMSG);
        memcpy(p.bytes, binary + 10, 32);
        unsigned char signature[KEY_SIGNATURE_SIZE] = {1}; // R = the neutral element, S = 0
        assert_false(key_verify(&p, "any", 3, signature));
    }
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
    int n = snprintf(text, sizeof text, "%s", secret_comment);
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
    assert_int_equal(key_read_secret(path, answer, (void *)"", &l, &error), -EACCES);
    assert_int_equal(key_read_secret(path, answer, (void *)"wrong horse", &l, &error), -EKEYREJECTED);
    assert_non_null(strstr(error.text, "wrong passphrase"));
    assert_null(l);
    assert_ok(key_read_secret(path, answer, (void *)"correct horse", &l, &error), error);
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
        int n = snprintf(text, sizeof text, "%s", secret_comment);
        n += (int)base64_encode(binary, sizeof binary, text + n, sizeof text - (size_t)n);
        text[n++] = '\n';
        const bool least = limits[i].opslimit == 0;
        assert_int_equal(key_parse_secret(text, (size_t)n, answer, (void *)"x", &k, &error),
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

static void malformed_public_keys_are_refused(void **state)
{
    (void)state;
#define COMMENT "untrusted comment: a key\n"
#define LINE "RWQ7HqO8Mybyp8GGmCT50s71S65m/pv361a8FTA+DAif4G30GS9pqb6c"
    static const struct {
        const char *text;
        int result;
    } cases[] = {
        {COMMENT LINE "\n", 0},
        {LINE "\n", 0},
        {LINE, 0},
        {"untrusted comment: \n" LINE "\n", 0},
        {"untrusted comment: tab\there, ümläut\n" LINE "\n", 0},
        {"", -EBADMSG},
        {"\n", -EBADMSG},
        {COMMENT, -EBADMSG},
        {COMMENT "\n", -EBADMSG},
        {COMMENT LINE, -EBADMSG},
        {COMMENT LINE "\n\n", -EBADMSG},
        {COMMENT LINE "\nx", -EBADMSG},
        {COMMENT LINE "\n" LINE "\n", -EBADMSG},
        {COMMENT LINE " \n", -EBADMSG},
        {COMMENT " " LINE "\n", -EBADMSG},
        {COMMENT LINE "\r\n", -EBADMSG},
        {"untrusted comment: a key\r\n" LINE "\n", -EBADMSG},
        {"untrusted comment: a \033[31mkey\n" LINE "\n", -EBADMSG},
        {"untrusted comment: a \xff\n" LINE "\n", -EBADMSG},
        {"untrusted comment:\n" LINE "\n", -EBADMSG},
        {"trusted comment: a key\n" LINE "\n", -EBADMSG},
        {"Untrusted comment: a key\n" LINE "\n", -EBADMSG},
        {"\n" COMMENT LINE "\n", -EBADMSG},
        {COMMENT COMMENT LINE "\n", -EBADMSG},
        {COMMENT "RWQ7HqO8Mybyp8GGmCT50s71S65m/pv361a8FTA+DAif4G30GS9pqb6=\n", -EBADMSG}, // a byte less
        {COMMENT LINE "AAAA\n", -EBADMSG},
        {COMMENT "RUQ7HqO8Mybyp8GGmCT50s71S65m/pv361a8FTA+DAif4G30GS9pqb6c\n", -EBADMSG}, // "ED"
        {COMMENT "SWQ7HqO8Mybyp8GGmCT50s71S65m/pv361a8FTA+DAif4G30GS9pqb6c\n", -EBADMSG},
        {"untrusted comment: " LINE, -EBADMSG}, // a comment that does not end
    };
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        struct key_public p;
        struct error error = {""};
        assert_int_equal(key_parse_public(cases[i].text, strlen(cases[i].text), &p, &error), cases[i].result);
        assert_int_equal(error.text[0] != '\0', cases[i].result < 0);
    }
    struct key_public p;
    static const char with_nul[] = COMMENT "RWQ7HqO8Mybyp8GGmCT50s71S65m/pv361a8FTA+DAif4G30GS9pqb6c\0\n";
    assert_int_equal(key_parse_public(with_nul, sizeof with_nul - 1, &p, NULL), -EBADMSG);
    char long_comment[2000];
    memset(long_comment, 'x', sizeof long_comment);
    memcpy(long_comment, COMMENT, 18);
    memcpy(long_comment + sizeof long_comment - strlen(LINE) - 3, "\n" LINE "\n", strlen(LINE) + 2);
    assert_int_equal(key_parse_public(long_comment, sizeof long_comment - 1, &p, NULL), -EBADMSG);
    char *large CLEANUP_FREE = calloc(1, KEY_FILE_MAXIMUM + 1);
    struct key_secret *k = NULL;
    assert_int_equal(key_parse_public(large, KEY_FILE_MAXIMUM + 1, &p, NULL), -EBADMSG);
    assert_int_equal(key_parse_secret(large, KEY_FILE_MAXIMUM + 1, NULL, NULL, &k, NULL), -EBADMSG);
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

static void minisigns_keys_are_read(void **state)
{
    (void)state;
    fixture_need_minisign();
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = NULL;
    struct key_public p;
    struct key_public q;
    struct error error;
    assert_int_equal(MINISIGN(folder, "", "-G", "-W", "-p", "m.pub", "-s", "m.key"), 0);
    assert_ok(key_read_public(fixture_path(folder, "m.pub"), &p, &error), error);
    assert_ok(key_read_secret(fixture_path(folder, "m.key"), NULL, NULL, &k, &error), error);
    key_public_of(k, &q);
    assert_memory_equal(&p, &q, sizeof p); // id and key
}

// minisign's default takes 1 GiB for scrypt.
static void minisigns_encrypted_keys_are_read(void **state)
{
    (void)state;
    fixture_need_minisign();
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = NULL;
    struct key_public p;
    struct key_public q;
    struct error error;
    if (MINISIGN(folder, "open sesame\nopen sesame\n", "-G", "-p", "m.pub", "-s", "m.key") != 0) {
        SKIP("minisign could not make an encrypted key here (it takes 1 GiB of memory)");
    }
    assert_ok(key_read_public(fixture_path(folder, "m.pub"), &p, &error), error);
    assert_int_equal(key_read_secret(fixture_path(folder, "m.key"), NULL, NULL, &k, &error), -EACCES);
    assert_ok(key_read_secret(fixture_path(folder, "m.key"), answer, (void *)"open sesame", &k, &error), error);
    key_public_of(k, &q);
    assert_memory_equal(&p, &q, sizeof p);
}

static void minisign_signs_with_our_keys(void **state)
{
    (void)state;
    fixture_need_minisign();
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct error error;
    fixture_write(folder, "text", "some text\n", 10);
    assert_ok(key_write_files(k, fixture_path(folder, "plain"), NULL, &error), error);
    assert_int_equal(MINISIGN(folder, "", "-Sm", "text", "-s", "plain"), 0);
    assert_int_equal(MINISIGN(folder, "", "-Vm", "text", "-p", "plain.pub"), 0);
    assert_ok(key_write_files(k, fixture_path(folder, "hidden"), "open sesame", &error), error);
    assert_int_equal(MINISIGN(folder, "open sesame\n", "-Sm", "text", "-s", "hidden", "-x", "second"), 0);
    assert_int_equal(MINISIGN(folder, "", "-Vm", "text", "-p", "hidden.pub", "-x", "second"), 0);
    assert_int_not_equal(MINISIGN(folder, "close sesame\n", "-Sm", "text", "-s", "hidden", "-x", "third"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_are_those_of_the_rfc),
        cmocka_unit_test(text_is_43_digits_and_nothing_else),
        cmocka_unit_test(keys_are_equal_by_their_bytes_alone),
        cmocka_unit_test(keys_that_anybody_can_sign_for_are_refused),
        cmocka_unit_test(written_files_are_read_back),
        cmocka_unit_test(names_and_passphrases_have_a_maximum),
        cmocka_unit_test(another_keys_public_half_is_refused),
        cmocka_unit_test(a_key_that_was_read_leaves_the_error_alone),
        cmocka_unit_test(no_file_is_written_over),
        cmocka_unit_test(failing_writes_leave_nothing),
        cmocka_unit_test(passphrases_protect),
        cmocka_unit_test(greedy_scrypt_limits_are_refused),
        cmocka_unit_test(every_changed_byte_of_a_secret_key_is_seen),
        cmocka_unit_test(malformed_public_keys_are_refused),
        cmocka_unit_test(key_files_that_are_no_files_are_told),
        cmocka_unit_test(minisigns_keys_are_read),
        cmocka_unit_test(minisigns_encrypted_keys_are_read),
        cmocka_unit_test(minisign_signs_with_our_keys),
    };
    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
