// Mirrors: which source is asked, what its answers say about it, and what the fetch ends with (rules 1, 2 and 4 of
// mirrors.h).

#include "tests/unit/mirrors_fixture.h"

#include "blockstore/mirrors_health.h"
#include <fcntl.h>

#include "base/banned.h"

static void first_source_is_asked_first(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(fetch_one(&w, &g, 5), 0);
    assert_int_equal(requests(&w, 0), 5);
    assert_int_equal(requests(&w, 1), 0);
    close_world(&w);
}

static void failed_source_is_asked_after_the_healthy_ones(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].fail = 1;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(fetch_one(&w, &g, 5), 0);
    assert_int_equal(requests(&w, 0), 1);
    assert_int_equal(requests(&w, 1), 10);
    close_world(&w);
}

static void liar_is_asked_last(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 3);
    w.bad[0].lies = 1;
    w.bad[1].fail = 1;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(fetch_one(&w, &g, 5), 0);
        assert_memory_equal(g.bytes, file + 4096, 8192);
    }
    assert_int_equal(requests(&w, 0), 1);
    assert_int_equal(requests(&w, 1), 1);
    assert_int_equal(requests(&w, 2), 10);
    w.bad[1].missing = true;
    w.bad[2].missing = true;
    assert_int_equal(fetch_one(&w, &g, 5), 0); // it is better than none
    assert_int_equal(requests(&w, 0), 2);
    close_world(&w);
}

static void wrong_data_is_not_retried_from_the_same_source(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].lies = 100;
    w.bad[1].lies = 100;
    assert_int_equal(fetch_one(&w, &g, 5), -EBADMSG);
    assert_int_equal(requests(&w, 0), 1);
    assert_int_equal(requests(&w, 1), 1);
    close_world(&w);
}

static void missing_everywhere_is_missing(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].missing = true;
    w.bad[1].missing = true;
    assert_int_equal(fetch_one(&w, &g, 5), -ENOENT);
    assert_int_equal(requests(&w, 0), 1);
    assert_int_equal(requests(&w, 1), 1);
    w.bad[1].missing = false;
    assert_int_equal(fetch_one(&w, &g, 5), 0);
    close_world(&w);
}

static void lie_outweighs_missing(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 3);
    w.bad[0].missing = true;
    w.bad[1].lies = 1;
    w.bad[2].missing = true;
    assert_int_equal(fetch_one(&w, &g, 5), -EBADMSG);
    close_world(&w);
}

static void source_that_cannot_be_asked_keeps_a_fetch_going(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].lies = 1;
    w.bad[1].fail = 3;
    assert_int_equal(fetch_one(&w, &g, 10), 0); // it may still have the right bytes
    assert_int_equal(requests(&w, 0), 1);
    assert_int_equal(requests(&w, 1), 4);
    w.bad[0].missing = true;
    w.bad[1].fail = 1000;
    struct mirrors_job job = job_of(&g, 4096, 8192);
    assert_int_equal(mirrors_fetch(w.mirrors, &job, 1, io_monotonic_ns() + SECOND), -ENETUNREACH);
    assert_non_null(strstr(job.error.text, "503"));
    close_world(&w);
}

// Whoever has lied is named, though the job ends for want of the other's answer (T01).
static void lie_is_told_where_the_others_are_silent(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].lies = 1000;
    w.bad[1].fail = 1000;
    for (unsigned i = 0; i < 2; i++) { // and again when the liar is known
        struct mirrors_job job = job_of(&g, 4096, 8192);
        assert_int_equal(mirrors_fetch(w.mirrors, &job, 1, io_monotonic_ns() + SECOND), -ENETUNREACH);
        assert_non_null(strstr(job.error.text, "no other source answered"));
        assert_non_null(strstr(job.error.text, w.server[0]->address));
        assert_non_null(strstr(job.error.text, "not what they should be"));
        assert_int_equal(requests(&w, 0), i + 1);
    }
    close_world(&w);
}

static void sinks_failure_is_the_jobs_and_blames_nobody(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    struct mirrors_job job = job_of(&g, 0, 4096);
    g.refuse_with = -ENOSPC;
    assert_int_equal(mirrors_fetch(w.mirrors, &job, 1, io_monotonic_ns() + SECOND), -ENOSPC);
    assert_int_equal(fetch_one(&w, &g, 5), 0);
    assert_int_equal(requests(&w, 0), 2);
    assert_int_equal(requests(&w, 1), 0);
    close_world(&w);
}

