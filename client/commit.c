// rondo commit: what a stopped machine's disk holds now, as a new version.
//
//   machine locked, its disk opened over its base → searched for what a clone must not carry → keys → site locked →
//   its catalog → packs of the base that the site lacks → what the base's and the newest version's hold → members, as
//   changes → manifest, signed, stored → catalog, signed, replaced
//
// The work follows what changed: of the disk only changed blocks are read, of the base's map only the pages above them
// (blockstore/writer_changes.c). Only where somebody else signed the base all of it is looked through, since its
// reader is asked to believe us, not them; and into a site that does not list the base its packs are copied.
//
// Interrupted at any point it leaves the site as it was to its readers, as publish does, and the machine untouched.
// What is checked before the long work: names, keys, files, that the version is new.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/inherit.h"
#include "blockstore/site_check.h"
#include "client/clone_check.h"
#include "client/commit_private.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define KNOWN_BYTES (32u << 20) // of tables and pages of the base that are read in any case: about 4 GiB of a disk

static int check_changes(struct commit *c, struct error *error)
{
    const struct instance_settings *s = &c->instance.settings;
    bool grown = overlay_size(c->overlay) > version_manifest(c->base)->members[c->disk].size;
    int r = commit_count_changes(c, error);

    if (r == 0 && c->changed == 0 && !grown && !c->p.files[1] && !c->p.files[2] && !c->p.generalize && !c->force)
        r = error_set(error, EINVAL,
                      "machine %s has changed nothing of %s %s; with --force it is published under its new name all "
                      "the same",
                      c->machine, s->image, s->version);
    return r;
}

// The new version's manifest begins as the base's.
static int begin_manifest(struct commit *c, struct error *error)
{
    struct manifest *m = malloc(sizeof(*m));

    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    c->p.manifest = m;
    *m = *version_manifest(c->base);
    m->has_parent = false;
    if (c->p.cmdline && manifest_find_member(m, "kernel") < 0 && !c->p.files[1])
        return error_set(error, EINVAL, "--cmdline is for a kernel, and %s has none; give one with --kernel", m->name);
    if (c->p.files[2] && manifest_find_member(m, "kernel") < 0 && !c->p.files[1])
        return error_set(error, EINVAL, "--initrd is for a kernel, and %s has none; give one with --kernel", m->name);
    if (c->p.generalize && manifest_find_member(m, "kernel") < 0 && !c->p.files[1])
        return error_set(error, EINVAL, "--generalize puts a word on a kernel's command line, and %s has no kernel",
                         m->name);
    c->foreign = memcmp(m->publisher, c->p.public.bytes, sizeof(m->publisher)) != 0;
    return publish_fill_manifest(&c->p, error);
}

// A version that the catalog lists is whole in its site.
static bool is_listed(const struct commit *c)
{
    for (unsigned i = 0; i < c->p.catalog.image_count; i++)
        if (sha256_equal(&c->p.catalog.images[i].manifest, version_name(c->base)))
            return true;
    return false;
}

static bool is_listed_under_name(const struct commit *c)
{
    for (unsigned i = 0; i < c->p.catalog.image_count; i++)
        if (strcmp(c->p.catalog.images[i].name, c->p.name) == 0 &&
            sha256_equal(&c->p.catalog.images[i].manifest, version_name(c->base)))
            return true;
    return false;
}

static int know_version(struct commit *c, const struct manifest *m, bool foreign, struct parent_counts *ret,
                        struct error *error)
{
    struct site *site = writer_site(c->p.writer);

    return foreign ? parent_know(c->p.writer, site, m, true, ret, error)
                   : parent_know_some(c->p.writer, site, m, KNOWN_BYTES + c->changed * BLOCK_SIZE, ret, error);
}

