// Crashes of an overlay with snapshots, on a disk that loses power (crash_disk.h): a life of random requests, and of
// snapshots that are taken (also while requests are made), rolled back to and deleted, ends at a random call. Sometimes
// the power goes too; sometimes only the process died, and another life follows before the power goes. Then:
//
//   what was flushed is there; what was not is old or new, sector by sector
//   a change of the layers that was acknowledged has happened; one that was cut short has happened or not, as a whole
//   every snapshot holds what it held when it was taken
//
// (A map bit that points at data which never reached the disk shows as a content that nobody wrote.)
//
// Each mutant leaves out one step of FORMATS' rules ("Overlay"), and must be caught.
//
// RONDO_TEST_LONG: 12,000 crashes instead of 1,500. RONDO_TEST_CRASHES: so many, and no mutants.
#include "tests/unit/overlay_model.h"

#define MUTANT_CRASHES 8000u // the shyest show within 1,000

// --- a life --------------------------------------------------------------------------------------------------------

static struct overlay *open_disk(void)
{
    struct overlay_base base = pattern_base(ORACLE_BASE_SIZE);
    struct overlay *o = NULL;
    crash.phase = CRASH_OPENING;
    int r = overlay_open(crash.folder.fd, &some_manifest, &base, &o, NULL);
    crash.phase = CRASH_SERVING;
    return r == 0 ? o : NULL;
}

// After an opening, or the beginning of another change, what the list says is on the disk.
static void settle_pending(struct overlay *o)
{
    struct overlay_layers layers;
    if (model.pending == NO_CHANGE || !read_list(&layers))
        return;
    if (list_says(&layers))
        model_change();
    model.pending = NO_CHANGE;
    oracle_look(&model.disk, o, false); // after a roll-back, what is there now
}

static void name_taken(void)
{
    snprintf(model.taken.label, sizeof model.taken.label, "s%u", model.number++);
}

static void note_taken(void)
{
    for (unsigned s = 0; s < ORACLE_SECTORS; s++)
        model.taken.contents[s] = oracle_hash(model.disk.sectors[s].current);
}

static void choose_change(struct random_numbers *r)
{
    struct overlay_layers layers;
    assert_true(read_list(&layers));
    model.top = layers.layers[0].id;
    model.at = model.count > 0 ? (unsigned)random_below(r, model.count) : 0;
    model.pending = model.count == 0          ? TAKE
                    : model.count < SNAPSHOTS ? (enum change)(TAKE + random_below(r, 3))
                                              : (enum change)(ROLL_BACK + random_below(r, 2));
    if (model.pending != TAKE)
        return;
    name_taken();
    note_taken();
}

static int make_change(void)
{
    static const enum crash_phase phases[] = {CRASH_SERVING, CRASH_TAKING, CRASH_ROLLING_BACK, CRASH_DELETING};
    const char *label = model.snapshots[model.at].label;
    crash.phase = phases[model.pending];
    crash.lists = 0;
    int r = model.pending == TAKE        ? take_snapshot(&crash.folder, model.taken.label, NULL)
            : model.pending == ROLL_BACK ? roll_back(&crash.folder, label, true, NULL)
                                         : overlay_snapshot_delete(crash.folder.fd, label, NULL, NULL);
    crash.phase = CRASH_SERVING;
    return r;
}

// False if something went wrong without a death.
static bool change_layers(struct random_numbers *r, bool die_in_it)
{
    choose_change(r);
    if (die_in_it)
        crash.die_at = crash.calls + 1 + random_below(r, 24);
    int result = make_change();
    if (result != 0) {
        bool expected = crash.dead || crash.failed;
        crash.dead = true; // who could not write goes no further: the next look is at what the disk has
        return expected;
    }
    bool rolled_back = model.pending == ROLL_BACK;
    model_change();
    if (!rolled_back)
        return true;
    const struct io_table *table = io;
    struct overlay_layers layers;
    io = &io_table_system;
    struct overlay *o = read_list(&layers) ? open_from(&layers, 0) : NULL;
    bool good = o && oracle_look(&model.disk, o, false) == 0;
    if (o)
        overlay_close(o, NULL);
    io = table;
    return good;
}

static void write_meanwhile(void)
{
    if (!served || meanwhile.happened || served->map.changes == OVERLAY_CHANGES_HELD || random_below(numbers, 6) > 0)
        return;
    meanwhile.before = model.disk;
    do
        oracle_choose(numbers, &meanwhile.request);
    while (meanwhile.request.kind != ORACLE_WRITE);
    assert_true(oracle_expect(&model.disk, &meanwhile.request));
    meanwhile.happened = true;
    (void)oracle_perform(served, &meanwhile.request);
}

