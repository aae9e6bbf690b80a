// catalog/root.h: the text, who must sign, and what follows what; tests cite the header's rules.
#include "catalog_fixture.h"

#include "catalog/root.h"

#include "base/banned.h"

#define KEYS 4u // a, b, c, d: sorted by their bytes

struct world {
    struct key_secret *secret[KEYS];
    struct key_public key[KEYS];
    struct error error;
};

static int compare(const void *a, const void *b)
{
    struct key_public x;
    struct key_public y;
    key_public_of(*(struct key_secret *const *)a, &x);
    key_public_of(*(struct key_secret *const *)b, &y);
    return memcmp(x.bytes, y.bytes, sizeof x.bytes);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    for (unsigned i = 0; i < KEYS; i++)
        w->secret[i] = fixture_key();
    qsort(w->secret, KEYS, sizeof(struct key_secret *), compare); // NOLINT(bugprone-sizeof-expression): of pointers
    for (unsigned i = 0; i < KEYS; i++)
        key_public_of(w->secret[i], &w->key[i]);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; i < KEYS; i++)
        key_free(&w->secret[i]);
    free(w);
    return 0;
}

// Root `number` with these keys ("ab"), of which `threshold` must sign; the catalog's is the last argument.
static struct root make(const struct world *w, unsigned number, unsigned threshold, const char *keys, char catalog)
{
    struct root root = {.number = number, .threshold = threshold, .site = "zoo", .id = {7}};
    for (; *keys; keys++)
        assert_int_equal(root_add_key(root.keys, &root.key_count, ROOT_KEYS_MAXIMUM, &w->key[*keys - 'a']), 0);
    root.catalog_key = w->key[catalog - 'a'];
    return root;
}

// Its file, signed with these keys in turn; the caller frees.
static struct buf sign(struct world *w, const struct root *root, const char *signers)
{
    struct buf file = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM * 2);
    assert_ok(root_format(root, &file, &w->error), w->error);
    const size_t n = file.size;
    assert_int_equal(buf_append(&file, SIGNED_SEPARATOR, 4), 0);
    for (; *signers; signers++)
        assert_ok(signed_append_signature(w->secret[*signers - 'a'], file.data, n, "rondo root", &file, &w->error),
                  w->error);
    return file;
}

static int open_signed(struct world *w, const struct root *root, const char *signers, struct root *ret)
{
    struct buf file CLEANUP(buf_free) = sign(w, root, signers);
    char *exact CLEANUP_FREE = fixture_exact(file.data, file.size);
    w->error.text[0] = '\0';
    int r = root_open(exact, file.size, ret, &w->error);
    assert_int_equal(r < 0, w->error.text[0] != '\0');
    return r;
}

static int follow(struct world *w, const struct root *old, const struct root *root, const char *signers)
{
    struct buf file CLEANUP(buf_free) = sign(w, root, signers);
    struct root ret = {.number = 99};
    w->error.text[0] = '\0';
    int r = root_follow(old, file.data, file.size, &ret, &w->error);
    assert_int_equal(r < 0, w->error.text[0] != '\0');
    assert_int_equal(ret.number, r == 0 ? root->number : 99);
    return r;
}

