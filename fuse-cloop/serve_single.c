// One version on a folder of its own (see serve.h).
#include "base/cleanup.h"
#include "base/log.h"
#include "fuse-cloop/control_source.h"
#include "fuse-cloop/serve_private.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/banned.h"

// The version is opened when the mount is there, since the network is heard only by who is confined, and so cannot
// mount any more.
static int open_version(struct program *p, struct error *error)
{
    struct serve_options *o = p->options;
    struct table_key key;
    int r = serve_confine(p, NULL, error);
    if (r == 0) {
        transport_give_ahead(store_transport(p->store), &o->connections); // starts the network's thread
        r = table_new(p->store, p->session.state, &p->session.table, error);
    }
    if (r == 0)
        r = table_open(p->session.table, &o->manifest, o->sources, o->source_count, &key, error);
    return r == 0 ? workers_start(&p->session, p->ended, &p->workers, error) : r;
}

static int start_single(struct program *p, struct error *error)
{
    struct serve_options *o = p->options;
    if (!realpath(o->folder, p->session.mount_point))
        return error_set(error, errno, "cannot mount on %s: %m", o->folder);
    p->session.single = true;
    int r = serve_start_others(p, error);
    if (r == 0)
        r = serve_open_store(p, error);
    for (unsigned i = 0; i < o->source_count && r == 0; i++)
        r = control_check_source(&p->session, o->sources[i], error);
    if (r == 0)
        r = session_start(&p->session, error);
    if (r < 0)
        return r;
    r = open_version(p, error);
    if (r < 0)
        unmounter_remove(&p->unmounter, true, NULL); // what could not be opened is what is told
    return r;
}

int serve_single(struct serve_options *o, struct error *error)
{
    struct program p = {.options = o, .session = {.fd = -1, .state_fd = -1}, .lock = -1};
    int r = serve_take_descriptors(&p, error);
    if (r == 0)
        r = start_single(&p, error);
    if (r < 0)
        return r;
    serve_say_ready(&p);
    bool detached = false;
    for (;;) {
        struct pollfd polls[] = {{.fd = p.signals, .events = POLLIN}, {.fd = p.ended, .events = POLLIN}};
        struct signalfd_siginfo info;
        struct error why = {.text = ""};
        if (poll(polls, ARRAY_SIZE(polls), -1) < 0)
            continue;
        if (polls[1].revents)
            return 0;
        if (read(p.signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
            continue;
        if (detached)
            return 0;
        detached = true;
        if (unmounter_remove(&p.unmounter, true, &why) < 0)
            log_error("%s", why.text);
    }
}
