// catalog/signed.h: signing, cutting, verifying; minisign's signatures, and ours in minisign's hands.
#include "catalog_fixture.h"

#include "base/hash.h"

#include "base/banned.h"

static const char text[] = "first 1\nsecond zwei\n";

static void sign(const struct key_secret *k, struct buf *ret)
{
    struct error error;
    assert_ok(signed_write(k, text, strlen(text), "rondo test", ret, &error), error);
}

static void what_was_signed_verifies_and_is_the_callers_own_text(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct key_public p;
    struct slice covered;
    struct error error;
    key_public_of(k, &p);
    sign(k, &file);
    assert_ok(signed_verify(file.data, file.size, &p, &covered, &error), error);
    assert_ptr_equal(covered.at, file.data);
    assert_int_equal(covered.length, strlen(text));
    assert_memory_equal(covered.at, text, covered.length);
}

// Every bit of every byte. Only the text of the untrusted comment is covered by nothing.
static void every_changed_bit_is_refused(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct key_public p;
    struct slice covered;
    key_public_of(k, &p);
    sign(k, &file);
    const size_t comment = strlen(text) + strlen("---\nuntrusted comment: ");
    const char *comment_end = memchr(file.data + comment, '\n', file.size - comment);
    const size_t key_id = (size_t)(comment_end - (char *)file.data) + 1 + 4;
    for (size_t i = 0; i < file.size; i++) {
        if (i >= comment && (const char *)file.data + i < comment_end)
            continue;
        if (i >= key_id - 2 && i < key_id + 10)
            continue; // the key id decides nothing: see below
        for (int bit = 0; bit < 8; bit++) {
            file.data[i] = (unsigned char)(file.data[i] ^ 1 << bit);
            int r = signed_verify(file.data, file.size, &p, &covered, NULL);
            assert_true(r == -EBADMSG || r == -EKEYREJECTED);
            file.data[i] = (unsigned char)(file.data[i] ^ 1 << bit);
        }
    }
}

static void every_truncation_and_addition_is_refused(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct key_public p;
    struct slice covered;
    key_public_of(k, &p);
    sign(k, &file);
    for (size_t n = 0; n < file.size; n++) {
        char *exact CLEANUP_FREE = fixture_exact(file.data, n);
        assert_int_equal(signed_verify(exact, n, &p, &covered, NULL), -EBADMSG);
    }
    static const char *const additions[] = {"\n", "x", "x\n", "---\n", " "};
    for (unsigned i = 0; i < ARRAY_SIZE(additions); i++) {
        const size_t before = file.size;
        assert_int_equal(buf_append(&file, additions[i], strlen(additions[i])), 0);
        assert_int_equal(signed_verify(file.data, file.size, &p, &covered, NULL), -EBADMSG);
        file.size = before;
    }
}

static void another_key_is_refused(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct key_secret *l CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct key_public p;
    struct slice covered;
    struct error error;
    sign(k, &file);
    key_public_of(l, &p);
    assert_int_equal(signed_verify(file.data, file.size, &p, &covered, &error), -EKEYREJECTED);
    char key[KEY_TEXT_SIZE];
    assert_non_null(strstr(error.text, key_to_text(&p, key)));
}

// Minisign's key ids are eight bytes that anybody may choose: the attacker's key bears ours.
static void the_same_key_id_helps_nobody(void **state)
{
    (void)state;
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *ours CLEANUP(key_free) = fixture_key();
    struct key_secret *theirs CLEANUP(key_free) = fixture_key();
    struct key_secret *forged CLEANUP(key_free) = NULL;
    struct key_public p;
    struct key_public q;
    struct slice covered;
    struct error error;
    key_public_of(ours, &p);
    assert_ok(key_write_files(theirs, fixture_path(folder, "k"), NULL, &error), error);
    char *file CLEANUP_FREE = fixture_read(folder, "k", NULL);
    char *line = strchr(file, '\n') + 1;
    unsigned char binary[158];
    assert_int_equal(base64_decode(line, strlen(line) - 1, binary, sizeof binary), 158);
    memcpy(binary + 54, p.id, KEY_ID_SIZE);
    memset(binary + 126, 0, 32); // no check sum, as minisign has it
    base64_encode(binary, sizeof binary, line, 213);
    line[212] = '\n';
    assert_ok(key_parse_secret(file, strlen(file), NULL, NULL, &forged, &error), error);
    key_public_of(forged, &q);
    assert_memory_equal(q.id, p.id, KEY_ID_SIZE);
    assert_false(key_equal(&p, &q));
    struct buf signed_text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    sign(forged, &signed_text);
    assert_int_equal(signed_verify(signed_text.data, signed_text.size, &p, &covered, &error), -EKEYREJECTED);
    assert_ok(signed_verify(signed_text.data, signed_text.size, &q, &covered, &error), error);
    memset(q.id, 0, KEY_ID_SIZE); // and ours without its id, as catalogs name keys, is still ours
    assert_ok(signed_verify(signed_text.data, signed_text.size, &q, &covered, &error), error);
}

