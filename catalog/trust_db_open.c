// The trust database's file: opening, checking, rebuilding.
//
// 1. The file is trusted with nothing but its rows: its schema must be ours to the letter, extensions, triggers, views
//    and attached databases are off, and every value read is checked for its type and size.
// 2. What fails that check is moved aside, never deleted, and never used.
// 3. Moving aside happens under a lock on <home>/trust.lock, after looking once more: two processes that find the same
//    damage must not move each other's new database.
// 4. The file is the user's alone (0600), and is never opened through a symbolic link.
//
// Rollback journal, not WAL: a command writes once, if at all, so WAL's gain (readers beside a writer) is nothing here,
// while its shared-memory file does not work in homes on network file systems.
#include "catalog/trust_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "catalog/database.h"

#include "base/banned.h"

#define APPLICATION_ID 0x526f6e64 // "Rond"; pragma application_id
#define SCHEMA_VERSION 3          // pragma user_version; 1 had no log, 2 no roots
#define BUSY_TIMEOUT_MS 10000
#define VALUE_MAXIMUM (1 << 20) // bytes of one value or row; a catalog has 64 KiB

static const struct {
    int since; // the version
    const char *sql;
} tables[] = {
    // sorted by name
    {1, "CREATE TABLE clock(key BLOB PRIMARY KEY, issued INTEGER NOT NULL) STRICT, WITHOUT ROWID"},
    {1, "CREATE TABLE contacts(address TEXT PRIMARY KEY, bytes BLOB NOT NULL, etag TEXT NOT NULL, checked INTEGER NOT "
        "NULL) "
        "STRICT, WITHOUT ROWID"},
    {2,
     "CREATE TABLE log(entry INTEGER PRIMARY KEY, time INTEGER NOT NULL, address TEXT NOT NULL, what INTEGER NOT NULL, "
     "key BLOB NOT NULL, id BLOB, number INTEGER, text BLOB) STRICT"},
    {3, "CREATE TABLE root(address TEXT, number INTEGER, file BLOB NOT NULL, PRIMARY KEY(address, number)) STRICT, "
        "WITHOUT ROWID"},
    {1, "CREATE TABLE seen(key BLOB, id BLOB, number INTEGER NOT NULL, PRIMARY KEY(key, id)) STRICT, WITHOUT ROWID"},
    {1,
     "CREATE TABLE serials(key BLOB, id BLOB, name TEXT, serial INTEGER NOT NULL, PRIMARY KEY(key, id, name)) STRICT, "
     "WITHOUT ROWID"},
    {1,
     "CREATE TABLE site(address TEXT PRIMARY KEY, key BLOB NOT NULL, pinned INTEGER NOT NULL, id BLOB, issued INTEGER) "
     "STRICT, WITHOUT ROWID"},
    {3, "CREATE TABLE vouched(address TEXT, key BLOB, PRIMARY KEY(address, key)) STRICT, WITHOUT ROWID"},
};

static int read_pragma(struct trust *t, const char *sql, int64_t *ret, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error, sql, "");
    if (r == 0 && (r = trust_db_step(t, s, error)) == 1)
        *ret = sqlite3_column_int64(s, 0);
    return r < 0 ? r : 0;
}

// The next table that a database of this version has.
static size_t skip_newer(size_t at, int64_t version)
{
    while (at < ARRAY_SIZE(tables) && tables[at].since > version)
        at++;
    return at;
}

// In a transaction. -EUCLEAN unless the schema is ours to the letter, of this version or an earlier one, or there is
// none at all (*ret_version 0).
static int check_schema(struct trust *t, int *ret_version, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int64_t id = 0;
    int64_t version = 0;
    int r = read_pragma(t, "PRAGMA application_id", &id, error);
    if (r == 0)
        r = read_pragma(t, "PRAGMA user_version", &version, error);
    if (r == 0)
        r = trust_db_start(t, &s, error, "SELECT sql FROM sqlite_schema ORDER BY name", "");
    if (r < 0)
        return r;
    if (id == APPLICATION_ID && version > SCHEMA_VERSION)
        return error_set(error, EOPNOTSUPP, "%s was written by a newer rondo; use that one", t->path);
    bool any = false;
    size_t at = 0;
    while ((r = trust_db_step(t, s, error)) == 1) {
        const char *sql = (const char *)sqlite3_column_text(s, 0);
        at = skip_newer(at, version);
        if (at == ARRAY_SIZE(tables) || !sql || strcmp(sql, tables[at].sql) != 0)
            return trust_db_complain(t, error);
        any = true;
        at++;
    }
    if (r < 0)
        return r;
    const bool empty = !any && id == 0 && version == 0;
    if (!empty && (skip_newer(at, version) != ARRAY_SIZE(tables) || id != APPLICATION_ID || version < 1))
        return trust_db_complain(t, error);
    *ret_version = empty ? 0 : (int)version;
    return 0;
}

