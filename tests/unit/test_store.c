// The store: what reads give, and how many requests they take.

#include "tests/unit/store_server.h"
#include "tests/unit/usual_site.h"

#include "base/log.h"
#include <malloc.h>

#include "base/banned.h"

static unsigned next_random(uint64_t *x)
{
    *x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*x >> 33);
}

// --- what reads give -----------------------------------------------------------------------------------------------

static void reads_equal_the_source(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    uint64_t seed = 1;
    assert_int_equal(version_manifest(v)->member_count, 3);
    assert_true(sha256_equal(version_name(v), &site->manifest));
    site_must_read_all(site, v);
    for (unsigned i = 0; i < 300; i++) {
        uint64_t offset = next_random(&seed) % (site->disk_size - 300000);
        site_must_read(site, v, DISK, offset, next_random(&seed) % 300000);
        site_must_read(site, v, DISK, BORDER_FIRST * (uint64_t)BLOCK_SIZE + offset % 2000000, offset % 70000);
    }
    site_must_read(site, v, DISK, site->disk_size - 5000, 5000);
    site_must_read(site, v, DISK, site->disk_size, 0);
    site_must_read(site, v, DISK, 0, 20u << 20); // longer than any window
    version_close(v);
    store_free(store);
}

static void reads_beyond_the_end_are_refused(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, false, 0);
    struct version *v = site_open_version(site, store, site->folder);
    char to[10];
    struct error error;
    assert_int_equal(version_read(v, KERNEL, KERNEL_SIZE - 5, to, 6, &error), -EINVAL);
    assert_int_equal(version_read(v, KERNEL, UINT64_MAX, to, 1, &error), -EINVAL);
    assert_int_equal(version_read(v, INITRD, INITRD_SIZE, to, 1, &error), -EINVAL);
    assert_int_equal(version_read(v, 3, 0, to, 1, &error), -EINVAL);
    version_close(v);
    store_free(store);
}

static void a_version_is_opened_by_its_hash_alone(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v;
    struct error error;
    struct sha256 other = sha256_of("other", 5);
    const char *address = site->folder;
    size_t n;
    assert_int_equal(version_open(store, &other, &address, 1, &v, &error), -ENOENT);
    assert_int_equal(version_open(store, &site->manifest, NULL, 0, &v, &error), -ENOENT);
    assert_non_null(strstr(error.text, "cache"));
    v = site_open_version(site, store, site->folder);
    const void *bytes = version_manifest_bytes(v, &n);
    struct sha256 actual = sha256_of(bytes, n);
    assert_true(sha256_equal(&actual, &site->manifest));
    version_close(v);
    v = site_open_version(site, store, NULL); // it was kept
    version_close(v);
    store_free(store);
}

static void *no_memory(size_t n)
{
    (void)n;
    return NULL;
}

static void want_of_memory_is_not_taken_for_want_of_a_manifest(void **state)
{
    (void)state;
    static struct io_table table;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct error error = {.text = ""};
    version_close(v);
    table = io_table_system;
    table.malloc = no_memory;
    io = &table;
    int r = version_open(store, &site->manifest, NULL, 0, &v, &error);
    io = &io_table_system;
    assert_int_equal(r, -ENOMEM);
    assert_null(strstr(error.text, "not in the cache"));
    store_free(store);
}

static void measuring_a_member_sums_its_map(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, false, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct version_extent e;
    uint64_t stored = 0;
    unsigned data_chunks = (FIRST_BLOCKS + MAP_LEAF_BLOCKS - BORDER_FIRST) / 32 + (BORDER_BLOCKS - 96) / 32;
    assert_int_equal(version_measure(v, DISK, &e, NULL), 0);
    assert_int_equal(e.mapped_blocks, FIRST_BLOCKS + BORDER_BLOCKS + 32);
    assert_int_equal(e.chunks, data_chunks);
    for (unsigned i = 0, n = 0; n < data_chunks; i++)
        if (site->packs[site->chunks[i].pack].bytes.data[site->chunks[i].ref.offset] == CHUNK_DATA) {
            stored += site->chunks[i].ref.length;
            n++;
        }
    assert_int_equal(e.stored_bytes, stored);
    assert_true(e.packs > 2);
    assert_int_equal(version_measure(v, INITRD, &e, NULL), 0);
    assert_int_equal(e.mapped_blocks, 0);
    assert_int_equal(version_measure(v, 9, &e, NULL), -EINVAL);
    version_close(v);
    store_free(store);
}

// --- how many requests ---------------------------------------------------------------------------------------------

