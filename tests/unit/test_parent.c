// blockstore/parent.h: what a version's packs hold is known to the next one, what is missing is stored anew, and what
// somebody else's packs claim is checked before it is believed.
#include "base/cursor.h"
#include "blockstore/parent.h"

#include "writer_fixture.h"

#include "base/banned.h"

static struct writer *open_writer(const char *site)
{
    struct writer *w;
    assert_int_equal(
        writer_open(&(struct writer_options){.site = site, .image = "next", .level = 1, .threads = 1}, &w, NULL), 0);
    return w;
}

// A disk of three segments with data in two of them, and a kernel.
static struct publication publish_parent(const struct fixture *f, int fds[static 3])
{
    fds[0] = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(fds[0], 0, 100, 2, 2);
    image_fill(fds[0], 2 * SEGMENT_BLOCKS + 5, 40, 1002, 2);
    fds[1] = image_open(f, "kernel", 10 * BLOCK_SIZE + 17);
    image_fill(fds[1], 0, 10, 2002, 2);
    fds[2] = -1;
    struct publication p = {.site = f->site, .fds = fds, .threads = 1};
    publish_well(&p);
    return p;
}

// Publishes one member through a writer that knows `m`: how many blocks were new.
static uint64_t count_new(const struct fixture *f, const struct manifest *m, int fd, bool foreign)
{
    struct manifest_member member;
    struct writer_counts written;
    struct parent_counts counts;
    struct writer *w = open_writer(f->site);
    assert_int_equal(parent_know(w, writer_site(w), m, foreign, &counts, NULL), 0);
    assert_int_equal(writer_add_member(w, "disk", fd, &member, NULL), 0);
    assert_int_equal(writer_finish(w, &written, NULL), 0);
    writer_close(w);
    assert_member_equals(f->site, &member, fd);
    return written.new_blocks;
}

static void test_all_is_known(void **state)
{
    const struct fixture *f = *state;
    struct parent_counts counts = {.known = 99, .missing = 99};
    int fds[3];
    struct publication p = publish_parent(f, fds);
    struct object_list list = list_objects(f->site);
    free(list.names);
    for (int foreign = 0; foreign < 2; foreign++) {
        struct writer *w = open_writer(f->site);
        assert_int_equal(parent_know(w, writer_site(w), &p.manifest, foreign != 0, &counts, NULL), 0);
        writer_close(w);
        assert_int_equal(counts.known, list.count - 1); // all but the manifest
        assert_int_equal(counts.missing, 0);
        assert_int_equal(count_new(f, &p.manifest, fds[0], foreign != 0), 0);
    }
    image_fill(fds[0], 500, 3, 5002, 2); // three new blocks, and one of the kernel's
    image_put(fds[0], 600, 2002);
    assert_int_equal(count_new(f, &p.manifest, fds[0], false), 3);
    close(fds[0]);
    close(fds[1]);
}

static void test_zero_members_have_nothing(void **state)
{
    const struct fixture *f = *state;
    struct parent_counts counts = {.known = 99, .missing = 99};
    int fds[] = {image_open(f, "zeros", 5 * SEGMENT_BLOCKS * BLOCK_SIZE), -1};
    struct publication p = {.site = f->site, .fds = fds, .threads = 1};
    publish_well(&p);
    struct writer *w = open_writer(f->site);
    assert_int_equal(parent_know(w, writer_site(w), &p.manifest, true, &counts, NULL), 0);
    assert_int_equal(counts.known, 0);
    assert_int_equal(counts.missing, 0);
    writer_close(w);
    close(fds[0]);
}

static void object_path(const char *site, const char *hex, char path[static 400])
{
    snprintf(path, 400, "%s/objects/%.2s/%s", site, hex, hex);
}

