// rondo publish: a new version of an image, in a site's directory, or at a site over HTTP (publish_remote.h).
//
//   the disk searched for what clones must not carry → keys → site locked → its catalog → serial, parent →
//   members into packs → manifest, signed, stored → catalog, signed, replaced
//
// Interrupted at any point it leaves the site as it was to its readers; the same command goes on from the packs that
// were finished (blockstore/writer.h, rule 3). What is checked before the long work: names, keys, that the version is
// new.
#include "base/cleanup.h"
#include "base/io.h"
#include "client/clone_check.h"
#include "client/generalize.h"
#include "client/publish_private.h"
#include "client/signing.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

const char *const publish_member_names[PUBLISH_MEMBERS] = {"disk", "kernel", "initrd"};

int publish_report_progress(void *context, const char *what, uint64_t done, uint64_t all)
{
    char done_text[32], all_text[32];
    (void)context;
    cli_progress("%s: %s of %s", what, text_format_size(done, done_text), text_format_size(all, all_text));
    return cli_interrupted() ? -ECANCELED : 0;
}

int publish_check_site_key(const struct publication *p, struct error *error)
{
    char text[KEY_TEXT_SIZE];
    return key_equal(&p->site_public, &p->catalog.site_key)
               ? 0
               : error_set(error, EKEYREJECTED, "the key of %s is %s; give its file with --site-key", p->site,
                           key_to_text(&p->catalog.site_key, text));
}

int publish_begin_site(struct publication *p, struct error *error)
{
    return p->over_http ? publish_remote_begin(p, error) : 0;
}

int publish_open_writer(struct publication *p, struct error *error)
{
    const struct writer_options options = {.site = p->site,
                                           .image = p->name,
                                           .codec = p->codec,
                                           .level = (int)p->level,
                                           .progress = publish_report_progress};
    return p->remote ? publish_remote_open_writer(p, &options, error) : writer_open(&options, &p->writer, error);
}

int publish_read_manifest(struct publication *p, const struct catalog_image *image, struct manifest *ret,
                          struct error *error)
{
    return p->remote ? publish_remote_read_manifest(p, image, ret, error)
                     : site_catalog_read_manifest(writer_site(p->writer), image, ret, error);
}

int publish_prepare_catalog(struct publication *p, struct error *error)
{
    struct catalog *c = &p->catalog;
    char text[KEY_TEXT_SIZE];
    if (p->remote)
        return 0; // it was looked at, and is the site's to change
    int r = site_catalog_read(writer_site(p->writer), c, error);
    if (r == -ENOENT) {
        error->text[0] = '\0';
        r = p->unsigned_path ? 0 : publisher_new_catalog(p->site, &p->site_public, c, error);
    }
    if (r == 0)
        r = site_catalog_check_new(c, p->name, p->version, p->tag, error);
    if (r < 0 || p->unsigned_path) // the rest is for whoever signs the catalog
        return r;
    r = publish_check_site_key(p, error);
    if (r == 0 && !catalog_allows(c, &p->public, p->name)) {
        r = catalog_add_key(c, &p->public, p->name, error); // the site's owner signs for this
        if (r == 0 && catalog_revokes(c, &p->public))
            r = error_set(error, EKEYREJECTED, "the key %s is revoked in %s; publish with another --key",
                          key_to_text(&p->public, text), p->site);
    }
    return r < 0 ? r : publisher_set_mirrors(c, &p->mirrors, error);
}

static int fill_text(char *to, const char *name, const char *from, struct error *error)
{
    if (!from)
        return 0;
    if (strlen(from) >= MANIFEST_TEXT_MAXIMUM || !text_is_printable(slice_of(from)))
        return error_set(error, EINVAL, "--%s: a line of at most %u bytes, without control characters", name,
                         MANIFEST_TEXT_MAXIMUM - 1);
    snprintf(to, MANIFEST_TEXT_MAXIMUM, "%s", from);
    return 0;
}

