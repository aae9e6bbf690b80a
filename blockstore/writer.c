// The writer's life:
//
//   KNOWING ──first member──▶ ADDING ──writer_finish──▶ FINISHED ──writer_put_manifest, writer_end
//      │ writer_know_pack        │ writer_add_member, writer_add_changed_member
//      └────writer_add_boot─────▶┘
//
// After a failure every call fails with the same code; writer_close is always right.
#include "blockstore/writer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/writer_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static int keep_failure(struct writer *w, int r)
{
    if (r < 0 && w->failure == 0)
        w->failure = r;
    return r;
}

static int check_usable(const struct writer *w, bool in_state, struct error *error)
{
    if (w->failure < 0)
        return error_set(error, -w->failure, "publishing failed before");
    return in_state ? 0 : error_set(error, EINVAL, "the writer's functions were called out of order");
}

static int check_image(const struct writer_options *o, struct error *error)
{
    if (o->image && !text_is_image_name(slice_of(o->image)))
        return error_set(error, EINVAL, "not an image name: use [a-z0-9][a-z0-9._-]{0,63}");
    return 0;
}

static int allocate(struct writer *w)
{
    w->extents = malloc(MAP_LEAF_BLOCKS * sizeof(*w->extents));
    w->piece = malloc(WRITER_PIECE_SIZE);
    w->page = malloc(PAGE_BYTES_MAXIMUM);
    w->page_stored = malloc(PAGE_STORED_MAXIMUM);
    w->pack.hash = hash_stream_new();
    return w->extents && w->piece && w->page && w->page_stored && w->pack.hash ? 0 : -ENOMEM;
}

static int make_encoder(struct writer *w, struct error *error)
{
    int r = chunk_encoder_new(w->options.codec, w->options.level, &w->encoder);

    if (r == -EINVAL)
        return error_set(error, EINVAL, "not a codec and a level of it: %u, %d", w->options.codec, w->options.level);
    return r < 0 ? error_set(error, -r, "no memory to publish") : 0;
}

int writer_open(const struct writer_options *options, struct writer **ret, struct error *error)
{
    int r = check_image(options, error);
    if (r < 0)
        return r;
    struct writer *w = calloc(1, sizeof(*w));
    if (!w)
        return error_set(error, ENOMEM, "no memory to publish");
    w->options = *options;
    w->options.site = NULL; // the caller's strings need not live on
    w->options.image = NULL;
    if (options->codec == 0)
        w->options.codec = CHUNK_CODEC_DEFAULT;
    if (options->level == 0)
        w->options.level = CHUNK_LEVEL_DEFAULT;
    r = make_encoder(w, error);
    if (r < 0) {
        free(w);
        return r;
    }
    if (options->image)
        memcpy(w->image, options->image, strlen(options->image) + 1);
    w->pack.fd = -1;
    w->boot.page_bytes = (struct spool)SPOOL_CLOSED;
    w->pack.table.bytes.maximum = PACK_SIZE_MAXIMUM;
    w->last_leaf = &w->first_leaf;
    w->extents_until_cut = WRITER_CUT_EXTENTS;
    r = site_open(options->site, &w->site, error);
    if (r == 0) {
        r = writer_index_open(w->site, &w->index);
        if (r == 0)
            r = allocate(w);
        if (r < 0)
            site_write_failed(w->site, error, r, "the block index");
    }
    if (r < 0) {
        writer_close(w);
        return r;
    }
    *ret = w;
    return 0;
}

int writer_know_pack(struct writer *w, const struct pack_reference *ref, const void *trailer, const void *table,
                     size_t table_size, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int r = check_usable(w, w->state == WRITER_KNOWING, error);

    if (r == 0)
        r = writer_know_table(w, ref, trailer, table, table_size, error);
    if (r < 0 && r != -EBADMSG)
        keep_failure(w, r);
    return r < 0 ? error_prefix(error, r, "pack %s", sha256_to_hex(&ref->name, hex)) : 0;
}

uint64_t writer_known_chunks(const struct writer *w)
{
    return writer_index_chunk_count(w->index);
}

// --- members -------------------------------------------------------------------------------------------------------

