// Loading an ELF kernel by PVH: what the guest finds in its memory, and what is refused in which words.
#include "tests/unit/kernel_fixture.h"

#include "base/banned.h"

static struct fixture f;

static int begin(void **state)
{
    (void)state;
    fixture_elf(&f);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fixture_end(&f);
    return 0;
}

static void segments_lie_at_their_physical_addresses_and_their_rest_is_zero(void **state)
{
    (void)state;
    memset(guest_memory_slice(&f.memory, 0x1000000, 200000), 0xee, 200000);
    assert_int_equal(fixture_load(&f), 0);
    assert_false(f.entry.long_mode);
    assert_int_equal(f.entry.address, FIXTURE_ENTRY);
    assert_int_equal(f.entry.argument, LAYOUT_PVH_START);
    assert_memory_equal(fixture_at(&f, 0x1000000, 1000), f.file + FIXTURE_CODE, 1000);
    assert_memory_equal(fixture_at(&f, 0x1002000, 500), f.file + FIXTURE_DATA, 500);
    const unsigned char *rest = fixture_at(&f, 0x1002000 + 500, 100001 - 500);
    for (unsigned i = 0; i < 100000 - 500; i++)
        assert_int_equal(rest[i], 0);
    assert_int_equal(rest[100000 - 500], 0xee);
    for (unsigned i = 1000; i < 0x2000; i++)
        assert_int_equal(*fixture_at(&f, 0x1000000 + i, 1), 0);
}

static void the_start_info_leads_to_everything(void **state)
{
    (void)state;
    f.request.initrd = fixture_file("an initrd", 9);
    assert_int_equal(fixture_load(&f), 0);
    const unsigned char *info = fixture_at(&f, LAYOUT_PVH_START, 56);
    assert_int_equal(get_le32(info), 0x336ec578);
    assert_int_equal(get_le32(info + 4), 1);  // version
    assert_int_equal(get_le32(info + 8), 0);  // flags
    assert_int_equal(get_le32(info + 12), 1); // modules
    assert_string_equal((const char *)fixture_at(&f, get_le64(info + 24), 20), "console=ttyS0");
    assert_int_equal(get_le64(info + 32), LAYOUT_ACPI);
    const unsigned char *module = fixture_at(&f, get_le64(info + 16), 32);
    assert_int_equal(get_le64(module), FIXTURE_MEMORY - 4096);
    assert_int_equal(get_le64(module + 8), 9);
    assert_memory_equal(fixture_at(&f, get_le64(module), 9), "an initrd", 9);
    struct load_range ranges[LOAD_RANGES_MAXIMUM];
    unsigned count = load_memory_map(&f.memory, ranges);
    assert_int_equal(get_le32(info + 48), count);
    const unsigned char *map = fixture_at(&f, get_le64(info + 40), 24 * count);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(get_le64(map + 24 * i), ranges[i].address);
        assert_int_equal(get_le64(map + 24 * i + 8), ranges[i].size);
        assert_int_equal(get_le32(map + 24 * i + 16), ranges[i].type);
        assert_int_equal(get_le32(map + 24 * i + 20), 0);
    }
    assert_int_equal(fixture_at(&f, LAYOUT_GDT, LAYOUT_GDT_SIZE)[LAYOUT_GDT_CODE + 6] & 0x60, 0x40); // 32 bits
}

static void without_an_initrd_there_is_no_module(void **state)
{
    (void)state;
    assert_int_equal(fixture_load(&f), 0);
    const unsigned char *info = fixture_at(&f, LAYOUT_PVH_START, 56);
    assert_int_equal(get_le32(info + 12), 0);
    assert_int_equal(get_le64(info + 16), 0);
}

static void an_entry_of_four_bytes_will_do(void **state)
{
    (void)state;
    size_t size = fixture_put_notes(f.file + FIXTURE_NOTE, 4);
    put_le64(FIXTURE_FIELD(&f, 2, p_filesz), size);
    assert_int_equal(fixture_load(&f), 0);
    assert_int_equal(f.entry.address, FIXTURE_ENTRY);
}

static void a_file_for_another_processor_is_refused(void **state)
{
    (void)state;
    put_le16(f.file + offsetof(Elf64_Ehdr, e_machine), EM_AARCH64);
    fixture_refused(&f, EBADMSG, "another kind of processor");
    put_le16(f.file + offsetof(Elf64_Ehdr, e_machine), EM_X86_64);
    f.file[EI_DATA] = ELFDATA2MSB;
    fixture_refused(&f, EBADMSG, "another kind of processor");
    f.file[EI_DATA] = ELFDATA2LSB;
    f.file[EI_CLASS] = ELFCLASS32;
    fixture_refused(&f, EBADMSG, "an x86-64 kernel is needed");
}

