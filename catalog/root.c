// Root statements: parsing, writing, and who has signed (root.h tells the format and its rules).
//
// 1. Everything is bounded before it is looked at: the file, lines, keys, signatures. The work of one file is at most
//    ROOT_SIGNATURES_MAXIMUM signatures tried with each key that may have made them; the key ids in signatures, which
//    anybody may choose, decide nothing.
// 2. On failure the outputs are untouched.
#include "catalog/root.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/catalog_private.h"
#include "catalog/signed.h"

#include "base/banned.h"

void root_imply(const struct key_public *key, struct root *ret)
{
    *ret = (struct root){.number = 1, .threshold = 1, .key_count = 1, .keys = {*key}, .catalog_key = *key};
}

static int compare_keys(const struct key_public *a, const struct key_public *b)
{
    return memcmp(a->bytes, b->bytes, KEY_PUBLIC_SIZE);
}

int root_add_key(struct key_public *keys, unsigned *count, unsigned maximum, const struct key_public *key)
{
    unsigned at = 0;
    while (at < *count && compare_keys(&keys[at], key) < 0)
        at++;
    if (at < *count && key_equal(&keys[at], key))
        return 0;
    if (*count == maximum)
        return -E2BIG;
    memmove(&keys[at + 1], &keys[at], (*count - at) * sizeof *keys);
    keys[at] = *key;
    ++*count;
    return 0;
}

static bool list_has(const struct key_public *keys, unsigned count, const struct key_public *key)
{
    for (unsigned i = 0; i < count; i++)
        if (key_equal(&keys[i], key))
            return true;
    return false;
}

bool root_has_key(const struct root *root, const struct key_public *key)
{
    return key_equal(&root->catalog_key, key) || list_has(root->keys, root->key_count, key);
}

bool root_revokes(const struct root *root, const struct key_public *key)
{
    return list_has(root->revoked, root->revoked_count, key);
}

const char *root_path(unsigned number, char ret[static ROOT_PATH_SIZE])
{
    snprintf(ret, ROOT_PATH_SIZE, "roots/%u", number);
    return ret;
}

// --- parsing

// A line that must come now and holds a number.
static int take_number(struct catalog_parser *p, const char *key, uint64_t minimum, uint64_t maximum, unsigned *ret)
{
    uint64_t value = 0;
    int r = catalog_parser_expect(p, key);
    if (r < 0)
        return r;
    if (!text_parse_u64(p->value, maximum, &value) || value < minimum)
        return error_set(p->error, EBADMSG, "line %u: %s is decimal, from %" PRIu64 " to %" PRIu64, p->reader.line, key,
                         minimum, maximum);
    *ret = (unsigned)value;
    return catalog_parser_advance(p);
}

// All lines that come now and begin with `key`.
static int take_keys(struct catalog_parser *p, const char *key, unsigned maximum, struct key_public *keys,
                     unsigned *count)
{
    int r = 0;
    while (r == 0 && p->have && slice_equal(p->key, key)) {
        struct key_public next;
        if (!key_from_text(p->value.at, p->value.length, &next))
            return catalog_parser_complain(p, "expected a public key");
        if (*count == maximum)
            return catalog_parser_complain(p, "too many keys");
        if (*count > 0 && compare_keys(&keys[*count - 1], &next) >= 0)
            return catalog_parser_complain(p, "not in order, or there already");
        keys[(*count)++] = next;
        r = catalog_parser_advance(p);
    }
    return r;
}

static int parse_head(struct catalog_parser *p, struct root *root)
{
    int r = catalog_parser_advance(p);
    if (r == 0)
        r = catalog_parser_expect(p, "rondo-root");
    if (r < 0)
        return r;
    if (p->reader.line != 1)
        return catalog_parser_complain(p, "expected before every other line");
    if (!slice_equal(p->value, "1"))
        return catalog_parser_complain(p, "a root of another format; a newer rondo may know it");
    if ((r = catalog_parser_advance(p)) < 0 || (r = catalog_parser_expect(p, "site")) < 0)
        return r;
    if (!text_is_image_name(p->value))
        return catalog_parser_complain(p, "expected: site NAME");
    catalog_parser_copy_name(root->site, p->value);
    if ((r = catalog_parser_advance(p)) < 0 || (r = catalog_parser_expect(p, "id")) < 0)
        return r;
    if (!catalog_parser_take_id(p->value, root->id))
        return catalog_parser_complain(p, "an id is 32 hex digits in lower case");
    r = catalog_parser_advance(p);
    if (r == 0)
        r = take_number(p, "number", 2, ROOT_NUMBER_MAXIMUM, &root->number);
    return r < 0 ? r : take_number(p, "threshold", 1, ROOT_KEYS_MAXIMUM, &root->threshold);
}

