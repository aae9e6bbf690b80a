// The index's file: opening, checking, making anew.
//
// 1. The file is trusted with nothing but its rows: its schema must be what this program makes, to the letter, and what
//    a hostile schema could use is off (database.h). It lies in a folder that only the server writes.
// 2. Nothing in it is worth keeping: what fails the check is removed, with its journals, by whoever may write, and made
//    anew, empty.
// 3. Opening for writing happens under a lock on <path>.lock: two processes that find the same damage must not remove
//    each other's new file. The lock does not last: writers are then kept apart by SQLite's own.
//
// WAL: pages and API read while an update is written. Its memory is shared through a file, which is why the folder has
// to be on a local disk.
#include "catalog/index_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "catalog/database.h"

#include "base/banned.h"

#define BUSY_MS 10000
#define VALUE_MAXIMUM (1 << 20)     // bytes of one value; a description has 16 KiB
#define SCHEMA_TEXT_MAXIMUM 65536u  // of all tables' definitions
#define PROGRESS_INSTRUCTIONS 10000 // of SQLite's machine, between two looks at the clock: well under a millisecond

// A new way to fill the tables is a new schema, too: it takes another number. (application_id: "RonI")
static const char schema[] =
    "PRAGMA application_id = 1383034441;"
    "PRAGMA user_version = 2;"
    // The catalog that the index was made from; one row.
    "CREATE TABLE site(one INTEGER PRIMARY KEY, name TEXT NOT NULL, key BLOB NOT NULL, id BLOB NOT NULL, number "
    "INTEGER "
    "NOT NULL, issued INTEGER NOT NULL, expires INTEGER NOT NULL, text BLOB NOT NULL, change INTEGER NOT NULL, images "
    "INTEGER NOT NULL, versions INTEGER NOT NULL) STRICT;"
    // `before`: the manifest of the version that `new` was counted against; empty in the first.
    "CREATE TABLE version(id INTEGER PRIMARY KEY, name TEXT NOT NULL, serial INTEGER NOT NULL, version TEXT NOT NULL, "
    "manifest BLOB NOT NULL, before BLOB NOT NULL, created INTEGER NOT NULL, publisher BLOB NOT NULL, arch TEXT NOT "
    "NULL, os TEXT NOT NULL, licence TEXT NOT NULL, title TEXT NOT NULL, summary TEXT NOT NULL, homepage TEXT NOT "
    "NULL, "
    "description TEXT NOT NULL, ports TEXT NOT NULL, logo BLOB NOT NULL, logo_size INTEGER NOT NULL, logo_type TEXT "
    "NOT "
    "NULL, memory INTEGER NOT NULL, disk INTEGER NOT NULL, boot INTEGER NOT NULL, stored INTEGER NOT NULL, new INTEGER "
    "NOT NULL, tags TEXT NOT NULL, revoked INTEGER NOT NULL, UNIQUE(name, serial)) STRICT;"
    "CREATE INDEX version_by_publisher ON version(publisher, new);"
    // What is searched and filtered: of each image the version that it is shown by.
    "CREATE TABLE image(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, shown INTEGER NOT NULL, versions INTEGER "
    "NOT "
    "NULL, created INTEGER NOT NULL, os TEXT NOT NULL, arch TEXT NOT NULL, publisher TEXT NOT NULL, stored INTEGER NOT "
    "NULL) STRICT;"
    "CREATE INDEX image_by_age ON image(created DESC, name);"
    // All of them; `tags` of a version is what is shown.
    "CREATE TABLE tag(name TEXT NOT NULL, tag TEXT NOT NULL, version TEXT NOT NULL, PRIMARY KEY(name, tag)) STRICT, "
    "WITHOUT ROWID;"
    "CREATE TABLE facet(kind INTEGER NOT NULL, value TEXT NOT NULL, images INTEGER NOT NULL, PRIMARY KEY(kind, value)) "
    "STRICT, WITHOUT ROWID;"
    "CREATE VIRTUAL TABLE words USING fts5(name, title, summary, description, os, tokenize = 'unicode61 "
    "remove_diacritics 2', prefix = '1 2 3');"
    "INSERT INTO words(words, rank) VALUES('rank', 'bm25(10.0, 5.0, 2.0, 1.0, 2.0)');";

static int give_up(void *context)
{
    const struct index *x = context;
    return x->deadline && io_monotonic_ns() > x->deadline;
}

