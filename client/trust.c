// rondo trust ls | add SITE KEY | rm SITE: whose keys this user trusts. `add` pins a key before the first contact; `rm`
// forgets one, so that the next contact is a first one again.
#include "catalog/trust.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "client/cli.h"
#include "client/json.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

struct listing {
    bool json;
    unsigned count;
};

static int print_one(void *context, const char *site, const struct key_public *key, bool pinned)
{
    struct listing *l = context;
    char text[KEY_TEXT_SIZE];
    key_to_text(key, text);
    if (!l->json) {
        printf("%s %-10s %s\n", text, pinned ? "pinned" : "remembered", site);
        return 0;
    }
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16384);
    int r = buf_append_format(&b, "%s\n  {", l->count++ ? "," : "");
    if (r == 0)
        r = json_append_text(&b, "site", site);
    if (r == 0)
        r = json_append_text(&b, "key", text);
    if (r == 0)
        r = buf_append_format(&b, ", \"pinned\": %s}", pinned ? "true" : "false");
    if (r == 0)
        fputs(buf_text(&b), stdout);
    return r;
}

static int list(struct trust *t, bool json, struct error *error)
{
    struct listing l = {.json = json};
    if (json)
        fputs("[", stdout);
    int r = trust_list(t, print_one, &l, error);
    if (json)
        fputs(l.count ? "\n]\n" : "]\n", stdout);
    return r;
}

static int add(struct trust *t, const char *site, const char *text, struct error *error)
{
    struct key_public key;
    if (!key_from_text(text, strlen(text), &key))
        return error_set(error, EINVAL, "\"%s\" is no public key; rondo key show FILE.pub prints one", text);
    return trust_add(t, site, &key, error);
}

int verb_trust(int argc, char **argv)
{
    bool json = false;
    const struct option options[] = {{"json", OPTION_FLAG, &json}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 3, &operands);
    if (r != 0)
        return cli_parsed(r);
    const char *action = argv[1];
    unsigned wanted = strcmp(action, "ls") == 0    ? 1
                      : strcmp(action, "rm") == 0  ? 2
                      : strcmp(action, "add") == 0 ? 3
                                                   : 0;
    if (wanted == 0)
        return cli_usage("trust", "ls, add or rm, not \"%s\"", action);
    if (operands != wanted)
        return cli_usage("trust", "%s takes %s", action,
                         wanted == 1   ? "no argument"
                         : wanted == 2 ? "a SITE"
                                       : "a SITE and a KEY");
    if (json && wanted != 1)
        return cli_usage("trust", "--json is for ls");

    struct error error = {.text = ""};
    struct trust *t = NULL;
    char home[PATH_TEXT_SIZE], site[CATALOG_URL_SIZE];
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    if (wanted > 1)
        r = address_parse_site(argv[2], folder ? folder : "/", site, &error);
    if (r == 0)
        r = path_make(PATH_HOME, home, &error);
    if (r == 0)
        r = trust_open(home, &t, &error);
    if (r < 0)
        return cli_fail(r, &error);
    r = wanted == 1   ? list(t, json, &error)
        : wanted == 2 ? trust_remove(t, site, &error)
                      : add(t, site, argv[3], &error);
    trust_close(t);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
