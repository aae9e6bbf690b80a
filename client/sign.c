// rondo sign: signs the text of a manifest, a catalog or a root statement, where the key is: perhaps on a computer that
// no network reaches. What it signs is parsed to the letter and shown first; a manifest or a catalog must be meant for
// that very key, so nobody is led to sign something else. Beside FILE it writes FILE.signed, whole or not at all; FILE
// stays. A root statement gets one signature after the other, with several keys: to FILE.signed, or to FILE itself if
// that has signatures already.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/signed.h"
#include "client/cli.h"
#include "client/passphrase.h"
#include "client/signing.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static void show_manifest(const struct manifest *m)
{
    char size[32];
    for (unsigned i = 0; i < m->member_count; i++)
        fprintf(stderr, "rondo:   %s, %s\n", m->members[i].name, text_format_size(m->members[i].size, size));
    if (m->cmdline[0])
        fprintf(stderr, "rondo:   command line: %s\n", m->cmdline);
}

static void show_catalog(const struct catalog *c)
{
    char time[32], key[KEY_TEXT_SIZE];
    fprintf(stderr, "rondo:   expires %s\n", text_format_time(c->expires, time));
    for (unsigned i = 0; i < c->mirror_count; i++)
        fprintf(stderr, "rondo:   mirror %s\n", c->mirrors[i]);
    for (unsigned i = 0; i < c->revoked_count; i++)
        fprintf(stderr, "rondo:   revokes the key %s\n", key_to_text(&c->revoked[i], key));
    for (unsigned i = 0; i < c->key_count; i++)
        fprintf(stderr, "rondo:   %s may publish %s\n", key_to_text(&c->keys[i].key, key), c->keys[i].prefix);
    for (unsigned i = 0; i < c->tag_count; i++)
        fprintf(stderr, "rondo:   %s:%s is %s\n", c->tags[i].name, c->tags[i].tag, c->tags[i].version);
    if (c->shard_count)
        fprintf(stderr, "rondo:   and what %s of the site say, by hash\n", TEXT_COUNT(c->shard_count, "file"));
}

static void show_root(const struct root *root)
{
    char key[KEY_TEXT_SIZE];
    fprintf(stderr, "rondo:   %u of these keys are to sign it, and the root that comes after it:\n", root->threshold);
    for (unsigned i = 0; i < root->key_count; i++)
        fprintf(stderr, "rondo:     %s\n", key_to_text(&root->keys[i], key));
    fprintf(stderr, "rondo:   %s signs catalogs\n", key_to_text(&root->catalog_key, key));
    for (unsigned i = 0; i < root->revoked_count; i++)
        fprintf(stderr, "rondo:   revokes the key %s\n", key_to_text(&root->revoked[i], key));
}

// What is to be signed, and the file that is written.
struct job {
    const char *path;
    char to[PATH_TEXT_SIZE];
    void *bytes; // of the file that was given
    struct slice text;
    struct signing_text t;
    struct buf file;
};

static void job_free(struct job *j)
{
    free(j->bytes);
    signing_free(&j->t);
    buf_free(&j->file);
}

// A root statement that has signatures already: others are added to them. They stand in the file itself, or beside the
// unsigned text, in the one that was written for the key before.
static int take_signatures(struct job *j, const void *bytes, size_t size, struct error *error)
{
    struct slice text, signatures;
    if (signed_split(bytes, size, &text, &signatures, NULL) < 0 || text.length != j->text.length ||
        memcmp(text.at, j->text.at, text.length) != 0)
        return 0;
    int r = buf_append(&j->file, bytes, size);
    return r < 0 ? error_set(error, EBADMSG, "%s is longer than a root statement can be", j->path) : 0;
}

