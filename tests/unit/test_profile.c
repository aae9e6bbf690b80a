// Boot profiles: what is recorded is each block once, in the order of first reading; the text says the same; and what
// cannot be is refused with its line.
#include "blockstore/profile.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/chunk.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "rondo-profile 1\nmember kernel 14186432\nmember disk 2147483648\n"
#define DISK_BLOCKS (2147483648u / BLOCK_SIZE)
#define KERNEL_BLOCKS 3464u // 14186432 / 4096, rounded up

static struct profile *make_profile(unsigned *ret_kernel, unsigned *ret_disk)
{
    struct profile *p = profile_new();

    assert_non_null(p);
    assert_int_equal(profile_add_member(p, "kernel", 14186432, ret_kernel), 0);
    assert_int_equal(profile_add_member(p, "disk", 2147483648u, ret_disk), 0);
    return p;
}

static void assert_text(const struct profile *p, const char *wanted)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PROFILE_TEXT_MAXIMUM);

    assert_int_equal(profile_format(p, &text), 0);
    assert_string_equal(buf_text(&text), wanted);
}

static void records_in_order_and_merges(void **state)
{
    unsigned kernel, disk;
    struct profile *p CLEANUP(cleanup_profile) = make_profile(&kernel, &disk);

    (void)state;
    assert_int_equal(profile_add_read(p, kernel, 0, 4), 0);
    assert_int_equal(profile_add_read(p, kernel, 4, KERNEL_BLOCKS - 4), 0);
    assert_int_equal(profile_add_read(p, disk, 12, 8), 0);
    assert_int_equal(profile_add_read(p, disk, 500000, 1), 0);
    assert_int_equal(profile_add_read(p, disk, 20, 2), 0); // not behind the read before it
    assert_text(p, HEAD "read kernel 0 3464\nread disk 12 8\nread disk 500000 1\nread disk 20 2\n");
    assert_int_equal(p->block_count, KERNEL_BLOCKS + 11);
}

// Each time that the tables grow.
static void short_memory_is_told_and_costs_no_read(void **state)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PROFILE_TEXT_MAXIMUM);
    struct profile *p CLEANUP(cleanup_profile) = NULL;
    struct error error = {""};
    unsigned at = 1;

    (void)state;
    assert_int_equal(buf_append_format(&text, HEAD), 0);
    for (unsigned i = 0; i < 300; i++) // 256 are the first list's
        assert_int_equal(buf_append_format(&text, "read disk %u 1\n", 300000 - i * 1000), 0);
    for (int r = -ENOMEM; r < 0; at++) {
        io_fault_start(at, ENOMEM, false);
        r = profile_parse(text.data, text.size, &p, &error);
        io_fault_stop();
        assert_true(r == 0 || (r == -EBADMSG && strstr(error.text, "no memory for it") && !p && at < 100));
    }
    assert_int_equal(p->read_count, 300);
    assert_true(at > 4);
}

static void a_text_that_does_not_fit_is_refused(void **state)
{
    unsigned kernel, disk;
    struct profile *p CLEANUP(cleanup_profile) = make_profile(&kernel, &disk);

    (void)state;
    assert_int_equal(profile_add_read(p, disk, 12, 8), 0);
    for (size_t room = 0; room < sizeof(HEAD "read disk 12 8\n") - 1; room++) {
        struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(room);
        assert_int_equal(profile_format(p, &text), -E2BIG);
    }
}

// Whoever writes a text cannot know which blocks meet in the table.
static void the_table_has_a_random_key(void **state)
{
    struct profile *a CLEANUP(cleanup_profile) = profile_new(), *b CLEANUP(cleanup_profile) = profile_new();

    (void)state;
    assert_true(a->odd % 2 == 1 && b->odd % 2 == 1);
    assert_true(a->odd != b->odd);
}

static void drops_what_is_recorded(void **state)
{
    unsigned kernel, disk;
    struct profile *p CLEANUP(cleanup_profile) = make_profile(&kernel, &disk);

    (void)state;
    assert_int_equal(profile_add_read(p, disk, 100, 10), 0);
    assert_int_equal(profile_add_read(p, disk, 100, 10), 0);
    assert_int_equal(profile_add_read(p, disk, 105, 1), 0);
    assert_int_equal(profile_add_read(p, disk, 90, 200), 0); // on both sides, over the bounds of words
    assert_int_equal(profile_add_read(p, kernel, 100, 1), 0);
    assert_text(p, HEAD "read disk 100 10\nread disk 90 10\nread disk 110 180\nread kernel 100 1\n");
}

