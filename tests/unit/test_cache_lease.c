// Leases: what a version that is open needs stays in the cache, as long as somebody has it open and no longer.

#include "tests/unit/usual_site.h"

#include "base/log.h"
#include <dirent.h>
#include <sys/wait.h>

#include "base/banned.h"

#define FOREIGN_SIZE (1u << 20)

static struct cache *open_cache(uint64_t limit)
{
    struct cache *c;
    struct error error = {0};
    if (cache_open(site->cache, limit, &c, &error) != 0)
        fail_msg("%s", error.text);
    return c;
}

// All of the version comes into the cache; nothing holds it there.
static void pull(void)
{
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct sha256 *objects;
    size_t count;
    assert_int_equal(version_pull(v, NULL, NULL, &objects, &count, NULL), 0);
    free(objects);
    version_close(v);
    store_free(store);
}

// Whether all of it can be read without a source.
static bool is_whole(void)
{
    struct store *store = site_open_store(site, true, 0);
    struct version *v = NULL;
    struct sha256 *objects;
    size_t count;
    int r = version_open(store, &site->manifest, NULL, 0, &v, NULL);
    if (r == 0) {
        r = version_pull(v, NULL, NULL, &objects, &count, NULL);
        if (r == 0)
            free(objects);
        version_close(v);
    }
    store_free(store);
    return r == 0;
}

// An object that no version needs.
static struct sha256 put_foreign(struct cache *c, unsigned number)
{
    unsigned char *bytes = malloc(FOREIGN_SIZE);
    assert_non_null(bytes);
    memset(bytes, (int)number, FOREIGN_SIZE);
    struct sha256 name = sha256_of(bytes, FOREIGN_SIZE);
    cache_put_object(c, &name, bytes, FOREIGN_SIZE);
    free(bytes);
    return name;
}

static struct cache_collected collect(struct cache *c, uint64_t limit)
{
    struct cache_collected sum;
    struct error error = {0};
    if (cache_collect(c, &(struct cache_collect){.limit = limit}, &sum, &error) != 0)
        fail_msg("%s", error.text);
    return sum;
}

static unsigned count_leases(void)
{
    char path[128];
    unsigned count = 0;
    snprintf(path, sizeof(path), "%s/leases", site->cache);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] != '.';
    closedir(d);
    return count;
}

static int age_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    (void)st;
    (void)ftw;
    return type == FTW_F ? utimensat(AT_FDCWD, path, times, 0) : 0;
}

static void what_is_leased_stays_and_the_rest_goes(void **state)
{
    (void)state;
    pull();
    struct cache *c = open_cache(0);
    struct sha256 foreign = put_foreign(c, 1);
    int lease = cache_lease(c, &site->manifest);
    assert_true(lease >= 0);
    struct cache_collected sum = collect(c, 0);
    assert_int_equal(sum.files, 1);
    assert_true(sum.freed >= FOREIGN_SIZE && sum.kept == sum.left && sum.kept > FOREIGN_SIZE);
    assert_false(cache_has_object(c, &foreign));
    assert_true(is_whole());
    cache_end_lease(c, &site->manifest, lease);
    assert_int_equal(count_leases(), 0);
    sum = collect(c, 0);
    assert_int_equal(sum.left, 0);
    assert_false(is_whole());
    cache_close(c);
}

static void a_lease_ends_with_its_last_holder(void **state)
{
    (void)state;
    pull();
    struct cache *ours = open_cache(0), *theirs = open_cache(0);
    int one = cache_lease(ours, &site->manifest), two = cache_lease(theirs, &site->manifest);
    assert_true(one >= 0 && two >= 0);
    cache_end_lease(ours, &site->manifest, one);
    assert_int_equal(count_leases(), 1);
    assert_int_equal(collect(ours, 0).files, 0);
    cache_end_lease(theirs, &site->manifest, two);
    assert_int_equal(count_leases(), 0);
    assert_true(collect(ours, 0).files > 0);
    cache_close(ours);
    cache_close(theirs);
}

