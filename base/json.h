// Writing JSON (RFC 8259): strings, and objects a field at a time. (client/json.h reads.)
#pragma once

#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>

// Each returns 0 or what buf_append does, and may then have appended a part.

// Appends a JSON string literal (quotes included). Invalid UTF-8 cannot come this far: texts were checked when parsed.
int json_append_string(struct buf *b, const char *text);

// Appends `"key": "text"`, `"key": number` or `"key": true`, with a comma before it unless the buffer ends in "{". For
// objects built a field at a time: the caller writes the braces.
int json_append_text(struct buf *b, const char *key, const char *text);
int json_append_number(struct buf *b, const char *key, unsigned long long number);
int json_append_bool(struct buf *b, const char *key, bool value);
// Appends `"key": `, for a value that the caller writes.
int json_append_key(struct buf *b, const char *key);
