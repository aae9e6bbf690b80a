// What the control socket's two files share: control.c has the connections and the main loop's side, control_message.c
// the messages.
#pragma once

#include "base/socket.h"
#include "fuse-cloop/control.h"
#include "fuse-cloop/keep.h"
#include <pthread.h>

struct control {
    pthread_mutex_t mutex;
    pthread_cond_t changed; // the phase, or the offer
    int listener, wake_fd;
    char path[PATH_TEXT_SIZE], aside[PATH_TEXT_SIZE];
    bool ready;
    struct session *session; // once ready
    struct store *store;
    struct control_counts counts;
    enum { OFFER_NONE, OFFER_MADE, OFFER_LOOKED_AT, OFFER_TAKEN, OFFER_REFUSED } offer;
    int offered[2];
};

struct connection {
    struct control *control;
    int fd;
    bool holds;
    struct table_key versions[CONTROL_VERSIONS];
    unsigned version_count;
    struct keep *keep; // the version that it wants kept; or NULL
};

void control_wake(struct control *c); // the main loop
void control_answer_error(struct connection *k, int result, const char *sentence);
// Answers one message. Descriptors that it keeps are taken out of `fds`.
void control_serve(struct connection *k, char *text, int fds[static SOCKET_FDS_MAXIMUM], unsigned *fd_count);