static int parse_keys(struct catalog_parser *p, struct root *root)
{
    int r = catalog_parser_expect(p, "key");
    if (r == 0)
        r = take_keys(p, "key", ROOT_KEYS_MAXIMUM, root->keys, &root->key_count);
    if (r == 0)
        r = catalog_parser_expect(p, "catalog");
    if (r < 0)
        return r;
    if (!key_from_text(p->value.at, p->value.length, &root->catalog_key))
        return catalog_parser_complain(p, "expected a public key");
    r = catalog_parser_advance(p);
    if (r == 0)
        r = take_keys(p, "revoke", ROOT_REVOKED_MAXIMUM, root->revoked, &root->revoked_count);
    if (r < 0)
        return r;
    if (p->have)
        return catalog_parser_complain(p, "an unknown line, or one out of order");
    if (root->threshold > root->key_count)
        return error_set(p->error, EBADMSG, "%u of %u keys are to sign: that cannot be", root->threshold,
                         root->key_count);
    for (unsigned i = 0; i < root->revoked_count; i++)
        if (root_has_key(root, &root->revoked[i]))
            return error_set(p->error, EBADMSG, "it names a key that it revokes");
    return 0;
}

int root_parse(const void *text, size_t n, struct root *ret, struct error *error)
{
    struct root root = {.number = 0};
    struct catalog_parser p = {.reader = text_reader_over(text, n, CATALOG_LINE_MAXIMUM), .error = error};
    if (n > ROOT_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "malformed root: longer than %u bytes", ROOT_SIZE_MAXIMUM);
    int r = parse_head(&p, &root);
    if (r == 0)
        r = parse_keys(&p, &root);
    if (r < 0)
        return error_prefix(error, r, "malformed root");
    root.text = sha256_of(text, n);
    *ret = root;
    return 0;
}

int root_format(const struct root *root, struct buf *ret, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    struct root back;
    char key[KEY_TEXT_SIZE];
    int r = buf_append_format(&text, "rondo-root 1\nsite %s\nid ", root->site);
    for (size_t i = 0; r == 0 && i < CATALOG_ID_SIZE; i++)
        r = buf_append_format(&text, "%02x", root->id[i]);
    if (r == 0)
        r = buf_append_format(&text, "\nnumber %u\nthreshold %u\n", root->number, root->threshold);
    for (unsigned i = 0; r == 0 && i < root->key_count; i++)
        r = buf_append_format(&text, "key %s\n", key_to_text(&root->keys[i], key));
    if (r == 0)
        r = buf_append_format(&text, "catalog %s\n", key_to_text(&root->catalog_key, key));
    for (unsigned i = 0; r == 0 && i < root->revoked_count; i++)
        r = buf_append_format(&text, "revoke %s\n", key_to_text(&root->revoked[i], key));
    if (r < 0)
        return error_set(error, -r, "cannot write root %u: %s", root->number, strerror(-r));
    r = root_parse(text.data, text.size, &back, error);
    if (r < 0)
        return error_prefix(error, -EINVAL, "cannot make root %u", root->number);
    r = buf_append(ret, text.data, text.size);
    return r < 0 ? error_set(error, -r, "root %u does not fit in %zu bytes", root->number, ret->maximum) : 0;
}

// --- signatures

struct signed_root {
    struct slice text;
    unsigned count;
    struct slice signatures[ROOT_SIGNATURES_MAXIMUM];
};

static int cut(const void *bytes, size_t n, struct signed_root *ret, struct error *error)
{
    struct signed_root s = {.count = 0};
    struct slice rest;
    if (n > ROOT_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "malformed root: longer than %u bytes", ROOT_SIZE_MAXIMUM);
    int r = signed_split(bytes, n, &s.text, &rest, error);
    while (r == 0 && rest.length > 0) {
        if (s.count == ROOT_SIGNATURES_MAXIMUM)
            return error_set(error, EBADMSG, "malformed root: more than %u signatures", ROOT_SIGNATURES_MAXIMUM);
        r = signed_cut_signature(&rest, &s.signatures[s.count++], error);
    }
    if (r < 0)
        return error_prefix(error, r, "malformed root");
    *ret = s;
    return 0;
}

