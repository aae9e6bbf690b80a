// Questions to a running machine's supervisor (docs/protocol.md, "An instance").
#pragma once

#include "base/socket.h"
#include "base/text.h"
#include "client/instance.h"

// Sends one message and receives the answer, without its "ok " (NUL-terminated). -ENOENT if the machine does not run,
// -EBUSY if nobody listens, -EAGAIN if it does not answer in time; the failure that an "error" answer tells otherwise.
int ask_machine(const struct instance *i, const char *question, int timeout_ms,
                char ret_answer[static SOCKET_LINE_MAXIMUM], struct error *error);

// What an answer says, of any of Rondo's programs: 0 and what follows "ok", or the failure that "error CODE SENTENCE"
// tells; -EPROTO if it is neither.
int ask_parse(const char *answer, struct slice *ret_rest, struct error *error);

// The value of a line `key value` of an answer; empty if there is none.
void ask_find(const char *answer, const char *key, char *ret, size_t capacity);
