// What a version has that another has not: bytes to fetch, blocks that stand elsewhere, boot packs.
#include "blockstore/store.h"

#include "writer_fixture.h"

struct two {
    struct store *store;
    struct version *a, *b;
};

static struct publication publish_version(struct fixture *f, const int *fds, const struct profile *boot)
{
    struct publication p = {.site = f->site, .fds = fds, .known_site = f->site, .boot = boot};

    publish_well(&p);
    return p;
}

static struct version *open_version(struct store *store, struct fixture *f, const struct publication *p)
{
    const char *addresses[] = {f->site};
    struct version *v;
    struct error error = {""};

    if (version_open(store, &p->name, addresses, 1, &v, &error) < 0)
        fail_msg("%s", error.text);
    return v;
}

static struct two open_two(struct fixture *f, const struct publication *a, const struct publication *b)
{
    struct two t;
    char cache[300];
    struct store_options options = {.cache_folder = cache};

    snprintf(cache, sizeof(cache), "%s/cache", f->root);
    assert_int_equal(io_make_folders(AT_FDCWD, cache, 0755), 0);
    assert_int_equal(store_new(&options, &t.store, NULL), 0);
    t.a = open_version(t.store, f, a);
    t.b = open_version(t.store, f, b);
    return t;
}

static void close_two(struct two *t)
{
    version_close(t->a);
    version_close(t->b);
    store_free(t->store);
}

static uint64_t count_changed(const struct two *t, unsigned member)
{
    uint64_t changed = 99;

    assert_int_equal(version_count_changed(t->a, t->b, member, &changed, NULL), 0);
    return changed;
}

static struct version_difference compare(const struct two *t)
{
    struct version_difference d;

    assert_int_equal(version_compare(t->a, t->b, &d, NULL), 0);
    return d;
}

static int make_disk(struct fixture *f)
{
    int disk = image_open(f, "disk", 4 * SEGMENT_BLOCKS * BLOCK_SIZE);

    image_fill(disk, 0, 2500, 2, 2);
    image_fill(disk, SEGMENT_BLOCKS + 9, 100, 10000, 2);
    image_fill(disk, 3 * SEGMENT_BLOCKS, 100, 20000, 2);
    return disk;
}

static void a_version_does_not_differ_from_itself(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1};
    struct publication p = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &p);
    struct version_difference d = compare(&t);

    assert_int_equal(d.data_bytes + d.page_bytes + d.data_chunks + d.pages + d.packs + d.boot_packs, 0);
    assert_int_equal(count_changed(&t, 0), 0);
    close_two(&t);
    close(fds[0]);
}

struct named {
    unsigned pages, chunks, at_most;
};

static int count_named(void *context, enum chunk_kind kind, const struct sha256 *name, struct error *error)
{
    struct named *n = context;
    assert_false(sha256_is_zero(name));
    if (n->at_most && n->pages + n->chunks == n->at_most)
        return error_set(error, ECANCELED, "enough");
    n->pages += kind == CHUNK_PAGE;
    n->chunks += kind == CHUNK_DATA;
    return 0;
}

static struct named visit(struct version *v, uint64_t first, uint64_t blocks)
{
    struct named n = {.at_most = 0};
    assert_int_equal(version_visit_blocks(v, 0, first, blocks, count_named, &n, NULL), 0);
    return n;
}

static void a_range_of_blocks_is_its_pages_and_chunks(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1};
    struct publication p = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &p);
    struct version_difference all;
    struct named n = visit(t.a, 7, 1);
    assert_true(n.pages == 2 && n.chunks == 1); // index, leaf
    n = visit(t.a, 2 * SEGMENT_BLOCKS + 5, 9);
    assert_true(n.pages == 1 && n.chunks == 0); // the index says that all of that is zero
    n = visit(t.a, SEGMENT_BLOCKS - 1, 2);
    assert_true(n.pages == 4 && n.chunks == 0); // zeros on both sides of two segments, says each one's leaf
    n = visit(t.a, 4 * SEGMENT_BLOCKS, 1);
    assert_true(n.pages + n.chunks == 0); // beyond the end
    n = visit(t.a, 3 * SEGMENT_BLOCKS, UINT64_MAX);
    assert_true(n.pages == 2 && n.chunks >= 4); // 100 blocks
    // Every chunk of the version is named: no pair of segments shares one, and the index is named for each of the four.
    assert_int_equal(version_compare(NULL, t.a, &all, NULL), 0);
    n = visit(t.a, 0, UINT64_MAX);
    assert_int_equal(n.pages, all.pages + 3);
    assert_true(n.chunks >= all.data_chunks);
    struct named few = {.at_most = 3};
    assert_int_equal(version_visit_blocks(t.a, 0, 0, 1000, count_named, &few, NULL), -ECANCELED);
    assert_int_equal(few.pages + few.chunks, 3);
    assert_int_equal(version_visit_blocks(t.a, 1, 0, 1, count_named, &few, NULL), -EINVAL);
    close_two(&t);
    close(fds[0]);
}

