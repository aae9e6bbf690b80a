// What the two ways to run share: serve.c is the shared one, serve_single.c the other. All of it is the main thread's.
#pragma once

#include "fuse-cloop/control.h"
#include "fuse-cloop/serve.h"
#include "fuse-cloop/workers.h"

struct program {
    struct serve_options *options;
    struct session session;
    struct store *store;
    struct workers *workers;
    struct control *control;
    int lock, wake, ended, signals;
};

int serve_take_descriptors(struct program *p, struct error *error); // signals, eventfds; before any thread starts
int serve_open_store(struct program *p, struct error *error);       // once the mount point is known
void serve_say_ready(struct program *p);
void serve_leave_folder(void); // the one in which we were started: it might be in our own mount
