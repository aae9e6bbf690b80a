// The store against lying mirrors, a damaged cache, a full disk, hostile publishers, and calls that fail (TRUST T01,
// T02, T10, T15, T17, T19, T28): wrong bytes are never given, and what can be healed is.

#include "tests/unit/store_server.h"
#include "tests/unit/usual_site.h"

#include "base/cursor.h"
#include "base/log.h"
#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/banned.h"

static uint64_t count_wrong(struct store *store)
{
    struct store_counts counts;
    store_count(store, &counts);
    return counts.wrong;
}

static uint64_t count_fetched(struct store *store)
{
    struct store_counts counts;
    store_count(store, &counts);
    return counts.chunks_fetched;
}

static struct version *open_mirrored(struct store *store, const struct site_server *first,
                                     const struct site_server *second)
{
    const char *addresses[] = {first->http->address, second->http->address};
    struct version *v = NULL;
    struct error error = {0};
    if (version_open(store, &site->manifest, addresses, 2, &v, &error) != 0)
        fail_msg("%s", error.text);
    return v;
}

// --- lying mirrors (T01, T02) --------------------------------------------------------------------------------------

static void an_altered_chunk_comes_from_the_next_mirror(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site), *honest = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = open_mirrored(store, liar, honest);
    atomic_store(&liar->lie_every, 3);
    site_must_read_all(site, v);
    assert_true(count_wrong(store) > 0);
    assert_true(server_requests(honest) > 0);
    version_close(v);
    store_free(store);
    server_stop(liar);
    server_stop(honest);
}

static void an_altered_chunk_without_another_mirror_is_an_error(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, liar->http->address);
    struct error error;
    site_must_read(site, v, DISK, 0, 1);
    atomic_store(&liar->lie_every, 1);
    assert_int_equal(site_check(site, v, DISK, 4000000, 10, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "chunk "));
    assert_non_null(strstr(error.text, liar->http->address));
    // The wrong bytes went nowhere: not into memory, not onto the disk.
    atomic_store(&liar->closed, true);
    assert_true(site_check(site, v, DISK, 4000000, 10, &error) < 0);
    version_close(v);
    v = site_open_version(site, store, NULL);
    assert_int_equal(site_check(site, v, DISK, 4000000, 10, &error), -ENOENT);
    version_close(v);
    store_free(store);
    server_stop(liar);
}

static void the_right_chunks_beside_an_altered_one_are_kept(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site), *honest = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = open_mirrored(store, liar, honest);
    site_must_read(site, v, DISK, 0, 1);
    atomic_store(&liar->lie_every, 1);
    uint64_t before = count_fetched(store);
    site_must_read(site, v, DISK, 32 * BLOCK_SIZE, 8 * 32 * BLOCK_SIZE);
    assert_int_equal(count_fetched(store), before + 8); // each once
    assert_int_equal(count_wrong(store), 1);
    version_close(v);
    store_free(store);
    server_stop(liar);
    server_stop(honest);
}

static void an_altered_manifest_stops_everything_else(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site), *honest = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v;
    struct error error;
    const char *address = liar->http->address;
    atomic_store(&liar->lie_every, 1);
    assert_int_equal(version_open(store, &site->manifest, &address, 1, &v, &error), -EBADMSG);
    assert_int_equal(server_requests(liar), 1);
    v = open_mirrored(store, liar, honest);
    site_must_read_all(site, v);
    version_close(v);
    store_free(store);
    server_stop(liar);
    server_stop(honest);
}

static void an_altered_page_is_never_followed(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, liar->http->address);
    struct error error;
    unsigned before = server_requests(liar);
    atomic_store(&liar->lie_every, 1);
    assert_int_equal(site_check(site, v, DISK, 0, 10, &error), -EBADMSG);
    assert_int_equal(server_requests(liar), before + 1); // the top page, and nothing that it names
    version_close(v);
    store_free(store);
    server_stop(liar);
}

