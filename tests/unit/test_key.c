// catalog/key.h: keys, their text, and minisign's files.
#include "catalog_fixture.h"

#include "base/cursor.h"
#include "base/hash.h"
#include "catalog/key.h"

#include "base/banned.h"

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
    int n = snprintf(text, sizeof text, "%s", FIXTURE_SECRET_COMMENT);
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
    assert_ok(key_read_secret(fixture_path(folder, "m.key"), fixture_answer, (void *)"open sesame", &k, &error), error);
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
        cmocka_unit_test(malformed_public_keys_are_refused),
        cmocka_unit_test(minisigns_keys_are_read),
        cmocka_unit_test(minisigns_encrypted_keys_are_read),
        cmocka_unit_test(minisign_signs_with_our_keys),
    };
    return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
