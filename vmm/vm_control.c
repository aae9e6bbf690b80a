// The conversation with the supervisor (docs/vmm.md, "Control"): one SOCK_SEQPACKET connection, one message a packet,
// heard in the loop's thread. Its end means `quit`: nobody is left who could want anything of the machine.
#include "vmm/vm_private.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/socket.h"
#include "blockstore/overlay_live.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/banned.h"

void vm_control_say(struct vm *m, const char *message)
{
    int r = m->control ? socket_send(m->options->control, message, NULL, 0) : 0;
    if (r < 0 && r != -EPIPE)
        log_warning("the supervisor cannot be told \"%s\": %s", message, strerror(-r));
}

// --- what may be asked ----------------------------------------------------------------------------------------------

static void pause_machine(struct vm *m)
{
    for (unsigned i = 0; i < m->options->cpus && !m->paused; i++)
        vcpu_pause(m->vcpus[i]);
    m->paused = true;
    port_ring_drain(m->ring);
    vm_control_say(m, "paused");
}

void vm_resume(struct vm *m)
{
    for (unsigned i = 0; i < m->options->cpus && m->paused; i++)
        vcpu_resume(m->vcpus[i]);
    m->paused = false;
}

static void resume_machine(struct vm *m)
{
    vm_resume(m);
    vm_control_say(m, "resumed");
}

static void press_power(struct vm *m)
{
    platform_press_power(m->platform);
}

static void quit(struct vm *m)
{
    vm_ask_end(m, VM_STOPPED, NULL);
}

static void say_status(struct vm *m)
{
    vm_control_say(m, m->paused ? "status paused" : "status running");
}

static void write_device_statistics(struct virtio_device *d, struct buf *to)
{
    pthread_mutex_lock(&d->lock);
    virtio_say(d, to, "kicks", d->kicks);
    virtio_say(d, to, "interrupts", d->interrupts);
    if (d->operations->statistics)
        d->operations->statistics(d, to);
    pthread_mutex_unlock(&d->lock);
}

static void write_statistics(struct vm *m, struct buf *to)
{
    static const char *const names[VCPU_EXITS] = {
        [VCPU_EXIT_PORT] = "port",
        [VCPU_EXIT_MEMORY] = "memory",
        [VCPU_EXIT_INTERRUPTED] = "interrupted",
        [VCPU_EXIT_OTHER] = "other",
    };
    uint64_t sums[VCPU_EXITS] = {0}, one[VCPU_EXITS];
    for (unsigned i = 0; i < m->options->cpus; i++) {
        vcpu_count(m->vcpus[i], one);
        for (unsigned j = 0; j < VCPU_EXITS; j++)
            sums[j] += one[j];
    }
    for (unsigned j = 0; j < VCPU_EXITS; j++)
        buf_append_format(to, "exits.%s %llu\n", names[j], (unsigned long long)sums[j]);
    buf_append_format(to, "console.lost %llu\n", (unsigned long long)stream_lost(m->stream));
    for (unsigned i = 0; i < m->device_count; i++)
        write_device_statistics(m->devices[i], to);
}

static void say_statistics(struct vm *m)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SOCKET_LINE_MAXIMUM - 1);
    if (buf_append_format(&text, "statistics\n") < 0)
        return;
    write_statistics(m, &text);
    vm_control_say(m, buf_text(&text));
}

// --- hearing it -----------------------------------------------------------------------------------------------------

static void handle(struct vm *m, const char *text, int *fds, unsigned count)
{
    static const struct {
        const char *message;
        void (*handle)(struct vm *m);
    } messages[] = {
        {"pause", pause_machine}, {"resume", resume_machine}, {"power", press_power},
        {"quit", quit},           {"status", say_status},     {"statistics", say_statistics},
    };
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        if (strcmp(text, messages[i].message) == 0 && count == 0) {
            messages[i].handle(m);
            return;
        }
    }
    char answer[OVERLAY_LIVE_ANSWER_SIZE] = "error this is no message that this machine understands";
    (void)vm_devices_hear(m, text, fds, count, answer);
    if (answer[0])
        vm_control_say(m, answer);
}

static void readable(void *context, uint32_t events)
{
    struct vm *m = context;
    char text[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    (void)events;
    int r = socket_receive(m->options->control, 0, text, fds, &count);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r > 0 || r == -EMSGSIZE || r == -EBADMSG) {
        handle(m, r > 0 ? text : "", fds, count);
        for (unsigned i = 0; i < count; i++)
            cleanup_close(&fds[i]);
        return;
    }
    if (r < 0)
        log_warning("the conversation with the supervisor broke: %s", strerror(-r));
    loop_remove(&m->loop, TAKE_PTR(m->control));
    quit(m);
}

int vm_control_listen(struct vm *m, struct error *error)
{
    if (m->options->control < 0)
        return 0;
    int r = loop_add(&m->loop, m->options->control, EPOLLIN, readable, m, &m->control);
    return r < 0 ? error_set(error, -r, "cannot listen to the control connection: %s", strerror(-r)) : 0;
}
