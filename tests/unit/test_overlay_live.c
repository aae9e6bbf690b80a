// Snapshots of an overlay that is open: what it and each of them hold, while threads write; what is refused, and that a
// failure at any call leaves the disk going on, with all that was flushed.
#include "snapshot_fixture.h"

#include "base/log.h"

#include <pthread.h>

#define SIZE (UINT64_C(80) << 20) // two map pages
#define BASE_SIZE (SIZE / 2 + 1234)
#define MAP_BORDER (UINT64_C(64) << 20)

static int set_up(void **state)
{
    folder_set_up(state);
    make_overlay(&folder, SIZE);
    return 0;
}

static void take(struct overlay *o, const char *label)
{
    char given[OVERLAY_LABEL_SIZE];
    struct error error = {.text = ""};
    int r = take_live(&folder, o, label, given, &error);
    if (r != 0)
        fail_msg("%s: %d: %s", label, r, error.text);
    assert_string_equal(given, label);
}

static void fill(struct overlay *o, uint64_t offset, size_t n, int value)
{
    unsigned char bytes[4 * BLOCK];
    memset(bytes, value, n);
    assert_int_equal(overlay_write(o, offset, bytes, n), 0);
}

// `value` −1: as the base has it.
static void assert_holds(struct overlay *o, uint64_t offset, size_t n, int value)
{
    unsigned char bytes[4 * BLOCK];
    assert_int_equal(overlay_read(o, offset, bytes, n), 0);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != (value < 0 ? fresh_at(BASE_SIZE, offset + i) : value))
            fail_msg("byte %zu at offset %llu is %d", i, (unsigned long long)offset, bytes[i]);
}

static void assert_snapshot_holds(const char *label, uint64_t offset, size_t n, int value)
{
    struct overlay *o = open_snapshot(&folder, label, BASE_SIZE);
    assert_holds(o, offset, n, value);
    close_overlay(o);
}

static void the_disk_goes_on_over_its_snapshots(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    fill(o, 0, 3 * BLOCK, 'a');
    fill(o, MAP_BORDER - BLOCK, 2 * BLOCK, 'a');
    take(o, "one");
    assert_holds(o, 0, 3 * BLOCK, 'a');
    assert_holds(o, 3 * BLOCK, BLOCK, -1);
    fill(o, 0, BLOCK, 'b');
    fill(o, BLOCK + 100, 50, 'b'); // rule 1: the rest of the block comes from the snapshot
    assert_int_equal(overlay_discard(o, 2 * BLOCK, BLOCK), 0);
    take(o, "two");
    assert_int_equal(overlay_write_zeroes(o, BLOCK + 110, 10), 0);
    fill(o, 2 * BLOCK, BLOCK, 'c');
    assert_holds(o, MAP_BORDER - BLOCK, 2 * BLOCK, 'a');
    for (int again = 0; again < 2; again++) {
        assert_holds(o, 0, BLOCK, 'b');
        assert_holds(o, BLOCK, 100, 'a');
        assert_holds(o, BLOCK + 100, 10, 'b');
        assert_holds(o, BLOCK + 110, 10, 0);
        assert_holds(o, BLOCK + 120, 30, 'b');
        assert_holds(o, BLOCK + 150, BLOCK - 150, 'a');
        assert_holds(o, 2 * BLOCK, BLOCK, 'c');
        close_overlay(o);
        o = open_overlay(&folder, BASE_SIZE);
    }
    close_overlay(o);
    assert_snapshot_holds("one", 0, 3 * BLOCK, 'a');
    assert_snapshot_holds("two", BLOCK + 100, 50, 'b');
    assert_snapshot_holds("two", 2 * BLOCK, BLOCK, 0);
    assert_int_equal(roll_back(&folder, "one", true, NULL), 0);
    o = open_overlay(&folder, BASE_SIZE);
    assert_holds(o, 0, 3 * BLOCK, 'a');
    close_overlay(o);
}

