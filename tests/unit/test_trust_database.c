// T30: what the trust database's connection can be made to do by whoever writes into the file, or gets words into it
// through an address or a name: nothing but our own statements, with values that are bound. It is the only SQLite
// database there is.
//
//   1. Each defensive setting is on, and holds against the statement that it is there for.
//   2. No word, whatever it looks like, is ever a part of a statement: it comes back as it was, and the tables and
//      everybody else's rows are what they were.
#include "trust_fixture.h"

#include "base/log.h"
#include "catalog/trust_private.h"

#include "base/banned.h"

// A whole decision about a catalog that this site gives, with `name` as what is looked at; result of the last step.
static int see_catalog(struct world *w, const char *site, const char *name)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    const struct trust_request request = {.site = site, .now = ISSUED};
    struct trust_verdict verdict;
    fixture_catalog(w->key, 5, ISSUED, &c);
    fixture_sign(w->key, &c, &text);
    int r = trust_look(w->t, &request, &c, &verdict, &w->error);
    if (r == 0)
        r = trust_settle(w->t, &request, &c, name, 3, &w->error);
    return r < 0 ? r : trust_save_catalog(w->t, site, text.data, text.size, name, 1, &w->error);
}

// --- 1. settings ---------------------------------------------------------------------------------------------------

static void every_defensive_setting_is_on(void **state)
{
    const struct world *w = *state;
    static const struct {
        int option, value;
    } settings[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},       {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},  {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},         {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0}, {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        int value = -1;
        assert_int_equal(sqlite3_db_config(w->t->db, settings[i].option, -1, &value), SQLITE_OK);
        if (value != settings[i].value)
            fail_msg("setting %d is %d", settings[i].option, value);
    }
    assert_int_equal(sqlite3_limit(w->t->db, SQLITE_LIMIT_ATTACHED, -1), 0);
    assert_int_equal(sqlite3_limit(w->t->db, SQLITE_LIMIT_LENGTH, -1), 1 << 20);
}

