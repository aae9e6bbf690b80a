// The boot set: what a profile names can be read from the boot packs alone, in its order, and nothing else lies in
// them; what an older version's boot packs hold is used as long as that pays.
#include "boot_fixture.h"

// --- an image and its boot -------------------------------------------------------------------------------------------

struct image {
    int fds[4]; // disk, kernel, initrd, -1
    struct profile *profile;
};

static struct profile *make_profile(const int *fds)
{
    static const char *const names[] = {"disk", "kernel", "initrd"};
    struct profile *p = profile_new();
    unsigned member;
    struct stat st;

    assert_non_null(p);
    for (unsigned i = 0; fds[i] >= 0; i++) {
        assert_int_equal(fstat(fds[i], &st), 0);
        assert_int_equal(profile_add_member(p, names[i], (uint64_t)st.st_size, &member), 0);
    }
    return p;
}

static void add_read(struct profile *p, unsigned member, uint64_t first, uint64_t blocks)
{
    assert_int_equal(profile_add_read(p, member, first, blocks), 0);
}

// A disk of five segments, the fourth of which no boot reads and the fifth of which is empty; a kernel and an initrd
// that are read whole.
static struct image make_image(struct fixture *f)
{
    struct image i = {.fds = {image_open(f, "disk", 5 * SEGMENT_BLOCKS * BLOCK_SIZE),
                              image_open(f, "kernel", 300 * BLOCK_SIZE - 100),
                              image_open(f, "initrd", 200 * BLOCK_SIZE), -1}};

    image_fill(i.fds[0], 0, 2000, 2, 2);
    image_fill(i.fds[0], SEGMENT_BLOCKS + 50, 1500, 10001, 1);
    image_fill(i.fds[0], 2 * SEGMENT_BLOCKS + 50, 1000, 1, 2);
    image_fill(i.fds[0], 3 * SEGMENT_BLOCKS + 50, 1000, 50000, 1);
    image_fill(i.fds[1], 0, 300, 20000, 2);
    image_fill(i.fds[2], 0, 200, 30000, 2);
    assert_int_equal(ftruncate(i.fds[1], 300 * BLOCK_SIZE - 100), 0);
    i.profile = make_profile(i.fds);
    add_read(i.profile, 1, 0, 300);
    add_read(i.profile, 2, 0, 200);
    add_read(i.profile, 0, SEGMENT_BLOCKS + 500, 300);
    add_read(i.profile, 0, 7, 1);
    add_read(i.profile, 0, 2 * SEGMENT_BLOCKS + 60, 20);
    add_read(i.profile, 0, 1000, 400);
    add_read(i.profile, 0, SEGMENT_BLOCKS + 480, 10);
    add_read(i.profile, 0, 5000, 10);                    // zeros
    add_read(i.profile, 0, 4 * SEGMENT_BLOCKS + 100, 1); // of a segment without a leaf
    return i;
}

static void drop_image(struct image *i)
{
    for (unsigned k = 0; k < 3; k++)
        close(i->fds[k]);
    profile_free(i->profile);
}

// --- what is in the boot packs ---------------------------------------------------------------------------------------

struct hashes {
    struct sha256 list[40000];
    size_t count;
};

static int note_hashes(void *context, const struct pack_entry *entry)
{
    struct hashes *h = context;

    for (unsigned i = 0; entry->block_hashes && i < entry->nblocks; i++) {
        assert_true(h->count < ARRAY_SIZE(h->list));
        memcpy(h->list[h->count++].bytes, entry->block_hashes + (size_t)i * SHA256_SIZE, SHA256_SIZE);
    }
    return 0;
}

// The blocks of all boot packs, in order.
static struct hashes *read_boot_blocks(const struct publication *p)
{
    struct hashes *h = calloc(1, sizeof(*h));
    char hex[SHA256_HEX_SIZE];

