// The access log: one line for each request that was understood as HTTP, written before its answer is sent, so
// that whoever has an answer finds its line. Seven fields with single spaces between them:
//
//   2026-11-23T10:00:00Z 127.0.0.1 GET /objects/ab/ab… 206 131072 bytes=0-131071
//
// time (UTC), client, method, target as it came, status, bytes of body in the answer, Range header or "-". Bytes
// outside of printable ASCII, and spaces, are written as %XX; a target is cut after 512 bytes, with "...".
#pragma once

#include "base/error.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct access_log {
    int fd;             // −1: lines go to stderr, at level debug
    atomic_bool failed; // a write failed once and was complained about
};

// Opens `file` for appending, or (NULL) sets up the log on stderr.
int access_log_open(const char *file, struct access_log *ret, struct error *error);
void access_log_close(struct access_log *log);

int access_log_open_file(const char *file, struct error *error); // the descriptor, or -errno

// From now on lines go to `fd`, which is taken over, also on failure. The log must be one of a file.
int access_log_replace(struct access_log *log, int fd);

struct access_log_line {
    const struct sockaddr *client; // may be NULL
    const char *method;
    const char *target;
    const char *range; // NULL: none
    unsigned status;
    uint64_t bytes;
};

// Any thread; every answer passes here, and is counted (server/metrics.h). One write per line, at the file's end: lines
// of several threads and processes do not mix.
void access_log_write(struct access_log *log, const struct access_log_line *line);
