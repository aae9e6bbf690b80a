// What the transport's files share; nobody else includes this.
//
//   transport.c            sources, and the calls of transport.h
//   transport_loop.c       the one thread: starts, moves and ends transfers through curl's multi interface
//   transport_http.c       one transfer: its options, its answer's body, its redirects, its verdict
//   transport_http_head.c  the head of its answer
//   transport_ahead.c      connections made ahead
//   transport_directory.c  the same request, answered from a folder
#pragma once

#include "blockstore/http_address.h"
#include "blockstore/http_header.h"
#include "blockstore/transport.h"
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct source {
    struct transport *transport;
    char *address; // as messages show it; for HTTP the normal form
    bool remote;
    atomic_bool ignores_ranges;
    // Of a remote source; the transport's thread alone:
    struct source_transfer *waiting_first; // for their turn: the highest priority first
    unsigned running;                      // handed to curl
    unsigned running_ahead;                // of those, the ones that nobody waits for
    unsigned limit;                        // of those running
    // Of a directory:
    int root;     // its descriptor (O_PATH), or -1
    dev_t device; // of the directory: which one it is, whatever its path
    ino_t inode;
};

struct transport {
    atomic_uint_fast64_t requests, bytes, failures;
    atomic_uint_fast64_t hedges, hedges_won;                  // counted by mirrors
    bool proxied;                                             // the environment names a proxy: see transport_http.c
    int (*opener)(void *context, int root, const char *path); // or NULL
    void *opener_context;

    pthread_mutex_t mutex; // guards all that follows, and `over` and `cancelled` of each transfer
    bool running;          // the thread exists
    bool stopping;
    bool cancels; // some transfer's `cancelled` is new
    struct source_transfer *incoming_first, **incoming_last;
    bool ahead_wanted; // the next request that is sent begins connections
    struct transport_ahead ahead;
    uint64_t ahead_end_ns; // when they are closed
    pthread_t thread;
    CURLM *multi;                   // made before the thread; used by it alone, but for curl_multi_wakeup
    struct source_transfer *active; // the thread's alone
};

// One HTTP request with its redirects. Made by source_start and freed by source_wait; in between it belongs to the
// transport's thread, but for the two flags.
struct source_transfer {
    struct source *source;
    struct source_request *request;
    struct source_transfer *next, *previous; // in incoming or active
    struct source_transfer *next_waiting;
    bool running;   // in the multi handle
    bool over;      // mutex; the thread touches nothing of this or of the request afterwards
    bool cancelled; // mutex
    pthread_cond_t changed;

    CURL *easy;
    struct curl_slist *headers; // that we send
    char url[HTTP_ADDRESS_SIZE];
    char curl_error[CURL_ERROR_SIZE];
    unsigned redirects;   // followed so far
    bool public_seen;     // some hop was at a public address: no private one from there on
    bool address_refused; // a connection was not made for that reason
    int ahead_fd;         // the socket that curl was given last, if it was connected already; or -1
    size_t header_bytes;

    // The head of the answer that is being read, anew for every hop.
    bool head_over;    // what header lines follow are trailers
    bool coded;        // a Content-Encoding or Transfer-Encoding that would change the bytes
    bool has_range;    // a Content-Range that could be read
    uint64_t declared; // Content-Length; UINT64_MAX if unknown
    struct http_content_range range;

    // The body.
    bool wanted;     // it goes to the sink
    bool enough;     // an unwanted body was cut off
    uint64_t offset; // in the object, of its first byte
    uint64_t limit;  // bytes that are allowed
    uint64_t taken;  // bytes so far

    int failure; // negative: decided inside a callback, with its message in request->error
};

// transport_loop.c
int transport_loop_submit(struct source_transfer *tr); // starts the thread if there is none
void transport_loop_stop(struct transport *t);
int transport_loop_wake(struct transport *t); // likewise; the caller has the mutex

// transport_http.c; all on the transport's thread.
int transport_http_begin(struct source_transfer *tr); // makes the easy handle; 0 or -errno with its message
// The transfer ended with `code`: sets the request's result, or returns true if the easy handle is to be performed
// again, for a redirect that was accepted.
bool transport_http_end(struct source_transfer *tr, CURLcode code);
void transport_http_release(struct source_transfer *tr); // the easy handle, which is in no multi handle

// The request's failure, as it is decided inside a callback of curl: the first one counts. Returns `result`.
int transport_http_note_failure(struct source_transfer *tr, int result);
#define TRANSPORT_HTTP_FAIL(tr, ...)                                                                                   \
    transport_http_note_failure((tr), transport_fail((tr)->source, (tr)->request, __VA_ARGS__))
long transport_http_status(struct source_transfer *tr); // of the answer that is being read

// transport_http_head.c; on the transport's thread too.
void transport_http_forget_head(struct source_transfer *tr);
// For CURLOPT_HEADERFUNCTION.
size_t transport_http_take_header(char *bytes, size_t size, size_t count, void *context);

// transport_ahead.c; on the transport's thread, without the mutex.
// A request is about to be sent to this address.
void transport_ahead_connect(struct source_transfer *tr, const char *ip, int port);
int transport_ahead_find(struct transport *t, const struct curl_sockaddr *a); // the caller's now; -1: none
int transport_ahead_tidy(struct transport *t, int wait_ms); // how long the thread may sleep, at most `wait_ms`

// transport_directory.c
int transport_directory_open(struct source *s, const char *path, struct error *error);
void transport_directory_read(struct source *s, struct source_request *r); // sets all results

// transport.c: "cannot fetch objects/… from http://…/: ", then the reason. Returns -code.
int transport_fail(struct source *s, struct source_request *r, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool transport_same_source(const struct source *a, const struct source *b);
