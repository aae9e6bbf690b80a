// rondo publish: a new version of an image, in a site's directory.
//
//   site locked → its catalog → serial, parent → members into packs → manifest, signed, stored → catalog, signed,
//   replaced
//
// Interrupted at any point it leaves the site as it was to its readers; the same command goes on from the packs that
// were finished (blockstore/writer.h, rule 3). What is checked before the long work: names, keys, that the version is
// new.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/parent.h"
#include "blockstore/writer.h"
#include "catalog/signed.h"
#include "client/cli.h"
#include "client/passphrase.h"
#include "client/publisher.h"
#include "client/resolve.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

struct publication {
    const char *name, *version, *site, *tag, *parent, *key_path, *site_key_path, *expires_text;
    const char *files[3]; // disk, kernel, initrd
    int file_fds[3];
    struct option_list mirrors;
    const char *title, *summary, *homepage, *licence, *os, *cmdline, *ready;
    const char *codec_text;
    uint64_t memory, level;
    enum chunk_codec codec;

    int64_t expires;
    struct key_secret *key, *site_key; // site_key may be the same pointer
    struct writer *writer;
    struct catalog catalog;
    struct manifest *manifest;
    struct manifest *parent_description; // of --parent
};

static const char *const member_names[3] = {"disk", "kernel", "initrd"};

static int report_progress(void *context, const char *member, uint64_t done, uint64_t all)
{
    char done_text[32], all_text[32];
    (void)context;
    cli_progress("%s: %s of %s", member, text_format_size(done, done_text), text_format_size(all, all_text));
    return cli_interrupted() ? -ECANCELED : 0;
}

static int read_keys(struct publication *p, struct error *error)
{
    int r = key_read_secret(p->key_path, passphrase_ask, NULL, &p->key, error);
    if (r < 0)
        return r;
    p->site_key = p->key;
    if (p->site_key_path)
        r = key_read_secret(p->site_key_path, passphrase_ask, NULL, &p->site_key, error);
    if (r < 0)
        p->site_key = NULL;
    return r;
}

// What would make the catalog refuse the new lines; asked before the long work.
static int check_names(const struct publication *p, const struct catalog *c, struct error *error)
{
    for (unsigned i = 0; i < c->image_count; i++) {
        if (strcmp(c->images[i].name, p->name) != 0)
            continue;
        if (strcmp(c->images[i].version, p->version) == 0)
            return error_set(error, EEXIST, "%s %s is published already; choose another --version", p->name,
                             p->version);
        if (p->tag && strcmp(c->images[i].version, p->tag) == 0)
            return error_set(error, EINVAL, "%s is a version of %s; choose another --tag", p->tag, p->name);
    }
    for (unsigned i = 0; i < c->tag_count; i++)
        if (strcmp(c->tags[i].name, p->name) == 0 && strcmp(c->tags[i].tag, p->version) == 0)
            return error_set(error, EINVAL, "%s is a tag of %s; choose another --version", p->version, p->name);
    return 0;
}

// The catalog as it will be, up to the new version's own lines: may this key publish this name here?
static int prepare_catalog(struct publication *p, struct error *error)
{
    struct catalog *c = &p->catalog;
    struct key_public public, site_public;
    char text[KEY_TEXT_SIZE];
    key_public_of(p->key, &public);
    key_public_of(p->site_key, &site_public);
    int r = publisher_read_catalog(writer_site(p->writer), c, error);
    if (r == -ENOENT) {
        error->text[0] = '\0';
        r = publisher_new_catalog(p->site, &site_public, c, error);
    }
    if (r < 0)
        return r;
    if (!key_equal(&site_public, &c->site_key))
        return error_set(error, EKEYREJECTED, "the key of %s is %s; give its file with --site-key", p->site,
                         key_to_text(&c->site_key, text));
    r = check_names(p, c, error);
    if (r == 0 && !catalog_allows(c, &public, p->name)) {
        r = catalog_add_key(c, &public, p->name, error); // the site's owner signs for this
        if (r == 0 && !catalog_allows(c, &public, p->name))
            r = error_set(error, EKEYREJECTED, "the key %s is revoked in %s; publish with another --key",
                          key_to_text(&public, text), p->site);
    }
    return r < 0 ? r : publisher_set_mirrors(c, &p->mirrors, error);
}

// The manifest of a version that this site's own catalog lists.
static int read_listed_manifest(struct publication *p, const struct sha256 *name, struct manifest *ret,
                                struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    CLEANUP_FREE void *bytes = malloc(MANIFEST_SIZE_MAXIMUM);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    sha256_to_hex(name, hex);
    CLEANUP_CLOSE int fd = site_open_object(writer_site(p->writer), name);
    ssize_t n = fd < 0 ? fd : io_read_some(fd, bytes, MANIFEST_SIZE_MAXIMUM, 0);
    if (n < 0)
        return error_set(error, (int)-n, "cannot read manifest %.16s… of %s: %s", hex, p->site, strerror((int)-n));
    struct sha256 hash = sha256_of(bytes, (size_t)n);
    if (!sha256_equal(&hash, name))
        return error_set(error, EBADMSG, "manifest %.16s… of %s is damaged", hex, p->site);
    return manifest_parse(bytes, (size_t)n, ret, error);
}