static int read_text(struct job *j, struct error *error)
{
    CLEANUP_FREE void *before = NULL;
    struct slice signatures;
    size_t size, before_size;
    int r = io_read_file(AT_FDCWD, j->path, CATALOG_SIZE_MAXIMUM, &j->bytes, &size);
    if (r < 0)
        return error_set(error, r == -EFBIG ? EBADMSG : -r, "cannot read %s: %s", j->path,
                         r == -EFBIG ? "longer than any manifest or catalog" : strerror(-r));
    const bool is_signed = signed_split(j->bytes, size, &j->text, &signatures, NULL) == 0;
    if (!is_signed)
        j->text = (struct slice){.at = j->bytes, .length = size};
    r = signing_parse(j->text, &j->t, error);
    if (r < 0)
        return error_prefix(error, r, "%s is nothing that rondo sign signs", j->path);
    if (is_signed && !j->t.root.number)
        return error_set(error, EEXIST, "%s is signed already", j->path);
    r = path_format(j->to, sizeof(j->to), is_signed ? "%s" : "%s.signed", j->path);
    if (r < 0)
        return error_set(error, -r, "the path %.64s… is too long", j->path);
    if (is_signed)
        return take_signatures(j, j->bytes, size, error);
    if (j->t.root.number && io_read_file(AT_FDCWD, j->to, ROOT_SIZE_MAXIMUM, &before, &before_size) == 0)
        return take_signatures(j, before, before_size, error);
    return 0;
}

static int sign_one(struct job *j, const struct key_secret *key, const struct key_public *public, struct error *error)
{
    char text[KEY_TEXT_SIZE];
    if (!key_equal(public, &j->t.signer))
        return error_set(error, EKEYREJECTED,
                         "%s is to be signed with the key %s, and the one that was given is another", j->path,
                         key_to_text(&j->t.signer, text));
    return signed_write(key, j->text.at, j->text.length, j->t.manifest ? "rondo manifest" : "rondo catalog", &j->file,
                        error);
}

// One more signature. Former keys sign, too: they hand the site over.
static int sign_root(struct job *j, const struct key_secret *key, const struct key_public *public, struct error *error)
{
    char text[KEY_TEXT_SIZE];
    if (!root_has_key(&j->t.root, public))
        fprintf(
            stderr,
            "rondo: %s is none of these keys: with this signature, if it is one of the site's present keys, it hands "
            "the site over to them\n",
            key_to_text(public, text));
    if (j->file.size == 0)
        return signed_write(key, j->text.at, j->text.length, "rondo root", &j->file, error);
    if (root_is_signed_by(j->file.data, j->file.size, public))
        return 0;
    return signed_append_signature(key, j->text.at, j->text.length, "rondo root", &j->file, error);
}

static int sign(struct job *j, const char *key_path, struct error *error)
{
    struct key_secret *key CLEANUP(key_free) = NULL;
    struct key_public public;
    char what[256];
    int r = read_text(j, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s: the %s\n", j->path, signing_describe(&j->t, what, sizeof(what)));
    if (j->t.manifest)
        show_manifest(j->t.manifest);
    else if (j->t.root.number)
        show_root(&j->t.root);
    else
        show_catalog(&j->t.catalog);
    r = passphrase_read_key(key_path, &key, error);
    if (r < 0)
        return r;
    key_public_of(key, &public);
    r = j->t.root.number ? sign_root(j, key, &public, error) : sign_one(j, key, &public, error);
    if (r == 0)
        r = signing_write_text(j->to, j->file.data, j->file.size, error);
    if (r == 0)
        printf("%s\n", j->to);
    return r;
}

int verb_sign(int argc, char **argv)
{
    const char *key = NULL;
    const struct option options[] = {{"key", OPTION_TEXT, &key}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (!key)
        return cli_usage("sign", "--key KEYFILE is needed");
    struct error error = {.text = ""};
    struct job j = {.path = argv[1], .file = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM)};
    cli_cancel_on_signals();
    r = sign(&j, key, &error);
    job_free(&j);
    return cli_end(r, &error);
}
