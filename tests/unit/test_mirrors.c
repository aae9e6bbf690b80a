// Mirrors: order, retries, demotion, deadlines, and who pays for a source that is down. The numbers are the rules
// of mirrors.h.

#include "blockstore/mirrors.h"

#include "base/io.h"
#include "blockstore/mirrors_health.h"
#include "tests/unit/tiny_http.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/banned.h"

#define SECOND UINT64_C(1000000000)
#define FILE_SIZE 100000u
static unsigned char file[FILE_SIZE];

// A server of `file` that misbehaves as its test says.
struct bad_server {
    atomic_uint fail;   // so many requests get 500, or no answer at all if `hang_up`
    bool hang_up;       // close in the middle of the body instead
    bool missing;       // 404
    atomic_uint lies;   // so many answers have one bit flipped
    atomic_uint silent; // so many requests get no answer until the test ends
    atomic_uint slow;   // so many get two bytes a second
    const char *retry_after;
};

static bool take_one(atomic_uint *left)
{
    if (atomic_load(left) == 0)
        return false;
    atomic_fetch_sub(left, 1);
    return true;
}

static bool misbehave(struct tiny_request *q, void *context)
{
    struct bad_server *b = context;
    if (b->missing)
        return tiny_reply(q, "404 Not Found", "", "", 0);
    if (take_one(&b->silent)) {
        char byte;
        recv(q->fd, &byte, 1, 0);
        return false;
    }
    if (take_one(&b->slow)) {
        tiny_text(q->fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        for (unsigned i = 0; !atomic_load(&q->server->stopping) && send(q->fd, file + i, 1, MSG_NOSIGNAL) == 1; i++)
            usleep(500000);
        return false;
    }
    if (take_one(&b->fail)) {
        if (!b->hang_up)
            return tiny_reply(q, "503 Later", b->retry_after ? b->retry_after : "", "", 0);
        char head[200];
        snprintf(head, sizeof(head), "HTTP/1.1 206 P\r\nContent-Range: bytes %llu-%llu/%u\r\n\r\n", q->first, q->last,
                 FILE_SIZE);
        tiny_text(q->fd, head);
        tiny_send(q->fd, file + q->first, (size_t)(q->last - q->first + 1) / 2);
        return false;
    }
    if (take_one(&b->lies)) {
        unsigned char changed[FILE_SIZE];
        memcpy(changed, file, FILE_SIZE);
        changed[q->has_range ? q->first : 0] ^= 1;
        return tiny_serve(q, changed, FILE_SIZE);
    }
    return tiny_serve(q, file, FILE_SIZE);
}

// What a job collects; its verification compares with `file`.
struct got {
    uint64_t offset, length; // wanted
    unsigned char bytes[FILE_SIZE];
    uint64_t n, begin;
    unsigned restarts;
    int refuse_with;
};

static void restart(void *context)
{
    struct got *g = context;
    g->n = 0;
    g->restarts++;
}

static int take(void *context, uint64_t offset, const void *bytes, size_t n)
{
    struct got *g = context;
    if (g->refuse_with)
        return g->refuse_with;
    if (g->n == 0)
        g->begin = offset;
    assert_true(offset == g->begin + g->n && g->n + n <= FILE_SIZE);
    memcpy(g->bytes + g->n, bytes, n);
    g->n += n;
    return 0;
}

static int verify(void *context, struct error *error)
{
    const struct got *g = context;
    uint64_t at = g->offset - g->begin;
    if (g->begin > g->offset || at + g->length > g->n ||
        memcmp(g->bytes + at, file + g->offset, (size_t)g->length) != 0)
        return error_set(error, EBADMSG, "the bytes are not what they should be");
    return 0;
}

static struct mirrors_job job_of(struct got *g, uint64_t offset, uint64_t length)
{
    memset(g, 0, sizeof(*g));
    g->offset = offset;
    g->length = length;
    return (struct mirrors_job){.path = "objects/ab/abc",
                                .offset = offset,
                                .length = length,
                                .maximum = FILE_SIZE,
                                .restart = restart,
                                .sink = take,
                                .verify = verify,
                                .context = g};
}

struct world {
    struct transport *transport;
    struct mirrors *mirrors;
    struct tiny_http *server[3];
    struct bad_server bad[3];
    unsigned count;
};

static void open_world(struct world *w, unsigned count)
{
    memset(w, 0, sizeof(*w));
    w->count = count;
    const char *addresses[3];
    for (unsigned i = 0; i < count; i++) {
        w->server[i] = tiny_http_start(misbehave, &w->bad[i]);
        addresses[i] = w->server[i]->address;
    }
    assert_int_equal(transport_new(&w->transport, NULL), 0);
    assert_int_equal(mirrors_new(w->transport, addresses, count, &w->mirrors, NULL), 0);
    assert_int_equal(mirrors_count(w->mirrors), count);
}

static void close_world(struct world *w)
{
    mirrors_free(w->mirrors);
    transport_free(w->transport);
    for (unsigned i = 0; i < w->count; i++)
        tiny_http_stop(w->server[i]);
}

static int fetch_one(struct world *w, struct got *g, uint64_t seconds)
{
    struct mirrors_job job = job_of(g, 4096, 8192);
    int r = mirrors_fetch(w->mirrors, &job, 1, io_monotonic_ns() + seconds * SECOND);
    assert_int_equal(r, job.result);
    if (r < 0) {
        print_message("# %s\n", job.error.text);
        assert_non_null(strstr(job.error.text, "objects/ab/abc"));
    } else {
        assert_string_equal(job.error.text, "");
    }
    return r;
}

static unsigned requests(const struct world *w, unsigned i)
{
    return atomic_load(&w->server[i]->requests);
}

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

static void passing_failures_are_retried(void **state)
{
    (void)state;
    for (int hang_up = 0; hang_up < 2; hang_up++) {
        struct world w;
        struct got g;
        open_world(&w, 1);
        w.bad[0].hang_up = hang_up;
        w.bad[0].fail = 4;
        assert_int_equal(fetch_one(&w, &g, 20), 0);
        assert_int_equal(requests(&w, 0), 5);
        assert_int_equal(g.restarts, 5);
        close_world(&w);
    }
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

static void deadline_ends_a_fetch(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].silent = 100;
    w.bad[1].fail = 100;
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 1), -ENETUNREACH);
    uint64_t took = io_monotonic_ns() - before;
    assert_true(took >= SECOND && took < 3 * SECOND);
    assert_int_equal(fetch_one(&w, &g, 0), -ENETUNREACH);
    close_world(&w);
}