// --parent: any version of any site; what this site holds of it is not stored again. The network may be slow, and
// nothing was made yet: a signal ends the command at once.
static int resolve_parent(struct publication *p, struct error *error)
{
    struct configuration configuration;
    struct store *store = NULL;
    struct resolved resolved = {.source_count = 0};
    int r = configuration_read(&configuration, error);
    if (r == 0)
        r = resolve_open_store(&configuration, &store, error);
    if (r < 0)
        return r;
    cli_cancel_on_signals();
    r = cli_interrupted() ? error_set(error, ECANCELED, "cancelled")
                          : resolve_image(store, &configuration, p->parent, &(struct resolve_options){.offline = false},
                                          &resolved, error);
    cli_catch_signals();
    if (r == 0) {
        p->parent_description = resolved.description;
        resolved.description = NULL;
        p->manifest->has_parent = true;
        p->manifest->parent = resolved.manifest;
        resolve_free(&resolved);
    }
    store_free(store);
    return r;
}

static int learn_parent(struct publication *p, struct error *error)
{
    const struct manifest *parent = p->parent_description;
    const struct catalog_image *newest = NULL;
    unsigned known, missing;
    for (unsigned i = 0; i < p->catalog.image_count; i++) {
        const struct catalog_image *image = &p->catalog.images[i];
        if (strcmp(image->name, p->name) == 0 && (!newest || image->serial > newest->serial))
            newest = image;
    }
    p->manifest->serial = newest ? newest->serial + 1 : 1;
    CLEANUP_FREE struct manifest *listed = NULL;
    if (!parent && newest) {
        p->manifest->has_parent = true;
        p->manifest->parent = newest->manifest;
        listed = malloc(sizeof(*listed));
        if (!listed)
            return error_set(error, ENOMEM, "out of memory");
        int r = read_listed_manifest(p, &newest->manifest, listed, error);
        if (r < 0)
            return r;
        parent = listed;
    }
    if (!parent)
        return 0;
    bool foreign = memcmp(parent->publisher, p->manifest->publisher, sizeof(parent->publisher)) != 0;
    int r = parent_know(p->writer, writer_site(p->writer), parent, foreign, &known, &missing, error);
    if (r == 0 && missing)
        fprintf(stderr, "rondo: %u packs of the parent are not in %s: their blocks are stored anew\n", missing,
                p->site);
    return r;
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

static int fill_manifest(struct publication *p, struct error *error)
{
    struct manifest *m = p->manifest;
    struct key_public public;
    key_public_of(p->key, &public);
    snprintf(m->name, sizeof(m->name), "%s", p->name);
    snprintf(m->version, sizeof(m->version), "%s", p->version);
    snprintf(m->arch, sizeof(m->arch), "x86_64");
    memcpy(m->publisher, public.bytes, sizeof(m->publisher));
    m->created = io_realtime_seconds();
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
    return r;
}

// Before the long work, and before anything is made. O_NONBLOCK: a pipe is refused later, and must not be waited for
// here.
static int open_files(struct publication *p, struct error *error)
{
    for (unsigned i = 0; i < ARRAY_SIZE(member_names); i++) {
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

static int add_members(struct publication *p, struct writer_counts *ret, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(member_names) && r == 0; i++) {
        if (!p->files[i])
            continue;
        r = writer_add_member(p->writer, member_names[i], p->file_fds[i],
                              &p->manifest->members[p->manifest->member_count++], error);
        if (r < 0)
            error_prefix(error, r, "%s", p->files[i]);
    }
    return r < 0 ? r : writer_finish(p->writer, ret, error);
}

static int sign_and_list(struct publication *p, struct sha256 *ret_name, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    int r = manifest_format(p->manifest, &text, error);
    if (r == 0)
        r = signed_write(p->key, text.data, text.size, "rondo manifest", &file, error);
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

static int publish(struct publication *p, struct error *error)
{
    struct writer_counts counts = {.packs = 0};
    struct sha256 name;
    char hex[SHA256_HEX_SIZE], written[32], data[32];
    struct writer_options options = {
        .site = p->site, .image = p->name, .codec = p->codec, .level = (int)p->level, .progress = report_progress};
    p->manifest = calloc(1, sizeof(*p->manifest));
    if (!p->manifest)
        return error_set(error, ENOMEM, "out of memory");
    int r = read_keys(p, error);
    if (r == 0)
        r = fill_manifest(p, error);
    if (r == 0)
        r = open_files(p, error);
    if (r == 0 && p->parent)
        r = resolve_parent(p, error);
    if (r == 0)
        r = writer_open(&options, &p->writer, error);
    if (r == 0)
        r = prepare_catalog(p, error);
    if (r == 0)
        r = learn_parent(p, error);
    if (r == 0)
        r = add_members(p, &counts, error);
    if (r == 0)
        r = sign_and_list(p, &name, error);
    cli_progress_end();
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s %s: %s of data, %llu blocks new and %llu known; stored %s in %llu packs\n", p->name,
            p->version, text_format_size(counts.data_bytes, data), (unsigned long long)counts.new_blocks,
            (unsigned long long)counts.known_blocks, text_format_size(counts.written_bytes, written),
            (unsigned long long)counts.packs);
    printf("%s\n", sha256_to_hex(&name, hex));
    return 0;
}

static int check_compression(struct publication *p)
{
    static const struct {
        const char *name;
        enum chunk_codec codec;
    } codecs[] = {{"zstd", CHUNK_ZSTD}, {"lz4", CHUNK_LZ4}};

    p->codec = CHUNK_CODEC_DEFAULT;
    if (p->codec_text) {
        size_t i = 0;
        while (i < ARRAY_SIZE(codecs) && strcmp(p->codec_text, codecs[i].name) != 0)
            i++;
        if (i == ARRAY_SIZE(codecs))
            return cli_usage("publish", "--codec takes zstd or lz4, not \"%s\"", p->codec_text);
        p->codec = codecs[i].codec;
    }
    int maximum = chunk_level_maximum(p->codec);
    if (p->level > (uint64_t)maximum)
        return cli_usage("publish", "--level takes 1 to %d with this codec", maximum);
    return 0;
}

static int check_options(struct publication *p)
{
    const struct {
        const char *name, *value;
    } needed[] = {
        {"name", p->name}, {"version", p->version}, {"disk", p->files[0]}, {"key", p->key_path}, {"to", p->site}};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!needed[i].value)
            return cli_usage("publish", "--%s is needed", needed[i].name);
    if (!text_is_image_name(slice_of(p->name)))
        return cli_usage("publish", "--name \"%s\": a-z, 0-9, dot, dash, underscore; 64 at most", p->name);
    if (!text_is_version_name(slice_of(p->version)))
        return cli_usage("publish", "--version \"%s\": letters, digits, dot, dash, underscore, plus", p->version);
    if (strcmp(p->version, "latest") == 0)
        return cli_usage("publish", "--version latest: that is the tag of the newest version");
    if (p->tag && strcmp(p->tag, p->version) == 0)
        return cli_usage("publish", "--tag and --version are the same");
    if (p->tag && !text_is_version_name(slice_of(p->tag)))
        return cli_usage("publish", "--tag \"%s\": letters, digits, dot, dash, underscore, plus", p->tag);
    if (strstr(p->site, "://"))
        return cli_usage("publish", "--to takes a directory; serve it with rondo serve, or any web server");
    if ((p->files[1] == NULL) != (p->cmdline == NULL) && p->cmdline)
        return cli_usage("publish", "--cmdline is for a --kernel");
    if (p->files[2] && !p->files[1])
        return cli_usage("publish", "--initrd is for a --kernel");
    return check_compression(p);
}

int verb_publish(int argc, char **argv)
{
    struct publication p = {.expires = CATALOG_EXPIRES_DEFAULT, .file_fds = {-1, -1, -1}};
    const struct option options[] = {
        {"name", OPTION_TEXT, &p.name},
        {"version", OPTION_TEXT, &p.version},
        {"disk", OPTION_TEXT, &p.files[0]},
        {"kernel", OPTION_TEXT, &p.files[1]},
        {"initrd", OPTION_TEXT, &p.files[2]},
        {"cmdline", OPTION_TEXT, &p.cmdline},
        {"memory", OPTION_SIZE, &p.memory},
        {"ready", OPTION_TEXT, &p.ready},
        {"parent", OPTION_TEXT, &p.parent},
        {"title", OPTION_TEXT, &p.title},
        {"summary", OPTION_TEXT, &p.summary},
        {"homepage", OPTION_TEXT, &p.homepage},
        {"licence", OPTION_TEXT, &p.licence},
        {"os", OPTION_TEXT, &p.os},
        {"key", OPTION_TEXT, &p.key_path},
        {"site-key", OPTION_TEXT, &p.site_key_path},
        {"to", OPTION_TEXT, &p.site},
        {"tag", OPTION_TEXT, &p.tag},
        {"expires", OPTION_TEXT, &p.expires_text},
        {"codec", OPTION_TEXT, &p.codec_text},
        {"level", OPTION_NUMBER, &p.level},
        {"mirror", OPTION_LIST, &p.mirrors},
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 0, 0, &operands);
    if (r != 0)
        return cli_parsed(r);
    r = check_options(&p);
    if (r != 0)
        return r;
    if (p.expires_text && !publisher_parse_duration(p.expires_text, &p.expires))
        return cli_usage("publish", "--expires takes a time like 90d or 12h, not \"%s\"", p.expires_text);
    struct error error = {.text = ""};
    cli_catch_signals();
    r = publish(&p, &error);
    if (p.writer)
        writer_close(p.writer);
    for (unsigned i = 0; i < ARRAY_SIZE(p.file_fds); i++)
        if (p.file_fds[i] >= 0)
            close(p.file_fds[i]);
    catalog_free(&p.catalog);
    if (p.site_key && p.site_key != p.key)
        key_free(&p.site_key);
    key_free(&p.key);
    free(p.manifest);
    free(p.parent_description);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
