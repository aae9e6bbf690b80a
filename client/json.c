// See json.h. One private in-memory database for each call: these are rare and small, and nothing is shared.
#include "client/json.h"
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