// In one transaction: between two looks of their own, another process could make the tables, which would look damaged.
static int look_at_schema(struct trust *t, int *ret_version, struct error *error)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    int r = trust_db_run(t, error, "BEGIN", "");
    if (r < 0)
        return r;
    x.t = t;
    return check_schema(t, ret_version, error);
}

// `check`: the pragma that does it.
static int check_pages(struct trust *t, const char *check, struct error *error)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    int r = trust_db_start(t, &s, error, check, "");
    if (r == 0)
        r = trust_db_step(t, s, error);
    if (r < 0)
        return r;
    const char *result = r == 1 ? (const char *)sqlite3_column_text(s, 0) : NULL;
    return result && strcmp(result, "ok") == 0 ? 0 : trust_db_complain(t, error);
}

// Those that are missing: all of a new database, those that came later of an older one.
static int make_tables(struct trust *t, struct error *error)
{
    struct trust_transaction x CLEANUP(trust_db_end) = {NULL};
    int version = 0;
    int r = trust_db_begin(t, &x, error);
    if (r == 0)
        r = check_schema(t, &version, error);
    if (r < 0 || version == SCHEMA_VERSION) // another process was first
        return r;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tables); i++)
        if (tables[i].since > version)
            r = trust_db_run(t, error, tables[i].sql, "");
    if (r == 0)
        r = trust_db_run(t, error, "PRAGMA application_id = 1383034468", "");
    if (r == 0)
        r = trust_db_run(t, error, "PRAGMA user_version = 3", "");
    return r < 0 ? r : trust_db_commit(&x, error);
}
_Static_assert(APPLICATION_ID == 1383034468 && SCHEMA_VERSION == 3, "pragmas take no bound values");

static int configure(struct trust *t, struct error *error)
{
    int code = database_harden(t->db, VALUE_MAXIMUM, BUSY_TIMEOUT_MS);
    if (code != SQLITE_OK)
        return trust_db_fail(t, code, error);
    int r = trust_db_run(t, error, "PRAGMA synchronous = FULL", "");
    return r < 0 ? r : trust_db_run(t, error, "PRAGMA cell_size_check = ON", "");
}

// Makes the file, so that its mode is ours and not SQLite's; the journal gets the same mode. An existing file is not
// opened here: closing it would drop the locks that another connection of this process holds on it (fcntl(2)).
static int prepare_file(const struct trust *t, struct error *error)
{
    struct stat st;
    int fd = io_open(AT_FDCWD, t->path, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd >= 0)
        fd = io_close(fd);
    if (fd < 0 && fd != -EEXIST)
        return error_set(error, -fd, "cannot make %s: %s", t->path, strerror(-fd));
    if (lstat(t->path, &st) < 0)
        return error_set(error, errno, "cannot use %s: %s", t->path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return error_set(error, EPERM, "cannot use %s: it is not a file of yours; move it away", t->path);
    if ((st.st_mode & 077) != 0 && fchmodat(AT_FDCWD, t->path, 0600, 0) < 0)
        return error_set(error, errno, "cannot make %s private: %s", t->path, strerror(errno));
    return 0;
}

static void close_db(struct trust *t)
{
    sqlite3_close(t->db);
    t->db = NULL;
}

static int open_file(struct trust *t, struct error *error)
{
    int code = sqlite3_open_v2(
        t->path, &t->db,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE, NULL);
    return code == SQLITE_OK ? configure(t, error) : trust_db_fail(t, code, error);
}

// -EUCLEAN if it is damaged. On failure the database is closed.
static int open_db(struct trust *t, struct error *error)
{
    int version = 0;
    int r = prepare_file(t, error);
    if (r < 0)
        return r;
    r = open_file(t, error);
    if (r == 0)
        r = look_at_schema(t, &version, error);
    if (r == 0 && version > 0)
        r = check_pages(t, "PRAGMA quick_check(1)", error);
    if (r == 0 && version < SCHEMA_VERSION)
        r = make_tables(t, error);
    if (r < 0)
        close_db(t);
    return r;
}

static int rename_aside(const char *path, const char *suffix, const char *name)
{
    char from[PATH_TEXT_SIZE];
    char to[PATH_TEXT_SIZE];
    int r = path_format(from, sizeof from, "%s%s", path, suffix);
    if (r == 0)
        r = path_format(to, sizeof to, "%s.%s%s", path, name, suffix);
    if (r < 0)
        return r;
    return io->renameat(AT_FDCWD, from, AT_FDCWD, to) < 0 ? -errno : 0;
}

// With its journals: left behind, they would be played into the new database.
static int move_aside(const struct trust *t, struct error *error)
{
    static const char *const suffixes[] = {"-journal", "-wal", "-shm"};
    unsigned char random[4];
    char name[32];
    if (RAND_bytes(random, sizeof random) != 1)
        return error_set(error, EIO, "no random numbers from the system");
    snprintf(name, sizeof name, "damaged-%02x%02x%02x%02x", random[0], random[1], random[2], random[3]);
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(suffixes); i++)
        if ((r = rename_aside(t->path, suffixes[i], name)) == -ENOENT)
            r = 0;
    if (r == 0)
        r = rename_aside(t->path, "", name);
    if (r < 0)
        return error_set(error, -r, "%s is damaged, and cannot be moved aside: %s", t->path, strerror(-r));
    log_warning(
        "%s was damaged and is now %s.%s; the keys and versions of sites are learned anew: compare the keys that "
        "are shown with those that the sites' owners publish",
        t->path, t->path, name);
    return 0;
}