static void as_many_snapshots_as_there_may_be(void **state)
{
    (void)state;
    char label[OVERLAY_LABEL_SIZE];
    struct error error = {.text = ""};
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    for (unsigned i = 0; i < OVERLAY_DEPTH_MAXIMUM - 1; i++) {
        fill(o, (uint64_t)i * BLOCK, 2 * BLOCK, (int)i + 1);
        assert_int_equal(take_live(&folder, o, NULL, label, &error), 0); // given in their order
        assert_int_equal(atoi(label), i + 1);
    }
    assert_int_equal(take_live(&folder, o, "more", label, &error), -EMLINK);
    assert_non_null(strstr(error.text, "63"));
    fill(o, 100 * BLOCK, BLOCK, 'x');
    for (unsigned i = 0; i < OVERLAY_DEPTH_MAXIMUM - 1; i++)
        assert_holds(o, (uint64_t)i * BLOCK, BLOCK, (int)i + 1);
    close_overlay(o);
    assert_snapshot_holds("11", 11 * BLOCK, BLOCK, 11);
    assert_snapshot_holds("11", 12 * BLOCK, BLOCK, -1);
}

// --- reads stay as quick -------------------------------------------------------------------------------------------

static unsigned long reads;

static ssize_t counted_pread(int fd, void *to, size_t n, off_t offset)
{
    reads++;
    return io_table_system.pread(fd, to, n, offset);
}

static ssize_t counted_preadv(int fd, const struct iovec *to, int count, off_t offset)
{
    reads++;
    return io_table_system.preadv(fd, to, count, offset);
}

static void a_read_costs_one_call_whatever_was_taken(void **state)
{
    (void)state;
    struct io_table table = io_table_system;
    table.pread = counted_pread;
    table.preadv = counted_preadv;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    char label[OVERLAY_LABEL_SIZE];
    for (unsigned depth = 0; depth < 9; depth++) {
        fill(o, depth * BLOCK, BLOCK, 'a' + (int)depth);
        assert_holds(o, 0, BLOCK, 'a'); // what is looked up for 64 MiB of the disk: a map page of each layer
        assert_holds(o, 50 * BLOCK, BLOCK, -1);
        reads = 0;
        io = &table;
        for (unsigned i = 0; i <= depth; i++)
            assert_holds(o, i * BLOCK, BLOCK, 'a' + (int)i);
        assert_holds(o, 60 * BLOCK, BLOCK, -1); // of the base, which makes no call here
        io = &io_table_system;
        assert_int_equal(reads, depth + 1);
        assert_int_equal(take_live(&folder, o, NULL, label, NULL), 0);
    }
    close_overlay(o);
}

// --- threads -------------------------------------------------------------------------------------------------------

#define WRITERS 4u
#define SLOTS 24u // blocks of a writer; the third is shared by halves with the next writer's
#define SNAPSHOTS 12u

struct writer {
    pthread_t thread;
    struct overlay *overlay;
    atomic_ullong written; // acknowledged so far
    unsigned number;
    atomic_int result;
};
static atomic_bool stop;

// Every other write is of a whole block.
static size_t length_of(uint64_t n)
{
    return n % SLOTS % 2 ? BLOCK : BLOCK / 2;
}

// Writer w's n-th write, from 1 on, goes here, with n as its content.
static uint64_t place_of(unsigned writer, uint64_t n)
{
    uint64_t slot = n % SLOTS;
    if (slot == 2) // half a block: its other half is another writer's
        return (uint64_t)(WRITERS * SLOTS + writer / 2) * BLOCK + writer % 2 * (BLOCK / 2);
    return MAP_BORDER - 10 * BLOCK + (slot * WRITERS + writer) * BLOCK;
}

static void *keep_writing(void *context)
{
    struct writer *w = context;
    uint64_t words[BLOCK / sizeof(uint64_t)];
    for (uint64_t n = 1; !stop && w->result == 0; n++) {
        for (size_t i = 0; i < BLOCK / sizeof(uint64_t); i++)
            words[i] = n;
        w->result = overlay_write(w->overlay, place_of(w->number, n), words, length_of(n));
        if (w->result == 0)
            w->written = n;
        if (w->result == 0 && n % 64 == 0)
            w->result = overlay_flush(w->overlay);
    }
    return NULL;
}

static void *keep_reading(void *context)
{
    struct writer *w = context;
    uint64_t last[SLOTS] = {0}, got;
    for (uint64_t n = 1; !stop && w->result == 0; n++) {
        w->result = overlay_read(w->overlay, place_of(w->number, n), &got, sizeof got);
        if (w->result == 0 && got < last[n % SLOTS])
            w->result = -EILSEQ; // something older came back
        last[n % SLOTS] = got;
    }
    return NULL;
}

