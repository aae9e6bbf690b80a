// Sources: the places that objects come from, a directory or an HTTP(S) site, behind one asynchronous request.
//
// All HTTP runs on one thread of the process (the transport), through libcurl's multi interface: connections are
// kept and shared, HTTP/2 is used where the server has it, nothing is compressed in transit, and every body is
// counted against its maximum in the write callback. A directory is read by the caller's own thread. Who calls may
// be any thread.
//
// One request is one attempt at one source. Retries, mirrors and verification are blockstore/mirrors.h's work.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSPORT_CONNECT_MS 5000  // TRUST rule 5
#define TRANSPORT_STALL_SECONDS 10 // less than TRANSPORT_STALL_BYTES a second for this long: give up (TRUST T11)
#define TRANSPORT_STALL_BYTES 4096
#define TRANSPORT_REDIRECTS_MAXIMUM 5  // TRUST T09
#define TRANSPORT_HOST_CONNECTIONS 8   // requests side by side at one source, each on a connection of its own …
#define TRANSPORT_HOST_STREAMS 32      // … or on one that they share (HTTP/2); the others wait their turn
#define TRANSPORT_RESERVED_SHARE 4     // one of so many of these places is for requests that somebody waits for
#define TRANSPORT_HEADER_BYTES 65536   // of all the header lines of one request's answers
#define TRANSPORT_RETRY_AFTER_MS 10000 // the longest Retry-After that is honoured

struct transport;
int transport_new(struct transport **ret, struct error *error); // starts no thread before the first HTTP request
void transport_free(struct transport *t);                       // after all of its sources were closed

// Opens a file below a folder, as sources that are folders do it: no symbolic link leads out. A descriptor, or −errno.
int transport_open_below(int root, const char *path);
// Whom to ask for a file of such a source that we may not open (EACCES) ourselves. Before the first request.
void transport_set_opener(struct transport *t, int (*open)(void *context, int root, const char *path), void *context);

// Connections that one process makes for another, which will soon ask the same source: they save it the round trip of
// connecting. No request is sent for them, and whatever goes wrong with them is not told.
#define TRANSPORT_AHEAD_MAXIMUM 3 // what a boot's stream begins with; with https one
struct transport_ahead {
    int fds[TRANSPORT_AHEAD_MAXIMUM]; // owned
    unsigned count;
};
// With the next request that is sent over HTTP, connections to where it goes are begun; it does not wait for them. If
// none is sent, none are made; nor are they through a proxy.
void transport_connect_ahead(struct transport *t);
// What was begun so far, and it is the caller's; nothing is begun any more. The caller ends with transport_give_ahead
// (in whichever process) or transport_close_ahead.
void transport_take_ahead(struct transport *t, struct transport_ahead *ret);
// *a is empty afterwards. Whatever the descriptors are: they serve requests only if they are connected to where these
// go; what was not used within five seconds is closed.
void transport_give_ahead(struct transport *t, struct transport_ahead *a);
void transport_close_ahead(struct transport_ahead *a);

// What a process did on the network; counted by the transport.
struct transport_counts {
    uint64_t requests; // HTTP requests that were sent
    uint64_t bytes;    // body bytes received
    uint64_t failures; // requests that did not end well
    uint64_t hedges;   // of the requests, those that asked a second source for what the first had not begun to send
    uint64_t hedges_won;
};
void transport_count(struct transport *t, struct transport_counts *ret);

// An address is http://…, https://… (it should end in "/"; one is added) or the path of a directory.
struct source;
int source_open(struct transport *t, const char *address, struct source **ret, struct error *error);
void source_close(struct source *s);
const char *source_address(const struct source *s);
bool source_is_remote(const struct source *s);
bool source_ignores_ranges(const struct source *s); // learned: it answered a range with 200

// Who goes first where there is not room for all.
enum source_priority {
    SOURCE_DEMAND, // somebody waits for it
    SOURCE_STREAM, // somebody will want it soon
    SOURCE_FILL,   // somebody may want it some day
};

struct source_request {
    // Set by the caller; the strings must live until the request is over.
    const char *path;    // below the address: "catalog.rondo", "objects/ab/ab…"; of a server also "path?query"
    uint64_t offset;     // the range wanted …
    uint64_t length;     // … or 0 for the whole file
    uint64_t maximum;    // of the bytes delivered; more is -EBADMSG ("endless data"). For a range, of the whole
                         // file, in case that the server sends it all.
    const char *if_etag; // or NULL: ask for it only if it changed
    // Gets the bytes in order, on the transport's thread (or the caller's, for a directory). `offset` is the
    // position in the object: 0 first when a range was answered with the whole. A negative return ends the request.
    int (*sink)(void *context, uint64_t offset, const void *bytes, size_t n);
    // May be NULL. Called once, by the thread that ends the request, when the results below are set; source_wait
    // must still be called, from elsewhere, and then returns at once or very soon.
    void (*done)(void *context);
    void *context; // of both
    enum source_priority priority;

    // Results, after source_wait.
    int result;        // 0; -ENOENT (404, 410); -ENETUNREACH for whatever may pass (connection, time-out, 5xx, 429,
                       // short body); -EBADMSG for what a retry will not mend (wrong range, too many bytes,
                       // redirect refused, 416, 403); -EACCES (a directory's file that we may not read);
                       // -ECANCELED; -EINVAL (path); -ENOMEM, -EMFILE; or the sink's
    uint64_t received; // body bytes
    char etag[128];    // of the answer; empty if there was none or it was too long
    unsigned retry_after_ms; // how long the source asks to be left alone (429, 503); 0 if it did not say
    bool whole;              // the whole file was delivered, though a range was asked for
    bool not_modified;       // if_etag still stands: nothing was delivered
    struct error error;      // names the object and the source

    struct source_transfer *transfer; // the transport's own
};

// Starts; never blocks on the network. (A directory is read here, in whole; wait and cancel have then nothing to do.)
// Whatever goes wrong is reported by source_wait.
void source_start(struct source *s, struct source_request *r);
void source_wait(struct source *s, struct source_request *r);
// Makes the request end soon, with -ECANCELED; source_wait must still be called.
void source_cancel(struct source *s, struct source_request *r);
