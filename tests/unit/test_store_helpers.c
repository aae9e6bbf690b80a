// The store's own threads (blockstore/store_helpers.c): what is read ahead is right, few requests, nobody's failure,
// and over when its version is closed. And bytes that are lent instead of copied.
#include "tests/unit/store_server.h"
#include "tests/unit/usual_site.h"

#include "base/log.h"
#include <pthread.h>

#include "base/banned.h"

#define PIECE (128u << 10)
#define DATA_SIZE ((uint64_t)FIRST_BLOCKS * BLOCK_SIZE)

static struct store *open_adaptive(unsigned wait_seconds)
{
    struct store_options options = {
        .cache_folder = site->cache, .wait_seconds = wait_seconds, .adaptive = true, .remember_failures = true};
    struct store *store = NULL;
    assert_int_equal(store_new(&options, &store, NULL), 0);
    return store;
}

// What the helpers have done, when they are done with `chunks` of them.
static struct store_counts wait_for_ahead(struct store *store, uint64_t chunks)
{
    struct store_counts n = {.chunks_ahead = 0};
    for (unsigned i = 0; i < 1000 && n.chunks_ahead < chunks; i++) {
        server_sleep(10);
        store_count(store, &n);
    }
    assert_true(n.chunks_ahead >= chunks);
    return n;
}

static void a_sequential_reader_needs_few_requests(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = open_adaptive(60);
    struct version *v = site_open_version(site, store, server->http->address);
    struct store_counts n;
    atomic_store(&server->delay_ms, 20);
    site_must_read(site, v, DISK, 0, 1);
    unsigned before = server_requests(server);
    for (uint64_t at = 0; at < DATA_SIZE; at += PIECE)
        site_must_read(site, v, DISK, at, PIECE);
    unsigned requests = server_requests(server) - before;
    if (requests > 24) // 63 chunks in 4 packs; one each without reading ahead
        fail_msg("%u requests", requests);
    store_count(store, &n);
    assert_true(n.chunks_ahead > 0);
    assert_int_equal(n.chunks_ahead_wasted, 0);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void what_lies_on_the_disk_is_decoded_ahead(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    site_must_read_all(site, v);
    version_close(v);
    store_free(store);
    store = open_adaptive(2);
    v = site_open_version(site, store, NULL);
    for (uint64_t at = 0; at < DATA_SIZE / 2; at += PIECE)
        site_must_read(site, v, DISK, at, PIECE);
    wait_for_ahead(store, 32);
    version_close(v);
    store_free(store);
}

static void scattered_reads_read_nothing_ahead(void **state)
{
    (void)state;
    struct store *store = open_adaptive(2);
    struct version *v = site_open_version(site, store, site->folder);
    struct store_counts n;
    for (unsigned i = 0; i < 63; i++)
        site_must_read(site, v, DISK, (uint64_t)(i * 29 % 63) * PIECE, BLOCK_SIZE);
    store_count(store, &n);
    assert_int_equal(n.chunks_ahead, 0);
    version_close(v);
    store_free(store);
}

static void where_the_cache_has_all_nothing_is_asked_for(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct store_counts n;
    site_must_read(site, v, DISK, 0, 8 * PIECE);
    version_close(v);
    store_free(store);
    store = open_adaptive(2);
    v = site_open_version(site, store, server->http->address);
    unsigned before = server_requests(server);
    for (uint64_t at = 0; at < 8 * PIECE; at += PIECE) {
        site_must_read(site, v, DISK, at, PIECE);
        if (at == 2 * PIECE) // the reader pauses, for it may be the quicker one
            wait_for_ahead(store, 1);
    }
    server_sleep(200);
    assert_int_equal(server_requests(server), before);
    store_count(store, &n);
    assert_int_equal(n.chunks_fetched, 0);
    version_close(v);
    store_free(store);
    server_stop(server);
}

// The cache has the first two pieces of the disk, and the reader reads them, one behind the other, while the server is
// in trouble: so what is read ahead, and only that, is stuck.
static struct version *begin_reading_ahead(struct store **ret_store, struct site_server *server, atomic_bool *trouble,
                                           unsigned wait_seconds)
{
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    site_must_read(site, v, DISK, 0, 2 * PIECE);
    version_close(v);
    store_free(store);
    store = open_adaptive(wait_seconds);
    v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, DATA_SIZE / 4 * 3, BLOCK_SIZE); // not in the cache: the network is worth asking
    atomic_store(trouble, true);
    unsigned before = server_requests(server);
    site_must_read(site, v, DISK, 0, PIECE);
    site_must_read(site, v, DISK, PIECE, PIECE);
    for (unsigned i = 0; i < 1000 && server_requests(server) == before; i++)
        server_sleep(5);
    assert_true(server_requests(server) > before);
    *ret_store = store;
    return v;
}

