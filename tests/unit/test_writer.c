// The writer: what is published reads back, is stored once, and depends on nothing but the input.
#include "writer_fixture.h"

static void a_published_member_reads_back(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 500 * BLOCK_SIZE);
    image_fill(disk, 0, 100, 1, 1);
    image_fill(disk, 200, 100, 1001, 1);
    image_fill(disk, 450, 50, 2001, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    assert_published(&p);
    assert_no_leftovers(f->site);
    assert_int_equal(p.counts.new_blocks, 250);
    assert_int_equal(p.counts.known_blocks, 0);
    assert_int_equal(p.counts.chunks, 8 + 1); // and the leaf
    assert_int_equal(p.counts.packs, 2);      // the leaf lies in a later pack than its chunks
    close(disk);
}

static void sizes_that_are_not_whole_blocks_are_padded_with_zeros(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {1, 511, 4095, 4097, 40961};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        int disk = image_open(f, "disk", 0);
        image_fill(disk, 0, 11, 2, 2);
        assert_int_equal(ftruncate(disk, (off_t)sizes[i]), 0);
        struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
        publish_well(&p);
        assert_published(&p);
        assert_int_equal(p.counts.data_bytes, sizes[i]);
        close(disk);
    }
}

static void zeros_need_no_page(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 1000 * BLOCK_SIZE), empty = image_open(f, "empty", 0);
    image_fill(disk, 100, 200, 0, 0);
    struct publication p = {.site = f->site, .fds = (int[]){disk, empty, -1}};
    publish_well(&p);
    assert_true(p.manifest.members[0].zero);
    assert_true(p.manifest.members[1].zero);
    assert_int_equal(p.manifest.members[1].size, 0);
    assert_int_equal(p.counts.packs, 0);
    assert_published(&p);
    close(disk);
    close(empty);
}

static void zero_blocks_inside_of_data_are_dropped(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 64 * BLOCK_SIZE);
    for (unsigned i = 0; i < 64; i++)
        image_put(disk, i, i % 2 ? i : 0);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    assert_int_equal(p.counts.new_blocks, 32);
    assert_int_equal(p.counts.zero_blocks, 32);
    assert_published(&p);
    close(disk);
}

static void equal_blocks_are_stored_once(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE),
        kernel = image_open(f, "kernel", 40 * BLOCK_SIZE);
    image_fill(disk, 0, 64, 1, 1);
    image_fill(disk, 100, 64, 1, 1);  // again, in the same segment
    image_fill(disk, 200, 300, 5, 0); // one content, many times
    image_fill(disk, SEGMENT_BLOCKS + 7, 40, 10, 1);
    image_fill(kernel, 0, 40, 10, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, kernel, -1}};
    publish_well(&p);
    assert_int_equal(p.counts.new_blocks, 64);
    assert_int_equal(p.counts.known_blocks, 64 + 300 + 40 + 40);
    assert_int_equal(p.counts.chunks, 2 + 3 + 1); // chunks, leaves, index
    assert_published(&p);
    close(disk);
    close(kernel);
}

static void equal_segments_share_one_leaf(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 5 * SEGMENT_BLOCKS * BLOCK_SIZE);
    for (unsigned i = 0; i < 5; i++)
        image_fill(disk, i * SEGMENT_BLOCKS + 30, 50, 1, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    assert_int_equal(p.counts.chunks, 2 + 1 + 1);
    assert_published(&p);
    close(disk);
}

static void the_number_of_threads_changes_nothing(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE), kernel = image_open(f, "kernel", 9999);
    image_fill(disk, 0, 2500, 2, 1);
    image_fill(disk, SEGMENT_BLOCKS - 100, 2000, 2000, 1);
    image_fill(disk, 2 * SEGMENT_BLOCKS + 5, 1500, 100, 4);
    image_fill(kernel, 0, 3, 77, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, kernel, -1}, .threads = 1};
    publish_well(&p);
    assert_published(&p);
    assert_true(p.counts.packs >= 3);
    for (unsigned threads = 2; threads <= 9; threads += 7) {
        struct publication q = {.site = f->other_site, .fds = p.fds, .threads = threads};
        publish_well(&q);
        assert_same_objects(f->site, f->other_site);
        assert_true(sha256_equal(&p.name, &q.name));
        remove_tree(f->other_site);
    }
    close(disk);
    close(kernel);
}

