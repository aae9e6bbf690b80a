// rondo key new FILE | show FILE: signing keys in minisign's format.
#include "catalog/key.h"
#include "base/cleanup.h"
#include "client/cli.h"
#include "client/passphrase.h"
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

int verb_key(int argc, char **argv)
{
    static const struct option options[] = {{NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 2, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    if (strcmp(argv[1], "new") == 0)
        r = make_key(argv[2], &error);
    else if (strcmp(argv[1], "show") == 0)
        r = show_key(argv[2], &error);
    else
        return cli_usage("key", "new or show, not \"%s\"", argv[1]);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