struct reader {
    pthread_t thread;
    struct version *v;
    uint64_t offset, length;
    int result;
    struct error error;
};

static void *read_on(void *context)
{
    struct reader *r = context;
    for (uint64_t at = 0; at < r->length && r->result == 0; at += PIECE)
        r->result = site_check(site, r->v, DISK, (r->offset + at) % DATA_SIZE, PIECE, &r->error);
    return NULL;
}

static void start_reader(struct reader *r, struct version *v, uint64_t offset, uint64_t length)
{
    *r = (struct reader){.v = v, .offset = offset, .length = length};
    assert_int_equal(pthread_create(&r->thread, NULL, read_on, r), 0);
}

static void end_reader(struct reader *r, int result)
{
    pthread_join(r->thread, NULL);
    if (r->result != result)
        fail_msg("a reader got %d: %s", r->result, r->error.text);
}

static void a_failure_ahead_is_no_readers(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store;
    struct reader waiting, late;
    struct version *v = begin_reading_ahead(&store, server, &server->closed, 5);
    // One reader waits for what is read ahead in vain until 5 s are over; another begins when that has just failed.
    server_sleep(3500);
    start_reader(&waiting, v, 2 * PIECE, PIECE);
    server_sleep(1700);
    start_reader(&late, v, 3 * PIECE, PIECE);
    server_sleep(200);
    atomic_store(&server->closed, false);
    end_reader(&waiting, 0);
    end_reader(&late, 0);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void closing_does_not_wait_for_what_is_read_ahead(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store;
    struct version *v = begin_reading_ahead(&store, server, &server->hold, 3600);
    site_must_read(site, v, DISK, 0, PIECE); // in memory
    version_close(v);
    store_free(store);
    atomic_store(&server->hold, false);
    server_stop(server);
}

static void cancelling_ends_reading_ahead_and_its_readers(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store;
    struct version *v = begin_reading_ahead(&store, server, &server->hold, 3600);
    struct reader r;
    start_reader(&r, v, DATA_SIZE / 2, PIECE);
    server_sleep(100);
    version_cancel(v);
    end_reader(&r, -ECANCELED);
    version_close(v);
    store_free(store);
    atomic_store(&server->hold, false);
    server_stop(server);
}

static void many_sequential_readers_read_right_bytes_over_a_bad_network(void **state)
{
    (void)state;
    struct site_server *bad = server_start(site), *good = server_start(site);
    const char *addresses[] = {bad->http->address, good->http->address};
    struct store *store = open_adaptive(60);
    struct version *versions[2];
    struct reader readers[8];
    atomic_store(&bad->lie_every, 5);
    atomic_store(&bad->fail_every, 7);
    atomic_store(&bad->cut_every, 11);
    atomic_store(&good->fail_every, 9);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(version_open(store, &site->manifest, addresses, 2, &versions[i], NULL), 0);
    for (unsigned i = 0; i < 8; i++)
        start_reader(&readers[i], versions[i % 2], i * DATA_SIZE / 8, DATA_SIZE);
    for (unsigned i = 0; i < 8; i++)
        end_reader(&readers[i], 0);
    for (unsigned i = 0; i < 2; i++)
        version_close(versions[i]);
    store_free(store);
    server_stop(bad);
    server_stop(good);
}

// --- borrowing -----------------------------------------------------------------------------------------------------

static void must_lend(struct version *v, unsigned member, uint64_t offset, size_t n)
{
    struct version_pieces pieces;
    struct error error = {.text = ""};
    unsigned char *expected CLEANUP_FREE = malloc(n + 1);
    size_t at = 0;
    assert_non_null(expected);
    site_fill(site, member, offset, expected, n);
    if (version_borrow(v, member, offset, n, &pieces, &error) != 0)
        fail_msg("%s", error.text);
    assert_true(pieces.count <= VERSION_PIECES_MAXIMUM);
    for (unsigned i = 0; i < pieces.count; i++) {
        assert_true(pieces.list[i].iov_len <= n - at);
        assert_memory_equal(pieces.list[i].iov_base, expected + at, pieces.list[i].iov_len);
        at += pieces.list[i].iov_len;
    }
    assert_int_equal(at, n);
    version_return(&pieces);
}

static void what_is_lent_equals_the_source(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    for (uint64_t at = 0; at < DATA_SIZE; at += 5 * PIECE / 3)
        must_lend(v, DISK, at, PIECE);
    must_lend(v, DISK, DATA_SIZE - 3 * BLOCK_SIZE, PIECE);                   // data, then a hole
    must_lend(v, DISK, (BORDER_FIRST - 7) * (uint64_t)BLOCK_SIZE, PIECE);    // a hole, then data
    must_lend(v, DISK, (MAP_LEAF_BLOCKS - 9) * (uint64_t)BLOCK_SIZE, PIECE); // two leaves
    must_lend(v, DISK, site->disk_size - 5000, 5000);
    must_lend(v, DISK, site->disk_size, 0);
    must_lend(v, DISK, 4095, 2);
    must_lend(v, KERNEL, 0, KERNEL_SIZE);
    must_lend(v, INITRD, 17, 99000);
    version_close(v);
    store_free(store);
}

static void what_is_lent_outlives_its_version_and_evictions(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 1u << 20);
    struct version *v = site_open_version(site, store, site->folder);
    struct version_pieces pieces;
    unsigned char expected[BLOCK_SIZE];
    assert_int_equal(version_borrow(v, DISK, 10 * BLOCK_SIZE, BLOCK_SIZE, &pieces, NULL), 0);
    site_must_read_all(site, v); // many times the memory
    version_close(v);
    site_fill(site, DISK, 10 * BLOCK_SIZE, expected, sizeof(expected));
    assert_memory_equal(pieces.list[0].iov_base, expected, sizeof(expected));
    version_return(&pieces);
    store_free(store);
}

