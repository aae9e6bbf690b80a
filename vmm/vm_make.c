// Making the machine, from the inside out: KVM and memory, the buses, what interrupts, the small parts of a PC, the PCI
// devices, the vCPUs; then the kernel and the tables that describe all of it. vm_free takes it down in the opposite
// order, from whatever point vm_new had reached.
#include "vmm/vm_private.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "vmm/acpi.h"
#include "vmm/load.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "base/banned.h"

// --- what may end it ------------------------------------------------------------------------------------------------

static void platform_asked(void *context, enum platform_request request)
{
    static const enum vm_end ends[] = {
        [PLATFORM_POWER_OFF] = VM_POWERED_OFF, [PLATFORM_RESET] = VM_RESET, [PLATFORM_PANIC] = VM_PANICKED};
    vm_ask_end(context, ends[request], NULL);
}

static void vcpu_ended(void *context, unsigned index, enum vcpu_end end, const char *what, const char *registers)
{
    char why[256];
    log_at(end == VCPU_TRIPLE_FAULT ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "vCPU %u: %s; %s", index, what, registers);
    snprintf(why, sizeof why, "the machine cannot go on: %s (vCPU %u)", what, index);
    vm_ask_end(context, end == VCPU_TRIPLE_FAULT ? VM_TRIPLE_FAULT : VM_BROKEN, why);
}

static void woken(void *context, uint32_t events)
{
    struct vm *m = context;
    (void)events;
    loop_end(&m->loop);
}

// A termination signal presses the power button; a second one switches off.
static void signalled(void *context, uint32_t events)
{
    struct vm *m = context;
    struct signalfd_siginfo info;
    (void)events;
    if (read(m->signals, &info, sizeof info) != sizeof info)
        return;
    if (m->terminations++ == 0)
        platform_press_power(m->platform);
    else
        vm_ask_end(m, VM_STOPPED, NULL);
}

// --- the parts ------------------------------------------------------------------------------------------------------

static int make_kvm(struct vm *m, struct error *error)
{
    struct vm_file *device = &m->options->kvm;
    const char *path = device->fd < 0 ? device->name : NULL;
    int r = kvm_open(path, TAKE_FD(device->fd), &m->kvm, error);
    if (r == 0)
        r = kvm_create_vm(&m->kvm, error);
    if (r == 0)
        r = guest_memory_make(m->options->memory, &m->memory, error);
    if (r == 0)
        r = kvm_map_memory(&m->kvm, &m->memory, error);
    m->irq = (struct irq_controller){.operations = &kvm_irq_operations, .context = &m->kvm};
    return r;
}

// After KVM's device and all files were opened, before any thread is made.
static int make_sandbox(struct vm *m, struct error *error)
{
    if (!m->options->sandbox)
        return 0;
    int r = sandbox_new(&m->sandbox, error);
    return r < 0 ? r : sandbox_leave_host(error);
}

static int make_loop(struct vm *m, struct error *error)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        sigaddset(&set, numbers[i]);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // before any thread is made; all inherit it
    int r = loop_init(&m->loop, error);
    if (r < 0)
        return r;
    struct loop_source *source; // both stay until the loop goes
    m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    r = m->signals < 0 ? -errno : loop_add(&m->loop, m->signals, EPOLLIN, signalled, m, &source);
    if (r == 0)
        r = loop_add_eventfd(&m->loop, woken, m, &m->wake, &source);
    return r < 0 ? error_set(error, -r, "cannot listen for signals: %s", strerror(-r)) : 0;
}

static void collect(void *context, bool on)
{
    struct vm *m = context;
    if (m->ring && kvm_collect_port(&m->kvm, LAYOUT_PORT_COM1, on) < 0)
        log_debug("writes to the serial port cannot be collected"); // then each is an exit
}