static void a_terabyte_opens_with_five_requests(void **state)
{
    (void)state;
    struct test_site *big = site_make(1ull << 40);
    struct site_server *server = server_start(big);
    struct store *store = site_open_store(big, true, 0);
    struct version *v = site_open_version(big, store, server->http->address);
    site_must_read(big, v, DISK, 0, 1);
    assert_int_equal(server_requests(server), 5);                // manifest, two index pages, leaf, chunk
    site_must_read(big, v, DISK, (1ull << 40) - 100000, 100000); // zeros, known from the index alone
    assert_int_equal(server_requests(server), 5);
    struct store_counts counts;
    store_count(store, &counts);
    assert_int_equal(counts.network.requests, 5);
    assert_int_equal(counts.chunks_fetched, 4);
    version_close(v);
    store_free(store);
    server_stop(server);
    site_free(big);
}

struct reading {
    struct version *v;
    uint64_t offset;
    size_t n;
    int result;
    struct error error;
};

static void *read_one(void *context)
{
    struct reading *r = context;
    r->result = site_check(site, r->v, DISK, r->offset, r->n, &r->error);
    return NULL;
}

static void equal_misses_are_one_request(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    pthread_t threads[8];
    struct reading readings[8];
    atomic_store(&server->delay_ms, 100);
    for (unsigned i = 0; i < 8; i++) {
        readings[i] = (struct reading){.v = v, .offset = 4096 * i, .n = 100 + i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_one, &readings[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].result, 0);
    }
    assert_int_equal(server_requests(server), 4); // manifest, index page, leaf, chunk
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void neighbouring_misses_are_one_request(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, 1);
    unsigned before = server_requests(server);
    // Chunks 1 to 8: one range, exactly theirs.
    site_must_read(site, v, DISK, 32 * BLOCK_SIZE, 8 * 32 * BLOCK_SIZE);
    assert_int_equal(server_requests(server), before + 1);
    const struct site_request *r = &server->log[before];
    assert_true(r->has_range);
    assert_int_equal(r->first, site->chunks[1].ref.offset);
    assert_int_equal(r->last, site->chunks[8].ref.offset + site->chunks[8].ref.length - 1);
    // Again, from memory; and again, from the disk.
    site_must_read(site, v, DISK, 32 * BLOCK_SIZE, 8 * 32 * BLOCK_SIZE);
    version_close(v);
    store_free(store);
    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, 9 * 32 * BLOCK_SIZE);
    assert_int_equal(server_requests(server), before + 1);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void misses_of_several_readers_are_gathered(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    pthread_t threads[32];
    struct reading readings[32];
    site_must_read(site, v, DISK, 0, 1);
    unsigned before = server_requests(server);
    atomic_store(&server->hold, true);
    // 32 readers of 32 neighbouring chunks: the first 8 are on their way at once, the others gather behind them.
    for (unsigned i = 0; i < 32; i++) {
        readings[i] = (struct reading){.v = v, .offset = (i + 1) * 32ull * BLOCK_SIZE, .n = 100};
        assert_int_equal(pthread_create(&threads[i], NULL, read_one, &readings[i]), 0);
    }
    server_sleep(300);
    atomic_store(&server->hold, false);
    for (unsigned i = 0; i < 32; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].result, 0);
    }
    unsigned requests = server_requests(server) - before;
    assert_true(requests >= 1 && requests < 32);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void a_source_without_ranges_sends_each_pack_once(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    atomic_store(&server->ignore_ranges, true);
    site_must_read_all(site, v);
    assert_int_equal(server_requests(server), 1 + site->pack_count); // the manifest, and every pack
    for (unsigned i = 0; i < site->pack_count; i++)
        assert_true(cache_has_object(store_cache(store), &site->packs[i].name));
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void *read_all(void *context)
{
    struct reading *r = context;
    for (uint64_t block = 0; block < FIRST_BLOCKS && r->result == 0; block += 32)
        r->result = site_check(site, r->v, DISK, block * BLOCK_SIZE, 32 * BLOCK_SIZE, &r->error);
    return NULL;
}

static void readers_wait_for_a_pack_that_is_coming_whole(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    pthread_t threads[4];
    struct reading readings[4];
    atomic_store(&server->ignore_ranges, true);
    site_must_read(site, v, DISK, 0, 1); // from here on the source is known
    unsigned before = server_requests(server);
    atomic_store(&server->delay_ms, 20);
    for (unsigned i = 0; i < 4; i++) {
        readings[i] = (struct reading){.v = v};
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, &readings[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].result, 0);
    }
    assert_true(server_requests(server) - before <= site->pack_count);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void without_a_cache_whole_packs_are_read_through(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, false, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    atomic_store(&server->ignore_ranges, true);
    site_must_read(site, v, DISK, 100000, 500000);
    site_must_read(site, v, KERNEL, 0, KERNEL_SIZE);
    version_close(v);
    store_free(store);
    server_stop(server);
}

// --- offline -------------------------------------------------------------------------------------------------------

static void what_was_read_is_there_offline_and_the_rest_says_what_to_do(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, 300000);
    version_close(v);
    store_free(store);
    unsigned requests = server_requests(server);
    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, NULL);
    site_must_read(site, v, DISK, 0, 300000);
    struct error error;
    assert_int_equal(site_check(site, v, DISK, 4000000, 10, &error), -ENOENT);
    assert_non_null(strstr(error.text, "rondo pull"));
    assert_non_null(strstr(error.text, "chunk"));
    assert_int_equal(server_requests(server), requests);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void no_source_in_reach_fails_after_the_waiting_time(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, 1);
    atomic_store(&server->closed, true);
    struct error error;
    uint64_t start = io_monotonic_ns();
    assert_int_equal(site_check(site, v, DISK, 4000000, 10, &error), -ENETUNREACH);
    assert_true(io_monotonic_ns() - start >= 1900000000ull);
    assert_non_null(strstr(error.text, "chunk"));
    site_must_read(site, v, DISK, 0, 1); // what is there is there
    atomic_store(&server->closed, false);
    site_must_read(site, v, DISK, 4000000, 10); // and the failure is not remembered
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void a_remembered_failure_is_told_at_once(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store_options options = {.cache_folder = site->cache, .wait_seconds = 2, .remember_failures = true};
    struct store *store;
    assert_int_equal(store_new(&options, &store, NULL), 0);
    struct version *v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, 1);
    atomic_store(&server->closed, true);
    struct error error;
    assert_int_equal(site_check(site, v, DISK, 4000000, 10, &error), -ENETUNREACH);
    uint64_t start = io_monotonic_ns();
    assert_int_equal(site_check(site, v, DISK, 4000100, 10, &error), -ENETUNREACH); // of the same chunk
    assert_true(io_monotonic_ns() - start < 500000000ull);
    assert_non_null(strstr(error.text, "a moment ago"));
    site_must_read(site, v, DISK, 0, 1);
    atomic_store(&server->closed, false);
    site_must_read(site, v, DISK, 2000000, 10); // of another one
    struct version *other = site_open_version(site, store, server->http->address);
    site_must_read(site, other, DISK, 4000000, 10); // of another opening, which may have other sources
    version_close(other);
    site_must_read(site, v, DISK, 4000000, 10); // and now it is here
    atomic_store(&server->closed, true);
    assert_int_equal(site_check(site, v, DISK, 6000000, 10, &error), -ENETUNREACH);
    atomic_store(&server->closed, false);
    server_sleep(1100);
    site_must_read(site, v, DISK, 6000000, 10); // it is not remembered for long
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void a_waiting_read_outlasts_a_short_outage(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store_options options = {.cache_folder = site->cache, .wait_seconds = 60};
    struct store *store;
    assert_int_equal(store_new(&options, &store, NULL), 0);
    struct version *v = site_open_version(site, store, server->http->address);
    pthread_t thread;
    struct reading r = {.v = v, .offset = 0, .n = 1000000};
    atomic_store(&server->closed, true);
    assert_int_equal(pthread_create(&thread, NULL, read_one, &r), 0);
    server_sleep(300);
    atomic_store(&server->closed, false);
    pthread_join(thread, NULL);
    assert_int_equal(r.result, 0);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static void cancelling_ends_reads(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    pthread_t threads[3];
    struct reading readings[3];
    site_must_read(site, v, DISK, 0, 1);
    atomic_store(&server->hold, true);
    for (unsigned i = 0; i < 3; i++) {
        readings[i] = (struct reading){.v = v, .offset = 4000000, .n = 10};
        assert_int_equal(pthread_create(&threads[i], NULL, read_one, &readings[i]), 0);
    }
    server_sleep(200);
    version_cancel(v);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readings[i].result, -ECANCELED);
    }
    struct error error;
    assert_int_equal(site_check(site, v, DISK, 0, 1, &error), -ECANCELED);
    assert_int_equal(site_check(site, v, INITRD, 0, 1, &error), -ECANCELED);
    version_close(v);
    // Another version of the same store goes on.
    atomic_store(&server->hold, false);
    v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 4000000, 10);
    version_close(v);
    store_free(store);
    server_stop(server);
}