// Who opens the database shares trust.lock for that time; who moves it aside has it alone: SQLite finds a journal by
// the database's path, and would play one of the new file into the old one. Returns the descriptor or -errno.
static int lock_home(const char *home, int operation, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof path, "%s/trust.lock", home);
    if (r < 0)
        return error_set(error, -r, "the path of %s is too long", home);
    int lock CLEANUP_CLOSE = io_open(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
    if (lock < 0)
        return error_set(error, -lock, "cannot make %s: %s", path, strerror(-lock));
    while (flock(lock, operation) < 0)
        if (errno != EINTR)
            return error_set(error, errno, "cannot lock %s: %s", path, strerror(errno));
    return TAKE_FD(lock);
}

// Opens it once more, alone with it, and moves it aside if it is damaged indeed.
static int rebuild(struct trust *t, const char *home, struct error *error)
{
    int lock CLEANUP_CLOSE = lock_home(home, LOCK_EX, error);
    if (lock < 0)
        return lock;
    int r = open_db(t, error);
    if (r != -EUCLEAN)
        return r;
    r = move_aside(t, error);
    return r < 0 ? r : open_db(t, error);
}

// On a full or read-only disk there may be no lock to be had; what is known is to be read nevertheless.
static int open_shared(struct trust *t, const char *home, struct error *error)
{
    int lock = lock_home(home, LOCK_SH, NULL);
    int r = open_db(t, error);
    if (lock >= 0)
        close(lock);
    return r;
}

int trust_check_file(const char *home, struct error *error)
{
    char path[PATH_TEXT_SIZE];
    struct trust t = {.path = path};
    int version = 0;
    char *real CLEANUP_FREE = realpath(home, NULL);
    if (!real && errno == ENOENT)
        return 0;
    int r = real ? path_format(path, sizeof path, "%s/trust.db", real) : -errno;
    if (r < 0)
        return error_set(error, -r, "cannot use the folder %.64s…: %s", home, strerror(-r));
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    r = open_file(&t, error);
    if (r == 0)
        r = look_at_schema(&t, &version, error);
    if (r == 0 && version > 0)
        r = check_pages(&t, "PRAGMA integrity_check(1)", error);
    close_db(&t);
    return r;
}

int trust_open(const char *home, struct trust **ret, struct error *error)
{
    int r = io_make_folders(AT_FDCWD, home, 0700);
    // Links in the way to the home are the user's own; one in the place of the database is refused (invariant 4).
    char *real CLEANUP_FREE = r < 0 ? NULL : realpath(home, NULL);
    if (r == 0 && !real)
        r = -errno;
    if (r < 0)
        return error_set(error, -r, "cannot use the folder %s: %s", home, strerror(-r));
    struct trust *t = calloc(1, sizeof *t);
    if (!t || asprintf(&t->path, "%s/trust.db", real) < 0) {
        free(t);
        return error_set(error, ENOMEM, "not enough memory to open %s/trust.db", real);
    }
    r = open_shared(t, real, error);
    // (Without the lock: while another process moves a damaged one aside, it cannot be found, or opened, for a moment.)
    if (r == -EUCLEAN || r == -ENOENT || r == -EACCES)
        r = rebuild(t, real, error);
    if (r < 0)
        trust_close(t);
    else
        *ret = t;
    return r;
}

void trust_close(struct trust *t)
{
    if (!t)
        return;
    close_db(t);
    free(t->path);
    free(t);
}
