// Fuzz target: the user's configuration. What is accepted is within its limits, and the text of each address is in its
// plain form.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "catalog/address.h"
#include "client/cli.h"
#include "client/configuration.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void check_site(const char *site)
{
    char again[CATALOG_URL_SIZE];
    check(address_parse_site(site, "/", again, NULL) == 0 && strcmp(site, again) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct configuration c;
    struct error error = {""};
    int r = configuration_parse(data, size, "config", &c, &error);
    check(r == 0 || (r == -EINVAL && strncmp(error.text, "config, line ", 13) == 0));
    if (r < 0) {
        check(text_is_printable(slice_of(error.text)));
        return 0;
    }
    check(c.outage_seconds >= 1 && c.outage_seconds <= 86400 && c.cache_size <= INT64_MAX && c.fill_rate <= INT64_MAX);
    check(c.source_count <= CONFIGURATION_SOURCES_MAXIMUM);
    for (unsigned i = 0; i < c.source_count; i++)
        check_site(c.sources[i]);
    if (c.site[0])
        check_site(c.site);
    return 0;
}