static void retry_after_is_honoured(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 1);
    w.bad[0].fail = 1;
    w.bad[0].retry_after = "Retry-After: 1\r\n";
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 10), 0);
    assert_true(io_monotonic_ns() - before >= SECOND);
    close_world(&w);
}

static void retries_wait_between_them(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 1);
    w.bad[0].fail = 1000000;
    assert_int_equal(fetch_one(&w, &g, 2), -ENETUNREACH);
    // 50 ms doubled up to 2 s, each at least half: at most 7 attempts fit into 2 s; without jitter, 6.
    assert_in_range(requests(&w, 0), 4, 8);
    close_world(&w);
}

static void slow_source_gives_way_to_the_next(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 2);
    w.bad[0].slow = 100;
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 30), 0);
    uint64_t took = io_monotonic_ns() - before;
    assert_true(took >= 9 * SECOND && took < 13 * SECOND); // TRANSPORT_STALL_SECONDS
    before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 30), 0); // nobody waits for it again
    assert_true(io_monotonic_ns() - before < SECOND);
    assert_int_equal(requests(&w, 0), 1);
    close_world(&w);
}

enum { MANY = 40 };

static void many_jobs_go_side_by_side(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 2);
    w.bad[0].fail = 5;
    w.bad[1].lies = 5;
    struct got *got = calloc(MANY, sizeof(*got));
    struct mirrors_job jobs[MANY];
    for (unsigned i = 0; i < MANY; i++)
        jobs[i] = job_of(&got[i], (uint64_t)i * 2000, 2000);
    jobs[7].path = "not//a/path";
    assert_int_equal(mirrors_fetch(w.mirrors, jobs, MANY, io_monotonic_ns() + 20 * SECOND), -EINVAL);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(jobs[i].result, i == 7 ? -EINVAL : 0);
        if (i != 7)
            assert_memory_equal(got[i].bytes, file + (size_t)i * 2000, 2000);
    }
    assert_int_equal(mirrors_fetch(w.mirrors, jobs, 0, 0), 0);
    free(got);
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

