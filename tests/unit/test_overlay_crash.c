// A simulator of power loss. The overlay's I/O goes through a table that keeps, for every 512-byte sector written since
// the last fdatasync of its file, what the disk had before and every content it was given since. At a chosen call the
// machine dies: that call and all later ones fail. Then each unsynced sector gets any one of its contents,
// independently of all others: writes are torn, reordered, half lost. The overlay is opened again, and the oracle says
// whether it holds what it may. (A map bit that points at data which never reached the disk shows as a content that
// nobody wrote.)
//
// RONDO_TEST_LONG: 12,000 crashes instead of 2,400.
#include "overlay_oracle.h"

#include <sys/stat.h>

enum file { DATA, MAP, FILES };

#define SECTORS 512u // that may be unsynced at once: a hash table, half full at most
#define CONTENTS 64u // of one sector, not yet synced
#define VERSIONS 16384u

static struct {
    int fds[FILES];
    unsigned long calls, die_at;
    bool dead, lying; // lying: an fdatasync of the data that does nothing
    struct {
        bool used;
        enum file file;
        uint64_t sector;
        unsigned versions[CONTENTS], count; // [0] is stable
    } sectors[SECTORS];
    unsigned char versions[VERSIONS][SECTOR];
    unsigned version_count;
} disk;

static void forget(enum file file)
{
    for (unsigned i = 0; i < SECTORS; i++)
        if (disk.sectors[i].used && disk.sectors[i].file == file)
            disk.sectors[i].count = 0;
}

static unsigned slot_of(enum file file, uint64_t sector)
{
    unsigned i = (unsigned)((sector * 2 + file) * UINT64_C(0x9e3779b97f4a7c15) >> 51) % SECTORS;
    while (disk.sectors[i].used && (disk.sectors[i].file != file || disk.sectors[i].sector != sector))
        i = (i + 1) % SECTORS;
    disk.sectors[i].used = true;
    disk.sectors[i].file = file;
    disk.sectors[i].sector = sector;
    return i;
}

// The sector's content, as the file has it now, becomes one that it may have after the crash.
static void record(enum file file, uint64_t sector)
{
    unsigned i = slot_of(file, sector);
    assert_true(disk.version_count < VERSIONS && disk.sectors[i].count < CONTENTS);
    unsigned char *bytes = disk.versions[disk.version_count];
    assert_int_equal(io_table_system.pread(disk.fds[file], bytes, SECTOR, (off_t)(sector * SECTOR)), SECTOR);
    disk.sectors[i].versions[disk.sectors[i].count++] = disk.version_count++;
}

static void record_range(enum file file, off_t offset, size_t n, bool before)
{
    if (n == 0)
        return;
    for (uint64_t s = (uint64_t)offset / SECTOR; s <= ((uint64_t)offset + n - 1) / SECTOR; s++)
        if (!before || disk.sectors[slot_of(file, s)].count == 0)
            record(file, s);
}

static enum file file_of(int fd)
{
    return fd == disk.fds[DATA] ? DATA : fd == disk.fds[MAP] ? MAP : FILES;
}

// Counts a call; true if the machine is dead, or dies in it.
static bool dies(void)
{
    if (!disk.dead && ++disk.calls == disk.die_at)
        disk.dead = true;
    if (disk.dead)
        errno = EIO;
    return disk.dead;
}

static int crash_openat(int dir, const char *path, int flags, mode_t mode)
{
    int fd = io_table_system.openat(dir, path, flags, mode);
    if (strcmp(path, "disk.data") == 0)
        disk.fds[DATA] = fd;
    else if (strcmp(path, "disk.map") == 0)
        disk.fds[MAP] = fd;
    return fd;
}

static ssize_t crash_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    enum file file = file_of(fd);
    assert_int_not_equal(file, FILES);
    if (disk.dead) {
        errno = EIO;
        return -1;
    }
    record_range(file, offset, n, true);
    ssize_t r = io_table_system.pwrite(fd, from, n, offset);
    assert_int_equal(r, n);
    record_range(file, offset, n, false);
    return dies() ? -1 : r;
}

static int crash_fallocate(int fd, int mode, off_t offset, off_t n)
{
    enum file file = file_of(fd);
    if (disk.dead) {
        errno = EIO;
        return -1;
    }
    if (mode != 0)
        record_range(file, offset, (size_t)n, true);
    int r = io_table_system.fallocate(fd, mode, offset, n);
    if (mode != 0)
        record_range(file, offset, (size_t)n, false);
    return dies() ? -1 : r;
}

