// vmm/guest_memory.h: what is RAM and what is not, at every edge; the numbers are its invariants.
#include "vmm/guest_memory.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "vmm/layout.h"

#include "base/banned.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

// Rule 1.
static void slices_stay_in_their_region(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    (void)state;
    assert_int_equal(guest_memory_make(4 * GIB, &m, NULL), 0);
    assert_int_equal(m.region_count, 2);
    const struct {
        uint64_t address, length;
        bool good;
    } cases[] = {
        {0, 0, true},
        {0, 1, true},
        {0, 3 * GIB, true},
        {0, 3 * GIB + 1, false},
        {1, 3 * GIB, false},
        {3 * GIB - 1, 1, true},
        {3 * GIB - 1, 2, false},
        {3 * GIB - 1, 0, true},
        {3 * GIB, 0, false},
        {3 * GIB, 1, false},
        {4 * GIB - 1, 1, false},
        {4 * GIB - 1, 2, false},
        {4 * GIB, 0, true},
        {4 * GIB, GIB, true},
        {4 * GIB, GIB + 1, false},
        {5 * GIB - 8, 8, true},
        {5 * GIB - 8, 9, false},
        {5 * GIB, 0, false},
        {0, UINT64_MAX, false},
        {8, UINT64_MAX - 4, false},
        {UINT64_MAX, 1, false},
        {UINT64_MAX, UINT64_MAX, false},
        {UINT64_MAX - 7, 16, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if ((guest_memory_slice(&m, cases[i].address, cases[i].length) != NULL) != cases[i].good)
            fail_msg("%llx + %llx", (unsigned long long)cases[i].address, (unsigned long long)cases[i].length);
}

static void small_machine_has_one_region(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    (void)state;
    assert_int_equal(guest_memory_make(16 * MIB, &m, NULL), 0);
    assert_int_equal(m.region_count, 1);
    assert_non_null(guest_memory_slice(&m, 16 * MIB - 1, 1));
    assert_null(guest_memory_slice(&m, 16 * MIB, 1));
    assert_null(guest_memory_slice(&m, 4 * GIB, 1));
}

static void regions_are_disjoint_and_lie_as_huge_pages_must(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    unsigned char *low, *high;
    (void)state;
    assert_int_equal(guest_memory_make(3 * GIB + 2 * MIB, &m, NULL), 0);
    low = guest_memory_slice(&m, 0, 1);
    high = guest_memory_slice(&m, 4 * GIB, 1);
    *low = 1;
    *high = 2;
    assert_int_equal(*low, 1);
    assert_int_equal((uintptr_t)low % (2 * MIB), 0);
    assert_int_equal((uintptr_t)high % (2 * MIB), 0);
    assert_int_equal(m.regions[1].size, 2 * MIB);
}

static void read_and_write_refuse_what_is_not_ram_and_change_nothing(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    char text[8] = "before";
    (void)state;
    assert_int_equal(guest_memory_make(16 * MIB, &m, NULL), 0);
    assert_int_equal(guest_memory_write(&m, 16 * MIB - 4, "1234", 4), 0);
    assert_int_equal(guest_memory_read(&m, 16 * MIB - 4, text, 5), -EFAULT);
    assert_string_equal(text, "before");
    assert_int_equal(guest_memory_write(&m, 16 * MIB - 4, "abcde", 5), -EFAULT);
    assert_int_equal(guest_memory_read(&m, 16 * MIB - 4, text, 4), 0);
    assert_memory_equal(text, "1234", 4);
}

// Bytes of the region that take memory of the host.
static uint64_t host_bytes(const struct guest_memory *m)
{
    unsigned char pages[16 * MIB / 4096];
    uint64_t bytes = 0;
    assert_int_equal(mincore(m->regions[0].bytes, 16 * MIB, pages), 0);
    for (size_t i = 0; i < sizeof pages; i++)
        bytes += (pages[i] & 1) * 4096u;
    return bytes;
}

static bool host_has(const struct guest_memory *m, uint64_t address, uint64_t length)
{
    unsigned char pages[MIB / 4096];
    assert_int_equal(mincore(m->regions[0].bytes + address, length, pages), 0);
    for (size_t i = 0; i < length / 4096; i++)
        if (pages[i] & 1)
            return true;
    return false;
}

// A host that gives no address space, and one that gives no memory for it.
static void a_machine_that_the_host_has_no_room_for_leaves_nothing(void **state)
{
    static const int limits[] = {RLIMIT_AS, RLIMIT_DATA};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        struct guest_memory m = {.region_count = 77};
        struct error error = {""};
        struct rlimit before, none = {4096, 0}; // Linux takes 0 for none at all
        assert_int_equal(getrlimit((__rlimit_resource_t)limits[i], &before), 0);
        none.rlim_max = before.rlim_max;
        assert_int_equal(setrlimit((__rlimit_resource_t)limits[i], &none), 0);
        int r = guest_memory_make(64 * MIB, &m, &error);
        assert_int_equal(setrlimit((__rlimit_resource_t)limits[i], &before), 0);
        assert_int_equal(r, -ENOMEM);
        assert_non_null(strstr(error.text, "cannot make the machine's memory of 64.0 MiB"));
        assert_int_equal(m.region_count, 77);
    }
}

static void memory_of_somebody_else_is_not_freed(void **state)
{
    unsigned char bytes[4096] = {7};
    struct guest_memory m = {.region_count = 1, .regions = {{.size = sizeof bytes, .bytes = bytes}}};
    (void)state;
    assert_int_equal(guest_memory_release(&m, 0, 4096), 0);
    assert_int_equal(bytes[0], 0);
    bytes[0] = 7;
    guest_memory_free(&m);
    assert_int_equal(m.region_count, 0);
    assert_int_equal(bytes[0], 7);
}

static void pages_that_the_host_holds_fast_stay(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    (void)state;
    assert_int_equal(guest_memory_make(16 * MIB, &m, NULL), 0);
    assert_int_equal(guest_memory_write(&m, MIB, "1234", 4), 0);
    // Not mlock(), which sanitizers take away.
    assert_int_equal(syscall(SYS_mlock, m.regions[0].bytes + MIB, 4096ul), 0);
    assert_int_equal(guest_memory_release(&m, MIB, 4096), -EINVAL);
    assert_memory_equal(guest_memory_slice(&m, MIB, 4), "1234", 4);
}

// Rule 3: the slice stays good.
static void released_pages_read_as_zeros_and_are_the_hosts_again(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    (void)state;
    assert_int_equal(guest_memory_make(16 * MIB, &m, NULL), 0);
    assert_int_equal(host_bytes(&m), 0); // nothing is touched
    unsigned char *bytes = guest_memory_slice(&m, MIB, MIB);
    memset(bytes, 0x55, MIB);
    assert_true(host_bytes(&m) >= MIB);
    assert_int_equal(guest_memory_release(&m, MIB + 4096, MIB - 8192), 0);
    assert_true(host_bytes(&m) <= 3 * MIB + 8192); // what a huge page holds beside the range stays
    assert_false(host_has(&m, MIB + 4096, MIB - 8192));
    assert_int_equal(bytes[4095], 0x55);
    assert_int_equal(bytes[4096], 0);
    assert_int_equal(bytes[MIB - 4097], 0);
    assert_int_equal(bytes[MIB - 4096], 0x55);
    bytes[4096] = 1;
    assert_int_equal(bytes[4096], 1);
}

static void release_refuses_all_but_whole_pages_of_ram(void **state)
{
    struct guest_memory m CLEANUP(guest_memory_free) = {.mapped = false};
    (void)state;
    assert_int_equal(guest_memory_make(16 * MIB, &m, NULL), 0);
    assert_int_equal(guest_memory_release(&m, 1, 4096), -EFAULT);
    assert_int_equal(guest_memory_release(&m, 4096, 4095), -EFAULT);
    assert_int_equal(guest_memory_release(&m, 4096, 0), -EFAULT);
    assert_int_equal(guest_memory_release(&m, 16 * MIB - 4096, 8192), -EFAULT);
    assert_int_equal(guest_memory_release(&m, 3 * GIB, 4096), -EFAULT);
    assert_int_equal(guest_memory_release(&m, 4096, UINT64_MAX - 4095), -EFAULT);
}

static void impossible_sizes_are_refused_with_a_sentence(void **state)
{
    struct guest_memory m = {.size = 77};
    struct error error = {""};
    (void)state;
    assert_int_equal(guest_memory_make(0, &m, &error), -EINVAL);
    assert_int_equal(guest_memory_make(16 * MIB + 4096, &m, &error), -EINVAL);
    assert_int_equal(guest_memory_make(LAYOUT_MEMORY_MAXIMUM + 2 * MIB, &m, &error), -EINVAL);
    assert_int_equal(guest_memory_make(LAYOUT_MEMORY_MAXIMUM, &m, &error), -ENOMEM);
    assert_non_null(strstr(error.text, "1.0 TiB"));
    assert_int_equal(m.size, 77); // untouched
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_stay_in_their_region),
        cmocka_unit_test(small_machine_has_one_region),
        cmocka_unit_test(regions_are_disjoint_and_lie_as_huge_pages_must),
        cmocka_unit_test(read_and_write_refuse_what_is_not_ram_and_change_nothing),
        cmocka_unit_test(released_pages_read_as_zeros_and_are_the_hosts_again),
        cmocka_unit_test(a_machine_that_the_host_has_no_room_for_leaves_nothing),
        cmocka_unit_test(memory_of_somebody_else_is_not_freed),
        cmocka_unit_test(pages_that_the_host_holds_fast_stay),
        cmocka_unit_test(release_refuses_all_but_whole_pages_of_ram),
        cmocka_unit_test(impossible_sizes_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
