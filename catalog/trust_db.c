// The trust database's statements and transactions; its file is trust_db_open.c's.
//
// 1. Only prepared statements with bound values; SQL text is constant.
// 2. A transaction that was not committed is rolled back at the end of its scope.
#include "catalog/trust_private.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/database.h"

#include "base/banned.h"

int trust_db_fail(const struct trust *t, int code, struct error *error)
{
    return error_set(error, database_errno(code), "%s: %s%s", t->path, sqlite3_errmsg(t->db),
                     database_errno(code) == EUCLEAN  ? "; run the command again, and it is moved aside and rebuilt"
                     : database_errno(code) == ENOSPC ? "; make room there and run the command again"
                                                      : "");
}

int trust_db_complain(struct trust *t, struct error *error)
{
    return error_set(error, EUCLEAN,
                     "%s holds what rondo does not write; move it away, and what was known of sites is "
                     "learned anew",
                     t->path);
}

static int start_va(struct trust *t, sqlite3_stmt **ret, const char *sql, const char *types, va_list arguments)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(t->db, sql, -1, &s, NULL);
    if (code == SQLITE_OK)
        code = database_bind(s, types, arguments);
    if (code == SQLITE_OK)
        *ret = s;
    else
        sqlite3_finalize(s);
    return code;
}

int trust_db_start(struct trust *t, sqlite3_stmt **ret, struct error *error, const char *sql, const char *types, ...)
{
    va_list arguments;
    va_start(arguments, types);
    int code = start_va(t, ret, sql, types, arguments);
    va_end(arguments);
    return code == SQLITE_OK ? 0 : trust_db_fail(t, code, error);
}

int trust_db_step(struct trust *t, sqlite3_stmt *statement, struct error *error)
{
    int code = sqlite3_step(statement);
    return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : trust_db_fail(t, code, error);
}

void trust_db_finish(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement); // its result repeats that of the last step
    *statement = NULL;
}

int trust_db_run(struct trust *t, struct error *error, const char *sql, const char *types, ...)
{
    sqlite3_stmt *s CLEANUP(trust_db_finish) = NULL;
    va_list arguments;
    va_start(arguments, types);
    int code = start_va(t, &s, sql, types, arguments);
    va_end(arguments);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    return code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW ? 0 : trust_db_fail(t, code, error);
}

bool trust_db_take_blob(sqlite3_stmt *statement, int column, void *ret, size_t n)
{
    if (sqlite3_column_type(statement, column) != SQLITE_BLOB || sqlite3_column_bytes(statement, column) != (int)n)
        return false;
    memcpy(ret, sqlite3_column_blob(statement, column), n);
    return true;
}

int trust_db_begin(struct trust *t, struct trust_transaction *ret, struct error *error)
{
    // IMMEDIATE: decided on what is read, so no other process may write between reading and writing.
    int r = trust_db_run(t, error, "BEGIN IMMEDIATE", "");
    if (r == 0)
        ret->t = t;
    return r;
}

int trust_db_commit(struct trust_transaction *x, struct error *error)
{
    int r = trust_db_run(x->t, error, "COMMIT", "");
    if (r == 0)
        x->t = NULL;
    return r;
}

void trust_db_end(struct trust_transaction *x)
{
    if (x->t)
        sqlite3_exec(x->t->db, "ROLLBACK", NULL, NULL, NULL); // fails only if it was rolled back already
    x->t = NULL;
}
