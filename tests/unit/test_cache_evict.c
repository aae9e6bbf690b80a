// The cache: what goes when there is too much (blockstore/cache_evict.c), and that processes and threads share it
// meanwhile.
#include "tests/unit/cache_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/banned.h"

// --- eviction and pins ---------------------------------------------------------------------------------------------

static void the_least_recently_used_goes_first_and_pinned_ones_never(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    struct sha256 manifest = sha256_of("m", 1), pinned = pack_of(1)->name;
    struct cache_usage usage;
    for (unsigned i = 1; i <= 5; i++) {
        stream_pack(c, i, 0);
        set_used("objects", i, 1000 + (i == 3 ? 100 : (int)i)); // 1 2 4 5 3
    }
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &pinned, 1, NULL), 0);
    assert_true(cache_is_pinned(c, &manifest, NULL));
    assert_int_equal(cache_measure(c, &usage), 0);
    assert_true(usage.bytes >= 5 * PACK_SIZE && usage.bytes < 6 * PACK_SIZE);
    assert_true(usage.pinned_bytes >= PACK_SIZE && usage.pinned_bytes < 2 * PACK_SIZE);
    assert_int_equal(usage.files, 5);

    assert_true(evict(c, 3 * PACK_SIZE + PACK_SIZE / 2) >= 2 * PACK_SIZE);
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(cache_has_object(c, &pack_of(i)->name), i != 2 && i != 4);
    evict(c, 0);
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(cache_has_object(c, &pack_of(i)->name), i == 1);

    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), 0);
    assert_int_equal(cache_unpin(c, &manifest, CACHE_OWNER_PULL, NULL), -ENOENT);
    assert_false(cache_is_pinned(c, &manifest, NULL));
    evict(c, 0);
    assert_false(cache_has_object(c, &pinned));
    cache_close(c);
}

static void a_pin_is_replaced_and_pins_its_manifest(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    struct sha256 manifest = sha256_of("m", 1), one = pack_of(1)->name, two = pack_of(2)->name;
    void *bytes;
    size_t n;
    cache_put_object(c, &manifest, "m", 1);
    stream_pack(c, 1, 0);
    stream_pack(c, 2, 0);
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &one, 1, NULL), 0);
    assert_int_equal(cache_pin(c, &manifest, CACHE_OWNER_PULL, &two, 1, NULL), 0);
    evict(c, 0);
    assert_false(cache_has_object(c, &one));
    assert_true(cache_has_object(c, &two));
    assert_int_equal(cache_get_object(c, &manifest, 10, &bytes, &n), 0);
    free(bytes);
    cache_close(c);
}

static void using_a_pack_keeps_it(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    for (unsigned i = 1; i <= 2; i++) {
        stream_pack(c, i, 0);
        set_used("objects", i, 1000 + (int)i);
    }
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    evict(c, PACK_SIZE + PACK_SIZE / 2);
    assert_true(cache_has_object(c, &pack_of(1)->name));
    assert_false(cache_has_object(c, &pack_of(2)->name));
    cache_close(c);
}

static void the_limit_holds_while_writing(void **state)
{
    (void)state;
    const uint64_t limit = 8 * PACK_SIZE;
    struct cache *c = open_cache(limit);
    struct cache_usage usage;
    for (unsigned i = 1; i <= 40; i++) {
        if (i % 2)
            write_pack(c, i);
        else
            stream_pack(c, i, 0);
        assert_int_equal(cache_measure(c, &usage), 0);
        assert_true(usage.bytes <= limit + PACK_SIZE);
    }
    assert_int_equal(cache_write_failure(c), 0);
    assert_int_equal(read_chunk(c, pack_of(40), 3), 0);
    assert_true(read_chunk(c, pack_of(1), 3) < 0);
    cache_close(c);
}

static void eviction_beneath_an_open_file_loses_only_that_file(void **state)
{
    (void)state;
    struct cache *ours = open_cache(0), *theirs = open_cache(0);
    write_chunk(ours, pack_of(1), 1);
    evict(theirs, 0);
    write_chunk(ours, pack_of(1), 2); // goes to the unlinked file, and is noticed
    write_chunk(ours, pack_of(1), 3);
    assert_int_equal(read_chunk(ours, pack_of(1), 3), 0);
    assert_int_equal(read_chunk(theirs, pack_of(1), 3), 0);
    // What another process completed and replaced is found.
    stream_pack(theirs, 1, 0);
    assert_int_equal(read_chunk(ours, pack_of(1), 9), 0);
    cache_close(ours);
    cache_close(theirs);
}

static void more_packs_than_descriptors(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    for (unsigned i = 0; i < 100; i++)
        write_chunk(c, pack_of(i), 0);
    unsigned open_files = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d))
        open_files++;
    closedir(d);
    assert_true(open_files < 64 + 20);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(read_chunk(c, pack_of(i), 0), 0);
    cache_close(c);
}