// Each pack goes missing in turn: the version is then published all the same, and whole.
static void test_missing_packs(void **state)
{
    const struct fixture *f = *state;
    int fds[3];
    char path[400], aside[400];
    struct publication p = publish_parent(f, fds);
    struct object_list list = list_objects(f->site);
    char manifest[SHA256_HEX_SIZE];
    sha256_to_hex(&p.name, manifest);
    for (size_t i = 0; i < list.count; i++) {
        struct parent_counts counts = {.known = 99, .missing = 0};
        if (strcmp(list.names[i], manifest) == 0)
            continue;
        object_path(f->site, list.names[i], path);
        snprintf(aside, sizeof(aside), "%s/aside", f->root);
        assert_int_equal(rename(path, aside), 0);
        struct writer *w = open_writer(f->site);
        assert_int_equal(parent_know(w, writer_site(w), &p.manifest, false, &counts, NULL), 0);
        assert_true(counts.missing > 0);
        assert_true(counts.known < list.count - 1);
        assert_int_equal(parent_check(writer_site(w), &p.manifest, &(struct error){""}), -EBADMSG);
        writer_close(w);
        count_new(f, &p.manifest, fds[0], false); // compares what it published with its source
        assert_int_equal(rename(aside, path), 0);
    }
    free(list.names);
    close(fds[0]);
    close(fds[1]);
}

// Packs of a site that is not ours may hold anything under their names: cut, emptied, every byte wrong in turn.
static void test_damaged_packs(void **state)
{
    const struct fixture *f = *state;
    int fds[3];
    char path[400], hex[SHA256_HEX_SIZE];
    struct publication p = publish_parent(f, fds);
    // The pack of pages, which is small.
    const struct pack_reference *pack = &p.manifest.members[0].top.pack;
    object_path(f->site, sha256_to_hex(&pack->name, hex), path);
    unsigned char *good = malloc(pack->size);
    assert_non_null(good);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_read_full(fd, good, pack->size, 0), 0);
    unsigned refused = 0;
    for (uint32_t at = 0; at < pack->size; at++) {
        struct parent_counts counts = {.known = 99, .missing = 99};
        struct error error = {.text = ""};
        const unsigned char bad = (unsigned char)(good[at] ^ (1u << at % 8));
        assert_int_equal(pwrite(fd, &bad, 1, at), 1);
        struct writer *w = open_writer(f->site);
        int r = parent_know(w, writer_site(w), &p.manifest, true, &counts, &error);
        assert_true(r == 0 || r == -EBADMSG);
        assert_true(r == 0 || error.text[0]);
        refused += r < 0;
        // What is in a table is not looked at before the whole of it was found right.
        if (at >= get_le32(good + pack->size - PACK_TRAILER_SIZE) && at < pack->size - PACK_TRAILER_SIZE &&
            !strstr(error.text, "the one that the map names"))
            fail_msg("byte %u: %s", at, error.text);
        writer_close(w);
        assert_int_equal(pwrite(fd, good + at, 1, at), 1);
    }
    assert_true(refused >= pack->size - PACK_MAGIC_SIZE); // the magic alone is read by nobody here
    for (uint32_t size = 0; size < pack->size; size += 97) {
        struct parent_counts counts = {.known = 99, .missing = 99};
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        struct writer *w = open_writer(f->site);
        assert_true(parent_know(w, writer_site(w), &p.manifest, true, &counts, NULL) < 0);
        assert_int_equal(counts.known, 99); // untouched
        assert_int_equal(counts.missing, 99);
        writer_close(w);
    }
    close(fd);
    free(good);
    close(fds[0]);
    close(fds[1]);
}

// --- a publisher who lies ------------------------------------------------------------------------------------------