static void flush_meanwhile(void)
{
    if (served && random_below(numbers, 16) == 0)
        (void)overlay_flush(served); // nothing is concluded from it
}

// What was asked for before the flush is on the disk.
static void flushed(void)
{
    if (meanwhile.happened)
        model.disk = meanwhile.before;
    oracle_flushed(&model.disk);
    if (meanwhile.happened)
        assert_true(oracle_expect(&model.disk, &meanwhile.request));
}

// A snapshot's owner and its overlay, in one process (snapshot_fixture.h): the disk must know all descriptors.
static int take_while_serving(struct overlay *o)
{
    struct overlay_taking *taking;
    char id[OVERLAY_ID_TEXT_SIZE], given[OVERLAY_LABEL_SIZE];
    int fds[2], copies[2];
    int r = overlay_taking_begin(crash.folder.fd, model.taken.label, 1795428000, &taking, NULL);
    if (r < 0)
        return r;
    overlay_taking_describe(taking, id, fds);
    for (int i = 0; i < 2; i++) {
        copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        assert_in_range(copies[i], 3, CRASH_DESCRIPTORS - 1);
        crash.files_by_fd[copies[i]] = crash.files_by_fd[fds[i]];
    }
    r = overlay_live_hold(o, id, copies, NULL);
    if (r == 0) {
        note_taken(); // a write that came before the hold is in it
        r = overlay_taking_finish(taking, given, NULL);
        overlay_live_end(o, r == 0);
    }
    overlay_taking_free(taking);
    return r;
}

// False if something went wrong without a death.
static bool take_live_snapshot(struct random_numbers *r, struct overlay *o, bool write_through, bool die_in_it)
{
    model.pending = TAKE;
    name_taken();
    if (die_in_it)
        crash.die_at = crash.calls + 1 + random_below(r, 24);
    crash.phase = CRASH_TAKING_LIVE;
    served = write_through ? NULL : o; // there, every write would wait for the flush
    int result = take_while_serving(o);
    served = NULL;
    crash.phase = CRASH_SERVING;
    if (result == 0)
        model_change();
    else if (!crash.dead)
        model.pending = NO_CHANGE; // it was not flushed, so the list stayed
    return result == 0 || crash.dead || crash.failed;
}

static bool live(struct random_numbers *r, bool write_through, bool mutant_write_through)
{
    struct overlay *o = NULL;
    bool good = true, die_in_change = random_below(r, 3) == 0;
    uint64_t change_every = random_below(r, 3) == 0 ? 1000 : 8;
    if (model.pending == NO_CHANGE && random_below(r, 3) == 0) // a snapshot of what a dead process has left
        good = change_layers(r, die_in_change);
    for (unsigned i = 0; i < 40 && !crash.dead && good; i++) {
        meanwhile.happened = false;
        if (!o) {
            o = open_disk();
            if (!o)
                return crash.dead || crash.failed;
            settle_pending(o);
            overlay_set_write_through(o, write_through && !mutant_write_through);
        }
        if (model.count < SNAPSHOTS && random_below(r, change_every) == 0) {
            good = take_live_snapshot(r, o, write_through, die_in_change);
            continue;
        }
        if (random_below(r, change_every) == 0) {
            int closed = overlay_close(o, NULL);
            o = NULL;
            good = closed == 0 ? change_layers(r, die_in_change) : crash.dead || crash.failed;
            if (closed != 0)
                break;
            continue;
        }
        struct oracle_request q;
        oracle_choose(r, &q);
        assert_true(oracle_expect(&model.disk, &q));
        served = write_through ? NULL : o; // there, every write would wait for the other
        int result = oracle_perform(o, &q);
        served = NULL;
        good = result == 0 || crash.dead || crash.failed;
        if (result != 0)
            continue; // rule 4: whatever comes now is refused, too
        // A request that needed no call when the machine was dead already was never made.
        if (!crash.dead && (q.kind == ORACLE_FLUSH || write_through))
            flushed();
    }
    crash.dead = true; // it may also die at rest
    if (o)
        overlay_close(o, NULL);
    if (!good)
        wrong_because("a request failed");
    return good;
}

