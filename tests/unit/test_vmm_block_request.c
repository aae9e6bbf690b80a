// Requests to a virtio disk, good and bad (virtio 1.2, 5.2.6; TRUST T25), on chains cut in many ways.
#include "base/cursor.h"
#include "base/vector.h"
#include "vmm/block_request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DISK_SIZE (64u * 4096u)
#define SECTORS (DISK_SIZE / BLOCK_SECTOR)
enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, WRITE_ZEROES = 13 };
enum { OK = 0, ERROR = 1, UNSUPPORTED = 2, UNTOUCHED = 0xee };

static unsigned char disk[DISK_SIZE];
static unsigned flushes, discards;
static int fail_with;

static int disk_read(struct block_backend *b, uint64_t offset, const struct iovec *to, size_t n)
{
    (void)b;
    struct vector v = vector_over(to);
    assert_true(offset % BLOCK_SECTOR == 0 && n <= DISK_SIZE && offset <= DISK_SIZE - n);
    vector_copy_to(&v, disk + offset, n);
    return fail_with;
}

static int disk_write(struct block_backend *b, uint64_t offset, const struct iovec *from, size_t n)
{
    struct vector v = vector_over(from);
    assert_true(!b->read_only && offset % BLOCK_SECTOR == 0 && n <= DISK_SIZE && offset <= DISK_SIZE - n);
    if (fail_with == 0)
        vector_copy_from(&v, disk + offset, n);
    return fail_with;
}

static int disk_flush(struct block_backend *b)
{
    (void)b;
    flushes++;
    return fail_with;
}

static int disk_drop(struct block_backend *b, uint64_t offset, uint64_t n)
{
    assert_true(!b->read_only && offset % BLOCK_SECTOR == 0 && n <= DISK_SIZE && offset <= DISK_SIZE - n);
    memset(disk + offset, 0, n);
    discards++;
    return fail_with;
}

static struct block_backend backend = {.read = disk_read,
                                       .write = disk_write,
                                       .flush = disk_flush,
                                       .discard = disk_drop,
                                       .write_zeroes = disk_drop,
                                       .size = DISK_SIZE};
static const unsigned char serial[BLOCK_SERIAL_SIZE] = "rondo-test";

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof disk; i++)
        disk[i] = (unsigned char)(i / BLOCK_SECTOR * 7 + i);
    flushes = discards = 0;
    fail_with = 0;
    backend.read_only = false;
    return 0;
}

// A request in memory: header, data to the device, data from the device, status.
static unsigned char header[16], out[DISK_SIZE + 4096], in[DISK_SIZE + 4096], status;
static struct virtqueue_chain chain;
static struct block_outcome outcome;

static void add(void *bytes, size_t n, size_t piece, bool writable)
{
    for (size_t done = 0; done < n;) {
        size_t part = n - done < piece ? n - done : piece;
        assert_true(chain.readable + chain.writable < VIRTQUEUE_CHAIN_MAXIMUM);
        chain.segments[chain.readable + chain.writable] =
            (struct iovec){.iov_base = (unsigned char *)bytes + done, .iov_len = part};
        *(writable ? &chain.writable : &chain.readable) += 1;
        *(writable ? &chain.writable_bytes : &chain.readable_bytes) += part;
        done += part;
    }
}

// Performs it and returns the status.
static int perform(uint32_t type, uint64_t sector, size_t out_bytes, size_t in_bytes, size_t piece)
{
    memset(&chain, 0, sizeof chain);
    memset(header, 0, sizeof header);
    put_le32(header, type);
    put_le64(header + 8, sector);
    status = UNTOUCHED;
    add(header, sizeof header, piece, false);
    add(out, out_bytes, piece, false);
    add(in, in_bytes, piece, true);
    add(&status, 1, 1, true);
    assert_int_equal(block_request_perform(&backend, serial, &chain, &outcome), 0);
    assert_int_equal(outcome.failed, status != OK);
    return status;
}

