// version_pull: everything of a version, once, verified, and an error where that cannot be.

#include "tests/unit/store_server.h"
#include "tests/unit/usual_site.h"

#include "base/log.h"

#include "base/banned.h"

struct progress {
    uint64_t have, all;
    unsigned calls, cancel_at;
    bool backwards, beyond;
};

static int note_progress(void *context, uint64_t have, uint64_t all)
{
    struct progress *p = context;
    p->beyond |= have > all;
    p->have = have;
    p->all = all;
    return ++p->calls == p->cancel_at;
}

static int pull(struct store *store, const char *address, struct progress *p, struct sha256 **ret_objects,
                size_t *ret_count, struct error *error)
{
    struct version *v = site_open_version(site, store, address);
    struct sha256 *objects = NULL;
    size_t count = 0;
    int r = version_pull(v, p ? note_progress : NULL, p, &objects, &count, error);
    version_close(v);
    if (r == 0 && ret_objects) {
        *ret_objects = objects;
        *ret_count = count;
    } else if (r == 0) {
        free(objects);
    }
    return r;
}

static void must_pull(struct store *store, const char *address)
{
    struct error error = {0};
    int r = pull(store, address, NULL, NULL, NULL, &error);
    if (r != 0)
        fail_msg("%d %s", r, error.text);
}

static void must_read_offline(void)
{
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, NULL);
    site_must_read_all(site, v);
    version_close(v);
    store_free(store);
}

static void everything_is_there_and_listed(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct progress p = {0};
    struct sha256 *objects = NULL;
    size_t count = 0;
    struct error error = {0};
    if (pull(store, server->http->address, &p, &objects, &count, &error) != 0)
        fail_msg("%s", error.text);
    if (!objects)
        return; // it failed above
    assert_int_equal(count, site->pack_count + 1);
    for (unsigned i = 0; i < site->pack_count; i++) {
        unsigned found = 0;
        for (size_t k = 0; k < count; k++)
            found += sha256_equal(&objects[k], &site->packs[i].name);
        assert_int_equal(found, 1);
    }
    assert_true(sha256_equal(&objects[0], &site->manifest));
    assert_true(p.calls > 0 && !p.beyond);
    assert_int_equal(p.have, p.all);
    uint64_t stored = 0, packs = 0;
    for (unsigned i = 0; i < site->chunk_count; i++)
        stored += site->chunks[i].ref.length;
    for (unsigned i = 0; i < site->pack_count; i++)
        packs += site->packs[i].bytes.size;
    assert_int_equal(p.all, stored);
    // The manifest, four pages, and a request for each pack; no byte much more than once.
    assert_true(server_requests(server) <= 1 + 4 + site->pack_count);
    assert_true(atomic_load(&server->bytes) < packs + packs / 10);

    // Pinned, it withstands eviction; without any source it is read, and pulled again.
    struct cache *cache = store_cache(store);
    struct cache_collected sum;
    assert_int_equal(cache_pin(cache, &site->manifest, CACHE_OWNER_PULL, objects, count, NULL), 0);
    assert_int_equal(cache_collect(cache, &(struct cache_collect){.limit = 0}, &sum, NULL), 0);
    free(objects);
    store_free(store);
    unsigned requests = server_requests(server);
    must_read_offline();
    store = site_open_store(site, true, 0);
    must_pull(store, NULL);
    must_pull(store, server->http->address);
    store_free(store);
    assert_int_equal(server_requests(server), requests);
    server_stop(server);
}

static uint64_t missing_of(struct store *store, uint64_t *ret_all)
{
    struct version *v = site_open_version(site, store, NULL);
    uint64_t missing = UINT64_MAX;
    assert_int_equal(version_count_missing(v, &missing, ret_all, NULL), 0);
    version_close(v);
    return missing;
}