static void what_is_written_is_read_back(void **state)
{
    struct world *w = *state;
    struct root root = make(w, 2, 2, "abc", 'd');
    struct root back;
    struct key_public strangers[3];
    for (unsigned i = 0; i < ARRAY_SIZE(strangers); i++) {
        struct key_secret *k CLEANUP(key_free) = fixture_key();
        key_public_of(k, &strangers[i]);
        assert_int_equal(root_add_key(root.revoked, &root.revoked_count, ROOT_REVOKED_MAXIMUM, &strangers[i]), 0);
        assert_int_equal(root_add_key(root.revoked, &root.revoked_count, ROOT_REVOKED_MAXIMUM, &strangers[i]), 0);
    }
    assert_int_equal(root.revoked_count, 3);
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    assert_ok(root_format(&root, &text, &w->error), w->error);
    assert_ok(root_parse(text.data, text.size, &back, &w->error), w->error);
    const struct sha256 hash = sha256_of(text.data, text.size);
    assert_true(sha256_equal(&back.text, &hash));
    assert_string_equal(back.site, "zoo");
    assert_memory_equal(back.id, root.id, sizeof root.id);
    assert_int_equal(back.number, 2);
    assert_int_equal(back.threshold, 2);
    assert_int_equal(back.key_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(key_equal(&back.keys[i], &w->key[i]));
        assert_true(root_has_key(&back, &w->key[i]));
        assert_true(root_revokes(&back, &strangers[i]));
        assert_false(root_has_key(&back, &strangers[i]));
    }
    assert_true(root_has_key(&back, &w->key[3]));
    assert_false(root_revokes(&back, &w->key[3]));
    char path[ROOT_PATH_SIZE];
    assert_string_equal(root_path(ROOT_NUMBER_MAXIMUM, path), "roots/256");
}

static void a_list_of_keys_has_an_end(void **state)
{
    struct world *w = *state;
    struct key_public keys[2];
    unsigned count = 0;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(root_add_key(keys, &count, 2, &w->key[1 - i]), 0);
    assert_true(key_equal(&keys[0], &w->key[0]));
    assert_int_equal(root_add_key(keys, &count, 2, &w->key[2]), -E2BIG);
    assert_int_equal(root_add_key(keys, &count, 2, &w->key[1]), 0);
    assert_int_equal(count, 2);
}

// Text with %a, %b, … for keys. The caller frees.
static char *expand(const struct world *w, const char *pattern)
{
    struct buf b = BUF_WITH_MAXIMUM(1 << 20);
    char key[KEY_TEXT_SIZE];
    for (; *pattern; pattern++)
        if (*pattern == '%')
            assert_int_equal(buf_append_format(&b, "%s", key_to_text(&w->key[*++pattern - 'a'], key)), 0);
        else
            assert_int_equal(buf_append(&b, pattern, 1), 0);
    return (char *)b.data;
}

#define SITE "rondo-root 1\nsite zoo\nid 07000000000000000000000000000000\n"
#define HEAD SITE "number 2\nthreshold 1\n"
#define REST "key %a\ncatalog %b\n"

static void a_good_text_is_taken(void **state)
{
    struct world *w = *state;
    static const char *const texts[] = {
        HEAD REST,
        HEAD "key %a\ncatalog %a\n",
        HEAD "opt-why a key was lost\n" REST "opt-end x\n",
        HEAD "key %a\nkey %b\nkey %c\ncatalog %a\nrevoke %d\n",
        SITE "number 256\nthreshold 2\nkey %a\nkey %b\ncatalog %c\n",
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char *text CLEANUP_FREE = expand(w, texts[i]);
        struct root root;
        assert_ok(root_parse(text, strlen(text), &root, &w->error), w->error);
    }
}