// --- several processes and threads (TRUST T40) ---------------------------------------------------------------------

static void use_cache(unsigned seed, unsigned rounds)
{
    static unsigned char to[CHUNK_SIZE];
    struct cache *c = open_cache(6 * PACK_SIZE);
    unsigned state = seed;
    for (unsigned i = 0; i < rounds; i++) {
        state = state * 1103515245 + 12345;
        unsigned number = (state >> 16) % 8, what = (state >> 24) % 8;
        const struct pack *p = pack_of(number);
        if (what < 4) {
            write_chunk(c, p, what);
            write_chunk(c, p, what + 8);
        } else if (what == 4) {
            struct cache_stream *s;
            if (cache_stream_new(c, &p->name, PACK_SIZE, &s) == 0) {
                assert_int_equal(cache_stream_add(s, p->bytes, PACK_SIZE), 0);
                assert_true(cache_stream_finish(s) >= 0);
                cache_stream_free(s);
            }
        } else if (what == 5) {
            cache_distrust(c, &p->name);
        } else if (what == 6) {
            struct cache_collected sum;
            cache_collect(c, &(struct cache_collect){.limit = 3 * PACK_SIZE}, &sum, NULL);
        } else {
            cache_complete(c, &p->name, PACK_SIZE);
        }
        for (unsigned k = 0; k < 4; k++) {
            // What another process is just writing may be seen in part, but then as zeros only.
            int r = cache_read(c, &p->name, (uint64_t)k * CHUNK_SIZE, to, CHUNK_SIZE);
            assert_true(r == 0 || r == -ENOENT);
            for (size_t at = 0; r == 0 && at < CHUNK_SIZE; at++)
                assert_true(to[at] == 0 || to[at] == p->bytes[(size_t)k * CHUNK_SIZE + at]);
        }
    }
    cache_close(c);
}

static void processes_share_a_cache(void **state)
{
    (void)state;
    pid_t children[4];
    for (unsigned i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            use_cache(i + 1, 300);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct cache *c = open_cache(0);
    for (unsigned i = 0; i < 8; i++) {
        const struct pack *p = pack_of(i);
        char path[256];
        if (!cache_has_object(c, &p->name))
            continue;
        struct sha256 actual;
        file_of("objects", &p->name, path, sizeof(path));
        int fd = open(path, O_RDONLY);
        assert_int_equal(sha256_of_file(fd, &actual, NULL), 0);
        close(fd);
        assert_true(sha256_equal(&actual, &p->name)); // whole, always
    }
    assert_int_equal(count_temporaries(), 0);
    cache_close(c);
}

struct reader {
    struct cache *c;
    const struct pack *p;
    unsigned found;
    bool wrong;
};

static void *read_many(void *context)
{
    struct reader *r = context;
    unsigned char *to = malloc(CHUNK_SIZE);
    for (unsigned i = 0; to && i < 400; i++) {
        unsigned chunk = i % 16;
        if (i % 5 == 0)
            cache_write(r->c, &r->p->name, PACK_SIZE, (uint64_t)chunk * CHUNK_SIZE,
                        r->p->bytes + (size_t)chunk * CHUNK_SIZE, CHUNK_SIZE);
        if (cache_read(r->c, &r->p->name, (uint64_t)chunk * CHUNK_SIZE, to, CHUNK_SIZE) == 0) {
            r->found++;
            // A write that is under way may be seen in part, but then as zeros only.
            for (size_t k = 0; k < CHUNK_SIZE; k++)
                r->wrong |= to[k] != 0 && to[k] != r->p->bytes[(size_t)chunk * CHUNK_SIZE + k];
        }
    }
    free(to);
    return NULL;
}

static void threads_share_a_cache_under_eviction(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    pthread_t threads[4];
    struct reader readers[4];
    const struct pack *p = pack_of(1);
    for (unsigned i = 0; i < 4; i++) {
        readers[i] = (struct reader){.c = c, .p = p};
        assert_int_equal(pthread_create(&threads[i], NULL, read_many, &readers[i]), 0);
    }
    for (unsigned i = 0; i < 50; i++) {
        evict(c, 0);
        if (i % 10 == 0)
            cache_distrust(c, &p->name);
        usleep(500);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_false(readers[i].wrong);
        assert_true(readers[i].found > 0);
    }
    cache_close(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_cache_evict");
    const struct CMUnitTest tests[] = {
        TEST(the_least_recently_used_goes_first_and_pinned_ones_never),
        TEST(a_pin_is_replaced_and_pins_its_manifest),
        TEST(using_a_pack_keeps_it),
        TEST(the_limit_holds_while_writing),
        TEST(eviction_beneath_an_open_file_loses_only_that_file),
        TEST(more_packs_than_descriptors),
        TEST(processes_share_a_cache),
        TEST(threads_share_a_cache_under_eviction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
