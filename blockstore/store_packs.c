// See store_packs.h: the store's list of packs, for those who see no store from inside.
#include "blockstore/store_packs.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct pack_set {
    struct version_list list;
};

int pack_set_new(struct pack_set **ret, struct error *error)
{
    struct pack_set *s = calloc(1, sizeof(*s));
    int r = s ? sha256_make_keys(&s->list.keys) : -ENOMEM;
    if (r < 0) {
        free(s);
        return error_set(error, -r, "cannot make a list of packs: %s", strerror(-r));
    }
    *ret = s;
    return 0;
}

void pack_set_free(struct pack_set **s)
{
    if (*s) {
        store_free_list(&(*s)->list);
        free(*s);
    }
    *s = NULL;
}

int pack_set_put(struct pack_set *s, const struct whole_object *pack, struct error *error)
{
    size_t before = s->list.pack_count;
    int64_t number = store_number_pack(&s->list, &(struct pack_reference){.name = pack->name, .size = pack->size});
    if (number < 0)
        return store_explain_list((int)number, error);
    return s->list.pack_count > before;
}

int pack_set_add_first(struct pack_set *s, struct version *v, struct error *error)
{
    const struct manifest *m = v->manifest;
    int r = 0;
    for (unsigned i = 0; i < m->boot_count && r >= 0; i++)
        r = pack_set_put(s, &(struct whole_object){m->boot[i].pack, m->boot[i].size}, error);
    for (unsigned i = 0; i < m->member_count && r >= 0; i++)
        if (!m->members[i].zero)
            r = pack_set_put(s, &(struct whole_object){m->members[i].top.pack.name, m->members[i].top.pack.size},
                             error);
    if (r >= 0 && m->logo.type != MANIFEST_LOGO_NONE)
        r = pack_set_put(s, &(struct whole_object){m->logo.object, m->logo.size}, error);
    return r < 0 ? r : 0;
}

int pack_set_add(struct pack_set *s, struct version *v, struct error *error)
{
    int r = pack_set_add_first(s, v, error);
    return r < 0 ? r : store_add_packs(v, &s->list, error);
}

size_t pack_set_count(const struct pack_set *s)
{
    return s->list.pack_count;
}

struct whole_object pack_set_get(const struct pack_set *s, size_t i)
{
    return (struct whole_object){s->list.packs[i].name, s->list.packs[i].size};
}
