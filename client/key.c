// rondo key new FILE | show FILE | rotate SITE …: signing keys in minisign's format, and which of them a site has.
#include "catalog/key.h"
#include "base/cleanup.h"
#include "client/key_verb.h"
#include "client/passphrase.h"
#include "client/publisher.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int make_key(const char *path, struct error *error)
{
    char passphrase[1024], text[KEY_TEXT_SIZE];
    struct key_secret *key CLEANUP(key_free) = NULL;
    struct key_public public;
    if (access(path, F_OK) == 0)
        return error_set(error, EEXIST, "%s exists; a key is never overwritten", path);
    int r = passphrase_ask_new(passphrase, sizeof(passphrase), error);
    if (r >= 0)
        r = key_generate(&key, error);
    if (r >= 0)
        r = key_write_files(key, path, passphrase, error);
    explicit_bzero(passphrase, sizeof(passphrase));
    if (r < 0)
        return r;
    key_public_of(key, &public);
    printf("%s\n", key_to_text(&public, text));
    fprintf(stderr, "rondo: wrote %s (secret: keep it) and %s.pub\n", path, path);
    return 0;
}

// FILE.pub, or the secret file beside which it stands: the public key is what is shown in any case.
static int show_key(const char *path, struct error *error)
{
    struct key_public public;
    char beside[PATH_TEXT_SIZE], text[KEY_TEXT_SIZE];
    int r = path_format(beside, sizeof(beside), "%s.pub", path);
    if (r < 0)
        return error_set(error, -r, "the path %s is too long", path);
    if (access(beside, F_OK) == 0) {
        r = key_read_public(beside, &public, error);
    } else {
        r = key_read_public(path, &public, error);
        if (r < 0 && r != -ENOENT) {
            struct key_secret *key CLEANUP(key_free) = NULL;
            if (passphrase_read_key(path, &key, NULL) == 0) {
                key_public_of(key, &public);
                r = 0;
            }
        }
    }
    if (r == 0)
        printf("%s\n", key_to_text(&public, text));
    return r;
}

static int check_rotation(struct key_rotate_options *o, const char *expires_text)
{
    if (expires_text && !publisher_parse_duration(expires_text, &o->expires))
        return cli_usage("key", "--expires takes a time like 90d or 12h, not \"%s\"", expires_text);
    if (o->signed_paths.count && (o->keys.count || o->new_keys.count || o->revoke.count || o->threshold))
        return cli_usage("key",
                         "--signed is a root statement that was made already: only --catalog-key, --unsigned and "
                         "--expires go with it");
    if (!o->signed_paths.count && o->unsigned_path && o->keys.count)
        return cli_usage("key", "--unsigned leaves the text to be signed elsewhere: --key has no meaning with it");
    if (!o->signed_paths.count && !o->new_keys.count && !o->catalog_key && !o->revoke.count && !o->threshold)
        return cli_usage("key", "rotate wants to know what is to change: --new-key, --catalog-key, --revoke or "
                                "--threshold");
    if (!o->signed_paths.count && !o->unsigned_path && !o->keys.count)
        return cli_usage("key",
                         "rotate is signed with the site's present key: --key KEYFILE; or --unsigned FILE leaves "
                         "the text to be signed elsewhere");
    return 0;
}

int verb_key(int argc, char **argv)
{
    struct key_rotate_options o = {.expires = CATALOG_EXPIRES_DEFAULT};
    const char *expires_text = NULL;
    const struct option options[] = {{"key", OPTION_LIST, &o.keys},
                                     {"new-key", OPTION_LIST, &o.new_keys},
                                     {"catalog-key", OPTION_TEXT, &o.catalog_key},
                                     {"threshold", OPTION_NUMBER, &o.threshold},
                                     {"revoke", OPTION_LIST, &o.revoke},
                                     {"unsigned", OPTION_TEXT, &o.unsigned_path},
                                     {"signed", OPTION_LIST, &o.signed_paths},
                                     {"expires", OPTION_TEXT, &expires_text},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    const int all = argc;
    int r = cli_parse(argc, argv, options, 2, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    const bool rotate = strcmp(argv[1], "rotate") == 0;
    if (rotate && (r = check_rotation(&o, expires_text)) != 0)
        return r;
    if (!rotate && (unsigned)all != operands + 1)
        return cli_usage("key", "%s takes a FILE, and no options", argv[1]);
    if (rotate)
        cli_cancel_on_signals();
    if (rotate)
        r = key_rotate(argv[2], &o, &error);
    else if (strcmp(argv[1], "new") == 0)
        r = make_key(argv[2], &error);
    else if (strcmp(argv[1], "show") == 0)
        r = show_key(argv[2], &error);
    else
        return cli_usage("key", "new, show or rotate, not \"%s\"", argv[1]);
    return cli_end(r, &error);
}