// A machine that is committed again brings what it did the last time as well. Somebody else's version is worth the
// trouble only where all is looked through anyway.
static int know_newest(struct commit *c, const struct catalog_image *newest, struct error *error)
{
    if (!newest || sha256_equal(&newest->manifest, version_name(c->base)))
        return 0;
    CLEANUP_FREE struct manifest *m = malloc(sizeof(*m));
    struct parent_counts counts;
    if (!m)
        return error_set(error, ENOMEM, "out of memory");
    int r = publish_read_manifest(&c->p, newest, m, error);
    if (r < 0)
        return error_prefix(error, r, "%s %s of %s", newest->name, newest->version, c->p.site);
    bool foreign = memcmp(m->publisher, c->p.manifest->publisher, sizeof(m->publisher)) != 0;
    return foreign && !c->foreign ? 0 : know_version(c, m, foreign, &counts, error);
}

// The network may be slow, and what is copied comes in whole objects: a signal ends the command at once.
static int copy_base(struct commit *c, struct version_copied *ret, struct error *error)
{
    const struct version_copy copy = {.needs = commit_needs, .progress = publish_report_progress, .context = c};

    cli_cancel_on_signals();
    int r = version_copy_packs(c->base, writer_site(c->p.writer), &copy, ret, error);
    cli_catch_signals();
    return r;
}

static int know_versions(struct commit *c, struct version_copied *copied, struct error *error)
{
    const struct catalog_image *newest = publish_count_serial(&c->p);
    struct parent_counts counts = {.known = 0};
    int r = 0;

    if (is_listed_under_name(c)) {
        c->p.manifest->has_parent = true;
        c->p.manifest->parent = *version_name(c->base);
    }
    if (!is_listed(c))
        r = copy_base(c, copied, error);
    if (r == 0)
        r = know_version(c, version_manifest(c->base), c->foreign, &counts, error);
    c->boot_chunks = counts.boot_chunks;
    return r < 0 ? r : know_newest(c, newest, error);
}

// Which of the publication's files replaces the member; 0: none does.
static unsigned find_file(const struct commit *c, const char *member)
{
    for (unsigned i = 1; i < PUBLISH_MEMBERS; i++)
        if (c->p.file_fds[i] >= 0 && strcmp(publish_member_names[i], member) == 0)
            return i;
    return 0;
}

// The boot reads where the base's did; what changed there goes into boot packs of its own, what of the base's is of no
// more use is left out, by the same rule as ever (blockstore/writer_boot_choice.c).
static int add_boot(struct commit *c, struct error *error)
{
    const struct manifest *base = version_manifest(c->base);
    struct profile_member members[MANIFEST_MEMBERS_MAXIMUM] = {{.size = 0}};
    struct writer_boot_source sources[MANIFEST_MEMBERS_MAXIMUM] = {{.fd = -1}};
    int fds[MANIFEST_MEMBERS_MAXIMUM];
    const struct inherit_source source = {.parent = base,
                                          .boot_chunks = c->boot_chunks,
                                          .members = members,
                                          .fds = fds,
                                          .member_count = base->member_count};
    struct profile *profile CLEANUP(cleanup_profile) = NULL;
    CLEANUP_FREE struct sha256 *hashes = NULL;

    for (unsigned i = 0; i < base->member_count; i++) {
        unsigned file = find_file(c, base->members[i].name);
        off_t size = file ? lseek(c->p.file_fds[file], 0, SEEK_END) : 0; // of a block device, too
        fds[i] = sources[i].fd = file ? c->p.file_fds[file] : -1;
        sources[i].changes = file ? NULL : commit_changes(c, i);
        if (size < 0)
            return error_set(error, errno, "cannot read %s: %s", c->p.files[file], strerror(errno));
        members[i].size = file ? (uint64_t)size : sources[i].changes->size;
        memcpy(members[i].name, base->members[i].name, sizeof(members[i].name));
    }
    int r = inherit_profile_in_place(c->p.writer, &source, &profile, &hashes, error);
    if (r < 0 || !profile || profile->read_count == 0)
        return r;
    return writer_add_older_boot(c->p.writer, profile, sources, hashes, error);
}

