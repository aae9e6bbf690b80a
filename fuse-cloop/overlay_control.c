// The thread that listens to the supervisor and to SIGTERM.
//
//   listening ──quit, SIGTERM, end of the connection──> ending ──serving has ended──> done
//       └──────────────overlay_control_stop (unmounted from outside)─────────────────────^
//
// In "ending" no request is held any more, and libfuse's loop is told to end until it has. A thread that is stuck in a
// read of a dead base cannot be helped: after GRACE_MS everything that was acknowledged is flushed, the mount taken
// away, and the program ends without that thread.
#include "fuse-cloop/overlay_control.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "blockstore/overlay_live.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include "base/banned.h"

#define GRACE_MS 5000
#define NUDGE_MS 20

struct overlay_control {
    struct overlay_control_settings settings;
    pthread_t thread;
    int signals, ended; // signalfd, and the eventfd of overlay_control_stop
    bool wanted;        // read after the thread was joined
};

// The guest is being switched off, or nobody is left to say what comes: no request may wait any longer.
static void let_go(struct overlay_control *c)
{
    overlay_hold_stop(c->settings.hold);
    overlay_live_refuse(c->settings.overlay);
}

// One message; false at the end of the conversation.
static bool hear(struct overlay_control *c)
{
    char text[SOCKET_LINE_MAXIMUM], answer[OVERLAY_LIVE_ANSWER_SIZE] = "";
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    int r = socket_receive(c->settings.control, 0, text, fds, &count);
    if (r == -EAGAIN || r == -EINTR)
        return true;
    if (r == -EMSGSIZE) {
        log_warning("a message of the supervisor was too long, and is ignored");
        return true;
    }
    if (r <= 0) {
        log_info("the supervisor is gone");
        return false;
    }
    bool go_on = true;
    if (strcmp(text, "let-go") == 0)
        let_go(c);
    else if (strcmp(text, "quit") == 0)
        go_on = false;
    else if (!overlay_live_hear(c->settings.overlay, c->settings.hold, text, fds, count, answer))
        log_warning("the supervisor said something unknown, which is ignored");
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    r = answer[0] ? socket_send(c->settings.control, answer, NULL, 0) : 0;
    if (r < 0)
        log_warning("the supervisor could not be answered: %s", strerror(-r));
    return go_on;
}

// Tells libfuse's loop to end until overlay_control_stop says that it did.
static void end_serving(struct overlay_control *c)
{
    let_go(c);
    struct pollfd ended = {.fd = c->ended, .events = POLLIN};
    for (int waited = 0; waited < GRACE_MS; waited += NUDGE_MS) {
        overlay_fuse_end(c->settings.fuse);
        if (poll(&ended, 1, NUDGE_MS) > 0)
            return;
    }
    struct error error = {0};
    int r = overlay_flush(c->settings.overlay);
    if (r < 0)
        overlay_failure(c->settings.overlay, &error);
    log_error("a request does not end (the base disk does not answer); leaving without it%s%s", r < 0 ? ": " : "",
              error.text);
    overlay_fuse_unmount(c->settings.fuse);
    _exit(EXIT_CODE_OTHER);
}

static void *run(void *context)
{
    struct overlay_control *c = context;
    struct pollfd wait[] = {{.fd = c->settings.control, .events = POLLIN},
                            {.fd = c->signals, .events = POLLIN},
                            {.fd = c->ended, .events = POLLIN}};
    for (;;) {
        if (poll(wait, ARRAY_SIZE(wait), overlay_hold_look(c->settings.hold)) < 0 && errno != EINTR) {
            log_error("cannot wait for the supervisor: %s", strerror(errno));
            break;
        }
        if (wait[2].revents)
            return NULL;
        if (wait[1].revents || (wait[0].revents && !hear(c)))
            break;
    }
    c->wanted = true;
    end_serving(c);
    return NULL;
}

int overlay_control_start(const struct overlay_control_settings *settings, struct overlay_control **ret,
                          struct error *error)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    int signals CLEANUP_CLOSE = signalfd(-1, &set, SFD_CLOEXEC);
    int ended CLEANUP_CLOSE = eventfd(0, EFD_CLOEXEC);
    if (signals < 0 || ended < 0)
        return error_set(error, errno, "cannot listen for signals: %m");
    struct overlay_control *c CLEANUP_FREE = calloc(1, sizeof *c);
    if (!c)
        return error_set(error, ENOMEM, "out of memory");
    c->settings = *settings;
    c->signals = signals;
    c->ended = ended;
    int r = -pthread_create(&c->thread, NULL, run, c);
    if (r < 0)
        return error_set(error, -r, "cannot start a thread: %s", strerror(-r));
    (void)TAKE_FD(signals);
    (void)TAKE_FD(ended);
    *ret = TAKE_PTR(c);
    return 0;
}

bool overlay_control_stop(struct overlay_control *c)
{
    (void)eventfd_write(c->ended, 1); // fails only for a count that is full
    pthread_join(c->thread, NULL);
    bool wanted = c->wanted;
    close(c->signals);
    close(c->ended);
    free(c);
    return wanted;
}
