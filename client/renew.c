// rondo renew: signs a site's catalog anew, with the next number and a later date; --mirror replaces its mirrors.
// Nothing else changes. Cut short at any point, the old catalog or the new one stands.
#include "client/cli.h"
#include "client/publisher.h"
#include <stdio.h>

#include "base/banned.h"

static int renew(const char *path, const char *key_path, int64_t expires, const struct option_list *mirrors,
                 struct error *error)
{
    struct publisher_change p;
    char date[32];
    int r = publisher_begin(path, key_path, NULL, &p, error);
    if (r == 0)
        r = publisher_set_mirrors(&p.catalog, mirrors, error);
    if (r == 0)
        r = publisher_sign_catalog(p.site, &p.catalog, p.key, expires, error);
    if (r == 0)
        printf("%s: number %llu, expires %s\n", path, (unsigned long long)p.catalog.number,
               text_format_time(p.catalog.expires, date));
    publisher_end(&p);
    return r;
}

int verb_renew(int argc, char **argv)
{
    const char *key = NULL, *expires_text = NULL;
    int64_t expires = CATALOG_EXPIRES_DEFAULT;
    struct option_list mirrors = {.count = 0};
    const struct option options[] = {{"key", OPTION_TEXT, &key},
                                     {"expires", OPTION_TEXT, &expires_text},
                                     {"mirror", OPTION_LIST, &mirrors},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (!key)
        return cli_usage("renew", "--key KEYFILE is needed");
    if (expires_text && !publisher_parse_duration(expires_text, &expires))
        return cli_usage("renew", "--expires takes a time like 90d or 12h, not \"%s\"", expires_text);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = renew(argv[1], key, expires, &mirrors, &error);
    return r < 0 ? cli_fail(r, &error) : cli_finish_output(EXIT_CODE_OK);
}
