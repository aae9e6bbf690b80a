// JSON for --json and for qemu's monitor, through SQLite's JSON functions (no JSON library).
#pragma once

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

// Appends a JSON string literal (quotes included). Invalid UTF-8 cannot come this far: texts were checked when parsed.
int json_append_string(struct buf *b, const char *text);

// The value at `path` ("$.return.status") of a JSON text, as text; false if the text is not JSON or has no such value.
bool json_find(const char *json, size_t n, const char *path, char *ret, size_t capacity);

// Appends `"key": "text"`, `"key": number` or `"key": true`, with a comma before it unless the buffer ends in "{". For
// objects built a field at a time: the caller writes the braces.
int json_append_text(struct buf *b, const char *key, const char *text);
int json_append_number(struct buf *b, const char *key, unsigned long long number);
int json_append_bool(struct buf *b, const char *key, bool value);