static void a_malformed_text_is_refused_with_a_reason(void **state)
{
    struct world *w = *state;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "expected rondo-root"},
        {"rondo-root 1", "not a line"},
        {"rondo-catalog 1\n", "expected rondo-root"},
        {"opt-x y\n" HEAD REST, "before every other line"},
        {"rondo-root 2\n", "another format"},
        {"rondo-root 1\n", "expected site"},
        {"rondo-root 1\nsite\n", "site NAME"},
        {"rondo-root 1\nsite Zoo\n", "site NAME"},
        {"rondo-root 1\nsite zoo %a\n", "site NAME"},
        {"rondo-root 1\nsite zoo\nnumber 2\n", "expected id"},
        {"rondo-root 1\nsite zoo\nid 07\n", "32 hex digits"},
        {"rondo-root 1\nsite zoo\nid 0700000000000000000000000000000G\n", "32 hex digits"},
        {SITE, "expected number"},
        {SITE "number 1\nthreshold 1\n" REST, "number is decimal, from 2 to 256"},
        {SITE "number 0\n", "from 2"},
        {SITE "number 257\n", "to 256"},
        {SITE "number 18446744073709551618\n", "to 256"},
        {SITE "number 02\n", "decimal"},
        {SITE "number -2\n", "decimal"},
        {SITE "number 2\nkey %a\n", "expected threshold"},
        {SITE "number 2\nthreshold 0\n" REST, "from 1 to 8"},
        {SITE "number 2\nthreshold 9\n" REST, "from 1 to 8"},
        {SITE "number 2\nthreshold 2\n" REST, "2 of 1 keys"},
        {HEAD, "expected key"},
        {HEAD "catalog %a\n", "expected key"},
        {HEAD "key\ncatalog %a\n", "a public key"},
        {HEAD "key %a x\ncatalog %a\n", "a public key"},
        {HEAD "key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\ncatalog %a\n", "a public key"},
        {HEAD "key %b\nkey %a\ncatalog %a\n", "not in order"},
        {HEAD "key %a\nkey %a\ncatalog %a\n", "there already"},
        {HEAD "key %a\n", "expected catalog"},
        {HEAD "key %a\nrevoke %b\n", "expected catalog"},
        {HEAD "key %a\ncatalog x\n", "a public key"},
        {HEAD REST "catalog %b\n", "unknown line"},
        {HEAD REST "key %c\n", "unknown line"},
        {HEAD REST "image x\n", "unknown line"},
        {HEAD REST "revoke x\n", "a public key"},
        {HEAD REST "revoke %d\nrevoke %c\n", "not in order"},
        {HEAD REST "revoke %c\nrevoke %c\n", "there already"},
        {HEAD REST "revoke %a\n", "that it revokes"},
        {HEAD REST "revoke %b\n", "that it revokes"},
        {HEAD REST "opt-x \x1b[31m\n", "not a line"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char *text CLEANUP_FREE = expand(w, bad[i].text);
        const size_t n = text ? strlen(text) : 0;
        char *exact CLEANUP_FREE = fixture_exact(text ? text : "", n);
        struct root root = {.number = 99};
        w->error.text[0] = '\0';
        if (root_parse(exact, n, &root, &w->error) != -EBADMSG || !strstr(w->error.text, bad[i].reason))
            fail_msg("%s: %s", bad[i].text, w->error.text);
        assert_int_equal(root.number, 99);
    }
}

static void too_much_is_refused(void **state)
{
    struct world *w = *state;
    struct root root = {.number = 99};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1 << 20);
    char key[KEY_TEXT_SIZE];
    struct key_public many[ROOT_REVOKED_MAXIMUM + 1];
    unsigned count = 0;
    while (count < ROOT_REVOKED_MAXIMUM + 1) {
        struct key_secret *k CLEANUP(key_free) = fixture_key();
        struct key_public public;
        key_public_of(k, &public);
        root_add_key(many, &count, ROOT_REVOKED_MAXIMUM + 1, &public);
    }
    assert_int_equal(buf_append_format(&text, HEAD), 0);
    for (unsigned i = 0; i <= ROOT_KEYS_MAXIMUM; i++)
        assert_int_equal(buf_append_format(&text, "key %s\n", key_to_text(&many[i], key)), 0);
    assert_int_equal(root_parse(text.data, text.size, &root, &w->error), -EBADMSG);
    assert_non_null(strstr(w->error.text, "too many keys"));
    buf_clear(&text);
    assert_int_equal(buf_append_format(&text, HEAD "key %s\n", key_to_text(&w->key[0], key)), 0);
    assert_int_equal(buf_append_format(&text, "catalog %s\n", key), 0);
    for (unsigned i = 0; i <= ROOT_REVOKED_MAXIMUM; i++)
        assert_int_equal(buf_append_format(&text, "revoke %s\n", key_to_text(&many[i], key)), 0);
    assert_int_equal(root_parse(text.data, text.size, &root, &w->error), -EBADMSG);
    assert_non_null(strstr(w->error.text, "too many keys"));
    while (text.size <= ROOT_SIZE_MAXIMUM)
        assert_int_equal(buf_append_format(&text, "opt-more text that means nothing\n"), 0);
    assert_int_equal(root_parse(text.data, text.size, &root, &w->error), -EBADMSG);
    assert_non_null(strstr(w->error.text, "longer than"));
    assert_int_equal(root_open(text.data, text.size, &root, &w->error), -EBADMSG);
    assert_non_null(strstr(w->error.text, "longer than"));
    assert_int_equal(root.number, 99);
}

