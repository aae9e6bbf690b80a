// The writer when things go wrong: every call of the I/O table fails in turn, or the process is killed at it; the disk
// is full; what an earlier run left is damaged. Each time the site is whole, and the same command, run again, ends with
// the same site as if nothing had happened.
#include "writer_fixture.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

// A few chunks in one pack; or three packs, of which the first two are finished while the rest is still being read.
static int make_image(struct fixture *f, bool big)
{
    int disk = image_open(f, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE);

    image_fill(disk, 5, 100, 1, 1);
    if (big)
        image_fill(disk, 1000, 4300, 1002, 2);
    image_fill(disk, SEGMENT_BLOCKS + 9, 60, 51, 1);
    return disk;
}

// Reads some blocks of both segments, small ones and large ones; of the big image, so many that they need two packs.
static struct profile *make_boot(bool big)
{
    struct profile *p = profile_new();
    unsigned disk;

    assert_non_null(p);
    assert_int_equal(profile_add_member(p, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE, &disk), 0);
    assert_int_equal(profile_add_read(p, disk, SEGMENT_BLOCKS + 20, 30), 0);
    assert_int_equal(profile_add_read(p, disk, 10, 40), 0);
    if (big)
        assert_int_equal(profile_add_read(p, disk, 2000, 700), 0);
    return p;
}

static struct publication undisturbed(struct fixture *f, int fds[], const struct profile *boot,
                                      unsigned extents_until_cut)
{
    struct publication p = {
        .site = f->other_site, .fds = fds, .threads = 2, .boot = boot, .extents_until_cut = extents_until_cut};

    publish_well(&p);
    assert_published(&p);
    return p;
}

static void assert_recovers(struct fixture *f, const struct publication *reference, struct publication *p,
                            unsigned long at)
{
    assert_site_is_sound(f->site);
    if (publish(p) < 0)
        fail_msg("after a failure at call %lu: %s", at, p->error.text);
    assert_same_objects(f->site, f->other_site);
    assert_true(sha256_equal(&p->name, &reference->name));
    assert_no_leftovers(f->site);
}

static void fail_each_call(struct fixture *f, bool big, bool with_boot, unsigned long step)
{
    int fds[] = {make_image(f, big), -1};
    struct profile *boot CLEANUP(cleanup_profile) = with_boot ? make_boot(big) : NULL;
    struct publication reference = undisturbed(f, fds, boot, 0);
    struct publication p = {.site = f->site, .fds = fds, .threads = 2, .boot = boot};
    unsigned failures = 0;

    io_fault_start(0, EIO, false);
    publish_well(&p);
    unsigned long calls = io_fault_stop();
    assert_true(calls > 50);
    for (unsigned long at = 1; at <= calls; at += step) {
        remove_tree(f->site);
        io_fault_start(at, EIO, false);
        int r = publish(&p);
        io_fault_stop();
        assert_true(r < 0 || p.error.text[0] == '\0');
        assert_true(r == 0 || p.error.text[0] != '\0');
        failures += r < 0;
        assert_recovers(f, &reference, &p, at);
    }
    assert_true(failures > calls / step / 2);
    close(fds[0]);
}

static void each_failing_call_is_survived(void **state)
{
    fail_each_call(*state, false, false, 1);
}

static void every_second_failing_call_for_a_boot_set_is_survived(void **state)
{
    fail_each_call(*state, false, true, 2);
}

static void failing_calls_among_many_packs_are_survived(void **state)
{
    fail_each_call(*state, true, true, 37);
}

// --- a full disk -----------------------------------------------------------------------------------------------------

static atomic_ulong writes;
static unsigned long full_from; // this write, and all later ones, find no space

static bool disk_is_full(void)
{
    errno = ENOSPC;
    return atomic_fetch_add(&writes, 1) + 1 >= full_from;
}

static ssize_t full_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    return disk_is_full() ? -1 : io_table_system.pwrite(fd, from, n, offset);
}

static int full_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return disk_is_full() ? -1 : io_table_system.fallocate(fd, mode, offset, length);
}

static int full_mkdirat(int dir, const char *path, mode_t mode)
{
    if (dir == AT_FDCWD) // the site's own folder
        return io_table_system.mkdirat(dir, path, mode);
    return disk_is_full() ? -1 : io_table_system.mkdirat(dir, path, mode);
}