int publish_fill_manifest(struct publication *p, struct error *error)
{
    struct manifest *m = p->manifest;
    snprintf(m->name, sizeof(m->name), "%s", p->name);
    snprintf(m->version, sizeof(m->version), "%s", p->version);
    snprintf(m->arch, sizeof(m->arch), "x86_64");
    memcpy(m->publisher, p->public.bytes, sizeof(m->publisher));
    m->created = io_realtime_seconds();
    if (p->memory)
        m->memory = p->memory;
    const struct {
        char *to;
        const char *name, *from;
    } texts[] = {{m->title, "title", p->title},
                 {m->summary, "summary", p->summary},
                 {m->homepage, "homepage", p->homepage},
                 {m->licence, "licence", p->licence},
                 {m->os, "os", p->os},
                 {m->cmdline, "cmdline", p->cmdline},
                 {m->ready, "ready", p->ready}};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(texts) && r == 0; i++)
        r = fill_text(texts[i].to, texts[i].name, texts[i].from, error);
    if (r == 0 && p->generalize)
        r = generalize_command_line(m->cmdline, m->cmdline, sizeof(m->cmdline), error);
    const struct slice homepage = slice_of(m->homepage);
    if (r == 0 && homepage.length > 0 && !slice_starts(homepage, "http://") && !slice_starts(homepage, "https://"))
        return error_set(error, EINVAL, "--homepage: an address that begins with http:// or https://");
    return r < 0 ? r : publish_fill_pages(p, error);
}

