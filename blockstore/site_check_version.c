// Versions against the objects that were looked at (see site_check.h). One thread.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/map_walk.h"
#include "blockstore/site_check_private.h"
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

bool site_check_object(struct site_check *k, const struct sha256 *name, uint32_t size, const char *what)
{
    struct error text = {.text = ""};
    struct item *item = site_check_find(k, name);
    if (item) {
        k->sum.needed += !item->needed;
        item->needed = true;
        item->referred = size;
        return item->right;
    }
    if (store_lists_pack(&k->missing, name))
        return false;
    if (store_number_pack(&k->missing, &(struct pack_reference){.name = *name, .size = size}) < 0)
        return false; // there is no memory to remember it: it is told again
    error_set(&text, ENOENT, "it is missing, and needed: %s", what);
    site_check_tell(k, name, text.text);
    return false;
}

static void tell_wrong_reference(struct site_check *k, const struct chunk_reference *ref, const char *why)
{
    struct error text = {.text = ""};
    char hex[SHA256_HEX_SIZE];
    struct item *item = site_check_find(k, &ref->pack.name);
    if (item->told)
        return;
    item->told = true;
    error_set(&text, EBADMSG, "%s refers to %u bytes at %u of pack %.16s…: %s", k->label, ref->length, ref->offset,
              sha256_to_hex(&ref->pack.name, hex), why);
    site_check_tell(k, NULL, text.text);
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

// The pack keeps no places: the chunk itself is read.
static int read_chunk(struct site_check *k, const struct chunk_reference *ref)
{
    unsigned char *stored CLEANUP_FREE = malloc(PAGE_STORED_MAXIMUM);
    int fd CLEANUP_CLOSE = site_open_object(k->site, &ref->pack.name);
    if (!stored)
        return -ENOMEM;
    int r = ref->length > PAGE_STORED_MAXIMUM ? -EBADMSG
            : fd < 0                          ? fd
                                              : io_read_full(fd, stored, ref->length, ref->offset);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    struct sha256 actual = sha256_of(stored, ref->length);
    return sha256_equal(&actual, &ref->name) ? 0 : -EBADMSG;
}

static int check_reference(struct site_check *k, const struct chunk_reference *ref)
{
    if (!site_check_object(k, &ref->pack.name, ref->pack.size, k->label))
        return 0; // told already
    const struct item *item = site_check_find(k, &ref->pack.name);
    if (!item->is_pack || item->size != ref->pack.size || !sha256_equal(&item->table, &ref->pack.table)) {
        tell_wrong_reference(k, ref, "it has another size or another table");
        return 0;
    }
    int r = 0;
    if (item->places) {
        const struct place key = {.offset = ref->offset};
        const struct place *p = bsearch(&key, item->places, item->place_count, sizeof(key), compare_places);
        r = p && p->length == ref->length && memcmp(p->name, ref->name.bytes, sizeof(p->name)) == 0 ? 0 : -EBADMSG;
    } else {
        r = read_chunk(k, ref);
    }
    if (r == -EBADMSG)
        tell_wrong_reference(k, ref, "there is another chunk");
    return r == -ENOMEM ? r : 0;
}

static bool knows_page(void *context, const struct chunk_reference *ref)
{
    struct site_check *k = context;
    return store_lists_pack(&k->pages, &ref->name);
}

static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    struct site_check *k = context;
    if (site_check_tick(k) != 0)
        return error_set(error, ECANCELED, "cancelled");
    const struct item *item = site_check_find(k, &ref->pack.name);
    if (!item || !item->right)
        return -ENOENT; // told when its reference was
    int fd CLEANUP_CLOSE = site_open_object(k->site, &ref->pack.name);
    int r = fd < 0 ? fd : io_read_full(fd, to, ref->length, ref->offset);
    if (r == 0) {
        struct sha256 actual = sha256_of(to, ref->length);
        r = sha256_equal(&actual, &ref->name) ? 0 : -ENOENT;
    }
    if (r == 0)
        r = store_number_pack(&k->pages, &(struct pack_reference){.name = ref->name}) == -ENOMEM ? -ENOMEM : 0;
    return r == -ENOMEM ? error_set(error, ENOMEM, "out of memory") : r == 0 ? 0 : -ENOENT;
}

