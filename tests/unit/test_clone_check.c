// What a clone must not carry is found in ext2, ext3 and ext4, on the disk or in a partition.
#include "tests/unit/clone_fixture.h"

#include "base/banned.h"

// --- finding -------------------------------------------------------------------------------------------------------

static void assert_all_found(struct image *i)
{
    struct clone_findings f;
    struct error error = {.text = ""};
    const struct clone_disk disk = disk_of(i);
    int r = clone_check(&disk, &f, &error);
    assert_string_equal(error.text, "");
    assert_int_equal(r, 0);
    for (unsigned k = 0; k < f.count && k < ARRAY_SIZE(all); k++)
        assert_true(strncmp(f.texts[k], all[k], strlen(all[k])) == 0 || (print_message("# %s\n", f.texts[k]), false));
    assert_int_equal(f.count, ARRAY_SIZE(all));
    assert_non_null(strstr(f.texts[0], "ssh_host_rsa_key"));
    assert_non_null(strstr(f.texts[0], "ssh_host_ed25519_key"));
    assert_non_null(strstr(f.texts[8], " and 2 more"));
    for (unsigned k = 0; k < f.count; k++)
        assert_null(strpbrk(f.texts[k], "\033\n"));
    assert_true(f.generalizes && !f.unclean);
}