static void a_lie_in_a_whole_pack_is_found(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site), *honest = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = open_mirrored(store, liar, honest);
    atomic_store(&liar->lie_every, 2);
    atomic_store(&liar->ignore_ranges, true);
    atomic_store(&honest->ignore_ranges, true);
    site_must_read_all(site, v);
    for (unsigned i = 0; i < site->pack_count; i++) {
        char hex[SHA256_HEX_SIZE], path[256];
        struct sha256 actual;
        sha256_to_hex(&site->packs[i].name, hex);
        snprintf(path, sizeof(path), "%s/objects/%.2s/%s", site->cache, hex, hex);
        int fd = open(path, O_RDONLY);
        if (fd < 0)
            continue;
        assert_int_equal(sha256_of_file(fd, &actual, NULL), 0);
        assert_true(sha256_equal(&actual, &site->packs[i].name));
        close(fd);
    }
    version_close(v);
    store_free(store);
    server_stop(liar);
    server_stop(honest);
}

static void the_right_chunks_of_a_wrong_pack_are_kept_on_the_disk(void **state)
{
    (void)state;
    struct site_server *liar = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, liar->http->address);
    atomic_store(&liar->ignore_ranges, true);
    site_must_read(site, v, DISK, 0, 1); // the pages, and the first pack
    site_must_read(site, v, KERNEL, 0, 1);
    version_close(v);
    store_free(store);
    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, liar->http->address);
    char hex[SHA256_HEX_SIZE], path[256];
    sha256_to_hex(&site->packs[0].name, hex);
    snprintf(path, sizeof(path), "%s/objects/%.2s/%s", site->cache, hex, hex);
    assert_int_equal(unlink(path), 0);
    atomic_store(&liar->lie_every, 1); // in the middle of the pack, far behind its first chunk
    site_must_read(site, v, DISK, 0, 32 * BLOCK_SIZE);
    version_close(v);
    store_free(store);
    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, NULL);
    site_must_read(site, v, DISK, 0, 32 * BLOCK_SIZE);
    version_close(v);
    store_free(store);
    server_stop(liar);
}

static void a_cut_pack_counts_as_far_as_it_came(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, server->http->address);
    site_must_read(site, v, DISK, 0, 1);
    // Every answer is the first half of the pack, and no more: chunk 1 is in it.
    atomic_store(&server->cut_every, 1);
    site_must_read(site, v, DISK, 32 * BLOCK_SIZE, 10);
    version_close(v);
    store_free(store);
    server_stop(server);
}

// --- a damaged cache (T15, T17) ------------------------------------------------------------------------------------

static void for_each_cached_file(const char *place, void (*damage)(const char *path, unsigned number))
{
    char folder[256], path[1024];
    unsigned number = 0;
    for (unsigned i = 0; i < 256; i++) {
        snprintf(folder, sizeof(folder), "%s/%s/%02x", site->cache, place, i);
        DIR *d = opendir(folder);
        for (struct dirent *e; d && (e = readdir(d));)
            if (strlen(e->d_name) == 64) {
                snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
                damage(path, number++);
            }
        if (d)
            closedir(d);
    }
    assert_true(number > 0);
}

