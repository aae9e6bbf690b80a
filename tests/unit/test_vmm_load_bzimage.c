// Loading a bzImage: what the guest finds in its memory, and what is refused in which words.
#include "tests/unit/kernel_fixture.h"

#include "base/banned.h"

static struct fixture f;

static int begin(void **state)
{
    (void)state;
    fixture_bzimage(&f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

static void the_kernel_lies_where_it_wants_and_is_entered_at_its_64_bit_entry(void **state)
{
    (void)state;
    assert_int_equal(fixture_load(&f), 0);
    assert_true(f.entry.long_mode);
    assert_int_equal(f.entry.address, FIXTURE_PREFERRED + 0x200);
    assert_int_equal(f.entry.argument, LAYOUT_ZERO_PAGE);
    size_t size = f.size - FIXTURE_SETUP;
    assert_memory_equal(fixture_at(&f, FIXTURE_PREFERRED, size), f.file + FIXTURE_SETUP, size);
    assert_int_equal(*fixture_at(&f, FIXTURE_PREFERRED + size, 1), 0);
}

static void no_setup_sectors_mean_four(void **state)
{
    (void)state;
    f.file[0x1f1] = 0;
    put_le32(f.file + 0x1f4, 100);
    put_le32(f.file + 0x24c, 500);
    assert_int_equal(fixture_load(&f), 0);
    assert_memory_equal(fixture_at(&f, FIXTURE_PREFERRED, 100), f.file + 5 * 512, 100);
}

static void the_zero_page_tells_the_kernel_what_there_is(void **state)
{
    (void)state;
    f.file[0x26c] = 99; // behind the header's end
    assert_int_equal(fixture_load(&f), 0);
    const unsigned char *z = fixture_at(&f, LAYOUT_ZERO_PAGE, 4096);
    assert_memory_equal(z + 0x230, f.file + 0x230, 0x26c - 0x230);
    assert_memory_equal(z + 0x1f1, f.file + 0x1f1, 0x210 - 0x1f1);
    assert_int_equal(z[0x26c], 0);
    assert_int_equal(z[0x1ef], 0); // the sentinel
    assert_int_equal(z[0x210], 0xff);
    assert_int_equal(get_le64(z + 0x70), LAYOUT_ACPI);
    assert_int_equal(get_le32(z + 0x228), LAYOUT_CMDLINE);
    assert_string_equal((const char *)fixture_at(&f, LAYOUT_CMDLINE, 100), "console=ttyS0");
    assert_int_equal(get_le32(z + 0x218) | get_le32(z + 0x21c), 0); // no initrd
    struct load_range ranges[LOAD_RANGES_MAXIMUM];
    unsigned count = load_memory_map(&f.memory, ranges);
    assert_int_equal(z[0x1e8], count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(get_le64(z + 0x2d0 + 20 * i), ranges[i].address);
        assert_int_equal(get_le64(z + 0x2d8 + 20 * i), ranges[i].size);
        assert_int_equal(get_le32(z + 0x2e0 + 20 * i), ranges[i].type);
    }
}

static void the_first_4_gib_are_mapped_to_themselves(void **state)
{
    (void)state;
    assert_int_equal(fixture_load(&f), 0);
    static const uint64_t addresses[] = {0, 0x1000200, 0x3fffffff, 0x40000000, 0xc0000000, 0xfee00000, 0xffffffff};
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        uint64_t a = addresses[i];
        uint64_t top = get_le64(fixture_at(&f, LAYOUT_PAGE_TABLES + 8 * (a >> 39), 8));
        assert_int_equal(top & 0xfff, 3);
        uint64_t middle = get_le64(fixture_at(&f, (top & ~0xfffull) + 8 * (a >> 30 & 511), 8));
        assert_int_equal(middle & 0xfff, 3);
        uint64_t page = get_le64(fixture_at(&f, (middle & ~0xfffull) + 8 * (a >> 21 & 511), 8));
        assert_int_equal(page & 0xfff, 0x83);
        assert_int_equal((page & ~0xfffull) | (a & 0x1fffff), a);
    }
    assert_int_equal(get_le64(fixture_at(&f, LAYOUT_PAGE_TABLES + 8, 8)), 0);
    assert_int_equal(get_le64(fixture_at(&f, LAYOUT_PAGE_TABLES + 4096 + 32, 8)), 0);
}

static void the_gdt_has_the_selectors_of_the_protocol(void **state)
{
    (void)state;
    assert_int_equal(fixture_load(&f), 0);
    const unsigned char *gdt = fixture_at(&f, LAYOUT_GDT, LAYOUT_GDT_SIZE);
    assert_int_equal(get_le64(gdt), 0);
    assert_int_equal(gdt[LAYOUT_GDT_CODE + 5], 0x9b);                // present, code
    assert_int_equal(gdt[LAYOUT_GDT_CODE + 6] & 0x60, 0x20);         // of 64 bits
    assert_int_equal(gdt[LAYOUT_GDT_DATA + 5], 0x93);                // present, data, writable
    assert_int_equal(get_le32(gdt + LAYOUT_GDT_DATA) >> 16, 0x0000); // base 0
}

static void the_initrd_lies_at_the_top_of_memory(void **state)
{
    (void)state;
    unsigned char initrd[5000];
    memset(initrd, 0x5a, sizeof initrd);
    f.request.initrd = fixture_file(initrd, sizeof initrd);
    assert_int_equal(fixture_load(&f), 0);
    const unsigned char *z = fixture_at(&f, LAYOUT_ZERO_PAGE, 4096);
    assert_int_equal(get_le32(z + 0x218), FIXTURE_MEMORY - 8192);
    assert_int_equal(get_le32(z + 0x21c), sizeof initrd);
    assert_int_equal(get_le32(z + 0xc0) | get_le32(z + 0xc4), 0);
    assert_memory_equal(fixture_at(&f, FIXTURE_MEMORY - 8192, sizeof initrd), initrd, sizeof initrd);
}

static void the_initrd_stays_below_the_kernels_limit(void **state)
{
    (void)state;
    f.request.initrd = fixture_file("cpio", 4);
    put_le32(f.file + 0x22c, (40u << 20) - 1);
    assert_int_equal(fixture_load(&f), 0);
    assert_int_equal(get_le32(fixture_at(&f, LAYOUT_ZERO_PAGE, 4096) + 0x218), (40u << 20) - 4096);
    put_le32(f.file + 0x22c, (36u << 20) - 1); // where the kernel's own room ends
    fixture_refused(&f, ENOMEM, "--memory");
}

static void a_command_line_is_as_long_as_the_kernel_allows(void **state)
{
    (void)state;
    static char text[LAYOUT_CMDLINE_MAXIMUM + 1];
    memset(text, 'x', sizeof text);
    text[2047] = 0;
    f.request.cmdline = text;
    assert_int_equal(fixture_load(&f), 0);
    assert_string_equal((const char *)fixture_at(&f, LAYOUT_CMDLINE, 2048), text);
    text[2047] = 'x';
    text[2048] = 0;
    fixture_refused(&f, EINVAL, "2047");
    put_le32(f.file + 0x238, UINT32_MAX);
    text[LAYOUT_CMDLINE_MAXIMUM - 1] = 0;
    text[2048] = 'x';
    assert_int_equal(fixture_load(&f), 0);
    text[LAYOUT_CMDLINE_MAXIMUM - 1] = 'x';
    text[LAYOUT_CMDLINE_MAXIMUM] = 0;
    fixture_refused(&f, EINVAL, "4095");
}

static void what_is_no_kernel_is_named(void **state)
{
    (void)state;
    static const struct {
        unsigned at, size;
        const char *bytes, *words;
    } files[] = {
        {0, 4, "\x1f\x8b\x08\x00", "gunzip"},
        {0, 6,
         "\xfd"
         "7zXZ\0",
         "unxz"},
        {0, 4, "\x28\xb5\x2f\xfd", "unzstd"},
        {0, 6, "070701", "exchanged"},
        {0, 2, "MZ", "objcopy"},
        {0, 8, "MZ\0\0zimg", "another kind"},
        {56, 4, "ARM\x64", "ARM"},
        {56, 4, "RSC\x05", "RISC-V"},
        {0, 2, "#!", "script"},
        {0, 4, "text", "no Linux kernel"},
        {0x1fe, 6, "\x55\xaa\x90\x90HD", "no Linux kernel"}, // a disk's boot sector
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        memset(f.file, 0, sizeof f.file);
        memcpy(f.file + files[i].at, files[i].bytes, files[i].size);
        fixture_refused(&f, EBADMSG, files[i].words);
        f.size = files[i].at + files[i].size; // and nothing else of it
        fixture_refused(&f, EBADMSG, files[i].words);
        f.size = 9000;
    }
    f.size = 0;
    fixture_refused(&f, EBADMSG, "empty");
}

static void a_kernel_that_cannot_be_started_so_is_refused(void **state)
{
    (void)state;
    put_le16(f.file + 0x206, 0x020b);
    fixture_refused(&f, EBADMSG, "2.11");
    put_le16(f.file + 0x206, 0x020f);
    put_le16(f.file + 0x236, 0x3e);
    fixture_refused(&f, EBADMSG, "32-bit");
    put_le16(f.file + 0x236, 0x3f);
    f.file[0x211] = 0;
    fixture_refused(&f, EBADMSG, "zImage");
}

static void every_truncated_file_is_refused(void **state)
{
    (void)state;
    size_t whole = FIXTURE_SETUP + (size_t)get_le32(f.file + 0x1f4) * 16;
    assert_true(whole < f.size);
    for (f.size = whole - 1; f.size > 0x206; f.size -= f.size > 1200 ? 100 : 1)
        fixture_refused(&f, EBADMSG, "incomplete");
    f.size = whole;
    assert_int_equal(fixture_load(&f), 0);
}

static void wrong_sizes_and_places_are_refused(void **state)
{
    (void)state;
    put_le32(f.file + 0x1f4, UINT32_MAX);
    fixture_refused(&f, EBADMSG, "incomplete");
    put_le32(f.file + 0x1f4, 0);
    fixture_refused(&f, EBADMSG, "empty");
    put_le32(f.file + 0x1f4, 100);
    put_le32(f.file + 0x248, UINT32_MAX); // payload: offset + length wraps in 32 bits
    fixture_refused(&f, EBADMSG, "incomplete");
    put_le32(f.file + 0x248, 0);
    f.file[0x1f1] = 255;
    fixture_refused(&f, EBADMSG, "incomplete");
    f.file[0x1f1] = 1;
    static const uint64_t places[] = {0,          0x7000,     0xfffff,           LAYOUT_LOW_RAM_END,
                                      1ull << 32, UINT64_MAX, UINT64_MAX - 0x200};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        put_le64(f.file + 0x258, places[i]);
        fixture_refused(&f, EBADMSG, "damaged");
    }
}