static void publishing_the_same_again_stores_nothing(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(disk, 10, 2000, 1, 1);
    image_fill(disk, 2 * SEGMENT_BLOCKS, 500, 10001, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    struct publication q = {.site = f->site, .fds = p.fds, .known_site = f->site};
    publish_well(&q);
    assert_int_equal(q.counts.packs, 0);
    assert_int_equal(q.counts.new_blocks, 0);
    assert_int_equal(q.counts.known_blocks, 2500);
    assert_true(sha256_equal(&p.name, &q.name));
    assert_published(&q);
    close(disk);
}

static void a_new_version_stores_only_what_changed(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(disk, 10, 2500, 2, 2);
    image_fill(disk, 2 * SEGMENT_BLOCKS, 500, 10001, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    image_put(disk, 700, 90000);
    image_put(disk, 701, 90002);
    image_put(disk, 1500, 90004);
    image_put(disk, 40, 0);
    image_put(disk, 41, 10001 + 17); // from another segment
    struct publication q = {.site = f->site, .fds = p.fds, .known_site = f->site};
    publish_well(&q);
    assert_int_equal(q.counts.new_blocks, 3);
    assert_int_equal(q.counts.chunks, 1 + 1 + 1); // chunk, leaf, index: the other leaf is the old one
    assert_true(q.counts.written_bytes < 32768);
    assert_published(&q);
    assert_member_equals(f->site, &q.manifest.members[0], disk);
    close(disk);
}

static void known_packs_may_be_given_twice(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 100 * BLOCK_SIZE);
    image_fill(disk, 0, 100, 1, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    struct writer_options options = {
        .site = f->site, .image = "img", .level = 1}; // as before: pages are compared stored
    struct writer *w;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    know_site(w, f->site);
    know_site(w, f->site);
    struct publication q = {.site = f->site, .fds = p.fds};
    assert_int_equal(publish_members(&q, w), 0);
    writer_close(w);
    assert_int_equal(q.counts.packs, 0);
    close(disk);
}

static void tables_that_do_not_match_are_refused(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 10 * BLOCK_SIZE);
    image_fill(disk, 0, 10, 1, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);

    char hex[SHA256_HEX_SIZE];
    unsigned char trailer[PACK_TRAILER_SIZE], *table = NULL;
    struct pack_trailer parsed;
    struct pack_reference ref;
    struct error error = {""};
    int fd = open_object(f->site, sha256_to_hex(&p.manifest.members[0].top.pack.name, hex));
    if (!read_pack_table(fd, &ref, trailer, &table, &parsed) || !table)
        abort();
    struct writer_options options = {.site = f->site, .image = "img"};
    struct writer *w;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    table[5] ^= 1;
    assert_int_equal(writer_know_pack(w, &ref, trailer, table, parsed.table_length, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "table is not the one"));
    table[5] ^= 1;
    trailer[20] ^= 1;
    assert_int_equal(writer_know_pack(w, &ref, trailer, table, parsed.table_length, NULL), -EBADMSG);
    trailer[20] ^= 1;
    ref.size++;
    assert_int_equal(writer_know_pack(w, &ref, trailer, table, parsed.table_length, NULL), -EBADMSG);
    ref.size--;
    assert_int_equal(writer_know_pack(w, &ref, trailer, table, parsed.table_length, NULL), 0);
    writer_close(w);
    free(table);
    close(fd);
    close(disk);
}

static void publish_scattered(struct publication *p, unsigned count)
{
    struct writer_options options = {.site = p->site, .image = "img", .level = 1};
    struct writer *w;

    assert_int_equal(writer_open(&options, &w, NULL), 0);
    know_scattered_blocks(w, count);
    if (publish_members(p, w) < 0)
        fail_msg("%s", p->error.text);
    writer_close(w);
}

static void a_scattered_segment_is_mapped_while_its_leaf_fits(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(disk, 0, 10000, 1, 2);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_scattered(&p, 10000);
    assert_int_equal(p.counts.known_blocks, 10000);
    assert_int_equal(p.counts.new_blocks, 0);
    assert_int_equal(p.counts.chunks, 1);
    close(disk);
}

static void a_segment_whose_leaf_would_overflow_is_stored_afresh(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(disk, 100, 12000, 1, 2);
    for (unsigned i = 0; i < 1000; i++)
        image_put(disk, 100 + 3 * i, 1000000 + i);       // new ones among them
    image_fill(disk, SEGMENT_BLOCKS - 300, 300, 101, 2); // and some twice
    image_fill(disk, SEGMENT_BLOCKS, 20, 24001, 2);      // the next segment is an ordinary one
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_scattered(&p, 12000);
    assert_int_equal(p.counts.new_blocks, 12000 + 300 - 200 + 20);
    assert_int_equal(p.counts.known_blocks, 200);
    assert_published(&p); // so nothing refers to the pack that was made up
    close(disk);
}

static void too_many_waiting_leaves_close_the_pack_early(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 6 * SEGMENT_BLOCKS * BLOCK_SIZE);
    for (unsigned i = 0; i < 6; i++)
        image_fill(disk, i * SEGMENT_BLOCKS + i, 40, 1 + 40 * i, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}, .extents_until_cut = 4};
    publish_well(&p);
    // Two extents a segment: cut behind every second one, whose leaves then open the next pack.
    assert_int_equal(p.counts.packs, 3 + 1 + 1);
    assert_published(&p);
    close(disk);
}