// Up to which write a snapshot has all of a writer's: each place holds the last one of those that went there.
static uint64_t check_writer(struct overlay *o, unsigned writer)
{
    uint64_t found[SLOTS], newest = 0;
    for (unsigned s = 0; s < SLOTS; s++) {
        uint64_t words[BLOCK / sizeof(uint64_t)];
        assert_int_equal(overlay_read(o, place_of(writer, s), words, length_of(s)), 0);
        for (size_t i = 1; i < length_of(s) / sizeof words[0]; i++)
            assert_int_equal(words[i], words[0]);
        found[s] = words[0];
        newest = found[s] > newest ? found[s] : newest;
    }
    for (unsigned s = 0; s < SLOTS; s++) {
        uint64_t expected = newest - (newest + SLOTS - s) % SLOTS;
        if (newest >= SLOTS && found[s] != expected)
            fail_msg("writer %u: place %u holds write %llu, beside %llu", writer, s, (unsigned long long)found[s],
                     (unsigned long long)newest);
    }
    return newest;
}

static void threads_write_and_read_while_snapshots_are_taken(void **state)
{
    (void)state;
    struct overlay_base nothing = {.size = 0};
    struct overlay *o = NULL;
    static struct writer writers[WRITERS], readers[2];
    uint64_t before[SNAPSHOTS][WRITERS], after[SNAPSHOTS][WRITERS];
    char labels[SNAPSHOTS][OVERLAY_LABEL_SIZE];
    assert_int_equal(overlay_open(folder.fd, &some_manifest, &nothing, &o, NULL), 0);
    stop = false;
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.overlay = o, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, keep_writing, &writers[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        readers[i] = (struct writer){.overlay = o, .number = i};
        assert_int_equal(pthread_create(&readers[i].thread, NULL, keep_reading, &readers[i]), 0);
    }
    for (unsigned s = 0; s < SNAPSHOTS; s++) {
        uint64_t enough = writers[0].written + 3 * SLOTS;
        while (writers[0].written < enough && writers[0].result == 0)
            usleep(200);
        for (unsigned i = 0; i < WRITERS; i++)
            before[s][i] = writers[i].written;
        struct error error = {.text = ""};
        if (take_live(&folder, o, NULL, labels[s], &error) != 0)
            fail_msg("%s", error.text);
        for (unsigned i = 0; i < WRITERS; i++)
            after[s][i] = writers[i].written + 1; // begun by now
    }
    stop = true;
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        assert_int_equal(writers[i].result, 0);
        assert_int_equal(check_writer(o, i), writers[i].written);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(readers[i].thread, NULL);
        assert_int_equal(readers[i].result, 0);
    }
    close_overlay(o);
    for (unsigned s = 0; s < SNAPSHOTS; s++) {
        o = open_snapshot(&folder, labels[s], 0);
        for (unsigned i = 0; i < WRITERS; i++)
            assert_in_range(check_writer(o, i), before[s][i], after[s][i]);
        close_overlay(o);
    }
}

// --- what is refused, and what fails -------------------------------------------------------------------------------

static void *write_thread(void *o)
{
    return (void *)(intptr_t)overlay_write(o, 0, "x", 1);
}

static struct overlay_taking *hold(struct overlay *o)
{
    struct overlay_taking *taking;
    assert_int_equal(overlay_taking_begin(folder.fd, "x", 0, &taking, NULL), 0);
    assert_int_equal(hold_for(taking, o, NULL), 0);
    return taking;
}

static void a_change_waits_until_it_is_decided(void **state)
{
    (void)state;
    for (int refused = 0; refused < 2; refused++) {
        struct overlay *o = open_overlay(&folder, BASE_SIZE);
        fill(o, 0, BLOCK, 'a');
        struct overlay_taking *taking = hold(o);
        pthread_t writer;
        void *result;
        assert_int_equal(pthread_create(&writer, NULL, write_thread, o), 0);
        usleep(20000); // were it not held, it would be done
        assert_holds(o, 0, BLOCK, 'a');
        assert_int_equal(overlay_flush(o), 0); // there is nothing to wait for
        if (refused)
            overlay_live_refuse(o);
        else
            overlay_live_end(o, false);
        assert_int_equal(pthread_join(writer, &result), 0);
        assert_int_equal((intptr_t)result, refused ? -EIO : 0);
        assert_holds(o, 0, 1, refused ? 'a' : 'x');
        overlay_live_end(o, true); // said too late: nothing is held
        assert_int_equal(overlay_write(o, BLOCK, "x", 1), refused ? -EIO : 0);
        overlay_taking_free(taking);
        close_overlay(o);
        assert_int_equal(snapshot_index(&folder, "x"), -1);
    }
    struct overlay *o = open_overlay(&folder, BASE_SIZE); // no change is held: none is refused
    overlay_live_refuse(o);
    fill(o, 0, BLOCK, 'b');
    close_overlay(o);
}

