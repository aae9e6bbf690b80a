// What every SQLite database of ours has in common: how it is made harmless, and what SQLite's results mean here.
#pragma once

#include <sqlite3.h>
#include <stdarg.h>

// The positive errno value for a result of SQLite's: EUCLEAN for what is damaged, ETIMEDOUT for what was interrupted.
int database_errno(int code);
// Switches off what a hostile file could use (extensions, triggers, views, attached databases, schemas that call
// functions), and bounds a value, in bytes. Waits up to `busy_ms` for locks. A result of SQLite's.
int database_harden(sqlite3 *db, int value_maximum, int busy_ms);
// Binds the arguments to a statement's parameters, in order; `types` has a letter for each: t, a string; i, an int64_t;
// b, bytes and their number, a size_t. They are not copied. A result of SQLite's.
int database_bind(sqlite3_stmt *statement, const char *types, va_list arguments);