static void flip_bits(const char *path, unsigned number)
{
    struct stat st = {0};
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    uint64_t x = number + 1;
    for (unsigned i = 0; i < 20 && st.st_size > 0; i++) {
        x = x * UINT64_C(6364136223846793005) + 1;
        off_t at = (off_t)((x >> 20) % (uint64_t)st.st_size);
        unsigned char byte = 0;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= (unsigned char)(1 << i % 8);
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    close(fd);
}

static void cut_in_half(const char *path, unsigned number)
{
    struct stat st;
    (void)number;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
}

static void make_empty(const char *path, unsigned number)
{
    (void)number;
    assert_int_equal(truncate(path, 0), 0);
}

static void fill_with_zeros(const char *path, unsigned number)
{
    struct stat st;
    (void)number;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(truncate(path, st.st_size), 0);
}

static void make_link(const char *path, unsigned number)
{
    (void)number;
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
}

static char last_path[1024];

static void swap_with_the_one_before(const char *path, unsigned number)
{
    if (number % 2)
        assert_int_equal(renameat2(AT_FDCWD, last_path, AT_FDCWD, path, RENAME_EXCHANGE), 0);
    snprintf(last_path, sizeof(last_path), "%s", path);
}

static void (*const damages[])(const char *path, unsigned number) = {
    flip_bits, cut_in_half, make_empty, fill_with_zeros, make_link, swap_with_the_one_before};

// Fills the cache (with pieces, or whole packs), damages it, reads all (online), and again (offline).
static void damage_and_heal(bool whole, void (*damage)(const char *path, unsigned number))
{
    site_empty_cache(site);
    struct site_server *server = server_start(site);
    atomic_store(&server->ignore_ranges, whole);
    for (unsigned pass = 0; pass < 3; pass++) {
        struct store *store = site_open_store(site, true, 0);
        struct version *v = site_open_version(site, store, pass < 2 ? server->http->address : NULL);
        site_must_read_all(site, v);
        if (pass == 1)
            assert_true(count_fetched(store) > 0);
        version_close(v);
        store_free(store);
        if (pass == 0)
            for_each_cached_file(whole ? "objects" : "partial", damage);
    }
    server_stop(server);
}

static void a_damaged_cache_of_pieces_heals(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(damages); i++)
        damage_and_heal(false, damages[i]);
}

static void a_damaged_cache_of_whole_packs_heals(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(damages); i++)
        damage_and_heal(true, damages[i]);
}

static void a_damaged_cache_offline_is_an_error_that_names_the_next_step(void **state)
{
    (void)state;
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct error error;
    site_must_read_all(site, v);
    version_close(v);
    store_free(store);
    for_each_cached_file("partial", flip_bits);
    store = site_open_store(site, true, 0);
    v = site_open_version(site, store, NULL);
    unsigned failed = 0;
    for (uint64_t block = 0; block < FIRST_BLOCKS; block += 8) {
        int r = site_check(site, v, DISK, block * BLOCK_SIZE, 8 * BLOCK_SIZE, &error);
        assert_true(r == 0 || r == -ENOENT);
        if (r == 0)
            continue;
        failed++;
        assert_non_null(strstr(error.text, "rondo pull"));
    }
    assert_true(failed > 0);
    assert_true(count_wrong(store) > 0);
    version_close(v);
    store_free(store);
}

// --- a full disk (T19), and calls that fail ------------------------------------------------------------------------

static struct io_table table;
static atomic_bool disk_is_full;

static ssize_t full_pwrite(int fd, const void *from, size_t n, off_t offset)
{
    if (atomic_load(&disk_is_full)) {
        errno = ENOSPC;
        return -1;
    }
    return io_table_system.pwrite(fd, from, n, offset);
}

static void a_full_disk_is_read_through(void **state)
{
    (void)state;
    table = io_table_system;
    table.pwrite = full_pwrite;
    io = &table;
    atomic_store(&disk_is_full, true);
    for (int whole = 0; whole < 2; whole++) {
        struct site_server *server = server_start(site);
        struct store *store = site_open_store(site, true, 0);
        struct version *v = site_open_version(site, store, server->http->address);
        atomic_store(&server->ignore_ranges, whole);
        site_must_read(site, v, DISK, 0, 3000000);
        site_must_read(site, v, KERNEL, 0, KERNEL_SIZE);
        assert_int_equal(cache_write_failure(store_cache(store)), -ENOSPC);
        version_close(v);
        store_free(store);
        server_stop(server);
    }
    io = &io_table_system;
}

static void a_cache_smaller_than_the_image_works(void **state)
{
    (void)state;
    struct site_server *server = server_start(site);
    struct store_options options = {
        .cache_folder = site->cache, .cache_limit = 2u << 20, .wait_seconds = 2, .chunk_memory = 1u << 20};
    struct store *store;
    struct cache_usage usage;
    assert_int_equal(store_new(&options, &store, NULL), 0);
    struct version *v = site_open_version(site, store, server->http->address);
    for (unsigned i = 0; i < 3; i++)
        site_must_read_all(site, v);
    assert_int_equal(cache_measure(store_cache(store), &usage), 0);
    assert_true(usage.bytes <= (2u << 20) + 2 * SITE_PACK_TARGET);
    version_close(v);
    store_free(store);
    server_stop(server);
}