// Returns after how many crashes something was wrong; 0: never.
static unsigned long run(unsigned long times, uint64_t seed, enum crash_mutant mutant, bool write_through,
                         bool mutant_write_through)
{
    struct io_table table = crash_table();
    struct random_numbers r = {.state = seed};
    unsigned survived = 0, lives = 0;
    bool good = true;
    quiet = mutant != CRASH_NO_MUTANT || mutant_write_through;
    for (unsigned long i = 1; i <= times; i++) {
        if (survived == 0 || !good) {
            folder_empty(&crash.folder);
            make_overlay(&crash.folder, ORACLE_DISK_SIZE);
            model_start();
            crash_start();
            lives = 0;
        }
        crash.mutant = mutant;
        crash_begin_life(1 + random_below(&r, 160), random_below(&r, 4) == 0 ? 1 + random_below(&r, 100) : 0);
        numbers = &r;
        crash.before_write = flush_meanwhile;
        crash.behind_sync = write_meanwhile;
        io = &table;
        good = live(&r, write_through, mutant_write_through);
        io = &io_table_system;
        bool power = lives++ == 2 || random_below(&r, 2) > 0 || crash.failed;
        if (good && power)
            crash_lose_power(&r);
        good = good && look(power);
        if (!good)
            return i;
        lives = power ? 0 : lives;
        survived =
            power && survived >= 8 ? 0 : survived + 1; // a disk lives through some crashes, then a new one is made
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    crash.folder = folder_make();
    crash.store = folder_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    io = &io_table_system;
    folder_empty(&crash.folder);
    crash_start();
    folder_remove(&crash.folder);
    folder_remove(&crash.store);
    return 0;
}

static unsigned long crashes(void)
{
    const char *given = getenv("RONDO_TEST_CRASHES");
    return given ? strtoul(given, NULL, 10) : getenv("RONDO_TEST_LONG") ? 12000 : 1500;
}

static void a_crash_at_any_call_keeps_what_was_flushed_and_every_snapshot(void **state) // rules 1 to 3, TRUST T18
{
    (void)state;
    assert_int_equal(run(crashes(), test_seed("crashes"), CRASH_NO_MUTANT, false, false), 0);
}

static void with_write_through_every_acknowledged_write_survives(void **state) // rule 6
{
    (void)state;
    assert_int_equal(run(crashes() / 4, test_seed("crashes with write-through"), CRASH_NO_MUTANT, true, false), 0);
}

static void every_step_that_is_left_out_is_noticed(void **state)
{
    (void)state;
    static const struct {
        enum crash_mutant mutant;
        const char *rule;
    } mutants[] = {
        {CRASH_NO_DATA_SYNC, "3: the map before its data is stable"},
        {CRASH_NO_MAP_SYNC, "3: acknowledged before the map is stable"},
        {CRASH_LATE_PUNCH, "2: the hole is punched later"},
        {CRASH_LOST_WRITE, "1: the bit is set although the data is not written"},
        {CRASH_NO_PAIR_SYNC, "snapshots: the list before the pair is stable"},
        {CRASH_NO_NAME_SYNC, "snapshots: the list before the pair's names are stable"},
        {CRASH_NO_LIST_SYNC, "snapshots: no sync of the folder behind the list"},
        {CRASH_NO_OPENING_SYNC, "snapshots: an overlay opened before what it shows is stable"},
        {CRASH_NO_SNAPSHOT_SYNC, "snapshots: no FLUSH before"},
        {CRASH_NO_LIVE_SYNC, "snapshots: no FLUSH before that of an open overlay"},
        {CRASH_NO_MERGE_SYNC, "deletion: the upper layer dropped before the copy is stable"},
        {CRASH_NO_MARK, "deletion: copied down before it is marked gone"},
    };
    uint64_t seed = test_seed("mutants");
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        unsigned long caught = run(MUTANT_CRASHES, seed, mutants[i].mutant, false, false);
        fprintf(stderr, "# rule %s: caught after %lu\n", mutants[i].rule, caught);
        assert_int_not_equal(caught, 0);
    }
    unsigned long caught = run(MUTANT_CRASHES, seed, CRASH_NO_MUTANT, true, true);
    fprintf(stderr, "# rule 6: writes are not written through: caught after %lu\n", caught);
    assert_int_not_equal(caught, 0);
}

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // files that could not be removed any more are no news here
    log_start("test_overlay_crash");
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_crash_at_any_call_keeps_what_was_flushed_and_every_snapshot),
        TEST(with_write_through_every_acknowledged_write_survives),
        TEST(every_step_that_is_left_out_is_noticed),
    };
    size_t count = sizeof tests / sizeof tests[0] - (getenv("RONDO_TEST_CRASHES") ? 1 : 0);
    return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}