static void *cancel_soon(void *context)
{
    struct world *w = context;
    while (requests(w, 0) == 0)
        usleep(1000);
    mirrors_cancel(w->mirrors);
    return NULL;
}

static void cancel_ends_fetches_and_prevents_later_ones(void **state)
{
    (void)state;
    struct world w;
    struct got g;
    open_world(&w, 1);
    w.bad[0].silent = 1;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &w), 0);
    uint64_t before = io_monotonic_ns();
    assert_int_equal(fetch_one(&w, &g, 30), -ECANCELED);
    assert_int_equal(fetch_one(&w, &g, 30), -ECANCELED);
    assert_true(io_monotonic_ns() - before < 3 * SECOND);
    assert_int_equal(requests(&w, 0), 1);
    pthread_join(thread, NULL);
    close_world(&w);
}

static void *fetch_often(void *context)
{
    struct world *w = context;
    struct got *g = malloc(sizeof(*g));
    unsigned failures = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct mirrors_job job = job_of(g, (uint64_t)i * 1000, 5000);
        failures += mirrors_fetch(w->mirrors, &job, 1, io_monotonic_ns() + 30 * SECOND) != 0;
    }
    free(g);
    return failures ? context : NULL;
}

static void threads_may_fetch_at_once(void **state)
{
    (void)state;
    struct world w;
    open_world(&w, 3);
    w.bad[0].fail = 20;
    w.bad[1].lies = 3;
    w.bad[2].fail = 10;
    w.bad[2].hang_up = true;
    pthread_t threads[6];
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fetch_often, &w), 0);
    for (unsigned i = 0; i < 6; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
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
    assert_true(mirrors_health_pick(m, 2, 0, now, &i, &wake));
    assert_int_equal(i, 1);
    now += 9 * SECOND;
    assert_true(mirrors_health_pick(m, 2, 0, now, &i, &wake));
    assert_int_equal(i, 0);
    mirrors_health_note_asked(&m[0], now); // the probe is under way: the others look elsewhere
    assert_true(mirrors_health_pick(m, 2, 0, now, &i, &wake));
    assert_int_equal(i, 1);
    mirrors_health_note_result(&m[0], -ENETUNREACH, now, now + SECOND, &r);
    now += 9 * SECOND; // the second failure lasts longer
    assert_true(mirrors_health_pick(m, 2, 0, now, &i, &wake));
    assert_int_equal(i, 1);
    now += 9 * SECOND;
    assert_true(mirrors_health_pick(m, 2, 0, now, &i, &wake));
    assert_int_equal(i, 0);
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
    for (unsigned i = 0; i < FILE_SIZE; i++)
        file[i] = (unsigned char)((i * 2654435761u) >> 13);
    static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++)
        unsetenv(proxies[i]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_source_is_asked_first),
        cmocka_unit_test(passing_failures_are_retried),
        cmocka_unit_test(failed_source_is_asked_after_the_healthy_ones),
        cmocka_unit_test(liar_is_asked_last),
        cmocka_unit_test(wrong_data_is_not_retried_from_the_same_source),
        cmocka_unit_test(missing_everywhere_is_missing),
        cmocka_unit_test(lie_outweighs_missing),
        cmocka_unit_test(deadline_ends_a_fetch),
        cmocka_unit_test(retry_after_is_honoured),
        cmocka_unit_test(retries_wait_between_them),
        cmocka_unit_test(slow_source_gives_way_to_the_next),
        cmocka_unit_test(many_jobs_go_side_by_side),
        cmocka_unit_test(sinks_failure_is_the_jobs_and_blames_nobody),
        cmocka_unit_test(cancel_ends_fetches_and_prevents_later_ones),
        cmocka_unit_test(threads_may_fetch_at_once),
        cmocka_unit_test(directory_serves_and_equal_addresses_count_once),
        cmocka_unit_test(no_usable_address_is_an_error),
        cmocka_unit_test(servers_without_ranges_are_known),
        cmocka_unit_test(one_probe_finds_out_whether_a_source_is_back),
        cmocka_unit_test(failures_side_by_side_count_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