static void a_sparse_tebibyte_takes_the_time_of_its_data(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", UINT64_C(1) << 40);
    image_fill(disk, 0, 3, 1, 1);
    image_fill(disk, 5000 * SEGMENT_BLOCKS - 2, 4, 11, 1);
    image_fill(disk, 1024 * SEGMENT_BLOCKS - 1, 2, 21, 1);
    image_fill(disk, 8192 * SEGMENT_BLOCKS - 1, 1, 31, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    publish_well(&p);
    assert_published(&p);
    assert_int_equal(p.counts.data_bytes, 10 * BLOCK_SIZE);
    assert_int_equal(p.counts.packs, 4); // chunks, leaves, two levels of index
    assert_int_equal(p.counts.chunks, 1 + 6 + 4 + 1);
    close(disk);
}

static void what_is_no_file_or_device_is_refused(void **state)
{
    struct fixture *f = *state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    struct publication p = {.site = f->site, .fds = (int[]){pipes[0], -1}};
    assert_int_equal(publish(&p), -EINVAL);
    assert_non_null(strstr(p.error.text, "neither a regular file nor a block device"));
    close(pipes[0]);
    close(pipes[1]);
}

static int change_file(void *context, const char *member, uint64_t done, uint64_t all)
{
    (void)member, (void)all;
    if (done == 0)
        image_put(*(int *)context, 3, 12345);
    return 0;
}

static int shorten_file(void *context, const char *member, uint64_t done, uint64_t all)
{
    (void)member, (void)all;
    if (done == 0)
        assert_int_equal(ftruncate(*(int *)context, 5000), 0);
    return 0;
}

static int lengthen_file(void *context, const char *member, uint64_t done, uint64_t all)
{
    (void)member, (void)all;
    if (done == 0)
        assert_int_equal(ftruncate(*(int *)context, 500000), 0);
    return 0;
}

static int cancel(void *context, const char *member, uint64_t done, uint64_t all)
{
    ++*(unsigned *)context;
    assert_string_equal(member, "disk");
    assert_int_equal(done, 0);
    assert_int_equal(all, 20 * BLOCK_SIZE);
    return 1;
}

static void a_file_that_changes_while_it_is_read_is_refused(void **state)
{
    struct fixture *f = *state;
    int (*const changes[])(void *, const char *, uint64_t, uint64_t) = {change_file, shorten_file, lengthen_file};
    for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
        int disk = image_open(f, "disk", 20 * BLOCK_SIZE);
        image_fill(disk, 0, 20, 1, 1);
        usleep(20000); // time stamps are that coarse
        struct publication p = {.site = f->site, .fds = (int[]){disk, -1}, .progress = changes[i], .context = &disk};
        assert_int_equal(publish(&p), -EBUSY);
        assert_non_null(strstr(p.error.text, i == 1 ? "became shorter" : "changed while it was read"));
        close(disk);
    }
    assert_no_leftovers(f->site);
}