// Stores a pack of one chunk, of which the table says what it is told to.
static struct chunk_reference put_pack(struct site *s, const void *stored, size_t length, const void *said_header,
                                       const struct sha256 *said_hashes)
{
    struct chunk_reference ref = {
        .name = sha256_of(stored, length), .offset = PACK_MAGIC_SIZE, .length = (uint32_t)length};
    struct pack_table table = {.bytes = BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM)};
    struct buf bytes CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PACK_SIZE_MAXIMUM);
    assert_int_equal(pack_table_add(&table, &ref.name, ref.offset, said_header, length, said_hashes), 0);
    assert_int_equal(pack_table_finish(&table, ref.offset + ref.length, &ref.pack.table), 0);
    assert_int_equal(buf_append(&bytes, PACK_MAGIC, PACK_MAGIC_SIZE), 0);
    assert_int_equal(buf_append(&bytes, stored, length), 0);
    assert_int_equal(buf_append(&bytes, table.bytes.data, table.bytes.size), 0);
    buf_free(&table.bytes);
    ref.pack.size = (uint32_t)bytes.size;
    assert_int_equal(site_put_object(s, bytes.data, bytes.size, &ref.pack.name, NULL), 0);
    return ref;
}

static int cancel(void *context, const char *what, uint64_t done, uint64_t all)
{
    (void)done, (void)all;
    assert_string_equal(what, "parent");
    *(unsigned *)context += 1;
    return 1;
}

// It may take long, of another publisher's version above all.
static void test_it_can_be_cancelled(void **state)
{
    const struct fixture *f = *state;
    int fds[3];
    struct publication p = publish_parent(f, fds);
    for (int foreign = 0; foreign < 2; foreign++) {
        struct parent_counts counts;
        unsigned calls = 0;
        struct writer *w;
        struct writer_options options = {
            .site = f->site, .image = "next", .level = 1, .threads = 1, .progress = cancel, .context = &calls};
        assert_int_equal(writer_open(&options, &w, NULL), 0);
        assert_int_equal(parent_know(w, writer_site(w), &p.manifest, foreign != 0, &counts, NULL), -ECANCELED);
        assert_int_equal(calls, 1);
        writer_close(w);
    }
    close(fds[0]);
    close(fds[1]);
}

static int find_chunk(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    assert_int_equal(chunk, 0);
    *ret = *(const struct chunk_reference *)context;
    return 0;
}

// A version of one chunk with blocks 2 and 4, of which the table claims `header` and `hashes`, and the map that it has
// so many blocks.
static struct manifest lie(struct site *s, const unsigned char header[4], const struct sha256 *hashes, uint16_t mapped)
{
    static unsigned char blocks[2 * BLOCK_SIZE], stored[CHUNK_STORED_MAXIMUM];
    static unsigned char page[PAGE_BYTES_MAXIMUM], page_stored[PAGE_STORED_MAXIMUM];
    struct manifest m = {.member_count = 1, .members = {{.name = "disk", .size = mapped * BLOCK_SIZE}}};
    size_t size;
    fill_block(blocks, 2);
    fill_block(blocks + BLOCK_SIZE, 4);
    struct chunk_encoder *e;
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, 1, &e), 0);
    int length = chunk_encode(e, CHUNK_DATA, blocks, 2, stored);
    struct chunk_reference data = put_pack(s, stored, (size_t)length, header ? header : stored, hashes);
    const struct map_extent extent = {.first = 0, .blocks = mapped, .block_in_chunk = 0, .chunk = 0};
    assert_int_equal(map_leaf_build(&extent, 1, find_chunk, &data, page, &size), 0);
    length = chunk_encode(e, CHUNK_PAGE, page, (unsigned)(size / BLOCK_SIZE), page_stored);
    chunk_encoder_free(e);
    m.members[0].top = put_pack(s, page_stored, (size_t)length, page_stored, NULL);
    return m;
}

static struct sha256 hash_of_block(uint32_t number)
{
    unsigned char block[BLOCK_SIZE];
    fill_block(block, number);
    return sha256_of(block, sizeof(block));
}

