// What both loaders share: the memory map, and where an initrd goes.
#include "tests/unit/kernel_fixture.h"

#include "base/banned.h"

// Memory whose bytes nobody touches.
static struct guest_memory memory_of(uint64_t size)
{
    struct guest_memory m = {.size = size, .region_count = 1};
    uint64_t low = size < LAYOUT_LOW_RAM_END ? size : LAYOUT_LOW_RAM_END;
    m.regions[0] = (struct guest_region){.address = 0, .size = low};
    if (size > low) {
        m.regions[1] = (struct guest_region){.address = LAYOUT_HIGH_RAM, .size = size - low};
        m.region_count = 2;
    }
    return m;
}

static void the_map_is_sorted_and_its_ram_is_the_memory_but_for_the_bios_area(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {LAYOUT_MEMORY_MINIMUM, 512ull << 20,
                                     LAYOUT_LOW_RAM_END,    LAYOUT_LOW_RAM_END + (2ull << 20),
                                     64ull << 30,           LAYOUT_MEMORY_MAXIMUM};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct load_range ranges[LOAD_RANGES_MAXIMUM];
        struct guest_memory m = memory_of(sizes[i]);
        unsigned count = load_memory_map(&m, ranges);
        uint64_t ram = 0, end = 0;
        bool configuration = false;
        for (unsigned k = 0; k < count; k++) {
            assert_true(ranges[k].address >= end);
            assert_true(ranges[k].size > 0);
            end = ranges[k].address + ranges[k].size;
            ram += ranges[k].type == LOAD_RAM ? ranges[k].size : 0;
            configuration |= ranges[k].address == LAYOUT_ECAM && ranges[k].size == LAYOUT_ECAM_SIZE &&
                             ranges[k].type == LOAD_RESERVED;
        }
        assert_true(configuration);
        assert_int_equal(ram, sizes[i] - (LAYOUT_EXTENDED_RAM - LAYOUT_BASE_RAM_END));
    }
}

static void an_initrd_goes_as_high_as_it_may(void **state)
{
    (void)state;
    struct guest_memory m = memory_of(256ull << 20);
    struct guest_memory large = memory_of(8ull << 30);
    const uint64_t mib = 1 << 20, any = UINT64_MAX;
    assert_int_equal(load_place_initrd(&m, 1, 0, any), 256 * mib - 4096);
    assert_int_equal(load_place_initrd(&m, 4096, 0, any), 256 * mib - 4096);
    assert_int_equal(load_place_initrd(&m, 4097, 0, any), 256 * mib - 8192);
    assert_int_equal(load_place_initrd(&m, mib, 0, 100 * mib), 99 * mib);
    assert_int_equal(load_place_initrd(&large, mib, 0, any), LAYOUT_LOW_RAM_END - mib);
}

static void an_initrd_without_a_place_has_none(void **state)
{
    (void)state;
    struct guest_memory m = memory_of(256ull << 20);
    const uint64_t mib = 1 << 20, any = UINT64_MAX;
    assert_int_equal(load_place_initrd(&m, 56 * mib, 200 * mib, any), 200 * mib);
    assert_int_equal(load_place_initrd(&m, 56 * mib + 1, 200 * mib, any), 0);
    assert_int_equal(load_place_initrd(&m, 255 * mib, 0, any), mib); // never below 1 MiB
    assert_int_equal(load_place_initrd(&m, 255 * mib + 1, 0, any), 0);
    assert_int_equal(load_place_initrd(&m, 257 * mib, 0, any), 0);
    assert_int_equal(load_place_initrd(&m, any, 0, any), 0);
    assert_int_equal(load_place_initrd(&m, mib, 100 * mib, 50 * mib), 0);
    assert_int_equal(load_place_initrd(&m, mib, any, any), 0);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
    (void)state;
    struct fixture f;
    fixture_bzimage(&f);
    f.request.kernel = -1;
    assert_int_equal(load_kernel(&f.memory, &f.request, &f.entry, &f.error), -EBADF);
    assert_non_null(strstr(f.error.text, "vmlinuz"));
    f.request.kernel = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(load_kernel(&f.memory, &f.request, &f.entry, &f.error) < 0);
    assert_non_null(strstr(f.error.text, "vmlinuz"));
    close(f.request.kernel);
    fixture_end(&f);
}