static void directory_serves_and_equal_addresses_count_once(void **state)
{
    (void)state;
    char folder[] = "/tmp/test_mirrors.XXXXXX", same[64];
    assert_non_null(mkdtemp(folder));
    snprintf(same, sizeof(same), "%s/../%s/", folder, folder + 5);
    int dir = open(folder, O_RDONLY | O_DIRECTORY);
    assert_int_equal(io_make_folders(dir, "objects/ab", 0700), 0);
    assert_int_equal(io_replace_file(dir, "objects/ab/abc", file, FILE_SIZE, 0600), 0);
    struct world w = {.count = 1};
    w.server[0] = tiny_http_start(misbehave, &w.bad[0]);
    w.bad[0].lies = 1;
    assert_int_equal(transport_new(&w.transport, NULL), 0);
    char longer[80];
    snprintf(longer, sizeof(longer), "HTTP%s", w.server[0]->address + 4);
    const char *addresses[] = {"/no/such/directory", w.server[0]->address, folder, longer, same, "ftp://x/"};
    assert_int_equal(mirrors_new(w.transport, addresses, 6, &w.mirrors, NULL), 0);
    assert_int_equal(mirrors_count(w.mirrors), 2);
    assert_string_equal(source_address(mirrors_source(w.mirrors, 1)), folder);
    struct got g;
    assert_int_equal(fetch_one(&w, &g, 5), 0);
    assert_memory_equal(g.bytes, file + 4096, 8192);
    assert_int_equal(unlinkat(dir, "objects/ab/abc", 0), 0);
    w.bad[0].missing = true;
    assert_int_equal(fetch_one(&w, &g, 5), -ENOENT);
    close_world(&w);
    assert_int_equal(unlinkat(dir, "objects/ab", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(dir, "objects", AT_REMOVEDIR), 0);
    close(dir);
    assert_int_equal(rmdir(folder), 0);
}

static void no_usable_address_is_an_error(void **state)
{
    (void)state;
    struct transport *t;
    struct mirrors *m;
    struct error e;
    const char *bad[] = {"ftp://x/", "/no/such/directory"};
    assert_int_equal(transport_new(&t, NULL), 0);
    assert_int_equal(mirrors_new(t, bad, 2, &m, &e), -EINVAL);
    assert_non_null(strstr(e.text, "ftp://x/"));
    assert_int_equal(mirrors_new(t, bad, 0, &m, &e), -EINVAL);
    transport_free(t);
}

static bool ignore_ranges(struct tiny_request *q, void *context)
{
    (void)context;
    return tiny_reply(q, "200 OK", "", file, FILE_SIZE);
}

static void servers_without_ranges_are_known(void **state)
{
    (void)state;
    struct world w = {.count = 1};
    w.server[0] = tiny_http_start(ignore_ranges, NULL);
    assert_int_equal(transport_new(&w.transport, NULL), 0);
    const char *address = w.server[0]->address;
    assert_int_equal(mirrors_new(w.transport, &address, 1, &w.mirrors, NULL), 0);
    assert_false(mirrors_ignore_ranges(w.mirrors));
    struct got g;
    assert_int_equal(fetch_one(&w, &g, 5), 0);
    assert_int_equal(g.n, FILE_SIZE);
    assert_true(mirrors_ignore_ranges(w.mirrors));
    close_world(&w);
}

// The health of sources alone, with a clock of the test's own.
static void one_probe_finds_out_whether_a_source_is_back(void **state)
{
    (void)state;
    struct mirror m[2] = {{.source = NULL}, {.source = NULL}};
    struct source_request r = {.error = {.text = "down"}};
    unsigned i = 9;
    uint64_t now = 1000 * SECOND, wake;
    mirrors_health_note_result(&m[0], -ENETUNREACH, now, now, &r);
    assert_true(mirrors_health_pick(m, 2, 0, 0, now, &i, &wake));
    assert_int_equal(i, 1);
    now += 9 * SECOND;
    assert_true(mirrors_health_pick(m, 2, 0, 0, now, &i, &wake));
    assert_int_equal(i, 0);
    mirrors_health_note_asked(&m[0], now); // the probe is under way: the others look elsewhere
    assert_true(mirrors_health_pick(m, 2, 0, 0, now, &i, &wake));
    assert_int_equal(i, 1);
    mirrors_health_note_result(&m[0], -ENETUNREACH, now, now + SECOND, &r);
    now += 9 * SECOND; // the second failure lasts longer
    assert_true(mirrors_health_pick(m, 2, 0, 0, now, &i, &wake));
    assert_int_equal(i, 1);
    now += 9 * SECOND;
    assert_true(mirrors_health_pick(m, 2, 0, 0, now, &i, &wake));
    assert_int_equal(i, 0);
}

// Neither an answer that was right nor silence shortens the ten minutes; a further lie begins them anew.
static void liar_is_asked_like_others_after_ten_minutes(void **state)
{
    (void)state;
    struct mirror m[3] = {{.source = NULL}, {.source = NULL}, {.source = NULL}};
    struct source_request r = {.error = {.text = "wrong"}};
    unsigned i = 9;
    uint64_t now = 1000 * SECOND, wake;
    mirrors_health_note_result(&m[0], -EBADMSG, now, now, &r);
    mirrors_health_note_result(&m[1], -ENETUNREACH, now, now, &r);
    static const unsigned order[] = {2, 1, 0}; // the healthy one, the one that failed, the liar
    for (unsigned n = 0, excluded = 0; n < 3; excluded |= 1u << i, n++) {
        assert_true(mirrors_health_pick(m, 3, excluded, 0, now, &i, &wake));
        assert_int_equal(i, order[n]);
    }
    mirrors_health_note_result(&m[0], 0, now, now, &r);
    for (unsigned lies = 0; lies < 2; lies++) {
        now += 599 * SECOND;
        assert_true(mirrors_health_pick(m, 3, 0, 0, now, &i, &wake));
        assert_int_equal(i, 1);
        assert_false(mirrors_health_is_well(&m[0], now));
        if (lies == 0)
            mirrors_health_note_result(&m[0], -EBADMSG, now, now, &r);
    }
    now += SECOND;
    assert_true(mirrors_health_is_well(&m[0], now));
    assert_true(mirrors_health_pick(m, 3, 0, 0, now, &i, &wake));
    assert_int_equal(i, 0);
}

static void end_of_an_outage_is_told(void **state)
{
    (void)state;
    struct transport *t;
    struct mirror m = {.source = NULL};
    struct source_request r = {.error = {.text = "down"}};
    uint64_t now = 1000 * SECOND;
    assert_int_equal(transport_new(&t, NULL), 0);
    assert_int_equal(source_open(t, "http://site.test/", &m.source, NULL), 0);
    for (unsigned failures = 0; failures < 6; failures++) {
        for (unsigned i = 0; i < failures; i++, now += SECOND)
            assert_false(mirrors_health_note_result(&m, -ENETUNREACH, now, now, &r));
        assert_int_equal(mirrors_health_note_result(&m, -ENOENT, now, now, &r), failures >= 3);
        assert_int_equal(m.failures, 0);
        assert_int_equal(m.paused_until, 0);
    }
    source_close(m.source);
    transport_free(t);
}

static void failures_side_by_side_count_once(void **state)
{
    (void)state;
    struct mirror m = {.source = NULL};
    struct source_request r = {.error = {.text = "down"}};
    uint64_t now = 1000 * SECOND;
    for (unsigned i = 0; i < 20; i++)
        mirrors_health_note_result(&m, -ENETUNREACH, now, now + SECOND + i, &r);
    assert_int_equal(m.failures, 1);
    assert_int_equal(m.paused_until, now + SECOND + 19);
    for (unsigned i = 1; i < 20; i++) {
        mirrors_health_note_result(&m, -ENETUNREACH, now + i * 10 * SECOND, now + i * 10 * SECOND, &r);
        assert_true(m.paused_until <= now + i * 10 * SECOND + 2 * SECOND);
    }
    assert_int_equal(m.failures, 20);
    assert_true(m.paused_until > now + 190 * SECOND);
}

int main(void)
{
    set_up();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_source_is_asked_first),
        cmocka_unit_test(failed_source_is_asked_after_the_healthy_ones),
        cmocka_unit_test(liar_is_asked_last),
        cmocka_unit_test(wrong_data_is_not_retried_from_the_same_source),
        cmocka_unit_test(missing_everywhere_is_missing),
        cmocka_unit_test(lie_outweighs_missing),
        cmocka_unit_test(source_that_cannot_be_asked_keeps_a_fetch_going),
        cmocka_unit_test(lie_is_told_where_the_others_are_silent),
        cmocka_unit_test(sinks_failure_is_the_jobs_and_blames_nobody),
        cmocka_unit_test(directory_serves_and_equal_addresses_count_once),
        cmocka_unit_test(no_usable_address_is_an_error),
        cmocka_unit_test(servers_without_ranges_are_known),
        cmocka_unit_test(one_probe_finds_out_whether_a_source_is_back),
        cmocka_unit_test(liar_is_asked_like_others_after_ten_minutes),
        cmocka_unit_test(end_of_an_outage_is_told),
        cmocka_unit_test(failures_side_by_side_count_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