static void to_whoever_has_nothing_all_is_new(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1}, none[] = {image_open(f, "zeros", 500 * BLOCK_SIZE), -1};
    struct publication p = publish_version(f, none, NULL), q = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &q); // the first has only zeros, so nothing of the second
    struct version_difference d, wanted = compare(&t);

    assert_int_equal(version_compare(NULL, t.b, &d, NULL), 0);
    assert_memory_equal(&d, &wanted, sizeof(d));
    assert_true(d.data_bytes > 2000 * BLOCK_SIZE && d.pages > 3 && d.packs > 0);
    assert_int_equal(version_compare(NULL, t.a, &d, NULL), 0);
    assert_int_equal(d.data_bytes + d.page_bytes + d.packs, 0);
    close_two(&t);
    close(fds[0]);
    close(none[0]);
}

// T28: what a leaf refers to is listed once, however often a map names it; and work has a limit where one is given.
static void a_leaf_that_is_named_often_is_listed_once(void **state)
{
    struct fixture *f = *state;
    const unsigned segments = 8;
    int fds[] = {image_open(f, "disk", segments * (uint64_t)SEGMENT_BLOCKS * BLOCK_SIZE), -1};
    for (unsigned i = 0; i < segments; i++)
        image_fill(fds[0], i * (uint64_t)SEGMENT_BLOCKS, 100, 2, 2);
    struct publication p = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &p);
    struct version_difference all, d = {.packs = 77};
    assert_int_equal(version_compare(NULL, t.a, &all, NULL), 0);
    assert_int_equal(all.pages, 2); // the index, and one leaf for all segments
    assert_true(all.data_chunks >= 4);
    const uint64_t work = (1 + segments) * VERSION_WORK_PAGE + all.data_chunks;
    assert_int_equal(version_sum(t.a, work - 1, &d, NULL), -E2BIG);
    assert_int_equal(d.packs, 77); // untouched
    assert_int_equal(version_sum(t.a, work, &d, NULL), 0);
    assert_memory_equal(&d, &all, sizeof(d));
    close_two(&t);
    close(fds[0]);
}

static void what_changed_is_to_be_fetched(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1};
    struct publication p = publish_version(f, fds, NULL);
    image_fill(fds[0], 100, 3, 90000, 2);                // another content
    image_put(fds[0], 200, 0);                           // zeros now
    image_put(fds[0], 3000, 91000);                      // zeros before
    image_put(fds[0], 3001, 10000);                      // zeros before, known
    image_fill(fds[0], 2 * SEGMENT_BLOCKS, 2, 92000, 2); // a segment without a leaf before
    image_fill(fds[0], 3 * SEGMENT_BLOCKS, 100, 0, 0);   // and one without a leaf now
    struct publication q = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &q);
    struct version_difference d = compare(&t);

    assert_int_equal(count_changed(&t, 0), 3 + 1 + 1 + 1 + 2 + 100);
    assert_int_equal(d.data_chunks, 1);
    assert_true(d.data_bytes > 6 * BLOCK_SIZE && d.data_bytes < 7 * BLOCK_SIZE);
    assert_int_equal(d.pages, 2 + 1); // leaves, index
    assert_int_equal(d.packs, q.counts.packs);
    assert_true(d.data_bytes + d.page_bytes < q.counts.written_bytes);
    assert_true(d.data_bytes + d.page_bytes + d.packs * 1000 > q.counts.written_bytes);
    close_two(&t);
    // And back: of the older version nothing is missing but what it alone had.
    t = open_two(f, &q, &p);
    d = compare(&t);
    assert_int_equal(count_changed(&t, 0), 3 + 1 + 1 + 1 + 2 + 100);
    assert_true(d.data_chunks > 0 && d.data_chunks < 10);
    close_two(&t);
    close(fds[0]);
}