static void a_layer_that_is_not_for_this_disk_is_refused(void **state)
{
    (void)state;
    struct error error = {.text = ""};
    struct folder other = folder_make();
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    struct overlay_taking *taking;
    make_overlay(&other, SIZE + BLOCK);
    assert_int_equal(overlay_taking_begin(other.fd, "x", 0, &taking, NULL), 0);
    assert_int_equal(hold_for(taking, o, &error), -EINVAL); // of another size
    overlay_taking_free(taking);
    assert_int_equal(overlay_taking_begin(folder.fd, "x", 0, &taking, NULL), 0);
    char id[OVERLAY_ID_TEXT_SIZE], given[OVERLAY_LABEL_SIZE];
    int fds[2];
    overlay_taking_describe(taking, id, fds);
    const int swapped[] = {dup(fds[1]), dup(fds[0])};
    assert_int_equal(overlay_live_hold(o, id, swapped, &error), -EBADMSG);
    const int good[] = {dup(fds[0]), dup(fds[1])};
    assert_int_equal(overlay_live_hold(o, "../nonsense", good, &error), -EINVAL);
    assert_int_equal(hold_for(taking, o, &error), 0);
    assert_int_equal(hold_for(taking, o, &error), -EINVAL); // held already
    assert_int_equal(overlay_taking_finish(taking, given, &error), 0);
    overlay_live_end(o, true);
    assert_int_equal(hold_for(taking, o, &error), -EINVAL); // it is the top by now
    overlay_taking_free(taking);
    // The list goes on without this overlay: what it has open is no longer the top.
    assert_int_equal(overlay_taking_begin(folder.fd, "y", 0, &taking, NULL), 0);
    assert_int_equal(overlay_taking_finish(taking, given, &error), 0);
    overlay_taking_free(taking);
    assert_int_equal(take_live(&folder, o, "z", given, &error), -EINVAL);
    assert_int_equal(snapshot_index(&folder, "z"), -1);
    fill(o, 0, BLOCK, 'a');
    close_overlay(o);
    o = open_overlay(&folder, BASE_SIZE);
    assert_holds(o, 0, BLOCK, 'a');
    close_overlay(o);
    folder_remove(&other);
}

static void labels_are_checked(void **state)
{
    (void)state;
    char label[OVERLAY_LABEL_SIZE];
    struct error error = {.text = ""};
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    take(o, "one");
    assert_int_equal(take_live(&folder, o, "one", label, &error), -EEXIST);
    assert_int_equal(take_live(&folder, o, "", label, &error), -EINVAL);
    assert_int_equal(take_live(&folder, o, "a/b", label, &error), -EINVAL);
    take(o, "two"); // nothing is left of those
    close_overlay(o);
    struct overlay_history h;
    assert_int_equal(overlay_history_read(folder.fd, &h, NULL), 0);
    assert_int_equal(h.count, 2);
}

