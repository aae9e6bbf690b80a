// JSON for --json, for qemu's monitor and for what servers answer: written as base/json.h does, read through SQLite's
// JSON functions (no JSON library).
#pragma once

#include "base/json.h"
#include "base/text.h"

// The value at `path` ("$.return.status") of a JSON text, as text; false if the text is not JSON or has no such value.
bool json_find(const char *json, size_t n, const char *path, char *ret, size_t capacity);

// The objects of the array at `path` ("$.images"), in their order: of each the values at `fields` ("$.name"), as text,
// which is valid during the call; `at` is NULL where there is none. Returns what `each` did if that is not 0; -EBADMSG
// if the text is not JSON, has no such array, or more than `maximum` elements in it; -ENOMEM.
#define JSON_FIELDS_MAXIMUM 24u
int json_walk(const char *json, size_t n, const char *path, const char *const fields[], unsigned count,
              unsigned maximum, int (*each)(void *context, const struct slice values[]), void *context);
