// The cache: the numbered rules of cache.h, for what is partial, whole or damaged.
#include "tests/unit/cache_fixture.h"

#include <sys/file.h>
#include <unistd.h>

#include "base/banned.h"

// --- partial and whole ---------------------------------------------------------------------------------------------

static void written_chunks_are_read_back_and_holes_are_not_there(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct pack *p = pack_of(1);
    assert_int_equal(read_chunk(c, p, 3), -ENOENT);
    write_chunk(c, p, 3);
    assert_int_equal(read_chunk(c, p, 3), 0);
    assert_int_equal(read_chunk(c, p, 2), -ENOENT); // a hole
    assert_int_equal(read_chunk(c, p, 4), -ENOENT); // behind the end
    assert_true(stands("partial", &p->name));
    assert_false(cache_has_object(c, &p->name));
    cache_close(c);
    c = open_cache(0); // another process, later
    assert_int_equal(read_chunk(c, p, 3), 0);
    cache_close(c);
}

static void writes_outside_the_pack_are_refused(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct pack *p = pack_of(1);
    cache_write(c, &p->name, PACK_SIZE, PACK_SIZE - 10, p->bytes, 11);
    cache_write(c, &p->name, PACK_SIZE, UINT64_MAX, p->bytes, 1);
    assert_false(stands("partial", &p->name));
    cache_close(c);
}

static void a_pack_is_complete_only_with_all_of_its_bytes(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    write_pack(c, 1);
    const struct pack *p = pack_of(1);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE + 1), 0);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 1);
    assert_true(stands("objects", &p->name));
    assert_false(stands("partial", &p->name));
    assert_int_equal(read_chunk(c, p, 5), 0);
    p = pack_of(2);
    for (unsigned i = 0; i < PACK_SIZE / CHUNK_SIZE; i++)
        if (i != 7)
            write_chunk(c, p, i);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 0);
    unsigned char wrong = p->bytes[7 * CHUNK_SIZE] ^ 0x10;
    write_chunk(c, p, 7);
    cache_write(c, &p->name, PACK_SIZE, 7 * CHUNK_SIZE, &wrong, 1);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 0);
    assert_false(cache_has_object(c, &p->name));
    p = pack_of(3);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 0); // it was never heard of
    cache_close(c);
}

static void a_stream_becomes_an_object_only_if_it_is_right(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    write_chunk(c, pack_of(1), 2);
    stream_pack(c, 1, 0);
    assert_true(cache_has_object(c, &pack_of(1)->name));
    assert_false(stands("partial", &pack_of(1)->name));
    assert_int_equal(read_chunk(c, pack_of(1), 15), 0);

    const struct pack *p = pack_of(2);
    struct cache_stream *s;
    assert_int_equal(cache_stream_new(c, &p->name, PACK_SIZE, &s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, 1000), 0);
    assert_int_equal(cache_stream_finish(s), -EBADMSG); // too short
    assert_int_equal(cache_stream_restart(s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes + 1, PACK_SIZE - 1), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, 2), -EBADMSG); // too long
    assert_int_equal(cache_stream_add(s, p->bytes, 1), 0);
    assert_int_equal(cache_stream_finish(s), -EBADMSG); // of the right size, but wrong
    assert_int_equal(count_temporaries(), 1);
    assert_int_equal(cache_stream_restart(s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, 5), 0);
    assert_int_equal(cache_stream_restart(s), 0);
    assert_int_equal(cache_stream_add(s, p->bytes, PACK_SIZE), 0);
    assert_int_equal(cache_stream_finish(s), 0);
    cache_stream_free(s);
    assert_true(cache_has_object(c, &p->name));
    assert_int_equal(count_temporaries(), 0);
    cache_close(c);
}

