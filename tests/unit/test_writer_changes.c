// blockstore/writer.h, writer_add_changed_member: whatever changed of an older member, growth included, the new map
// reads as the member does now; what did not change is neither read nor stored, and its pages stay as they are.
#include "blockstore/inherit.h"
#include "blockstore/parent.h"

#include "boot_fixture.h"
#include "overlay_fixture.h"

#include "base/banned.h"

struct model {
    struct site *site;
    int fd;                 // the member as it is now
    uint64_t blocks;        // of it
    unsigned char *changed; // a byte for each block: 0 no, 1 data, 2 zeros; NULL: `list` says it
    struct {
        uint64_t first, count;
    } list[8];
    unsigned listed;
    unsigned scattered; // so many chunks of one block are known
    unsigned pages_read;
    uint64_t bytes_read;
};

static int read_page(void *context, const struct chunk_reference *ref, unsigned level, void *bytes,
                     struct map_page *ret, struct error *error)
{
    struct model *m = context;
    m->pages_read++;
    return parent_read_page(m->site, ref, level, bytes, ret, error);
}

static int find_change(void *context, uint64_t block, uint64_t *ret_first, uint64_t *ret_count, bool *ret_zero)
{
    const struct model *m = context;
    for (unsigned i = 0; i < m->listed; i++)
        if (block < m->list[i].first + m->list[i].count) {
            *ret_first = block > m->list[i].first ? block : m->list[i].first;
            *ret_count = m->list[i].first + m->list[i].count - *ret_first;
            *ret_zero = false;
            return 1;
        }
    while (m->changed && block < m->blocks && !m->changed[block])
        block++;
    if (!m->changed || block == m->blocks)
        return 0;
    *ret_first = block;
    *ret_zero = m->changed[block] == 2;
    for (*ret_count = 1; block + *ret_count < m->blocks && m->changed[block + *ret_count] == m->changed[block];)
        ++*ret_count;
    return 1;
}

static int read_now(void *context, uint64_t offset, void *to, size_t n)
{
    struct model *m = context;
    m->bytes_read += n;
    return io_read_full(m->fd, to, n, offset);
}

struct outcome {
    struct manifest_member member;
    struct writer_counts counts;
};

// Publishes the member as changes over `base`; all packs of the site are known if `know`.
static struct outcome publish_changes(const struct fixture *f, struct model *m, const struct manifest_member *base,
                                      uint64_t size, bool know, bool foreign)
{
    struct outcome o = {.member = {.size = 0}};
    struct writer *w;
    struct error error = {""};
    assert_int_equal(
        writer_open(&(struct writer_options){.site = f->site, .image = "next", .level = 1, .threads = 2}, &w, NULL), 0);
    if (know)
        know_site(w, f->site);
    if (m->scattered)
        know_scattered_blocks(w, m->scattered);
    m->site = writer_site(w);
    m->pages_read = 0;
    m->bytes_read = 0;
    const struct writer_changes changes = {.base = base,
                                           .size = size,
                                           .foreign = foreign,
                                           .read_page = read_page,
                                           .find_change = find_change,
                                           .read = read_now,
                                           .context = m};
    int r = writer_add_changed_member(w, "disk", &changes, &o.member, &error);
    if (r == 0)
        r = writer_finish(w, &o.counts, &error);
    if (r < 0)
        fail_msg("%s", error.text);
    assert_int_equal(writer_end(w, NULL), 0);
    writer_close(w);
    assert_member_equals(f->site, &o.member, m->fd);
    return o;
}

static struct publication publish_base(const struct fixture *f, int fd)
{
    static int fds[2];
    fds[0] = fd;
    fds[1] = -1;
    struct publication p = {.site = f->site, .fds = fds, .threads = 2};
    publish_well(&p);
    return p;
}