// --- memory, and many threads --------------------------------------------------------------------------------------

static void memory_is_bounded(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 1u << 20);
    struct version *v = site_open_version(site, store, site->folder);
    struct store_counts counts;
    site_must_read_all(site, v);
    malloc_trim(0);
    struct mallinfo2 before = mallinfo2();
    for (unsigned i = 0; i < 3; i++)
        site_must_read_all(site, v);
    malloc_trim(0);
    struct mallinfo2 after = mallinfo2();
    assert_true(after.uordblks + after.hblkhd <= before.uordblks + before.hblkhd + (1u << 20));
    store_count(store, &counts);
    // 10 MiB do not fit into 1 MiB: they came from the disk again; and nothing was fetched twice.
    assert_true(counts.chunks_cache >= 3 * (FIRST_BLOCKS / 32 - 8));
    assert_true(counts.chunks_fetched <= site->chunk_count);
    assert_int_equal(counts.wrong, 0);
    version_close(v);
    store_free(store);
}

struct hammer {
    struct version *v;
    uint64_t seed;
    int result;
    struct error error;
};

static void *hammer(void *context)
{
    struct hammer *h = context;
    for (unsigned i = 0; i < 150 && h->result == 0; i++) {
        uint64_t base = next_random(&h->seed) % 2 ? 0 : (BORDER_FIRST - 10) * (uint64_t)BLOCK_SIZE;
        uint64_t offset = base + next_random(&h->seed) % (FIRST_BLOCKS * BLOCK_SIZE / 4);
        h->result = site_check(site, h->v, DISK, offset, next_random(&h->seed) % 200000, &h->error);
    }
    return NULL;
}

