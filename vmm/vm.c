// The machine's life: see vm.h and, for its state and who owns it, vm_private.h.
#include "vmm/vm_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/banned.h"

void vm_ask_end(struct vm *m, enum vm_end end, const char *why)
{
    pthread_mutex_lock(&m->end_lock);
    if (m->end == VM_GOES_ON) {
        m->end = (int)end;
        if (why)
            error_set(&m->why, EIO, "%s", why);
    }
    pthread_mutex_unlock(&m->end_lock);
    eventfd_write(m->wake, 1); // if it is full, it has been woken a great many times already
}

static int start(struct vm *m, struct error *error)
{
    m->paused = true;
    for (unsigned i = 0; i < m->options->cpus; i++) {
        int r = vcpu_start(m->vcpus[i], true, error);
        if (r < 0)
            return r;
    }
    sandbox_enter(m->sandbox, SANDBOX_MAIN);
    int r = sandbox_wait_for(m->sandbox, m->options->cpus + m->workers + 1, error);
    if (r < 0)
        return r;
    vm_control_say(m, "ready");
    if (!m->options->paused)
        vm_resume(m);
    return 0;
}

static void say_end(struct vm *m, enum vm_end end)
{
    static const char *const messages[] = {
        [VM_POWERED_OFF] = "event powered-off",   [VM_RESET] = "event reset",     [VM_PANICKED] = "event panicked",
        [VM_TRIPLE_FAULT] = "event triple-fault", [VM_STOPPED] = "event stopped", [VM_BROKEN] = NULL,
    };
    char text[ERROR_TEXT_SIZE + 16];
    if (messages[end]) {
        vm_control_say(m, messages[end]);
        return;
    }
    snprintf(text, sizeof text, "broken %s", m->why.text);
    vm_control_say(m, text);
}

int vm_run(struct vm *m, enum vm_end *ret, struct error *error)
{
    int r = start(m, error);
    if (r == 0) {
        r = loop_run(&m->loop);
        if (r < 0)
            error_set(error, -r, "the machine's event loop failed: %s", strerror(-r));
    }
    for (unsigned i = 0; i < m->options->cpus; i++)
        vcpu_stop(m->vcpus[i]);
    port_ring_drain(m->ring);
    int ended = vm_devices_end(m, r < 0 ? NULL : error);
    r = r < 0 ? r : ended;
    if (r < 0)
        return r;
    enum vm_end end = (enum vm_end)m->end;
    say_end(m, end);
    if (end == VM_BROKEN) {
        *error = m->why;
        return -EIO;
    }
    *ret = end;
    return 0;
}
