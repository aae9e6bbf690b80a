// rondo withdraw: takes a version out of a site's catalog: nobody is offered it any more. Its packs stay, for whoever
// runs it now, until the site's owner clears away what no listed version needs.
//
// What a tag names stays, and so does the newest version (catalog/catalog.h says why). Interrupted at any point, the
// old catalog or the new one stands.
#include "client/gc.h"
#include "client/publisher.h"
#include <stdio.h>

#include "base/banned.h"

static int withdraw(const char *site, const char *name, const char *version, const char *key_path,
                    const char *site_key_path, int64_t expires, struct error *error)
{
    struct publisher_change p;
    const struct catalog_image *image;
    int r = publisher_begin(site, key_path, site_key_path, &p, error);
    if (r == 0)
        r = publisher_check_key(&p, name, error);
    if (r == 0 && catalog_find(&p.catalog, name, version, &image, NULL) == 0)
        r = gc_renew_grace(p.site, image, error);
    if (r == 0)
        r = catalog_remove_image(&p.catalog, name, version, error);
    if (r == 0)
        r = publisher_sign_catalog(p.site, &p.catalog, p.site_key, expires, error);
    if (r == 0)
        fprintf(stderr,
                "rondo: %s does not offer %s %s any more; machines that were made from it keep it, and what nothing "
                "else needs of it stays until rondo gc %s\n",
                site, name, version, site);
    publisher_end(&p);
    return r;
}

int verb_withdraw(int argc, char **argv)
{
    const char *key = NULL, *site_key = NULL, *expires_text = NULL;
    int64_t expires = CATALOG_EXPIRES_DEFAULT;
    const struct option options[] = {{"key", OPTION_TEXT, &key},
                                     {"site-key", OPTION_TEXT, &site_key},
                                     {"expires", OPTION_TEXT, &expires_text},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 3, 3, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (!key)
        return cli_usage("withdraw", "--key KEYFILE is needed");
    if (expires_text && !publisher_parse_duration(expires_text, &expires))
        return cli_usage("withdraw", "--expires takes a time like 90d or 12h, not \"%s\"", expires_text);
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = withdraw(argv[1], argv[2], argv[3], key, site_key, expires, &error);
    return cli_end(r, &error);
}
