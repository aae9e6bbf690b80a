// What the server counts about itself, for /metrics: one set for the process. Every counter is an atomic variable that
// only grows (or, of what is there now, follows): no request waits for another one to be counted.
#pragma once

#include "base/buf.h"
#include "catalog/index.h"
#include <stdint.h>

// Any thread.
void metrics_count_answer(unsigned status, uint64_t bytes); // its head and `bytes` of body are about to be sent
void metrics_count_connection(void);
void metrics_end_connection(void);
void metrics_change_answers(int by);  // those under way: a request's head is complete (1), its answer has ended (-1)
void metrics_count_slow_client(void); // a connection that was cut (server/slow_clients.h)

// Before the first request: when the server started, in seconds since 1970.
void metrics_start(int64_t now);

// Appends all of it in Prometheus' text format (version 0.0.4). `site`: what the index says, or NULL. 0, -E2BIG or
// -ENOMEM.
int metrics_write(struct buf *to, const struct index_site *site);
