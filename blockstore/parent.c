// See parent.h. The pages are walked depth first; what is remembered is the set of pack names, which is small (one for
// 8 MiB of stored bytes), and one page a level. All of it can be long where the parent is large, or is somebody else's:
// after each page and each pack the writer's progress is called, which may cancel.
#include "blockstore/parent.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/map_walk.h"
#include "blockstore/pack.h"
#include "blockstore/site_check.h"
#include "blockstore/writer_private.h"
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define PACKS_MAXIMUM (1u << 20) // 8 TiB of packs
#define TABLE_SHARE 50           // a pack's table takes about a fiftieth of it

struct walk {
    struct site *site;
    parent_each_page each;
    void *context;
    const struct manifest *manifest; // whose boot packs alone are looked into
};

struct pack_list {
    struct writer *writer;        // NULL: nothing is to be known, only checked
    uint64_t budget;              // bytes of pages and tables that may still be read
    struct pack_reference *packs; // the first `sorted` by name, each once; then what came since
    size_t sorted, count, capacity;
};

struct boot_list {
    const struct manifest *manifest;
    struct pack_list *list;
};

static int compare_packs(const void *a, const void *b)
{
    const struct pack_reference *x = a, *y = b;

    return memcmp(x->name.bytes, y->name.bytes, SHA256_SIZE);
}

static const struct pack_reference *find_pack(const struct pack_list *l, const struct sha256 *name)
{
    const struct pack_reference key = {.name = *name};

    return l->sorted ? bsearch(&key, l->packs, l->sorted, sizeof(key), compare_packs) : NULL;
}

static void sort_packs(struct pack_list *l)
{
    size_t different = 0;

    if (l->count > 0)
        qsort(l->packs, l->count, sizeof(*l->packs), compare_packs);
    for (size_t i = 0; i < l->count; i++)
        if (different == 0 || compare_packs(&l->packs[i], &l->packs[different - 1]) != 0)
            l->packs[different++] = l->packs[i];
    l->count = l->sorted = different;
}

// A list that is full is sorted, and grows unless that made it half empty: so the work is n log n.
static int make_room(struct pack_list *l, struct error *error)
{
    sort_packs(l);
    if (l->count >= PACKS_MAXIMUM)
        return error_set(error, E2BIG, "the version refers to more than %u packs", PACKS_MAXIMUM);
    if (l->count * 2 < l->capacity)
        return 0;
    size_t capacity = l->capacity ? 2 * l->capacity : 64;
    struct pack_reference *grown = realloc(l->packs, capacity * sizeof(*grown));
    if (!grown)
        return error_set(error, ENOMEM, "out of memory");
    l->packs = grown;
    l->capacity = capacity;
    return 0;
}

static int note_pack(struct pack_list *l, const struct pack_reference *pack, struct error *error)
{
    if ((l->count > 0 && sha256_equal(&l->packs[l->count - 1].name, &pack->name)) || find_pack(l, &pack->name))
        return 0;
    int r = l->count < l->capacity ? 0 : make_room(l, error);
    if (r < 0)
        return r;
    // Failures are negative, which the analyzer does not know of error_set.
    l->packs[l->count++] = *pack; // NOLINT(clang-analyzer-core.NullDereference)
    return 0;
}

// A pack, in the site's folder or elsewhere.
struct opened {
    int fd; // -1: elsewhere
    const struct site_elsewhere *elsewhere;
    const struct pack_reference *pack;
};

static void close_pack(struct opened *o)
{
    cleanup_close(&o->fd);
}

static int open_pack(struct site *s, const struct pack_reference *pack, struct opened *ret)
{
    int fd = site_open_object(s, &pack->name);
    const struct site_elsewhere *elsewhere = fd == -ENOENT ? site_elsewhere(s) : NULL;

    if (fd < 0 && !elsewhere)
        return fd;
    *ret = (struct opened){.fd = fd < 0 ? -1 : fd, .elsewhere = elsewhere, .pack = pack};
    return 0;
}

