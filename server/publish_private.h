// What the files of publishing over HTTP share: publish_api.c (requests: heads, bodies, answers), publish_calls.c (what
// each of them does), publish_wait.c (the thread that talks to the keeper).
#pragma once

#include "server/keeper.h"
#include "server/publish_api.h"
#include "server/publish_sessions.h"
#include "server/publish_site.h"
#include "server/staging.h"

#include <pthread.h>

struct publish_api {
    struct publish_api_options options;
    struct publish_site *site;
    struct publish_sessions *sessions;
    struct staging *staging;
    int placed; // folder (server/placed.h)
    // publish_wait.c
    pthread_t thread;
    bool waits;           // the thread is there
    pthread_mutex_t lock; // guards what follows, and `next` of all requests
    pthread_cond_t wake;
    struct publish_request *first, *last; // manifests that wait
    bool stopping;
};

struct publish_request {
    struct publish_api *api;
    struct MHD_Connection *connection;
    struct slow_clients *slow;
    struct watched *watched;
    const struct publish_call *call;
    const char *method, *target; // libmicrohttpd's, as long as the request lasts
    int session;                 // −1: none
    struct key_public key;       // of the session
    struct buf body;             // but an object's
    // Of an object
    struct sha256 object;
    struct publish_part part;
    struct staging_upload *upload;
    // Of a manifest
    char tag[CATALOG_NAME_SIZE];
    struct publish_request *next;
    // The answer; it is given when all of the body has come, or at once if there was nothing to be read.
    unsigned status; // 0: none yet
    struct buf answer;
    bool is_text; // else JSON
    bool head_seen;
};

struct publish_call {
    const char *method, *path; // a path that ends in "/" goes on with an object's name
    bool with_token;
    uint64_t maximum; // of the body
    // Of the head (may be NULL); it may set an answer.
    void (*begin)(struct publish_request *q, uint64_t length);
    // When the body is there: sets the answer, or returns true: the request is no longer ours but the waiting thread's.
    bool (*finish)(struct publish_request *q);
};
extern const struct publish_call publish_calls[];
extern const unsigned publish_call_count;

// Sets a refusal, if there is no answer yet.
void publish_refuse(struct publish_request *q, unsigned status, const char *text, const char *next);
void publish_refuse_code(struct publish_request *q, int r, const struct error *error); // by errno
uint64_t publish_now(void);                                                            // seconds, for sessions

int publish_wait_start(struct publish_api *api, struct error *error);
void publish_wait_stop(struct publish_api *api);
// Suspends the connection until the keeper has answered; publish_api_take is then called again. 0; -EBUSY: a manifest
// of the same publisher waits already; -ESHUTDOWN: it is being wound down.
int publish_wait_for_keeper(struct publish_request *q);