static void test_lies_of_another_publisher(void **state)
{
    const struct fixture *f = *state;
    const struct sha256 right[] = {hash_of_block(2), hash_of_block(4), hash_of_block(6)};
    const struct sha256 wrong[] = {hash_of_block(2), hash_of_block(6)};
    const unsigned char one[4] = {CHUNK_DATA, CHUNK_RAW, 1, 0}, three[4] = {CHUNK_DATA, CHUNK_RAW, 3, 0};
    const unsigned char page[4] = {CHUNK_PAGE, CHUNK_RAW, 2, 0};
    const struct {
        const unsigned char *header;
        const struct sha256 *hashes;
        int result;
    } table[] = {{NULL, right, 0},
                 {NULL, wrong, -EBADMSG},
                 {one, right, -EBADMSG},
                 {three, right, -EBADMSG},
                 {page, NULL, -EBADMSG}};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct parent_counts counts;
        struct error error = {.text = ""};
        struct writer *w = open_writer(f->site);
        struct manifest m = lie(writer_site(w), table[i].header, table[i].hashes, 2);
        int r = parent_know(w, writer_site(w), &m, true, &counts, &error);
        int checked = parent_check(writer_site(w), &m, &error);
        writer_close(w);
        if (r != table[i].result || checked != r)
            fail_msg("row %zu gave %d and %d: %s", i, r, checked, error.text);
    }
    // The honest one is of use.
    int fd = image_open(f, "disk", 3 * BLOCK_SIZE);
    image_fill(fd, 0, 3, 2, 2);
    struct writer *w = open_writer(f->site);
    struct manifest m = lie(writer_site(w), NULL, right, 2);
    writer_close(w);
    assert_int_equal(count_new(f, &m, fd, true), 1);
    close(fd);
}

static int read_page_of(void *site, const struct chunk_reference *ref, unsigned level, void *bytes,
                        struct map_page *ret, struct error *error)
{
    return parent_read_page(site, ref, level, bytes, ret, error);
}

static int find_no_change(void *context, uint64_t block, uint64_t *ret_first, uint64_t *ret_count, bool *ret_zero)
{
    (void)context, (void)block, (void)ret_first, (void)ret_count, (void)ret_zero;
    return 0;
}

// What nobody could read is not signed for.
static void test_a_map_wants_more_than_a_chunk_has(void **state)
{
    const struct fixture *f = *state;
    const struct sha256 right[] = {hash_of_block(2), hash_of_block(4)};
    for (uint16_t mapped = 2; mapped < 4; mapped++) {
        struct parent_counts counts;
        struct manifest_member member;
        struct error error = {.text = ""};
        struct writer *w = open_writer(f->site);
        struct manifest m = lie(writer_site(w), NULL, right, mapped);
        const struct writer_changes changes = {.base = &m.members[0],
                                               .size = m.members[0].size,
                                               .foreign = true,
                                               .read_page = read_page_of,
                                               .find_change = find_no_change,
                                               .context = writer_site(w)};
        assert_int_equal(parent_know(w, writer_site(w), &m, true, &counts, &error), 0);
        assert_int_equal(writer_add_changed_member(w, "disk", &changes, &member, &error), mapped == 2 ? 0 : -EBADMSG);
        writer_close(w);
    }
}

// --- a version of many packs ---------------------------------------------------------------------------------------

#define LEAVES 6u
#define PACKS_OF_LEAF 4000u // of which each leaf shares half with the one before

static int find_absent_chunk(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    (void)context;
    *ret = (struct chunk_reference){.name = sha256_of(&chunk, sizeof(chunk)), .offset = PACK_MAGIC_SIZE, .length = 100};
    ret->pack = (struct pack_reference){.name = ret->name, .size = 1000, .table = ret->name};
    return 0;
}

static struct chunk_reference put_page(struct site *s, struct chunk_encoder *e, const void *page, size_t size)
{
    static unsigned char stored[PAGE_STORED_MAXIMUM];
    int length = chunk_encode(e, CHUNK_PAGE, page, (unsigned)(size / BLOCK_SIZE), stored);
    assert_true(length > 0);
    return put_pack(s, stored, (size_t)length, stored, NULL);
}

