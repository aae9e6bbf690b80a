// Sites of versions without data, for the tests of catalog/index.h: signed as any other, and quickly made.
#pragma once

#include "tests/unit/remove_tree.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "blockstore/site.h"
#include "catalog/index.h"
#include "catalog/signed.h"
#include "catalog/site_catalog.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define assert_ok(call, error)                                                                                         \
    do {                                                                                                               \
        (error).text[0] = '\0';                                                                                        \
        int result_ = (call);                                                                                          \
        if (result_ != 0)                                                                                              \
            fail_msg("%s: %d, %s", #call, result_, (error).text);                                                      \
    } while (0)

struct index_fixture {
    char folder[64]; // of the test
    char site_path[80], index_path[80];
    struct key_secret *key; // of the site and its publisher
    struct key_public public;
    struct site *site;
    struct catalog catalog;
};

static inline struct index_fixture *index_fixture_new(void)
{
    struct index_fixture *f = calloc(1, sizeof *f);
    struct error error;
    assert_non_null(f);
    memcpy(f->folder, TEMPORARY_FOLDER, sizeof TEMPORARY_FOLDER);
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->site_path, sizeof f->site_path, "%s/site", f->folder);
    snprintf(f->index_path, sizeof f->index_path, "%s/index.db", f->folder);
    assert_ok(key_generate(&f->key, &error), error);
    key_public_of(f->key, &f->public);
    assert_ok(site_open(f->site_path, &f->site, &error), error);
    assert_ok(catalog_start(&f->catalog, "zoo", &f->public, &error), error);
    return f;
}

static inline void index_fixture_free(struct index_fixture *f)
{
    catalog_free(&f->catalog);
    site_close(f->site);
    key_free(&f->key);
    remove_tree(f->folder);
    free(f);
}

static inline void fixture_text(char to[static MANIFEST_TEXT_MAXIMUM], const char *text)
{
    snprintf(to, MANIFEST_TEXT_MAXIMUM, "%s", text);
}

// Signs a version with `key` and lists it; its serial is the next one. The catalog is signed by index_fixture_sign.
static inline void index_fixture_add_by(struct index_fixture *f, const struct key_secret *key, const char *name,
                                        const char *version, const char *title, const char *os)
{
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof *m);
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct catalog_image image = {.serial = catalog_newest_serial(&f->catalog, name) + 1};
    struct key_public public;
    struct error error;
    assert_non_null(m);
    key_public_of(key, &public);
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->version, sizeof m->version, "%s", version);
    snprintf(image.name, sizeof image.name, "%s", name);
    snprintf(image.version, sizeof image.version, "%s", version);
    m->serial = image.serial;
    m->created = 1000 * (int64_t)image.serial;
    memcpy(m->publisher, public.bytes, sizeof m->publisher);
    memcpy(m->arch, "x86_64", sizeof "x86_64");
    memcpy(m->members[0].name, "disk", sizeof "disk");
    m->members[0].size = 1 << 20;
    m->members[0].zero = true;
    m->member_count = 1;
    m->memory = 512 << 20;
    fixture_text(m->title, title);
    fixture_text(m->summary, "a summary");
    fixture_text(m->os, os);
    assert_ok(manifest_format(m, &text, &error), error);
    assert_ok(signed_write(key, text.data, text.size, "rondo manifest", &file, &error), error);
    assert_ok(site_put_object(f->site, file.data, file.size, &image.manifest, &error), error);
    assert_ok(catalog_add_image(&f->catalog, &image, &error), error);
}

static inline void index_fixture_add(struct index_fixture *f, const char *name, const char *version, const char *title)
{
    index_fixture_add_by(f, f->key, name, version, title, "Debian GNU/Linux 12");
}

static inline void index_fixture_sign(struct index_fixture *f)
{
    struct error error;
    assert_ok(site_catalog_sign(f->site, &f->catalog, f->key, CATALOG_EXPIRES_DEFAULT, &error), error);
}

static inline struct index_counts index_fixture_update(struct index_fixture *f, struct index *x)
{
    struct index_counts counts = {.versions = 0};
    struct error error;
    assert_ok(index_update(x, f->site_path, false, &counts, &error), error);
    return counts;
}