// -ENOENT, without a sentence, if the pack is nowhere.
static int read_pack(const struct opened *o, void *to, size_t n, uint64_t offset, const char *what, struct error *error)
{
    if (o->fd < 0)
        return o->elsewhere->read(o->elsewhere->context, o->pack, offset, to, n, error);
    int r = io_read_full(o->fd, to, n, offset);
    return r < 0 ? error_set(error, r == -ENOENT ? EIO : -r, "cannot read %s: %s", what, strerror(-r)) : 0;
}

// -ENOENT if its pack is not in this site.
static int read_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    const struct walk *w = context;
    struct opened pack CLEANUP(close_pack) = {.fd = -1};
    int r = open_pack(w->site, &ref->pack, &pack);
    if (r < 0)
        return r;
    return read_pack(&pack, to, ref->length, ref->offset, "a map page", error);
}

static int hand_page(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct walk *w = context;
    return w->each(w->context, page, first, error);
}

int parent_read_page(struct site *s, const struct chunk_reference *ref, unsigned level, void *bytes,
                     struct map_page *ret, struct error *error)
{
    struct walk w = {.site = s};
    const struct map_walk walk = {.read = read_page, .context = &w};

    return map_walk_read_page(&walk, ref, level, bytes, ret, error);
}

int parent_walk_map(struct site *s, const struct manifest_member *member, parent_each_page each, void *context,
                    unsigned *ret_missing, struct error *error)
{
    struct walk w = {.site = s, .each = each, .context = context};
    struct map_walk walk = {.read = read_page, .each = hand_page, .context = &w};
    int r = map_walk_member(&walk, member, error);
    if (r == 0)
        *ret_missing = walk.missing;
    return r;
}

static bool is_boot_pack(const struct manifest *m, const struct sha256 *name)
{
    for (unsigned i = 0; i < m->boot_count; i++)
        if (sha256_equal(&m->boot[i].pack, name))
            return true;
    return false;
}

static bool is_outside_boot(void *context, const struct chunk_reference *ref)
{
    const struct walk *w = context;
    return !is_boot_pack(w->manifest, &ref->pack.name);
}

int parent_walk_boot_map(struct site *s, const struct manifest *m, unsigned member, parent_each_page each,
                         void *context, struct error *error)
{
    struct walk w = {.site = s, .each = each, .context = context, .manifest = m};
    struct map_walk walk = {.read = read_page, .each = hand_page, .skip = is_outside_boot, .context = &w};
    return map_walk_member(&walk, &m->members[member], error);
}

static int report(const struct pack_list *l, struct error *error)
{
    return l->writer ? writer_report_progress(l->writer, false, error) : 0;
}

static void spend(struct pack_list *l, uint64_t bytes)
{
    l->budget -= bytes < l->budget ? bytes : l->budget;
}

// Returns 1, which ends the walk, when the budget is spent.
static int note_packs(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct pack_list *list = context;
    struct chunk_reference ref;
    int r = 0;
    (void)first;
    spend(list, (uint64_t)page->references * MAP_REFERENCE_SIZE + page->extents * MAP_EXTENT_SIZE);
    for (unsigned i = 0; r == 0 && i < page->references; i++)
        if (map_page_reference(page, i, &ref))
            r = note_pack(list, &ref.pack, error);
    if (r == 0)
        r = report(list, error);
    return r < 0 ? r : list->budget == 0;
}

struct check {
    const struct opened *pack;
    unsigned char *stored, *blocks; // room for a page's, which may be larger than a chunk's
    struct error *error;
};