static int configure(struct index *x, struct error *error)
{
    int code = database_harden(x->db, VALUE_MAXIMUM, BUSY_MS);
    if (code != SQLITE_OK)
        return index_db_fail(x, code, error);
    sqlite3_limit(x->db, SQLITE_LIMIT_SQL_LENGTH, 16384);
    sqlite3_limit(x->db, SQLITE_LIMIT_VARIABLE_NUMBER, 64);
    sqlite3_progress_handler(x->db, PROGRESS_INSTRUCTIONS, give_up, x);
    int r = index_db_run(x, error, "PRAGMA temp_store = MEMORY", "");
    if (r == 0)
        r = index_db_run(x, error, "PRAGMA cell_size_check = ON", "");
    // Not FULL: what power loss takes back is read from the site again.
    return r < 0 ? r : index_db_run(x, error, "PRAGMA synchronous = NORMAL", "");
}

// The definitions of all that is in the database, as one text.
static int list_schema(struct index *x, struct buf *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    int64_t id = 0, version = 0;
    int r = index_db_number(x, &id, error, "PRAGMA application_id", "");
    if (r == 0)
        r = index_db_number(x, &version, error, "PRAGMA user_version", "");
    if (r == 0)
        r = index_db_start(x, &s, error,
                           "SELECT type || ' ' || name || ' ' || ifnull(sql, '') FROM sqlite_schema ORDER BY name", "");
    while (r == 0 && (r = index_db_step(x, s, error)) == 1) {
        const char *text = (const char *)sqlite3_column_text(s, 0);
        r = buf_append_format(ret, "%s\n", text ? text : "");
        if (r < 0)
            error_set(error, EUCLEAN, "the index %s has another schema", index_db_path(x));
    }
    if (r == 0 && ret->size > 0 && buf_append_format(ret, "%lld %lld", (long long)id, (long long)version) < 0)
        r = error_set(error, ENOMEM, "out of memory");
    return r;
}

static int make_tables(struct index *x, struct error *error)
{
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    int r = index_db_begin(x, true, &t, error);
    if (r < 0)
        return r;
    int code = sqlite3_exec(x->db, schema, NULL, NULL, NULL);
    return code == SQLITE_OK ? index_db_commit(&t, error) : index_db_fail(x, code, error);
}

static int open_memory(struct index *x, struct error *error)
{
    int code = sqlite3_open_v2(":memory:", &x->db,
                               SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_PRIVATECACHE, NULL);
    int r = code == SQLITE_OK ? configure(x, error) : index_db_fail(x, code, error);
    return r < 0 ? r : make_tables(x, error);
}

// 0; 1 if there is nothing at all in the file; -EUCLEAN if it is not what we would make.
static int check_schema(struct index *x, struct error *error)
{
    struct buf is CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SCHEMA_TEXT_MAXIMUM);
    struct buf wanted CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SCHEMA_TEXT_MAXIMUM);
    struct index pattern = {.path = NULL};
    int r = list_schema(x, &is, error);
    if (r == 0 && is.size > 0) {
        r = open_memory(&pattern, error);
        if (r == 0)
            r = list_schema(&pattern, &wanted, error);
        index_db_close(&pattern);
    }
    if (r < 0 || is.size == 0)
        return r < 0 ? r : 1;
    return strcmp(buf_text(&is), buf_text(&wanted)) == 0
               ? 0
               : error_set(error, EUCLEAN, "the index %s is of another version of rondo-server", x->path);
}

// Of the words, whether what is looked up is what is stored: SQLite's own check sees tables of numbers there.
static int check_pages(struct index *x, struct error *error)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    int r = index_db_start(x, &s, error, "PRAGMA quick_check(1)", "");
    if (r == 0)
        r = index_db_step(x, s, error);
    if (r < 0)
        return r;
    const char *result = r == 1 ? (const char *)sqlite3_column_text(s, 0) : NULL;
    if (!result || strcmp(result, "ok") != 0)
        return error_set(error, EUCLEAN, "the index %s is damaged", x->path);
    return index_db_run(x, error, "INSERT INTO words(words, rank) VALUES('integrity-check', 0)", "");
}