static void reads_and_writes_arrive_however_the_chain_is_cut(void **state)
{
    (void)state;
    static const size_t pieces[] = {1u << 20, 4096, 512, 100, 77};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t n = pieces[i] < 512 ? 4 * BLOCK_SECTOR : 20 * BLOCK_SECTOR;
        memset(in, 0, sizeof in);
        assert_int_equal(perform(IN, 9, 0, n, pieces[i]), OK);
        assert_memory_equal(in, disk + 9 * BLOCK_SECTOR, n);
        assert_int_equal(outcome.kind, BLOCK_READ);
        assert_int_equal(outcome.bytes, n);
        assert_int_equal(outcome.written, n + 1);
        for (size_t k = 0; k < n; k++)
            out[k] = (unsigned char)(k * 3 + i);
        assert_int_equal(perform(OUT, 30, n, 0, pieces[i]), OK);
        assert_memory_equal(disk + 30 * BLOCK_SECTOR, out, n);
        assert_int_equal(outcome.written, 1);
    }
}

static void the_whole_disk_and_its_last_sector_can_be_reached(void **state)
{
    (void)state;
    assert_int_equal(perform(IN, 0, 0, DISK_SIZE, 4096), OK);
    assert_int_equal(perform(IN, SECTORS - 1, 0, BLOCK_SECTOR, 4096), OK);
    assert_int_equal(perform(OUT, SECTORS - 1, BLOCK_SECTOR, 0, 4096), OK);
    assert_int_equal(perform(IN, SECTORS, 0, 0, 4096), OK); // nothing, at the very end
}

static void what_lies_outside_or_between_sectors_fails_and_changes_nothing(void **state) // TRUST T25
{
    (void)state;
    static unsigned char before[DISK_SIZE];
    memcpy(before, disk, sizeof before);
    static const struct {
        uint64_t sector;
        size_t bytes;
    } bad[] = {{SECTORS, 512},
               {SECTORS - 1, 1024},
               {SECTORS + 1, 0},
               {UINT64_MAX, 512},
               {UINT64_MAX, 0},
               {UINT64_MAX / 512, 512},
               {UINT64_MAX / 512 + 1, 512},
               {1ull << 55, 512},
               {1ull << 63, 512},
               {0, 511},
               {0, 513},
               {0, 1},
               {0, DISK_SIZE + 512}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(perform(IN, bad[i].sector, 0, bad[i].bytes, 1u << 20), ERROR);
        assert_int_equal(perform(OUT, bad[i].sector, bad[i].bytes, 0, 1u << 20), ERROR);
    }
    assert_memory_equal(disk, before, sizeof before);
}

static void a_read_only_disk_is_not_written(void **state)
{
    (void)state;
    backend.read_only = true;
    assert_int_equal(perform(OUT, 0, 512, 0, 4096), ERROR);
    put_le64(out, 0);
    put_le32(out + 8, 8);
    put_le32(out + 12, 0);
    assert_int_equal(perform(DISCARD, 0, 16, 0, 4096), ERROR);
    assert_int_equal(perform(WRITE_ZEROES, 0, 16, 0, 4096), ERROR);
    assert_int_equal(discards, 0);
    assert_int_equal(perform(FLUSH, 0, 0, 0, 4096), OK);
    assert_int_equal(flushes, 0);
    assert_int_equal(perform(IN, 0, 0, 512, 4096), OK);
}

static void flush_reaches_the_backend_and_its_failure_the_guest(void **state)
{
    (void)state;
    assert_int_equal(perform(FLUSH, 0, 0, 0, 4096), OK);
    assert_int_equal(flushes, 1);
    fail_with = -EIO;
    assert_int_equal(perform(FLUSH, 0, 0, 0, 4096), ERROR);
    assert_int_equal(perform(IN, 0, 0, 512, 4096), ERROR);
    assert_int_equal(outcome.bytes, 0);
    assert_int_equal(perform(OUT, 0, 512, 0, 4096), ERROR);
}

static int ranges(uint32_t type, unsigned count, uint64_t sector, uint32_t sectors, uint32_t flags, size_t piece)
{
    for (unsigned i = 0; i < count; i++) {
        put_le64(out + 16 * i, sector + i * (uint64_t)sectors);
        put_le32(out + 16 * i + 8, sectors);
        put_le32(out + 16 * i + 12, flags);
    }
    return perform(type, 0, 16 * count, 0, piece);
}

