// catalog/trust.h: the database as a file: whose it is, its damage, other versions of it, and many processes.
#include "trust_fixture.h"

#include <sqlite3.h>

#include "base/log.h"

#include "base/banned.h"

static void the_database_is_the_users_alone(void **state)
{
    struct world *w = *state;
    struct stat st;
    const char *path = fixture_path(w->folder, "trust.db");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(chmod(path, 0664), 0);
    reopen(w);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    trust_close(w->t);
    w->t = NULL;
    assert_int_equal(rename(path, fixture_path(w->folder, "elsewhere")), 0);
    assert_int_equal(symlink("elsewhere", path), 0);
    assert_int_equal(trust_open(w->folder, &w->t, &w->error), -EPERM);
    assert_non_null(strstr(w->error.text, "trust.db"));
}

// Databases that were moved aside, without their journals.
static unsigned count_aside(const struct world *w)
{
    unsigned count = 0;
    DIR *d = opendir(w->folder);
    for (struct dirent *e; (e = readdir(d));)
        count += strncmp(e->d_name, "trust.db.damaged-", 17) == 0 && strlen(e->d_name) == 25;
    closedir(d);
    return count;
}

static void exec_sql(const struct world *w, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(fixture_path(w->folder, "trust.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

// TRUST T16. Each damage is found at the next opening; the file is kept aside; what was known is learned anew.
static void a_damaged_database_is_moved_aside(void **state)
{
    struct world *w = *state;
    struct trust_verdict verdict;
    static const char *const damages[] = {
        "CREATE TRIGGER t AFTER INSERT ON seen BEGIN DELETE FROM seen; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE more(x)",
        "DROP TABLE seen",
        "DROP TABLE seen; CREATE TABLE seen(key BLOB, id BLOB, number INTEGER)",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1", // with the tables of 3
        "PRAGMA user_version = 2",
        "DROP TABLE log",
        "PRAGMA application_id = 1",
    };
    log_start("test_trust");
    unsigned expected = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(damages) + 4; i++) {
        assert_int_equal(check(w, 5, ISSUED), 0);
        assert_int_equal(check(w, 4, ISSUED), -ESTALE);
        trust_close(w->t);
        w->t = NULL;
        size_t n;
        char *file CLEANUP_FREE = fixture_read(w->folder, "trust.db", &n);
        if (i < ARRAY_SIZE(damages)) {
            exec_sql(w, damages[i]);
        } else if (i == ARRAY_SIZE(damages)) {
            fixture_write(w->folder, "trust.db", "bla\n", 4);
        } else if (i == ARRAY_SIZE(damages) + 1) {
            fixture_write(w->folder, "trust.db", file, n / 2 + 100);
        } else if (i == ARRAY_SIZE(damages) + 2) {
            memset(file + 4096, 0x5a, 4096); // the root of a table
            fixture_write(w->folder, "trust.db", file, n);
        } else {
            memset(file, 0, n);
            fixture_write(w->folder, "trust.db", file, n);
            fixture_write(w->folder, "trust.db-journal", "a journal of the damaged one", 28);
            fixture_write(w->folder, "trust.db-wal", "a journal of the damaged one", 28);
        }
        reopen(w);
        assert_int_not_equal(access(fixture_path(w->folder, "trust.db-journal"), F_OK), 0);
        assert_int_not_equal(access(fixture_path(w->folder, "trust.db-wal"), F_OK), 0);
        assert_int_equal(count_aside(w), ++expected);
        assert_int_equal(check_with(w, w->key, 4, ISSUED, ISSUED, (struct trust_request){.site = SITE}, 7, &verdict),
                         0);
        assert_true(verdict.first_contact);
    }
}

static void wrong_values_in_rows_are_not_used(void **state)
{
    struct world *w = *state;
    static const char *const damages[] = {
        "UPDATE site SET key = x'00'",
        "UPDATE site SET key = zeroblob(32)", // a key of small order
        "UPDATE site SET key = zeroblob(1000000)",
        "UPDATE site SET id = x'00'",
        "UPDATE log SET what = 99",
        "UPDATE log SET key = x'00'",
        "UPDATE log SET number = 0 WHERE number IS NOT NULL",
        "UPDATE log SET text = x'00' WHERE number IS NOT NULL",
        "UPDATE contacts SET bytes = zeroblob(70000)",
        "UPDATE contacts SET bytes = x''",
        "UPDATE contacts SET etag = hex(zeroblob(100))",
    };
    struct buf five CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    fixture_catalog(w->key, 5, ISSUED, &c);
    fixture_sign(w->key, &c, &five);
    assert_int_equal(check(w, 5, ISSUED), 0);
    assert_ok(trust_save_catalog(w->t, SITE, five.data, five.size, "", 1, &w->error), w->error);
    size_t n;
    char *file CLEANUP_FREE = fixture_read(w->folder, "trust.db", &n);
    for (unsigned i = 0; i < ARRAY_SIZE(damages); i++) {
        void *bytes = NULL;
        char etag[128];
        int64_t checked;
        size_t size;
        trust_close(w->t);
        fixture_write(w->folder, "trust.db", file, n);
        exec_sql(w, damages[i]);
        w->t = NULL;
        assert_ok(trust_open(w->folder, &w->t, &w->error), w->error);
        if (strstr(damages[i], "contacts"))
            assert_int_equal(trust_load_catalog(w->t, SITE, &bytes, &size, etag, &checked, &w->error), -EUCLEAN);
        else if (strstr(damages[i], "log"))
            assert_int_equal(trust_list_log(w->t, NULL, list_entry, &(struct listing){.text = ""}, &w->error),
                             -EUCLEAN);
        else
            assert_int_equal(check(w, 6, ISSUED), -EUCLEAN);
        assert_non_null(strstr(w->error.text, "trust.db"));
    }
}

static void a_newer_database_is_left_alone(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    w->t = NULL;
    exec_sql(w, "PRAGMA user_version = 4");
    assert_int_equal(trust_open(w->folder, &w->t, &w->error), -EOPNOTSUPP);
    assert_non_null(strstr(w->error.text, "newer rondo"));
    assert_int_equal(count_aside(w), 0);
}

// What is known stays known.
static void an_older_database_gets_what_it_lacks(void **state)
{
    struct world *w = *state;
    assert_int_equal(check(w, 5, ISSUED), 0);
    trust_close(w->t);
    w->t = NULL;
    exec_sql(w, "DROP TABLE log; DROP TABLE root; DROP TABLE vouched; PRAGMA user_version = 1");
    assert_ok(trust_check_file(w->folder, &w->error), w->error);
    reopen(w);
    assert_int_equal(count_aside(w), 0);
    assert_int_equal(check(w, 4, ISSUED), -ESTALE);
    assert_string_equal(list_log(w, SITE).text, "refused-number:4");
    reopen(w);
    assert_ok(trust_check_file(w->folder, &w->error), w->error);
}

// Processes that start at once, on a folder in this state, and each climb from 1 to ROUNDS; each refuses to fall back.
#define PROCESSES 8
#define ROUNDS 12

static int climb(struct world *w)
{
    struct trust *t = NULL;
    int r = trust_open(w->folder, &t, &w->error);
    for (uint64_t number = 1; r == 0 && number <= ROUNDS; number++) {
        struct catalog c CLEANUP(catalog_free) = {.number = 0};
        struct trust_verdict verdict;
        const struct trust_request request = {.site = SITE, .now = ISSUED};
        fixture_catalog(w->key, number, ISSUED, &c);
        r = trust_check(t, &request, &c, &verdict, &w->error);
        if (r == -ESTALE) // another process is ahead
            r = 0;
        if (r == 0 && (r = trust_settle(t, &request, &c, "debian", number, &w->error)) == -ESTALE)
            r = 0;
    }
    trust_close(t);
    return r;
}

static void climb_together(struct world *w)
{
    pid_t children[PROCESSES];
    trust_close(w->t);
    w->t = NULL;
    for (unsigned i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            int r = climb(w);
            if (r < 0)
                fprintf(stderr, "# %s\n", w->error.text);
            _exit(r < 0);
        }
    }
    for (unsigned i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    reopen(w);
    assert_int_equal(check(w, ROUNDS - 1, ISSUED), -ESTALE);
    assert_int_equal(check(w, ROUNDS, ISSUED), 0);
}

static void many_processes_make_one_new_database(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    w->t = NULL;
    assert_int_equal(unlink(fixture_path(w->folder, "trust.db")), 0);
    climb_together(w);
    assert_int_equal(count_aside(w), 0);
}

// Each finds the damage; one moves it aside, and nobody moves the new one.
static void many_processes_move_damage_aside_once(void **state)
{
    struct world *w = *state;
    trust_close(w->t);
    w->t = NULL;
    fixture_write(w->folder, "trust.db", "bla\n", 4);
    climb_together(w);
    assert_int_equal(count_aside(w), 1);
}

static void a_folder_that_cannot_be_used_is_told(void **state)
{
    struct world *w = *state;
    struct trust *t = NULL;
    fixture_write(w->folder, "file", "x", 1);
    assert_true(trust_open(fixture_path(w->folder, "file"), &t, &w->error) < 0);
    assert_non_null(strstr(w->error.text, "file"));
    assert_null(t);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_database_is_the_users_alone),       TEST(a_damaged_database_is_moved_aside),
        TEST(wrong_values_in_rows_are_not_used),     TEST(a_newer_database_is_left_alone),
        TEST(an_older_database_gets_what_it_lacks),  TEST(many_processes_make_one_new_database),
        TEST(many_processes_move_damage_aside_once), TEST(a_folder_that_cannot_be_used_is_told),
    };
    return cmocka_run_group_tests_name("trust file", tests, NULL, NULL);
}