static void a_file_without_the_entry_is_refused_with_what_to_do(void **state)
{
    (void)state;
    put_le32(f.file + FIXTURE_NOTE + 28, 17);
    fixture_refused(&f, EBADMSG, "CONFIG_PVH");
    put_le32(f.file + FIXTURE_NOTE + 28, 18);
    f.file[FIXTURE_NOTE + 32] = 'Y';
    fixture_refused(&f, EBADMSG, "vmlinuz");
    f.file[FIXTURE_NOTE + 32] = 'X';
    put_le16(f.file + offsetof(Elf64_Ehdr, e_phnum), 2);
    fixture_refused(&f, EBADMSG, "CONFIG_PVH");
    put_le16(f.file + offsetof(Elf64_Ehdr, e_phnum), 0);
    fixture_refused(&f, EBADMSG, "object file");
}

static void notes_that_lead_astray_are_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {UINT32_MAX, UINT32_MAX - 3, 1000000, 0x80000000};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        put_le32(f.file + FIXTURE_NOTE, sizes[i]);
        fixture_refused(&f, EBADMSG, "PVH");
        put_le32(f.file + FIXTURE_NOTE, 4);
        put_le32(f.file + FIXTURE_NOTE + 4, sizes[i]);
        fixture_refused(&f, EBADMSG, "PVH");
        put_le32(f.file + FIXTURE_NOTE + 4, 3);
    }
    put_le32(f.file + FIXTURE_NOTE + 36, 0x500); // our own tables
    fixture_refused(&f, EBADMSG, "outside its segments");
    put_le32(f.file + FIXTURE_NOTE + 36, FIXTURE_ENTRY);
    put_le32(f.file + FIXTURE_NOTE + 40, 1); // above 4 GiB
    fixture_refused(&f, EBADMSG, "outside its segments");
}

static void notes_are_looked_through_to_the_entry(void **state)
{
    (void)state;
    static const struct {
        unsigned at;
        uint32_t value;
    } others[] = {{20, 5}, {24, 2}}; // a name that only begins as "Xen" does; an entry of two bytes
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        uint32_t before = get_le32(f.file + FIXTURE_NOTE + others[i].at);
        put_le32(f.file + FIXTURE_NOTE + others[i].at, others[i].value);
        fixture_refused(&f, EBADMSG, "CONFIG_PVH");
        put_le32(f.file + FIXTURE_NOTE + others[i].at, before);
    }
    // A segment of another kind; and the notes first.
    size_t size = fixture_put_notes(f.file + FIXTURE_NOTE, 8);
    put_le16(f.file + offsetof(Elf64_Ehdr, e_phnum), 4);
    fixture_put_segment(&f, 3, PT_LOAD, FIXTURE_CODE, 0x1000000, 1000, 0x2000);
    fixture_put_segment(&f, 2, PT_GNU_STACK, UINT64_MAX, 0, 0, 0);
    fixture_put_segment(&f, 0, PT_NOTE, FIXTURE_NOTE, 0x1000000, size, size);
    assert_int_equal(fixture_load(&f), 0);
    assert_int_equal(f.entry.address, FIXTURE_ENTRY);
}

// As in .note.gnu.property: contents begin at 16, the next note at the next multiple of 8.
static void notes_may_be_aligned_to_eight(void **state)
{
    (void)state;
    unsigned char *note = f.file + FIXTURE_NOTE;
    memset(note, 0, 64);
    put_le32(note, 4);
    put_le32(note + 4, 12);
    put_le32(note + 8, 5);
    memcpy(note + 12, "GNU", 4);
    put_le32(note + 32, 4);
    put_le32(note + 36, 8);
    put_le32(note + 40, 18);
    memcpy(note + 44, "Xen", 4);
    put_le64(note + 48, FIXTURE_ENTRY);
    put_le64(FIXTURE_FIELD(&f, 2, p_align), 8);
    put_le64(FIXTURE_FIELD(&f, 2, p_filesz), 56);
    put_le64(FIXTURE_FIELD(&f, 2, p_memsz), 56);
    assert_int_equal(fixture_load(&f), 0);
    assert_int_equal(f.entry.address, FIXTURE_ENTRY);
}

static void notes_have_a_maximum(void **state)
{
    (void)state;
    put_le64(FIXTURE_FIELD(&f, 2, p_filesz), 65537);
    f.request.kernel = fixture_file(f.file, f.size);
    assert_int_equal(ftruncate(f.request.kernel, 100000), 0);
    assert_int_equal(load_kernel(&f.memory, &f.request, &f.entry, &f.error), -EBADMSG);
    assert_non_null(strstr(f.error.text, "its notes are too long"));
    close(f.request.kernel);
}

