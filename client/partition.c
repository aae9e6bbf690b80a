// Checksums are not asked for: a table that a guest's firmware would refuse still shows where to look.
#include "client/partition.h"

#include "base/cursor.h"

#include "base/banned.h"

#define SECTOR 512u
#define ENTRY_MAXIMUM 512u // bytes; tables have 128

static bool add(const struct clone_disk *disk, uint64_t first, uint64_t end, struct partition *ret)
{
    uint64_t sectors = disk->size / SECTOR;
    if (first == 0 || first >= end || end > sectors)
        return false;
    *ret = (struct partition){.start = first * SECTOR, .size = (end - first) * SECTOR};
    return true;
}

static unsigned list_gpt(const struct clone_disk *disk, const unsigned char head[static SECTOR], struct partition *ret)
{
    unsigned count = 0;
    struct cursor c = cursor_over(head, SECTOR);
    cursor_bytes(&c, 72); // up to PartitionEntryLBA
    uint64_t table = cursor_u64(&c);
    uint32_t entries = cursor_u32(&c), entry_size = cursor_u32(&c);
    if (entry_size < 128 || entry_size > ENTRY_MAXIMUM || table < 2 || table >= disk->size / SECTOR)
        return 0;
    for (uint32_t i = 0; i < entries && i < PARTITIONS_MAXIMUM; i++) {
        static const unsigned char unused[16]; // the type of an entry that is not used
        unsigned char entry[48];
        uint64_t at = table * SECTOR + (uint64_t)i * entry_size;
        if (at > disk->size - sizeof entry || disk->read(disk->context, at, entry, sizeof entry) < 0)
            break;
        uint64_t last = get_le64(entry + 40);
        if (memcmp(entry, unused, sizeof unused) != 0 && last < UINT64_MAX &&
            add(disk, get_le64(entry + 32), last + 1, &ret[count]))
            count++;
    }
    return count;
}

static unsigned list_mbr(const struct clone_disk *disk, const unsigned char head[static SECTOR], struct partition *ret)
{
    unsigned count = 0;
    for (unsigned i = 0; i < 4; i++) {
        const unsigned char *entry = head + 446 + i * 16;
        uint64_t first = get_le32(entry + 8), sectors = get_le32(entry + 12);
        if (entry[4] != 0 && add(disk, first, first + sectors, &ret[count]))
            count++;
    }
    return count;
}

unsigned partition_list(const struct clone_disk *disk, struct partition ret[static PARTITIONS_MAXIMUM])
{
    unsigned char heads[2 * SECTOR];
    if (disk->size < sizeof heads || disk->read(disk->context, 0, heads, sizeof heads) < 0)
        return 0;
    if (memcmp(heads + SECTOR, "EFI PART", 8) == 0)
        return list_gpt(disk, heads + SECTOR, ret);
    return get_le16(heads + 510) == 0xaa55 ? list_mbr(disk, heads, ret) : 0;
}