static void a_full_disk_is_reported_as_such(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_image(f, false), -1};
    struct publication reference = undisturbed(f, fds, NULL, 0), p = {.site = f->site, .fds = fds, .threads = 2};
    struct io_table table = io_table_system;
    int r = -ENOSPC;

    table.pwrite = full_pwrite;
    table.fallocate = full_fallocate;
    table.mkdirat = full_mkdirat;
    for (full_from = 1; r < 0; full_from++) {
        atomic_store(&writes, 0);
        io = &table;
        r = publish(&p);
        io = &io_table_system;
        if (r < 0) {
            assert_int_equal(r, -ENOSPC);
            assert_int_equal(error_exit_code(r), EXIT_CODE_NO_SPACE);
            if (!strstr(p.error.text, "make room and run the same command again"))
                fail_msg("%s", p.error.text);
        }
        assert_recovers(f, &reference, &p, full_from);
        remove_tree(f->site);
    }
    assert_true(full_from > 15);
    close(fds[0]);
}

// --- being killed ----------------------------------------------------------------------------------------------------

static atomic_ulong ticks;
static unsigned long kill_at;

static void tick(void)
{
    if (atomic_fetch_add(&ticks, 1) + 1 == kill_at)
        raise(SIGKILL);
}

static int killing_openat(int dir, const char *path, int flags, mode_t mode)
{
    tick();
    return io_table_system.openat(dir, path, flags, mode);
}
static ssize_t killing_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    tick();
    // Half of it is written when the end comes.
    if (atomic_load(&ticks) + 1 == kill_at && n > 1)
        n /= 2;
    return io_table_system.pwrite(fd, from, n, offset);
}
static int killing_fsync(int fd)
{
    tick();
    return io_table_system.fsync(fd);
}
static int killing_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    tick();
    return io_table_system.renameat(from_dir, from, to_dir, to);
}
static int killing_unlinkat(int dir, const char *path, int flags)
{
    tick();
    return io_table_system.unlinkat(dir, path, flags);
}
static int killing_mkdirat(int dir, const char *path, mode_t mode)
{
    tick();
    return io_table_system.mkdirat(dir, path, mode);
}

