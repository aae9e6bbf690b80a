// Publishing in torture, by the writer alone: chunks, packs and pages, a boot set, and what an interrupted publication
// left. The site that comes out is the same as without a fault, object by object. And the codecs.
#include "tests/torture/torture.h"

#include "blockstore/chunk.h"
#include "tests/unit/writer_fixture.h"

static struct fixture folders;
static struct publication publication, reference;
static struct profile *boot;
static int disk[] = {-1, -1};

static void use_folder(const char *folder)
{
    snprintf(folders.root, sizeof(folders.root), "%s", folder);
    snprintf(folders.site, sizeof(folders.site), "%s/site", folder);
}

static void set_up_reference(const char *folder, bool with_boot)
{
    unsigned member;
    use_folder(folder);
    snprintf(folders.other_site, sizeof(folders.other_site), "%s/other", folder);
    if (disk[0] >= 0)
        close(disk[0]);
    disk[0] = image_open(&folders, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE);
    image_fill(disk[0], 5, 70, 1, 1);
    image_fill(disk[0], SEGMENT_BLOCKS + 9, 40, 51, 1);
    profile_free(boot);
    boot = NULL;
    if (with_boot) {
        boot = profile_new();
        MUST(profile_add_member(boot, "disk", 2 * SEGMENT_BLOCKS * BLOCK_SIZE, &member));
        MUST(profile_add_read(boot, member, SEGMENT_BLOCKS + 20, 20));
        MUST(profile_add_read(boot, member, 10, 40));
    }
    reference = (struct publication){.site = folders.other_site, .fds = disk, .threads = 1, .boot = boot};
    publish_well(&reference);
}

static void set_up(const char *folder)
{
    set_up_reference(folder, false);
}

static void set_up_boot(const char *folder)
{
    set_up_reference(folder, true);
}

static void prepare(const char *folder)
{
    use_folder(folder);
    publication = (struct publication){.site = folders.site, .fds = disk, .threads = 1, .boot = boot};
}

static void prepare_threads(const char *folder)
{
    prepare(folder);
    publication.threads = 3;
}

// As far as an interrupted publication comes.
static void prepare_unfinished(const char *folder)
{
    struct writer_options options = {.site = folders.site, .image = "img", .level = 1, .threads = 1};
    struct manifest_member member;
    struct writer_counts counts;
    struct writer *w;

    prepare(folder);
    MUST(writer_open(&options, &w, NULL));
    MUST(writer_add_member(w, "disk", disk[0], &member, NULL));
    MUST(writer_finish(w, &counts, NULL));
    writer_close(w);
}

static int act(void)
{
    int r = publish(&publication);
    if (r < 0 && !publication.error.text[0])
        return torture_wrong("it failed without a word");
    return r;
}

static int again(void)
{
    assert_site_is_sound(folders.site); // before it, too
    return act();
}

static int check(void)
{
    assert_same_objects(folders.site, folders.other_site);
    assert_no_leftovers(folders.site);
    assert_published(&publication);
    return sha256_equal(&publication.name, &reference.name) ? 0 : torture_wrong("the manifest is another");
}

// --- codecs ----------------------------------------------------------------------------------------------------------

static int code(enum chunk_codec codec)
{
    static unsigned char blocks[8 * BLOCK_SIZE], decoded[CHUNK_BYTES_MAXIMUM], stored[CHUNK_STORED_MAXIMUM];
    struct chunk_encoder *e;
    unsigned n;
    for (unsigned i = 0; i < 8; i++)
        fill_block(blocks + i * BLOCK_SIZE, i);
    int r = chunk_encoder_new(codec, 9, &e);
    if (r < 0)
        return r;
    int length = chunk_encode(e, CHUNK_DATA, blocks, 8, stored);
    chunk_encoder_free(e);
    if (length < 0)
        return length;
    struct sha256 name = sha256_of(stored, (size_t)length);
    r = chunk_decode(CHUNK_DATA, &name, stored, (size_t)length, decoded, &n, NULL);
    if (r < 0)
        return r;
    return n == 8 && memcmp(blocks, decoded, sizeof(blocks)) == 0 ? 0 : torture_wrong("the blocks are others");
}

static int code_lz4(void)
{
    return code(CHUNK_LZ4);
}

static int code_zstd(void)
{
    return code(CHUNK_ZSTD);
}

const struct torture_scenario torture_writer[] = {
    {.name = "LZ4", .act = code_lz4},
    {.name = "zstd", .act = code_zstd},
    {.name = "write a site", .set_up = set_up, .prepare = prepare, .act = act, .again = again, .check = check},
    {.name = "write a site, by threads",
     .set_up = set_up,
     .prepare = prepare_threads,
     .act = act,
     .again = again,
     .check = check},
    {.name = "write a site with a boot set",
     .set_up = set_up_boot,
     .prepare = prepare,
     .act = act,
     .again = again,
     .check = check},
    {.name = "go on with a site",
     .set_up = set_up,
     .prepare = prepare_unfinished,
     .act = act,
     .again = again,
     .check = check},
    {.name = NULL},
};