static int begin_adding(struct writer *w, struct error *error)
{
    w->boot.unfinished_chunks = writer_index_chunk_count(w->index);
    int r = writer_know_unfinished(w, error);
    if (r < 0)
        return r;
    w->boot.own_chunks = writer_index_chunk_count(w->index);
    r = compress_open(w->options.threads, w->options.codec, w->options.level, &w->compressor);
    if (r == 0)
        r = seal_open(w->site, w->image, &w->sealer);
    if (r < 0)
        return error_set(error, -r, "cannot start threads to compress: %s", strerror(-r));
    w->appended_below = w->closed_below = w->boot.own_chunks;
    w->state = WRITER_ADDING;
    return 0;
}

static int measure_file(int fd, const char *name, uint64_t *ret_size, struct error *error)
{
    struct stat st;

    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot read member %s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return error_set(error, EINVAL, "member %s is neither a regular file nor a block device", name);
    off_t size = S_ISREG(st.st_mode) ? st.st_size : lseek(fd, 0, SEEK_END);
    if (size < 0)
        return error_set(error, errno, "cannot measure member %s: %s", name, strerror(errno));
    if ((uint64_t)size > MEMBER_SIZE_MAXIMUM)
        return error_set(error, EFBIG, "member %s is larger than 16 TiB", name);
    *ret_size = (uint64_t)size;
    return 0;
}

int writer_add_older_boot(struct writer *w, const struct profile *p, const struct writer_boot_source *sources,
                          struct sha256 *hashes, struct error *error)
{
    int r = check_usable(w, w->state == WRITER_KNOWING && w->image[0] != '\0', error);

    if (r < 0)
        return r;
    for (unsigned i = 0; r == 0 && i < p->member_count; i++) {
        uint64_t size = sources[i].changes ? sources[i].changes->size : 0;
        if (!sources[i].changes)
            r = measure_file(sources[i].fd, p->members[i].name, &size, error);
        if (r == 0 && size != p->members[i].size)
            r = error_set(error, EINVAL, "member %s has not the size that the boot profile says", p->members[i].name);
    }
    if (r == 0)
        r = begin_adding(w, error);
    if (r == 0)
        r = writer_pack_boot(w, p, sources, hashes, error);
    return keep_failure(w, r);
}

int writer_add_boot(struct writer *w, const struct profile *p, const int *fds, struct error *error)
{
    struct writer_boot_source sources[PROFILE_MEMBERS_MAXIMUM] = {{.fd = -1}};
    CLEANUP_FREE struct sha256 *hashes = calloc(p->block_count ? p->block_count : 1, sizeof(*hashes));

    if (!hashes)
        return keep_failure(w, error_set(error, ENOMEM, "no memory for the boot profile"));
    for (unsigned i = 0; i < p->member_count; i++)
        sources[i].fd = fds[i];
    return writer_add_older_boot(w, p, sources, hashes, error);
}

static int check_member(const struct writer *w, const char *name, struct error *error)
{
    int r = check_usable(w, w->state != WRITER_FINISHED && w->image[0] != '\0', error);

    if (r == 0 && (w->member_count == MANIFEST_MEMBERS_MAXIMUM || strlen(name) >= sizeof(w->members[0].name)))
        return error_set(error, EINVAL, "member %s: too many members, or too long a name", name);
    return r;
}

// The number of a new member.
static int begin_member(struct writer *w, const char *name, uint64_t size, struct manifest_member *ret_member,
                        struct error *error)
{
    int r = w->state == WRITER_KNOWING ? begin_adding(w, error) : 0;

    if (r < 0)
        return r;
    unsigned member = w->member_count++;
    memcpy(w->members[member].name, name, strlen(name) + 1);
    w->members[member].size = size;
    w->members[member].ret = ret_member;
    return (int)member;
}

int writer_add_member(struct writer *w, const char *name, int fd, struct manifest_member *ret_member,
                      struct error *error)
{
    uint64_t size = 0;
    int r = check_member(w, name, error);

    if (r < 0)
        return r;
    r = measure_file(fd, name, &size, error);
    if (r == 0)
        r = begin_member(w, name, size, ret_member, error);
    if (r < 0)
        return keep_failure(w, r);
    w->fd = fd;
    return keep_failure(w, writer_read_member(w, (unsigned)r, error));
}

int writer_add_changed_member(struct writer *w, const char *name, const struct writer_changes *changes,
                              struct manifest_member *ret_member, struct error *error)
{
    int r = check_member(w, name, error);