// Publishes in a process that is killed at the given call; false if it ended before.
static bool publish_and_die(struct publication *p, unsigned long at)
{
    static struct io_table table;
    int status;

    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        kill_at = at;
        table = io_table_system;
        table.openat = killing_openat;
        table.pwrite = killing_pwrite;
        table.fsync = killing_fsync;
        table.renameat = killing_renameat;
        table.unlinkat = killing_unlinkat;
        table.mkdirat = killing_mkdirat;
        io = &table;
        _exit(publish(p) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
                (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
}

static void kill_at_each_call(struct fixture *f, bool big, bool with_boot, unsigned long step,
                              unsigned extents_until_cut)
{
    int fds[] = {make_image(f, big), -1};
    struct profile *boot CLEANUP(cleanup_profile) = with_boot ? make_boot(big) : NULL;
    struct publication reference = undisturbed(f, fds, boot, extents_until_cut);
    struct publication p = {
        .site = f->site, .fds = fds, .threads = 2, .boot = boot, .extents_until_cut = extents_until_cut};
    uint64_t known = 0;

    for (unsigned long at = 1; publish_and_die(&p, at); at += step) {
        assert_recovers(f, &reference, &p, at);
        known += p.counts.known_blocks;
        remove_tree(f->site);
    }
    if (big) // finished packs were taken up again, not made again
        assert_true(known > 4000);
    close(fds[0]);
}

static void being_killed_at_any_call_is_survived(void **state)
{
    kill_at_each_call(*state, false, false, 1, 0);
}

static void being_killed_among_many_packs_is_survived(void **state)
{
    kill_at_each_call(*state, true, false, 29, 0);
}

static void being_killed_at_every_second_call_for_a_boot_set_is_survived(void **state)
{
    kill_at_each_call(*state, false, true, 2, 0);
}

static void being_killed_among_many_boot_packs_is_survived(void **state)
{
    kill_at_each_call(*state, true, true, 29, 0);
}

static void being_killed_after_packs_were_closed_early_is_survived(void **state)
{
    kill_at_each_call(*state, false, false, 1, 3);
}

// --- what earlier runs left ------------------------------------------------------------------------------------------

// Publishes but for the manifest, as a run that was interrupted at its end would.
static void publish_unfinished(struct fixture *f, int fd)
{
    struct writer_options options = {.site = f->site, .image = "img", .level = 1};
    struct manifest_member member;
    struct writer_counts counts;
    struct writer *w;

    assert_int_equal(writer_open(&options, &w, NULL), 0);
    assert_int_equal(writer_add_member(w, "disk", fd, &member, NULL), 0);
    assert_int_equal(writer_finish(w, &counts, NULL), 0);
    writer_close(w);
}

static void append_to_list(struct fixture *f, const char *text)
{
    char path[300];

    snprintf(path, sizeof(path), "%s/.unfinished/img", f->site);
    int fd = open(path, O_WRONLY | O_APPEND);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void finished_packs_are_taken_up_again(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_image(f, false), -1};
    struct publication reference = undisturbed(f, fds, NULL, 0), p = {.site = f->site, .fds = fds};
    publish_unfinished(f, fds[0]);
    assert_recovers(f, &reference, &p, 0);
    assert_int_equal(p.counts.packs, 0);
    assert_int_equal(p.counts.new_blocks, 0);
    close(fds[0]);
}

static int cancel_unfinished(void *context, const char *what, uint64_t done, uint64_t all)
{
    if (strcmp(what, "unfinished packs") != 0)
        return 0;
    assert_true(done > 0 && done <= all);
    *(unsigned *)context += 1;
    return 1;
}

// To read them may take long.
static void taking_up_packs_again_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    unsigned calls = 0;
    int fds[] = {make_image(f, false), -1};
    struct publication reference = undisturbed(f, fds, NULL, 0);
    struct publication p = {.site = f->site, .fds = fds, .progress = cancel_unfinished, .context = &calls};

    publish_unfinished(f, fds[0]);
    assert_int_equal(publish(&p), -ECANCELED);
    assert_int_equal(calls, 1);
    p.progress = NULL;
    assert_recovers(f, &reference, &p, 0);
    assert_int_equal(p.counts.packs, 0);
    close(fds[0]);
}

static ino_t synced[1000];
static atomic_uint synced_count;

static int noting_fsync(int fd)
{
    struct stat st;
    unsigned n = atomic_fetch_add(&synced_count, 1);

    assert_true(n < ARRAY_SIZE(synced));
    assert_int_equal(fstat(fd, &st), 0);
    synced[n] = st.st_ino;
    return io_table_system.fsync(fd);
}

static void assert_synced(const char *folder)
{
    struct stat st;
    unsigned i = 0;

    assert_int_equal(stat(folder, &st), 0);
    while (i < atomic_load(&synced_count) && synced[i] != st.st_ino)
        i++;
    if (i == atomic_load(&synced_count))
        fail_msg("%s was not synced", folder);
}

// A writer that is killed behind a rename or mkdir and before the sync leaves what looks finished, and may be gone
// after a loss of power. So whoever refers to it syncs it.
static void names_that_an_interrupted_writer_gave_are_synced(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_image(f, true), -1};
    struct publication p = {.site = f->site, .fds = fds};
    struct io_table table = io_table_system;
    char path[300];

    publish_unfinished(f, fds[0]);
    struct object_list list = list_objects(f->site);
    table.fsync = noting_fsync;
    atomic_store(&synced_count, 0);
    io = &table;
    publish_well(&p);
    io = &io_table_system;
    assert_int_equal(p.counts.packs, 0);
    assert_synced(f->site);
    snprintf(path, sizeof(path), "%s/objects", f->site);
    assert_synced(path);
    assert_true(list.count >= 3);
    for (size_t i = 0; i < list.count; i++) {
        snprintf(path, sizeof(path), "%s/objects/%.2s", f->site, list.names[i]);
        assert_synced(path);
    }
    free(list.names);
    close(fds[0]);
}

