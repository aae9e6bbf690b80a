// What the two ways to run share: serve.c is the shared one, serve_single.c the other. All of it is the main thread's.
#pragma once

#include "fuse-cloop/control.h"
#include "fuse-cloop/opener.h"
#include "fuse-cloop/serve.h"
#include "fuse-cloop/unmounter.h"
#include "fuse-cloop/workers.h"

struct program {
    struct serve_options *options;
    struct session session;
    struct store *store;
    struct workers *workers;
    struct control *control;
    struct beside unmounter, opener;
    int lock, wake, ended, signals;
};

int serve_take_descriptors(struct program *p, struct error *error); // signals, eventfds; before any thread starts
int serve_open_store(struct program *p, struct error *error);       // once the mount point is known
// The processes beside us, once the mount point is known. Leaves the folder in which we were started, which might be
// in our own mount.
int serve_start_others(struct program *p, struct error *error);
// Once mounted. The last that is done by one thread alone. `runtime`: where the socket is; NULL: there is none.
int serve_confine(struct program *p, const char *runtime, struct error *error);
void serve_say_ready(struct program *p);