// Signature and trusted comment of two signatures by one key do not mix.
static void a_trusted_comment_belongs_to_its_signature(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf a CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct key_public p;
    struct slice covered;
    struct error error;
    key_public_of(k, &p);
    assert_ok(signed_write(k, "a\n", 2, "one", &a, &error), error);
    assert_ok(signed_write(k, "b\n", 2, "two", &b, &error), error);
    char *tail_a = memmem(a.data, a.size, "\ntrusted", 8);
    char *tail_b = memmem(b.data, b.size, "\ntrusted", 8);
    memcpy(tail_a, tail_b, (size_t)((char *)b.data + b.size - tail_b));
    assert_int_equal(signed_verify(a.data, a.size, &p, &covered, &error), -EKEYREJECTED);
    assert_non_null(strstr(error.text, "trusted comment"));
}

static void texts_that_could_be_cut_elsewhere_are_not_signed(void **state)
{
    (void)state;
    static const char *const texts[] = {"",       "x",     "a\nx",  "---\n", "a\n---\n", "a\n---\nb\n",
                                        "a\tb\n", "a\r\n", "\xff\n"};
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_int_equal(signed_write(k, texts[i], strlen(texts[i]), "c", &file, NULL), -EINVAL);
        assert_int_equal(file.size, 0);
    }
    char comment[300];
    memset(comment, 'c', sizeof comment - 1);
    comment[sizeof comment - 1] = '\0';
    assert_int_equal(signed_write(k, text, strlen(text), comment, &file, NULL), -EINVAL);
    assert_int_equal(signed_write(k, text, strlen(text), "a\nb", &file, NULL), -EINVAL);
    struct error error;
    assert_ok(signed_write(k, "----\n--- \n ---\n", 15, "c", &file, &error), error); // none of these is the separator
    struct slice covered;
    struct key_public p;
    key_public_of(k, &p);
    assert_ok(signed_verify(file.data, file.size, &p, &covered, &error), error);
    assert_int_equal(covered.length, 15);
    buf_clear(&file);
    assert_ok(signed_write(k, text, strlen(text), "", &file, &error), error); // a comment may be empty
    assert_ok(signed_verify(file.data, file.size, &p, &covered, &error), error);
    struct buf small CLEANUP(buf_free) = BUF_WITH_MAXIMUM(100);
    assert_int_equal(buf_append(&small, "before", 6), 0);
    assert_int_equal(signed_write(k, text, strlen(text), "c", &small, NULL), -E2BIG);
    assert_int_equal(small.size, 6);
    struct buf smaller CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1);
    assert_int_equal(signed_write(k, text, strlen(text), "c", &smaller, NULL), -E2BIG);
}

static void the_first_separator_cuts(void **state)
{
    (void)state;
    struct slice a;
    struct slice b;
    static const char two[] = "a\n---\nb\n---\nc\n";
    assert_int_equal(signed_split(two, strlen(two), &a, &b, NULL), 0);
    assert_int_equal(a.length, 2);
    assert_int_equal(b.length, strlen("b\n---\nc\n"));
    static const char *const bad[] = {"",       "---\nx\n",  "---\nx\n---\ny\n", "a---\nb\n",
                                      "a\n---", "a\n--- \n", "a\n---\r\nb",      "---"};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(signed_split(bad[i], strlen(bad[i]), &a, &b, NULL), -EBADMSG);
    assert_int_equal(signed_split(NULL, 0, &a, &b, NULL), -EBADMSG);
}

static void malformed_signatures_are_refused(void **state)
{
    (void)state;
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct key_public p;
    struct slice signed_text;
    struct slice rest;
    key_public_of(k, &p);
    sign(k, &file);
    assert_int_equal(signed_split(file.data, file.size, &signed_text, &rest, NULL), 0);
    char lines[4][200];
    for (unsigned i = 0; i < 4; i++) {
        const size_t n = (size_t)((char *)memchr(rest.at, '\n', rest.length) - rest.at) + 1;
        memcpy(lines[i], rest.at, n);
        lines[i][n] = '\0';
        rest = (struct slice){.at = rest.at + n, .length = rest.length - n};
    }
    // "0" to "3" are the lines, in which order; anything else stands for itself.
    static const char *const orders[] = {"012",   "0123\n", "\n0123", "01 23", "1023",   "0132",   "0213",
                                         "01233", "00123",  "123",    "0023",  "01\n23", "1\n2\n3"};
    for (unsigned i = 0; i <= ARRAY_SIZE(orders); i++) {
        struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(8192);
        for (const char *c = i < ARRAY_SIZE(orders) ? orders[i] : "0123"; *c; c++) {
            if (*c >= '0' && *c <= '3')
                assert_int_equal(buf_append(&b, lines[*c - '0'], strlen(lines[*c - '0'])), 0);
            else
                assert_int_equal(buf_append(&b, c, 1), 0);
        }
        int r = signed_verify_detached(text, strlen(text), b.data, b.size, &p, NULL);
        assert_int_equal(r, i < ARRAY_SIZE(orders) ? -EBADMSG : 0);
    }
    // Overlong comments, an unknown algorithm, a missing line's end.
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1 << 20);
    char *big CLEANUP_FREE = malloc(10000);
    memset(big, 'x', 10000);
    assert_int_equal(buf_append_format(&b, "untrusted comment: %.*s\n%s%s%s", 1100, big, lines[1], lines[2], lines[3]),
                     0);
    assert_int_equal(signed_verify_detached(text, strlen(text), b.data, b.size, &p, NULL), -EBADMSG);
    buf_clear(&b);
    assert_int_equal(buf_append_format(&b, "%s%strusted comment: %.*s\n%s", lines[0], lines[1], 8192, big, lines[3]),
                     0);
    assert_int_equal(signed_verify_detached(text, strlen(text), b.data, b.size, &p, NULL), -EBADMSG);
    buf_clear(&b);
    lines[1][1] = 'V'; // "EF"
    assert_int_equal(buf_append_format(&b, "%s%s%s%s", lines[0], lines[1], lines[2], lines[3]), 0);
    assert_int_equal(signed_verify_detached(text, strlen(text), b.data, b.size, &p, NULL), -EBADMSG);
}

