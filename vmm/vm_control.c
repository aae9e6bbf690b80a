// The conversation with the supervisor: see vm_control.h.
#include "vmm/vm_control.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/banned.h"

struct vm_control {
    struct loop *loop;
    struct loop_source *source;
    int socket;
    struct vm_control_handlers handlers;
};

void vm_control_say(struct vm_control *c, const char *message)
{
    int r = socket_send(c->socket, message, NULL, 0);
    if (r < 0 && r != -EPIPE)
        log_warning("the supervisor cannot be told \"%s\": %s", message, strerror(-r));
}

static void say_statistics(struct vm_control *c)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SOCKET_LINE_MAXIMUM - 1);
    if (buf_append_format(&text, "statistics\n") < 0)
        return;
    c->handlers.statistics(c->handlers.context, &text);
    vm_control_say(c, buf_text(&text));
}

static void say_error(struct vm_control *c, const char *sentence)
{
    char text[ERROR_TEXT_SIZE + 16];
    snprintf(text, sizeof text, "error %s", sentence);
    vm_control_say(c, text);
}

static void do_pause(struct vm_control *c)
{
    c->handlers.pause(c->handlers.context);
    vm_control_say(c, "paused");
}

static void do_resume(struct vm_control *c)
{
    c->handlers.resume(c->handlers.context);
    vm_control_say(c, "resumed");
}

static void do_power(struct vm_control *c)
{
    c->handlers.power(c->handlers.context);
}

static void do_quit(struct vm_control *c)
{
    c->handlers.quit(c->handlers.context);
}

static void do_status(struct vm_control *c)
{
    vm_control_say(c, c->handlers.paused(c->handlers.context) ? "status paused" : "status running");
}

static const struct {
    const char *message;
    void (*handle)(struct vm_control *c);
} messages[] = {
    {"pause", do_pause}, {"resume", do_resume}, {"power", do_power},
    {"quit", do_quit},   {"status", do_status}, {"statistics", say_statistics},
};

static void replace_base(struct vm_control *c, int fd)
{
    struct error error = {""};
    if (c->handlers.replace_base(c->handlers.context, fd, &error) < 0)
        say_error(c, error.text);
}

static void handle(struct vm_control *c, const char *text, int *fds, unsigned count)
{
    if (strcmp(text, "base") == 0 && count == 1) {
        replace_base(c, TAKE_FD(fds[0]));
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        if (strcmp(text, messages[i].message) == 0 && count == 0) {
            messages[i].handle(c);
            return;
        }
    }
    say_error(c, "this is no message that a machine understands");
}

static void readable(void *context, uint32_t events)
{
    struct vm_control *c = context;
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    (void)events;
    int r = socket_receive(c->socket, 0, text, fds, &count);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r > 0) {
        handle(c, text, fds, count);
        for (unsigned i = 0; i < count; i++)
            cleanup_close(&fds[i]);
        return;
    }
    if (r == -EMSGSIZE || r == -EBADMSG) {
        say_error(c, "this is no message that a machine understands");
        return;
    }
    if (r < 0)
        log_warning("the conversation with the supervisor broke: %s", strerror(-r));
    loop_remove(c->loop, TAKE_PTR(c->source));
    c->handlers.quit(c->handlers.context);
}

int vm_control_new(struct loop *loop, int socket, const struct vm_control_handlers *handlers, struct vm_control **ret,
                   struct error *error)
{
    struct vm_control *c = calloc(1, sizeof *c);
    if (!c)
        return error_set(error, ENOMEM, "no memory for the control connection");
    *c = (struct vm_control){.loop = loop, .socket = socket, .handlers = *handlers};
    int r = loop_add(loop, socket, EPOLLIN, readable, c, &c->source);
    if (r < 0) {
        free(c);
        return error_set(error, -r, "cannot listen to the control connection: %s", strerror(-r));
    }
    *ret = c;
    return 0;
}

void vm_control_free(struct vm_control *c)
{
    if (c && c->source)
        loop_remove(c->loop, c->source);
    free(c);
}
