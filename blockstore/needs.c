// See needs.h. Both sets are lists of packs as the store's own (store_list.c): hashed with random keys, since names are
// whatever a publisher chose.
#include "blockstore/needs.h"
#include "blockstore/store_private.h"
#include <errno.h>
#include <stdlib.h>

#include "base/banned.h"

struct needs {
    struct version_list objects, pages;
};

int needs_new(struct needs **ret, struct error *error)
{
    struct needs *n = calloc(1, sizeof(*n));
    if (!n)
        return error_set(error, ENOMEM, "out of memory");
    if (sha256_make_keys(&n->objects.keys) < 0) {
        free(n);
        return error_set(error, EIO, "no random numbers can be had");
    }
    n->pages.keys = n->objects.keys;
    *ret = n;
    return 0;
}

void needs_free(struct needs *n)
{
    if (!n)
        return;
    store_free_list(&n->objects);
    store_free_list(&n->pages);
    free(n);
}

static int add(struct version_list *list, const struct sha256 *name, uint32_t size, struct error *error)
{
    int64_t number = list->pack_count < NEEDS_MAXIMUM
                         ? store_number_pack(list, &(struct pack_reference){.name = *name, .size = size})
                         : -E2BIG;
    if (number == -E2BIG)
        return error_set(error, E2BIG, "there are more than %u objects to keep in mind", NEEDS_MAXIMUM);
    return number < 0 ? error_set(error, (int)-number, "out of memory") : 0;
}

int needs_add(struct needs *n, const struct sha256 *name, uint32_t size, struct error *error)
{
    return add(&n->objects, name, size, error);
}

struct addition {
    struct needs *n;
    int (*read)(void *context, const struct chunk_reference *ref, void *to, struct error *error);
    void *context;
    struct sha256 page; // that was read last
};

static bool knows_page(void *context, const struct chunk_reference *ref)
{
    struct addition *a = context;
    return store_lists_pack(&a->n->pages, &ref->name);
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    struct addition *a = context;
    a->page = ref->name;
    return a->read(a->context, ref, to, error);
}

static int add_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct addition *a = context;
    struct chunk_reference ref;
    int r = 0;
    (void)first;
    for (unsigned i = 0; i < page->references && r == 0; i++)
        if (map_page_reference(page, i, &ref))
            r = needs_add(a->n, &ref.pack.name, ref.pack.size, error);
    // Only a leaf is known by itself. What is below an index page may be missing now, and be there for another version.
    if (r < 0 || page->level > 0 || a->n->pages.pack_count == NEEDS_MAXIMUM)
        return r;
    return add(&a->n->pages, &a->page, 0, error);
}

int needs_add_version(struct needs *n, const struct sha256 *name, const struct manifest *m,
                      int (*read)(void *context, const struct chunk_reference *ref, void *to, struct error *error),
                      void *context, unsigned *ret_missing, struct error *error)
{
    struct addition a = {.n = n, .read = read, .context = context};
    struct map_walk walk = {.read = read_page, .each = add_page, .skip = knows_page, .context = &a};
    char hex[SHA256_HEX_SIZE];
    int r = needs_add(n, name, 0, error);
    for (unsigned i = 0; i < m->boot_count && r == 0; i++)
        r = needs_add(n, &m->boot[i].pack, m->boot[i].size, error);
    if (r == 0 && m->logo.type != MANIFEST_LOGO_NONE)
        r = needs_add(n, &m->logo.object, m->logo.size, error);
    for (unsigned i = 0; i < m->member_count && r == 0; i++) {
        if (!m->members[i].zero)
            r = needs_add(n, &m->members[i].top.pack.name, m->members[i].top.pack.size, error);
        if (r == 0)
            r = map_walk_member(&walk, &m->members[i], error);
    }
    if (r == 0 && walk.missing > 0 && !ret_missing)
        r = error_set(error, ENOENT, "%u pages of the map of version %.16s… are missing", walk.missing,
                      sha256_to_hex(name, hex));
    if (r == 0 && ret_missing)
        *ret_missing = walk.missing;
    return r;
}

bool needs_has(const struct needs *n, const struct sha256 *name)
{
    return store_lists_pack(&n->objects, name);
}

size_t needs_count(const struct needs *n)
{
    return n->objects.pack_count;
}

struct needs_object needs_get(const struct needs *n, size_t i)
{
    return (struct needs_object){.name = n->objects.packs[i].name, .size = n->objects.packs[i].size};
}
