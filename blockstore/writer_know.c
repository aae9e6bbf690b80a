// Known packs: what their tables say goes into the index, before anything is published.
//
// What an interrupted publication left is made known after the parent's packs, so that a block that both have is taken
// from the same place as in the first attempt; then the second attempt makes the same packs as an undisturbed one would
// have.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct knowing {
    struct writer *w;
    const struct pack_reference *ref;
    uint32_t pack;
    bool begun;
};

static int know_entry(void *context, const struct pack_entry *entry)
{
    struct knowing *k = context;
    struct writer_index *x = k->w->index;
    uint64_t chunk;
    int r = 0;

    if (!k->begun) {
        if (writer_index_find_pack(x, &k->ref->name, &k->pack))
            return 1;
        r = writer_index_add_pack(x, k->ref, &k->pack);
        if (r < 0)
            return r;
        k->begun = true;
    }
    struct writer_index_place place = {k->pack, entry->offset, entry->length};
    r = writer_index_begin_chunk(x, &chunk);
    for (unsigned i = 0; r == 0 && entry->block_hashes && i < entry->nblocks; i++) {
        struct sha256 hash;
        memcpy(hash.bytes, entry->block_hashes + (size_t)i * SHA256_SIZE, SHA256_SIZE);
        r = writer_index_add_block(x, chunk, i, &hash);
    }
    return r < 0 ? r : writer_index_place_chunk(x, chunk, &entry->name, &place);
}

int writer_know_table(struct writer *w, const struct pack_reference *ref, const void *trailer, const void *table,
                      size_t table_size, struct error *error)
{
    struct knowing k = {.w = w, .ref = ref};
    struct pack_trailer parsed;

    int r = pack_parse_trailer(trailer, PACK_TRAILER_SIZE, ref->size, &parsed, error);
    if (r < 0)
        return r;
    struct sha256 hash = sha256_of(table, table_size);
    if (!sha256_equal(&hash, &ref->table) || !sha256_equal(&parsed.table, &ref->table))
        return error_set(error, EBADMSG, "its table is not the one that the map names");
    r = pack_walk_table(table, table_size, &parsed, know_entry, &k, error);
    if (r < 0 && r != -EBADMSG)
        return site_write_failed(w->site, error, r, "the block index");
    return r < 0 ? r : 0;
}

struct resuming {
    struct writer *w;
    struct error *error;
};

// A pack of an interrupted publication. It is believed only if all of it is there and hashes to its name; else it is
// made anew.
static int know_unfinished(void *context, const struct pack_reference *ref)
{
    struct resuming *resuming = context;
    struct writer *w = resuming->w;
    unsigned char bytes[PACK_TRAILER_SIZE];
    struct pack_trailer trailer;
    struct sha256 hash;
    unsigned long long size;

    int fd CLEANUP_CLOSE = site_open_object(w->site, &ref->name);
    if (fd < 0 || ref->size < PACK_MAGIC_SIZE + PACK_TRAILER_SIZE || ref->size > PACK_SIZE_MAXIMUM ||
        sha256_of_file(fd, &hash, &size) < 0 || size != ref->size || !sha256_equal(&hash, &ref->name) ||
        io_read_full(fd, bytes, sizeof(bytes), ref->size - PACK_TRAILER_SIZE) < 0 ||
        pack_parse_trailer(bytes, sizeof(bytes), ref->size, &trailer, NULL) < 0)
        return 0;
    w->done += ref->size;
    int r = writer_report_progress(w, false, resuming->error);
    if (r < 0)
        return r;
    void *table CLEANUP_FREE = malloc(trailer.table_length ? trailer.table_length : 1);
    if (!table)
        return error_set(resuming->error, ENOMEM, "no memory for the table of an unfinished pack");
    if (io_read_full(fd, table, trailer.table_length, trailer.table_offset) < 0)
        return 0;
    r = site_sync_object(w->site, &ref->name);
    if (r < 0)
        return site_write_failed(w->site, resuming->error, r, "an unfinished pack");
    struct error why = {.text = ""};
    r = writer_know_table(w, ref, bytes, table, trailer.table_length, &why);
    return r == 0 || r == -EBADMSG ? 0 : error_set(resuming->error, -r, "%s", why.text);
}

static int add_size(void *context, const struct pack_reference *ref)
{
    struct writer *w = context;

    w->all += ref->size;
    return 0;
}

// All of the packs are read, which may be long: the progress is called, and may cancel.
int writer_know_unfinished(struct writer *w, struct error *error)
{
    struct resuming resuming = {.w = w, .error = error};

    w->reading = "unfinished packs";
    w->done = w->all = 0;
    int r = site_walk_list(w->site, w->image, add_size, w, error);
    if (r == 0)
        r = site_walk_list(w->site, w->image, know_unfinished, &resuming, error);
    w->reading = NULL;
    return r;
}
