// See signing.h. These files lie where the user wants them, and may have been on a stick: they are read with the same
// caps and parsers as what comes from a network.
#include "client/signing.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "blockstore/manifest_text.h"
#include "catalog/signed.h"
#include "catalog/signer.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define TEXT_MAXIMUM (64u << 10) // of manifests and catalogs, signed
#define MANIFEST_BEGINNING "rondo-manifest 1\n"
#define CATALOG_BEGINNING "rondo-catalog 1\n"
#define ROOT_BEGINNING "rondo-root 1\n"
// NOLINTNEXTLINE(misc-redundant-expression): that they are the same is what is asserted
_Static_assert(TEXT_MAXIMUM == MANIFEST_SIZE_MAXIMUM && TEXT_MAXIMUM == CATALOG_SIZE_MAXIMUM, "one cap for both");

int signing_parse(struct slice text, struct signing_text *ret, struct error *error)
{
    struct signing_text t CLEANUP(signing_free) = {.manifest = NULL};
    int r;
    if (slice_starts(text, MANIFEST_BEGINNING)) {
        t.manifest = malloc(sizeof(*t.manifest));
        if (!t.manifest)
            return error_set(error, ENOMEM, "out of memory");
        r = manifest_parse_text(text.at, text.length, false, t.manifest, error);
        if (r == 0)
            t.signer = signer_of(t.manifest);
        if (r == 0 && !key_is_sound(&t.signer))
            r = error_set(error, EBADMSG, "its publisher's key is not a usable one");
    } else if (slice_starts(text, CATALOG_BEGINNING)) {
        r = catalog_parse(text.at, text.length, &t.catalog, error);
        t.signer = t.catalog.site_key;
    } else if (slice_starts(text, ROOT_BEGINNING)) {
        r = root_parse(text.at, text.length, &t.root, error);
        t.signer = t.root.catalog_key;
    } else {
        r = error_set(error, EBADMSG, "it is neither a manifest, nor a catalog, nor a root statement");
    }
    if (r < 0)
        return r;
    *ret = t;
    t = (struct signing_text){.manifest = NULL}; // NOLINT(clang-analyzer-deadcode.DeadStores): read by its clean-up
    return 0;
}

void signing_free(struct signing_text *t)
{
    free(t->manifest);
    t->manifest = NULL;
    catalog_free(&t->catalog);
}

const char *signing_describe(const struct signing_text *t, char *ret, size_t capacity)
{
    if (t->manifest)
        snprintf(ret, capacity, "manifest of %s %s, serial %llu", t->manifest->name, t->manifest->version,
                 (unsigned long long)t->manifest->serial);
    else if (t->root.number)
        snprintf(ret, capacity, "root statement of %s, number %u", t->root.site, t->root.number);
    else
        snprintf(ret, capacity, "catalog of %s, number %llu", t->catalog.site, (unsigned long long)t->catalog.number);
    return ret;
}

int signing_write_text(const char *path, const void *text, size_t n, struct error *error)
{
    CLEANUP_FREE void *old = NULL;
    size_t size = 0;
    int r = io_read_file(AT_FDCWD, path, TEXT_MAXIMUM, &old, &size);
    const struct slice there = {.at = old, .length = size};
    const bool ours = slice_starts(there, MANIFEST_BEGINNING) || slice_starts(there, CATALOG_BEGINNING) ||
                      slice_starts(there, ROOT_BEGINNING);
    if (r != -ENOENT && (r < 0 || !ours))
        return error_set(error, EEXIST, "%s is there, and is no text to be signed; choose another file", path);
    r = io_replace_file(AT_FDCWD, path, text, n, 0666);
    return r < 0 ? error_set(error, -r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int signing_read_signed(const char *path, struct buf *ret, struct error *error)
{
    char beside[PATH_TEXT_SIZE];
    CLEANUP_FREE void *bytes = NULL, *signature = NULL;
    size_t size, signature_size;
    struct slice text, rest;
    int r = io_read_file(AT_FDCWD, path, TEXT_MAXIMUM, &bytes, &size);
    if (r < 0)
        return error_set(error, -r, "cannot read %s: %s", path, strerror(-r));
    if (signed_split(bytes, size, &text, &rest, NULL) == 0) {
        r = buf_append(ret, bytes, size);
        return r < 0 ? error_set(error, -r, "%s is too long", path) : 0;
    }
    r = path_format(beside, sizeof(beside), "%s.minisig", path);
    if (r < 0)
        return error_set(error, -r, "the path %.64s… is too long", path);
    r = io_read_file(AT_FDCWD, beside, TEXT_MAXIMUM, &signature, &signature_size);
    if (r == -ENOENT)
        return error_set(
            error, EBADMSG,
            "%s is not signed: give the file that rondo sign wrote, or put minisign's signature beside it, "
            "as %s",
            path, beside);
    if (r < 0)
        return error_set(error, -r, "cannot read %s: %s", beside, strerror(-r));
    r = buf_append(ret, bytes, size);
    if (r == 0)
        r = buf_append(ret, SIGNED_SEPARATOR, strlen(SIGNED_SEPARATOR));
    if (r == 0)
        r = buf_append(ret, signature, signature_size);
    return r < 0 ? error_set(error, r == -E2BIG ? EBADMSG : -r, "%s and its signature are longer than any may be", path)
                 : 0;
}

int signing_read_public(const char *key, struct key_public *ret, struct error *error)
{
    return key_from_text(key, strlen(key), ret) ? 0 : key_read_public(key, ret, error);
}
