// catalog/index.h: what it says of a site, before and after changes; damage; words that nobody would search for.
#include "tests/unit/index_fixture.h"

#include "blockstore/map.h"
#include "blockstore/pack.h"
#include "catalog/index_private.h"
#include <sqlite3.h>

#include "base/banned.h"

static int set_up(void **state)
{
    struct index_fixture *f = index_fixture_new();
    index_fixture_add(f, "debian", "11", "Debian 11");
    index_fixture_add(f, "debian", "12", "Debian bookworm");
    index_fixture_add_by(f, f->key, "alpine-small", "3", "Alpine for Caf\xc3\xa9s", "Alpine Linux");
    index_fixture_sign(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    index_fixture_free(*state);
    return 0;
}

static struct index *open_index(const struct index_fixture *f, bool writable)
{
    struct index *x = NULL;
    struct error error;
    assert_ok(index_open(f->index_path, writable, &x, &error), error);
    return x;
}

// "name:version name:version of ALL"
static const char *found(struct index *x, const struct index_query *q)
{
    static char text[8192];
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct error error;
    size_t n = 0;
    assert_ok(index_search(x, q, &list, &error), error);
    for (unsigned i = 0; i < list.count; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s:%s ", list.versions[i].name, list.versions[i].version);
    snprintf(text + n, sizeof text - n, "of %llu", (unsigned long long)list.all);
    return text;
}

static const char *found_words(struct index *x, const char *words)
{
    return found(x, &(struct index_query){.words = words, .limit = 5});
}

static void tag_of(struct index *x, char ret[static 64])
{
    struct index_site site;
    struct error error;
    assert_ok(index_get_site(x, &site, &error), error);
    memcpy(ret, site.tag, sizeof site.tag);
}

static void test_what_it_says(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = open_index(f, true);
    struct index_site site;
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct error error;
    assert_int_equal(index_get_site(x, &site, &error), -ENOENT);
    struct index_counts counts = index_fixture_update(f, x);
    assert_int_equal(counts.versions, 3);
    assert_int_equal(counts.added, 3);
    assert_int_equal(counts.removed + counts.refused, 0);
    assert_ok(index_get_site(x, &site, &error), error);
    assert_string_equal(site.name, "zoo");
    assert_true(key_equal(&site.key, &f->public));
    assert_memory_equal(site.id, f->catalog.id, sizeof site.id);
    assert_int_equal(site.number, f->catalog.number);
    assert_int_equal(site.images, 2);
    assert_int_equal(site.versions, 3);
    assert_int_equal(site.expires - site.issued, CATALOG_EXPIRES_DEFAULT);

    assert_ok(index_find_image(x, "debian", NULL, &list, &error), error);
    assert_int_equal(list.count, 1);
    const struct index_version *v = &list.versions[0];
    assert_string_equal(v->version, "12");
    assert_int_equal(v->serial, 2);
    assert_int_equal(v->created, 2000);
    assert_true(key_equal(&v->publisher, &f->public));
    assert_string_equal(v->arch, "x86_64");
    assert_string_equal(v->title, "Debian bookworm");
    assert_string_equal(v->summary, "a summary");
    assert_string_equal(v->os, "Debian GNU/Linux 12");
    assert_string_equal(v->tags, "latest");
    assert_string_equal(v->homepage, "");
    assert_int_equal(v->memory, 512 << 20);
    assert_int_equal(v->disk_size, 1 << 20);
    assert_int_equal(v->version_count, 2);
    assert_false(v->revoked);
    assert_false(v->has_logo);
    index_list_free(&list);
    assert_ok(index_find_image(x, "debian", "11", &list, &error), error);
    assert_string_equal(list.versions[0].version, "11");
    index_list_free(&list);
    assert_ok(index_find_image(x, "debian", "latest", &list, &error), error);
    assert_string_equal(list.versions[0].version, "12");
    index_list_free(&list);
    assert_int_equal(index_find_image(x, "debian", "atest", &list, &error), -ENOENT);
    assert_int_equal(index_find_image(x, "debia", NULL, &list, &error), -ENOENT);
    assert_int_equal(index_list_versions(x, "none\x1b", 0, 0, &list, &error), -ENOENT);
    assert_null(strchr(error.text, '\x1b'));
    assert_ok(index_list_versions(x, "debian", 0, 0, &list, &error), error);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.all, 2);
    assert_string_equal(list.versions[0].version, "12");
    assert_string_equal(list.versions[1].version, "11");
    index_list_free(&list);
    assert_ok(index_list_versions(x, "debian", 1, 1, &list, &error), error);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.versions[0].version, "11");
}