static void too_much_is_not_lent(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct version_pieces pieces;
    struct error error;
    assert_int_equal(version_borrow(v, DISK, 0, VERSION_BORROW_MAXIMUM + 1, &pieces, &error), -EINVAL);
    assert_int_equal(version_borrow(v, KERNEL, KERNEL_SIZE - 5, 6, &pieces, &error), -EINVAL);
    assert_int_equal(version_borrow(v, 3, 0, 1, &pieces, &error), -EINVAL);
    version_close(v);
    store_free(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, usual_site_set_up, usual_site_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_store_helpers");
    const struct CMUnitTest tests[] = {
        TEST(a_sequential_reader_needs_few_requests),
        TEST(what_lies_on_the_disk_is_decoded_ahead),
        TEST(scattered_reads_read_nothing_ahead),
        TEST(where_the_cache_has_all_nothing_is_asked_for),
        TEST(a_failure_ahead_is_no_readers),
        TEST(closing_does_not_wait_for_what_is_read_ahead),
        TEST(cancelling_ends_reading_ahead_and_its_readers),
        TEST(many_sequential_readers_read_right_bytes_over_a_bad_network),
        TEST(what_is_lent_equals_the_source),
        TEST(what_is_lent_outlives_its_version_and_evictions),
        TEST(too_much_is_not_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
