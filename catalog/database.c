// See database.h.
#include "catalog/database.h"

#include <errno.h>
#include <stddef.h>

#include "base/cleanup.h"

#include "base/banned.h"

int database_errno(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_NOMEM:
        return ENOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_AUTH:
        return EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return EUCLEAN;
    case SQLITE_INTERRUPT:
        return ETIMEDOUT;
    default:
        return EIO;
    }
}

int database_harden(sqlite3 *db, int value_maximum, int busy_ms)
{
    static const struct {
        int option, value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},
        {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
        {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_DQS_DML, 0},
        {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
    };
    int code = SQLITE_OK;
    for (size_t i = 0; code == SQLITE_OK && i < ARRAY_SIZE(options); i++)
        code = sqlite3_db_config(db, options[i].option, options[i].value, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(db, busy_ms);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, value_maximum);
    sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
    return code;
}

int database_bind(sqlite3_stmt *statement, const char *types, va_list arguments)
{
    int code = SQLITE_OK;
    for (int i = 1; code == SQLITE_OK && *types; i++, types++) {
        if (*types == 't') {
            code = sqlite3_bind_text(statement, i, va_arg(arguments, const char *), -1, SQLITE_STATIC);
        } else if (*types == 'i') {
            code = sqlite3_bind_int64(statement, i, va_arg(arguments, int64_t));
        } else {
            const void *bytes = va_arg(arguments, const void *);
            code = sqlite3_bind_blob64(statement, i, bytes, va_arg(arguments, size_t), SQLITE_STATIC);
        }
    }
    return code;
}
