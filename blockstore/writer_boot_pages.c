// The pages that a boot needs: the leaves of the segments that it reads, what leads to them, and every member's top.
//
// A page lies in a later pack than everything that it refers to (rule 4 of writer.h), so the boot set's leaves share
// one small pack, and the index pages above them another. Leaves come as their segments' packs are closed, among others
// that are stored at once; so they are encoded and kept in a spool until all are there. The boot packs of pages are
// listed from the top down, before those of data.
#include "base/cleanup.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct writer_boot_page {
    struct sha256 name;
    uint64_t offset; // in the spool
    uint32_t length;
    unsigned member;
    uint32_t position;
};

static int add_to_spool(struct writer *w, const void *bytes, size_t n)
{
    struct spool *s = &w->boot.page_bytes;

    if (s->fd < 0) {
        int fd = site_make_scratch(w->site);
        if (fd < 0)
            return fd;
        spool_open(s, fd);
    }
    int r = spool_ensure(s, w->boot.page_bytes_used + n);
    if (r < 0)
        return r;
    memcpy(s->at + w->boot.page_bytes_used, bytes, n);
    w->boot.page_bytes_used += n;
    return 0;
}

int writer_keep_page(struct writer *w, size_t size, unsigned member, uint32_t position, struct error *error)
{
    int length = chunk_encode(w->encoder, CHUNK_PAGE, w->page, (unsigned)(size / BLOCK_SIZE), w->page_stored);

    if (length < 0)
        return error_set(error, -length, "out of memory to compress");
    if (w->boot.page_count == w->boot.page_capacity) {
        size_t capacity = w->boot.page_capacity ? w->boot.page_capacity * 2 : 64;
        struct writer_boot_page *grown = realloc(w->boot.pages, capacity * sizeof(*grown));
        if (!grown)
            return error_set(error, ENOMEM, "no memory for the map");
        w->boot.pages = grown;
        w->boot.page_capacity = capacity;
    }
    struct writer_boot_page page = {.name = sha256_of(w->page_stored, (size_t)length),
                                    .offset = w->boot.page_bytes_used,
                                    .length = (uint32_t)length,
                                    .member = member,
                                    .position = position};
    int r = add_to_spool(w, w->page_stored, (size_t)length);
    if (r < 0)
        return site_write_failed(w->site, error, r, "the pages of the map");
    w->boot.pages[w->boot.page_count++] = page;
    return 0;
}

static int compare_kept(const void *a, const void *b)
{
    const struct writer_boot_page *x = a, *y = b;

    return x->member != y->member ? (x->member > y->member) - (x->member < y->member)
                                  : (x->position > y->position) - (x->position < y->position);
}

static int choose(struct writer *w, struct error *error)
{
    struct sha256 *names CLEANUP_FREE = malloc(w->boot.page_count * sizeof(*names));
    int r = names ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < w->boot.page_count; i++)
        names[i] = w->boot.pages[i].name;
    if (r == 0)
        r = writer_choose_boot_packs(w, WRITER_INDEX_CHUNK, names, w->boot.page_count);
    return r < 0 ? error_set(error, -r, "no memory for the map") : 0;
}

static int store_kept(struct writer *w, const struct writer_boot_page *kept, struct writer_page_list *list,
                      struct error *error)
{
    struct writer_page page = {.member = kept->member, .position = kept->position, .boot = true};
    unsigned unused;
    int r = 0;

    if (!writer_find_boot(w, WRITER_INDEX_CHUNK, &kept->name, &page.chunk, &unused)) {
        r = writer_index_begin_chunk(w->index, &page.chunk);
        if (r < 0)
            return site_write_failed(w->site, error, r, "the block index");
        r = writer_append_chunk(w, page.chunk, &kept->name, w->boot.page_bytes.at + kept->offset, kept->length, NULL,
                                error);
        if (r == 0 && w->pack.size >= PACK_SIZE_TARGET)
            r = writer_close_pack(w, error);
    }
    return r < 0 ? r : writer_add_page(list, &page, error);
}

// The packs of this level, in front of those of the levels below.
static void list_packs(struct writer *w, const struct writer_page_list *list, size_t from)
{
    uint32_t packs[WRITER_BOOT_PAGE_PACKS] = {0};
    unsigned count = 0, below = w->boot.page_pack_count;

    for (size_t i = from; i < list->count; i++)
        if (!writer_list_pack(w, list->pages[i].chunk, packs, &count, WRITER_BOOT_PAGE_PACKS))
            w->boot.cut = true;
    if (below > WRITER_BOOT_PAGE_PACKS - count) {
        below = WRITER_BOOT_PAGE_PACKS - count;
        w->boot.cut = true;
    }
    memmove(w->boot.page_packs + count, w->boot.page_packs, below * sizeof(*packs));
    memcpy(w->boot.page_packs, packs, count * sizeof(*packs));
    w->boot.page_pack_count = count + below;
}

int writer_store_kept_pages(struct writer *w, struct writer_page_list *list, struct error *error)
{
    size_t from = list->count;

    if (w->boot.page_count == 0)
        return 0;
    qsort(w->boot.pages, w->boot.page_count, sizeof(*w->boot.pages), compare_kept);
    int r = writer_close_pack(w, error);
    if (r == 0)
        r = choose(w, error);
    w->boot.packing = true;
    for (size_t i = 0; r == 0 && i < w->boot.page_count; i++)
        r = store_kept(w, &w->boot.pages[i], list, error);
    if (r == 0)
        r = writer_close_pack(w, error);
    w->boot.packing = false;
    if (r < 0)
        return r;
    list_packs(w, list, from);
    w->boot.page_count = 0;
    w->boot.page_bytes_used = 0;
    return 0;
}