    assert_non_null(h);
    for (unsigned i = 0; i < p->manifest.boot_count; i++) {
        unsigned char trailer[PACK_TRAILER_SIZE], *table = NULL;
        struct pack_trailer parsed;
        struct pack_reference ref;
        int fd = open_object(p->site, sha256_to_hex(&p->manifest.boot[i].pack, hex));
        if (!read_pack_table(fd, &ref, trailer, &table, &parsed) || !table)
            abort();
        assert_int_equal(ref.size, p->manifest.boot[i].size);
        assert_int_equal(pack_walk_table(table, parsed.table_length, &parsed, note_hashes, h, NULL), 0);
        free(table);
        close(fd);
    }
    return h;
}

// The blocks of the profile that are not zero, in order.
static struct hashes *hash_profile(const struct publication *p)
{
    struct hashes *h = calloc(1, sizeof(*h));
    static struct comparison c;
    unsigned char block[BLOCK_SIZE];

    assert_non_null(h);
    for (size_t i = 0; i < p->boot->read_count; i++)
        for (uint32_t k = 0; k < p->boot->reads[i].blocks; k++) {
            c = (struct comparison){.fd = p->fds[p->boot->reads[i].member]};
            read_source(&c, p->boot->reads[i].first + k, 1, block);
            if (block[0] != 0 || memcmp(block, block + 1, BLOCK_SIZE - 1) != 0)
                h->list[h->count++] = sha256_of(block, BLOCK_SIZE);
        }
    return h;
}

static void assert_boot_is_in_order(const struct publication *p)
{
    struct hashes *packs = read_boot_blocks(p), *profile = hash_profile(p);

    assert_int_equal(packs->count, profile->count);
    assert_memory_equal(packs->list, profile->list, packs->count * sizeof(*packs->list));
    free(packs);
    free(profile);
}

static uint64_t boot_bytes(const struct publication *p)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < p->manifest.boot_count; i++)
        bytes += p->manifest.boot[i].size;
    return bytes;
}

// --- layout ----------------------------------------------------------------------------------------------------------

static void a_boot_needs_nothing_but_its_packs(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile};

    publish_well(&p);
    assert_published(&p);
    assert_no_leftovers(f->site);
    assert_boot_is_whole(&p);
    assert_boot_is_in_order(&p); // and nothing else is in them
    // 1 MiB and a half do not fill a pack: index, leaves, data.
    assert_int_equal(p.manifest.boot_count, 2 + 3);
    assert_int_equal(p.counts.boot_blocks, 300 + 200 + 300 + 1 + 20 + 400 + 10);
    assert_int_equal(p.counts.new_blocks, 2000 + 1500 + 1000 + 1000 + 300 + 200);
    assert_int_equal(p.counts.known_blocks, 0);
    assert_false(p.counts.boot_cut);
    drop_image(&i);
}

static void the_number_of_threads_changes_no_boot_pack(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile, .threads = 1};

    publish_well(&p);
    for (unsigned threads = 2; threads <= 9; threads += 7) {
        struct publication q = {.site = f->other_site, .fds = i.fds, .boot = i.profile, .threads = threads};
        publish_well(&q);
        assert_same_objects(f->site, f->other_site);
        assert_true(sha256_equal(&p.name, &q.name));
        remove_tree(f->other_site);
    }
    drop_image(&i);
}

static void one_block_that_is_read_twice_is_stored_once(void **state)
{
    struct fixture *f = *state;
    int fds[] = {image_open(f, "disk", 500 * BLOCK_SIZE), image_open(f, "kernel", 40 * BLOCK_SIZE), -1};

    image_fill(fds[0], 0, 100, 2, 2);
    image_fill(fds[0], 200, 100, 2, 2); // the same again, in the boot set and out of it
    image_fill(fds[0], 300, 100, 2, 2);
    image_fill(fds[1], 0, 40, 2, 2);
    struct profile *profile = make_profile(fds);
    add_read(profile, 0, 200, 50);
    add_read(profile, 0, 0, 60);
    add_read(profile, 1, 10, 30);
    struct publication p = {.site = f->site, .fds = fds, .boot = profile};
    publish_well(&p);
    assert_published(&p);
    assert_boot_is_whole(&p);
    assert_int_equal(p.counts.new_blocks, 100);
    assert_int_equal(p.counts.known_blocks, 240);
    struct hashes *packs = read_boot_blocks(&p);
    assert_int_equal(packs->count, 60);
    free(packs);
    profile_free(profile);
    close(fds[0]);
    close(fds[1]);
}

