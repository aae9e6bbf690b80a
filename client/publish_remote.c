// See publish_remote.h.
#include "client/publish_remote.h"
#include "base/io.h"
#include "blockstore/http_address.h"
#include "client/publish_work.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

// --- the site --------------------------------------------------------------------------------------------------------

// "http://host/site#KEY"
static int parse_site(const char *text, struct publish_remote *r, struct error *error)
{
    const char *hash = strchr(text, '#');
    struct slice url = {.at = text, .length = hash ? (size_t)(hash - text) : strlen(text)};
    r->has_pin = hash && key_from_text(hash + 1, strlen(hash + 1), &r->pin);
    if (hash && !r->has_pin)
        return error_set(error, EINVAL, "--to: behind the # of %s stands no key; a site's key has 43 characters", text);
    int code = address_parse_url(url, r->site, error);
    return code < 0 ? error_prefix(error, code, "--to") : 0;
}

int publish_remote_get_catalog(struct publication *p, struct error *error)
{
    struct publish_remote *r = p->remote;
    const struct resolve_options options = {.for_update = true,
                                            .require_pin = r->images.resolve.require_pin,
                                            .pin = r->has_pin ? &r->pin : NULL,
                                            .name = p->name};
    struct catalog c = {.number = 0};
    bool fresh;
    int code = resolve_catalog(r->images.store, &r->images.configuration, r->site, &options, &c, &fresh, error);
    if (code < 0)
        return code;
    catalog_free(&p->catalog);
    p->catalog = c;
    return 0;
}

static int check_allowed(const struct publication *p, struct error *error)
{
    char key[KEY_TEXT_SIZE];
    key_to_text(&p->public, key);
    if (catalog_revokes(&p->catalog, &p->public))
        return error_set(error, EKEYREJECTED, "the key %s is revoked in %s; publish with another --key", key, p->site);
    return catalog_allows(&p->catalog, &p->public, p->name)
               ? 0
               : error_set(error, EKEYREJECTED,
                           "the key %s may not publish %s in %s; the site's owner allows it: rondo renew DIR --key "
                           "SITEKEY --allow %s:%s",
                           key, p->name, p->site, key, p->name);
}

const struct catalog_image *publish_remote_find_version(const struct publication *p)
{
    for (unsigned i = 0; i < p->catalog.image_count; i++)
        if (strcmp(p->catalog.images[i].name, p->name) == 0 && strcmp(p->catalog.images[i].version, p->version) == 0)
            return &p->catalog.images[i];
    return NULL;
}

// --- the work folder -------------------------------------------------------------------------------------------------

static int name_work(struct publication *p, struct error *error)
{
    char cache[PATH_TEXT_SIZE], key[KEY_TEXT_SIZE];
    int r = path_make(PATH_CACHE, cache, error);
    if (r < 0)
        return r;
    r = path_format(p->remote->work, sizeof(p->remote->work), "%s/publishing/%s/%s", cache,
                    key_to_text(&p->catalog.site_key, key), p->name);
    return r < 0 ? error_set(error, -r, "the path %.64s… is too long", cache) : 0;
}

// Rule 3: is the listed version one that was handed in from this folder?
static bool is_ours(const struct publication *p, const struct catalog_image *image)
{
    char hex[SHA256_HEX_SIZE], path[PATH_TEXT_SIZE];
    sha256_to_hex(&image->manifest, hex);
    return path_format(path, sizeof(path), "%s/objects/%.2s/%s", p->remote->work, hex, hex) == 0 &&
           access(path, F_OK) == 0;
}

// --- beginning -------------------------------------------------------------------------------------------------------

static int begin(struct publication *p, struct error *error)
{
    struct publish_remote *r = p->remote;
    int code = images_open(&r->images, error);
    if (code == 0)
        code = publish_remote_get_catalog(p, error);
    if (code == 0)
        code = name_work(p, error);
    if (code < 0)
        return code;
    const struct catalog_image *listed = publish_remote_find_version(p);
    if (listed && is_ours(p, listed)) {
        char hex[SHA256_HEX_SIZE];
        fprintf(stderr, "rondo: %s lists %s %s already: the command that was interrupted here had published it\n",
                r->site, p->name, p->version);
        printf("%s\n", sha256_to_hex(&listed->manifest, hex));
        publish_work_drop(r->work);
        return 1;
    }
    code = site_catalog_check_new(&p->catalog, p->name, p->version, p->tag, error);
    if (code == 0)
        code = check_allowed(p, error);
    if (code == 0)
        code = publish_elsewhere_open(&r->elsewhere, r->images.store, r->site, error);
    if (code == 0)
        code = upload_open(r->site, &r->upload, error);
    return code < 0 ? code : publish_session_open(p, error);
}

int publish_remote_begin(struct publication *p, struct error *error)
{
    struct publish_remote *r = calloc(1, sizeof(*r));
    if (!r)
        return error_set(error, ENOMEM, "out of memory");
    p->remote = r;
    int code = parse_site(p->site, r, error);
    if (code < 0)
        return code;
    p->site = r->site;
    if (strncmp(r->site, "http://", 7) == 0 && !http_address_names_loopback(r->site))
        fprintf(
            stderr,
            "rondo: %s is not encrypted: nobody can alter what is signed here, but who listens on the way can use up "
            "this key's room there with this session's token, for an hour; https keeps it\n",
            r->site);
    cli_cancel_on_signals(); // the network may be slow, and nothing was made yet
    code = cli_interrupted() ? error_set(error, ECANCELED, "cancelled") : begin(p, error);
    cli_catch_signals();
    return code;
}

int publish_remote_open_writer(struct publication *p, const struct writer_options *options, struct error *error)
{
    struct writer_options here = *options;
    here.site = p->remote->work;
    int r = writer_open(&here, &p->writer, error);
    if (r == -EBUSY)
        return error_set(error, EBUSY, "another command here is publishing %s to %s; give this one again when it ends",
                         p->name, p->site);
    if (r == 0)
        site_set_elsewhere(writer_site(p->writer), &p->remote->elsewhere.elsewhere);
    return r;
}

int publish_remote_read_manifest(struct publication *p, const struct catalog_image *image, struct manifest *ret,
                                 struct error *error)
{
    struct publish_remote *r = p->remote;
    struct resolved resolved = {.source_count = 0};
    char *source = r->site;
    struct version *v;
    snprintf(resolved.address.site, sizeof(resolved.address.site), "%s", r->site);
    resolved.sources = &source;
    int code = resolve_open_version(r->images.store, &resolved, &p->catalog, image, 1, &v, error);
    if (code < 0)
        return code;
    *ret = *version_manifest(v);
    version_close(v);
    return 0;
}

void publish_remote_end(struct publication *p)
{
    if (!p->remote)
        return;
    upload_close(p->remote->upload);
    publish_elsewhere_close(&p->remote->elsewhere);
    images_close(&p->remote->images);
    free(p->remote);
    p->remote = NULL;
}