// Makes the file, so that its mode is ours and not SQLite's; the journals get the same mode.
static int prepare_file(const struct index *x, struct error *error)
{
    struct stat st;
    int fd = io_open(AT_FDCWD, x->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd >= 0)
        fd = io_close(fd);
    if (fd < 0 && fd != -EEXIST)
        return error_set(error, -fd, "cannot make the index %s: %s", x->path, strerror(-fd));
    if (lstat(x->path, &st) < 0)
        return error_set(error, errno, "cannot use the index %s: %m", x->path);
    return S_ISREG(st.st_mode) ? 0 : error_set(error, EACCES, "%s is not a file; move it away", x->path);
}

static int open_file(struct index *x, int mode, struct error *error)
{
    struct stat st;
    // Looked at before it is opened: if it is replaced in between, it is found not to be current (index_is_current).
    if (lstat(x->path, &st) < 0)
        return error_set(error, errno, "no index %s: %m", x->path);
    x->device = st.st_dev;
    x->inode = st.st_ino;
    int code = sqlite3_open_v2(x->path, &x->db,
                               mode | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
    return code == SQLITE_OK ? configure(x, error) : index_db_fail(x, code, error);
}

static int open_writable(struct index *x, struct error *error)
{
    int r = prepare_file(x, error);
    if (r == 0)
        r = open_file(x, SQLITE_OPEN_READWRITE, error);
    if (r == 0)
        r = index_db_run(x, error, "PRAGMA journal_mode = WAL", "");
    if (r == 0)
        r = check_schema(x, error);
    if (r == 1)
        r = make_tables(x, error);
    else if (r == 0)
        r = check_pages(x, error);
    if (r < 0)
        index_db_close(x);
    return r;
}

static int remove_file(const struct index *x, struct error *error)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    char path[PATH_TEXT_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        int r = path_format(path, sizeof path, "%s%s", x->path, suffixes[i]);
        if (r == 0 && io->unlinkat(AT_FDCWD, path, 0) < 0 && errno != ENOENT)
            r = -errno;
        if (r < 0)
            return error_set(error, -r, "cannot remove the damaged index %s: %s", x->path, strerror(-r));
    }
    return 0;
}

static int open_locked(struct index *x, bool anew, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    struct error why = {.text = ""};
    int r = path_format(path, sizeof path, "%s.lock", x->path);
    if (r < 0)
        return error_set(error, -r, "the path of the index is too long");
    int lock CLEANUP_CLOSE = io_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
    if (lock < 0)
        return error_set(error, -lock, "cannot make %s: %s", path, strerror(-lock));
    while (flock(lock, LOCK_EX) < 0)
        if (errno != EINTR)
            return error_set(error, errno, "cannot lock %s: %m", path);
    if (!anew)
        r = open_writable(x, &why);
    if (!anew && r != -EUCLEAN)
        return r < 0 ? error_set(error, -r, "%s", why.text) : r;
    log_warning("the index %s is damaged, or of another version, and is made anew", x->path);
    log_debug("%s", why.text);
    r = remove_file(x, error);
    return r < 0 ? r : open_writable(x, error);
}

static int open_readable(struct index *x, struct error *error)
{
    int r = open_file(x, SQLITE_OPEN_READONLY, error);
    if (r == 0)
        r = check_schema(x, error);
    return r == 1 ? error_set(error, EUCLEAN, "the index %s is empty", x->path) : r;
}

enum opening { READ_ONLY, WRITABLE, ANEW };

static int open_as(const char *path, enum opening how, struct index **ret, struct error *error)
{
    struct index *x CLEANUP(index_close) = calloc(1, sizeof *x);
    if (!x || (path && !(x->path = strdup(path))))
        return error_set(error, ENOMEM, "out of memory");
    int r = !path              ? open_memory(x, error)
            : how == READ_ONLY ? open_readable(x, error)
                               : open_locked(x, how == ANEW, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(x);
    return 0;
}

int index_open(const char *path, bool writable, struct index **ret, struct error *error)
{
    return open_as(path, writable ? WRITABLE : READ_ONLY, ret, error);
}

int index_open_anew(const char *path, struct index **ret, struct error *error)
{
    return open_as(path, ANEW, ret, error);
}

void index_close(struct index **x)
{
    if (!*x)
        return;
    index_db_close(*x);
    free((*x)->path);
    free(*x);
    *x = NULL;
}

bool index_is_current(const struct index *x)
{
    struct stat st;
    return !x->path || (lstat(x->path, &st) == 0 && st.st_dev == x->device && st.st_ino == x->inode);
}