static bool has_signed(const struct signed_root *s, const struct key_public *key)
{
    for (unsigned i = 0; i < s->count; i++)
        if (signed_verify_detached(s->text.at, s->text.length, s->signatures[i].at, s->signatures[i].length, key,
                                   NULL) == 0)
            return true;
    return false;
}

// How many of `root`'s keys have signed (rule 2 of root.h).
static unsigned count_signers(const struct signed_root *s, const struct root *root)
{
    unsigned count = 0;
    for (unsigned i = 0; i < root->key_count && count < root->threshold; i++)
        count += has_signed(s, &root->keys[i]);
    return count;
}

static int check_own(const struct signed_root *s, const struct root *root, struct error *error)
{
    char text[KEY_TEXT_SIZE];
    const unsigned count = count_signers(s, root);
    if (count < root->threshold)
        return error_set(error, EKEYREJECTED, "root %u is signed by %u of its own keys, and needs %u", root->number,
                         count, root->threshold);
    if (!has_signed(s, &root->catalog_key))
        return error_set(error, EKEYREJECTED, "root %u is not signed by the key %s, which is to sign catalogs",
                         root->number, key_to_text(&root->catalog_key, text));
    return 0;
}

int root_open(const void *bytes, size_t n, struct root *ret, struct error *error)
{
    struct signed_root s = {.count = 0};
    struct root root = {.number = 0};
    int r = cut(bytes, n, &s, error);
    if (r == 0)
        r = root_parse(s.text.at, s.text.length, &root, error);
    if (r == 0)
        r = check_own(&s, &root, error);
    if (r == 0)
        *ret = root;
    return r;
}

static int check_next(const struct root *old, const struct root *root, struct error *error)
{
    if (root->number <= old->number)
        return error_set(error, ESTALE, "it is root %u, and %u comes after %u", root->number, old->number + 1,
                         old->number);
    if (root->number != old->number + 1)
        return error_set(error, EBADMSG, "it is root %u, and %u comes after %u", root->number, old->number + 1,
                         old->number);
    if (old->number > 1 && memcmp(old->id, root->id, sizeof root->id) != 0)
        return error_set(error, EKEYREJECTED, "it is a root of another site");
    for (unsigned i = 0; i < old->revoked_count; i++)
        if (!root_revokes(root, &old->revoked[i]))
            return error_set(error, EKEYREJECTED, "it takes back what root %u revoked", old->number);
    return 0;
}

int root_follow(const struct root *old, const void *bytes, size_t n, struct root *ret, struct error *error)
{
    struct signed_root s = {.count = 0};
    struct root root = {.number = 0};
    int r = cut(bytes, n, &s, error);
    if (r == 0)
        r = root_parse(s.text.at, s.text.length, &root, error);
    if (r == 0)
        r = check_next(old, &root, error);
    if (r < 0)
        return r;
    const unsigned count = count_signers(&s, old);
    if (count < old->threshold)
        return error_set(error, EKEYREJECTED, "root %u is signed by %u of the keys of root %u, and needs %u",
                         root.number, count, old->number, old->threshold);
    r = check_own(&s, &root, error);
    if (r == 0)
        *ret = root;
    return r;
}

bool root_is_signed_by(const void *bytes, size_t n, const struct key_public *key)
{
    struct signed_root s = {.count = 0};
    return cut(bytes, n, &s, NULL) == 0 && has_signed(&s, key);
}

// --- catalogs

int root_check_catalog(const struct root *root, const struct catalog *c, struct error *error)
{
    char ours[KEY_TEXT_SIZE];
    char theirs[KEY_TEXT_SIZE];
    if (c->root_number != root->number || !sha256_equal(&c->root_text, &root->text))
        return error_set(error, EKEYREJECTED,
                         "it names another root %u than the one that is known: two statements were signed with one "
                         "number, and somebody may be deceiving you",
                         c->root_number);
    if (!key_equal(&c->site_key, &root->catalog_key))
        return error_set(error, EKEYREJECTED, "it is signed with the key %s, and root %u says that %s signs catalogs",
                         key_to_text(&c->site_key, theirs), root->number, key_to_text(&root->catalog_key, ours));
    if (memcmp(c->id, root->id, sizeof c->id) != 0)
        return error_set(error, EKEYREJECTED, "root %u is of a site with another id", root->number);
    for (unsigned i = 0; i < root->revoked_count; i++)
        if (!catalog_revokes(c, &root->revoked[i]))
            return error_set(error, EKEYREJECTED, "it does not revoke the key %s, which root %u revokes",
                             key_to_text(&root->revoked[i], theirs), root->number);
    return 0;
}