// Every call fails in turn while an interrupted publication is taken up again.
static void failing_calls_while_packs_are_taken_up_again_are_survived(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_image(f, false), -1};
    struct publication reference = undisturbed(f, fds, NULL, 0), p = {.site = f->site, .fds = fds};
    bool ended = false;

    for (unsigned long at = 1; !ended; at++) {
        publish_unfinished(f, fds[0]);
        io_fault_start(at, ENOSPC, false);
        int r = publish(&p);
        ended = io_fault_stop() < at;
        assert_true(r == 0 || p.error.text[0] != '\0');
        assert_recovers(f, &reference, &p, at);
        remove_tree(f->site);
    }
    close(fds[0]);
}

static void a_list_that_was_cut_short_is_used_as_far_as_it_goes(void **state)
{
    static const char *const ends[] = {"0123", "x\n", "\n", "\x01\x02\n"};
    struct fixture *f = *state;
    int fds[] = {make_image(f, false), -1};
    struct publication reference = undisturbed(f, fds, NULL, 0), p = {.site = f->site, .fds = fds};
    for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
        publish_unfinished(f, fds[0]);
        append_to_list(f, ends[i]);
        // Interrupted once more: what is listed then must not stand behind the garbage.
        image_put(fds[0], 300, 999);
        publish_unfinished(f, fds[0]);
        image_put(fds[0], 300, 0);
        publish_well(&p);
        assert_int_equal(p.counts.packs, 0);
        assert_true(sha256_equal(&p.name, &reference.name));
        assert_published(&p);
        assert_no_leftovers(f->site);
        remove_tree(f->site);
    }
    close(fds[0]);
}

static void listed_packs_that_are_gone_or_damaged_are_made_again(void **state)
{
    struct fixture *f = *state;
    int fds[] = {make_image(f, false), -1};
    struct publication reference = undisturbed(f, fds, NULL, 0), p = {.site = f->site, .fds = fds};
    for (unsigned damage = 0; damage < 4; damage++) {
        publish_unfinished(f, fds[0]);
        struct object_list list = list_objects(f->site);
        assert_true(list.count >= 3);
        for (size_t i = 0; i < list.count; i++) {
            char path[400];
            unsigned char byte;
            snprintf(path, sizeof(path), "%s/objects/%.2s/%s", f->site, list.names[i], list.names[i]);
            int fd = open(path, O_RDWR);
            assert_true(fd >= 0);
            if (damage == 0) {
                assert_int_equal(unlink(path), 0);
            } else if (damage == 1) {
                assert_int_equal(pread(fd, &byte, 1, 100), 1);
                byte ^= 4;
                assert_int_equal(pwrite(fd, &byte, 1, 100), 1);
            } else {
                assert_int_equal(ftruncate(fd, damage == 2 ? 0 : 3000), 0);
            }
            close(fd);
        }
        free(list.names);
        publish_well(&p);
        assert_same_objects(f->site, f->other_site);
        assert_true(sha256_equal(&p.name, &reference.name));
        assert_published(&p);
        remove_tree(f->site);
    }
    close(fds[0]);
}

static void temporaries_of_a_killed_writer_are_swept(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct writer_options options = {.site = f->site, .image = "img"};
    struct writer *w;
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    writer_close(w);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%s/.unfinished/" IO_TEMPORARY_PREFIX "%016u", f->site, i);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    assert_int_equal(writer_open(&options, &w, NULL), 0);
    writer_close(w);
    assert_no_leftovers(f->site);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_failing_call_is_survived),
        TEST(every_second_failing_call_for_a_boot_set_is_survived),
        TEST(failing_calls_among_many_packs_are_survived),
        TEST(a_full_disk_is_reported_as_such),
        TEST(being_killed_at_any_call_is_survived),
        TEST(being_killed_among_many_packs_is_survived),
        TEST(being_killed_at_every_second_call_for_a_boot_set_is_survived),
        TEST(being_killed_among_many_boot_packs_is_survived),
        TEST(being_killed_after_packs_were_closed_early_is_survived),
        TEST(finished_packs_are_taken_up_again),
        TEST(taking_up_packs_again_can_be_cancelled),
        TEST(names_that_an_interrupted_writer_gave_are_synced),
        TEST(failing_calls_while_packs_are_taken_up_again_are_survived),
        TEST(a_list_that_was_cut_short_is_used_as_far_as_it_goes),
        TEST(listed_packs_that_are_gone_or_damaged_are_made_again),
        TEST(temporaries_of_a_killed_writer_are_swept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
