// rondo commit: the disk of a stopped machine, as the overlay has it, over the version that it was made from. The base
// is read through the store: out of the site that is committed to, if it has it, out of the cache, from where the
// machine came from.
#include "base/cleanup.h"
#include "catalog/signer.h"
#include "client/commit_private.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

// --- opening -------------------------------------------------------------------------------------------------------

static int read_base(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    struct commit *c = context;
    struct error error = {.text = ""};
    int r = 0;

    for (unsigned i = 0; r == 0 && i < count && n > 0; i++) {
        size_t piece = n < to[i].iov_len ? n : to[i].iov_len;
        r = version_read(c->base, c->disk, offset, to[i].iov_base, piece, &error);
        offset += piece;
        n -= piece;
    }
    if (r < 0)
        fprintf(stderr, "rondo: the base of machine %s: %s\n", c->machine, error.text);
    return r;
}

// Who signed the base decides whether what its packs say is believed.
static int check_signature(struct commit *c, struct error *error)
{
    const struct manifest *m = version_manifest(c->base);
    size_t n;
    const void *bytes = version_manifest_bytes(c->base, &n);
    int r = signer_check(m, bytes, n, error);

    return r < 0 ? error_prefix(error, r, "the manifest of %s %s", m->name, m->version) : 0;
}

static int open_base(struct commit *c, struct error *error)
{
    const struct instance_settings *s = &c->instance.settings;
    const char *sources[CATALOG_MIRRORS_MAXIMUM + 1];
    unsigned count = 0;
    int r = images_open(&c->images, error);

    if (r < 0)
        return r;
    if (!c->p.over_http && access(c->p.site, F_OK) == 0)
        sources[count++] = c->p.site;
    for (unsigned i = 0; i < s->source_count; i++)
        sources[count++] = s->sources[i];
    r = version_open(c->images.store, &s->manifest, sources, count, &c->base, error);
    if (r < 0)
        return resolve_explain_offline(error_prefix(error, r, "%s %s", s->image, s->version), count, s->site, s->image,
                                       s->version, error);
    r = check_signature(c, error);
    int disk = manifest_find_member(version_manifest(c->base), "disk");
    if (r == 0 && disk < 0)
        r = error_set(error, EINVAL, "%s %s has no disk", s->image, s->version);
    c->disk = disk < 0 ? 0 : (unsigned)disk;
    return r;
}

int commit_open_disk(struct commit *c, struct error *error)
{
    int r = instance_open(c->machine, &c->instance, error);

    if (r == 0)
        r = instance_lock_stopped(&c->instance, error);
    if (r == 0)
        r = open_base(c, error);
    if (r < 0)
        return r;
    const struct overlay_base base = {
        .read = read_base, .context = c, .size = version_manifest(c->base)->members[c->disk].size};
    r = overlay_open(c->instance.folder_fd, version_name(c->base), &base, &c->overlay, error);
    return r < 0 ? error_prefix(error, r, "machine %s", c->machine) : 0;
}

int commit_close_disk(struct commit *c, struct error *error)
{
    int r = c->overlay ? overlay_close(c->overlay, error) : 0;

    version_close(c->base);
    images_close(&c->images);
    instance_close(&c->instance);
    return r;
}

// --- what changed --------------------------------------------------------------------------------------------------

// The first change of a member at or behind `block`; only the disk has any.
static int find_change(void *context, uint64_t block, uint64_t *ret_first, uint64_t *ret_count, bool *ret_zero)
{
    const struct commit_member *m = context;
    struct overlay_change change;
    int r = m->number == m->commit->disk ? overlay_find_change(m->commit->overlay, block, &change) : 0;

    if (r > 0) {
        *ret_first = change.first;
        *ret_count = change.count;
        *ret_zero = change.zero;
    }
    return r;
}

int commit_count_changes(struct commit *c, struct error *error)
{
    struct overlay_change change;
    uint64_t block = 0, changed = 0;
    int r;

    while ((r = overlay_find_change(c->overlay, block, &change)) > 0) {
        changed += change.count;
        block = change.first + change.count;
    }
    if (r < 0)
        return error_set(error, -r, "cannot read what machine %s changed: %s", c->machine, strerror(-r));
    c->changed = changed;
    return 0;
}

int commit_needs(void *commit, unsigned member, uint64_t first, uint64_t blocks)
{
    const struct commit_member *m = &((struct commit *)commit)->members[member];
    uint64_t at, count;
    bool zero;

    if (m->commit->p.file_fds[1] >= 0 || m->commit->p.file_fds[2] >= 0) {
        const char *name = version_manifest(m->commit->base)->members[member].name;
        for (unsigned i = 1; i < PUBLISH_MEMBERS; i++)
            if (m->commit->p.file_fds[i] >= 0 && strcmp(name, publish_member_names[i]) == 0)
                return 0; // all of it is replaced
    }
    for (uint64_t block = first; block < first + blocks; block = at + count) {
        int r = find_change((void *)m, block, &at, &count, &zero);
        if (r < 0)
            return r;
        if (r == 0 || at > block)
            return 1;
    }
    return 0;
}

static int read_page(void *context, const struct chunk_reference *ref, unsigned level, void *bytes,
                     struct map_page *ret, struct error *error)
{
    const struct commit_member *m = context;
    char hex[SHA256_HEX_SIZE];
    int r = parent_read_page(writer_site(m->commit->p.writer), ref, level, bytes, ret, error);

    return r == -ENOENT ? error_set(error, EBADMSG, "%s lacks pack %.16s…, which holds the map of %s %s",
                                    m->commit->p.site, sha256_to_hex(&ref->pack.name, hex),
                                    m->commit->instance.settings.image, m->commit->instance.settings.version)
                        : r;
}

static int read_now(void *context, uint64_t offset, void *to, size_t n)
{
    const struct commit_member *m = context;
    struct error error = {.text = ""};

    if (m->number == m->commit->disk)
        return overlay_read(m->commit->overlay, offset, to, n);
    return version_read(m->commit->base, m->number, offset, to, n, &error);
}

const struct writer_changes *commit_changes(struct commit *c, unsigned member)
{
    const struct manifest_member *base = &version_manifest(c->base)->members[member];

    c->members[member].changes =
        (struct writer_changes){.base = base,
                                .size = member == c->disk ? overlay_size(c->overlay) : base->size,
                                .foreign = c->foreign,
                                .read_page = read_page,
                                .find_change = find_change,
                                .read = read_now,
                                .context = &c->members[member]};
    return &c->members[member].changes;
}
