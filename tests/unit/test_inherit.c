// What a new version's boot inherits: the older boot's blocks wherever they stand now, what changed in place, and short
// gaps; in the older order.
#include "blockstore/inherit.h"
#include "blockstore/parent.h"

#include "writer_fixture.h"

#define GAP INHERIT_GAP_BLOCKS

static const char *const names[] = {"disk", "kernel"};

// An image of a disk and a kernel, published with the boot: the whole kernel, disk blocks 500–519, 100–119, 530–549.
struct older {
    int fds[3];
    struct publication p;
};

static struct older publish_older(struct fixture *f)
{
    struct older o = {
        .fds = {image_open(f, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE), image_open(f, "kernel", 100 * BLOCK_SIZE), -1}};
    struct profile *boot CLEANUP(cleanup_profile) = profile_new();
    unsigned disk, kernel;

    image_fill(o.fds[0], 0, 1000, 2, 2);
    image_fill(o.fds[0], SEGMENT_BLOCKS, 200, 10000, 2);
    image_fill(o.fds[1], 0, 100, 20000, 2);
    assert_int_equal(profile_add_member(boot, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE, &disk), 0);
    assert_int_equal(profile_add_member(boot, "kernel", 100 * BLOCK_SIZE, &kernel), 0);
    assert_int_equal(profile_add_read(boot, kernel, 0, 100), 0);
    assert_int_equal(profile_add_read(boot, disk, 500, 20), 0);
    assert_int_equal(profile_add_read(boot, disk, 100, 20), 0);
    assert_int_equal(profile_add_read(boot, disk, 530, 20), 0);
    o.p = (struct publication){.site = f->site, .fds = o.fds, .boot = boot};
    publish_well(&o.p);
    o.p.boot = NULL;
    return o;
}

static struct profile *inherit(struct fixture *f, const struct manifest *parent, const int *fds)
{
    struct writer_options options = {.site = f->site, .image = "img", .level = 1};
    struct profile_member members[2] = {{.size = 0}};
    struct parent_counts counts;
    struct profile *p = NULL;
    struct error error = {""};
    struct writer *w;
    struct stat st;

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(fstat(fds[i], &st), 0);
        members[i].size = (uint64_t)st.st_size;
        snprintf(members[i].name, sizeof(members[i].name), "%s", names[i]);
    }
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(parent_know(w, writer_site(w), parent, false, &counts, NULL), 0);
    struct inherit_source source = {
        .parent = parent, .boot_chunks = counts.boot_chunks, .members = members, .fds = fds, .member_count = 2};
    if (inherit_profile(w, &source, &p, &error) < 0)
        fail_msg("%s", error.text);
    writer_close(w);
    return p;
}

#define HEAD "rondo-profile 1\nmember disk 268435456\nmember kernel %u\n"

static void assert_inherits(struct fixture *f, const struct older *o, unsigned kernel_size, const char *reads)
{
    struct profile *p CLEANUP(cleanup_profile) = inherit(f, &o->p.manifest, o->fds);
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PROFILE_TEXT_MAXIMUM);
    char wanted[4000];

    assert_non_null(p);
    assert_int_equal(profile_format(p, &text), 0);
    snprintf(wanted, sizeof(wanted), HEAD "%s", kernel_size, reads);
    assert_string_equal(buf_text(&text), wanted);
}

static void close_older(struct older *o)
{
    close(o->fds[0]);
    close(o->fds[1]);
}

static void what_did_not_change_is_inherited(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    assert_inherits(f, &o, 409600, "read kernel 0 100\nread disk 500 20\nread disk 100 20\nread disk 530 20\n");
    close_older(&o);
}

static void blocks_are_found_where_they_moved(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    image_fill(o.fds[0], SEGMENT_BLOCKS + 1000, 20, 2 + 2 * 100, 2); // 100–119
    image_fill(o.fds[0], 100, 20, 10000, 2);                         // what stands there now was known, and not read
    assert_inherits(f, &o, 409600, "read kernel 0 100\nread disk 500 20\nread disk 33768 20\nread disk 530 20\n");
    close_older(&o);
}

static void what_changed_in_place_is_inherited(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    image_fill(o.fds[0], 105, 3, 90000, 2); // new, where the boot read
    image_fill(o.fds[0], 300, 3, 91000, 2); // new, where it did not
    image_put(o.fds[0], 110, 0);            // gone
    assert_inherits(f, &o, 409600,
                    "read kernel 0 100\nread disk 500 20\nread disk 100 10\nread disk 111 9\nread disk 530 20\n");
    close_older(&o);
}