static void test_changes(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = open_index(f, true);
    struct index *reader CLEANUP(index_close) = NULL;
    struct error error;
    char first[64], second[64];
    index_fixture_update(f, x);
    reader = open_index(f, false);
    tag_of(reader, first);
    struct index_counts counts = index_fixture_update(f, x);
    assert_int_equal(counts.added + counts.removed, 0);
    tag_of(reader, second);
    assert_string_equal(first, second); // nothing is another, so neither is the tag
    index_fixture_sign(f);
    index_fixture_update(f, x);
    tag_of(reader, second);
    assert_string_not_equal(first, second); // a new number

    index_fixture_add(f, "debian", "13", "Debian trixie");
    index_fixture_sign(f);
    counts = index_fixture_update(f, x);
    assert_int_equal(counts.added, 1);
    assert_int_equal(counts.versions, 4);
    assert_string_equal(found_words(reader, "debian"), "debian:13 of 1");
    assert_string_equal(found_words(reader, "bookworm"), "of 0");

    assert_ok(catalog_set_tag(&f->catalog, "debian", "latest", "12", &error), error);
    index_fixture_sign(f);
    counts = index_fixture_update(f, x);
    assert_int_equal(counts.added + counts.removed, 0);
    assert_string_equal(found_words(reader, "bookworm"), "debian:12 of 1");
    assert_ok(catalog_remove_image(&f->catalog, "debian", "11", &error), error);
    index_fixture_sign(f);
    counts = index_fixture_update(f, x);
    assert_int_equal(counts.removed, 1);
    assert_int_equal(counts.versions, 3);

    // Another site in the same place: all of the first is gone.
    catalog_free(&f->catalog);
    assert_ok(catalog_start(&f->catalog, "other", &f->public, &error), error);
    index_fixture_add(f, "bsd", "1", "BSD");
    index_fixture_sign(f);
    counts = index_fixture_update(f, x);
    assert_int_equal(counts.removed, 3);
    assert_int_equal(counts.versions, 1);
    assert_string_equal(found(reader, &(struct index_query){.limit = 0}), "bsd:1 of 1");
    assert_string_equal(found_words(reader, "bookworm"), "of 0");
    counts = (struct index_counts){.versions = 0};
    assert_ok(index_update(x, f->site_path, true, &counts, &error), error); // reindex
    assert_int_equal(counts.added, 1);
    assert_string_equal(found_words(reader, "bsd"), "bsd:1 of 1");
}

static void test_revoked(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = open_index(f, true);
    struct key_secret *other CLEANUP(key_free) = NULL;
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct key_public public;
    struct error error;
    assert_ok(key_generate(&other, &error), error);
    key_public_of(other, &public);
    assert_ok(catalog_add_key(&f->catalog, &public, "debian", &error), error);
    assert_ok(catalog_add_key(&f->catalog, &public, "own", &error), error);
    index_fixture_add_by(f, other, "debian", "13", "Debian trixie", "Debian");
    index_fixture_add_by(f, other, "own", "1", "Own", "Own OS");
    index_fixture_sign(f);
    index_fixture_update(f, x);
    assert_string_equal(found_words(x, "trixie"), "debian:13 of 1");
    assert_ok(catalog_add_revoked(&f->catalog, &public, &error), error);
    index_fixture_sign(f);
    struct index_counts counts = index_fixture_update(f, x);
    assert_int_equal(counts.added + counts.removed, 0);
    assert_string_equal(found_words(x, "trixie"), "of 0");
    assert_string_equal(found_words(x, "bookworm"), "debian:12 of 1"); // the newest that can be run
    assert_ok(index_list_versions(x, "debian", 0, 0, &list, &error), error);
    assert_true(list.versions[0].revoked);
    assert_false(list.versions[1].revoked);
    index_list_free(&list);
    assert_ok(index_find_image(x, "own", NULL, &list, &error), error); // there is no other
    assert_true(list.versions[0].revoked);
}

