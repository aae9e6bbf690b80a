// The body of an answer that refuses: {"error": "…", "next": "…"}.
#pragma once

#include "base/buf.h"

// Both are sentences for people; `next` says what to do, and may be NULL. 0 or -errno of the buffer.
int publish_error_format(struct buf *b, const char *text, const char *next);