static void short_gaps_are_filled(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    image_fill(o.fds[0], 520, 10, 90000, 2);       // between 519 and 530: all new
    image_fill(o.fds[0], 2000, 1, 2 + 2 * 100, 2); // as long as a gap may be
    image_fill(o.fds[0], 2001, GAP, 91000, 2);
    image_fill(o.fds[0], 2001 + GAP, 1, 2 + 2 * 101, 2);
    image_fill(o.fds[0], 3000, 1, 2 + 2 * 102, 2); // one longer
    image_fill(o.fds[0], 3001, GAP + 1, 92000, 2);
    image_fill(o.fds[0], 3002 + GAP, 1, 2 + 2 * 103, 2);
    image_fill(o.fds[0], 4000, 1, 2 + 2 * 104, 2); // and one with a block that was known
    image_put(o.fds[0], 4001, 93000);
    image_put(o.fds[0], 4002, 10000);
    image_fill(o.fds[0], 4003, 1, 2 + 2 * 105, 2);
    image_fill(o.fds[0], 100, 20, 0, 0);
    assert_inherits(f, &o, 409600,
                    "read kernel 0 100\nread disk 500 30\nread disk 2000 18\nread disk 3000 1\nread disk 3018 1\n"
                    "read disk 4000 1\nread disk 4003 1\nread disk 530 20\n");
    close_older(&o);
}

static void zeros_in_a_gap_are_passed_over(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    image_put(o.fds[0], 2000, 2 + 2 * 100); // zeros before the boot goes on
    image_fill(o.fds[0], 2001, 3, 90000, 2);
    image_put(o.fds[0], 2005, 2 + 2 * 101);
    image_put(o.fds[0], 3000, 2 + 2 * 102); // zeros between new blocks
    image_put(o.fds[0], 3001, 91000);
    image_put(o.fds[0], 3003, 91002);
    image_put(o.fds[0], 3004, 2 + 2 * 103);
    image_put(o.fds[0], 4000, 2 + 2 * 104); // so many that the gap is too long
    image_fill(o.fds[0], 4001, 2, 92000, 2);
    image_put(o.fds[0], 4002 + GAP, 2 + 2 * 105);
    image_fill(o.fds[0], 100, 20, 0, 0);
    assert_inherits(f, &o, 409600,
                    "read kernel 0 100\nread disk 500 20\nread disk 2000 4\nread disk 2005 1\nread disk 3000 2\n"
                    "read disk 3003 2\nread disk 4000 1\nread disk 4018 1\nread disk 530 20\n");
    close_older(&o);
}

static void a_member_that_was_read_whole_is_inherited_whole(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    image_fill(o.fds[1], 0, 150, 50000, 2); // another kernel, and a longer one
    image_fill(o.fds[1], 120, 5, 10000, 2); // with something that was known
    assert_inherits(f, &o, 614400, "read kernel 0 150\nread disk 500 20\nread disk 100 20\nread disk 530 20\n");
    close_older(&o);
}

static void without_boot_packs_nothing_is_inherited(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);
    struct manifest *m = malloc(sizeof(*m));

    assert_non_null(m);
    *m = o.p.manifest;
    m->boot_count = 0;
    assert_null(inherit(f, m, o.fds));
    *m = o.p.manifest; // listed, but of nothing that the map knows
    for (unsigned i = 0; i < m->boot_count; i++)
        m->boot[i].pack = sha256_of(&i, sizeof(i));
    assert_null(inherit(f, m, o.fds));
    free(m);
    close_older(&o);
}

// One content in more places than are followed.
static void a_block_that_is_everywhere_is_inherited_in_some_places(void **state)
{
    struct fixture *f = *state;
    struct older o = publish_older(f);

    image_fill(o.fds[0], 5000, 1000, 2 + 2 * 100, 0);
    struct profile *p CLEANUP(cleanup_profile) = inherit(f, &o.p.manifest, o.fds);
    assert_int_equal(p->block_count, 100 + 3 * 20 + 15);
    close_older(&o);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_did_not_change_is_inherited),        TEST(blocks_are_found_where_they_moved),
        TEST(what_changed_in_place_is_inherited),      TEST(short_gaps_are_filled),
        TEST(zeros_in_a_gap_are_passed_over),          TEST(a_member_that_was_read_whole_is_inherited_whole),
        TEST(without_boot_packs_nothing_is_inherited), TEST(a_block_that_is_everywhere_is_inherited_in_some_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
