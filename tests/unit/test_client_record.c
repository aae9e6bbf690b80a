// From what an engine's disk noted of a boot to a profile: hostile records are passed over; a ready text is no pattern.
#include "base/cleanup.h"
#include "client/record.h"
#include "client/until.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define DISK_SIZE (UINT64_C(1000) * BLOCK_SIZE + 512) // its last block is a part of one

// Of a disk of `size` bytes, a kernel of three blocks and an initrd of `initrd` bytes, with these records; `count` is
// what is asked for.
static struct profile *make_with(uint64_t size, uint64_t initrd, const void *reads, size_t bytes, size_t count)
{
    struct manifest *d CLEANUP_FREE = calloc(1, sizeof(*d));
    struct profile *p = NULL;
    struct error error = {.text = ""};
    assert_non_null(d);
    d->member_count = 3;
    d->members[0] = (struct manifest_member){.name = "disk", .size = size};
    d->members[1] = (struct manifest_member){.name = "kernel", .size = 2 * BLOCK_SIZE + 1};
    d->members[2] = (struct manifest_member){.name = "initrd", .size = initrd};
    int fd = memfd_create("reads", MFD_CLOEXEC);
    assert_int_equal(pwrite(fd, reads, bytes, 0), bytes);
    if (record_make_profile(d, fd, count, &p, &error) < 0)
        fail_msg("%s", error.text);
    close(fd);
    return p;
}

static struct profile *make(uint64_t size, const void *reads, size_t bytes, size_t count)
{
    return make_with(size, 1, reads, bytes, count);
}

static void assert_read(const struct profile *p, size_t i, const char *member, uint64_t first, uint32_t blocks)
{
    assert_true(i < p->read_count);
    assert_string_equal(p->members[p->reads[i].member].name, member);
    assert_true(p->reads[i].first == first && p->reads[i].blocks == blocks);
}

static void kernel_and_initrd_come_first_then_the_disk_in_order(void **state)
{
    (void)state;
    const struct overlay_read reads[] = {{8192, 4096},             // one block
                                         {512, 512},               // a part of one
                                         {40960 + 4095, 2},        // the end of one and the beginning of the next
                                         {40960, 8192},            // the same two, again
                                         {1000 * BLOCK_SIZE, 512}, // the last one, as far as there is one
                                         {1000 * BLOCK_SIZE + 511, 1}};
    struct profile *p CLEANUP(cleanup_profile) = make(DISK_SIZE, reads, sizeof(reads), ARRAY_SIZE(reads));
    assert_int_equal(p->read_count, 6);
    assert_read(p, 0, "kernel", 0, 3);
    assert_read(p, 1, "initrd", 0, 1);
    assert_read(p, 2, "disk", 2, 1);
    assert_read(p, 3, "disk", 0, 1);
    assert_read(p, 4, "disk", 10, 2);
    assert_read(p, 5, "disk", 1000, 1);
}

static void what_no_disk_can_have_read_is_passed_over(void **state)
{
    (void)state;
    const struct overlay_read reads[] = {{0, 0},
                                         {DISK_SIZE, 1},
                                         {DISK_SIZE, 0},
                                         {UINT64_MAX, 1},
                                         {UINT64_MAX, UINT64_MAX},
                                         {0, UINT64_MAX},
                                         {4096, UINT64_MAX - 4095},
                                         {0, DISK_SIZE + 1},
                                         {DISK_SIZE - 1, 2},
                                         {DISK_SIZE - 512, 512}};
    struct profile *p CLEANUP(cleanup_profile) = make(DISK_SIZE, reads, sizeof(reads), ARRAY_SIZE(reads));
    assert_int_equal(p->read_count, 3);
    assert_read(p, 2, "disk", 1000, 1);
}

static void only_whole_records_are_read_and_only_those_asked_for(void **state)
{
    (void)state;
    const struct overlay_read reads[] = {{0, 4096}, {40960, 4096}, {81920, 4096}};
    struct profile *cut CLEANUP(cleanup_profile) = make(DISK_SIZE, reads, sizeof(reads) - 1, SIZE_MAX);
    assert_int_equal(cut->read_count, 4);
    struct profile *fewer CLEANUP(cleanup_profile) = make(DISK_SIZE, reads, sizeof(reads), 1);
    assert_int_equal(fewer->read_count, 3);
    struct profile *none CLEANUP(cleanup_profile) = make(DISK_SIZE, reads, 0, 0);
    assert_int_equal(none->read_count, 2);
}

static void a_boot_that_reads_too_much_is_recorded_up_to_there(void **state)
{
    (void)state;
    const uint64_t all = UINT64_C(1) << 44;
    const struct overlay_read reads[] = {{4096, 4096}, {0, all}, {all - 4096, 4096}};
    struct profile *p CLEANUP(cleanup_profile) = make(all, reads, sizeof(reads), ARRAY_SIZE(reads));
    assert_read(p, 2, "disk", 1, 1);
    assert_true(p->block_count <= PROFILE_BLOCKS_MAXIMUM);
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(PROFILE_TEXT_MAXIMUM);
    assert_int_equal(profile_format(p, &text), 0);
}

static void an_initrd_larger_than_a_profile_is_recorded_up_to_there(void **state)
{
    (void)state;
    const struct overlay_read reads[] = {{4096, 4096}};
    struct profile *p CLEANUP(cleanup_profile) = make_with(DISK_SIZE, UINT64_C(2) << 30, reads, sizeof(reads), 1);
    assert_read(p, 0, "kernel", 0, 3);
    assert_read(p, 1, "initrd", 0, PROFILE_BLOCKS_MAXIMUM - 64); // 64 aligned blocks at a time
}

static bool finds(const char *ready, const char *shown)
{
    char pattern[256], why[128];
    struct until u;
    assert_true(record_make_pattern(ready, pattern, sizeof(pattern)));
    assert_int_equal(until_open(&u, pattern, why, sizeof(why)), 0);
    bool found = until_feed(&u, shown, strlen(shown));
    until_close(&u);
    return found;
}

static void a_ready_text_is_no_pattern(void **state)
{
    static const char *const texts[] = {"login:",      ".*",       "[ OK ]", "a+b?",  "^start", "cost: 5$",
                                        "back\\slash", "(x|y){2}", "\\(",    "a{1,2", "ü ✓"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        char shown[64];
        snprintf(shown, sizeof(shown), "here it is: %s, and more\n", texts[i]);
        assert_true(finds(texts[i], shown));
        assert_false(finds(texts[i], "something else\n"));
    }
    assert_false(finds(".*", "x"));
    assert_false(finds("a+b?", "aab"));
}

static void a_text_that_does_not_fit_is_no_shorter_pattern(void **state)
{
    char pattern[8];
    (void)state;
    assert_true(record_make_pattern("1234", pattern, sizeof(pattern)));
    assert_string_equal(pattern, "1234");
    assert_false(record_make_pattern("12345678", pattern, sizeof(pattern)));
    assert_false(record_make_pattern("1.3.5.7", pattern, sizeof(pattern)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_and_initrd_come_first_then_the_disk_in_order),
        cmocka_unit_test(what_no_disk_can_have_read_is_passed_over),
        cmocka_unit_test(only_whole_records_are_read_and_only_those_asked_for),
        cmocka_unit_test(a_boot_that_reads_too_much_is_recorded_up_to_there),
        cmocka_unit_test(an_initrd_larger_than_a_profile_is_recorded_up_to_there),
        cmocka_unit_test(a_ready_text_is_no_pattern),
        cmocka_unit_test(a_text_that_does_not_fit_is_no_shorter_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