static void the_lease_of_a_dead_process_says_nothing(void **state)
{
    (void)state;
    pull();
    struct cache *c = open_cache(0);
    pid_t child = fork();
    if (child == 0)
        _exit(cache_lease(c, &site->manifest) >= 0 ? 0 : 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count_leases(), 1);
    assert_true(collect(c, 0).files > 0);
    assert_int_equal(count_leases(), 0);
    assert_false(is_whole());
    cache_close(c);
}

static void what_was_pulled_stays_until_it_is_closed(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct sha256 *objects;
    size_t count;
    assert_int_equal(version_pull(v, NULL, NULL, &objects, &count, NULL), 0);
    free(objects);
    assert_int_equal(collect(store_cache(store), 0).files, 0);
    version_close(v);
    assert_true(collect(store_cache(store), 0).files > 0);
    store_free(store);
}

static void machines_that_do_not_run_can_be_named(void **state)
{
    (void)state;
    pull();
    struct cache *c = open_cache(0);
    struct cache_collected sum;
    struct cache_collect o = {.limit = 0, .manifests = &site->manifest, .manifest_count = 1};
    assert_int_equal(cache_collect(c, &o, &sum, NULL), 0);
    assert_int_equal(sum.files, 0);
    o.manifest_count = 0;
    o.dry_run = true;
    assert_int_equal(cache_collect(c, &o, &sum, NULL), 0);
    assert_true(sum.files > 0 && sum.freed > 0 && sum.left == 0);
    assert_true(is_whole());
    cache_close(c);
}

// The limit holds, whatever is leased; but what is leased goes last, however long ago it was used.
static void the_limit_holds_and_leased_packs_go_last(void **state)
{
    (void)state;
    struct cache_usage usage;
    pull();
    struct cache *c = open_cache(0);
    assert_int_equal(cache_measure(c, &usage), 0);
    int lease = cache_lease(c, &site->manifest);
    assert_true(lease >= 0);
    cache_close(c);
    assert_int_equal(nftw(site->cache, age_one, 16, FTW_PHYS), 0);

    const uint64_t limit = usage.bytes + 8 * FOREIGN_SIZE;
    c = open_cache(limit);
    for (unsigned i = 1; i <= 40; i++) {
        put_foreign(c, i);
        assert_int_equal(cache_measure(c, &usage), 0);
        assert_true(usage.bytes <= limit + FOREIGN_SIZE);
    }
    cache_close(c);
    assert_true(is_whole());

    const uint64_t small = 2 * FOREIGN_SIZE;
    c = open_cache(small);
    for (unsigned i = 41; i <= 48; i++)
        put_foreign(c, i);
    assert_int_equal(cache_measure(c, &usage), 0);
    assert_true(usage.bytes <= small + FOREIGN_SIZE);
    cache_end_lease(c, &site->manifest, lease);
    cache_close(c);
}

static void incomplete_packs_go_when_they_are_old(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct test_pack *old = &site->packs[0], *young = &site->packs[1];
    cache_write(c, &old->name, (uint32_t)old->bytes.size, 8, old->bytes.data + 8, 4096);
    assert_int_equal(nftw(site->cache, age_one, 16, FTW_PHYS), 0);
    cache_write(c, &young->name, (uint32_t)young->bytes.size, 8, young->bytes.data + 8, 4096);
    assert_int_equal(collect(c, UINT64_MAX).files, 1);
    unsigned char to[16];
    assert_int_equal(cache_read(c, &old->name, 8, to, sizeof(to)), -ENOENT);
    assert_int_equal(cache_read(c, &young->name, 8, to, sizeof(to)), 0);
    cache_close(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, usual_site_set_up, usual_site_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1);
    log_start("test_cache_lease");
    const struct CMUnitTest tests[] = {
        TEST(what_is_leased_stays_and_the_rest_goes),   TEST(a_lease_ends_with_its_last_holder),
        TEST(the_lease_of_a_dead_process_says_nothing), TEST(what_was_pulled_stays_until_it_is_closed),
        TEST(machines_that_do_not_run_can_be_named),    TEST(the_limit_holds_and_leased_packs_go_last),
        TEST(incomplete_packs_go_when_they_are_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
