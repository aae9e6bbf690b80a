// rondo publish --unsigned and --signed: publishing with keys that this computer does not have.
//
//   publish --unsigned TEXT …       packs in place, the manifest's text in a file          (whoever has the disk)
//   sign TEXT                       TEXT.signed                                            (whoever has the publisher's
//   key) publish --signed TEXT.signed    manifest in place, listed; the catalog signed          (whoever has the site's
//   key)
//     … --unsigned CATALOG          or, if that key is elsewhere too, its text in a file
//   sign CATALOG                    CATALOG.signed
//   publish --signed CATALOG.signed the catalog replaced
//
// There are two texts one after the other because a catalog names a manifest by the hash of its signed file.
//
// 1. Each step leaves a site whole to its readers: the catalog is replaced last, by a rename. Interrupted or refused, a
//    step can be given again. What a version needs that is not listed yet stands on the list of unfinished packs, its
//    logo and its manifest, too, so that no collection removes it.
// 2. What is taken in was checked as a reader would check it, and that it is all there. Who may publish a name is the
//    site's to say: a manifest of a key that it does not know is listed under a new name alone.
// 3. A catalog is taken in only as the next after the one that stands: what was published in between would be lost.
#include "base/cleanup.h"
#include "blockstore/parent.h"
#include "catalog/signer.h"
#include "client/passphrase.h"
#include "client/publish_private.h"
#include "client/signing.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

int publish_write_unsigned(struct publication *p, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    int r = publish_put_logo(p, error);
    if (r == 0)
        r = manifest_format(p->manifest, &text, error);
    return r < 0 ? r : signing_write_text(p->unsigned_path, text.data, text.size, error);
}

// --- a manifest

static int read_site_key(struct publication *p, const struct signing_text *t, struct error *error)
{
    int r = 0;
    if (!p->unsigned_path) {
        r = passphrase_read_key(p->site_key_path, &p->site_key, error);
        if (r == 0)
            key_public_of(p->site_key, &p->site_public);
    } else if (p->site_key_path) {
        r = signing_read_public(p->site_key_path, &p->site_public, error);
    } else if (p->catalog.number) {
        p->site_public = p->catalog.site_key;
    } else {
        p->site_public = t->signer;
    }
    return r;
}

// Rule 2. The catalog allows the key, or learns it with a new name.
static int allow(struct publication *p, const struct key_public *signer, struct error *error)
{
    char text[KEY_TEXT_SIZE];
    key_to_text(signer, text);
    if (catalog_allows(&p->catalog, signer, p->name))
        return 0;
    if (catalog_newest_image(&p->catalog, p->name) || catalog_revokes(&p->catalog, signer))
        return error_set(
            error, EKEYREJECTED,
            "the key %s, which signed this, may not publish %s in %s. If its owner is to be allowed: rondo "
            "renew %s --key SITEKEY --allow %s:%s",
            text, p->name, p->site, p->site, text, p->name);
    int r = catalog_add_key(&p->catalog, signer, p->name, error);
    if (r == 0)
        fprintf(stderr, "rondo: %s is new in %s: the key %s may publish it from now on\n", p->name, p->site, text);
    return r;
}

static int check_whole(struct site *s, const struct manifest *m, struct error *error)
{
    cli_progress("checking all of %s %s", m->name, m->version);
    int r = parent_check(s, m, error);
    cli_progress_end();
    return r;
}

static int write_catalog(struct publication *p, struct site *s, struct error *error)
{
    char key[KEY_TEXT_SIZE];
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    if (!p->unsigned_path) {
        int r = publisher_sign_catalog(s, &p->catalog, p->site_key, p->expires, error);
        return r < 0 ? r : site_end_list(s, p->name, error);
    }
    int r = site_catalog_format(s, &p->catalog, p->expires, &text, error);
    if (r == 0)
        r = signing_write_text(p->unsigned_path, text.data, text.size, error);
    if (r == 0)
        fprintf(stderr,
                "rondo: nothing is listed yet: %s is to be signed with the key %s (rondo sign, or minisign -S), then: "
                "rondo publish --signed %s.signed --to %s\n",
                p->unsigned_path, key_to_text(&p->catalog.site_key, key), p->unsigned_path, p->site);
    return r;
}

