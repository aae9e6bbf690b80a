// A disk that loses power. Through the I/O table it sees every file of one folder, and keeps what the next power loss
// may take or leave, as far as POSIX allows a file system to:
//
//   contents   for every 512-byte sector written since the last sync of its file: what it held before, and all that it
//              was given since. It will hold any one of them, independently of all others (torn, reordered, lost).
//   sizes      of a file that was made or cut since its last sync: any that it had
//   names      made, renamed and removed since the last sync of the folder: each of these happened or did not,
//              independently of the others, and of the files' contents; but a rename happens as a whole
//
// At the chosen call the machine dies (crash.die_at): that call and all later ones fail. crash_lose_power then decides;
// without it (the process was killed, and the system goes on) all stays as the calls have left it, and as uncertain as
// it was.
//
// A sync may also fail without a death (crash.fail_at). As Linux does, the file is then clean: what was written is not
// tried again, and a later sync that succeeds says nothing about it.
//
// What other threads do meanwhile, the test does within calls: crash.before_write, crash.behind_sync.
//
// A mutant (enum crash_mutant) is a call that is left out, though the program believes that it was made.
#pragma once

#include "blockstore/overlay_snapshot.h"
#include "overlay_fixture.h"

#include <stdbool.h>
#include <sys/stat.h>

#define CRASH_SECTOR 512u
#define CRASH_SECTORS 16384u // unsynced at once: a hash table
#define CRASH_CONTENTS 120u  // of one sector
#define CRASH_VERSIONS 131072u
#define CRASH_FILES 512u
#define CRASH_SIZES 16u
#define CRASH_NAMES 512u
#define CRASH_DESCRIPTORS 1024

enum crash_mutant {
    CRASH_NO_MUTANT,
    CRASH_NO_DATA_SYNC,     // fdatasync of a layer's data
    CRASH_NO_MAP_SYNC,      // fdatasync of a layer's map
    CRASH_LATE_PUNCH,       // a hole is punched after the next write
    CRASH_LOST_WRITE,       // of the data, now and then
    CRASH_NO_PAIR_SYNC,     // fsync of a new layer's files
    CRASH_NO_NAME_SYNC,     // fsync of the folder before a list that names the new files
    CRASH_NO_LIST_SYNC,     // fsync of the folder after the list was replaced
    CRASH_NO_OPENING_SYNC,  // fsync of the folder, and of the files, when an overlay is opened
    CRASH_NO_SNAPSHOT_SYNC, // fdatasync before a snapshot is taken
    CRASH_NO_LIVE_SYNC,     // the same of an overlay that is open
    CRASH_NO_MERGE_SYNC,    // fdatasync before a merged layer is dropped
    CRASH_NO_MARK,          // the list that marks a snapshot as gone
};

// What the test is doing, for mutants that leave a call out only then.
enum crash_phase {
    CRASH_SERVING,
    CRASH_OPENING,
    CRASH_TAKING,
    CRASH_TAKING_LIVE, // while the overlay serves
    CRASH_ROLLING_BACK,
    CRASH_DELETING
};

struct crash_name {
    char name[64], from[64]; // `from`: a rename
    int file;                // -1: removed
};

static struct {
    struct folder folder, store; // the store has a link to each file, so that what was removed can come back
    enum crash_mutant mutant;
    enum crash_phase phase;
    unsigned long calls, die_at, fail_at; // the sync that fails is the first from call number fail_at on; 0: none
    bool dead, failed;
    void (*before_write)(void); // of data, while an overlay serves requests
    void (*behind_sync)(void);  // of data, before the sync returns
    struct {
        ino_t inode;
        int fd; // -1: not used
        char name[64];
        uint64_t sizes[CRASH_SIZES];
        unsigned size_count;
    } files[CRASH_FILES];
    unsigned file_count;
    int files_by_fd[CRASH_DESCRIPTORS]; // -1: none; -2: the folder
    struct {
        bool used, doomed; // doomed: a sync has failed, and nobody will write it
        int file;
        uint64_t sector;
        unsigned versions[CRASH_CONTENTS], count; // [0] is stable
    } sectors[CRASH_SECTORS];
    unsigned slots[CRASH_SECTORS / 2], slot_count; // those that are used
    unsigned char versions[CRASH_VERSIONS][CRASH_SECTOR];
    unsigned version_count;
    struct crash_name durable[CRASH_NAMES], pending[CRASH_NAMES];
    unsigned durable_count, pending_count;
    struct {
        int file;
        off_t offset, n;
    } late_punch;
    unsigned long lists, data_writes; // for CRASH_NO_MARK and CRASH_LOST_WRITE
} crash;

