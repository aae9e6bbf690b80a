// JSON for --json, for qemu's monitor and for what servers answer: written as base/json.h does, read through SQLite's
// JSON functions (no JSON library).
#pragma once

#include "base/json.h"

// The value at `path` ("$.return.status") of a JSON text, as text; false if the text is not JSON or has no such value.
bool json_find(const char *json, size_t n, const char *path, char *ret, size_t capacity);