static void a_boot_that_reads_zeros_alone_needs_pages_alone(void **state)
{
    struct fixture *f = *state;
    int fds[] = {image_open(f, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE), image_open(f, "kernel", 40 * BLOCK_SIZE), -1};

    image_fill(fds[0], 100, 10, 2, 2);
    struct profile *profile = make_profile(fds);
    add_read(profile, 0, 0, 50);
    add_read(profile, 1, 0, 40);
    struct publication p = {.site = f->site, .fds = fds, .boot = profile};
    publish_well(&p);
    assert_published(&p);
    assert_boot_is_whole(&p);
    assert_int_equal(p.manifest.boot_count, 2);
    assert_int_equal(p.counts.boot_blocks, 0);
    profile_free(profile);
    close(fds[0]);
    close(fds[1]);
}

// More than a manifest can list.
static void a_boot_set_beyond_the_lines_of_a_manifest_is_cut(void **state)
{
    struct fixture *f = *state;
    const unsigned blocks = (WRITER_BOOT_DATA_PACKS + 3) * (PACK_SIZE_TARGET_BOOT / BLOCK_SIZE);
    int fds[] = {image_open(f, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE), -1};

    image_fill(fds[0], 0, blocks, 2, 2); // none of which compresses
    struct profile *profile = make_profile(fds);
    add_read(profile, 0, 0, blocks);
    struct publication p = {.site = f->site, .fds = fds, .boot = profile};
    publish_well(&p);
    assert_published(&p);
    assert_true(p.counts.boot_cut);
    assert_int_equal(p.manifest.boot_count, WRITER_BOOT_DATA_PACKS + 2);
    for (unsigned i = 0; i < WRITER_BOOT_DATA_PACKS * (PACK_SIZE_TARGET_BOOT / BLOCK_SIZE); i += 100)
        assert_block_is_in_boot(&p, 0, i);
    profile_free(profile);
    close(fds[0]);
}

// A profile that reads each block for itself, in no order, through many chunks: the leaves fit all the same.
static void a_scattered_boot_is_mapped(void **state)
{
    struct fixture *f = *state;
    int fds[] = {image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE), -1};

    for (unsigned s = 0; s < 3; s++)
        image_fill(fds[0], s * SEGMENT_BLOCKS, 10000, 1 + 20000 * s, 2);
    struct profile *profile = make_profile(fds);
    for (uint64_t i = 0; i < 30000; i++) // 7919 is prime: each block once
        add_read(profile, 0, i % 3 * SEGMENT_BLOCKS + i / 3 * 7919 % 10000, 1);
    struct publication p = {.site = f->site, .fds = fds, .boot = profile};
    publish_well(&p);
    assert_published(&p);
    assert_boot_is_in_order(&p);
    for (unsigned i = 0; i < 10000; i += 97)
        assert_block_is_in_boot(&p, 0, SEGMENT_BLOCKS + i);
    profile_free(profile);
    close(fds[0]);
}

static void a_profile_of_other_sizes_is_refused(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile};

    assert_int_equal(ftruncate(i.fds[2], 200 * BLOCK_SIZE - 1), 0);
    assert_int_equal(publish(&p), -EINVAL);
    assert_non_null(strstr(p.error.text, "initrd has not the size"));
    drop_image(&i);
}

// --- the next version ------------------------------------------------------------------------------------------------

static struct publication publish_next(struct fixture *f, const struct image *i)
{
    struct publication p = {.site = f->site, .fds = i->fds, .boot = i->profile, .known_site = f->site};

    publish_well(&p);
    assert_published(&p);
    assert_boot_is_whole(&p);
    return p;
}