static int read_with_faults(void)
{
    struct store_options options = {.cache_folder = site->cache, .wait_seconds = 1, .chunk_memory = 1u << 20};
    struct store *store;
    struct version *v;
    struct error error;
    const char *address = site->folder;
    int r = store_new(&options, &store, &error);
    if (r < 0)
        return r;
    r = version_open(store, &site->manifest, &address, 1, &v, &error);
    if (r == 0) {
        for (unsigned i = 0; i < 4 && r >= 0; i++) {
            r = site_check(site, v, DISK, (uint64_t)(i % 2) * BORDER_FIRST * BLOCK_SIZE, 600000, &error);
            assert_true(r <= 0); // a byte would be wrong
            if (r < 0)
                assert_true(error.text[0]);
        }
        version_close(v);
    }
    store_free(store);
    return r;
}

static void a_failure_of_any_call_gives_right_bytes_or_an_error(void **state)
{
    (void)state;
    static const int codes[] = {EIO, ENOSPC, EMFILE};
    unsigned succeeded = 0, runs = 0;
    for (unsigned k = 0; k < ARRAY_SIZE(codes); k++) {
        io_fault_start(0, 0, false);
        site_empty_cache(site);
        assert_int_equal(read_with_faults(), 0);
        unsigned long calls = io_fault_stop();
        assert_true(calls > 100);
        for (unsigned long at = 1; at <= calls; at += 1 + at / 12) {
            site_empty_cache(site);
            io_fault_start(at, codes[k], false);
            int r = read_with_faults();
            io_fault_stop();
            runs++;
            succeeded += r == 0;
            assert_int_equal(read_with_faults(), 0); // whatever happened left nothing bad behind
        }
    }
    assert_true(succeeded > runs / 2); // most failures are the cache's, and cost nothing
}

static void few_descriptors_are_enough(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = 40, .rlim_max = 40};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        for (unsigned i = 0; i < 2; i++) { // from the source, and from the cache
            struct store *store = site_open_store(site, true, 1u << 20);
            struct version *v = site_open_version(site, store, i == 0 ? site->folder : NULL);
            site_must_read_all(site, v);
            assert_int_equal(cache_write_failure(store_cache(store)), 0);
            version_close(v);
            store_free(store);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// --- hostile publishers (T28) --------------------------------------------------------------------------------------

static void publish_top(unsigned page, uint64_t size)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof(*m));
    *m = (struct manifest){.name = "evil",
                           .version = "1",
                           .serial = 1,
                           .created = 1000000000,
                           .arch = "x86_64",
                           .member_count = 1,
                           .members = {{.name = "disk", .size = size, .top = site->chunks[page].ref}}};
    assert_int_equal(manifest_format(m, &text, NULL), 0);
    assert_int_equal(buf_append_format(&text, "---\nnone\n"), 0);
    site->manifest = sha256_of(text.data, text.size);
    site_write_object(site, &site->manifest, text.data, text.size);
}

// A version whose only member, two blocks long, has this map on top.
static void publish_evil(const struct map_extent *extents, unsigned n, uint64_t size)
{
    unsigned leaf = site_add_leaf(site, extents, n);
    site_close_pack(site);
    publish_top(leaf, size);
}

static void expect_damaged(uint64_t offset, size_t n)
{
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct error error;
    unsigned char to[BLOCK_SIZE];
    assert_int_equal(version_read(v, 0, offset, to, n, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "damaged"));
    version_close(v);
    store_free(store);
}