static void members_come_go_and_grow(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1, -1}, none[] = {image_open(f, "zeros", 500 * BLOCK_SIZE), -1};
    struct publication p = publish_version(f, none, NULL);

    fds[1] = image_open(f, "kernel", 100 * BLOCK_SIZE + 1);
    image_fill(fds[1], 0, 90, 30000, 2);
    assert_int_equal(ftruncate(fds[1], 100 * BLOCK_SIZE + 1), 0);
    struct publication q = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &q);
    assert_int_equal(count_changed(&t, 0), 2500 + 100 + 100);
    assert_int_equal(count_changed(&t, 1), 90);
    assert_int_equal(compare(&t).data_chunks, (2790 + 31) / 32);
    close_two(&t);
    t = open_two(f, &q, &p);
    assert_int_equal(count_changed(&t, 0), 500); // the disk is cut to that, and zeros
    assert_int_equal(compare(&t).data_bytes + compare(&t).page_bytes, 0);
    close_two(&t);
    close(fds[0]);
    close(fds[1]);
    close(none[0]);
}

static void a_boot_set_is_measured(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1};
    struct profile *boot CLEANUP(cleanup_profile) = profile_new();
    struct version_extent e;
    unsigned disk;

    assert_int_equal(profile_add_member(boot, "disk", 4 * SEGMENT_BLOCKS * BLOCK_SIZE, &disk), 0);
    assert_int_equal(profile_add_read(boot, disk, SEGMENT_BLOCKS, 50), 0); // 9 of them are zero
    assert_int_equal(profile_add_read(boot, disk, 1000, 20), 0);
    struct publication p = publish_version(f, fds, NULL), q = publish_version(f, fds, boot);
    struct two t = open_two(f, &p, &q);
    struct version_difference d = compare(&t);
    assert_int_equal(d.boot_packs, q.manifest.boot_count);
    assert_true(d.boot_bytes >= d.data_bytes + d.page_bytes);
    assert_int_equal(count_changed(&t, 0), 61); // the same bytes, elsewhere
    assert_int_equal(version_measure(t.a, 0, &e, NULL), 0);
    assert_int_equal(e.boot_blocks, 0);
    assert_int_equal(version_measure(t.b, 0, &e, NULL), 0);
    assert_int_equal(e.boot_blocks, 61);
    assert_int_equal(e.mapped_blocks, 2700);
    close_two(&t);
    close(fds[0]);
}

static void what_is_nowhere_is_a_failure(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_disk(f), -1};
    struct publication p = publish_version(f, fds, NULL);
    image_put(fds[0], 100, 90000);
    struct publication q = publish_version(f, fds, NULL);
    struct two t = open_two(f, &p, &q);
    struct version_difference d = {.packs = 77};
    char hex[SHA256_HEX_SIZE], path[400];
    uint64_t changed = 77;

    sha256_to_hex(&q.manifest.members[0].top.pack.name, hex);
    snprintf(path, sizeof(path), "%s/objects/%.2s/%s", f->site, hex, hex);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(version_compare(t.a, t.b, &d, NULL), -ENOENT);
    assert_int_equal(version_count_changed(t.a, t.b, 0, &changed, NULL), -ENOENT);
    assert_int_equal(d.packs, 77); // untouched
    assert_int_equal(changed, 77);
    close_two(&t);
    close(fds[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_version_does_not_differ_from_itself),
        TEST(a_range_of_blocks_is_its_pages_and_chunks),
        TEST(to_whoever_has_nothing_all_is_new),
        TEST(a_leaf_that_is_named_often_is_listed_once),
        TEST(what_changed_is_to_be_fetched),
        TEST(members_come_go_and_grow),
        TEST(a_boot_set_is_measured),
        TEST(what_is_nowhere_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