static void what_would_not_parse_is_not_written(void **state)
{
    struct world *w = *state;
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(100);
    struct root root = make(w, 2, 1, "a", 'a');
    assert_int_equal(root_format(&root, &text, &w->error), -E2BIG);
    root.threshold = 2;
    assert_int_equal(root_format(&root, &text, &w->error), -EINVAL);
    assert_non_null(strstr(w->error.text, "cannot make root 2"));
    assert_int_equal(text.size, 0);
}

static void both_a_threshold_and_the_catalogs_key_sign(void **state) // rule 1
{
    struct world *w = *state;
    struct root ret = {.number = 99};
    const struct root root = make(w, 2, 2, "abc", 'd');
    assert_int_equal(open_signed(w, &root, "abd", &ret), 0);
    assert_int_equal(ret.number, 2);
    ret.number = 99;
    assert_int_equal(open_signed(w, &root, "cdb", &ret), 0);
    ret.number = 99;
    assert_int_equal(open_signed(w, &root, "ad", &ret), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "by 1 of its own keys, and needs 2"));
    assert_int_equal(open_signed(w, &root, "abc", &ret), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "is to sign catalogs"));
    assert_int_equal(open_signed(w, &root, "d", &ret), -EKEYREJECTED);
    assert_int_equal(open_signed(w, &root, "", &ret), -EKEYREJECTED); // no signature at all
    assert_int_equal(ret.number, 99);
}

static void a_key_counts_once_however_often_it_signs(void **state) // rule 2
{
    struct world *w = *state;
    struct root ret = {.number = 99};
    const struct root root = make(w, 2, 2, "ab", 'a');
    assert_int_equal(open_signed(w, &root, "aaaaaaaa", &ret), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "by 1 of its own keys"));
    assert_int_equal(open_signed(w, &root, "aaaaaaab", &ret), 0);
    // The catalog's key is none of the threshold's unless it is named as such.
    const struct root apart = make(w, 2, 1, "a", 'b');
    assert_int_equal(open_signed(w, &apart, "b", &ret), -EKEYREJECTED);
}

static void strangers_signatures_count_nothing_and_harm_nothing(void **state) // rule 2
{
    struct world *w = *state;
    struct root ret;
    const struct root root = make(w, 2, 2, "ab", 'a');
    assert_int_equal(open_signed(w, &root, "cdab", &ret), 0);
    assert_int_equal(open_signed(w, &root, "cda", &ret), -EKEYREJECTED);
}

static void signatures_are_bounded_and_whole(void **state)
{
    struct world *w = *state;
    struct root ret = {.number = 99};
    const struct root root = make(w, 2, 1, "a", 'a');
    char signers[ROOT_SIGNATURES_MAXIMUM + 2];
    memset(signers, 'b', sizeof signers);
    signers[ROOT_SIGNATURES_MAXIMUM - 1] = 'a';
    signers[ROOT_SIGNATURES_MAXIMUM] = '\0';
    assert_int_equal(open_signed(w, &root, signers, &ret), 0);
    ret.number = 99;
    signers[ROOT_SIGNATURES_MAXIMUM] = 'b';
    signers[ROOT_SIGNATURES_MAXIMUM + 1] = '\0';
    assert_int_equal(open_signed(w, &root, signers, &ret), -EBADMSG);
    assert_non_null(strstr(w->error.text, "more than 32 signatures"));
    struct buf file CLEANUP(buf_free) = sign(w, &root, "ab");
    for (size_t n = 0; n < file.size; n++) {
        char *exact CLEANUP_FREE = fixture_exact(file.data, n);
        int r = root_open(exact, n, &ret, &w->error);
        // Cut behind the first signature, it is whole.
        if (r == 0)
            assert_int_equal(ret.number, 2);
        else
            assert_true(r == -EBADMSG || r == -EKEYREJECTED);
        ret.number = 99;
    }
    assert_int_equal(buf_append(&file, "x\n", 2), 0);
    assert_int_equal(root_open(file.data, file.size, &ret, &w->error), -EBADMSG);
    assert_int_equal(root_open("x\n", 2, &ret, &w->error), -EBADMSG);
    assert_int_equal(ret.number, 99);
}

