// See json.h. One private in-memory database for each call: these are rare and small, and nothing is shared.
#include "client/json.h"
#include <errno.h>
#include <sqlite3.h>
#include <stdint.h>
#include <string.h>

#include "base/banned.h"

// Runs `sql`, whose result is one text or NULL, with two texts bound; hands it to `take`.
static int evaluate(const char *sql, const char *first, size_t n, const char *second,
                    int (*take)(void *context, const char *text, size_t n), void *context)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int r = -EINVAL;
    if (n <= INT32_MAX && sqlite3_open(":memory:", &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_bind_text(statement, 1, first, (int)n, SQLITE_STATIC) == SQLITE_OK &&
        (!second || sqlite3_bind_text(statement, 2, second, -1, SQLITE_STATIC) == SQLITE_OK) &&
        sqlite3_step(statement) == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL) {
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        r = text ? take(context, text, (size_t)sqlite3_column_bytes(statement, 0)) : -ENOMEM;
    }
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return r;
}

static int take_into_buf(void *context, const char *text, size_t n)
{
    return buf_append(context, text, n);
}

int json_append_string(struct buf *b, const char *text)
{
    return evaluate("SELECT json_quote(?1)", text, strlen(text), NULL, take_into_buf, b);
}

struct room {
    char *at;
    size_t capacity;
};

static int take_into_room(void *context, const char *text, size_t n)
{
    struct room *room = context;
    if (n >= room->capacity)
        return -E2BIG;
    memcpy(room->at, text, n);
    room->at[n] = '\0';
    return 0;
}

bool json_find(const char *json, size_t n, const char *path, char *ret, size_t capacity)
{
    struct room room = {ret, capacity};
    return evaluate("SELECT json_extract(?1, ?2)", json, n, path, take_into_room, &room) == 0;
}

static int append_key(struct buf *b, const char *key)
{
    bool first = b->size && b->data[b->size - 1] == '{';
    int r = buf_append_format(b, "%s", first ? "" : ", ");
    if (r == 0)
        r = json_append_string(b, key);
    return r == 0 ? buf_append_format(b, ": ") : r;
}

int json_append_text(struct buf *b, const char *key, const char *text)
{
    int r = append_key(b, key);
    return r == 0 ? json_append_string(b, text) : r;
}

int json_append_number(struct buf *b, const char *key, unsigned long long number)
{
    int r = append_key(b, key);
    return r == 0 ? buf_append_format(b, "%llu", number) : r;
}

int json_append_bool(struct buf *b, const char *key, bool value)
{
    int r = append_key(b, key);
    return r == 0 ? buf_append_format(b, "%s", value ? "true" : "false") : r;
}
