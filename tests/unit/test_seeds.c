// The fuzz targets' seeds, which another implementation of the formats wrote (tests/fuzz/format_seeds): those whose
// name begins with "bad_" are refused, all others are accepted.
#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"
#include "blockstore/manifest.h"
#include "blockstore/pack.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int accept_chunk(const unsigned char *bytes, size_t n)
{
    unsigned char *blocks CLEANUP_FREE = malloc(PAGE_BYTES_MAXIMUM);
    struct sha256 name = sha256_of(bytes, n);
    unsigned nblocks;

    return chunk_decode((enum chunk_kind)bytes[0], &name, bytes, n, blocks, &nblocks, NULL);
}

static int accept_map_page(const unsigned char *bytes, size_t n)
{
    size_t padded = (n + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    unsigned char *page CLEANUP_FREE = calloc(1, padded);
    struct map_page parsed;

    memcpy(page, bytes, n);
    return map_page_parse(page, padded, bytes[1], &parsed, NULL);
}

static int accept_entry(void *context, const struct pack_entry *entry)
{
    (void)context, (void)entry;
    return 0;
}

static int accept_pack_table(const unsigned char *bytes, size_t n)
{
    struct pack_trailer trailer;
    size_t table = n - PACK_TRAILER_SIZE;

    int r = pack_parse_trailer(bytes + table, PACK_TRAILER_SIZE, get_le32(bytes + table) + (uint32_t)n, &trailer, NULL);
    if (r < 0)
        return r;
    struct sha256 hash = sha256_of(bytes, table);
    assert_true(sha256_equal(&hash, &trailer.table));
    return pack_walk_table(bytes, table, &trailer, accept_entry, NULL, NULL);
}

static int accept_manifest(const unsigned char *bytes, size_t n)
{
    struct manifest *m CLEANUP_FREE = malloc(sizeof(*m));
    return manifest_parse(bytes, n, m, NULL);
}

static void check_folder(const char *target, int (*accept)(const unsigned char *, size_t))
{
    const char *root = getenv("ROOT");
    char path[500];
    unsigned good = 0, bad = 0;

    snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", root ? root : ".", target);
    DIR *d CLEANUP_CLOSEDIR = opendir(path);
    assert_non_null(d); // run from the sources' top, or with ROOT set
    for (struct dirent *e; d && (e = readdir(d));) {
        void *bytes CLEANUP_FREE = NULL;
        size_t size;
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(io_read_file(dirfd(d), e->d_name, 1 << 20, &bytes, &size), 0);
        bool wanted = strncmp(e->d_name, "bad_", 4) != 0;
        int r = accept(bytes, size);
        if ((r == 0) != wanted)
            fail_msg("%s/%s: %d", target, e->d_name, r);
        *(wanted ? &good : &bad) += 1;
    }
    assert_true(good > 0 && bad > 0);
}

static void chunks(void **state)
{
    (void)state;
    check_folder("chunk", accept_chunk);
}

static void map_pages(void **state)
{
    (void)state;
    check_folder("map_page", accept_map_page);
}

static void pack_tables(void **state)
{
    (void)state;
    check_folder("pack_table", accept_pack_table);
}

static void manifests(void **state)
{
    (void)state;
    check_folder("manifest", accept_manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks),
        cmocka_unit_test(map_pages),
        cmocka_unit_test(pack_tables),
        cmocka_unit_test(manifests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