static void every_changed_byte_of_the_text_is_noticed(void **state)
{
    struct world *w = *state;
    struct root ret;
    const struct root root = make(w, 2, 1, "ab", 'c');
    struct buf file CLEANUP(buf_free) = sign(w, &root, "ac");
    struct slice text;
    struct slice signatures;
    assert_ok(signed_split(file.data, file.size, &text, &signatures, &w->error), w->error);
    for (size_t i = 0; i < text.length; i++) {
        file.data[i] ^= 1;
        assert_true(root_open(file.data, file.size, &ret, &w->error) < 0);
        file.data[i] ^= 1;
    }
    assert_ok(root_open(file.data, file.size, &ret, &w->error), w->error);
}

static void old_and_new_keys_sign(void **state) // rule 1
{
    struct world *w = *state;
    struct root one;
    root_imply(&w->key[0], &one);
    const struct root two = make(w, 2, 2, "bc", 'd');
    assert_int_equal(follow(w, &one, &two, "abcd"), 0);
    assert_int_equal(follow(w, &one, &two, "bcd"), -EKEYREJECTED); // new keys only
    assert_non_null(strstr(w->error.text, "by 0 of the keys of root 1, and needs 1"));
    assert_int_equal(follow(w, &one, &two, "a"), -EKEYREJECTED); // old keys only
    assert_non_null(strstr(w->error.text, "by 0 of its own keys, and needs 2"));
    assert_int_equal(follow(w, &one, &two, "abd"), -EKEYREJECTED); // a threshold is missed by one
    assert_int_equal(follow(w, &one, &two, "abbd"), -EKEYREJECTED);
    assert_int_equal(follow(w, &one, &two, "abc"), -EKEYREJECTED);
    // From a threshold to another.
    const struct root three = make(w, 3, 1, "a", 'a');
    assert_int_equal(follow(w, &two, &three, "abc"), 0);
    assert_int_equal(follow(w, &two, &three, "ab"), -EKEYREJECTED);
    assert_int_equal(follow(w, &two, &three, "abbb"), -EKEYREJECTED);
    assert_int_equal(follow(w, &two, &three, "abd"), -EKEYREJECTED); // the catalog's old key has no say
}

static void numbers_leave_nothing_out_and_never_go_back(void **state)
{
    struct world *w = *state;
    const struct root five = make(w, 5, 1, "a", 'a');
    const struct root six = make(w, 6, 1, "b", 'b');
    const struct root seven = make(w, 7, 1, "b", 'b');
    assert_int_equal(follow(w, &five, &six, "ab"), 0);
    assert_int_equal(follow(w, &five, &seven, "ab"), -EBADMSG);
    assert_non_null(strstr(w->error.text, "it is root 7, and 6 comes after 5"));
    assert_int_equal(follow(w, &six, &six, "b"), -ESTALE);
    assert_int_equal(follow(w, &six, &five, "ab"), -ESTALE);
}

static void roots_of_another_site_do_not_follow(void **state)
{
    struct world *w = *state;
    const struct root two = make(w, 2, 1, "a", 'a');
    struct root three = make(w, 3, 1, "a", 'a');
    three.id[5] = 1;
    assert_int_equal(follow(w, &two, &three, "a"), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "another site"));
}