static ssize_t end_early(int fd, void *to, size_t n, off_t offset)
{
    return offset < FIXTURE_SEGMENTS ? pread(fd, to, n, offset) : 0;
}

// It was as large as its headers say when it was looked at.
static void a_file_that_shrinks_meanwhile_is_refused(void **state)
{
    (void)state;
    struct io_table table = io_table_system;
    table.pread = end_early;
    io = &table;
    fixture_refused(&f, EBADMSG, "incomplete");
    io = &io_table_system;
}

static void segments_outside_memory_are_refused(void **state)
{
    (void)state;
    static const uint64_t places[] = {
        0, 0x6000, 0xff000, LAYOUT_LOW_RAM_END, LAYOUT_HIGH_RAM, UINT64_MAX, UINT64_MAX - 99999};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        put_le64(FIXTURE_FIELD(&f, 1, p_paddr), places[i]);
        fixture_refused(&f, EBADMSG, "from 1 MiB to 3 GiB");
    }
    put_le64(FIXTURE_FIELD(&f, 1, p_paddr), 0x1002000);
    put_le64(FIXTURE_FIELD(&f, 1, p_memsz), UINT64_MAX);
    fixture_refused(&f, EBADMSG, "from 1 MiB to 3 GiB");
    put_le64(FIXTURE_FIELD(&f, 1, p_memsz), FIXTURE_MEMORY);
    fixture_refused(&f, ENOMEM, "--memory");
    put_le64(FIXTURE_FIELD(&f, 1, p_memsz), 499);
    fixture_refused(&f, EBADMSG, "larger in the file");
}

static void overlapping_segments_are_refused(void **state)
{
    (void)state;
    static const uint64_t places[] = {0x1000000, 0x1001fff, 0x1000000 - 99999};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        put_le64(FIXTURE_FIELD(&f, 1, p_paddr), places[i]);
        fixture_refused(&f, EBADMSG, "overlap");
    }
    put_le64(FIXTURE_FIELD(&f, 1, p_paddr), 0x1000000 - 100000); // next to it
    assert_int_equal(fixture_load(&f), 0);
    put_le64(FIXTURE_FIELD(&f, 1, p_paddr), 0x1000100);
    put_le64(FIXTURE_FIELD(&f, 1, p_filesz), 0);
    put_le64(FIXTURE_FIELD(&f, 1, p_memsz), 0); // nothing lies nowhere
    assert_int_equal(fixture_load(&f), 0);
}

static void parts_behind_the_files_end_are_refused(void **state)
{
    (void)state;
    static const uint64_t offsets[] = {6000 - 499, 6001, UINT64_MAX, UINT64_MAX - 400};
    for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
        put_le64(FIXTURE_FIELD(&f, 1, p_offset), offsets[i]);
        fixture_refused(&f, EBADMSG, "incomplete");
    }
    put_le64(FIXTURE_FIELD(&f, 1, p_offset), 6000 - 500);
    assert_int_equal(fixture_load(&f), 0);
    for (size_t i = 0; i < 3; i++) {
        put_le64(f.file + offsetof(Elf64_Ehdr, e_phoff), offsets[i + 1] - 100);
        fixture_refused(&f, EBADMSG, "behind its end");
    }
}

static void malformed_headers_are_refused(void **state)
{
    (void)state;
    put_le16(f.file + offsetof(Elf64_Ehdr, e_phentsize), 55);
    fixture_refused(&f, EBADMSG, "malformed");
    put_le16(f.file + offsetof(Elf64_Ehdr, e_phentsize), sizeof(Elf64_Phdr));
    put_le16(f.file + offsetof(Elf64_Ehdr, e_phnum), 65);
    fixture_refused(&f, EBADMSG, "malformed");
    for (f.size = 4; f.size < 64; f.size++)
        fixture_refused(&f, EBADMSG, "damaged");
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(segments_lie_at_their_physical_addresses_and_their_rest_is_zero),
        T(the_start_info_leads_to_everything),
        T(without_an_initrd_there_is_no_module),
        T(an_entry_of_four_bytes_will_do),
        T(a_file_for_another_processor_is_refused),
        T(a_file_without_the_entry_is_refused_with_what_to_do),
        T(notes_that_lead_astray_are_refused),
        T(notes_are_looked_through_to_the_entry),
        T(notes_may_be_aligned_to_eight),
        T(notes_have_a_maximum),
        T(a_file_that_shrinks_meanwhile_is_refused),
        T(segments_outside_memory_are_refused),
        T(overlapping_segments_are_refused),
        T(parts_behind_the_files_end_are_refused),
        T(malformed_headers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