static int make_pc(struct vm *m, struct error *error)
{
    int r = kvm_add_line(&m->kvm, LAYOUT_IRQ_COM1, &m->serial_interrupt, error);
    if (r == 0)
        r = kvm_add_line(&m->kvm, LAYOUT_IRQ_POWER, &m->power_interrupt, error);
    if (r == 0)
        r = stream_new(&m->loop, m->options->console_input, m->options->console_output, &m->stream, error);
    if (r == 0)
        r = port_ring_new(&m->kvm, &m->ports, &m->loop, m->stream, &m->ring, error);
    if (r < 0)
        return r;
    const struct serial_settings serial = {
        .stream = m->stream, .interrupt = m->serial_interrupt, .collect = collect, .context = m};
    r = serial_new(&serial, &m->ports, LAYOUT_PORT_COM1, &m->serial, error);
    if (r < 0)
        return r;
    const struct platform_settings platform = {
        .power_interrupt = m->power_interrupt, .request = platform_asked, .context = m};
    return platform_new(&platform, &m->ports, &m->platform, error);
}

static int make_devices(struct vm *m, struct error *error)
{
    int r = pci_root_init(&m->root, &m->ports, &m->memory_bus, error);
    return r < 0 ? r : vm_devices_new(m, error);
}

static int make_vcpus(struct vm *m, struct error *error)
{
    for (unsigned i = 0; i < m->options->cpus; i++) {
        const struct vcpu_settings settings = {
            .kvm = &m->kvm,
            .ports = &m->ports,
            .memory = &m->memory_bus,
            .ring = m->ring,
            .index = i,
            .count = m->options->cpus,
            .ended = vcpu_ended,
            .context = m,
            .sandbox = m->sandbox,
        };
        int r = vcpu_new(&settings, &m->vcpus[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int load(struct vm *m, struct error *error)
{
    const struct vm_options *o = m->options;
    struct load_entry entry = {0};
    struct load_request request = {
        .kernel_name = o->kernel.name,
        .initrd_name = o->initrd.name,
        .kernel = o->kernel.fd,
        .initrd = o->initrd.fd,
        .cmdline = o->cmdline,
    };
    int r = acpi_build(&m->memory, o->cpus, &request.rsdp, error);
    if (r == 0)
        r = load_kernel(&m->memory, &request, &entry, error);
    close(TAKE_FD(m->options->kernel.fd));
    if (m->options->initrd.fd >= 0)
        close(TAKE_FD(m->options->initrd.fd));
    return r < 0 ? r : vcpu_set_entry(m->vcpus[0], &entry, error);
}

int vm_new(struct vm_options *o, struct vm **ret, struct error *error)
{
    static int (*const steps[])(struct vm * m, struct error * error) = {
        make_kvm, vm_devices_open, make_sandbox, make_loop, make_pc, make_devices, make_vcpus, load, vm_control_listen,
    };
    struct vm *m = calloc(1, sizeof *m);
    if (!m)
        return error_set(error, ENOMEM, "no memory for a machine");
    m->options = o;
    m->kvm = (struct kvm){.dev = -1, .vm = -1};
    m->loop.epoll = m->signals = m->serial_interrupt = m->power_interrupt = -1;
    m->end = VM_GOES_ON;
    bus_init(&m->ports);
    bus_init(&m->memory_bus);
    pthread_mutex_init(&m->end_lock, NULL); // cannot fail with default attributes
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        int r = steps[i](m, error);
        if (r < 0) {
            vm_free(m);
            return r;
        }
    }
    *ret = m;
    return 0;
}

void vm_free(struct vm *m)
{
    if (m->stuck) { // a thread may still use most of this, and the process is about to end
        stream_free(m->stream);
        return;
    }
    for (unsigned i = 0; i < m->options->cpus; i++)
        vcpu_free(m->vcpus[i]);
    vm_devices_free(m);
    if (m->root.ports)
        pci_root_destroy(&m->root);
    platform_free(m->platform);
    serial_free(m->serial);
    port_ring_free(m->ring);
    stream_free(m->stream);
    loop_destroy(&m->loop);
    bus_destroy(&m->memory_bus);
    bus_destroy(&m->ports);
    cleanup_close(&m->serial_interrupt);
    cleanup_close(&m->power_interrupt);
    cleanup_close(&m->signals);
    sandbox_free(m->sandbox);
    kvm_close(&m->kvm);
    guest_memory_free(&m->memory);
    pthread_mutex_destroy(&m->end_lock);
    free(m);
}