static void what_was_revoked_stays_revoked(void **state) // rule 3
{
    struct world *w = *state;
    struct root two = make(w, 2, 1, "a", 'a');
    struct root three = make(w, 3, 1, "a", 'a');
    assert_int_equal(root_add_key(two.revoked, &two.revoked_count, ROOT_REVOKED_MAXIMUM, &w->key[1]), 0);
    assert_int_equal(follow(w, &two, &three, "a"), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "takes back what root 2 revoked"));
    assert_int_equal(root_add_key(three.revoked, &three.revoked_count, ROOT_REVOKED_MAXIMUM, &w->key[1]), 0);
    assert_int_equal(follow(w, &two, &three, "a"), 0);
    assert_int_equal(root_add_key(three.revoked, &three.revoked_count, ROOT_REVOKED_MAXIMUM, &w->key[2]), 0);
    assert_int_equal(follow(w, &two, &three, "a"), 0);
}

static void who_signed_can_be_asked(void **state)
{
    struct world *w = *state;
    const struct root two = make(w, 2, 1, "a", 'a');
    struct buf file CLEANUP(buf_free) = sign(w, &two, "ac");
    assert_true(root_is_signed_by(file.data, file.size, &w->key[0]));
    assert_false(root_is_signed_by(file.data, file.size, &w->key[1]));
    assert_true(root_is_signed_by(file.data, file.size, &w->key[2]));
    assert_false(root_is_signed_by("x", 1, &w->key[2]));
}

static void a_catalog_is_held_against_its_root(void **state) // rule 4
{
    struct world *w = *state;
    struct root root = make(w, 2, 1, "a", 'b');
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct key_public key;
    assert_int_equal(root_add_key(root.revoked, &root.revoked_count, ROOT_REVOKED_MAXIMUM, &w->key[3]), 0);
    assert_int_equal(open_signed(w, &root, "ab", &root), 0);
    fixture_catalog(w->secret[1], 5, 1000, &c);
    memcpy(c.id, root.id, sizeof c.id);
    c.root_number = 2;
    c.root_text = root.text;
    assert_ok(catalog_add_revoked(&c, &w->key[3], &w->error), w->error);
    assert_ok(root_check_catalog(&root, &c, &w->error), w->error);
    c.root_text.bytes[0] ^= 1;
    assert_int_equal(root_check_catalog(&root, &c, &w->error), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "two statements"));
    c.root_text.bytes[0] ^= 1;
    c.root_number = 3;
    assert_int_equal(root_check_catalog(&root, &c, &w->error), -EKEYREJECTED);
    c.root_number = 2;
    c.id[0] ^= 1;
    assert_int_equal(root_check_catalog(&root, &c, &w->error), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "another id"));
    c.id[0] ^= 1;
    key = c.site_key;
    c.site_key = w->key[0]; // one of its keys, but not the one that signs catalogs
    assert_int_equal(root_check_catalog(&root, &c, &w->error), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "signs catalogs"));
    c.site_key = key;
    c.revoked_count = 0;
    assert_int_equal(root_check_catalog(&root, &c, &w->error), -EKEYREJECTED);
    assert_non_null(strstr(w->error.text, "does not revoke"));
}

static void a_catalog_carries_its_root(void **state)
{
    struct world *w = *state;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog back CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    fixture_catalog(w->secret[0], 5, 1000, &c);
    assert_int_equal(c.root_number, 1);
    c.root_number = 256;
    c.root_text = fixture_hash("root");
    assert_ok(catalog_format(&c, NULL, NULL, &text, &w->error), w->error);
    assert_ok(catalog_parse(text.data, text.size, &back, &w->error), w->error);
    assert_int_equal(back.root_number, 256);
    assert_true(sha256_equal(&back.root_text, &c.root_text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_of_keys_has_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_good_text_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_malformed_text_is_refused_with_a_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_much_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_would_not_parse_is_not_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_a_threshold_and_the_catalogs_key_sign, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_counts_once_however_often_it_signs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strangers_signatures_count_nothing_and_harm_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(signatures_are_bounded_and_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_changed_byte_of_the_text_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_and_new_keys_sign, set_up, tear_down),
        cmocka_unit_test_setup_teardown(numbers_leave_nothing_out_and_never_go_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(roots_of_another_site_do_not_follow, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_revoked_stays_revoked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_signed_can_be_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_catalog_is_held_against_its_root, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_catalog_carries_its_root, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