static void every_kind_of_file_system_is_searched(void **state)
{
    static const char *const kinds[][3] = {{"ext4", "64bit,metadata_csum", "4096"},
                                           {"ext4", "64bit,metadata_csum,inline_data", "4096"},
                                           {"ext4", "^64bit,^metadata_csum,^extent", "1024"},
                                           {"ext3", "none,has_journal,dir_index", "4096"},
                                           {"ext2", "none", "2048"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct image image;
        make("dirty", kinds[i][0], kinds[i][1], kinds[i][2], &image);
        assert_all_found(&image);
        free(image.bytes);
    }
}

static void a_clean_system_is_clean(void **state)
{
    static const char *const trees[] = {"clean", "uninitialized"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
        struct image image;
        struct clone_findings f;
        make(trees[i], "ext4", "64bit,metadata_csum", "4096", &image);
        const struct clone_disk disk = disk_of(&image);
        assert_int_equal(clone_check(&disk, &f, NULL), 0);
        if (f.count > 0)
            fail_msg("%s", f.texts[0]);
        assert_false(f.generalizes || f.unclean);
        free(image.bytes);
    }
}

static void a_journal_to_be_replayed_is_mentioned(void **state)
{
    struct image image;
    struct clone_findings f;
    (void)state;
    make("dirty", "ext4", "64bit,metadata_csum", "4096", &image);
    image.bytes[1024 + 0x60] |= 4; // s_feature_incompat: INCOMPAT_RECOVER
    const struct clone_disk disk = disk_of(&image);
    assert_int_equal(clone_check(&disk, &f, NULL), 0);
    assert_true(f.unclean);
    assert_int_equal(f.count, ARRAY_SIZE(all));
    free(image.bytes);
}

// --- partitions ----------------------------------------------------------------------------------------------------

// Two file systems at 1 and 10 MiB of a disk of 20; the first has no /etc.
static void make_parts(struct image *ret)
{
    struct image first, second;
    *ret = (struct image){.bytes = calloc(1, 20 * MIB), .size = 20 * MIB};
    make("other", "ext4", "64bit", "4096", &first);
    make("dirty", "ext4", "64bit", "4096", &second);
    memcpy(ret->bytes + MIB, first.bytes, first.size);
    memcpy(ret->bytes + 10 * MIB, second.bytes, second.size);
    free(first.bytes);
    free(second.bytes);
}

static void put_gpt(struct image *i, unsigned entry_size)
{
    unsigned char *head = i->bytes + SECTOR, *entry = i->bytes + 2 * SECTOR;
    put_le64(head, UINT64_C(0x5452415020494645)); // "EFI PART"
    put_le64(head + 72, 2);
    put_le32(head + 80, 128);
    put_le32(head + 84, entry_size);
    for (unsigned k = 0; k < 3; k++) { // the second is not used
        memset(entry + k * entry_size, k == 1 ? 0 : 0xaf, 16);
        put_le64(entry + k * entry_size + 32, (k == 0 ? MIB : 10 * MIB) / SECTOR);
        put_le64(entry + k * entry_size + 40, (k == 0 ? 9 * MIB : 18 * MIB) / SECTOR - 1);
    }
}

static void put_mbr(struct image *i)
{
    put_le16(i->bytes + 510, 0xaa55);
    for (unsigned k = 0; k < 2; k++) {
        unsigned char *entry = i->bytes + 446 + 16 * (k + 1);
        entry[4] = 0x83;
        put_le32(entry + 8, (uint32_t)((k == 0 ? MIB : 10 * MIB) / SECTOR));
        put_le32(entry + 12, (uint32_t)(8 * MIB / SECTOR));
    }
}

static void the_partition_with_etc_is_searched(void **state)
{
    struct image image;
    (void)state;
    make_parts(&image);
    put_mbr(&image);
    assert_all_found(&image);
    put_gpt(&image, 128); // counts before the MBR
    memset(image.bytes + 446, 0, 64);
    assert_all_found(&image);
    put_gpt(&image, 256);
    assert_all_found(&image);
    free(image.bytes);
}

static void tables_that_make_no_sense_are_passed_over(void **state)
{
    struct image image;
    struct partition parts[PARTITIONS_MAXIMUM];
    unsigned char *entry;
    (void)state;
    make_parts(&image);
    struct clone_disk disk = disk_of(&image);
    put_gpt(&image, 128);
    entry = image.bytes + 2 * SECTOR;
    assert_int_equal(partition_list(&disk, parts), 2);
    assert_true(parts[1].start == 10 * MIB && parts[1].size == 8 * MIB);
    put_le64(entry + 40, UINT64_MAX);
    assert_int_equal(partition_list(&disk, parts), 1);
    put_le64(entry + 40, 20 * MIB / SECTOR);
    assert_int_equal(partition_list(&disk, parts), 1);
    put_le64(entry + 40, 1);
    assert_int_equal(partition_list(&disk, parts), 1);
    for (unsigned size = 0; size < 128; size += 127) {
        put_le32(image.bytes + SECTOR + 84, size);
        assert_int_equal(partition_list(&disk, parts), 0);
    }
    put_le32(image.bytes + SECTOR + 84, UINT32_MAX);
    assert_int_equal(partition_list(&disk, parts), 0);
    put_le32(image.bytes + SECTOR + 84, 128);
    put_le32(image.bytes + SECTOR + 80, UINT32_MAX);
    put_le64(image.bytes + SECTOR + 72, 20 * MIB / SECTOR - 1); // the table runs over the disk's end
    assert_int_equal(partition_list(&disk, parts), 0);
    put_le64(image.bytes + SECTOR + 72, UINT64_MAX);
    assert_int_equal(partition_list(&disk, parts), 0);
    disk.size = 2 * SECTOR - 1;
    assert_int_equal(partition_list(&disk, parts), 0);
    disk.size = image.size;
    put_le64(image.bytes + SECTOR + 72, 1); // over the header itself
    assert_int_equal(partition_list(&disk, parts), 0);
    put_gpt(&image, 128);
    put_le64(entry + 32, 0); // over everything
    assert_int_equal(partition_list(&disk, parts), 1);
    put_gpt(&image, 128);
    put_le32(image.bytes + SECTOR + 80, UINT32_MAX);
    for (unsigned k = 0; k <= PARTITIONS_MAXIMUM; k++)
        memcpy(entry + k * 128, entry, 128);
    assert_int_equal(partition_list(&disk, parts), PARTITIONS_MAXIMUM);
    image.failure = -EIO;
    assert_int_equal(partition_list(&disk, parts), 0);
    image.failure = 0;
    memset(image.bytes, 0, 2 * SECTOR); // no table at all
    assert_int_equal(partition_list(&disk, parts), 0);
    free(image.bytes);
}

// --- the command line ----------------------------------------------------------------------------------------------

#define WORDS "init=/usr/sbin/rondo-generalize"

static void a_command_line_gets_a_token(void **state)
{
    char first[256], second[256], small[80];
    struct error error = {.text = ""};
    (void)state;
    assert_int_equal(generalize_command_line("root=/dev/vda quiet", first, sizeof first, &error), 0);
    assert_true(strncmp(first, "root=/dev/vda quiet rondo.generalize=", 37) == 0);
    assert_int_equal(strspn(first + 37, "0123456789abcdef"), 16);
    assert_string_equal(first + 53, " " WORDS);
    assert_int_equal(generalize_command_line(first, second, sizeof second, &error), 0);
    assert_int_equal(strlen(first), strlen(second)); // instead of the other,
    assert_int_equal(strncmp(first, second, 37), 0);
    assert_string_not_equal(first, second); // and a new one
    assert_int_equal(generalize_command_line("", first, sizeof first, &error), 0);
    assert_int_equal(strncmp(first, "rondo.generalize=", 17), 0);
    assert_int_equal(generalize_command_line("a init=/bin/sh", first, sizeof first, &error), -EINVAL);
    assert_non_null(strstr(error.text, "init=/bin/sh"));
    assert_int_equal(generalize_command_line("0123456789012345", small, sizeof small, &error), -E2BIG);
    assert_int_equal(generalize_command_line("0123456789012", small, sizeof small, &error), 0);
    assert_int_equal(strlen(small), sizeof small - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_file_system_is_searched),
        cmocka_unit_test(a_clean_system_is_clean),
        cmocka_unit_test(a_journal_to_be_replayed_is_mentioned),
        cmocka_unit_test(the_partition_with_etc_is_searched),
        cmocka_unit_test(tables_that_make_no_sense_are_passed_over),
        cmocka_unit_test(a_command_line_gets_a_token),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