static void test_left_out(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = NULL;
    struct error error;
    char path[256], hex[SHA256_HEX_SIZE];
    assert_ok(index_open(NULL, true, &x, &error), error);
    const struct catalog_image *newest = catalog_newest_image(&f->catalog, "debian");
    sha256_to_hex(&newest->manifest, hex);
    snprintf(path, sizeof path, "%s/objects/%.2s/%s", f->site_path, hex, hex);
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    assert_int_equal(io_read_file(AT_FDCWD, path, 1 << 20, &bytes, &n), 0);
    assert_int_equal(io_replace_file(AT_FDCWD, path, bytes, n - 1, 0644), 0); // not what it was
    struct index_counts counts = index_fixture_update(f, x);
    assert_int_equal(counts.refused, 1);
    assert_int_equal(counts.versions, 2);
    assert_string_equal(found_words(x, "debian"), "debian:11 of 1");
    assert_int_equal(io_replace_file(AT_FDCWD, path, bytes, n, 0644), 0);
    counts = index_fixture_update(f, x);
    assert_int_equal(counts.refused, 0);
    assert_int_equal(counts.added, 1);
    assert_string_equal(found_words(x, "debian"), "debian:12 of 1");

    // A catalog that is not right changes nothing.
    snprintf(path, sizeof path, "%s/catalog.rondo", f->site_path);
    assert_int_equal(io_replace_file(AT_FDCWD, path, "bla\n", 4, 0644), 0);
    assert_int_equal(index_update(x, f->site_path, true, &counts, &error), -EBADMSG);
    assert_string_equal(found_words(x, "debian"), "debian:12 of 1");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(index_update(x, f->site_path, true, &counts, &error), -ENOENT);
    assert_int_equal(index_update(x, "/nowhere", true, &counts, &error), -ENOENT);
    assert_string_equal(found_words(x, "debian"), "debian:12 of 1");
}

static void test_damage(void **state)
{
    struct index_fixture *f = *state;
    static const char *const texts[] = {"bla", "", "SQLite format 3"};
    struct error error;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct index *x CLEANUP(index_close) = NULL, *reader CLEANUP(index_close) = NULL,
                        *old CLEANUP(index_close) = NULL;
        x = open_index(f, true);
        index_fixture_update(f, x);
        index_close(&x);
        old = open_index(f, false);
        assert_true(index_is_current(old));
        char was[64], is[64];
        tag_of(old, was);
        assert_int_equal(io_replace_file(AT_FDCWD, f->index_path, texts[i], strlen(texts[i]), 0600), 0);
        assert_false(index_is_current(old));
        assert_int_equal(index_open(f->index_path, false, &reader, &error), -EUCLEAN);
        x = open_index(f, true);
        assert_int_equal(index_fixture_update(f, x).added, 3);
        reader = open_index(f, false);
        assert_string_equal(found_words(reader, "bookworm"), "debian:12 of 1");
        tag_of(reader, is);
        assert_string_not_equal(was, is);
    }
}

static void spoil(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void test_foreign_schema(void **state)
{
    struct index_fixture *f = *state;
    static const char *const changes[] = {
        "PRAGMA user_version = 77",  "CREATE TRIGGER t AFTER INSERT ON site BEGIN DELETE FROM image; END",
        "CREATE VIEW v AS SELECT 1", "ALTER TABLE image ADD COLUMN more TEXT",
        "DROP TABLE facet",
    };
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct index *x CLEANUP(index_close) = open_index(f, true), *reader CLEANUP(index_close) = NULL;
        struct error error;
        index_fixture_update(f, x);
        index_close(&x);
        spoil(f->index_path, changes[i]);
        assert_int_equal(index_open(f->index_path, false, &reader, &error), -EUCLEAN);
        x = open_index(f, true);
        assert_int_equal(index_fixture_update(f, x).added, 3);
    }
}