static int crash_fdatasync(int fd)
{
    if (dies())
        return -1;
    enum file file = file_of(fd);
    if (!disk.lying || file != DATA)
        forget(file);
    return 0;
}

// What the disk has when the machine is switched on again.
static void lose_power(struct random_numbers *r, const struct folder *f)
{
    static const char *const names[] = {"disk.data", "disk.map"};
    int fds[FILES];
    for (int i = 0; i < FILES; i++)
        assert_true((fds[i] = openat(f->fd, names[i], O_RDWR | O_CLOEXEC)) >= 0);
    uint64_t mood[FILES] = {random_below(r, 4), random_below(r, 4)}; // of a file: all old, all new, any
    for (unsigned i = 0; i < SECTORS; i++) {
        unsigned count = disk.sectors[i].used ? disk.sectors[i].count : 0;
        if (count == 0)
            continue;
        enum file file = disk.sectors[i].file;
        unsigned chosen = mood[file] == 0 ? 0 : mood[file] == 1 ? count - 1 : (unsigned)random_below(r, count);
        assert_int_equal(pwrite(fds[file], disk.versions[disk.sectors[i].versions[chosen]], SECTOR,
                                (off_t)(disk.sectors[i].sector * SECTOR)),
                         SECTOR);
    }
    close(fds[DATA]);
    close(fds[MAP]);
    memset(disk.sectors, 0, sizeof disk.sectors);
    disk.version_count = 0;
}

static struct folder folder;
static struct oracle oracle;

static void run_until_death(struct random_numbers *r, bool write_through)
{
    struct overlay *o = open_overlay(&folder, ORACLE_BASE_SIZE);
    overlay_set_write_through(o, write_through);
    struct oracle_request q;
    for (int i = 0; i < 40 && !disk.dead; i++) {
        oracle_choose(r, &q);
        assert_true(oracle_expect(&oracle, &q));
        int result = oracle_perform(o, &q);
        assert_true(result == 0 || disk.dead);
        // A request that needed no call when the machine was dead already was never made.
        if (result == 0 && !disk.dead && (q.kind == ORACLE_FLUSH || write_through))
            oracle_flushed(&oracle);
    }
    disk.dead = true; // it may also die at rest
    overlay_close(o, NULL);
}

// Returns how many sectors were wrong after the crashes.
static unsigned long crash(unsigned long times, uint64_t seed, bool lying, bool write_through)
{
    struct io_table table = io_table_system;
    table.openat = crash_openat;
    table.pwrite = crash_pwrite;
    table.fallocate = crash_fallocate;
    table.fdatasync = crash_fdatasync;
    struct random_numbers r = {.state = seed};
    unsigned long wrong = 0;
    for (unsigned long i = 0; i < times; i++) {
        if (i % 3 == 0) { // each overlay lives through three crashes
            folder_empty(&folder);
            make_overlay(&folder, ORACLE_DISK_SIZE);
            oracle_start(&oracle);
        }
        disk.calls = 0;
        disk.die_at = 1 + random_below(&r, 110);
        disk.dead = false;
        disk.lying = lying;
        io = &table;
        run_until_death(&r, write_through);
        io = &io_table_system;
        lose_power(&r, &folder);
        struct overlay *o = open_overlay(&folder, ORACLE_BASE_SIZE);
        unsigned bad = oracle_check(&oracle, o);
        if (bad > 0 && !lying)
            fprintf(stderr, "# crash %lu at call %lu: %u wrong sectors\n", i, disk.die_at, bad);
        wrong += bad;
        close_overlay(o);
    }
    return wrong;
}

static int set_up(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io = &io_table_system;
    folder_remove(&folder);
    return 0;
}

static unsigned long crashes(void)
{
    return getenv("RONDO_TEST_LONG") ? 12000 : 2400;
}

static void a_crash_at_any_call_keeps_what_was_flushed(void **state) // rules 1 to 3, TRUST T18
{
    (void)state;
    assert_int_equal(crash(crashes(), test_seed("crashes"), false, false), 0);
}

static void with_write_through_every_acknowledged_write_survives(void **state) // rule 6
{
    (void)state;
    assert_int_equal(crash(crashes() / 4, test_seed("crashes with write-through"), false, true), 0);
}

static void the_simulator_notices_a_disk_that_lies(void **state)
{
    (void)state;
    assert_int_not_equal(crash(200, test_seed("a lying disk"), true, false), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_crash_at_any_call_keeps_what_was_flushed),
        TEST(with_write_through_every_acknowledged_write_survives),
        TEST(the_simulator_notices_a_disk_that_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