static inline void crash_store_name(int file, char name[static 16])
{
    snprintf(name, 16, "%d", file);
}

// The number of an open file, which is entered if it is not known yet; `made`: it is empty on the disk.
static inline int crash_enter(int fd, const char *name, bool made)
{
    struct stat st;
    char stored[16];
    assert_int_equal(fstat(fd, &st), 0);
    for (unsigned i = 0; i < crash.file_count; i++)
        if (crash.files[i].inode == st.st_ino)
            return (int)i;
    assert_true(crash.file_count < CRASH_FILES);
    int file = (int)crash.file_count++;
    crash.files[file].inode = st.st_ino;
    crash.files[file].sizes[0] = (uint64_t)st.st_size;
    crash.files[file].size_count = 1;
    snprintf(crash.files[file].name, sizeof crash.files[file].name, "%s", name);
    crash_store_name(file, stored);
    assert_int_equal(linkat(crash.folder.fd, name, crash.store.fd, stored, 0), 0);
    crash.files[file].fd = openat(crash.store.fd, stored, O_RDWR | O_CLOEXEC);
    assert_true(crash.files[file].fd >= 0);
    if (!made) {
        assert_true(crash.durable_count < CRASH_NAMES);
        struct crash_name *entry = &crash.durable[crash.durable_count++];
        snprintf(entry->name, sizeof entry->name, "%s", name);
        entry->file = file;
    }
    return file;
}

// Makes `now` an entry of the folder, as the disk has it.
static inline void crash_apply(const struct crash_name *now)
{
    for (unsigned i = 0; i < crash.durable_count;) {
        if (strcmp(crash.durable[i].name, now->name) == 0 || strcmp(crash.durable[i].name, now->from) == 0)
            crash.durable[i] = crash.durable[--crash.durable_count];
        else
            i++;
    }
    if (now->file >= 0)
        crash.durable[crash.durable_count++] = *now;
}

static inline void crash_note_name(const char *name, const char *from, int file)
{
    assert_true(crash.pending_count < CRASH_NAMES && crash.durable_count + crash.pending_count < CRASH_NAMES);
    struct crash_name *entry = &crash.pending[crash.pending_count++];
    snprintf(entry->name, sizeof entry->name, "%s", name);
    snprintf(entry->from, sizeof entry->from, "%s", from);
    entry->file = file;
}

static inline unsigned crash_slot(int file, uint64_t sector)
{
    unsigned i = (unsigned)((sector * CRASH_FILES + (unsigned)file) * UINT64_C(0x9e3779b97f4a7c15) >> 40);
    for (i %= CRASH_SECTORS; crash.sectors[i].used; i = (i + 1) % CRASH_SECTORS)
        if (crash.sectors[i].file == file && crash.sectors[i].sector == sector)
            return i;
    assert_true(crash.slot_count < CRASH_SECTORS / 2);
    crash.slots[crash.slot_count++] = i;
    crash.sectors[i].used = true;
    crash.sectors[i].doomed = false;
    crash.sectors[i].file = file;
    crash.sectors[i].sector = sector;
    crash.sectors[i].count = 0;
    return i;
}

// The sector's content, as the file has it now, becomes one that it may have after the power loss.
static inline void crash_record(int file, off_t offset, size_t n, bool before)
{
    for (uint64_t s = (uint64_t)offset / CRASH_SECTOR; n > 0 && s <= ((uint64_t)offset + n - 1) / CRASH_SECTOR; s++) {
        unsigned i = crash_slot(file, s);
        if (before && crash.sectors[i].count > 0)
            continue;
        assert_true(crash.version_count < CRASH_VERSIONS && crash.sectors[i].count < CRASH_CONTENTS);
        unsigned char *bytes = crash.versions[crash.version_count];
        memset(bytes, 0, CRASH_SECTOR);
        assert_true(pread(crash.files[file].fd, bytes, CRASH_SECTOR, (off_t)(s * CRASH_SECTOR)) >= 0);
        crash.sectors[i].versions[crash.sectors[i].count++] = crash.version_count++;
        crash.sectors[i].doomed = false;
    }
}

static inline void crash_note_size(int file)
{
    struct stat st;
    assert_int_equal(fstat(crash.files[file].fd, &st), 0);
    if ((uint64_t)st.st_size != crash.files[file].sizes[crash.files[file].size_count - 1]) {
        assert_true(crash.files[file].size_count < CRASH_SIZES);
        crash.files[file].sizes[crash.files[file].size_count++] = (uint64_t)st.st_size;
    }
}

