// See json.h. One private in-memory database for each call: these are rare and small, and nothing is shared.
#include "client/json.h"
#include "base/cleanup.h"
#include <errno.h>
#include <sqlite3.h>
#include <stdint.h>
#include <string.h>

#include "base/banned.h"

bool json_find(const char *json, size_t n, const char *path, char *ret, size_t capacity)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    bool found = false;
    if (n <= INT32_MAX && sqlite3_open(":memory:", &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT json_extract(?1, ?2)", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_text(statement, 1, json, (int)n, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_bind_text(statement, 2, path, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        const size_t size = (size_t)sqlite3_column_bytes(statement, 0);
        found = text && size < capacity;
        if (found) {
            memcpy(ret, text, size);
            ret[size] = '\0';
        }
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return found;
}

static void close_database(sqlite3 **db)
{
    sqlite3_close(*db);
}

static void finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

// What SQLite's results mean where nothing is on a disk: there was no memory, or the text is not right.
static int failure(int code)
{
    return code == SQLITE_NOMEM || code == SQLITE_TOOBIG ? -ENOMEM : -EBADMSG;
}

static int bind_text(sqlite3_stmt *statement, int i, const char *text, size_t n)
{
    int code = sqlite3_bind_text(statement, i, text, (int)n, SQLITE_STATIC);
    return code == SQLITE_OK ? 0 : failure(code);
}

static int prepare(sqlite3 *db, const char *sql, const char *json, size_t n, const char *path, sqlite3_stmt **ret)
{
    int code = sqlite3_prepare_v2(db, sql, -1, ret, NULL);
    int r = code == SQLITE_OK ? bind_text(*ret, 1, json, n) : failure(code);
    return r == 0 ? bind_text(*ret, 2, path, strlen(path)) : r;
}

static int check_array(sqlite3 *db, const char *json, size_t n, const char *path)
{
    sqlite3_stmt *s CLEANUP(finalize) = NULL;
    int r = prepare(db, "SELECT json_type(?1, ?2) = 'array'", json, n, path, &s);
    if (r < 0)
        return r;
    int code = sqlite3_step(s);
    return code != SQLITE_ROW ? failure(code) : sqlite3_column_int(s, 0) ? 0 : -EBADMSG;
}

// ?3 and so on are the fields.
static int prepare_walk(sqlite3 *db, const char *json, size_t n, const char *path, const char *const fields[],
                        unsigned count, sqlite3_stmt **ret)
{
    struct buf sql CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    int r = 0;
    for (unsigned i = 0; i < count && r == 0; i++)
        r = buf_append_format(&sql, "%s json_extract(value, ?%u)", i ? "," : "SELECT", i + 3);
    if (r == 0)
        r = buf_append_format(&sql, " FROM json_each(?1, ?2)");
    if (r == 0)
        r = prepare(db, buf_text(&sql), json, n, path, ret);
    for (unsigned i = 0; i < count && r == 0; i++)
        r = bind_text(*ret, (int)i + 3, fields[i], strlen(fields[i]));
    return r;
}

int json_walk(const char *json, size_t n, const char *path, const char *const fields[], unsigned count,
              unsigned maximum, int (*each)(void *context, const struct slice values[]), void *context)
{
    sqlite3 *db CLEANUP(close_database) = NULL;
    sqlite3_stmt *s CLEANUP(finalize) = NULL;
    struct slice values[JSON_FIELDS_MAXIMUM];
    int code = SQLITE_ROW;
    if (n > INT32_MAX || count > JSON_FIELDS_MAXIMUM)
        return -EBADMSG;
    int r = sqlite3_open(":memory:", &db) == SQLITE_OK ? check_array(db, json, n, path) : -ENOMEM;
    if (r == 0)
        r = prepare_walk(db, json, n, path, fields, count, &s);
    for (unsigned rows = 0; r == 0 && (code = sqlite3_step(s)) == SQLITE_ROW; rows++) {
        for (unsigned i = 0; i < count; i++) {
            values[i].at = (const char *)sqlite3_column_text(s, (int)i);
            values[i].length = (size_t)sqlite3_column_bytes(s, (int)i);
        }
        r = rows < maximum ? each(context, values) : -EBADMSG;
    }
    return r == 0 && code != SQLITE_DONE ? failure(code) : r;
}
