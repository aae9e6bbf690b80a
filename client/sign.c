// rondo sign: signs the text of a manifest or a catalog, where the key is: perhaps on a computer that no network
// reaches. What it signs is parsed to the letter and shown first, and must be meant for that very key; so nobody is led
// to sign something else. Beside FILE it writes FILE.signed, whole or not at all; FILE stays.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/signed.h"
#include "client/cli.h"
#include "client/passphrase.h"
#include "client/signing.h"
#include <fcntl.h>
#include <stdio.h>
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
        fprintf(stderr, "rondo:   and what %u files of the site say, by their hashes\n", c->shard_count);
}

static int read_text(const char *path, void **ret_bytes, size_t *ret_size, struct signing_text *ret,
                     struct error *error)
{
    struct slice text, signature;
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    int r = io_read_file(AT_FDCWD, path, CATALOG_SIZE_MAXIMUM, &bytes, &size);
    if (r < 0)
        return error_set(error, r == -EFBIG ? EBADMSG : -r, "cannot read %s: %s", path,
                         r == -EFBIG ? "longer than any manifest or catalog" : strerror(-r));
    if (signed_split(bytes, size, &text, &signature, NULL) == 0)
        return error_set(error, EEXIST, "%s is signed already", path);
    r = signing_parse((struct slice){.at = bytes, .length = size}, ret, error);
    if (r < 0)
        return error_prefix(error, r, "%s is nothing that rondo sign signs", path);
    *ret_bytes = TAKE_PTR(bytes);
    *ret_size = size;
    return 0;
}

static int sign(const char *path, const char *key_path, struct error *error)
{
    struct signing_text t CLEANUP(signing_free) = {.manifest = NULL};
    struct key_secret *key CLEANUP(key_free) = NULL;
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct key_public public;
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    char to[PATH_TEXT_SIZE], what[256], text[KEY_TEXT_SIZE];
    int r = path_format(to, sizeof(to), "%s.signed", path);
    if (r < 0)
        return error_set(error, -r, "the path %.64s… is too long", path);
    r = read_text(path, &bytes, &size, &t, error);
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: %s: the %s\n", path, signing_describe(&t, what, sizeof(what)));
    if (t.manifest)
        show_manifest(t.manifest);
    else
        show_catalog(&t.catalog);
    r = passphrase_read_key(key_path, &key, error);
    if (r < 0)
        return r;
    key_public_of(key, &public);
    if (!key_equal(&public, &t.signer))
        return error_set(error, EKEYREJECTED, "%s is to be signed with the key %s; %s is another", path,
                         key_to_text(&t.signer, text), key_path);
    r = signed_write(key, bytes, size, t.manifest ? "rondo manifest" : "rondo catalog", &file, error);
    if (r == 0)
        r = signing_write_text(to, file.data, file.size, error);
    if (r == 0)
        printf("%s\n", to);
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
    cli_cancel_on_signals();
    r = sign(argv[1], key, &error);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
