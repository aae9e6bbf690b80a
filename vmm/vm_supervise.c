// What the supervisor may ask of the machine (docs/vmm.md, "Control"): pause, resume, the power button, the end, and
// what it has done so far. All of it runs in the loop's thread.
#include "vmm/vm_private.h"

#include "base/cleanup.h"

#include <string.h>

#include "base/banned.h"

static void pause_machine(void *context)
{
    struct vm *m = context;
    for (unsigned i = 0; i < m->options->cpus && !m->paused; i++)
        vcpu_pause(m->vcpus[i]);
    m->paused = true;
    port_ring_drain(m->ring);
}

void vm_resume(struct vm *m)
{
    for (unsigned i = 0; i < m->options->cpus && m->paused; i++)
        vcpu_resume(m->vcpus[i]);
    m->paused = false;
}

static void resume_machine(void *context)
{
    vm_resume(context);
}

static void press_power(void *context)
{
    struct vm *m = context;
    platform_press_power(m->platform);
}

static void quit(void *context)
{
    vm_ask_end(context, VM_STOPPED, NULL);
}

static bool is_paused(void *context)
{
    const struct vm *m = context;
    return m->paused;
}

// A device's lines begin with its name; the second of a kind gets its number: "block2.reads 7".
static void write_device_statistics(struct vm *m, unsigned index, struct buf *to)
{
    struct buf lines CLEANUP(buf_free) = BUF_WITH_MAXIMUM(to->maximum);
    struct virtio_device *d = m->devices[index].virtio;
    const char *name = d->operations->name;
    unsigned number = 1;
    for (unsigned i = 0; i < index; i++)
        number += strcmp(m->devices[i].virtio->operations->name, name) == 0;
    pthread_mutex_lock(&d->lock);
    buf_append_format(&lines, "%s.kicks %llu\n%s.interrupts %llu\n", name, (unsigned long long)d->kicks, name,
                      (unsigned long long)d->interrupts);
    if (d->operations->statistics)
        d->operations->statistics(d, &lines);
    pthread_mutex_unlock(&d->lock);
    if (number == 1) {
        buf_append(to, lines.data, lines.size);
        return;
    }
    for (const char *line = buf_text(&lines), *end; line && *line; line = end + 1) {
        size_t n = strcspn(line, ".");
        end = strchr(line, '\n');
        buf_append_format(to, "%.*s%u%.*s\n", (int)n, line, number, (int)(end - line) - (int)n, line + n);
    }
}

static void write_statistics(void *context, struct buf *to)
{
    static const char *const names[VCPU_EXITS] = {
        [VCPU_EXIT_PORT] = "port",
        [VCPU_EXIT_MEMORY] = "memory",
        [VCPU_EXIT_INTERRUPTED] = "interrupted",
        [VCPU_EXIT_OTHER] = "other",
    };
    struct vm *m = context;
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
        write_device_statistics(m, i, to);
}

static int replace_base(void *context, int fd, struct error *error)
{
    return vm_devices_replace_base(context, fd, error);
}

int vm_listen_to_supervisor(struct vm *m, struct error *error)
{
    const struct vm_control_handlers handlers = {
        .pause = pause_machine,
        .resume = resume_machine,
        .power = press_power,
        .quit = quit,
        .paused = is_paused,
        .statistics = write_statistics,
        .replace_base = replace_base,
        .context = m,
    };
    if (m->options->control < 0)
        return 0;
    return vm_control_new(&m->loop, m->options->control, &handlers, &m->control, error);
}