static void a_cancelled_publication_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    int disk = image_open(f, "disk", 20 * BLOCK_SIZE);
    unsigned calls = 0;
    image_fill(disk, 0, 20, 1, 1);
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}, .progress = cancel, .context = &calls};
    assert_int_equal(publish(&p), -ECANCELED);
    assert_int_equal(calls, 1);
    assert_non_null(strstr(p.error.text, "cancelled"));
    assert_no_leftovers(f->site);
    close(disk);
}

static void a_failed_writer_does_nothing_more(void **state)
{
    struct fixture *f = *state;
    struct writer_options options = {.site = f->site, .image = "img"};
    struct manifest_member member;
    struct writer_counts counts;
    struct sha256 name;
    struct error error = {""};
    struct writer *w;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(writer_finish(w, &counts, &error), -EINVAL); // nothing was added
    assert_int_equal(writer_put_manifest(w, "x", 1, &name, NULL), -EINVAL);
    assert_int_equal(writer_end(w, NULL), -EINVAL);
    assert_int_equal(writer_add_member(w, "disk", -1, &member, NULL), -EBADF);
    assert_int_equal(writer_add_member(w, "disk", -1, &member, &error), -EBADF);
    assert_string_equal(error.text, "publishing failed before");
    assert_int_equal(writer_finish(w, &counts, NULL), -EBADF);
    writer_close(w);
}

static void one_site_has_one_writer(void **state)
{
    struct fixture *f = *state;
    struct writer_options options = {.site = f->site, .image = "img"};
    struct error error = {""};
    struct writer *w, *second;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(writer_open(&options, &second, &error), -EBUSY);
    assert_non_null(strstr(error.text, "somebody else is publishing"));
    writer_close(w);
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    writer_close(w);
}

static void options_outside_of_their_range_are_refused(void **state)
{
    struct fixture *f = *state;
    const struct writer_options wrong[] = {{.site = f->site, .image = "../img"},
                                           {.site = f->site, .image = ""},
                                           {.site = f->site, .image = ".rondo-tmp-1"},
                                           {.site = f->site, .image = "img", .level = 20},
                                           {.site = f->site, .image = "img", .codec = CHUNK_LZ4, .level = 13},
                                           {.site = f->site, .image = "img", .codec = (enum chunk_codec)3},
                                           {.site = f->site, .image = "img", .level = -1}};
    struct writer *w;
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(writer_open(&wrong[i], &w, NULL), -EINVAL);
    assert_int_equal(access(f->site, F_OK), -1);
}

static void a_catalog_alone_needs_no_image(void **state)
{
    struct fixture *f = *state;
    struct writer_options options = {.site = f->site};
    struct manifest_member member;
    struct writer *w;
    char path[300], text[16] = "";
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(site_put_catalog(writer_site(w), "old", 3, NULL), 0);
    assert_int_equal(site_put_catalog(writer_site(w), "catalog", 7, NULL), 0);
    assert_int_equal(writer_add_member(w, "disk", 0, &member, NULL), -EINVAL);
    writer_close(w);
    snprintf(path, sizeof(path), "%s/catalog.rondo", f->site);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), 7);
    assert_string_equal(text, "catalog");
    close(fd);
    assert_no_leftovers(f->site);
}