// What is below is too small for each of the first tables and texts, one after the other.
static void memory_without_a_place_is_refused(void **state)
{
    (void)state;
    static unsigned char bytes[LAYOUT_CMDLINE];
    struct fixture f;
    struct guest_memory m = {.size = sizeof bytes, .region_count = 1, .regions = {{0, 0, bytes}}};
    fixture_bzimage(&f);
    f.request.kernel = fixture_file(f.file, f.size);
    m.regions[0].size = LAYOUT_GDT;
    assert_int_equal(load_kernel(&m, &f.request, &f.entry, &f.error), -EFAULT);
    assert_non_null(strstr(f.error.text, "reset vector"));
    assert_int_equal(load_tables(&m, true, &f.error), -ENOMEM);
    m.regions[0].size = LAYOUT_PAGE_TABLES;
    assert_int_equal(load_tables(&m, true, &f.error), -ENOMEM);
    assert_non_null(strstr(f.error.text, "first tables"));
    assert_int_equal(load_cmdline(&m, &f.request, 100, &f.error), -EFAULT);
    assert_non_null(strstr(f.error.text, "command line"));
    close(f.request.kernel);
    fixture_end(&f);
}

// Each look at the files and each read of them, in turn.
static void a_read_that_fails_is_told(void **state)
{
    (void)state;
    for (int elf = 0; elf < 2; elf++) {
        struct fixture f;
        unsigned long at = 1;
        int r;
        (elf ? fixture_elf : fixture_bzimage)(&f);
        f.request.initrd = fixture_file("initrd", 6);
        f.request.kernel = fixture_file(f.file, f.size);
        f.entry.address = 77;
        for (;; at++) {
            f.error.text[0] = '\0';
            io_fault_start(at, EIO, false);
            r = load_kernel(&f.memory, &f.request, &f.entry, &f.error);
            io_fault_stop();
            if (r == 0)
                break;
            assert_int_equal(r, -EIO);
            assert_int_equal(f.entry.address, 77);
            assert_true(strstr(f.error.text, "vmlinuz") || strstr(f.error.text, "initrd.img"));
            assert_true(at < 100);
        }
        assert_true(at > 5); // magic, size, header, the initrd's size, both files
        close(f.request.kernel);
        fixture_end(&f);
    }
}

// The seeds of the fuzz targets (tests/fuzz/machine_seeds): those whose name begins with "bad_" are refused.
static void check_seeds(const char *target)
{
    const char *root = getenv("ROOT");
    char path[500];
    unsigned good = 0, bad = 0;
    struct guest_memory memory;
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", root ? root : ".", target);
    DIR *d CLEANUP_CLOSEDIR = opendir(path);
    assert_non_null(d); // run from the sources' top, or with ROOT set
    int initrd = fixture_file("initrd", 6);
    for (struct dirent *e; d && (e = readdir(d));) {
        void *bytes CLEANUP_FREE = NULL;
        size_t size;
        struct load_entry entry;
        struct error error = {{0}};
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(io_read_file(dirfd(d), e->d_name, 1 << 20, &bytes, &size), 0);
        assert_int_equal(guest_memory_make(32u << 20, &memory, NULL), 0);
        struct load_request request = {.kernel_name = e->d_name,
                                       .initrd_name = "initrd",
                                       .kernel = fixture_file(bytes, size),
                                       .initrd = size % 2 ? initrd : -1,
                                       .cmdline = "console=ttyS0"};
        bool wanted = strncmp(e->d_name, "bad_", 4) != 0;
        int r = load_kernel(&memory, &request, &entry, &error);
        if ((r == 0) != wanted)
            fail_msg("%s/%s: %d %s", target, e->d_name, r, error.text);
        *(wanted ? &good : &bad) += 1;
        close(request.kernel);
        guest_memory_free(&memory);
    }
    close(initrd);
    assert_true(good > 0 && bad > 0);
}

static void seeds_are_what_their_names_say(void **state)
{
    (void)state;
    check_seeds("bzimage");
    check_seeds("elf");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_is_sorted_and_its_ram_is_the_memory_but_for_the_bios_area),
        cmocka_unit_test(an_initrd_goes_as_high_as_it_may),
        cmocka_unit_test(an_initrd_without_a_place_has_none),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
        cmocka_unit_test(memory_without_a_place_is_refused),
        cmocka_unit_test(a_read_that_fails_is_told),
        cmocka_unit_test(seeds_are_what_their_names_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