static void small_objects_are_checked_when_they_are_got(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    struct sha256 name = sha256_of("manifest", 8);
    void *bytes;
    size_t n;
    char path[256];
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), -ENOENT);
    cache_put_object(c, &name, "manifest", 8);
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), 0);
    assert_int_equal(n, 8);
    assert_memory_equal(bytes, "manifest", 8);
    free(bytes);
    assert_int_equal(cache_get_object(c, &name, 7, &bytes, &n), -ENOENT); // larger than it may be
    file_of("objects", &name, path, sizeof(path));
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 3), 1);
    close(fd);
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), -ENOENT);
    cache_put_object(c, &name, "manifest", 8);
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), 0);
    free(bytes);
    cache_put_object(c, &name, "lies", 4); // whoever lies to us about a name stores nothing
    assert_int_equal(cache_get_object(c, &name, 100, &bytes, &n), 0);
    free(bytes);
    cache_close(c);
}

// --- damage (TRUST T15, T17) ---------------------------------------------------------------------------------------

static void distrust_leads_out_of_objects_and_a_write_heals(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    char path[256];
    stream_pack(c, 1, 0);
    const struct pack *p = pack_of(1);
    assert_int_equal(read_chunk(c, p, 4), 0);
    file_of("objects", &p->name, path, sizeof(path));
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, "?", 1, 4 * CHUNK_SIZE + 100), 1);
    close(fd);
    assert_int_equal(read_chunk(c, p, 4), 1);
    write_chunk(c, p, 4); // while it counts as whole, nothing is missing in it
    assert_int_equal(read_chunk(c, p, 4), 1);
    cache_distrust(c, &p->name);
    assert_false(cache_has_object(c, &p->name));
    write_chunk(c, p, 4);
    assert_int_equal(read_chunk(c, p, 4), 0);
    assert_int_equal(read_chunk(c, p, 5), 0);
    assert_int_equal(cache_complete(c, &p->name, PACK_SIZE), 1);
    cache_close(c);
}

// A map may say of a pack what is not so: that must not cost those who keep it.
static void a_right_object_stays_whatever_is_said_of_it(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    stream_pack(c, 1, 0);
    cache_distrust(c, &pack_of(1)->name);
    assert_true(cache_has_object(c, &pack_of(1)->name));
    assert_int_equal(read_chunk(c, pack_of(1), 4), 0);
    write_chunk(c, pack_of(1), 4);
    assert_true(stands("objects", &pack_of(1)->name));
    assert_false(stands("partial", &pack_of(1)->name));
    cache_close(c);
}

static void a_pack_that_cannot_be_opened_now_is_not_there_and_not_wrong(void **state)
{
    (void)state;
    static unsigned char to[CHUNK_SIZE];
    struct cache *c = open_cache(0);
    stream_pack(c, 1, 0);
    cache_close(c);
    c = open_cache(0);
    io_fault_start(1, EMFILE, true);
    int r = cache_read(c, &pack_of(1)->name, 0, to, sizeof(to));
    io_fault_stop();
    assert_int_equal(r, -ENOENT); // -EIO would have the pack distrusted
    assert_int_equal(read_chunk(c, pack_of(1), 0), 0);
    cache_close(c);
}

static void an_object_torn_by_power_loss_is_no_object(void **state)
{
    (void)state;
    char path[256];
    for (int zeros = 0; zeros < 2; zeros++) {
        struct cache *c = open_cache(0);
        stream_pack(c, 1, 0);
        const struct pack *p = pack_of(1);
        file_of("objects", &p->name, path, sizeof(path));
        assert_int_equal(truncate(path, 0), 0);
        if (zeros)
            assert_int_equal(truncate(path, PACK_SIZE), 0);
        assert_int_equal(read_chunk(c, p, 4), -ENOENT);
        assert_false(cache_has_object(c, &p->name));
        write_chunk(c, p, 4);
        assert_int_equal(read_chunk(c, p, 4), 0);
        cache_close(c);
    }
}

