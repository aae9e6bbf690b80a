// What the control socket's two files share: control.c has the connections and the main loop's side, control_message.c
// the messages.
#pragma once

#include "base/socket.h"
#include "fuse-cloop/control.h"
#include "fuse-cloop/keep.h"
#include <pthread.h>

#define CONTROL_OFFER_WANTS "handover needs two descriptors"
#define CONTROL_OFFER_UNNEEDED "ok unneeded"

struct control {
    pthread_mutex_t mutex;
    int listener, wake_fd;
    char path[PATH_TEXT_SIZE], aside[PATH_TEXT_SIZE];
    struct session *session; // NULL: starting
    struct store *store;
    struct control_counts counts;
    struct control_line { // who waits while we start
        int fd;
        bool asked; // something else than to take a session: its thread will answer
    } line[CONTROL_CONNECTIONS];
    unsigned line_count, offerer; // whose offer is looked at
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
// Answers one message. If it keeps the descriptors, *fd_count is 0.
void control_serve(struct connection *k, char *text, const int fds[static SOCKET_FDS_MAXIMUM], unsigned *fd_count);
