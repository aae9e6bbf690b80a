// rondo site: a site's pages as plain files in its folder, so that any web space shows what rondo-server would.
#include "base/cleanup.h"
#include "catalog/address.h"
#include "client/publisher.h"
#include "client/site_pages.h"
#include "web/site_url.h"

#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static int write_pages(const char *site, const char *url, struct error *error)
{
    struct publisher_change p;
    struct site_pages_counts n;
    char where[CATALOG_URL_SIZE];
    int r = publisher_begin(site, NULL, NULL, &p, error);
    if (r == 0)
        r = site_pages_write(p.site, &p.catalog, url, where, &n, error);
    if (r == 0)
        fprintf(stderr, "rondo: the pages of %s for %s: %s written, %u as they were, %u removed\n", site, where,
                TEXT_COUNT(n.written, "file"), n.same, n.removed);
    publisher_end(&p);
    return r;
}

int verb_site(int argc, char **argv)
{
    const char *url = NULL;
    char right[CATALOG_URL_SIZE];
    const struct option options[] = {{"url", OPTION_TEXT, &url}, {NULL, OPTION_FLAG, NULL}};
    struct error error = {.text = ""};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (url && (address_parse_url(slice_of(url), right, &error) < 0 || !site_url_is_right(slice_of(right))))
        return cli_usage("site", "--url takes where visitors find the site, like https://HOST/os/, not \"%s\"", url);
    cli_cancel_on_signals();
    r = write_pages(argv[1], url ? right : NULL, &error);
    return cli_end(r, &error);
}