// Each pack is noted once, however many there are and pages that name it; pages beyond the member's end are not
// looked at.
static void test_many_packs(void **state)
{
    const struct fixture *f = *state;
    static unsigned char page[PAGE_BYTES_MAXIMUM];
    static struct map_extent extents[PACKS_OF_LEAF];
    struct chunk_reference leaves[LEAVES + 1] = {{.length = 0}};
    struct manifest m = {.member_count = 1,
                         .members = {{.name = "disk", .size = LEAVES * SEGMENT_BLOCKS * BLOCK_SIZE}}};
    struct parent_counts counts;
    struct chunk_encoder *e;
    struct writer *w = open_writer(f->site);
    size_t size;
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, 1, &e), 0);
    for (unsigned leaf = 0; leaf <= LEAVES; leaf++) {
        for (unsigned i = 0; i < PACKS_OF_LEAF; i++)
            extents[i] = (struct map_extent){.first = i, .blocks = 1, .chunk = leaf * (PACKS_OF_LEAF / 2) + i};
        assert_int_equal(map_leaf_build(extents, PACKS_OF_LEAF, find_absent_chunk, NULL, page, &size), 0);
        leaves[leaf] = put_page(writer_site(w), e, page, size);
    }
    assert_int_equal(map_index_build(1, leaves, LEAVES + 1, page, &size), 0);
    m.members[0].top = put_page(writer_site(w), e, page, size);
    assert_int_equal(parent_know(w, writer_site(w), &m, false, &counts, NULL), 0);
    assert_int_equal(counts.known, 1 + LEAVES + 1); // the index page names all of its children's
    assert_int_equal(counts.missing, (LEAVES + 1) * (PACKS_OF_LEAF / 2));
    chunk_encoder_free(e);
    writer_close(w);
}

// A block that another publisher's packs hold any number of times neither fills the table nor hides others.
static void test_one_block_many_times(void **state)
{
    const struct fixture *f = *state;
    const struct sha256 same = hash_of_block(2), other = hash_of_block(4);
    struct writer *w = open_writer(f->site);
    struct writer_index *x;
    uint64_t chunk = 0, at = 0;
    unsigned found = 0, position;
    assert_int_equal(writer_index_open(writer_site(w), &x), 0);
    for (unsigned i = 0; i < 2000; i++) { // enough for the table to grow
        assert_int_equal(writer_index_begin_chunk(x, &chunk), 0);
        for (unsigned block = 0; block < CHUNK_BLOCKS_MAXIMUM; block++) {
            struct sha256 hash = same;
            if (block % 2 == 1)
                memcpy(hash.bytes, &(uint64_t){chunk * CHUNK_BLOCKS_MAXIMUM + block}, sizeof(uint64_t));
            assert_int_equal(writer_index_add_block(x, chunk, block, &hash), 0);
        }
    }
    assert_int_equal(writer_index_begin_chunk(x, &chunk), 0);
    assert_int_equal(writer_index_add_block(x, chunk, 0, &other), 0);
    while (writer_index_next(x, WRITER_INDEX_BLOCK, &same, &at, &chunk, &position)) {
        assert_int_equal(chunk, found / (CHUNK_BLOCKS_MAXIMUM / 2)); // the first ones, in their order
        found++;
    }
    assert_int_equal(found, WRITER_INDEX_COPIES);
    assert_true(writer_index_find(x, WRITER_INDEX_BLOCK, &other, 0, &chunk, &position));
    assert_int_equal(chunk, 2000);
    writer_index_close(x);
    writer_close(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_all_is_known),
        TEST(test_zero_members_have_nothing),
        TEST(test_missing_packs),
        TEST(test_damaged_packs),
        TEST(test_lies_of_another_publisher),
        TEST(test_it_can_be_cancelled),
        TEST(test_a_map_wants_more_than_a_chunk_has),
        TEST(test_many_packs),
        TEST(test_one_block_many_times),
    };
    return cmocka_run_group_tests_name("parent", tests, NULL, NULL);
}