static void minisign_accepts_ours(void **state)
{
    (void)state;
    fixture_need_minisign();
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_secret *k CLEANUP(key_free) = fixture_key();
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct error error;
    sign(k, &file);
    assert_ok(key_write_files(k, fixture_path(folder, "k"), NULL, &error), error);
    fixture_write(folder, "signed", file.data, file.size);
    // Cut in two as docs/security.md says.
    char *cut[] = {"sh", "-c", "sed '/^---$/,$d' signed >text && sed '1,/^---$/d' signed >text.minisig", NULL};
    assert_int_equal(fixture_minisign(folder, "", cut), 0);
    assert_int_equal(MINISIGN(folder, "", "-Vm", "text", "-p", "k.pub"), 0);
    fixture_write(folder, "text", "first 2\nsecond zwei\n", strlen(text));
    assert_int_not_equal(MINISIGN(folder, "", "-Vm", "text", "-p", "k.pub"), 0);
}

static void minisigns_signatures_verify(void **state)
{
    (void)state;
    fixture_need_minisign();
    char *folder CLEANUP(fixture_remove) = fixture_folder();
    struct key_public p;
    struct error error;
    assert_int_equal(MINISIGN(folder, "", "-G", "-W", "-p", "m.pub", "-s", "m.key"), 0);
    assert_ok(key_read_public(fixture_path(folder, "m.pub"), &p, &error), error);
    fixture_write(folder, "text", text, strlen(text));
    assert_int_equal(MINISIGN(folder, "", "-Sm", "text", "-s", "m.key", "-x", "new"), 0);
    assert_int_equal(MINISIGN(folder, "", "-Slm", "text", "-s", "m.key", "-x", "legacy"), 0);
    assert_int_equal(MINISIGN(folder, "", "-Sm", "text", "-s", "m.key", "-x", "spoken", "-t", "ein Kommentar"), 0);
    static const char *const names[] = {"new", "legacy", "spoken"};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        size_t n;
        char *signature CLEANUP_FREE = fixture_read(folder, names[i], &n);
        assert_ok(signed_verify_detached(text, strlen(text), signature, n, &p, &error), error);
        assert_int_equal(signed_verify_detached(text, strlen(text) - 1, signature, n, &p, NULL), -EKEYREJECTED);
        // A prehashed signature does not pass for a legacy one, nor the other way round ("RU" and "RW" in base64).
        char *line = strchr(signature, '\n') + 1;
        assert_int_equal(line[1], i == 1 ? 'W' : 'U');
        line[1] = i == 1 ? 'U' : 'W';
        assert_int_equal(signed_verify_detached(text, strlen(text), signature, n, &p, NULL), -EKEYREJECTED);
    }
    // Text, separator and minisign's own signature make a signed text of ours.
    size_t n;
    char *signature CLEANUP_FREE = fixture_read(folder, "new", &n);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    struct slice covered;
    assert_int_equal(buf_append_format(&file, "%s---\n%s", text, signature), 0);
    assert_ok(signed_verify(file.data, file.size, &p, &covered, &error), error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_verifies_and_is_the_callers_own_text),
        cmocka_unit_test(every_changed_bit_is_refused),
        cmocka_unit_test(every_truncation_and_addition_is_refused),
        cmocka_unit_test(another_key_is_refused),
        cmocka_unit_test(the_same_key_id_helps_nobody),
        cmocka_unit_test(a_trusted_comment_belongs_to_its_signature),
        cmocka_unit_test(texts_that_could_be_cut_elsewhere_are_not_signed),
        cmocka_unit_test(the_first_separator_cuts),
        cmocka_unit_test(malformed_signatures_are_refused),
        cmocka_unit_test(minisign_accepts_ours),
        cmocka_unit_test(minisigns_signatures_verify),
    };
    return cmocka_run_group_tests_name("signed", tests, NULL, NULL);
}