static void what_is_missing_is_counted_without_reading_it(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct sha256 *objects = NULL;
    uint64_t stored = 0, all = 0;
    size_t count = 0;
    for (unsigned i = 0; i < site->chunk_count; i++)
        stored += site->chunks[i].ref.length;
    assert_int_equal(pull(store, site->folder, NULL, &objects, &count, NULL), 0);
    assert_int_equal(missing_of(store, &all), 0);
    assert_int_equal(all, stored);
    // All but the first pack with data is kept.
    unsigned lost = 0;
    while (lost < site->pack_count && site->chunks[0].pack != lost)
        lost++;
    for (size_t i = 0; i < count; i++)
        if (sha256_equal(&objects[i], &site->packs[lost].name))
            objects[i] = objects[0];
    assert_int_equal(cache_pin(store_cache(store), &site->manifest, CACHE_OWNER_PULL, objects, count, NULL), 0);
    free(objects);
    struct cache_collected sum;
    assert_int_equal(cache_collect(store_cache(store), &(struct cache_collect){.limit = 0}, &sum, NULL), 0);
    uint64_t of_pack = 0;
    for (unsigned i = 0; i < site->chunk_count; i++)
        of_pack += site->chunks[i].pack == lost ? site->chunks[i].ref.length : 0;
    assert_true(of_pack > 0);
    assert_int_equal(missing_of(store, &all), of_pack);
    assert_int_equal(all, stored);
    store_free(store);
}

static void filling_takes_the_time_of_its_rate(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct sha256 *objects = NULL;
    uint64_t stored = 0, largest = 0;
    size_t count;
    for (unsigned i = 0; i < site->chunk_count; i++)
        stored += site->chunks[i].ref.length;
    for (unsigned i = 0; i < site->pack_count; i++)
        largest = site->packs[i].bytes.size > largest ? site->packs[i].bytes.size : largest;
    assert_true(largest < stored);
    if (stored == 0)
        return; // it failed above
    uint64_t begun = io_monotonic_ns();
    assert_int_equal(version_fill(v, stored, NULL, NULL, &objects, &count, NULL), 0); // all of it in a second
    // The last pack's time is nobody's to wait for.
    assert_true(io_monotonic_ns() - begun >= (stored - largest) * 1000000000 / stored / 10 * 9);
    free(objects);
    version_close(v);
    store_free(store);
}

static void a_directory_is_pulled_too(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    must_pull(store, site->folder);
    store_free(store);
    must_read_offline();
}

static void only_what_is_missing_is_fetched(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, FIRST_BLOCKS * BLOCK_SIZE - 64 * 32 * 16); // most of it
    site_must_read(site, v, KERNEL, 0, 10);
    version_close(v);
    unsigned long long before = atomic_load(&server->bytes);
    uint64_t packs = 0;
    for (unsigned i = 0; i < site->pack_count; i++)
        packs += site->packs[i].bytes.size;
    must_pull(store, server->http->address);
    assert_true(atomic_load(&server->bytes) - before < packs / 2);
    store_free(store);
    must_read_offline();
    server_stop(server);
}

static void a_source_without_ranges_is_pulled(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    atomic_store(&server->ignore_ranges, true);
    must_pull(store, server->http->address);
    assert_int_equal(server_requests(server), 1 + site->pack_count);
    store_free(store);
    must_read_offline();
    server_stop(server);
}

static void liars_and_outages_are_survived(void **state)
{
    (void)state;
    struct site_server *bad = server_start(site), *good = server_start(site);
    struct store_options options = {.cache_folder = site->cache, .wait_seconds = 60};
    const char *addresses[] = {bad->http->address, good->http->address};
    struct store *store;
    struct version *v;
    struct sha256 *objects;
    size_t count;
    struct error error = {0};
    assert_int_equal(store_new(&options, &store, NULL), 0);
    assert_int_equal(version_open(store, &site->manifest, addresses, 2, &v, NULL), 0);
    atomic_store(&bad->lie_every, 2);
    atomic_store(&good->fail_every, 3);
    atomic_store(&good->cut_every, 4);
    if (version_pull(v, NULL, NULL, &objects, &count, &error) != 0)
        fail_msg("%s", error.text);
    free(objects);
    version_close(v);
    store_free(store);
    must_read_offline();
    server_stop(bad);
    server_stop(good);
}