static void hammer_versions(struct version *const *versions, unsigned count)
{
    pthread_t threads[8];
    struct hammer hammers[8];
    for (unsigned i = 0; i < 8; i++) {
        hammers[i] = (struct hammer){.v = versions[i % count], .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, &hammers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        if (hammers[i].result != 0)
            fail_msg("%d %s", hammers[i].result, hammers[i].error.text);
    }
}

static void many_threads_read_right_bytes_over_a_bad_network(void **state)
{
    (void)state;
    struct site_server *bad = server_start(site), *good = server_start(site);
    const char *addresses[] = {bad->http->address, good->http->address};
    atomic_store(&bad->lie_every, 5);
    atomic_store(&bad->fail_every, 7);
    atomic_store(&bad->cut_every, 11);
    atomic_store(&good->fail_every, 9);
    for (unsigned cached = 0; cached < 2; cached++) {
        struct store_options options = {
            .cache_folder = cached ? site->cache : NULL, .wait_seconds = 60, .chunk_memory = 1u << 20};
        struct store *store;
        struct version *versions[2];
        assert_int_equal(store_new(&options, &store, NULL), 0);
        for (unsigned i = 0; i < 2; i++)
            assert_int_equal(version_open(store, &site->manifest, addresses, 2, &versions[i], NULL), 0);
        hammer_versions(versions, 2);
        for (unsigned i = 0; i < 2; i++)
            version_close(versions[i]);
        store_free(store);
    }
    server_stop(bad);
    server_stop(good);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, usual_site_set_up, usual_site_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_store");
    const struct CMUnitTest tests[] = {
        TEST(reads_equal_the_source),
        TEST(reads_beyond_the_end_are_refused),
        TEST(a_version_is_opened_by_its_hash_alone),
        TEST(want_of_memory_is_not_taken_for_want_of_a_manifest),
        TEST(measuring_a_member_sums_its_map),
        TEST(a_terabyte_opens_with_five_requests),
        TEST(equal_misses_are_one_request),
        TEST(neighbouring_misses_are_one_request),
        TEST(misses_of_several_readers_are_gathered),
        TEST(a_source_without_ranges_sends_each_pack_once),
        TEST(readers_wait_for_a_pack_that_is_coming_whole),
        TEST(without_a_cache_whole_packs_are_read_through),
        TEST(what_was_read_is_there_offline_and_the_rest_says_what_to_do),
        TEST(no_source_in_reach_fails_after_the_waiting_time),
        TEST(a_remembered_failure_is_told_at_once),
        TEST(a_waiting_read_outlasts_a_short_outage),
        TEST(cancelling_ends_reads),
        TEST(memory_is_bounded),
        TEST(many_threads_read_right_bytes_over_a_bad_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