static void what_an_intruder_would_run_fails(void **state)
{
    struct world *w = *state;
    static const char *const statements[] = {
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE site(x)'",
        "INSERT INTO sqlite_schema(type, name) VALUES('trigger', 'x')",
        "ATTACH ':memory:' AS other",
        "VACUUM INTO '/dev/null'",
        "SELECT load_extension('/tmp/x')",
        "SELECT \"no such column\" FROM site",
        "SELECT length(zeroblob(1048577))",
        "SELECT randomblob(1000000000)",
        "INSERT INTO site(address, key, pinned) VALUES(x'00', 'text', 'no number')", // STRICT
        "CREATE VIEW v AS SELECT * FROM site; SELECT * FROM v",
    };
    assert_int_equal(see_catalog(w, SITE, "debian"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
        if (sqlite3_exec(w->t->db, statements[i], NULL, NULL, NULL) == SQLITE_OK)
            fail_msg("%s", statements[i]);
    assert_int_equal(see_catalog(w, SITE, "debian"), 0);
}

static void a_trigger_that_somebody_left_does_not_fire(void **state)
{
    struct world *w = *state;
    struct known_site known;
    assert_int_equal(sqlite3_exec(w->t->db,
                                  "CREATE TRIGGER t AFTER INSERT ON seen BEGIN UPDATE site SET pinned = 1, key = "
                                  "zeroblob(32); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(see_catalog(w, SITE, "debian"), 0);
    assert_ok(trust_load_site(w->t, SITE, &known, &w->error), w->error);
    assert_true(known.known && !known.pinned);
    struct key_public ours;
    key_public_of(w->key, &ours);
    assert_memory_equal(known.key.bytes, ours.bytes, sizeof ours.bytes);
}

// --- 2. words ------------------------------------------------------------------------------------------------------

static const char *const words[] = {
    "'",
    "''",
    "' OR '1'='1",
    "' OR 1=1--",
    "'; DROP TABLE site;--",
    "'); DELETE FROM seen;--",
    "x' UNION SELECT sql FROM sqlite_schema--",
    "'||(SELECT hex(key) FROM site LIMIT 1)||'",
    "'; ATTACH '/tmp/x' AS x; CREATE TABLE x.y(z);--",
    "'; PRAGMA writable_schema=1;--",
    "'; UPDATE site SET pinned=1;--",
    "'/**/OR/**/''='",
    "';VACUUM;--",
    "\"",
    "\" OR \"\"=\"",
    "\"; DROP TABLE log;--",
    "`",
    "[site]",
    "\\'",
    "%27",
    "?1",
    "?",
    ":name",
    "@name",
    "$name",
    "--",
    "/*",
    ";",
    "NULL",
    "rowid",
    "x'00'",
    "0x41",
    "1e999",
    "-1",
    "randomblob(1000000000)",
    "zeroblob(1000000000)",
    "load_extension('x')",
    "%s%n%d",
    "*",
    "^a*",
    "\"a\" NEAR(b c, 10)",
    "a AND NOT b",
    "{a b}: c",
    "_%",
    "\xc3\xa4\xe2\x82\xac\xf0\x9f\xa6\x84",
    "\xca\xbc OR 1=1", // a letter that older conversions take for an apostrophe
    "\xff\xfe",        // no UTF-8
    "\x01\x02",
    "line\nbreak",
};

static char *take_schema(const struct world *w)
{
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(w->t->db, "SELECT group_concat(sql, ';') FROM sqlite_schema", -1, &s, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    char *sql = strdup((const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return sql;
}

struct search {
    const char *site;
    unsigned found, pinned, all;
};

static int look_for(void *context, const struct trust_site *site)
{
    struct search *s = context;
    s->all++;
    s->found += strcmp(site->address, s->site) == 0;
    s->pinned += site->pinned;
    return 0;
}

static int look_for_entry(void *context, const struct trust_entry *entry)
{
    struct search *s = context;
    s->all++;
    s->found += strcmp(entry->site, s->site) == 0;
    return 0;
}

static void no_word_becomes_a_statement(void **state)
{
    struct world *w = *state;
    assert_int_equal(see_catalog(w, SITE, "debian"), 0);
    char *schema CLEANUP_FREE = take_schema(w);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        char site[256], etag[128];
        void *bytes = NULL;
        size_t size;
        int64_t checked;
        snprintf(site, sizeof site, "/srv/%s/", words[i]);
        assert_ok(see_catalog(w, site, words[i]), w->error);
        struct search list = {.site = site}, log = {.site = site}, others = {.site = site};
        assert_ok(trust_list(w->t, look_for, &list, &w->error), w->error);
        assert_ok(trust_list_log(w->t, site, look_for_entry, &log, &w->error), w->error);
        assert_ok(trust_load_catalog(w->t, site, &bytes, &size, etag, &checked, &w->error), w->error);
        free(bytes);
        if (list.found != 1 || list.all != 2 || list.pinned != 0 || log.found != 2 || log.all != 2 ||
            strcmp(etag, text_is_printable(slice_of(words[i])) ? words[i] : "") != 0) // others are no ETag
            fail_msg("%s: %u of %u sites, %u pinned; %u of %u entries; \"%s\"", words[i], list.found, list.all,
                     list.pinned, log.found, log.all, etag);
        assert_ok(trust_remove(w->t, site, &w->error), w->error);
        assert_int_equal(trust_remove(w->t, site, &w->error), -ENOENT);
        assert_ok(trust_list(w->t, look_for, &others, &w->error), w->error);
        assert_int_equal(others.all, 1);
    }
    char *after CLEANUP_FREE = take_schema(w);
    assert_string_equal(after, schema);
    assert_int_equal(see_catalog(w, SITE, "debian"), 0);
    trust_close(w->t);
    w->t = NULL;
    assert_ok(trust_check_file(w->folder, &w->error), w->error);
}

int main(void)
{
    log_start("test_trust_database");
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_defensive_setting_is_on),
        TEST(what_an_intruder_would_run_fails),
        TEST(a_trigger_that_somebody_left_does_not_fire),
        TEST(no_word_becomes_a_statement),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