static void what_is_not_ours_is_ignored_and_replaced(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    const struct pack *p = pack_of(1);
    char path[256], elsewhere[256];
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", folder);
    write_chunk(c, p, 0);
    cache_close(c);
    file_of("partial", &p->name, path, sizeof(path));

    for (int kind = 0; kind < 3; kind++) {
        c = open_cache(0);
        int fd = open(elsewhere, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(pwrite(fd, p->bytes, CHUNK_SIZE, 0), CHUNK_SIZE);
        close(fd);
        unlink(path);
        if (kind == 0) {
            assert_int_equal(symlink(elsewhere, path), 0);
        } else if (kind == 1) {
            assert_int_equal(mkfifo(path, 0600), 0);
        } else {
            if (geteuid() != 0)
                break; // only root can give files away
            assert_int_equal(rename(elsewhere, path), 0);
            assert_int_equal(chown(path, 12345, 12345), 0);
        }
        assert_true(read_chunk(c, p, 0) < 0);
        write_chunk(c, p, 1);
        assert_int_equal(read_chunk(c, p, 1), 0);
        if (kind == 0) {
            struct stat st;
            assert_int_equal(stat(elsewhere, &st), 0);
            assert_int_equal(st.st_size, CHUNK_SIZE); // nothing was written through the link
        }
        cache_close(c);
    }
    unlink(elsewhere);
}

static void folders_that_are_links_or_anothers_are_refused(void **state)
{
    (void)state;
    char path[256], target[256];
    struct cache *c;
    struct error error;
    snprintf(path, sizeof(path), "%s/objects", folder);
    snprintf(target, sizeof(target), "%s/target", folder);
    assert_int_equal(mkdir(target, 0700), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_true(cache_open(folder, 0, &c, &error) < 0);
    assert_non_null(strstr(error.text, "objects"));
    unlink(path);

    // A link in the place of a folder of two digits holds nothing, and nothing is written through it.
    c = open_cache(0);
    const struct pack *p = pack_of(1);
    char hex[SHA256_HEX_SIZE];
    snprintf(path, sizeof(path), "%s/partial/%.2s", folder, sha256_to_hex(&p->name, hex));
    assert_int_equal(symlink(target, path), 0);
    write_chunk(c, p, 0);
    assert_true(read_chunk(c, p, 0) < 0);
    assert_int_equal(rmdir(target), 0); // it is empty
    cache_close(c);

    if (geteuid() == 0) {
        assert_int_equal(chown(folder, 12345, 12345), 0);
        assert_int_equal(cache_open(folder, 0, &c, &error), -EPERM);
        assert_non_null(strstr(error.text, "RONDO_CACHE"));
        assert_int_equal(chown(folder, 0, 0), 0);
    }
}

static void only_left_over_temporaries_are_swept(void **state)
{
    (void)state;
    struct cache *c = open_cache(0);
    char path[256];
    const char *names[] = {".new-old", ".new-young", ".new-busy"};
    int fds[3];
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/partial/%s", folder, names[i]);
        fds[i] = open(path, O_RDWR | O_CREAT, 0600);
        if (i != 1)
            assert_int_equal(futimens(fds[i], old), 0);
    }
    assert_int_equal(flock(fds[2], LOCK_EX), 0);
    cache_close(c);
    c = open_cache(0);
    assert_int_equal(count_temporaries(), 2);
    snprintf(path, sizeof(path), "%s/partial/.new-old", folder);
    assert_int_equal(access(path, F_OK), -1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    cache_close(c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_set_up, folder_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_cache");
    const struct CMUnitTest tests[] = {
        TEST(written_chunks_are_read_back_and_holes_are_not_there),
        TEST(writes_outside_the_pack_are_refused),
        TEST(a_pack_is_complete_only_with_all_of_its_bytes),
        TEST(a_stream_becomes_an_object_only_if_it_is_right),
        TEST(small_objects_are_checked_when_they_are_got),
        TEST(distrust_leads_out_of_objects_and_a_write_heals),
        TEST(a_right_object_stays_whatever_is_said_of_it),
        TEST(a_pack_that_cannot_be_opened_now_is_not_there_and_not_wrong),
        TEST(an_object_torn_by_power_loss_is_no_object),
        TEST(what_is_not_ours_is_ignored_and_replaced),
        TEST(folders_that_are_links_or_anothers_are_refused),
        TEST(only_left_over_temporaries_are_swept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