static int add_file(struct commit *c, unsigned file, struct manifest_member *ret, struct error *error)
{
    int r = writer_add_member(c->p.writer, publish_member_names[file], c->p.file_fds[file], ret, error);

    return r < 0 ? error_prefix(error, r, "%s", c->p.files[file]) : 0;
}

// The base's, unless another was given. It is only shown: a version without it is better than none.
static int take_over_logo(struct commit *c, struct error *error)
{
    struct manifest_logo *logo = &c->p.manifest->logo;
    struct error why = {.text = ""};

    if (logo->type == MANIFEST_LOGO_NONE || c->p.logo)
        return 0;
    cli_cancel_on_signals();
    int r = version_copy_logo(c->base, writer_site(c->p.writer), &why);
    if (r == 0)
        r = site_check_logo(writer_site(c->p.writer), logo, &why);
    cli_catch_signals();
    if (r == -ENOSPC || r == -ENOMEM)
        return error_set(error, -r, "%s", why.text);
    if (r < 0) {
        fprintf(stderr, "rondo: the logo of %s %s cannot be had: %s; %s has none\n", c->instance.settings.image,
                c->instance.settings.version, why.text, c->p.version);
        *logo = (struct manifest_logo){.type = MANIFEST_LOGO_NONE};
    }
    return 0;
}

static int add_members(struct commit *c, struct writer_counts *ret, struct error *error)
{
    const struct manifest *base = version_manifest(c->base);
    struct manifest *m = c->p.manifest;
    int r = add_boot(c, error);

    for (unsigned i = 0; r == 0 && i < base->member_count; i++) {
        unsigned file = find_file(c, base->members[i].name);
        r = file ? add_file(c, file, &m->members[i], error)
                 : writer_add_changed_member(c->p.writer, base->members[i].name, commit_changes(c, i), &m->members[i],
                                             error);
    }
    for (unsigned file = 1; r == 0 && file < PUBLISH_MEMBERS; file++)
        if (c->p.file_fds[file] >= 0 && manifest_find_member(base, publish_member_names[file]) < 0)
            r = m->member_count == MANIFEST_MEMBERS_MAXIMUM
                    ? error_set(error, EINVAL, "%s has as many members as there may be", m->name)
                    : add_file(c, file, &m->members[m->member_count++], error);
    if (r == 0)
        r = writer_finish(c->p.writer, ret, error);
    if (r == 0)
        writer_fill_boot(c->p.writer, m);
    return r;
}

static void print_summary(const struct commit *c, const struct writer_counts *counts,
                          const struct version_copied *copied)
{
    char written[32], size[32];

    fprintf(stderr, "rondo: %s %s: %s changed, %llu new; stored %s in %s\n", c->p.name, c->p.version,
            TEXT_COUNT(counts->changed_blocks, "block"), (unsigned long long)counts->new_blocks,
            text_format_size(counts->written_bytes, written), TEXT_COUNT(counts->packs, "pack"));
    if (copied->packs > 0)
        fprintf(stderr, "rondo: copied %s in %s of %s %s, which %s did not have\n",
                text_format_size(copied->bytes, size), TEXT_COUNT(copied->packs, "pack"), c->instance.settings.image,
                c->instance.settings.version, c->p.site);
}

static int publish_version(struct commit *c, struct error *error)
{
    struct writer_counts counts = {.packs = 0};
    struct version_copied copied = {.packs = 0};
    struct sha256 name;
    char hex[SHA256_HEX_SIZE];
    int r = publish_begin_site(&c->p, error);

    if (r != 0)
        return r < 0 ? r : 0;
    r = publish_open_writer(&c->p, error);
    if (r == 0)
        r = publish_prepare_catalog(&c->p, error);
    if (r == 0)
        r = know_versions(c, &copied, error);
    if (r == 0)
        r = add_members(c, &counts, error);
    if (r == 0)
        r = take_over_logo(c, error);
    if (r == 0)
        r = publish_sign_and_list(&c->p, &name, error);
    cli_progress_end();
    if (r < 0)
        return r;
    print_summary(c, &counts, &copied);
    printf("%s\n", sha256_to_hex(&name, hex));
    return 0;
}