static int check_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct site_check *k = context;
    struct chunk_reference ref;
    int r = 0;
    (void)first;
    for (unsigned i = 0; i < page->references && r == 0; i++)
        if (map_page_reference(page, i, &ref))
            r = check_reference(k, &ref);
    return r < 0 ? error_set(error, -r, "out of memory") : 0;
}

// Into room for MANIFEST_LOGO_MAXIMUM bytes.
static int read_logo(struct site *s, const struct manifest_logo *logo, unsigned char *to, struct error *error)
{
    const struct pack_reference object = {.name = logo->object, .size = logo->size}; // to whoever sends it, a pack
    const struct site_elsewhere *elsewhere = site_elsewhere(s);
    struct stat st;
    int fd CLEANUP_CLOSE = site_open_object(s, &logo->object);
    int r = fd < 0 ? fd : io->fstat(fd, &st) < 0 ? -errno : 0;
    if (r == -ENOENT && elsewhere)
        return elsewhere->read(elsewhere->context, &object, 0, to, logo->size, error);
    if (r == 0 && st.st_size != (off_t)logo->size)
        return error_set(error, EBADMSG, "it has not the %u bytes that the manifest says", logo->size);
    return r < 0 ? r : io_read_full(fd, to, logo->size, 0);
}

int site_check_logo(struct site *s, const struct manifest_logo *logo, struct error *error)
{
    struct error why = {.text = ""};
    char hex[SHA256_HEX_SIZE];
    if (logo->type == MANIFEST_LOGO_NONE)
        return 0;
    unsigned char *bytes CLEANUP_FREE = malloc(MANIFEST_LOGO_MAXIMUM);
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    sha256_to_hex(&logo->object, hex);
    int r = read_logo(s, logo, bytes, &why);
    if (r < 0)
        return error_set(error, -r, "its logo, object %.16s…: %s", hex,
                         r == -ENOENT  ? "it is missing"
                         : why.text[0] ? why.text
                                       : strerror(-r));
    struct sha256 actual = sha256_of(bytes, logo->size);
    if (!sha256_equal(&actual, &logo->object))
        return error_set(error, EBADMSG, "its logo, object %.16s…, does not hash to its name", hex);
    if (manifest_detect_logo(bytes, logo->size) != logo->type)
        return error_set(error, EBADMSG, "its logo, object %.16s…, is no %s", hex, manifest_logo_type_name(logo->type));
    return 0;
}

// What is missing or damaged is told as any object is; what its publisher made wrong, of the version.
static void check_logo(struct site_check *k, const struct manifest_logo *logo)
{
    struct error text = {.text = ""}, why = {.text = ""};
    if (logo->type == MANIFEST_LOGO_NONE || !site_check_object(k, &logo->object, logo->size, k->label) ||
        site_check_logo(k->site, logo, &why) == 0)
        return;
    error_set(&text, EBADMSG, "%s: %s", k->label, why.text);
    site_check_tell(k, NULL, text.text);
}

int site_check_version(struct site_check *k, const char *label, const struct manifest *m, struct error *error)
{
    struct map_walk walk = {.read = read_page, .each = check_page, .skip = knows_page, .context = k};
    struct error why = {.text = ""};
    int r = 0;
    k->label = label;
    for (unsigned i = 0; i < m->boot_count; i++)
        site_check_object(k, &m->boot[i].pack, m->boot[i].size, label);
    check_logo(k, &m->logo);
    for (unsigned i = 0; i < m->member_count && r == 0; i++) {
        r = m->members[i].zero ? 0 : check_reference(k, &m->members[i].top);
        if (r == 0)
            r = map_walk_member(&walk, &m->members[i], &why);
        if (r == -EBADMSG) {
            struct error text = {.text = ""};
            error_set(&text, EBADMSG, "%s, member %s: %s", label, m->members[i].name, why.text);
            site_check_tell(k, NULL, text.text);
            r = 0;
        }
    }
    return r < 0 ? error_set(error, -r, "%s", why.text[0] ? why.text : strerror(-r)) : 0;
}
