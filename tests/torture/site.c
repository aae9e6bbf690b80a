// What rondo-server makes of a site, in torture: the index, what is asked of it, the pages, and uploads. An index that
// was made in spite of faults says the same as one that was made without; a page has the same bytes; an object is taken
// in whole, or not.
//
//   shared/   site: a:1, a:2, b:1 (b with a description and a logo); index of it; page: b's
//   run/      state: the index, and what is uploaded
#include "tests/torture/torture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/index.h"
#include "server/staging.h"
#include "web/pages.h"

int rondo_main(int argc, char **argv); // main() of client/rondo_main.c

#define OBJECT_SIZE 150000u
#define DESCRIPTION "# Words\n\nA *small* system:\n\n- `one`\n- [two](https://example.com/)\n"

static char shared[200], here[200], index_path[300];
static unsigned char object[OBJECT_SIZE];
static struct buf page; // b's, without a fault

static const struct key_public key = {.bytes = {'R', 1, 2, 3}};

// --- a site ----------------------------------------------------------------------------------------------------------

static void write_file(const char *name, const void *bytes, size_t n)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", shared, name);
    MUST(io_replace_file(AT_FDCWD, path, bytes, n, 0600));
}

static void publish(const char *name, const char *version, const char *file)
{
    char paths[5][300];
    static const char *const names[] = {"key", "site", "description", "logo.png"};
    for (unsigned i = 0; i < 4; i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", shared, names[i]);
    snprintf(paths[4], sizeof(paths[4]), "%s/%s", shared, file);
    const char *const words[] = {"rondo",  "publish", "--name",        name,     "--version", version,
                                 "--disk", paths[4],  "--title",       "T & t",  "--key",     paths[0],
                                 "--to",   paths[1],  "--description", paths[2], "--logo",    paths[3]};
    char text[ARRAY_SIZE(words)][300], *argv[ARRAY_SIZE(words) + 1] = {NULL};
    int argc = (int)ARRAY_SIZE(words) - (*name == 'b' ? 0 : 4); // a has no description and no logo
    for (int i = 0; i < argc; i++) {
        snprintf(text[i], sizeof(text[i]), "%s", words[i]);
        argv[i] = text[i];
    }
    MUST(rondo_main(argc, argv));
}

static void set_up(const char *folder)
{
    static const unsigned char png[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\10\6\0\0\0";
    char path[300];
    snprintf(shared, sizeof(shared), "%s", folder);
    static const char *const names[][2] = {{"RONDO_HOME", "home"}, {"RONDO_CACHE", "cache"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i][1]);
        MUST(setenv(names[i][0], path, 1));
    }
    for (unsigned i = 0; i < OBJECT_SIZE; i++)
        object[i] = (unsigned char)(i * 2654435761u >> 13);
    write_file("disk", object, 32 * 4096);
    write_file("disk2", object + 4096, 34 * 4096);
    write_file("description", DESCRIPTION, strlen(DESCRIPTION));
    write_file("logo.png", png, sizeof(png));
    snprintf(path, sizeof(path), "%s/key", folder);
    MUST(rondo_main(4, (char *[]){(char[]){"rondo"}, (char[]){"key"}, (char[]){"new"}, path, NULL}));
    publish("a", "1", "disk");
    publish("a", "2", "disk2");
    publish("b", "1", "disk");
}

static void use_folder(const char *folder)
{
    snprintf(here, sizeof(here), "%s", folder);
    snprintf(index_path, sizeof(index_path), "%s/index.db", folder);
}

// --- the index -------------------------------------------------------------------------------------------------------

static int update(const char *path)
{
    char site[300];
    struct index *x CLEANUP(index_close) = NULL;
    struct index_counts counts;
    struct error error = {""};
    snprintf(site, sizeof(site), "%s/site", shared);
    int r = index_open(path, true, &x, &error);
    if (r == 0)
        r = index_update(x, site, false, &counts, &error);
    if (r < 0 && !error.text[0])
        return torture_wrong("the index failed without a word");
    if (r == 0 && counts.versions + counts.refused != 3)
        return torture_wrong("%u versions, and %u are refused", counts.versions, counts.refused);
    return r == 0 && counts.refused > 0 ? -EIO : r;
}

static int make_index(void)
{
    return update(index_path);
}

static int make_page(struct index *x, struct buf *ret, struct error *error)
{
    struct index_site about;
    struct index_list found CLEANUP(index_list_free) = {.versions = NULL}, all CLEANUP(index_list_free) = {0};
    struct pages_choices choices = {.os_count = 0};
    const struct pages_site s = {.about = &about, .url = "https://example.com/", .choices = &choices};

    int r = index_get_site(x, &about, error);
    if (r == 0)
        r = index_find_image(x, "b", NULL, &found, error);
    if (r == 0)
        r = index_list_versions(x, "b", PAGES_VERSIONS, 0, &all, error);
    return r == 0 ? pages_image(&s, &found.versions[0], &all, ret) : r;
}

// Words that are of both images, of one, and of none.
static int search(struct index *x, struct error *error)
{
    static const struct {
        const char *words;
        uint64_t all;
    } searches[] = {{NULL, 2}, {"T", 2}, {"small syst", 1}, {"none", 0}};
    for (size_t i = 0; i < ARRAY_SIZE(searches); i++) {
        struct index_list l CLEANUP(index_list_free) = {.versions = NULL};
        const struct index_query q = {.words = searches[i].words, .limit = 10};
        int r = index_search(x, &q, &l, error);
        if (r < 0)
            return r;
        if (l.all != searches[i].all || l.count != searches[i].all)
            return torture_wrong("a search finds %u, not %u", l.count, (unsigned)searches[i].all);
    }
    return 0;
}

static int ask(struct index *x)
{
    struct error error = {""};
    struct buf html CLEANUP(buf_free) = {.maximum = PAGES_SIZE_MAXIMUM};
    int r = search(x, &error);
    if (r == 0)
        r = make_page(x, &html, &error);
    if (r == 0 && (html.size != page.size || memcmp(html.data, page.data, page.size) != 0))
        return torture_wrong("the page has other bytes");
    return r;
}

static int check_index(void)
{
    struct index *x CLEANUP(index_close) = NULL;
    struct error error = {""};
    if (index_open(index_path, false, &x, &error) < 0 || ask(x) != 0)
        return torture_wrong("the index cannot be used: %s", error.text);
    return 0;
}

static void set_up_page(const char *folder)
{
    struct index *x CLEANUP(index_close) = NULL;
    struct error error = {""};
    set_up(folder);
    use_folder(folder);
    MUST(make_index());
    MUST(index_open(index_path, false, &x, &error));
    buf_free(&page);
    page.maximum = PAGES_SIZE_MAXIMUM;
    MUST(make_page(x, &page, &error));
}

// Another process made the index; ours reads.
static void prepare_reading(const char *folder)
{
    use_folder(folder);
    snprintf(index_path, sizeof(index_path), "%s/index.db", shared);
}

static int read_index(void)
{
    struct index *x CLEANUP(index_close) = NULL;
    struct error error = {""};
    int r = index_open(index_path, false, &x, &error);
    if (r < 0)
        return error.text[0] ? r : torture_wrong("the index failed without a word");
    return ask(x);
}

// --- uploads ---------------------------------------------------------------------------------------------------------

// In two parts, from where an earlier try ended.
static int upload_part(struct staging *s, uint64_t end, struct error *error)
{
    const struct sha256 name = sha256_of(object, OBJECT_SIZE);
    struct staging_upload *u CLEANUP(staging_end) = NULL;
    uint64_t offset;
    bool whole;
    uint64_t have = staging_find(s, &key, &name, &whole);
    if (have == OBJECT_SIZE && !whole)
        have = 0, end = OBJECT_SIZE; // all is there, and was not found right: all of it anew, as the client does
    if (whole || have >= end)
        return 0;
    const struct publish_part part = {.first = have, .length = end - have, .total = OBJECT_SIZE};
    int r = staging_begin(s, &key, &name, &part, 1u << 20, &u, &offset, error);
    for (uint64_t at = have; r == 0 && at < end; at += 50000)
        r = staging_add(u, object + at, end - at < 50000 ? end - at : 50000, error);
    if (r == 0)
        r = staging_finish(u, error);
    return r == 1 && end < OBJECT_SIZE ? torture_wrong("a part is said to be all") : r < 0 ? r : 0;
}

static int upload(void)
{
    struct staging *s CLEANUP(staging_close) = NULL;
    struct error error = {""};
    int state CLEANUP_CLOSE = open(here, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(state < 0 ? -errno : 0);
    int r = staging_open(state, &s, &error);
    if (r == 0)
        r = upload_part(s, 60000, &error);
    if (r == 0)
        r = upload_part(s, OBJECT_SIZE, &error);
    return r < 0 && !error.text[0] ? torture_wrong("the upload failed without a word") : r;
}

static int check_upload(void)
{
    char path[500], hex[SHA256_HEX_SIZE], text[KEY_TEXT_SIZE];
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    const struct sha256 name = sha256_of(object, OBJECT_SIZE);
    key_to_text(&key, text);
    snprintf(path, sizeof(path), "%s/" STAGING_FOLDER "/%s/%s", here, text, sha256_to_hex(&name, hex));
    if (io_read_file(AT_FDCWD, path, OBJECT_SIZE, &bytes, &n) < 0)
        return torture_wrong("the object is not there");
    return n == OBJECT_SIZE && memcmp(bytes, object, n) == 0 ? 0 : torture_wrong("the object has other bytes");
}

const struct torture_scenario torture_site[] = {
    {.name = "make an index", .set_up = set_up_page, .prepare = use_folder, .act = make_index, .check = check_index},
    {.name = "search, and make a page", .set_up = set_up_page, .prepare = prepare_reading, .act = read_index},
    {.name = "upload an object", .set_up = set_up, .prepare = use_folder, .act = upload, .check = check_upload},
    {.name = NULL},
};