static void random_changes_read_as_the_member_does_now(void **state)
{
    const struct fixture *f = *state;
    struct random_numbers random = {test_seed("random changes")};
    for (unsigned round = 0; round < 12; round++) {
        char name[32];
        uint64_t size = (1 + random_below(&random, 3 * SEGMENT_BLOCKS)) * BLOCK_SIZE;
        if (round % 3 == 1)
            size -= 1000; // the last block is not whole
        uint64_t grown = (size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
        if (round % 2)
            grown += random_below(&random, 2 * SEGMENT_BLOCKS) * BLOCK_SIZE;
        snprintf(name, sizeof(name), "disk%u", round);
        int fd = image_open(f, name, size);
        for (unsigned i = 0; i < 30; i++) { // runs, some of them of the same content
            uint64_t at = random_below(&random, size / BLOCK_SIZE + 1);
            for (uint64_t n = random_below(&random, 200); n > 0 && (at + 1) * BLOCK_SIZE <= size; n--, at++)
                image_put(fd, at, (uint32_t)random_below(&random, 4000));
        }
        unsigned char tail = 7;
        assert_int_equal(pwrite(fd, &tail, 1, (off_t)size - 1), 1);
        struct publication base = publish_base(f, fd);
        if (round % 3 == 1) // the map of a version has no say in what follows its end
            assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(ftruncate(fd, (off_t)grown), 0);
        struct model m = {.fd = fd, .blocks = grown / BLOCK_SIZE};
        m.changed = calloc(m.blocks, 1);
        assert_non_null(m.changed);
        uint64_t changed = 0;
        for (unsigned i = 0; i < round * 3; i++) {
            unsigned char kind = (unsigned char)(1 + random_below(&random, 2));
            uint64_t at = random_below(&random, m.blocks), n = random_below(&random, round == 11 ? 40000 : 300);
            for (; n > 0 && at < m.blocks; n--, at++) {
                image_put(fd, at, kind == 2 ? 0 : (uint32_t)random_below(&random, 6000));
                m.changed[at] = kind;
            }
        }
        for (uint64_t i = 0; i < m.blocks; i++)
            changed += m.changed[i] != 0;
        for (int foreign = 0; foreign < 2; foreign++) {
            struct outcome o =
                publish_changes(f, &m, &base.manifest.members[0], grown, round % 4 > 0 || foreign, foreign != 0);
            assert_int_equal(o.counts.changed_blocks, changed);
            assert_true(m.bytes_read <= (changed + 1) * BLOCK_SIZE);
        }
        free(m.changed);
        close(fd);
    }
    assert_site_is_sound(f->site);
}

static void nothing_changed_means_nothing_written(void **state)
{
    const struct fixture *f = *state;
    int fd = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(fd, 5, 100, 2, 2);
    image_fill(fd, 2 * SEGMENT_BLOCKS, 40, 1002, 2);
    struct publication base = publish_base(f, fd);
    struct model m = {.fd = fd};
    for (int know = 0; know < 2; know++) {
        struct outcome o =
            publish_changes(f, &m, &base.manifest.members[0], base.manifest.members[0].size, know, false);
        assert_int_equal(o.counts.written_bytes, 0);
        assert_int_equal(m.pages_read, 0);
        assert_memory_equal(&o.member, &base.manifest.members[0], sizeof(o.member));
    }
    // Somebody else's is looked through, and found to be the same.
    struct outcome o = publish_changes(f, &m, &base.manifest.members[0], base.manifest.members[0].size, true, true);
    assert_int_equal(o.counts.written_bytes, 0);
    assert_int_equal(m.pages_read, 3);
    assert_int_equal(m.bytes_read, 0);
    assert_memory_equal(&o.member, &base.manifest.members[0], sizeof(o.member));
    close(fd);
}

static void the_work_follows_the_changes(void **state)
{
    const struct fixture *f = *state;
    const uint64_t size = UINT64_C(1) << 40;
    int fd = image_open(f, "disk", size);
    for (uint64_t i = 0; i < 200; i++) // in 200 segments under 7 of 8 index pages
        image_fill(fd, i * 35 * SEGMENT_BLOCKS + i, 3, (uint32_t)(10 * i + 2), 2);
    struct publication base = publish_base(f, fd);
    struct model m = {.fd = fd, .list = {{35 * SEGMENT_BLOCKS + 2, 2}, {300 * SEGMENT_BLOCKS + 9, 1}}, .listed = 2};
    m.blocks = size / BLOCK_SIZE;
    image_fill(fd, m.list[0].first, 2, 90001, 1);
    image_put(fd, m.list[1].first, 90010);
    struct outcome o = publish_changes(f, &m, &base.manifest.members[0], size, false, false);
    assert_int_equal(o.counts.new_blocks, 3);
    assert_int_equal(m.bytes_read, 3 * BLOCK_SIZE);
    assert_int_equal(m.pages_read, 3); // the top, one index page, and the leaf that was there
    close(fd);
}

// What the leaf would need more than there is room for is stored afresh, kept blocks as well.
static void a_leaf_that_would_not_fit_is_stored_afresh(void **state)
{
    const struct fixture *f = *state;
    int fd = image_open(f, "disk", SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(fd, 20000, 3000, 500001, 2);
    struct publication base = publish_base(f, fd);
    struct model m = {.fd = fd, .list = {{100, 12000}}, .listed = 1, .scattered = 12000};
    image_fill(fd, 100, 12000, 1, 2);
    struct outcome o = publish_changes(f, &m, &base.manifest.members[0], base.manifest.members[0].size, true, false);
    assert_int_equal(o.counts.changed_blocks, 12000);
    assert_int_equal(o.counts.new_blocks, 12000 + 3000);
    close(fd);
}

// A disk of three segments, of which a boot reads two, and a kernel that it reads whole.
static struct publication publish_booting(const struct fixture *f, int fds[static 3])
{
    struct profile *boot = profile_new();
    unsigned disk, kernel;
    fds[0] = image_open(f, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE);
    fds[1] = image_open(f, "kernel", 100 * BLOCK_SIZE);
    fds[2] = -1;
    image_fill(fds[0], 0, 2000, 2, 2);
    image_fill(fds[0], SEGMENT_BLOCKS + 50, 1500, 10002, 2);
    image_fill(fds[0], 2 * SEGMENT_BLOCKS + 50, 1000, 50002, 2);
    image_fill(fds[1], 0, 100, 20002, 2);
    assert_int_equal(profile_add_member(boot, "disk", 3 * SEGMENT_BLOCKS * BLOCK_SIZE, &disk), 0);
    assert_int_equal(profile_add_member(boot, "kernel", 100 * BLOCK_SIZE, &kernel), 0);
    assert_int_equal(profile_add_read(boot, kernel, 0, 100), 0);
    assert_int_equal(profile_add_read(boot, disk, SEGMENT_BLOCKS + 500, 300), 0);
    assert_int_equal(profile_add_read(boot, disk, 100, 300), 0);
    struct publication p = {.site = f->site, .fds = fds, .threads = 2, .boot = boot};
    publish_well(&p);
    return p;
}

// The next version of both members, whose boot is inherited in place.
static struct publication publish_booting_changes(const struct fixture *f, const struct publication *base,
                                                  struct model *models)
{
    static const char *const names[] = {"disk", "kernel"};
    struct publication next = *base;
    struct writer_changes changes[2];
    struct writer_boot_source sources[2];
    struct profile_member members[2] = {{.size = 0}};
    struct profile *inherited = NULL;
    struct sha256 *hashes = NULL;
    struct parent_counts counts;
    struct error error = {""};
    struct writer *w;
    assert_int_equal(
        writer_open(&(struct writer_options){.site = f->site, .image = "next", .level = 1, .threads = 2}, &w, NULL), 0);
    assert_int_equal(parent_know(w, writer_site(w), &base->manifest, false, &counts, NULL), 0);
    for (unsigned i = 0; i < 2; i++) {
        models[i].site = writer_site(w);
        models[i].fd = base->fds[i];
        models[i].bytes_read = models[i].pages_read = 0;
        changes[i] = (struct writer_changes){.base = &base->manifest.members[i],
                                             .size = base->manifest.members[i].size,
                                             .read_page = read_page,
                                             .find_change = find_change,
                                             .read = read_now,
                                             .context = &models[i]};
        sources[i] = (struct writer_boot_source){.changes = &changes[i], .fd = -1};
        members[i].size = changes[i].size;
        memcpy(members[i].name, names[i], strlen(names[i]) + 1);
    }
    const struct inherit_source source = {.parent = &base->manifest,
                                          .boot_chunks = counts.boot_chunks,
                                          .members = members,
                                          .fds = (int[]){-1, -1},
                                          .member_count = 2};
    int r = inherit_profile_in_place(w, &source, &inherited, &hashes, &error);
    assert_int_equal(r, 0);
    assert_int_equal(inherited->block_count, 700); // as it was recorded
    assert_int_equal(inherited->reads[0].member, 1);
    assert_int_equal(inherited->reads[1].first, SEGMENT_BLOCKS + 500);
    r = writer_add_older_boot(w, inherited, sources, hashes, &error);
    for (unsigned i = 0; i < 2 && r == 0; i++)
        r = writer_add_changed_member(w, names[i], &changes[i], &next.manifest.members[i], &error);
    if (r == 0)
        r = writer_finish(w, &next.counts, &error);
    if (r < 0)
        fail_msg("%s", error.text);
    writer_fill_boot(w, &next.manifest);
    assert_int_equal(writer_end(w, NULL), 0);
    writer_close(w);
    profile_free(inherited);
    free(hashes);
    assert_published(&next);
    assert_boot_is_whole(&next);
    return next;
}

static void a_boot_is_inherited_in_place(void **state)
{
    const struct fixture *f = *state;
    struct model models[2] = {{.listed = 0}};
    int fds[3];
    struct publication base = publish_booting(f, fds);

    struct publication same = publish_booting_changes(f, &base, models);
    assert_int_equal(same.counts.written_bytes, 0);
    assert_int_equal(models[0].bytes_read + models[1].bytes_read, 0);
    assert_int_equal(same.manifest.boot_count, base.manifest.boot_count);
    assert_memory_equal(same.manifest.boot, base.manifest.boot, base.manifest.boot_count * sizeof(*base.manifest.boot));

    // Five blocks of the boot and two others: the former go into a boot pack of their own.
    models[0].list[0].first = 200, models[0].list[0].count = 5;
    models[0].list[1].first = 2 * SEGMENT_BLOCKS + 60, models[0].list[1].count = 2;
    models[0].listed = 2;
    image_fill(fds[0], 200, 5, 70002, 2);
    image_fill(fds[0], 2 * SEGMENT_BLOCKS + 60, 2, 80002, 2);
    struct publication few = publish_booting_changes(f, &same, models);
    assert_int_equal(few.counts.new_blocks, 7);
    assert_int_equal(few.counts.changed_blocks, 7);
    assert_in_range(models[0].bytes_read, 7 * BLOCK_SIZE, 17 * BLOCK_SIZE);
    assert_true(boot_number(&few.manifest, &base.manifest.boot[base.manifest.boot_count - 1].pack) >= 0);

    // Most of it: what is left of the older packs is stored afresh.
    models[0].list[0].first = 100, models[0].list[0].count = 250;
    models[0].listed = 1;
    image_fill(fds[0], 100, 250, 90002, 2);
    struct publication most = publish_booting_changes(f, &few, models);
    assert_int_equal(most.counts.changed_blocks, 250);
    assert_true(most.counts.new_blocks >= 250);
    profile_free((struct profile *)base.boot);
    close(fds[0]);
    close(fds[1]);
}

// However little else is looked at of a large version, its boot is inherited as a whole; and only as far as its members
// reach, whatever their maps say.
static void a_boot_is_found_whole_and_no_further(void **state)
{
    const struct fixture *f = *state;
    struct parent_counts all, some;
    struct profile *inherited = NULL;
    struct sha256 *hashes = NULL;
    struct error error = {""};
    struct writer *w;
    int fds[3];
    struct publication base = publish_booting(f, fds);
    const struct writer_options options = {.site = f->site, .image = "next", .level = 1, .threads = 1};
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(parent_know(w, writer_site(w), &base.manifest, false, &all, NULL), 0);
    writer_close(w);
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(parent_know_some(w, writer_site(w), &base.manifest, 1, &some, NULL), 0);
    assert_int_equal(some.boot_chunks, all.boot_chunks);
    assert_true(some.known < all.known);

    struct manifest cut = base.manifest;
    cut.members[1].size = 30 * BLOCK_SIZE;
    const struct inherit_source source = {
        .parent = &cut,
        .boot_chunks = some.boot_chunks,
        .members = (struct profile_member[]){{.name = "disk", .size = cut.members[0].size},
                                             {.name = "kernel", .size = cut.members[1].size}},
        .fds = (int[]){-1, -1},
        .member_count = 2};
    if (inherit_profile_in_place(w, &source, &inherited, &hashes, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(inherited->block_count, 600 + 30);
    profile_free(inherited);
    free(hashes);
    writer_close(w);
    profile_free((struct profile *)base.boot);
    close(fds[0]);
    close(fds[1]);
}

static void what_cannot_be_is_refused(void **state)
{
    const struct fixture *f = *state;
    int fd = image_open(f, "disk", 10 * BLOCK_SIZE);
    image_fill(fd, 0, 10, 2, 2);
    struct publication base = publish_base(f, fd);
    struct manifest_member member, shorter = base.manifest.members[0], mixed = base.manifest.members[0];
    struct error error = {""};
    struct writer *w;
    struct model m = {.fd = fd, .blocks = 10, .list = {{0, 1}}, .listed = 1};
    struct writer_changes changes = {.base = &shorter,
                                     .size = 9 * BLOCK_SIZE,
                                     .read_page = read_page,
                                     .find_change = find_change,
                                     .read = read_now,
                                     .context = &m};
    const struct writer_options options = {.site = f->site, .image = "next", .level = 1, .threads = 1};

    assert_int_equal(writer_open(&options, &w, NULL), 0); // shrunk
    m.site = writer_site(w);
    assert_int_equal(writer_add_changed_member(w, "disk", &changes, &member, &error), -EINVAL);
    writer_close(w);

    mixed.top.pack.table.bytes[0] ^= 1; // a reference that contradicts the pack
    changes.base = &mixed;
    changes.size = mixed.size;
    m.listed = 0;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    m.site = writer_site(w);
    know_site(w, f->site);
    assert_int_equal(writer_add_changed_member(w, "disk", &changes, &member, &error), -EBADMSG);
    writer_close(w);

    changes.base = &base.manifest.members[0]; // somebody else's, of whose packs nothing is known
    changes.foreign = true;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    m.site = writer_site(w);
    assert_int_equal(writer_add_changed_member(w, "disk", &changes, &member, &error), -EBADMSG);
    writer_close(w);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(random_changes_read_as_the_member_does_now),
        TEST(nothing_changed_means_nothing_written),
        TEST(the_work_follows_the_changes),
        TEST(a_leaf_that_would_not_fit_is_stored_afresh),
        TEST(a_boot_is_inherited_in_place),
        TEST(a_boot_is_found_whole_and_no_further),
        TEST(what_cannot_be_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