static void a_map_that_promises_more_blocks_than_a_chunk_has(void **state)
{
    (void)state;
    static unsigned char blocks[2 * BLOCK_SIZE] = {1, 2, 3};
    unsigned chunk = site_add_chunk(site, CHUNK_DATA, blocks, 2);
    site_close_pack(site);
    struct map_extent extent = {.first = 0, .blocks = 3, .chunk = chunk};
    publish_evil(&extent, 1, 3 * BLOCK_SIZE);
    struct store *store = site_open_store(site, true, 0);
    struct version *v = site_open_version(site, store, site->folder);
    unsigned char to[2 * BLOCK_SIZE];
    assert_int_equal(version_read(v, 0, 0, to, sizeof(to), NULL), 0);
    assert_memory_equal(to, blocks, sizeof(to));
    version_close(v);
    store_free(store);
    expect_damaged(2 * BLOCK_SIZE, BLOCK_SIZE);
}

static void a_page_where_a_chunk_belongs(void **state)
{
    (void)state;
    // The first version's kernel leaf, taken for data.
    unsigned page = 0;
    for (unsigned i = 0; i < site->chunk_count; i++)
        if (site->packs[site->chunks[i].pack].bytes.data[site->chunks[i].ref.offset] == CHUNK_PAGE &&
            site->chunks[i].ref.length < CHUNK_STORED_MAXIMUM)
            page = i;
    struct map_extent extent = {.first = 0, .blocks = 1, .chunk = page};
    publish_evil(&extent, 1, BLOCK_SIZE);
    expect_damaged(0, BLOCK_SIZE);
}

static void a_chunk_where_a_page_belongs(void **state)
{
    (void)state;
    struct map_extent extent = {.first = 0, .blocks = 1, .chunk = 0};
    publish_evil(&extent, 1, (uint64_t)MAP_LEAF_BLOCKS * BLOCK_SIZE * 2); // so its top should be an index page
    expect_damaged(0, BLOCK_SIZE);
}

// A zstd frame that says one block and holds 64 MiB, in 2 KiB; its name and its pack are right.
static void a_chunk_that_is_a_bomb(void **state)
{
    (void)state;
    static const unsigned char head[] = {CHUNK_DATA, CHUNK_ZSTD, 1, 0, 0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0x0f};
    unsigned char stored[sizeof(head) + 512 * 4];
    struct sha256 hash = {{0}};
    memcpy(stored, head, sizeof(head));
    for (unsigned i = 0; i < 512; i++) // RFC 8878, 3.1.1.2: last block, type 1 (one byte, repeated), 2^17 times
        put_le32(stored + sizeof(head) + 4 * i, (i == 511) | 1u << 1 | 0x20000u << 3);
    unsigned chunk = site_add_stored(site, stored, sizeof(stored), &hash);
    site_close_pack(site);
    struct map_extent extent = {.first = 0, .blocks = 1, .chunk = chunk};
    publish_evil(&extent, 1, BLOCK_SIZE);
    expect_damaged(0, BLOCK_SIZE);
}

static void a_false_reference_harms_no_other_version(void **state)
{
    (void)state;
    struct sha256 good = site->manifest;
    // The evil version says that chunk 0 lies elsewhere, with other bytes.
    struct chunk_reference right = site->chunks[0].ref;
    site->chunks[0].ref.offset += 1;
    struct map_extent extent = {.first = 0, .blocks = 1, .chunk = 0};
    publish_evil(&extent, 1, BLOCK_SIZE);
    site->chunks[0].ref = right;
    struct site_server *server = server_start(site);
    struct store *store = site_open_store(site, true, 0);
    struct version *evil = site_open_version(site, store, server->http->address);
    site->manifest = good;
    struct version *v = site_open_version(site, store, server->http->address);
    unsigned char to[BLOCK_SIZE];
    struct error error;
    assert_int_equal(version_read(evil, 0, 0, to, sizeof(to), &error), -EBADMSG);
    site_must_read(site, v, DISK, 0, 100);
    version_close(evil);
    version_close(v);
    store_free(store);
    server_stop(server);
}

#define NAMED_LEAVES 24u
#define NAMED_PACKS 4096u // by each of them

