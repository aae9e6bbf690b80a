// Every call that the overlay makes fails once, in turn, and from there on: what was flushed is there afterwards, what
// was not is old or new, and a command that failed can be given again.
#include "overlay_oracle.h"

static struct oracle oracle;

static int try_open(struct overlay **ret)
{
    struct overlay_base base = pattern_base(ORACLE_BASE_SIZE);
    return overlay_open(folder.fd, &some_manifest, &base, ret, NULL);
}

static void creating_fails_cleanly_at_every_call(void **state)
{
    (void)state;
    for (int persistent = 0; persistent < 2; persistent++) {
        bool failed = true;
        unsigned unnoticed = 0; // the closing of the folder after its sync may fail: nothing is lost by it
        for (unsigned long at = 1; failed; at++) {
            io_fault_start(at, ENOSPC, persistent);
            int r = overlay_create(folder.fd, ORACLE_DISK_SIZE, &some_manifest, NULL);
            failed = io_fault_stop() >= at;
            unnoticed += r == 0 && failed;
            // Again: it is done, or (where even the removal failed) it was done already.
            int again = overlay_create(folder.fd, ORACLE_DISK_SIZE, &some_manifest, NULL);
            if (r == 0 || (persistent && again != 0))
                assert_int_equal(again, -EEXIST);
            else
                assert_int_equal(again, 0);
            struct overlay *o;
            assert_int_equal(try_open(&o), 0);
            close_overlay(o);
            folder_empty(&folder);
            assert_true(at < 100);
        }
        assert_in_range(unnoticed, 0, 1);
    }
}

static void opening_fails_cleanly_at_every_call(void **state)
{
    (void)state;
    make_overlay(&folder, ORACLE_DISK_SIZE);
    bool failed = true;
    for (unsigned long at = 1; failed; at++) {
        struct overlay *o = NULL;
        io_fault_start(at, EIO, false);
        int r = try_open(&o);
        failed = io_fault_stop() >= at;
        assert_int_equal(r, failed ? -EIO : 0);
        if (failed)
            assert_int_equal(try_open(&o), 0); // no lock was left
        close_overlay(o);
        assert_true(at < 100);
    }
}

// A fixed sequence of requests; it ends early when one fails twice, or a flush failed for good. `code` is what the
// faulty call answers.
static void run_requests(struct overlay *o, uint64_t seed)
{
    struct random_numbers r = {.state = seed};
    struct oracle_request q;
    for (int i = 0; i < 60; i++) {
        oracle_choose(&r, &q);
        if (!oracle_expect(&oracle, &q))
            return;
        if (oracle_perform(o, &q) != 0) {
            bool final = overlay_failure(o, NULL) < 0;
            int again = oracle_perform(o, &q);
            if (final)
                assert_int_equal(again, -EIO); // rule 4
            if (again != 0)
                return;
        }
        if (q.kind == ORACLE_FLUSH)
            oracle_flushed(&oracle);
    }
}

static void fail_in_turn(int code, bool persistent, uint64_t seed)
{
    bool failed = true;
    unsigned long at;
    for (at = 1; failed; at++) {
        make_overlay(&folder, ORACLE_DISK_SIZE);
        oracle_start(&oracle);
        struct overlay *o;
        assert_int_equal(try_open(&o), 0);
        io_fault_start(at, code, persistent);
        run_requests(o, seed);
        overlay_close(o, NULL);
        failed = io_fault_stop() >= at;
        assert_int_equal(try_open(&o), 0);
        unsigned wrong = oracle_check(&oracle, o);
        if (wrong > 0)
            fail_msg("%u sectors are wrong after call %lu failed with %s", wrong, at, strerror(code));
        close_overlay(o);
        folder_empty(&folder);
    }
    assert_in_range(at, 100, 2000); // that many calls there were
}

static void one_failing_call_loses_nothing_flushed(void **state)
{
    (void)state;
    uint64_t seed = test_seed("one failing call");
    fail_in_turn(EIO, false, seed);
    fail_in_turn(ENOSPC, false, seed + 2);
}

static void a_disk_that_fails_for_good_keeps_what_was_flushed(void **state)
{
    (void)state;
    uint64_t seed = test_seed("a disk that fails for good");
    fail_in_turn(EIO, true, seed);
    fail_in_turn(ENOSPC, true, seed + 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(creating_fails_cleanly_at_every_call),
        TEST(opening_fails_cleanly_at_every_call),
        TEST(one_failing_call_loses_nothing_flushed),
        TEST(a_disk_that_fails_for_good_keeps_what_was_flushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