static void refuses_what_is_not_there(void **state)
{
    unsigned kernel, disk;
    struct profile *p CLEANUP(cleanup_profile) = make_profile(&kernel, &disk);

    (void)state;
    assert_int_equal(profile_add_read(p, disk, DISK_BLOCKS - 1, 1), 0);
    assert_int_equal(profile_add_read(p, disk, DISK_BLOCKS - 1, 2), -EINVAL);
    assert_int_equal(profile_add_read(p, disk, DISK_BLOCKS, 1), -EINVAL);
    assert_int_equal(profile_add_read(p, disk, UINT64_MAX, UINT64_MAX), -EINVAL);
    assert_int_equal(profile_add_read(p, disk, 1, UINT64_MAX), -EINVAL);
    assert_int_equal(profile_add_read(p, disk, 1, 0), -EINVAL);
    assert_int_equal(profile_add_read(p, disk + 1, 0, 1), -EINVAL);
    assert_int_equal(profile_add_member(p, "disk", 1, &kernel), -EINVAL);
    assert_int_equal(profile_add_member(p, "../x", 1, &kernel), -EINVAL);
    assert_int_equal(profile_add_member(p, "big", MEMBER_SIZE_MAXIMUM + 1, &kernel), -EINVAL);
    for (char name[] = "a"; p->member_count < PROFILE_MEMBERS_MAXIMUM; name[0]++)
        assert_int_equal(profile_add_member(p, name, 1, &kernel), 0);
    assert_int_equal(profile_add_member(p, "more", 1, &kernel), -E2BIG);
    assert_int_equal(p->read_count, 1);
}

static void is_bounded_in_reads(void **state)
{
    unsigned disk;
    struct profile *p CLEANUP(cleanup_profile) = profile_new(), *back CLEANUP(cleanup_profile) = NULL;
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PROFILE_TEXT_MAXIMUM);
    const uint64_t last = MEMBER_SIZE_MAXIMUM / BLOCK_SIZE - 1;
    struct error error;

    (void)state;
    assert_int_equal(profile_add_member(p, "abcdefghijklmno", MEMBER_SIZE_MAXIMUM, &disk), 0);
    for (size_t i = 0; i < PROFILE_READS_MAXIMUM; i++)
        assert_int_equal(profile_add_read(p, disk, last - 1000 * i, 1), 0);
    assert_int_equal(profile_add_read(p, disk, 0, 1), -E2BIG);
    size_t words = p->word_count;
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(profile_add_read(p, disk, i * 100, 1), -E2BIG);
    assert_int_equal(p->word_count, words); // refused reads take no memory
    assert_int_equal(p->read_count, PROFILE_READS_MAXIMUM);
    // And it can be written and read.
    assert_int_equal(profile_format(p, &text), 0);
    assert_int_equal(profile_parse(text.data, text.size, &back, &error), 0);
    assert_int_equal(back->read_count, p->read_count);
    assert_memory_equal(back->reads, p->reads, p->read_count * sizeof(*p->reads));
}

static void is_bounded_in_blocks(void **state)
{
    unsigned kernel, disk;
    struct profile *p CLEANUP(cleanup_profile) = make_profile(&kernel, &disk);

    (void)state;
    assert_int_equal(profile_add_read(p, disk, 0, PROFILE_BLOCKS_MAXIMUM - 64), 0);
    assert_int_equal(profile_add_read(p, disk, PROFILE_BLOCKS_MAXIMUM, 1000), -E2BIG);
    assert_int_equal(p->block_count, PROFILE_BLOCKS_MAXIMUM); // as much of it as fits
    assert_int_equal(profile_add_read(p, disk, 0, 1), 0);     // recorded already
    assert_int_equal(profile_add_read(p, kernel, 0, 1), -E2BIG);
}

static void parses_what_it_writes(void **state)
{
    static const char text[] = HEAD "read kernel 0 3464\nread disk 12 8\nread disk 500000 1\n";
    struct profile *p CLEANUP(cleanup_profile) = NULL;
    struct error error;

    (void)state;
    assert_int_equal(profile_parse(text, sizeof(text) - 1, &p, &error), 0);
    assert_int_equal(p->member_count, 2);
    assert_string_equal(p->members[1].name, "disk");
    assert_int_equal(p->members[1].size, 2147483648u);
    assert_int_equal(p->read_count, 3);
    assert_int_equal(p->reads[1].member, 1);
    assert_int_equal(p->reads[1].first, 12);
    assert_int_equal(p->reads[1].blocks, 8);
    assert_text(p, text);
}