static unsigned count_shared(const struct publication *a, const struct publication *b)
{
    unsigned shared = 0;

    for (unsigned i = 0; i < a->manifest.boot_count; i++)
        shared += boot_number(&b->manifest, &a->manifest.boot[i].pack) >= 0;
    return shared;
}

static void the_same_boot_stores_nothing(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile};

    publish_well(&p);
    struct publication q = publish_next(f, &i);
    assert_int_equal(q.counts.packs, 0);
    assert_int_equal(q.manifest.boot_count, p.manifest.boot_count);
    assert_memory_equal(q.manifest.boot, p.manifest.boot, p.manifest.boot_count * sizeof(*p.manifest.boot));
    drop_image(&i);
}

static void a_changed_block_costs_a_small_pack(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile};

    publish_well(&p);
    image_fill(i.fds[0], 1000, 5, 70000, 2);
    struct publication q = publish_next(f, &i);
    assert_int_equal(q.counts.new_blocks, 5);
    assert_int_equal(q.counts.packs, 3); // the blocks, the leaf, the index
    assert_true(q.counts.written_bytes < 64u << 10);
    assert_int_equal(count_shared(&p, &q), 3); // of data
    assert_int_equal(q.manifest.boot_count, 3 + 1 + 2);
    drop_image(&i);
}

// A pack of which a boot uses less than half is not fetched for that.
static void a_pack_that_is_mostly_dead_is_stored_afresh(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile};

    publish_well(&p);
    image_fill(i.fds[1], 0, 299, 80000, 2); // another kernel: the first pack is dead but for the initrd
    struct publication q = publish_next(f, &i);
    assert_int_equal(q.counts.new_blocks, 299 + 1 + 200 + 44);
    assert_int_equal(boot_number(&q.manifest, &p.manifest.boot[2].pack), -1);
    assert_true(boot_bytes(&q) < boot_bytes(&p) + (128u << 10));
    drop_image(&i);
}

// A first boot profile for an image that was published without one: ordinary packs do not serve, as most of each is
// of no use to the boot.
static void ordinary_packs_do_not_serve_a_boot(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds};

    publish_well(&p);
    assert_int_equal(p.manifest.boot_count, 0);
    struct publication q = publish_next(f, &i);
    assert_boot_is_in_order(&q);
    assert_int_equal(q.counts.new_blocks, q.counts.boot_blocks);
    drop_image(&i);
}

// Update after update, each with a few blocks: there are never many packs, and never much that is dead.
static void many_updates_leave_few_packs(void **state)
{
    struct fixture *f = *state;
    struct image i = make_image(f);
    struct publication p = {.site = f->site, .fds = i.fds, .boot = i.profile};
    unsigned most = 0;

    publish_well(&p);
    uint64_t bytes = boot_bytes(&p);
    for (unsigned version = 0; version < 10; version++) {
        image_fill(i.fds[0], 1000 + version * 13, 13, 100000 + version * 100, 2);
        p = publish_next(f, &i);
        if (p.manifest.boot_count > most)
            most = p.manifest.boot_count;
        assert_true(boot_bytes(&p) < bytes + bytes / 4);
    }
    assert_true(most <= 3 + 4 + 2 + 2); // data, spare, new, pages
    drop_image(&i);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_boot_needs_nothing_but_its_packs),
        TEST(the_number_of_threads_changes_no_boot_pack),
        TEST(one_block_that_is_read_twice_is_stored_once),
        TEST(a_boot_that_reads_zeros_alone_needs_pages_alone),
        TEST(a_boot_set_beyond_the_lines_of_a_manifest_is_cut),
        TEST(a_scattered_boot_is_mapped),
        TEST(a_profile_of_other_sizes_is_refused),
        TEST(the_same_boot_stores_nothing),
        TEST(a_changed_block_costs_a_small_pack),
        TEST(a_pack_that_is_mostly_dead_is_stored_afresh),
        TEST(ordinary_packs_do_not_serve_a_boot),
        TEST(many_updates_leave_few_packs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