static int take_manifest(struct publication *p, struct site *s, const struct signing_text *t, const struct buf *file,
                         struct error *error)
{
    const struct manifest *m = t->manifest;
    struct catalog_image image = {.serial = m->serial};
    char hex[SHA256_HEX_SIZE];
    p->name = m->name;
    p->version = m->version;
    int r = site_catalog_read(s, &p->catalog, error);
    const bool new_site = r == -ENOENT;
    if (r == 0 || new_site)
        r = read_site_key(p, t, error);
    if (r == 0 && new_site)
        r = publisher_new_catalog(p->site, &p->site_public, &p->catalog, error);
    if (r == 0)
        r = publish_check_site_key(p, error);
    if (r == 0)
        r = site_catalog_check_new(&p->catalog, p->name, p->version, p->tag, error);
    if (r == 0 && m->serial <= catalog_newest_serial(&p->catalog, m->name))
        r = error_set(error, EINVAL,
                      "%s was published in %s since this was made (serial %llu, and this one has %llu): give publish "
                      "--unsigned again, and sign that",
                      m->name, p->site, (unsigned long long)catalog_newest_serial(&p->catalog, m->name),
                      (unsigned long long)m->serial);
    if (r == 0)
        r = allow(p, &t->signer, error);
    if (r == 0)
        r = check_whole(s, m, error);
    if (r == 0)
        r = publisher_set_mirrors(&p->catalog, &p->mirrors, error);
    const struct pack_reference listed = {.name = sha256_of(file->data, file->size), .size = (uint32_t)file->size};
    if (r == 0 && p->unsigned_path)
        r = site_list_packs(s, p->name, &listed, 1, error);
    if (r == 0)
        r = site_put_object(s, file->data, file->size, &image.manifest, error);
    if (r < 0)
        return r;
    snprintf(image.name, sizeof(image.name), "%s", m->name);
    snprintf(image.version, sizeof(image.version), "%s", m->version);
    r = catalog_add_image(&p->catalog, &image, error);
    if (r == 0 && p->tag)
        r = catalog_set_tag(&p->catalog, m->name, p->tag, m->version, error);
    if (r == 0)
        r = write_catalog(p, s, error);
    if (r == 0)
        printf("%s\n", p->unsigned_path ? p->unsigned_path : sha256_to_hex(&image.manifest, hex));
    return r;
}

// --- a catalog

// Rule 3.
static int check_next(const struct publication *p, struct site *s, const struct catalog *now,
                      const struct catalog *next, struct error *error)
{
    if (memcmp(now->id, next->id, sizeof(now->id)) != 0)
        return error_set(error, EKEYREJECTED, "%s is a catalog of another site than %s", p->signed_path, p->site);
    if (next->number != now->number + 1)
        return error_set(
            error, ESTALE,
            "%s was made for another state of %s: it has number %llu, and %llu stands there. Make it again "
            "with --unsigned, and sign that",
            p->signed_path, p->site, (unsigned long long)next->number, (unsigned long long)now->number);
    int r = publisher_check_roots(s, now, next, error);
    return r < 0 ? error_prefix(error, r, "%s", p->signed_path) : 0;
}

// What the one lists and the other does not.
static int check_new_version(struct site *s, const struct catalog *c, const struct catalog_image *image,
                             struct error *error)
{
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = site_catalog_read_manifest(s, image, m, error);
    if (r == -ENOENT)
        return error_set(error, EBADMSG, "%s lists %s %s, whose manifest is not there", c->site, image->name,
                         image->version);
    if (r < 0)
        return r;
    const struct key_public signer = signer_of(m);
    if (!catalog_allows(c, &signer, image->name))
        return error_set(error, EKEYREJECTED, "%s %s is signed by a key that may not publish it", image->name,
                         image->version);
    return check_whole(s, m, error);
}

