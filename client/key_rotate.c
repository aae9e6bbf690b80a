// rondo key rotate SITE: the next root statement of a site (catalog/root.h): which keys it has from now on.
//
//   rotate SITE --key OLD --new-key NEW …      all keys are here: the root and the catalog are signed and put in place
//   rotate SITE --unsigned FILE …              the root's text in a file
//   sign FILE --key K                          once with each key, wherever it is: FILE.signed
//   rotate SITE --signed FILE.signed…          taken in; --catalog-key signs the catalog, or --unsigned leaves its text
//
// Here the root is made, or taken in; key_rotate_install.c puts it in place.
#include "base/cleanup.h"
#include "catalog/signed.h"
#include "client/cli.h"
#include "client/key_verb.h"
#include "client/passphrase.h"
#include "client/signing.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// --- keys

static int read_secret(struct rotation *t, const char *path, struct key_public *ret, struct error *error)
{
    struct key_secret *key CLEANUP(key_free) = NULL;
    int r = passphrase_read_key(path, &key, error);
    if (r < 0)
        return r;
    key_public_of(key, ret);
    if (!rotation_find_secret(t, ret)) {
        if (t->secret_count == SECRETS_MAXIMUM)
            return error_set(error, EINVAL, "more keys than a site can have");
        t->secrets[t->secret_count++] = TAKE_PTR(key);
    }
    return 0;
}

// A public key, or a file with a secret one that then signs.
static int read_key(struct rotation *t, const char *text, struct key_public *ret, struct error *error)
{
    return signing_read_public(text, ret, NULL) == 0 ? 0 : read_secret(t, text, ret, error);
}

static int read_keys(struct rotation *t, struct error *error)
{
    const struct key_rotate_options *o = t->options;
    struct key_public key;
    int r = 0;
    for (unsigned i = 0; i < o->keys.count && r == 0; i++)
        r = read_secret(t, o->keys.values[i], &key, error);
    for (unsigned i = 0; i < o->new_keys.count && r == 0; i++) {
        r = read_key(t, o->new_keys.values[i], &key, error);
        if (r == 0 && root_add_key(t->new_keys, &t->new_key_count, ROOT_KEYS_MAXIMUM, &key) < 0)
            r = error_set(error, EINVAL, "--new-key: a site has at most %u keys", ROOT_KEYS_MAXIMUM);
    }
    if (r == 0 && o->catalog_key) {
        r = read_key(t, o->catalog_key, &t->catalog_key, error);
        t->has_catalog_key = r == 0;
    }
    return r;
}

// --- the next root

static int revoke_key(struct rotation *t, const char *text, struct error *error)
{
    struct key_public key;
    char shown[KEY_TEXT_SIZE];
    int r = signing_read_public(text, &key, error);
    if (r < 0)
        return error_prefix(error, -EINVAL, "--revoke");
    if (root_has_key(&t->next, &key))
        return error_set(error, EINVAL,
                         "--revoke: %s would still be one of the site's keys; name those that take its place with "
                         "--new-key, and with --catalog-key if it signs catalogs",
                         key_to_text(&key, shown));
    if (root_add_key(t->next.revoked, &t->next.revoked_count, ROOT_REVOKED_MAXIMUM, &key) < 0)
        return error_set(error, EINVAL, "--revoke: a site's roots revoke at most %u keys", ROOT_REVOKED_MAXIMUM);
    return 0;
}

static bool is_same(const struct root *a, const struct root *b)
{
    bool same = a->threshold == b->threshold && a->key_count == b->key_count && a->revoked_count == b->revoked_count &&
                key_equal(&a->catalog_key, &b->catalog_key);
    for (unsigned i = 0; i < a->key_count && same; i++)
        same = key_equal(&a->keys[i], &b->keys[i]);
    return same; // revocations are only ever added
}

static int plan(struct rotation *t, struct error *error)
{
    const struct key_rotate_options *o = t->options;
    const struct catalog *c = &t->p.catalog;
    struct root *next = &t->next;
    *next = t->now;
    next->number = t->now.number + 1;
    memcpy(next->site, c->site, sizeof(next->site));
    memcpy(next->id, c->id, sizeof(next->id));
    if (t->new_key_count) {
        memcpy(next->keys, t->new_keys, sizeof(next->keys));
        next->key_count = t->new_key_count;
        // Where one key was all that the site had, one key takes its place.
        if (!t->has_catalog_key && t->now.key_count == 1 && root_has_key(&t->now, &t->now.catalog_key) &&
            key_equal(&t->now.keys[0], &t->now.catalog_key) && t->new_key_count == 1)
            next->catalog_key = t->new_keys[0];
    }
    if (t->has_catalog_key)
        next->catalog_key = t->catalog_key;
    const uint64_t threshold = o->threshold ? o->threshold : next->threshold;
    if (threshold > next->key_count)
        return error_set(error, EINVAL,
                         "%llu keys are to sign the site's roots, and there are %u: --threshold says how many",
                         (unsigned long long)threshold, next->key_count);
    next->threshold = (unsigned)threshold;
    int r = 0;
    for (unsigned i = 0; i < o->revoke.count && r == 0; i++)
        r = revoke_key(t, o->revoke.values[i], error);
    if (r == 0 && is_same(&t->now, next))
        r = error_set(error, EINVAL, "root %u of %s says that already", t->now.number, t->site);
    return r;
}