// Tables of words that SQLite itself finds nothing wrong with.
static void test_damaged_words(void **state)
{
    struct index_fixture *f = *state;
    static const char *const changes[] = {"DELETE FROM words_data WHERE id > 10",
                                          "UPDATE words_content SET c0 = 'other' WHERE id = 1",
                                          "DELETE FROM words_docsize"};
    struct index_list list = {.versions = NULL};
    struct error error;
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        struct index *x CLEANUP(index_close) = open_index(f, true), *reader CLEANUP(index_close) = NULL;
        index_fixture_update(f, x);
        index_close(&x);
        spoil(f->index_path, changes[i]);
        reader = open_index(f, false);
        if (i == 0)
            assert_int_equal(index_search(reader, &(struct index_query){.words = "bookworm"}, &list, &error), -EUCLEAN);
        x = open_index(f, true);
        assert_false(index_is_current(reader));
        assert_int_equal(index_fixture_update(f, x).added, 3);
        assert_string_equal(found_words(x, "bookworm"), "debian:12 of 1");
    }
    struct index *x CLEANUP(index_close) = NULL;
    assert_ok(index_open_anew(f->index_path, &x, &error), error);
    assert_int_equal(index_fixture_update(f, x).added, 3);
}

static void test_files(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = NULL;
    struct error error;
    struct stat st;
    assert_int_equal(index_open(f->index_path, false, &x, &error), -ENOENT);
    assert_int_equal(symlink("elsewhere", f->index_path), 0);
    assert_int_equal(index_open(f->index_path, true, &x, &error), -EACCES);
    assert_int_equal(unlink(f->index_path), 0);
    x = open_index(f, true);
    assert_int_equal(stat(f->index_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

// Everything that SQLite and FTS5 know how to read is only words here.
static void test_hostile_words(void **state)
{
    struct index_fixture *f = *state;
    static const struct {
        const char *words, *found;
    } table[] = {
        {"deb", "debian:12 of 1"},
        {"BOOKWORM Debian", "debian:12 of 1"},
        {"  debian   book ", "debian:12 of 1"},
        {"cafe", "alpine-small:3 of 1"}, // without its accent
        {"alpine-small", "alpine-small:3 of 1"},
        {"small-alpine", "of 0"},
        {"deb bookworm", "of 0"}, // only the last word is a beginning
        {"", "alpine-small:3 debian:12 of 2"},
        {"\"", "alpine-small:3 debian:12 of 2"},
        {"* ^ : ( ) - + ; '", "alpine-small:3 debian:12 of 2"},
        {"\"debian", "debian:12 of 1"},
        {"debian\"", "debian:12 of 1"},
        {"\"debian\" OR \"alpine\"", "of 0"},
        {"debian OR alpine", "of 0"},
        {"debian AND bookworm", "of 0"},
        {"debian NOT bookworm", "of 0"},
        {"NEAR(debian bookworm, 2)", "of 0"},
        {"NEAR(", "of 0"},
        {"title:debian", "of 0"},
        {"{title} : debian", "of 0"},
        {"^debian", "debian:12 of 1"},
        {"debian*", "debian:12 of 1"},
        {"* debian", "debian:12 of 1"},
        {"'; DROP TABLE image; --", "of 0"},
        {"x' UNION SELECT sql FROM sqlite_schema --", "of 0"},
        {"debian'", "debian:12 of 1"},
        {"words MATCH rank", "of 0"},
        {"?1 @x $y :z %s %n", "of 0"},
        {"\xe2\x80\x94", "of 0"}, // a dash has no letter
        {"\xe2\x80\x94 debian", "debian:12 of 1"},
        {"debian \xe2\x80\x94", "debian:12 of 1"},
    };
    struct index *x CLEANUP(index_close) = open_index(f, true);
    struct index_list list = {.versions = NULL};
    struct error error;
    char many[258], first[64], last[64];
    index_fixture_update(f, x);
    tag_of(x, first);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const char *is = found_words(x, table[i].words);
        if (strcmp(is, table[i].found) != 0)
            fail_msg("<%s> found <%s>, not <%s>", table[i].words, is, table[i].found);
        found(x, &(struct index_query){.os = table[i].words,
                                       .arch = table[i].words,
                                       .publisher = table[i].words,
                                       .order = INDEX_BY_AGE,
                                       .words = table[i].words});
        (void)index_find_image(x, table[i].words, table[i].words, &list, &error);
        assert_null(list.versions);
    }
    for (size_t i = 0; i < 256; i += 2)
        memcpy(many + i, "x ", 3);
    assert_string_equal(found_words(x, many), "of 0");
    memset(many, '"', 256);
    many[255] = 'a';
    many[256] = '\0';
    assert_string_equal(found_words(x, many), "alpine-small:3 debian:12 of 2"); // "a…" is in both summaries
    memset(many, 'y', 257);
    many[257] = '\0';
    const char *const refused[] = {many, "\xff\xfe", "a\nb", "a\x1b[2J", "\xe2\x80\xae", "\xc0\xa2"};
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        assert_int_equal(index_search(x, &(struct index_query){.words = refused[i]}, &list, &error), -EINVAL);
    tag_of(x, last);
    assert_string_equal(first, last);
}

static int join(void *context, const char *value, uint64_t images)
{
    char *text = context;
    snprintf(text + strlen(text), 256 - strlen(text), "%s=%llu ", value, (unsigned long long)images);
    return 0;
}

static void test_filters_and_pages(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = NULL;
    struct error error;
    char text[256] = "", key[KEY_TEXT_SIZE];
    assert_ok(index_open(NULL, true, &x, &error), error);
    index_fixture_add_by(f, f->key, "bsd", "1", "A BSD", "FreeBSD 14");
    index_fixture_sign(f);
    index_fixture_update(f, x);
    key_to_text(&f->public, key);
    static const char all[] = "alpine-small:3 bsd:1 debian:12 of 3";
    assert_string_equal(found(x, &(struct index_query){.words = NULL}), all);
    assert_string_equal(found(x, &(struct index_query){.publisher = key, .arch = "x86_64", .max_size = 1}), all);
    assert_string_equal(found(x, &(struct index_query){.order = INDEX_BY_AGE}), "debian:12 alpine-small:3 bsd:1 of 3");
    assert_string_equal(found(x, &(struct index_query){.os = "freebsd"}), "bsd:1 of 1");
    assert_string_equal(found(x, &(struct index_query){.os = "%"}), "of 0");
    assert_string_equal(found(x, &(struct index_query){.arch = "arm64"}), "of 0");
    assert_string_equal(found(x, &(struct index_query){.publisher = "x"}), "of 0");
    assert_string_equal(found(x, &(struct index_query){.words = "summary", .os = "ALPINE", .order = INDEX_BY_NAME}),
                        "alpine-small:3 of 1");
    assert_string_equal(found(x, &(struct index_query){.limit = 1, .offset = 1}), "bsd:1 of 3");
    assert_string_equal(found(x, &(struct index_query){.limit = 1, .offset = 3}), "of 3");
    assert_string_equal(found(x, &(struct index_query){.limit = UINT32_MAX, .offset = UINT32_MAX}), "of 3");
    assert_ok(index_walk_facet(x, INDEX_OS, join, text, &error), error);
    assert_string_equal(text, "Alpine Linux=1 Debian GNU/Linux 12=1 FreeBSD 14=1 ");
    assert_int_equal(index_walk_facet(x, INDEX_ARCH, join, text, &error), 0);
    assert_non_null(strstr(text, " x86_64=3 "));
    assert_ok(index_walk_facet(x, INDEX_PUBLISHER, join, text, &error), error);
    assert_non_null(strstr(text, key));
}

// More than are ranked: names come first.
static void test_many(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = NULL;
    struct error error;
    char name[32];
    assert_ok(index_open(NULL, true, &x, &error), error);
    for (unsigned i = 0; i < 1100; i++) {
        snprintf(name, sizeof name, "%s%04u", i % 500 == 7 ? "common-" : "image", i);
        index_fixture_add(f, name, "1", "all have this common");
    }
    index_fixture_sign(f);
    assert_int_equal(index_fixture_update(f, x).added, 1103);
    assert_string_equal(found(x, &(struct index_query){.words = "common", .limit = 4}),
                        "common-1007:1 common-0507:1 common-0007:1 image1099:1 of 1100");
    static const struct {
        struct index_query query;
        const char *wanted;
    } table[] = {
        {{.offset = 2}, "common-0007:1 image1099:1 of 1100"},
        {{.offset = 3}, "image1099:1 image1098:1 of 1100"},
        {{.offset = 1099}, "image0000:1 of 1100"},
        {{.offset = 1100}, "of 1100"},
        {{.offset = 2, .os = "debian"}, "common-0007:1 image1099:1 of 1100"},
        {{.offset = 2, .max_size = 1 << 20, .arch = "x86_64"}, "common-0007:1 image1099:1 of 1100"},
        {{.os = "alpine"}, "of 0"},
        {{.order = INDEX_BY_NAME, .offset = 2}, "common-1007:1 image0000:1 of 1100"},
        {{.order = INDEX_BY_NAME, .offset = 1099}, "image1099:1 of 1100"},
        {{.order = INDEX_BY_AGE, .offset = 1, .os = "Debian"}, "common-0507:1 common-1007:1 of 1100"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct index_query q = table[i].query;
        q.words = "commo";
        q.limit = 2;
        assert_string_equal(found(x, &q), table[i].wanted);
    }
}

// More tags than a row shows: each one finds its version, and nothing else does.
static void test_many_tags(void **state)
{
    struct index_fixture *f = *state;
    struct index *x CLEANUP(index_close) = open_index(f, true);
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct error error;
    char tag[CATALOG_NAME_SIZE];
    for (unsigned i = 0; i < 300; i++) {
        snprintf(tag, sizeof tag, "a-tag-with-a-name-that-is-rather-long-%03u", i);
        assert_ok(catalog_set_tag(&f->catalog, "debian", tag, i % 2 ? "11" : "12", &error), error);
    }
    index_fixture_sign(f);
    index_fixture_update(f, x);
    for (unsigned i = 0; i < 300; i++) {
        snprintf(tag, sizeof tag, "a-tag-with-a-name-that-is-rather-long-%03u", i);
        assert_ok(index_find_image(x, "debian", tag, &list, &error), error);
        assert_string_equal(list.versions[0].version, i % 2 ? "11" : "12");
        if (i == 0) { // what is shown ends with a whole tag
            const char *last = strrchr(list.versions[0].tags, '-');
            assert_true(strlen(list.versions[0].tags) > 4000 && strlen(last) == 4);
        }
        index_list_free(&list);
    }
    static const char *const wrong[] = {
        "a-tag-with-a-name-that-is-rather-long-000, a-tag-with-a-name-that-is-rather-long-002", ", ", ",", "latest, ",
        "a-tag-with-a-name-that-is-rather-long-300"};
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(index_find_image(x, "debian", wrong[i], &list, &error), -ENOENT);

    // A tag that moves is another one's; with its image it goes.
    char first[64], second[64];
    tag_of(x, first);
    assert_ok(catalog_set_tag(&f->catalog, "debian", tag, "12", &error), error);
    index_fixture_sign(f);
    index_fixture_update(f, x);
    assert_ok(index_find_image(x, "debian", tag, &list, &error), error);
    assert_string_equal(list.versions[0].version, "12");
    index_list_free(&list);
    tag_of(x, second);
    assert_string_not_equal(first, second);
    catalog_free(&f->catalog);
    assert_ok(catalog_start(&f->catalog, "other", &f->public, &error), error);
    index_fixture_add(f, "debian", "13", "Debian");
    index_fixture_sign(f);
    index_fixture_update(f, x);
    assert_int_equal(index_find_image(x, "debian", tag, &list, &error), -ENOENT);
}

// --- hostile maps ----------------------------------------------------------------------------------------------------

static unsigned char page_bytes[PAGE_BYTES_MAXIMUM];

static int find_absent_chunk(void *context, uint64_t chunk, struct chunk_reference *ret)
{
    const struct sha256 name = sha256_of(&chunk, sizeof chunk);
    (void)context;
    *ret = (struct chunk_reference){
        .name = name, .pack = {.name = name, .size = 1000}, .offset = PACK_MAGIC_SIZE, .length = 100};
    return 0;
}

// As an object of its own: what reads map pages looks at nothing else of a pack.
static struct chunk_reference put_page(struct site *s, size_t size)
{
    static unsigned char pack[PACK_MAGIC_SIZE + PAGE_STORED_MAXIMUM + PACK_TABLE_ENTRY_SIZE + PACK_TRAILER_SIZE];
    unsigned char *const stored = pack + PACK_MAGIC_SIZE;
    struct chunk_reference ref = {.offset = PACK_MAGIC_SIZE};
    struct chunk_encoder *e;
    struct error error;
    assert_int_equal(chunk_encoder_new(CHUNK_ZSTD, 1, &e), 0);
    ref.length = (uint32_t)chunk_encode(e, CHUNK_PAGE, page_bytes, (unsigned)(size / BLOCK_SIZE), stored);
    chunk_encoder_free(e);
    ref.name = sha256_of(stored, ref.length);
    ref.pack.size = PACK_MAGIC_SIZE + ref.length + PACK_TABLE_ENTRY_SIZE + PACK_TRAILER_SIZE;
    assert_ok(site_put_object(s, pack, ref.pack.size, &ref.pack.name, &error), error);
    return ref;
}

static struct chunk_reference put_leaf(struct site *s, uint64_t chunk, unsigned chunks)
{
    static struct map_extent extents[4000];
    size_t size;
    for (unsigned i = 0; i < chunks; i++)
        extents[i] = (struct map_extent){.first = i, .blocks = 1, .chunk = chunk + i};
    assert_int_equal(map_leaf_build(extents, chunks, find_absent_chunk, NULL, page_bytes, &size), 0);
    return put_page(s, size);
}

static struct chunk_reference put_index(struct site *s, unsigned level, const struct chunk_reference *children,
                                        unsigned count)
{
    size_t size;
    assert_int_equal(map_index_build(level, children, count, page_bytes, &size), 0);
    return put_page(s, size);
}

static struct index_pieces measure(struct index_fixture *f, const struct manifest *m, unsigned long *ret_reads)
{
    struct index_pieces pieces = {.pieces = NULL};
    struct sha256_keys keys;
    struct error error;
    assert_int_equal(sha256_make_keys(&keys), 0);
    io_fault_start(0, 0, false);
    int r = index_measure(f->site, m, &keys, &pieces, &error);
    *ret_reads = io_fault_stop();
    assert_int_equal(r, 0);
    return pieces;
}

// T28: a version of a few objects whose map names one leaf a million times would keep the indexer for hours.
static void test_map_that_names_a_leaf_many_times(void **state)
{
    struct index_fixture *f = *state;
    struct chunk_reference children[MAP_FANOUT], leaf = put_leaf(f->site, 0, 4000);
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof *m);
    unsigned long reads = 0;
    assert_non_null(m);
    for (unsigned level = 1; level <= 2; level++) {
        for (unsigned i = 0; i < MAP_FANOUT; i++)
            children[i] = leaf;
        leaf = put_index(f->site, level, children, level == 1 ? MAP_FANOUT : 128);
    }
    for (m->member_count = 0; m->member_count < MANIFEST_MEMBERS_MAXIMUM; m->member_count++)
        m->members[m->member_count] = (struct manifest_member){.size = MEMBER_SIZE_MAXIMUM, .top = leaf};
    struct index_pieces pieces CLEANUP(index_free_pieces) = measure(f, m, &reads);
    assert_int_equal(pieces.count, 3 + 4000);
    assert_true(reads <= 3 * 3); // each page is opened, read and closed once
}

// One page as the map of two members: the first one ends before its last child, so that this child's are the second's.
static void test_map_page_beyond_the_end(void **state)
{
    struct index_fixture *f = *state;
    const struct chunk_reference children[] = {put_leaf(f->site, 0, 10), put_leaf(f->site, 5, 10),
                                               put_leaf(f->site, 100, 10)};
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof *m);
    const uint64_t segment = (uint64_t)MAP_LEAF_BLOCKS * BLOCK_SIZE;
    unsigned long reads = 0;
    assert_non_null(m);
    m->members[0] = (struct manifest_member){.size = 2 * segment, .top = put_index(f->site, 1, children, 3)};
    m->members[1] = (struct manifest_member){.size = 3 * segment, .top = m->members[0].top};
    m->member_count = 1;
    struct index_pieces one CLEANUP(index_free_pieces) = measure(f, m, &reads);
    assert_int_equal(one.count, 4 + 15);
    m->member_count = 2;
    struct index_pieces two CLEANUP(index_free_pieces) = measure(f, m, &reads);
    assert_int_equal(two.count, 4 + 25);
    assert_int_equal(index_sum_pieces(&two, NULL) - index_sum_pieces(&one, NULL), 10 * 100);
    assert_int_equal(index_sum_pieces(&two, &two), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_tags, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_map_that_names_a_leaf_many_times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_map_page_beyond_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_it_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_changes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_revoked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_foreign_schema, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hostile_words, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_filters_and_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