static int check_new_versions(struct site *s, const struct catalog *now, const struct catalog *next,
                              struct error *error)
{
    const struct catalog_image *old;
    int r = 0;
    for (unsigned i = 0; i < next->image_count && r == 0; i++) {
        const struct catalog_image *image = &next->images[i];
        if (catalog_find(now, image->name, image->version, &old, NULL) < 0 ||
            !sha256_equal(&old->manifest, &image->manifest))
            r = check_new_version(s, next, image, error);
    }
    return r;
}

static int take_catalog(struct publication *p, struct site *s, const struct buf *file, struct error *error)
{
    struct catalog next CLEANUP(catalog_free) = {.number = 0};
    struct root root;
    if (p->site_key_path || p->tag || p->mirrors.count || p->expires_text || p->unsigned_path)
        return error_set(error, EINVAL, "%s is a catalog: with it only --to has a meaning", p->signed_path);
    int r = site_catalog_open(s, p->signed_path, file->data, file->size, &next, error);
    if (r < 0)
        return r;
    r = site_catalog_read(s, &p->catalog, error);
    if (r == 0)
        r = check_next(p, s, &p->catalog, &next, error);
    else if (r == -ENOENT) // the first catalog here: of a site that was elsewhere, if it has roots
        r = publisher_read_root(s, &next, &root, error);
    if (r == 0)
        r = check_new_versions(s, &p->catalog, &next, error);
    if (r == 0)
        r = publisher_put_catalog(s, file->data, file->size, &next.site_key, error);
    for (unsigned i = 0; i < next.image_count && r == 0; i++)
        if (catalog_newest_serial(&p->catalog, next.images[i].name) < next.images[i].serial)
            r = site_end_list(s, next.images[i].name, error);
    if (r == 0)
        printf("%s: number %llu\n", p->site, (unsigned long long)next.number);
    return r;
}

int publish_take_signed(struct publication *p, struct error *error)
{
    struct signing_text t CLEANUP(signing_free) = {.manifest = NULL};
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct slice text, signature;
    struct site *s = NULL;
    char objects[PATH_TEXT_SIZE], what[256];
    int r = signing_read_signed(p->signed_path, &file, error);
    if (r == 0)
        r = signed_split(file.data, file.size, &text, &signature, error);
    if (r == 0)
        r = signing_parse(text, &t, error);
    if (r == 0 && t.root.number)
        r = error_set(error, EINVAL, "it is a root statement: rondo key rotate %s --signed %s takes it in", p->site,
                      p->signed_path);
    if (r == 0)
        r = signed_verify(file.data, file.size, &t.signer, &text, error);
    if (r < 0)
        return error_prefix(error, r, "%s", p->signed_path);
    if (t.manifest && !p->unsigned_path && !p->site_key_path)
        return error_set(error, EINVAL,
                         "%s is a manifest: --site-key FILE signs the catalog that lists it; or --unsigned FILE leaves "
                         "the catalog's text to be signed elsewhere",
                         p->signed_path);
    r = path_format(objects, sizeof(objects), "%s/objects", p->site);
    if (r == 0 && access(objects, F_OK) < 0)
        return error_set(error, ENOENT, "%s holds no objects; give publish --unsigned first", p->site);
    fprintf(stderr, "rondo: %s: the %s\n", p->signed_path, signing_describe(&t, what, sizeof(what)));
    if (r == 0)
        r = site_open(p->site, &s, error);
    if (r == 0)
        r = t.manifest ? take_manifest(p, s, &t, &file, error) : take_catalog(p, s, &file, error);
    site_close(s);
    p->name = p->version = NULL; // they were the text's
    return r;
}