// Does the chunk hold the blocks that the table says?
static int check_entry(void *context, const struct pack_entry *entry)
{
    struct check *c = context;
    unsigned nblocks;
    char hex[SHA256_HEX_SIZE];
    if (entry->length > PAGE_STORED_MAXIMUM)
        return error_set(c->error, EBADMSG, "chunk %s is too long", sha256_to_hex(&entry->name, hex));
    int r = read_pack(c->pack, c->stored, entry->length, entry->offset, "a chunk", c->error);
    if (r < 0)
        return r;
    r = chunk_decode(entry->kind, &entry->name, c->stored, entry->length, c->blocks, &nblocks, c->error);
    if (r == 0 && entry->nblocks != nblocks)
        r = error_set(c->error, EBADMSG, "chunk %s has not as many blocks as its pack's table says",
                      sha256_to_hex(&entry->name, hex));
    for (unsigned i = 0; r == 0 && entry->block_hashes && i < nblocks; i++) {
        struct sha256 hash = sha256_of(c->blocks + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
        if (memcmp(hash.bytes, entry->block_hashes + (size_t)i * SHA256_SIZE, SHA256_SIZE) != 0)
            r = error_set(c->error, EBADMSG, "chunk %s does not hold what its pack's table says",
                          sha256_to_hex(&entry->name, hex));
    }
    return r;
}

static int check_pack(const struct opened *pack, const struct pack_trailer *trailer, const void *table,
                      struct error *error)
{
    struct sha256 hash = sha256_of(table, trailer->table_length); // before anything in it is looked at
    if (!sha256_equal(&hash, &pack->pack->table))
        return error_set(error, EBADMSG, "its table is not the one that the map names");
    CLEANUP_FREE unsigned char *stored = malloc(PAGE_STORED_MAXIMUM);
    CLEANUP_FREE unsigned char *blocks = malloc(PAGE_BYTES_MAXIMUM);
    if (!stored || !blocks)
        return error_set(error, ENOMEM, "out of memory");
    struct check c = {.pack = pack, .stored = stored, .blocks = blocks, .error = error};
    return pack_walk_table(table, trailer->table_length, trailer, check_entry, &c, error);
}

// Hands one pack's table to the writer, if there is one. -ENOENT if the site does not have the pack.
static int know_pack(struct writer *writer, struct site *site, const struct pack_reference *pack, bool foreign,
                     struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    unsigned char end[PACK_TRAILER_SIZE];
    struct pack_trailer trailer;
    struct opened opened CLEANUP(close_pack) = {.fd = -1};
    int r = open_pack(site, pack, &opened);
    if (r < 0)
        return r;
    if (pack->size < PACK_TRAILER_SIZE)
        return error_set(error, EBADMSG, "a pack is shorter than any is");
    r = read_pack(&opened, end, sizeof(end), pack->size - PACK_TRAILER_SIZE, "a pack", error);
    if (r < 0)
        return r;
    r = pack_parse_trailer(end, sizeof(end), pack->size, &trailer, error);
    if (r < 0)
        return r;
    CLEANUP_FREE void *table = malloc(trailer.table_length ? trailer.table_length : 1);
    if (!table)
        return error_set(error, ENOMEM, "out of memory");
    r = read_pack(&opened, table, trailer.table_length, trailer.table_offset, "the table of a pack", error);
    if (r < 0)
        return r;
    if (foreign && (r = check_pack(&opened, &trailer, table, error)) < 0)
        return error_prefix(error, r, "pack %.16s…", sha256_to_hex(&pack->name, hex));
    return writer ? writer_know_pack(writer, pack, end, table, trailer.table_length, error) : 0;
}

static int know_listed(struct writer *w, struct site *s, const struct pack_reference *pack, bool foreign,
                       struct parent_counts *counts, struct error *error)
{
    int r = know_pack(w, s, pack, foreign, error);
    counts->known += r == 0;
    counts->missing += r == -ENOENT;
    w->done += pack->size;
    return r < 0 && r != -ENOENT ? r : writer_report_progress(w, false, error);
}

static int note_boot_packs(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct boot_list *b = context;
    struct chunk_reference ref;
    int r = 0;
    (void)first;
    for (unsigned i = 0; r == 0 && i < page->references; i++)
        if (map_page_reference(page, i, &ref) && is_boot_pack(b->manifest, &ref.pack.name))
            r = note_pack(b->list, &ref.pack, error);
    return r;
}

// All that the version's maps name, as far as the budget goes; its boot packs whatever that is: they are few, and an
// order of which a part is missing is of little use.
static int note_version(struct site *s, const struct manifest *m, struct pack_list *list, unsigned *missing,
                        struct error *error)
{
    struct boot_list boot = {.manifest = m, .list = list};
    int r = 0;
    for (unsigned i = 0; i < m->member_count && r == 0; i++) {
        unsigned of_member = 0;
        if (!m->members[i].zero)
            r = note_pack(list, &m->members[i].top.pack, error);
        if (r == 0)
            r = parent_walk_boot_map(s, m, i, note_boot_packs, &boot, error);
        if (r == 0)
            r = parent_walk_map(s, &m->members[i], note_packs, list, &of_member, error);
        r = r < 0 ? r : 0;
        *missing += of_member;
    }
    sort_packs(list);
    return r;
}

static int know_all(struct writer *w, struct site *s, const struct manifest *m, bool foreign, struct pack_list *list,
                    struct parent_counts *counts, struct error *error)
{
    int r = note_version(s, m, list, &counts->missing, error);
    for (size_t i = 0; i < list->count; i++)
        w->all += list->packs[i].size;
    for (unsigned i = 0; i < m->boot_count && r == 0; i++) {
        const struct pack_reference *pack = find_pack(list, &m->boot[i].pack);
        if (pack)
            r = know_listed(w, s, pack, foreign, counts, error);
    }
    counts->boot_chunks = writer_known_chunks(w);
    for (size_t i = 0; i < list->count && r == 0 && list->budget > 0; i++) {
        if (is_boot_pack(m, &list->packs[i].name))
            continue;
        r = know_listed(w, s, &list->packs[i], foreign, counts, error);
        spend(list, list->packs[i].size / TABLE_SHARE);
    }
    return r;
}

static int know(struct writer *w, struct site *s, const struct manifest *m, bool foreign, uint64_t budget,
                struct parent_counts *ret, struct error *error)
{
    struct pack_list list = {.writer = w, .budget = budget};
    struct parent_counts counts = {.known = 0};

    w->reading = "parent";
    w->done = w->all = 0;
    int r = know_all(w, s, m, foreign, &list, &counts, error);
    w->reading = NULL;
    free(list.packs);
    if (r < 0)
        return r;
    *ret = counts;
    return 0;
}

int parent_know(struct writer *w, struct site *s, const struct manifest *m, bool foreign, struct parent_counts *ret,
                struct error *error)
{
    return know(w, s, m, foreign, UINT64_MAX, ret, error);
}

int parent_know_some(struct writer *w, struct site *s, const struct manifest *m, uint64_t budget,
                     struct parent_counts *ret, struct error *error)
{
    return know(w, s, m, false, budget, ret, error);
}

int parent_check(struct site *s, const struct manifest *m, struct error *error)
{
    struct pack_list list = {.budget = UINT64_MAX};
    char hex[SHA256_HEX_SIZE];
    unsigned missing = 0;
    int r = site_check_logo(s, &m->logo, error);
    if (r == -ENOENT)
        r = error_set(error, EBADMSG, "%s lacks its logo; restore it from a mirror, or publish it again", site_path(s));
    if (r == 0)
        r = note_version(s, m, &list, &missing, error);
    for (size_t i = 0; i < list.count && r == 0; i++) {
        r = know_pack(NULL, s, &list.packs[i], true, error);
        if (r == -ENOENT)
            r = error_set(error, EBADMSG, "%s lacks its pack %.16s…; restore it from a mirror", site_path(s),
                          sha256_to_hex(&list.packs[i].name, hex));
    }
    free(list.packs);
    return r < 0 ? error_prefix(error, r, "%s %s", m->name, m->version) : 0;
}
