// catalog/index.h: what a question costs, in steps of SQLite's machine. It grows with the images that it is about, not
// with their versions, of which there are ten times as many; and what a page shows is found by way of an index.
#include "tests/unit/index_fixture.h"

#include "catalog/index_private.h"
#include <sqlite3.h>

#include "base/banned.h"

#define IMAGES 500u
#define VERSIONS 8u
#define STEPS_OF_AN_IMAGE 50u           // that is a hit: counted, filtered, sorted
#define STEPS_FOR_FILTERS (15 * IMAGES) // of all images, without words

static void add_image(struct index *x, struct manifest *m, unsigned number, unsigned versions)
{
    struct error error;
    struct catalog_image image = {.serial = 0};
    bool changed;
    snprintf(m->name, sizeof m->name, "image-%03u", number);
    snprintf(m->title, sizeof m->title, "all have this, %s %u", number % 50 ? "common" : "seldom", number);
    snprintf(m->os, sizeof m->os, "System %u", number % 5);
    for (m->serial = 1; m->serial <= versions; m->serial++) {
        const struct index_facts facts = {.image = &image, .tags = m->serial == versions ? "latest" : "", .stored = 1};
        m->created = 1000 + number;
        snprintf(m->version, sizeof m->version, "%u", (unsigned)m->serial);
        image.manifest.bytes[0]++;
        assert_ok(index_add_version(x, m, &facts, &error), error);
    }
    struct catalog_tag tag = {.tag = "latest"};
    snprintf(tag.version, sizeof tag.version, "%u", versions);
    assert_ok(index_show_image(x, m->name, tag.version, &error), error);
    assert_ok(index_put_tags(x, m->name, &tag, 1, &changed, &error), error);
}

static struct index *make_index(unsigned versions)
{
    struct index *x = NULL;
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof *m);
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    struct error error;
    assert_non_null(m);
    assert_ok(index_open(NULL, true, &x, &error), error);
    assert_ok(index_db_begin(x, true, &t, &error), error);
    memcpy(m->arch, "x86_64", sizeof "x86_64");
    for (unsigned i = 0; i < IMAGES; i++)
        add_image(x, m, i, versions);
    assert_ok(index_count_facets(x, &error), error);
    assert_ok(index_db_commit(&t, &error), error);
    return x;
}

// Of all statements, since the last time: instructions, rows of tables that were read from end to end, and sorted rows.
struct cost {
    unsigned steps, scanned, sorts;
};

static struct cost take_cost(struct index *x)
{
    struct cost c = {.steps = 0};
    for (unsigned i = 0; i < x->statement_count; i++) {
        sqlite3_stmt *s = x->statements[i].statement;
        c.steps += (unsigned)sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 1);
        c.scanned += (unsigned)sqlite3_stmt_status(s, SQLITE_STMTSTATUS_FULLSCAN_STEP, 1);
        c.sorts += (unsigned)sqlite3_stmt_status(s, SQLITE_STMTSTATUS_SORT, 1);
    }
    return c;
}

static struct cost search_cost(struct index *x, const struct index_query *q, uint64_t wanted)
{
    struct index_list list CLEANUP(index_list_free) = {.versions = NULL};
    struct error error;
    take_cost(x);
    assert_ok(index_search(x, q, &list, &error), error);
    assert_int_equal(list.all, wanted);
    return take_cost(x);
}

static void test_searches(void **state)
{
    (void)state;
    struct index *few CLEANUP(index_close) = make_index(1), *many CLEANUP(index_close) = make_index(VERSIONS);
    static const struct {
        struct index_query query;
        unsigned all;
    } table[] = {
        {{.words = "seldom"}, 10},
        {{.words = "common"}, 490},
        {{.words = "common", .offset = 400}, 490},
        {{.words = "common", .order = INDEX_BY_NAME, .offset = 400}, 490},
        {{.words = "common", .order = INDEX_BY_AGE, .os = "system 1"}, 100},
        {{.words = "common", .max_size = 1}, 490},
        {{.words = "all this", .arch = "x86_64"}, 500},
        {{.words = "im"}, 500},
        {{.words = "nothing"}, 0},
        {{.os = "system 1"}, 100},
        {{.offset = 0}, 500},
        {{.offset = 480}, 500},
        {{.order = INDEX_BY_AGE, .offset = 480}, 500},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct index_query q = table[i].query;
        q.limit = 20;
        const struct cost a = search_cost(few, &q, table[i].all), b = search_cost(many, &q, table[i].all);
        assert_in_range(b.steps, 1, a.steps + a.steps / 10); // whatever the number of versions
        assert_in_range(b.steps, 1, STEPS_OF_AN_IMAGE * (table[i].all + q.limit) + STEPS_FOR_FILTERS);
        assert_in_range(b.scanned, 0, 2 * IMAGES + 2 * q.limit); // counted once, passed over once
        assert_in_range(b.sorts, 0, 2);                          // hits, and a page
    }
}

// What is asked for by its name costs the same, however many images there are.
static void test_images(void **state)
{
    (void)state;
    struct index *x CLEANUP(index_close) = make_index(VERSIONS);
    static const char *const selectors[] = {"", "3", "latest"};
    struct index_list list = {.versions = NULL};
    struct error error;
    for (size_t i = 0; i <= ARRAY_SIZE(selectors); i++) {
        take_cost(x);
        if (i < ARRAY_SIZE(selectors))
            assert_ok(index_find_image(x, "image-321", selectors[i], &list, &error), error);
        else
            assert_ok(index_list_versions(x, "image-321", 20, 0, &list, &error), error);
        assert_int_equal(list.count, i < ARRAY_SIZE(selectors) ? 1 : VERSIONS);
        index_list_free(&list);
        const struct cost c = take_cost(x);
        assert_in_range(c.steps, 1, 1000);
        assert_int_equal(c.scanned, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_searches), cmocka_unit_test(test_images)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