// Each number is a chunk in a pack of its own. Nobody needs to have these packs to name them: their names differ in
// few bytes only, and count down.
static int name_a_pack(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    uint64_t number = UINT64_MAX - *(const uint64_t *)context - chunk;
    *ret = (struct chunk_reference){.pack = {.size = 1000}, .offset = 8, .length = 100};
    for (unsigned i = 0; i < 8; i++)
        ret->name.bytes[16 + i] = ret->pack.name.bytes[16 + i] = (unsigned char)(number >> (56 - 8 * i));
    return 0;
}

static void names_made_to_collide_cost_no_time(void **state)
{
    (void)state;
    static struct map_extent extents[NAMED_PACKS];
    static unsigned char page[PAGE_BYTES_MAXIMUM];
    struct chunk_reference children[NAMED_LEAVES];
    unsigned leaves[NAMED_LEAVES];
    size_t size;
    for (unsigned i = 0; i < NAMED_PACKS; i++)
        extents[i] = (struct map_extent){.first = i, .blocks = 1, .chunk = i};
    for (unsigned i = 0; i < NAMED_LEAVES; i++) {
        uint64_t before = (uint64_t)i * NAMED_PACKS;
        assert_int_equal(map_leaf_build(extents, NAMED_PACKS, name_a_pack, &before, page, &size), 0);
        leaves[i] = site_add_chunk(site, CHUNK_PAGE, page, (unsigned)(size / BLOCK_SIZE));
    }
    site_close_pack(site);
    for (unsigned i = 0; i < NAMED_LEAVES; i++)
        children[i] = site->chunks[leaves[i]].ref;
    assert_int_equal(map_index_build(1, children, NAMED_LEAVES, page, &size), 0);
    unsigned top = site_add_chunk(site, CHUNK_PAGE, page, (unsigned)(size / BLOCK_SIZE));
    site_close_pack(site);
    publish_top(top, (uint64_t)NAMED_LEAVES * MAP_LEAF_BLOCKS * BLOCK_SIZE);

    struct store *store = site_open_store(site, false, 0);
    struct version *v = site_open_version(site, store, site->folder);
    struct version_extent e;
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    assert_int_equal(version_measure(v, 0, &e, NULL), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    assert_int_equal(e.packs, NAMED_LEAVES * NAMED_PACKS);
    double seconds = (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    if (seconds > 3)
        fail_msg("%.1f seconds", seconds);
    version_close(v);
    store_free(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, usual_site_set_up, usual_site_tear_down)

int main(void)
{
    setenv("RONDO_LOG", "error", 1); // the warnings that tests provoke
    log_start("test_store_hostile");
    const struct CMUnitTest tests[] = {
        TEST(an_altered_chunk_comes_from_the_next_mirror),
        TEST(an_altered_chunk_without_another_mirror_is_an_error),
        TEST(the_right_chunks_beside_an_altered_one_are_kept),
        TEST(an_altered_manifest_stops_everything_else),
        TEST(an_altered_page_is_never_followed),
        TEST(a_lie_in_a_whole_pack_is_found),
        TEST(the_right_chunks_of_a_wrong_pack_are_kept_on_the_disk),
        TEST(a_cut_pack_counts_as_far_as_it_came),
        TEST(a_damaged_cache_of_pieces_heals),
        TEST(a_damaged_cache_of_whole_packs_heals),
        TEST(a_damaged_cache_offline_is_an_error_that_names_the_next_step),
        TEST(a_full_disk_is_read_through),
        TEST(a_cache_smaller_than_the_image_works),
        TEST(a_failure_of_any_call_gives_right_bytes_or_an_error),
        TEST(few_descriptors_are_enough),
        TEST(a_map_that_promises_more_blocks_than_a_chunk_has),
        TEST(a_page_where_a_chunk_belongs),
        TEST(a_chunk_where_a_page_belongs),
        TEST(a_chunk_that_is_a_bomb),
        TEST(a_false_reference_harms_no_other_version),
        TEST(names_made_to_collide_cost_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
