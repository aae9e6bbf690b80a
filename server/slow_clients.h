// Puts a bound on how long a client may hold a connection without getting anywhere (TRUST T12). libmicrohttpd's own
// time-out sees bytes only: a client that sends or takes one byte every few seconds would hold its place for ever.
//
// The rule, checked for each connection once in a window of some seconds: while we owe the client bytes, it must
// acknowledge 1 KiB per second of the window; while we owe nothing, it must have acknowledged something in the
// window, or its time to ask has run out; while it owes us a body, it must have sent as much as it must acknowledge of
// an answer; while we work at what it asked, nothing is wanted of it. A connection that fails is shut down.
//
// Progress is what the client's TCP acknowledged (tcp(7), TCP_INFO), not what fitted into the socket's buffer, which
// may take a slow but honest client a minute to empty.
#pragma once

#include "base/error.h"
#include <stdbool.h>

#define SLOW_CLIENTS_BYTES_PER_SECOND 1024

struct slow_clients;
struct watched; // one connection

// `window` in seconds, at least 1. Starts one thread.
int slow_clients_start(unsigned window, struct slow_clients **ret, struct error *error);
void slow_clients_stop(
    struct slow_clients **s); // joins the thread; every connection must be removed before. NULL is fine

// Any thread. `fd` stays the caller's and must be open until slow_clients_remove() has returned. NULL if memory is
// short; every function below takes that NULL, and the connection is then not watched.
struct watched *slow_clients_add(struct slow_clients *s, int fd);
void slow_clients_remove(struct slow_clients *s, struct watched *w);

void slow_clients_begin_body(struct slow_clients *s, struct watched *w);   // a request's head is complete, a body comes
void slow_clients_begin_work(struct slow_clients *s, struct watched *w);   // it is all here, its answer takes time
void slow_clients_begin_answer(struct slow_clients *s, struct watched *w); // it is all here, or its head is enough
void slow_clients_end_answer(struct slow_clients *s, struct watched *w);   // its answer is in the socket, or given up

// Has the client closed its end, or the connection been reset? For whoever is about to work for it.
bool slow_clients_has_left(const struct watched *w);

// For a connection that is no longer one of HTTP: it is not looked at any more.
void slow_clients_let_be(struct watched *w);

// How many requests have begun whose answers have not ended.
unsigned slow_clients_count_answers(struct slow_clients *s);