static void symbolic_links_below_the_site_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const parts[] = {"objects", ".unfinished", ".lock"};
    char path[300], elsewhere[300];
    struct writer_options options = {.site = f->site, .image = "img"};
    struct writer *w;
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", f->root);
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        struct error error = {""};
        assert_int_equal(mkdir(f->site, 0700), 0);
        snprintf(path, sizeof(path), "%s/%s", f->site, parts[i]);
        assert_int_equal(symlink(elsewhere, path), 0);
        assert_true(writer_open(&options, &w, &error) < 0);
        assert_non_null(strstr(error.text, "is a symbolic link or not what it should be"));
        remove_tree(f->site);
    }
    // One of objects/00 … objects/ff
    int disk = image_open(f, "disk", 20 * BLOCK_SIZE);
    image_fill(disk, 0, 20, 1, 1);
    assert_int_equal(mkdir(f->site, 0700), 0);
    snprintf(path, sizeof(path), "%s/objects", f->site);
    assert_int_equal(mkdir(path, 0700), 0);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(path, sizeof(path), "%s/objects/%02x", f->site, i);
        assert_int_equal(symlink(elsewhere, path), 0);
    }
    struct publication p = {.site = f->site, .fds = (int[]){disk, -1}};
    assert_true(publish(&p) < 0);
    assert_non_null(strstr(p.error.text, "is a symbolic link or not what it should be"));
    assert_int_equal(rmdir(elsewhere), 0); // nothing was written there
    close(disk);
}

static void a_site_that_cannot_be_made_is_named(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct error error = {""};
    struct writer *w;
    close(image_open(f, "file", 1));
    snprintf(path, sizeof(path), "%s/file/site", f->root);
    struct writer_options options = {.site = path, .image = "img"};
    assert_true(writer_open(&options, &w, &error) < 0);
    assert_non_null(strstr(error.text, path));
}

static void a_site_in_new_folders_is_made(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct writer *w;
    snprintf(path, sizeof(path), "%s/a/b//c/", f->root);
    struct writer_options options = {.site = path, .image = "img"};
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    writer_close(w);
    assert_no_leftovers(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_published_member_reads_back),
        TEST(sizes_that_are_not_whole_blocks_are_padded_with_zeros),
        TEST(zeros_need_no_page),
        TEST(zero_blocks_inside_of_data_are_dropped),
        TEST(equal_blocks_are_stored_once),
        TEST(equal_segments_share_one_leaf),
        TEST(the_number_of_threads_changes_nothing),
        TEST(publishing_the_same_again_stores_nothing),
        TEST(a_new_version_stores_only_what_changed),
        TEST(known_packs_may_be_given_twice),
        TEST(tables_that_do_not_match_are_refused),
        TEST(a_scattered_segment_is_mapped_while_its_leaf_fits),
        TEST(a_segment_whose_leaf_would_overflow_is_stored_afresh),
        TEST(too_many_waiting_leaves_close_the_pack_early),
        TEST(a_sparse_tebibyte_takes_the_time_of_its_data),
        TEST(what_is_no_file_or_device_is_refused),
        TEST(a_file_that_changes_while_it_is_read_is_refused),
        TEST(a_cancelled_publication_leaves_nothing_behind),
        TEST(a_failed_writer_does_nothing_more),
        TEST(one_site_has_one_writer),
        TEST(options_outside_of_their_range_are_refused),
        TEST(a_catalog_alone_needs_no_image),
        TEST(symbolic_links_below_the_site_are_refused),
        TEST(a_site_that_cannot_be_made_is_named),
        TEST(a_site_in_new_folders_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
