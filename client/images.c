// See images.h.
#include "client/images.h"

#include "base/banned.h"

int images_open(struct images *i, struct error *error)
{
    int r = configuration_read(&i->configuration, error);
    if (r == 0)
        r = resolve_list_others(&i->configuration, &i->named, i->resolve.offline, &i->others, error);
    if (r < 0)
        return r;
    i->resolve.others = &i->others;
    if (i->without_cache)
        return store_new(&(struct store_options){.wait_seconds = i->configuration.outage_seconds}, &i->store, error);
    return resolve_open_store(&i->configuration, &i->store, error);
}

void images_close(struct images *i)
{
    store_free(i->store);
    i->store = NULL;
}

int images_resolve(struct images *i, const char *address, struct resolved *ret, struct error *error)
{
    return resolve_image(i->store, &i->configuration, address, &i->resolve, ret, error);
}

int images_explain(int result, const struct resolved *r, struct error *error)
{
    return resolve_explain_offline(result, r->offline, r->address.site, r->description->name, r->description->version,
                                   error);
}

int images_open_version(struct images *i, const struct resolved *r, struct version **ret, struct error *error)
{
    return version_open(i->store, &r->manifest, (const char *const *)r->sources, r->source_count, ret, error);
}
