// The index's statements and transactions; its file is index_open.c's.
//
// 1. SQL is constant text; values are bound.
// 2. A statement that is not in use is reset: none keeps a snapshot of the database open behind its caller.
// 3. Whoever reads begins a transaction first, so that all it reads is of one state; that sets the time limit, too.
#include "catalog/index_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/database.h"

#include "base/banned.h"

const char *index_db_path(const struct index *x)
{
    return x->path ? x->path : "in memory";
}

int index_db_fail(const struct index *x, int code, struct error *error)
{
    const int number = database_errno(code);
    return error_set(error, number, "the index %s: %s%s", index_db_path(x),
                     number == ETIMEDOUT ? "the question took too long" : sqlite3_errmsg(x->db),
                     number == EUCLEAN  ? "; rondo-server reindex makes it anew"
                     : number == ENOSPC ? "; make room there"
                                        : "");
}

// Finds the statement, or prepares it.
static int find_statement(struct index *x, const char *sql, sqlite3_stmt **ret)
{
    for (unsigned i = 0; i < x->statement_count; i++)
        if (x->statements[i].sql == sql) {
            *ret = x->statements[i].statement;
            return SQLITE_OK;
        }
    if (x->statement_count == INDEX_STATEMENTS_MAXIMUM)
        return SQLITE_TOOBIG;
    int code = sqlite3_prepare_v3(x->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);
    if (code == SQLITE_OK) {
        x->statements[x->statement_count].sql = sql;
        x->statements[x->statement_count++].statement = *ret;
    }
    return code;
}

static int start_va(struct index *x, sqlite3_stmt **ret, const char *sql, const char *types, va_list arguments)
{
    sqlite3_stmt *s = NULL;
    int code = find_statement(x, sql, &s);
    if (code == SQLITE_OK)
        code = database_bind(s, types, arguments);
    if (code == SQLITE_OK)
        *ret = s;
    else
        index_db_finish(&s);
    return code;
}

int index_db_start(struct index *x, sqlite3_stmt **ret, struct error *error, const char *sql, const char *types, ...)
{
    va_list arguments;
    va_start(arguments, types);
    int code = start_va(x, ret, sql, types, arguments);
    va_end(arguments);
    return code == SQLITE_OK ? 0 : index_db_fail(x, code, error);
}

int index_db_step(struct index *x, sqlite3_stmt *statement, struct error *error)
{
    int code = sqlite3_step(statement);
    return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : index_db_fail(x, code, error);
}

void index_db_finish(sqlite3_stmt **statement)
{
    if (*statement) {
        sqlite3_reset(*statement); // its result repeats that of the last step
        sqlite3_clear_bindings(*statement);
    }
    *statement = NULL;
}

int index_db_run(struct index *x, struct error *error, const char *sql, const char *types, ...)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    va_list arguments;
    va_start(arguments, types);
    int code = start_va(x, &s, sql, types, arguments);
    va_end(arguments);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    return code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW ? 0 : index_db_fail(x, code, error);
}

int index_db_number(struct index *x, int64_t *ret, struct error *error, const char *sql, const char *types, ...)
{
    sqlite3_stmt *s CLEANUP(index_db_finish) = NULL;
    va_list arguments;
    va_start(arguments, types);
    int code = start_va(x, &s, sql, types, arguments);
    va_end(arguments);
    if (code != SQLITE_OK)
        return index_db_fail(x, code, error);
    int r = index_db_step(x, s, error);
    if (r == 0)
        return error_set(error, EUCLEAN, "the index %s lacks a row; rondo-server reindex makes it anew",
                         index_db_path(x));
    if (r == 1)
        *ret = sqlite3_column_int64(s, 0);
    return r < 0 ? r : 0;
}

void index_db_close(struct index *x)
{
    for (unsigned i = 0; i < x->statement_count; i++)
        sqlite3_finalize(x->statements[i].statement);
    x->statement_count = 0;
    sqlite3_close(x->db);
    x->db = NULL;
}

int index_db_begin(struct index *x, bool writing, struct index_transaction *ret, struct error *error)
{
    x->deadline = writing ? 0 : io_monotonic_ns() + INDEX_QUERY_MS * UINT64_C(1000000);
    // IMMEDIATE: what is written is decided on what is read, so that nobody else may write in between.
    int r = writing ? index_db_run(x, error, "BEGIN IMMEDIATE", "") : index_db_run(x, error, "BEGIN", "");
    if (r == 0)
        ret->x = x;
    return r;
}

int index_db_commit(struct index_transaction *t, struct error *error)
{
    int r = index_db_run(t->x, error, "COMMIT", "");
    if (r == 0)
        t->x = NULL;
    return r;
}

void index_db_end(struct index_transaction *t)
{
    if (t->x)
        sqlite3_exec(t->x->db, "ROLLBACK", NULL, NULL, NULL); // fails only if it was rolled back already
    t->x = NULL;
}