static void discards_and_zeroes_take_several_ranges(void **state)
{
    (void)state;
    assert_int_equal(ranges(DISCARD, 3, 8, 8, 0, 5), OK);
    assert_int_equal(discards, 3);
    assert_int_equal(outcome.bytes, 3 * 8 * BLOCK_SECTOR);
    for (size_t i = 8 * BLOCK_SECTOR; i < 32 * BLOCK_SECTOR; i++)
        assert_int_equal(disk[i], 0);
    assert_int_equal(ranges(WRITE_ZEROES, 16, 100, 1, 1, 4096), OK);
    assert_int_equal(discards, 19);
    assert_int_equal(ranges(DISCARD, 1, 8, 0, 0, 4096), OK); // of nothing
    assert_int_equal(discards, 19);
}

static void bad_ranges_are_refused(void **state)
{
    (void)state;
    assert_int_equal(ranges(DISCARD, 17, 0, 1, 0, 4096), ERROR);
    assert_int_equal(perform(DISCARD, 0, 15, 0, 4096), ERROR);
    assert_int_equal(ranges(DISCARD, 1, SECTORS, 1, 0, 4096), ERROR);
    assert_int_equal(ranges(DISCARD, 1, UINT64_MAX - 1, 4, 0, 4096), ERROR);
    assert_int_equal(ranges(DISCARD, 1, 0, UINT32_MAX, 0, 4096), ERROR);
    assert_int_equal(ranges(DISCARD, 1, 0, 8, 1, 4096), UNSUPPORTED); // unmap is for write-zeroes
    assert_int_equal(ranges(WRITE_ZEROES, 1, 0, 8, 2, 4096), UNSUPPORTED);
    assert_int_equal(discards, 0);
}

static void the_serial_is_told_in_as_many_bytes_as_there_are(void **state)
{
    (void)state;
    memset(in, 'x', 40);
    assert_int_equal(perform(GET_ID, 0, 0, 20, 3), OK);
    assert_memory_equal(in, serial, 20);
    assert_int_equal(outcome.written, 21);
    memset(in, 'x', 40);
    assert_int_equal(perform(GET_ID, 0, 0, 5, 4096), OK);
    assert_memory_equal(in, "rondox", 6);
    assert_int_equal(perform(GET_ID, 0, 0, 40, 4096), OK);
    assert_int_equal(in[20], 'x');
    assert_int_equal(outcome.written, 20); // the status lies behind bytes that were not written
}

static void unknown_types_are_unsupported(void **state)
{
    (void)state;
    static const uint32_t types[] = {2, 3, 5, 7, 9, 10, 12, 14, 255, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        assert_int_equal(perform(types[i], 0, 512, 512, 4096), UNSUPPORTED);
}

static void a_chain_without_header_or_status_breaks_the_rules(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof header; n++) {
        memset(&chain, 0, sizeof chain);
        add(header, n, 4096, false);
        add(&status, 1, 1, true);
        assert_int_equal(block_request_perform(&backend, serial, &chain, &outcome), -EPROTO);
    }
    memset(&chain, 0, sizeof chain);
    add(header, sizeof header, 4096, false);
    add(out, 512, 4096, false);
    assert_int_equal(block_request_perform(&backend, serial, &chain, &outcome), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(reads_and_writes_arrive_however_the_chain_is_cut, set_up),
        cmocka_unit_test_setup(the_whole_disk_and_its_last_sector_can_be_reached, set_up),
        cmocka_unit_test_setup(what_lies_outside_or_between_sectors_fails_and_changes_nothing, set_up),
        cmocka_unit_test_setup(a_read_only_disk_is_not_written, set_up),
        cmocka_unit_test_setup(flush_reaches_the_backend_and_its_failure_the_guest, set_up),
        cmocka_unit_test_setup(discards_and_zeroes_take_several_ranges, set_up),
        cmocka_unit_test_setup(bad_ranges_are_refused, set_up),
        cmocka_unit_test_setup(the_serial_is_told_in_as_many_bytes_as_there_are, set_up),
        cmocka_unit_test_setup(unknown_types_are_unsupported, set_up),
        cmocka_unit_test_setup(a_chain_without_header_or_status_breaks_the_rules, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
