// Putting a site's next root statement in place, and the catalog under it.
//
// 1. A root is put in place before a catalog names it; until then nobody asks for it, and the same command may be given
//    again. What readers see changes with the catalog, by one rename.
// 2. Nothing is put in place that a reader who knows the present root would not accept.
// 3. What the site's key had published goes on being valid: the catalog allows it those names, unless it is revoked.
#include "base/cleanup.h"
#include "client/key_verb.h"
#include "client/signing.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

const struct key_secret *rotation_find_secret(const struct rotation *t, const struct key_public *key)
{
    struct key_public public;
    for (unsigned i = 0; i < t->secret_count; i++) {
        key_public_of(t->secrets[i], &public);
        if (key_equal(&public, key))
            return t->secrets[i];
    }
    return NULL;
}

void rotation_list_signers(const struct root *root, bool with_catalog_key)
{
    char key[KEY_TEXT_SIZE];
    fprintf(stderr, "rondo:   %u of the keys of root %u:", root->threshold, root->number);
    for (unsigned i = 0; i < root->key_count; i++)
        fprintf(stderr, " %s", key_to_text(&root->keys[i], key));
    if (with_catalog_key)
        fprintf(stderr, "\nrondo:   and %s, which is to sign catalogs", key_to_text(&root->catalog_key, key));
    fputs("\n", stderr);
}

static int keep_name(void *context, const char *name, struct error *error)
{
    struct rotation *t = context;
    return catalog_add_key(&t->p.catalog, &t->now.catalog_key, name, error);
}

static int change_catalog(struct rotation *t, struct error *error)
{
    struct catalog *c = &t->p.catalog;
    const struct key_public *former = &t->now.catalog_key;
    char key[KEY_TEXT_SIZE];
    int r = 0;
    if (catalog_revokes(c, &t->next.catalog_key))
        return error_set(error, EINVAL, "the site has revoked the key %s: it can sign no catalog",
                         key_to_text(&t->next.catalog_key, key));
    c->site_key = t->next.catalog_key;
    c->root_number = t->next.number;
    c->root_text = t->next.text;
    for (unsigned i = 0; i < t->next.revoked_count && r == 0; i++) {
        const bool known = catalog_revokes(c, &t->next.revoked[i]);
        r = catalog_add_revoked(c, &t->next.revoked[i], error);
        if (r == 0 && !known)
            r = publisher_tell_revoked(t->p.site, c, &t->next.revoked[i], error);
    }
    if (r < 0 || key_equal(former, &c->site_key) || root_revokes(&t->next, former))
        return r;
    r = publisher_count_signed(t->p.site, c, former, keep_name, t, error);
    if (r > 0)
        fprintf(stderr,
                "rondo: the former key %s may go on publishing what it has published; rondo renew --revoke, or "
                "rondo key rotate --revoke, takes that away\n",
                key_to_text(former, key));
    return r < 0 ? r : 0;
}

static int leave_catalog(struct rotation *t, struct error *error)
{
    const char *path = t->options->unsigned_path;
    char key[KEY_TEXT_SIZE];
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    int r = site_catalog_format(t->p.site, &t->p.catalog, t->options->expires, &text, error);
    if (r == 0)
        r = signing_write_text(path, text.data, text.size, error);
    if (r < 0)
        return r;
    fprintf(stderr,
            "rondo: nothing has changed yet for readers: the catalog's text %s is to be signed with the key %s "
            "(rondo sign, or minisign -S), then: rondo publish --signed %s.signed --to %s\n",
            path, key_to_text(&t->next.catalog_key, key), path, t->site);
    printf("%s\n", path);
    return 0;
}

static int sign_catalog(struct rotation *t, const struct key_secret *secret, struct error *error)
{
    struct catalog *c = &t->p.catalog;
    char date[32], key[KEY_TEXT_SIZE];
    int r = publisher_sign_catalog(t->p.site, c, secret, t->options->expires, error);
    if (r < 0)
        return r;
    publisher_expect_change(&t->now.catalog_key);
    fprintf(stderr,
            "rondo: whoever knows a key of this site takes root %u by itself; catalogs are signed with %s from "
            "now on, which new addresses may pin\n",
            c->root_number, key_to_text(&c->site_key, key));
    printf("%s: root %u, number %llu, expires %s\n", t->site, c->root_number, (unsigned long long)c->number,
           text_format_time(c->expires, date));
    return 0;
}

// Rules 1 and 2.
int rotation_install(struct rotation *t, struct error *error)
{
    const struct key_secret *secret = rotation_find_secret(t, &t->next.catalog_key);
    struct root accepted;
    char key[KEY_TEXT_SIZE];
    int r = root_follow(&t->now, t->file.data, t->file.size, &accepted, error);
    if (r == -EKEYREJECTED) {
        fprintf(stderr, "rondo: root %u is to be signed with\n", t->next.number);
        rotation_list_signers(&t->now, false);
        rotation_list_signers(&t->next, true);
        return error_prefix(error, r,
                            "%s is as it was: give files of more secret keys, or have it signed elsewhere "
                            "(--unsigned FILE, rondo sign)",
                            t->site);
    }
    if (r == 0 && !secret && !(t->options->signed_paths.count && t->options->unsigned_path))
        r = error_set(error, EINVAL, "the catalog is to be signed with %s: give its file with --catalog-key%s",
                      key_to_text(&t->next.catalog_key, key),
                      t->options->signed_paths.count ? ", or --unsigned FILE to have the catalog's text" : "");
    if (r == 0)
        r = change_catalog(t, error);
    if (r == 0 && (r = root_check_catalog(&t->next, &t->p.catalog, error)) < 0) // of another site that had its key
        error_prefix(error, r, "%s is as it was", t->site);
    if (r == 0)
        r = publisher_put_root(t->p.site, &t->next, t->file.data, t->file.size, error);
    if (r < 0)
        return r;
    return secret && !t->options->unsigned_path ? sign_catalog(t, secret, error) : leave_catalog(t, error);
}