static int read_disk(void *context, uint64_t offset, void *to, size_t n)
{
    return overlay_read(context, offset, to, n);
}

static int check_clone(struct commit *c, struct error *error)
{
    const struct clone_disk disk = {.read = read_disk, .context = c->overlay, .size = overlay_size(c->overlay)};

    return clone_check_warn(&disk, c->p.generalize, error);
}

static int commit(struct commit *c, struct error *error)
{
    cli_cancel_on_signals(); // nothing was made yet
    int r = publish_open_files(&c->p, error);
    cli_progress("opening the disk of machine %s", c->machine);
    if (r == 0)
        r = commit_open_disk(c, error);
    if (r == 0)
        r = check_changes(c, error);
    cli_progress_end();
    cli_catch_signals();
    if (r == 0)
        r = check_clone(c, error); // before there is a secret key in our memory
    if (r == 0)
        r = publish_read_keys(&c->p, error);
    if (r == 0)
        r = begin_manifest(c, error);
    return r < 0 ? r : publish_version(c, error);
}

int verb_commit(int argc, char **argv)
{
    struct commit c = {.p = {.expires = CATALOG_EXPIRES_DEFAULT, .file_fds = {-1, -1, -1}}, .instance = INSTANCE_NONE};
    const struct option options[] = {
        {"name", OPTION_TEXT, &c.p.name},
        {"version", OPTION_TEXT, &c.p.version},
        {"kernel", OPTION_TEXT, &c.p.files[1]},
        {"initrd", OPTION_TEXT, &c.p.files[2]},
        {"cmdline", OPTION_TEXT, &c.p.cmdline},
        {"memory", OPTION_SIZE, &c.p.memory},
        {"ready", OPTION_TEXT, &c.p.ready},
        {"generalize", OPTION_FLAG, &c.p.generalize},
        {"title", OPTION_TEXT, &c.p.title},
        {"summary", OPTION_TEXT, &c.p.summary},
        {"homepage", OPTION_TEXT, &c.p.homepage},
        {"licence", OPTION_TEXT, &c.p.licence},
        {"os", OPTION_TEXT, &c.p.os},
        {"description", OPTION_TEXT, &c.p.description_path},
        {"logo", OPTION_TEXT, &c.p.logo_path},
        {"show-port", OPTION_LIST, &c.p.ports},
        {"key", OPTION_TEXT, &c.p.key_path},
        {"site-key", OPTION_TEXT, &c.p.site_key_path},
        {"to", OPTION_TEXT, &c.p.site},
        {"tag", OPTION_TEXT, &c.p.tag},
        {"expires", OPTION_TEXT, &c.p.expires_text},
        {"codec", OPTION_TEXT, &c.p.codec_text},
        {"level", OPTION_NUMBER, &c.p.level},
        {"mirror", OPTION_LIST, &c.p.mirrors},
        {"force", OPTION_FLAG, &c.force},
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    r = publish_check_names("commit", &c.p);
    if (r != 0)
        return r;
    c.machine = argv[1];
    for (unsigned i = 0; i < MANIFEST_MEMBERS_MAXIMUM; i++)
        c.members[i] = (struct commit_member){.commit = &c, .number = i};
    struct error error = {.text = ""}, closing = {.text = ""};
    r = commit(&c, &error);
    publish_end(&c.p);
    int closed = commit_close_disk(&c, &closing);
    if (r == 0 && closed < 0) // nothing was written to it
        fprintf(stderr, "rondo: machine %s: %s\n", c.machine, closing.text);
    return cli_end(r, &error);
}