static void damage_is_found_and_healed(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    must_pull(store, server->http->address);
    unsigned before = server_requests(server);
    char hex[SHA256_HEX_SIZE], path[256];
    for (unsigned i = 0; i < 3; i++) {
        // A byte of the first chunk of the pack; the store has some of these chunks in memory, which must not hide it.
        sha256_to_hex(&site->packs[i].name, hex);
        snprintf(path, sizeof(path), "%s/objects/%.2s/%s", site->cache, hex, hex);
        int fd = open(path, O_WRONLY);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "\xff", 1, 100), 1);
        close(fd);
    }
    struct version *v = site_open_version(site, store, server->http->address);
    struct error error;
    struct sha256 *objects;
    size_t count;
    assert_int_equal(version_pull(v, NULL, NULL, &objects, &count, &error), 0);
    free(objects);
    assert_int_equal(server_requests(server), before + 3); // a chunk each
    for (unsigned i = 0; i < 3; i++)
        assert_true(cache_has_object(store_cache(store), &site->packs[i].name)); // whole again
    version_close(v);
    store_free(store);
    must_read_offline();
    server_stop(server);
}

static void offline_with_something_missing_is_an_error(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct error error = {0};
    site_must_read_all(site, v);
    version_close(v);
    must_pull(store, NULL); // all chunks were read
    char hex[SHA256_HEX_SIZE], path[256];
    sha256_to_hex(&site->packs[1].name, hex);
    snprintf(path, sizeof(path), "%s/partial/%.2s/%s", site->cache, hex, hex);
    assert_int_equal(truncate(path, 500000), 0);
    assert_int_equal(pull(store, NULL, NULL, NULL, NULL, &error), -ENOENT);
    assert_non_null(strstr(error.text, hex));
    store_free(store);
}

static void a_cache_that_is_too_small_is_named(void **state)
{
    (void)state;
    struct store_options options = {.cache_folder = site->cache, .cache_limit = 3u << 20, .wait_seconds = 2};
    struct store *store;
    struct error error = {0};
    assert_int_equal(store_new(&options, &store, NULL), 0);
    assert_int_equal(pull(store, site->folder, NULL, NULL, NULL, &error), -ENOSPC);
    assert_non_null(strstr(error.text, site->cache));
    assert_non_null(strstr(error.text, "3.0 MiB"));
    store_free(store);
}

static void a_cache_full_of_pinned_packs_is_an_error(void **state)
{
    (void)state;
    struct store_options options = {
        .cache_folder = site->cache, .cache_limit = (20u << 20) + (512u << 10), .wait_seconds = 2};
    struct store *store;
    struct error error = {0};
    static unsigned char other[20u << 20];
    assert_int_equal(store_new(&options, &store, NULL), 0);
    for (size_t i = 0; i < sizeof(other); i++)
        other[i] = (unsigned char)(i * 7 | 1);
    struct sha256 name = sha256_of(other, sizeof(other)), manifest = sha256_of("m", 1);
    cache_put_object(store_cache(store), &name, other, sizeof(other));
    assert_int_equal(cache_pin(store_cache(store), &manifest, CACHE_OWNER_PULL, &name, 1, NULL), 0);
    assert_int_equal(pull(store, site->folder, NULL, NULL, NULL, &error), -ENOSPC);
    assert_true(cache_has_object(store_cache(store), &name));
    store_free(store);
}

static struct io_table table;

static ssize_t full_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    (void)fd;
    (void)from;
    (void)n;
    (void)offset;
    errno = ENOSPC;
    return -1;
}

static void a_full_disk_ends_the_pull_early(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct error error = {0};
    table = io_table_system;
    table.pwrite = full_pwrite;
    io = &table;
    int r = pull(store, server->http->address, NULL, NULL, NULL, &error);
    io = &io_table_system;
    assert_int_equal(r, -ENOSPC);
    assert_non_null(strstr(error.text, strerror(ENOSPC)));
    uint64_t packs = 0;
    for (unsigned i = 0; i < site->pack_count; i++)
        packs += site->packs[i].bytes.size;
    assert_true(atomic_load(&server->bytes) < packs / 4 * 3);
    store_free(store);
    server_stop(server);
}