static void a_machine_too_small_is_told_how_much_is_needed(void **state)
{
    (void)state;
    put_le32(f.file + 0x260, 48u << 20);
    assert_int_equal(fixture_load(&f), 0); // exactly all
    put_le32(f.file + 0x260, (48u << 20) + (1u << 20));
    fixture_refused(&f, ENOMEM, "65");
    put_le32(f.file + 0x260, UINT32_MAX);
    fixture_refused(&f, ENOMEM, "--memory");
    put_le32(f.file + 0x260, 20u << 20);
    f.request.initrd = memfd_create("large", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f.request.initrd, (28 << 20) + 1), 0);
    fixture_refused(&f, ENOMEM, "initrd.img");
    assert_int_equal(ftruncate(f.request.initrd, 28 << 20), 0);
    assert_int_equal(fixture_load(&f), 0);
}

static void an_initrd_that_is_none_is_refused(void **state)
{
    (void)state;
    f.request.initrd = fixture_file("", 0);
    fixture_refused(&f, EBADMSG, "empty");
    assert_int_equal(ftruncate(f.request.initrd, (off_t)(LOAD_INITRD_MAXIMUM + 1)), 0);
    fixture_refused(&f, EBADMSG, "larger");
    cleanup_close(&f.request.initrd);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    f.request.initrd = ends[0];
    fixture_refused(&f, EINVAL, "pipe");
    close(ends[1]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_kernel_lies_where_it_wants_and_is_entered_at_its_64_bit_entry),
        T(no_setup_sectors_mean_four),
        T(the_zero_page_tells_the_kernel_what_there_is),
        T(the_first_4_gib_are_mapped_to_themselves),
        T(the_gdt_has_the_selectors_of_the_protocol),
        T(the_initrd_lies_at_the_top_of_memory),
        T(the_initrd_stays_below_the_kernels_limit),
        T(a_command_line_is_as_long_as_the_kernel_allows),
        T(what_is_no_kernel_is_named),
        T(a_kernel_that_cannot_be_started_so_is_refused),
        T(every_truncated_file_is_refused),
        T(wrong_sizes_and_places_are_refused),
        T(a_machine_too_small_is_told_how_much_is_needed),
        T(an_initrd_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