    if (r < 0)
        return r;
    if (changes->size < changes->base->size || changes->size > MEMBER_SIZE_MAXIMUM)
        r = error_set(error, EINVAL, "member %s would become shorter than it was, or larger than 16 TiB", name);
    if (r == 0)
        r = begin_member(w, name, changes->size, ret_member, error);
    return keep_failure(w, r < 0 ? r : writer_merge_member(w, (unsigned)r, changes, error));
}

static int fill_member(struct writer *w, unsigned i)
{
    struct manifest_member member = {.size = w->members[i].size, .zero = !w->members[i].has_top};

    memcpy(member.name, w->members[i].name, sizeof(member.name));
    if (!member.zero) {
        int r = writer_index_reference(w->index, w->members[i].top, &member.top);
        if (r < 0)
            return r;
    }
    *w->members[i].ret = member;
    return 0;
}

static int finish(struct writer *w, struct error *error)
{
    int r = writer_drain_all(w, error);

    if (r == 0 && w->first_leaf)
        r = writer_close_pack(w, error);
    if (r == 0)
        r = writer_store_leaves(w, error);
    if (r == 0)
        r = writer_store_indexes(w, error);
    if (r == 0)
        r = writer_close_pack(w, error);
    if (r == 0)
        r = seal_wait(w->sealer, error);
    for (unsigned i = 0; r == 0 && i < w->member_count; i++) {
        r = fill_member(w, i);
        if (r < 0)
            error_set(error, -r, "the map of member %s is not whole", w->members[i].name);
    }
    return r;
}

int writer_finish(struct writer *w, struct writer_counts *ret, struct error *error)
{
    int r = check_usable(w, w->state == WRITER_ADDING, error);

    if (r == 0)
        r = keep_failure(w, finish(w, error));
    if (r < 0)
        return r;
    w->state = WRITER_FINISHED;
    w->counts.boot_blocks = w->boot.blocks;
    w->counts.boot_cut = w->boot.cut;
    *ret = w->counts;
    return 0;
}

// --- the rest ------------------------------------------------------------------------------------------------------

int writer_put_manifest(struct writer *w, const void *bytes, size_t n, struct sha256 *ret_name, struct error *error)
{
    struct sha256 name;
    int r = check_usable(w, w->state == WRITER_FINISHED, error);

    if (r == 0 && n > MANIFEST_SIZE_MAXIMUM)
        return error_set(error, EINVAL, "a manifest of %zu bytes is larger than any may be", n);
    if (r == 0)
        r = site_put_object(w->site, bytes, n, &name, error);
    if (r < 0)
        return r;
    *ret_name = name;
    return 0;
}

int writer_end(struct writer *w, struct error *error)
{
    int r = check_usable(w, w->state == WRITER_FINISHED, error);

    return r < 0 ? r : site_end_list(w->site, w->image, error);
}

// The packs of pages, from the top down, then those of data. A pack may be both.
void writer_fill_boot(const struct writer *w, struct manifest *m)
{
    m->boot_count = 0;
    for (unsigned i = 0; i < w->boot.page_pack_count + w->boot.data_pack_count; i++) {
        unsigned data = i - w->boot.page_pack_count;
        uint32_t pack = i < w->boot.page_pack_count ? w->boot.page_packs[i] : w->boot.data_packs[data];
        const struct pack_reference *ref = writer_index_pack(w->index, pack);
        unsigned j = 0;
        while (j < m->boot_count && !sha256_equal(&m->boot[j].pack, &ref->name))
            j++;
        if (j == m->boot_count)
            m->boot[m->boot_count++] = (struct manifest_boot){.pack = ref->name, .size = ref->size};
    }
}

struct site *writer_site(struct writer *w)
{
    return w->site;
}

void writer_close(struct writer *w)
{
    if (!w)
        return;
    compress_close(w->compressor);
    chunk_encoder_free(w->encoder);
    if (w->site)
        writer_drop_pack(w);
    seal_close(w->sealer);
    writer_drop_leaves(w);
    writer_drop_boot(w);
    writer_index_close(w->index);
    site_close(w->site);
    free(w->extents);
    free(w->piece);
    free(w->page);
    free(w->page_stored);
    free(w);
}