static unsigned layer_files(void)
{
    unsigned count = 0;
    DIR *d = fdopendir(openat(folder.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    const struct dirent *entry;
    while ((entry = readdir(d)))
        count += strncmp(entry->d_name, "layer-", 6) == 0;
    closedir(d);
    return count;
}

static void every_call_fails(int code, bool persistent)
{
    bool failed = true;
    for (unsigned long at = 1; failed; at++) {
        char label[OVERLAY_LABEL_SIZE];
        folder_empty(&folder);
        make_overlay(&folder, SIZE);
        struct overlay *o = open_overlay(&folder, BASE_SIZE);
        fill(o, 0, BLOCK, 'a');
        take(o, "one");
        fill(o, BLOCK, 2 * BLOCK, 'b');
        io_fault_start(at, code, persistent);
        int r = take_live(&folder, o, "two", label, NULL);
        failed = io_fault_stop() >= at;
        assert_true(failed || r == 0);
        if (overlay_failure(o, NULL) == 0) { // rule 4 is the end of an overlay's writes, with or without a snapshot
            fill(o, 0, BLOCK, 'c');
            assert_int_equal(overlay_flush(o), 0);
            assert_holds(o, 0, BLOCK, 'c');
            assert_holds(o, BLOCK, 2 * BLOCK, 'b');
            if (r != 0 && persistent && snapshot_index(&folder, "two") >= 0) { // nor could the list be put back
                assert_int_equal(take_live(&folder, o, "three", label, NULL), -EINVAL);
            } else {
                int again = take_live(&folder, o, "two", label, NULL);
                assert_int_equal(again, r == 0 ? -EEXIST : 0);
                take(o, "three");
                assert_int_equal(layer_files(), 6);
            }
            close_overlay(o);
            assert_snapshot_holds("two", 0, BLOCK, r == 0 ? 'a' : 'c');
            assert_snapshot_holds("two", BLOCK, 2 * BLOCK, 'b');
            o = open_overlay(&folder, BASE_SIZE);
            assert_holds(o, 0, BLOCK, 'c');
            assert_holds(o, BLOCK, 2 * BLOCK, 'b');
            close_overlay(o);
        } else {
            assert_int_equal(r, -EIO);
            overlay_close(o, NULL);
            assert_int_equal(snapshot_index(&folder, "two"), -1);
        }
        assert_snapshot_holds("one", 0, BLOCK, 'a');
        assert_snapshot_holds("one", BLOCK, BLOCK, -1);
        assert_true(at < 300);
    }
}

static void where_any_call_fails_the_disk_goes_on(void **state)
{
    (void)state;
    every_call_fails(EIO, false);
    every_call_fails(ENOSPC, true);
}

static void a_supervisors_words(void **state)
{
    (void)state;
    struct overlay *o = open_overlay(&folder, BASE_SIZE);
    struct overlay_taking *taking;
    char answer[OVERLAY_LIVE_ANSWER_SIZE] = "untouched", text[64], id[OVERLAY_ID_TEXT_SIZE], label[OVERLAY_LABEL_SIZE];
    int fds[2];
    assert_false(overlay_live_hear(o, NULL, "snapshot", fds, 0, answer));
    assert_false(overlay_live_hear(o, NULL, "dance", fds, 0, answer));
    assert_false(overlay_live_hear(o, NULL, "base", fds, 0, answer));
    assert_string_equal(answer, "untouched");
    for (int taken = 0; taken < 2; taken++) {
        assert_int_equal(overlay_taking_begin(folder.fd, "x", 0, &taking, NULL), 0);
        overlay_taking_describe(taking, id, fds);
        snprintf(text, sizeof text, "snapshot %s", id);
        assert_false(overlay_live_hear(o, NULL, text, fds, 0, answer)); // without its files
        int copies[] = {dup(fds[0]), dup(fds[1])};
        assert_true(overlay_live_hear(o, NULL, text, copies, 2, answer));
        assert_string_equal(answer, "snapshot held");
        assert_int_equal(copies[0] + copies[1], -2);
        int more[] = {dup(fds[0]), dup(fds[1])};
        assert_true(overlay_live_hear(o, NULL, text, more, 2, answer));
        assert_int_equal(strncmp(answer, "snapshot error 22 ", 18), 0);
        if (taken)
            assert_int_equal(overlay_taking_finish(taking, label, NULL), 0);
        assert_true(overlay_live_hear(o, NULL, taken ? "snapshot taken" : "snapshot failed", fds, 0, answer));
        assert_string_equal(answer, "");
        overlay_taking_free(taking);
        fill(o, 0, BLOCK, 'a' + taken);
        assert_true(overlay_live_hear(o, NULL, "counts", fds, 0, answer));
        assert_non_null(strstr(answer, "counts data_blocks=1 "));
    }
    close_overlay(o);
    assert_snapshot_holds("x", 0, BLOCK, 'a');
}

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // files that could not be removed any more are no news here
    log_start("test_overlay_live");
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_disk_goes_on_over_its_snapshots),
        TEST(as_many_snapshots_as_there_may_be),
        TEST(a_read_costs_one_call_whatever_was_taken),
        TEST(threads_write_and_read_while_snapshots_are_taken),
        TEST(a_change_waits_until_it_is_decided),
        TEST(a_layer_that_is_not_for_this_disk_is_refused),
        TEST(labels_are_checked),
        TEST(where_any_call_fails_the_disk_goes_on),
        TEST(a_supervisors_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