static void names_the_line_that_is_wrong(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "without a read"},
        {HEAD, "without a read"},
        {"rondo-profile 2\n", "line 1: not a boot profile"},
        {HEAD "read disk 0 1", "line 4: cut short"},
        {HEAD "read disk 0 1\nread di", "line 5: cut short"},
        {HEAD "read disk 0\n", "line 4: a read needs"},
        {HEAD "read disk 0 1 1\n", "line 4: a read needs"},
        {HEAD "read disk 0 -1\n", "line 4: a read needs"},
        {HEAD "read disk 00 1\n", "line 4: a read needs"},
        {HEAD "read disk  1\n", "line 4: a read needs"},
        {HEAD "read disk 0 0\n", "line 4: a read beyond"},
        {HEAD "read disk 0 18446744073709551615\n", "line 4: a read beyond"},
        {HEAD "read disk 18446744073709551615 1\n", "line 4: a read beyond"},
        {HEAD "read disk 0 18446744073709551616\n", "line 4: a read needs"},
        {HEAD "read kernel 3464 1\n", "line 4: a read beyond"},
        {HEAD "read disk 0 300000\n", "line 4: more reads or blocks"},
        {HEAD "read initrd 0 1\n", "line 4: a read of a member that is not listed"},
        {HEAD "read  0 1\n", "line 4: a read of a member that is not listed"},
        {HEAD "reads disk 0 1\n", "line 4: neither"},
        {HEAD "\n", "line 4: neither"},
        {HEAD "read disk 0 1\t\n", "line 4: cut short, too long"},
        {HEAD "read disk 0 1\nmember initrd 5\n", "line 5: a member behind a read"},
        {HEAD "member disk 5\n", "line 4: a member that is there twice"},
        {HEAD "member ../disk 5\n", "line 4: a name"},
        {HEAD "member manifest 5\n", "line 4: a name"},
        {HEAD "member averyveryverylongname 5\n", "line 4: a name"},
        {HEAD "member initrd\n", "line 4: a member needs"},
        {HEAD "member initrd 17592186044417\n", "line 4: a member needs"},
        {"rondo-profile 1\nmember a 1\nmember b 1\nmember c 1\nmember d 1\nmember e 1\nmember f 1\nmember g 1\n"
         "member h 1\nmember i 1\n",
         "line 10: one member too many"},
    };
    struct profile *p = NULL;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error error = {""};
        assert_int_equal(profile_parse(cases[i].text, strlen(cases[i].text), &p, &error), -EBADMSG);
        if (!strstr(error.text, cases[i].message))
            fail_msg("\"%s\" instead of \"%s\"", error.text, cases[i].message);
        assert_null(p);
    }
    char *large CLEANUP_FREE = calloc(1, PROFILE_TEXT_MAXIMUM + 1);
    assert_int_equal(profile_parse(large, PROFILE_TEXT_MAXIMUM + 1, &p, NULL), -EBADMSG);
}

static void must_speak_of_this_image(void **state)
{
    unsigned kernel, disk;
    struct profile *p CLEANUP(cleanup_profile) = make_profile(&kernel, &disk);
    struct profile_member image[] = {{"disk", 2147483648u}, {"initrd", 5}, {"kernel", 14186432}};
    struct error error;

    (void)state;
    assert_int_equal(profile_check_members(p, image, 3, &error), 0);
    assert_int_equal(profile_check_members(p, image, 2, &error), -EINVAL);
    assert_non_null(strstr(error.text, "a member kernel, which"));
    image[0].size++;
    assert_int_equal(profile_check_members(p, image, 3, &error), -EINVAL);
    assert_non_null(strstr(error.text, "2147483648 bytes, this image's 2147483649"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_memory_is_told_and_costs_no_read),
        cmocka_unit_test(a_text_that_does_not_fit_is_refused),
        cmocka_unit_test(records_in_order_and_merges),
        cmocka_unit_test(drops_what_is_recorded),
        cmocka_unit_test(the_table_has_a_random_key),
        cmocka_unit_test(refuses_what_is_not_there),
        cmocka_unit_test(is_bounded_in_reads),
        cmocka_unit_test(is_bounded_in_blocks),
        cmocka_unit_test(parses_what_it_writes),
        cmocka_unit_test(names_the_line_that_is_wrong),
        cmocka_unit_test(must_speak_of_this_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