// Before the long work, and before anything is made. O_NONBLOCK: a pipe is refused later, and must not be waited for
// here.
int publish_open_files(struct publication *p, struct error *error)
{
    for (unsigned i = 0; i < PUBLISH_MEMBERS; i++) {
        if (!p->files[i])
            continue;
        // A symbolic link is the user's own choice.
        p->file_fds[i] = open(p->files[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat s;
        if (p->file_fds[i] < 0 || fstat(p->file_fds[i], &s) < 0)
            return error_set(error, errno, "cannot read %s: %s", p->files[i], strerror(errno));
        if (!S_ISREG(s.st_mode) && !S_ISBLK(s.st_mode))
            return error_set(error, EINVAL, "%s is neither a file nor a block device", p->files[i]);
    }
    return 0;
}

static int read_disk(void *context, uint64_t offset, void *to, size_t n)
{
    return io_read_full(*(const int *)context, to, n, offset);
}

static int check_clone(struct publication *p, struct error *error)
{
    off_t size = lseek(p->file_fds[0], 0, SEEK_END); // of a block device, too
    const struct clone_disk disk = {
        .read = read_disk, .context = &p->file_fds[0], .size = size < 0 ? 0 : (uint64_t)size};
    return clone_check_warn(&disk, p->generalize, error);
}

static int add_boot(struct publication *p, struct error *error)
{
    struct profile *profile CLEANUP(cleanup_profile) = NULL;
    int fds[PROFILE_MEMBERS_MAXIMUM];
    int r = publish_find_profile(p, &profile, error);
    if (r < 0 || !profile)
        return r;
    for (unsigned i = 0; i < profile->member_count; i++)
        for (unsigned j = 0; j < PUBLISH_MEMBERS; j++)
            if (strcmp(profile->members[i].name, publish_member_names[j]) == 0)
                fds[i] = p->file_fds[j];
    return writer_add_boot(p->writer, profile, fds, error);
}

static int add_members(struct publication *p, struct writer_counts *ret, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < PUBLISH_MEMBERS && r == 0; i++) {
        if (!p->files[i])
            continue;
        r = writer_add_member(p->writer, publish_member_names[i], p->file_fds[i],
                              &p->manifest->members[p->manifest->member_count++], error);
        if (r < 0)
            error_prefix(error, r, "%s", p->files[i]);
    }
    if (r == 0)
        r = writer_finish(p->writer, ret, error);
    if (r == 0)
        writer_fill_boot(p->writer, p->manifest);
    return r;
}

int publish_read_keys(struct publication *p, struct error *error)
{
    if (p->unsigned_path)
        return signing_read_public(p->key_path, &p->public, error);
    int r = publisher_read_keys(p->key_path, p->site_key_path, &p->key, &p->site_key, error);
    if (r < 0)
        return r;
    key_public_of(p->key, &p->public);
    key_public_of(p->site_key, &p->site_public);
    return 0;
}

int publish_sign_and_list(struct publication *p, struct sha256 *ret_name, struct error *error)
{
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    int r = publish_put_logo(p, error);
    if (r == 0 && p->remote)
        return publish_remote_finish(p, ret_name, error);
    if (r == 0)
        r = publisher_sign_manifest(p->manifest, p->key, &file, error);
    if (r == 0)
        r = writer_put_manifest(p->writer, file.data, file.size, ret_name, error);
    if (r < 0)
        return r;
    struct catalog_image image = {.serial = p->manifest->serial, .manifest = *ret_name};
    snprintf(image.name, sizeof(image.name), "%s", p->name);
    snprintf(image.version, sizeof(image.version), "%s", p->version);
    r = catalog_add_image(&p->catalog, &image, error);
    if (r == 0 && p->tag)
        r = catalog_set_tag(&p->catalog, p->name, p->tag, p->version, error);
    if (r == 0)
        r = publisher_sign_catalog(writer_site(p->writer), &p->catalog, p->site_key, p->expires, error);
    return r < 0 ? r : writer_end(p->writer, error);
}

static void print_summary(const struct publication *p, const struct writer_counts *counts)
{
    char written[32], data[32], boot[32];
    uint64_t boot_bytes = 0;
    fprintf(stderr, "rondo: %s %s: %s of data, %s new and %llu known; stored %s in %s\n", p->name, p->version,
            text_format_size(counts->data_bytes, data), TEXT_COUNT(counts->new_blocks, "block"),
            (unsigned long long)counts->known_blocks, text_format_size(counts->written_bytes, written),
            TEXT_COUNT(counts->packs, "pack"));
    for (unsigned i = 0; i < p->manifest->boot_count; i++)
        boot_bytes += p->manifest->boot[i].size;
    if (p->manifest->boot_count > 0)
        fprintf(stderr, "rondo: the boot reads %s: %s in %s\n", TEXT_COUNT(counts->boot_blocks, "block"),
                text_format_size(boot_bytes, boot), TEXT_COUNT(p->manifest->boot_count, "pack"));
    if (counts->boot_cut)
        fprintf(stderr, "rondo: that is all that a manifest can list: what the boot profile names behind it is fetched "
                        "when it is read\n");
}

int publish(struct publication *p, struct error *error)
{
    struct writer_counts counts = {.packs = 0};
    struct sha256 name;
    char hex[SHA256_HEX_SIZE], key[KEY_TEXT_SIZE];
    p->manifest = calloc(1, sizeof(*p->manifest));
    if (!p->manifest)
        return error_set(error, ENOMEM, "out of memory");
    int r = publish_open_files(p, error);
    if (r == 0)
        r = check_clone(p, error); // before there is a secret key in our memory
    if (r == 0)
        r = publish_read_keys(p, error);
    if (r == 0)
        r = publish_fill_manifest(p, error);
    if (r == 0)
        r = publish_check_profile(p, error);
    if (r == 0)
        r = publish_begin_site(p, error);
    if (r != 0)
        return r < 0 ? r : 0;
    r = publish_resolve_parents(p, error);
    if (r == 0)
        r = publish_open_writer(p, error);
    if (r == 0)
        r = publish_prepare_catalog(p, error);
    if (r == 0)
        r = publish_learn_parents(p, error);
    if (r == 0)
        r = add_boot(p, error);
    if (r == 0)
        r = add_members(p, &counts, error);
    if (r == 0)
        r = p->unsigned_path ? publish_write_unsigned(p, error) : publish_sign_and_list(p, &name, error);
    cli_progress_end();
    if (r < 0)
        return r;
    print_summary(p, &counts);
    if (p->unsigned_path)
        fprintf(stderr,
                "rondo: nothing is listed yet: %s is to be signed with the key %s (rondo sign, or minisign -S), then: "
                "rondo publish --signed %s.signed --to %s --site-key FILE\n",
                p->unsigned_path, key_to_text(&p->public, key), p->unsigned_path, p->site);
    printf("%s\n", p->unsigned_path ? p->unsigned_path : sha256_to_hex(&name, hex));
    return 0;
}

void publish_end(struct publication *p)
{
    if (p->writer)
        writer_close(p->writer);
    publish_remote_end(p);
    for (unsigned i = 0; i < PUBLISH_MEMBERS; i++)
        if (p->file_fds[i] >= 0)
            close(p->file_fds[i]);
    catalog_free(&p->catalog);
    if (p->site_key != p->key)
        key_free(&p->site_key);
    key_free(&p->key);
    free(p->manifest);
    free(p->logo);
    for (unsigned i = 0; i < p->known_count; i++)
        free(p->known[i]);
}
