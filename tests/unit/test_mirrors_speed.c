// Mirrors: which of the healthy ones is asked, by what they deliver (rule 1 of mirrors.h), with a clock of the test's
// own.

#include "tests/unit/mirrors_fixture.h"

#include "blockstore/mirrors_health.h"

#include "base/banned.h"

#define MS UINT64_C(1000000)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

static const uint64_t start = 1000 * SECOND;

// As an answer of a megabyte that was measured.
static void measure(struct mirror *m, uint64_t first_byte_ms, uint64_t mib_per_second, uint64_t now)
{
    mirrors_speed_note_first_byte(&m->speed, first_byte_ms * MS, now);
    mirrors_speed_note_bytes(&m->speed, MIB, SECOND / mib_per_second, now);
}

static unsigned pick(const struct mirror *m, unsigned count, unsigned excluded, uint64_t bytes)
{
    unsigned i = 99;
    uint64_t wake;
    assert_true(mirrors_health_pick(m, count, excluded, bytes, start, &i, &wake));
    return i;
}

static void quicker_one_is_asked_first(void **state)
{
    (void)state;
    struct mirror m[3] = {{.source = NULL}};
    assert_int_equal(pick(m, 3, 0, 64 * KIB), 0); // nothing is known
    measure(&m[0], 300, 100, start);
    assert_int_equal(pick(m, 3, 0, 64 * KIB), 0); // who was never asked is not known to be quicker
    measure(&m[2], 50, 100, start);
    assert_int_equal(pick(m, 3, 0, 64 * KIB), 2);
    measure(&m[1], 45, 100, start);
    assert_int_equal(pick(m, 3, 0, 64 * KIB), 1); // about as quick, and earlier in the list
    assert_int_equal(pick(m, 3, 1u << 1, 64 * KIB), 2);
    m[1].failures = 1;
    m[1].failed_until = start + SECOND;
    assert_int_equal(pick(m, 3, 0, 64 * KIB), 2); // health comes before speed
    m[2].liar_until = start + SECOND;
    assert_int_equal(pick(m, 3, 0, 64 * KIB), 0);
}

static void size_decides_between_near_and_fast(void **state)
{
    (void)state;
    struct mirror m[2] = {{.source = NULL}};
    measure(&m[0], 5, 1, start);
    measure(&m[1], 100, 50, start);
    assert_int_equal(pick(m, 2, 0, 16 * KIB), 0);
    assert_int_equal(pick(m, 2, 0, 4 * MIB), 1);
}

static void jobs_spread_by_what_each_gives(void **state)
{
    (void)state;
    struct mirror m[2] = {{.source = NULL}};
    measure(&m[0], 5, 30, start);
    measure(&m[1], 5, 10, start);
    for (unsigned i = 0; i < 16; i++)
        m[pick(m, 2, 0, 4 * MIB)].speed.running++;
    assert_in_range(m[0].speed.running, 11, 13);
    m[0].speed.running = m[1].speed.running = 1;
    assert_int_equal(pick(m, 2, 0, 4 * KIB), 0); // a small one has nothing to gain
}

static void new_samples_count_more_the_older_the_last_is(void **state)
{
    (void)state;
    struct mirror_speed s = {.running = 0};
    mirrors_speed_note_first_byte(&s, 400 * MS, start);
    mirrors_speed_note_first_byte(&s, 0, start);
    assert_in_range(s.first_byte_ns, 299 * MS, 301 * MS);
    mirrors_speed_note_first_byte(&s, 0, start + SPEED_KEPT_NS / 2);
    assert_in_range(s.first_byte_ns, 111 * MS, 114 * MS);
    mirrors_speed_note_first_byte(&s, 7 * MS, start + 2 * SPEED_KEPT_NS);
    assert_int_equal(s.first_byte_ns, 7 * MS);
    mirrors_speed_note_bytes(&s, MIB, SECOND, start);
    assert_int_equal(s.rate, MIB);
    mirrors_speed_note_bytes(&s, 4 * KIB, 1, start); // too few to tell
    assert_int_equal(s.rate, MIB);
    mirrors_speed_note_bytes(&s, 8 * MIB, SECOND, start + 2 * SPEED_KEPT_NS);
    assert_int_equal(s.rate, 8 * MIB);
}

static void lateness_counts_only_when_it_is_news(void **state)
{
    (void)state;
    struct mirror_speed s = {.running = 0};
    mirrors_speed_note_late(&s, 100 * MS, start);
    assert_int_equal(s.first_byte_ns, 100 * MS);
    mirrors_speed_note_late(&s, 50 * MS, start);
    assert_int_equal(s.first_byte_ns, 100 * MS);
    mirrors_speed_note_late(&s, 500 * MS, start);
    assert_int_equal(s.first_byte_ns, 500 * MS);
}

static void tries_cost_a_share_of_what_is_waited_anyway(void **state)
{
    (void)state;
    struct mirror_speed s = {.running = 0};
    assert_false(mirrors_speed_is_try_due(&s, 64 * KIB, SPEED_FIRST_TRY_NS - 1));
    assert_true(mirrors_speed_is_try_due(&s, 64 * KIB, SPEED_FIRST_TRY_NS));
    assert_false(mirrors_speed_is_try_due(&s, 4 * MIB, SPEED_FIRST_TRY_NS)); // not with a large job
    s.running = 1;
    assert_false(mirrors_speed_is_try_due(&s, 64 * KIB, SPEED_FIRST_TRY_NS)); // it is under way
    s.running = 0;
    s.waited_at_measure = 5 * SECOND;
    mirrors_speed_note_first_byte(&s, 500 * MS, start);
    mirrors_speed_note_bytes(&s, 100 * MIB, SECOND, start);
    assert_false(mirrors_speed_is_try_due(&s, 64 * KIB, 15 * SECOND));
    assert_true(mirrors_speed_is_try_due(&s, 64 * KIB, 16 * SECOND));
}

static void answers_are_late_by_what_is_usual(void **state)
{
    (void)state;
    assert_int_equal(mirrors_speed_late_after(0), 500 * MS);
    assert_int_equal(mirrors_speed_late_after(1 * MS), 100 * MS);
    assert_int_equal(mirrors_speed_late_after(60 * MS), 180 * MS);
    assert_int_equal(mirrors_speed_late_after(5 * SECOND), 2 * SECOND);
}

static void extreme_figures_do_not_overflow(void **state)
{
    (void)state;
    struct mirror_speed slow = {.running = 64}, other = {.running = 0};
    mirrors_speed_note_first_byte(&slow, 100 * SECOND, start);
    mirrors_speed_note_bytes(&slow, 64 * KIB, 100000 * SECOND, start);
    assert_int_equal(slow.rate, 1);
    mirrors_speed_note_first_byte(&other, 0, start);
    mirrors_speed_note_bytes(&other, UINT64_MAX, 1, start);
    mirrors_speed_note_bytes(&other, 64 * MIB, 0, start);
    assert_true(mirrors_speed_is_better(&other, &slow, UINT64_MAX));
    assert_false(mirrors_speed_is_better(&slow, &other, UINT64_MAX));
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quicker_one_is_asked_first),
        cmocka_unit_test(size_decides_between_near_and_fast),
        cmocka_unit_test(jobs_spread_by_what_each_gives),
        cmocka_unit_test(new_samples_count_more_the_older_the_last_is),
        cmocka_unit_test(lateness_counts_only_when_it_is_news),
        cmocka_unit_test(tries_cost_a_share_of_what_is_waited_anyway),
        cmocka_unit_test(answers_are_late_by_what_is_usual),
        cmocka_unit_test(extreme_figures_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
