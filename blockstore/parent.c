// See parent.h. The pages are walked depth first; what is remembered is the set of pack names, which is small (one for
// 8 MiB of stored bytes), and one page a level.
#include "blockstore/parent.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/pack.h"
#include <string.h>

#include "base/banned.h"

#define PACKS_MAXIMUM (1u << 20) // 8 TiB of packs

struct walk {
    struct site *site;
    parent_each_page each;
    void *context;
    unsigned missing; // pages whose pack is not there
};

struct pack_list {
    struct pack_reference *packs; // sorted by name
    size_t count, capacity;
};

// Where the pack stands, or would stand, in the sorted list.
static size_t find_pack(const struct pack_list *w, const struct sha256 *name, bool *ret_found)
{
    size_t low = 0, high = w->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(w->packs[middle].name.bytes, name->bytes, SHA256_SIZE);
        if (order == 0) {
            *ret_found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_found = false;
    return low;
}

static int note_pack(struct pack_list *w, const struct pack_reference *pack, struct error *error)
{
    bool found;
    size_t at = find_pack(w, &pack->name, &found);
    if (found)
        return 0;
    if (w->count == PACKS_MAXIMUM)
        return error_set(error, E2BIG, "the parent version refers to more than %u packs", PACKS_MAXIMUM);
    if (w->count == w->capacity) {
        size_t capacity = w->capacity ? 2 * w->capacity : 64;
        struct pack_reference *grown = realloc(w->packs, capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, ENOMEM, "out of memory");
        w->packs = grown;
        w->capacity = capacity;
    }
    memmove(w->packs + at + 1, w->packs + at, (w->count - at) * sizeof(*w->packs));
    w->packs[at] = *pack;
    w->count++;
    return 0;
}

// Reads and verifies one page. -ENOENT if its pack is not in this site.
static int read_page(struct walk *w, const struct chunk_reference *ref, void *bytes, unsigned level,
                     struct map_page *ret, struct error *error)
{
    if (ref->length > PAGE_STORED_MAXIMUM)
        return error_set(error, EBADMSG, "a map page of the parent is too long");
    CLEANUP_CLOSE int fd = site_open_object(w->site, &ref->pack.name);
    if (fd < 0)
        return fd;
    CLEANUP_FREE void *stored = malloc(ref->length);
    if (!stored)
        return error_set(error, ENOMEM, "out of memory");
    unsigned nblocks;
    int r = io_read_full(fd, stored, ref->length, ref->offset);
    if (r < 0)
        return error_set(error, -r, "cannot read a map page of the parent: %s", strerror(-r));
    r = chunk_decode(CHUNK_PAGE, &ref->name, stored, ref->length, bytes, &nblocks, error);
    return r < 0 ? r : map_page_parse(bytes, (size_t)nblocks * BLOCK_SIZE, level, ret, error);
}

// Calls `each` for the page and, if that returns 0, for all pages below it.
static int walk_page(struct walk *w, const struct chunk_reference *ref, unsigned level, uint64_t first,
                     struct error *error)
{
    CLEANUP_FREE void *bytes = malloc(PAGE_BYTES_MAXIMUM);
    struct map_page page = {.references = 0};
    if (!bytes)
        return error_set(error, ENOMEM, "out of memory");
    int r = read_page(w, ref, bytes, level, &page, error);
    if (r == -ENOENT) {
        w->missing++;
        return 0;
    }
    if (r == 0)
        r = w->each(w->context, &page, first, error);
    for (unsigned i = 0; r == 0 && level > 0 && i < page.references; i++) {
        struct chunk_reference child;
        if (map_page_reference(&page, i, &child))
            r = walk_page(w, &child, level - 1, first + i * map_child_blocks(level), error);
    }
    return r;
}

int parent_walk_map(struct site *s, const struct manifest_member *member, parent_each_page each, void *context,
                    unsigned *ret_missing, struct error *error)
{
    struct walk walk = {.site = s, .each = each, .context = context};
    int r = member->zero ? 0 : walk_page(&walk, &member->top, map_levels(member->size) - 1, 0, error);
    if (r == 0)
        *ret_missing = walk.missing;
    return r;
}

static int note_packs(void *context, const struct map_page *page, uint64_t first, struct error *error)
{
    struct chunk_reference ref;
    int r = 0;
    (void)first;
    for (unsigned i = 0; r == 0 && i < page->references; i++)
        if (map_page_reference(page, i, &ref))
            r = note_pack(context, &ref.pack, error);
    return r;
}

struct check {
    int fd;
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
    int r = io_read_full(c->fd, c->stored, entry->length, entry->offset);
    if (r < 0)
        return error_set(c->error, -r, "cannot read chunk %s: %s", sha256_to_hex(&entry->name, hex), strerror(-r));
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

static int check_pack(int fd, const struct pack_reference *pack, const struct pack_trailer *trailer, const void *table,
                      struct error *error)
{
    struct sha256 hash = sha256_of(table, trailer->table_length); // before anything in it is looked at
    if (!sha256_equal(&hash, &pack->table))
        return error_set(error, EBADMSG, "its table is not the one that the map names");
    CLEANUP_FREE unsigned char *stored = malloc(PAGE_STORED_MAXIMUM);
    CLEANUP_FREE unsigned char *blocks = malloc(PAGE_BYTES_MAXIMUM);
    if (!stored || !blocks)
        return error_set(error, ENOMEM, "out of memory");
    struct check c = {.fd = fd, .stored = stored, .blocks = blocks, .error = error};
    return pack_walk_table(table, trailer->table_length, trailer, check_entry, &c, error);
}

// Hands one pack's table to the writer. -ENOENT if the site does not have the pack.
static int know_pack(struct writer *writer, struct site *site, const struct pack_reference *pack, bool foreign,
                     struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    unsigned char end[PACK_TRAILER_SIZE];
    struct pack_trailer trailer;
    CLEANUP_CLOSE int fd = site_open_object(site, &pack->name);
    if (fd < 0)
        return fd;
    if (pack->size < PACK_TRAILER_SIZE)
        return error_set(error, EBADMSG, "a pack of the parent is too short");
    int r = io_read_full(fd, end, sizeof(end), pack->size - PACK_TRAILER_SIZE);
    if (r < 0)
        return error_set(error, -r, "cannot read a pack of the parent: %s", strerror(-r));
    r = pack_parse_trailer(end, sizeof(end), pack->size, &trailer, error);
    if (r < 0)
        return r;
    CLEANUP_FREE void *table = malloc(trailer.table_length ? trailer.table_length : 1);
    if (!table)
        return error_set(error, ENOMEM, "out of memory");
    r = io_read_full(fd, table, trailer.table_length, trailer.table_offset);
    if (r < 0)
        return error_set(error, -r, "cannot read a pack of the parent: %s", strerror(-r));
    if (foreign && (r = check_pack(fd, pack, &trailer, table, error)) < 0)
        return error_prefix(error, r, "pack %.16s… of the parent", sha256_to_hex(&pack->name, hex));
    return writer_know_pack(writer, pack, end, table, trailer.table_length, error);
}

static int know_listed(struct writer *w, struct site *s, const struct pack_reference *pack, bool foreign,
                       struct parent_counts *counts, struct error *error)
{
    int r = know_pack(w, s, pack, foreign, error);
    counts->known += r == 0;
    counts->missing += r == -ENOENT;
    return r == -ENOENT ? 0 : r;
}

static bool is_boot_pack(const struct manifest *m, const struct sha256 *name)
{
    for (unsigned i = 0; i < m->boot_count; i++)
        if (sha256_equal(&m->boot[i].pack, name))
            return true;
    return false;
}

int parent_know(struct writer *w, struct site *s, const struct manifest *m, bool foreign, struct parent_counts *ret,
                struct error *error)
{
    struct pack_list list = {.packs = NULL};
    struct parent_counts counts = {.known = 0};
    unsigned missing = 0;
    bool found;
    int r = 0;
    for (unsigned i = 0; i < m->member_count && r == 0; i++) {
        if (!m->members[i].zero)
            r = note_pack(&list, &m->members[i].top.pack, error);
        if (r == 0)
            r = parent_walk_map(s, &m->members[i], note_packs, &list, &missing, error);
        counts.missing += missing;
    }
    for (unsigned i = 0; i < m->boot_count && r == 0; i++) {
        size_t at = find_pack(&list, &m->boot[i].pack, &found);
        if (found)
            r = know_listed(w, s, &list.packs[at], foreign, &counts, error);
    }
    counts.boot_chunks = writer_known_chunks(w);
    for (size_t i = 0; i < list.count && r == 0; i++)
        if (!is_boot_pack(m, &list.packs[i].name))
            r = know_listed(w, s, &list.packs[i], foreign, &counts, error);
    free(list.packs);
    if (r < 0)
        return r;
    *ret = counts;
    return 0;
}