static void progress_cancels(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct progress p = {.cancel_at = 1};
    struct error error = {0};
    atomic_store(&server->delay_ms, 150);
    assert_int_equal(pull(store, server->http->address, &p, NULL, NULL, &error), -ECANCELED);
    assert_true(server_requests(server) < 1 + 4 + site->pack_count);
    // And the same command, given again, goes on from there.
    atomic_store(&server->delay_ms, 0);
    must_pull(store, server->http->address);
    store_free(store);
    must_read_offline();
    server_stop(server);
}

// Cancels when the server falls silent: while the packs are being listed, or while they are fetched.
struct silence {
    struct site_server *server;
    bool later;
};

static int fall_silent(void *context, uint64_t have, uint64_t all)
{
    struct silence *s = context;
    (void)have;
    if (s->later && all == 0)
        return 0;
    atomic_store(&s->server->hold, true);
    return 1;
}

static void who_cancels_does_not_wait_for_a_silent_server(void **state)
{
    (void)state;
    for (int later = 0; later < 2; later++) {
        struct site_server *server = server_start(site);
        struct silence silence = {.server = server, .later = later};
        struct store_options options = {.cache_folder = site->cache, .wait_seconds = 20};
        struct store *store;
        struct sha256 *objects;
        size_t count;
        struct error error = {0};
        site_empty_cache(site);
        assert_int_equal(store_new(&options, &store, NULL), 0);
        struct version *v = site_open_version(site, store, server->http->address);
        atomic_store(&server->hold, !later);
        atomic_store(&server->delay_ms, later ? 30 : 0);
        uint64_t before = io_monotonic_ns();
        assert_int_equal(version_pull(v, fall_silent, &silence, &objects, &count, &error), -ECANCELED);
        assert_true(io_monotonic_ns() - before < 10ull * 1000000000);
        atomic_store(&server->hold, false);
        version_close(v);
        store_free(store);
        server_stop(server);
    }
}

static void the_manifest_is_kept_again(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct sha256 *objects;
    size_t count;
    site_empty_cache(site); // beneath the open store: all of it is gone, folders too
    struct error error;
    assert_int_equal(version_pull(v, NULL, NULL, &objects, &count, &error), -ENOSPC);
    version_close(v);
    store_free(store);
    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, site->folder);
    char hex[SHA256_HEX_SIZE], path[256];
    sha256_to_hex(&site->manifest, hex);
    snprintf(path, sizeof(path), "%s/objects/%.2s/%s", site->cache, hex, hex);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(version_pull(v, NULL, NULL, &objects, &count, &error), 0);
    free(objects);
    version_close(v);
    store_free(store);
    must_read_offline();
}

static void without_a_cache_there_is_nothing_to_pull_into(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, false, 0);
    struct error error;
    assert_int_equal(pull(store, site->folder, NULL, NULL, NULL, &error), -EINVAL);
    store_free(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, usual_site_set_up, usual_site_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_store_pull");
    const struct CMUnitTest tests[] = {
        TEST(everything_is_there_and_listed),
        TEST(a_directory_is_pulled_too),
        TEST(only_what_is_missing_is_fetched),
        TEST(what_is_missing_is_counted_without_reading_it),
        TEST(filling_takes_the_time_of_its_rate),
        TEST(a_source_without_ranges_is_pulled),
        TEST(liars_and_outages_are_survived),
        TEST(damage_is_found_and_healed),
        TEST(offline_with_something_missing_is_an_error),
        TEST(a_cache_that_is_too_small_is_named),
        TEST(a_cache_full_of_pinned_packs_is_an_error),
        TEST(a_full_disk_ends_the_pull_early),
        TEST(progress_cancels),
        TEST(who_cancels_does_not_wait_for_a_silent_server),
        TEST(the_manifest_is_kept_again),
        TEST(without_a_cache_there_is_nothing_to_pull_into),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