static inline void crash_make_stable(int file)
{
    for (unsigned i = 0; i < crash.slot_count; i++)
        if (crash.sectors[crash.slots[i]].file == file && !crash.sectors[crash.slots[i]].doomed)
            crash.sectors[crash.slots[i]].count = 0;
    crash.files[file].sizes[0] = crash.files[file].sizes[crash.files[file].size_count - 1];
    crash.files[file].size_count = 1;
}

static inline bool crash_is_dead(void)
{
    if (crash.dead)
        errno = EIO;
    return crash.dead;
}

// Counts a call; true if the machine dies in it.
static inline bool crash_dies(void)
{
    if (!crash.dead && ++crash.calls == crash.die_at)
        crash.dead = true;
    return crash_is_dead();
}

static inline int crash_file_of(int fd)
{
    assert_in_range(fd, 0, CRASH_DESCRIPTORS - 1);
    assert_int_not_equal(crash.files_by_fd[fd], -1);
    return crash.files_by_fd[fd];
}

static inline bool crash_is(int file, const char *suffix)
{
    const char *dot = strrchr(crash.files[file].name, '.');
    return dot && strcmp(dot, suffix) == 0;
}

static inline int crash_find(const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(crash.folder.fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
    for (unsigned i = 0; i < crash.file_count; i++)
        if (crash.files[i].inode == st.st_ino)
            return (int)i;
    int fd = openat(crash.folder.fd, name, O_RDONLY | O_CLOEXEC);
    int file = crash_enter(fd, name, false);
    close(fd);
    return file;
}

// Goes on with the folder as it is, all of it stable.
static inline void crash_start(void)
{
    for (unsigned i = 0; i < crash.file_count; i++)
        close(crash.files[i].fd);
    folder_empty(&crash.store);
    for (unsigned i = 0; i < crash.slot_count; i++)
        crash.sectors[crash.slots[i]].used = false;
    crash.file_count = crash.durable_count = crash.pending_count = crash.slot_count = crash.version_count = 0;
    DIR *d = fdopendir(openat(crash.folder.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    const struct dirent *entry;
    while ((entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)crash_find(entry->d_name);
    closedir(d);
}

// What the disk has when the machine is switched on again.
static inline void crash_lose_power(struct random_numbers *r)
{
    uint64_t moods[CRASH_FILES]; // of a file: all old, all new, any
    for (unsigned f = 0; f < crash.file_count; f++)
        moods[f] = random_below(r, 4);
    for (unsigned i = 0; i < crash.slot_count; i++) {
        unsigned slot = crash.slots[i], count = crash.sectors[slot].count;
        int file = crash.sectors[slot].file;
        if (count == 0)
            continue;
        unsigned chosen = moods[file] == 0 ? 0 : moods[file] == 1 ? count - 1 : (unsigned)random_below(r, count);
        assert_int_equal(pwrite(crash.files[file].fd, crash.versions[crash.sectors[slot].versions[chosen]],
                                CRASH_SECTOR, (off_t)(crash.sectors[slot].sector * CRASH_SECTOR)),
                         CRASH_SECTOR);
    }
    for (unsigned f = 0; f < crash.file_count; f++) {
        unsigned count = crash.files[f].size_count;
        unsigned chosen = moods[f] == 0 ? 0 : moods[f] == 1 ? count - 1 : (unsigned)random_below(r, count);
        assert_int_equal(ftruncate(crash.files[f].fd, (off_t)crash.files[f].sizes[chosen]), 0);
    }
    uint64_t mood = random_below(r, 4); // of the folder: a beginning of all that happened, or any of it
    uint64_t until = random_below(r, crash.pending_count + 1);
    for (unsigned i = 0; i < crash.pending_count; i++)
        if (mood < 2 ? i < until : random_below(r, 2) == 0)
            crash_apply(&crash.pending[i]);
    folder_empty(&crash.folder);
    for (unsigned i = 0; i < crash.durable_count; i++) {
        char stored[16];
        crash_store_name(crash.durable[i].file, stored);
        assert_int_equal(linkat(crash.store.fd, stored, crash.folder.fd, crash.durable[i].name, 0), 0);
    }
    crash_start();
}

// The machine is on; it dies in call number `die_at`, if no sync has failed before.
static inline void crash_begin_life(unsigned long die_at, unsigned long fail_at)
{
    crash.fail_at = fail_at;
    crash.failed = false;
    crash.calls = crash.lists = 0;
    crash.die_at = die_at;
    crash.dead = false;
    crash.late_punch.n = 0;
    for (int i = 0; i < CRASH_DESCRIPTORS; i++)
        crash.files_by_fd[i] = -1;
}