// With each secret key that is here, and has not signed yet.
static int sign_root(struct rotation *t, size_t text_length, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < t->secret_count && r == 0; i++) {
        struct key_public public;
        key_public_of(t->secrets[i], &public);
        if (!root_is_signed_by(t->file.data, t->file.size, &public))
            r = signed_append_signature(t->secrets[i], t->file.data, text_length, "rondo root", &t->file, error);
    }
    return r;
}

static int leave_root(struct rotation *t, const struct buf *text, struct error *error)
{
    const char *path = t->options->unsigned_path;
    int r = signing_write_text(path, text->data, text->size, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: nothing has changed yet: %s is to be signed (rondo sign %s --key K) with\n", path, path);
    rotation_list_signers(&t->now, false);
    rotation_list_signers(&t->next, true);
    fprintf(stderr, "rondo: then: rondo key rotate %s --signed %s.signed --catalog-key KEYFILE\n", t->site, path);
    printf("%s\n", path);
    return 0;
}

static int make(struct rotation *t, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    int r = plan(t, error);
    if (r == 0)
        r = root_format(&t->next, &text, error);
    if (r < 0 || t->options->unsigned_path)
        return r < 0 ? r : leave_root(t, &text, error);
    r = root_parse(text.data, text.size, &t->next, error);
    if (r < 0)
        return r;
    r = buf_append(&t->file, text.data, text.size);
    if (r == 0)
        r = buf_append(&t->file, SIGNED_SEPARATOR, strlen(SIGNED_SEPARATOR));
    if (r < 0)
        return error_set(error, -r, "out of memory");
    r = sign_root(t, text.size, error);
    return r < 0 ? r : rotation_install(t, error);
}

// --- signed elsewhere

// The signatures of one file; all files have the same text.
static int take_file(struct rotation *t, const char *path, size_t *text_length, struct error *error)
{
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct slice own = {.at = ""}, signatures = {.length = 0};
    int r = signing_read_signed(path, &file, error);
    if (r == 0)
        r = signed_split(file.data, file.size, &own, &signatures, error);
    if (r < 0)
        return r;
    if (t->file.size == 0) {
        r = buf_append(&t->file, file.data, file.size - signatures.length);
        *text_length = own.length;
    } else if (own.length != *text_length || memcmp(own.at, t->file.data, own.length) != 0) {
        return error_set(error, EINVAL, "%s is another root statement than the file before", path);
    }
    while (r == 0 && signatures.length > 0) {
        struct slice one;
        r = signed_cut_signature(&signatures, &one, error);
        if (r == 0 && !memmem(t->file.data, t->file.size, one.at, one.length))
            r = buf_append(&t->file, one.at, one.length);
    }
    if (r == -E2BIG)
        return error_set(error, EBADMSG, "%s is longer than a root statement can be", path);
    return r;
}

static int take(struct rotation *t, struct error *error)
{
    const struct option_list *paths = &t->options->signed_paths;
    size_t text_length = 0;
    int r = 0;
    for (unsigned i = 0; i < paths->count && r == 0; i++)
        r = take_file(t, paths->values[i], &text_length, error);
    if (r == 0 && (r = root_parse(t->file.data, text_length, &t->next, error)) < 0)
        error_prefix(error, r, "%s", paths->values[0]);
    if (r == 0 && t->next.number != t->now.number + 1)
        r = error_set(error, ESTALE, "%s is root %u, and %s has root %u: make it again with --unsigned",
                      paths->values[0], t->next.number, t->site, t->now.number);
    if (r == 0)
        r = sign_root(t, text_length, error);
    return r < 0 ? r : rotation_install(t, error);
}

int key_rotate(const char *site, const struct key_rotate_options *options, struct error *error)
{
    struct rotation t = {.options = options, .site = site, .file = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM)};
    int r = read_keys(&t, error);
    if (r == 0)
        r = publisher_begin(site, NULL, NULL, &t.p, error);
    if (r == 0)
        r = publisher_read_root(t.p.site, &t.p.catalog, &t.now, error);
    if (r == 0)
        r = options->signed_paths.count ? take(&t, error) : make(&t, error);
    publisher_end(&t.p);
    for (unsigned i = 0; i < t.secret_count; i++)
        key_free(&t.secrets[i]);
    buf_free(&t.file);
    return r;
}
