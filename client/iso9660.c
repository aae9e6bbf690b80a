// See iso9660.h. Numbers in comments are ECMA-119's sections (4th edition); SUSP and RRIP are IEEE P1281 and P1282.
//
//   sector 0    the system area, zeros                   18, 19   the path table, little- and big-endian
//         16    the primary volume descriptor            20       the root folder
//         17    the descriptors' end                     21…      the files, each from a sector of its own
//
// 1. The same files give the same bytes: there are no dates but one, the beginning of 1970.
// 2. Every number is written byte by byte, "both-endian" (7.3.3) where the format wants it: no structure, no alignment.
#include "client/iso9660.h"
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/banned.h"

enum { DESCRIPTOR = 16, DESCRIPTOR_END, TABLE_LITTLE, TABLE_BIG, ROOT, FILES };

#define PATH_TABLE_SIZE 10u
#define RECORD_SIZE 33u // 9.1, without the name
#define PX_SIZE 36u     // RRIP 4.1.1, version 1.10
#define NM_SIZE 5u      // RRIP 4.1.4, without the name
#define FOLDER_MODE 0040500u
#define FILE_MODE 0100400u // settings may hold secrets: of root alone

static void put_little(unsigned char *at, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static void put_big(unsigned char *at, uint32_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[bytes - 1 - i] = (unsigned char)(value >> 8 * i);
}

static void put_both(unsigned char *at, uint32_t value, unsigned bytes)
{
    put_little(at, value, bytes);
    put_big(at + bytes, value, bytes);
}

// Fields of text have no end but their length.
static void put_text(unsigned char *at, const char *text)
{
    while (*text)
        *at++ = (unsigned char)*text++;
}

static uint32_t sectors_of(size_t size)
{
    return (uint32_t)((size + ISO9660_SECTOR - 1) / ISO9660_SECTOR);
}

// A directory record (9.1) without what follows its name; returns its length so far, which is even.
static unsigned put_record(unsigned char *at, uint32_t sector, size_t size, bool folder, const char *name,
                           unsigned name_size)
{
    static const unsigned char date[7] = {70, 1, 1, 0, 0, 0, 0}; // 9.1.5
    unsigned length = (RECORD_SIZE + name_size + 1) / 2 * 2;
    put_both(at + 2, sector, 4);
    put_both(at + 10, (uint32_t)size, 4);
    memcpy(at + 18, date, sizeof(date));
    at[25] = folder ? 2 : 0;
    put_both(at + 28, 1, 2); // the volume's number
    at[32] = (unsigned char)name_size;
    memcpy(at + RECORD_SIZE, name, name_size);
    at[0] = (unsigned char)length;
    return length;
}

// Signature, length and version of an entry behind the name (SUSP 4.1).
static unsigned char *begin_entry(unsigned char *at, const char *signature, unsigned size)
{
    memcpy(at, signature, 2);
    at[2] = (unsigned char)size;
    at[3] = 1;
    return at + 4;
}

static unsigned put_mode(unsigned char *at, uint32_t mode)
{
    unsigned char *value = begin_entry(at, "PX", PX_SIZE);
    put_both(value, mode, 4);
    put_both(value + 8, mode == FOLDER_MODE ? 2 : 1, 4); // links; owner and group are 0
    return PX_SIZE;
}

// "." and "..", of the root both. The first one says that names of Rock Ridge are used (SUSP 5.3, 5.5).
static unsigned put_root(unsigned char *at, bool first)
{
    static const unsigned char check[] = {0xbe, 0xef, 0};
    static const char rock_ridge[] = {10, 0, 0, 1, 'R', 'R', 'I', 'P', '_', '1', '9', '9', '1', 'A'};
    unsigned n = put_record(at, ROOT, ISO9660_SECTOR, true, first ? "\0" : "\1", 1);
    if (first) {
        memcpy(begin_entry(at + n, "SP", 4 + sizeof(check)), check, sizeof(check));
        n += 4 + sizeof(check);
        memcpy(begin_entry(at + n, "ER", 4 + sizeof(rock_ridge)), rock_ridge, sizeof(rock_ridge));
        n += 4 + sizeof(rock_ridge);
    }
    n += put_mode(at + n, FOLDER_MODE);
    n += n % 2;
    at[0] = (unsigned char)n;
    return n;
}

static unsigned put_file(unsigned char *at, uint32_t sector, const struct iso9660_file *file)
{
    char plain[ISO9660_NAME_MAXIMUM + 3]; // for who does not know Rock Ridge: capitals, digits and "_" (7.4.1)
    size_t length = strlen(file->name);
    for (size_t i = 0; i < length; i++) {
        char c = file->name[i];
        plain[i] = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        if (c == '-')
            plain[i] = '_';
    }
    put_text((unsigned char *)plain + length, ".;1");
    unsigned n = put_record(at, sector, file->size, false, plain, (unsigned)length + 3);
    n += put_mode(at + n, FILE_MODE);
    unsigned char *value = begin_entry(at + n, "NM", NM_SIZE + (unsigned)length);
    memcpy(value + 1, file->name, length); // behind its flags
    n += NM_SIZE + (unsigned)length;
    n += n % 2;
    at[0] = (unsigned char)n;
    return n;
}

// 8.4
static void put_descriptor(unsigned char *at, const char *label, uint32_t sectors)
{
    put_text(at, "\1CD001\1");
    memset(at + 8, ' ', 64);
    put_text(at + 40, label);
    put_both(at + 80, sectors, 4);
    put_both(at + 120, 1, 2); // of one volume
    put_both(at + 124, 1, 2); // the first
    put_both(at + 128, ISO9660_SECTOR, 2);
    put_both(at + 132, PATH_TABLE_SIZE, 4);
    put_little(at + 140, TABLE_LITTLE, 4);
    put_big(at + 148, TABLE_BIG, 4);
    put_record(at + 156, ROOT, ISO9660_SECTOR, true, "\0", 1);
    memset(at + 190, ' ', 813 - 190); // who made it, and for what
    for (unsigned date = 0; date < 4; date++)
        memset(at + 813 + 17 * date, '0', 16); // 8.4.26.1: not given
    at[881] = 1;
}

int iso9660_write(struct buf *to, const char *label, const struct iso9660_file *files, unsigned count)
{
    unsigned char *image;
    uint32_t sectors = FILES;
    if (count > ISO9660_FILES_MAXIMUM || strlen(label) > 32)
        return -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        if (files[i].size > INT32_MAX || strlen(files[i].name) > ISO9660_NAME_MAXIMUM)
            return -EINVAL;
        sectors += sectors_of(files[i].size);
    }
    int r = buf_reserve(to, (size_t)sectors * ISO9660_SECTOR, &image);
    if (r < 0)
        return r;
    memset(image, 0, (size_t)sectors * ISO9660_SECTOR);
    put_descriptor(image + DESCRIPTOR * ISO9660_SECTOR, label, sectors);
    put_text(image + DESCRIPTOR_END * ISO9660_SECTOR, "\377CD001\1");
    unsigned char *table = image + TABLE_LITTLE * ISO9660_SECTOR; // 9.4: the root alone
    table[0] = 1;
    put_little(table + 2, ROOT, 4);
    put_little(table + 6, 1, 2);
    table += ISO9660_SECTOR;
    table[0] = 1;
    put_big(table + 2, ROOT, 4);
    put_big(table + 6, 1, 2);
    unsigned char *root = image + ROOT * ISO9660_SECTOR; // at most 8 records of at most 33 + 31 + 36 + 33 bytes
    root += put_root(root, true);
    root += put_root(root, false);
    uint32_t sector = FILES;
    for (unsigned i = 0; i < count; i++) {
        root += put_file(root, sector, &files[i]);
        if (files[i].size)
            memcpy(image + (size_t)sector * ISO9660_SECTOR, files[i].bytes, files[i].size);
        sector += sectors_of(files[i].size);
    }
    to->size += (size_t)sectors * ISO9660_SECTOR;
    return 0;
}
