// A virtual processor: see vcpu.h. One thread, one loop around KVM_RUN.
//
//   wanted   what others ask of the thread: RUN, PAUSE, STOP        (lock; read without it on the fast path)
//   state    what the thread does: NEW, PAUSED, RUNNING, ENDED      (lock; `changed` is signalled)
//
// No kick is lost: who wants something writes `wanted`, then immediate_exit, then sends the signal. If the thread is in
// the guest the signal ends KVM_RUN; if it is on its way there, KVM_RUN sees immediate_exit and comes back at once; if
// it is in a handler, it gets to KVM_RUN later, with the same outcome. Only the thread itself clears immediate_exit,
// with the lock held, when it has seen that RUN is wanted. KVM_RUN with immediate_exit also completes the access that
// was being answered, so a paused vCPU has nothing half done.
#include "vmm/vcpu.h"

#include "base/cleanup.h"
#include "vmm/vcpu_state.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/banned.h"

enum wanted { WANT_RUN, WANT_PAUSE, WANT_STOP };
enum state { STATE_NEW, STATE_PAUSED, STATE_RUNNING, STATE_ENDED };

struct vcpu {
    struct vcpu_settings settings;
    int fd;
    struct kvm_run *run;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic enum wanted wanted;
    enum state state;
    _Atomic uint64_t exits[VCPU_EXITS];
};

#define KICK SIGRTMIN // sandbox_calls.c lets no other one be sent

static void kicked(int signal)
{
    (void)signal; // it has ended KVM_RUN: that was all
}

int vcpu_new(const struct vcpu_settings *settings, struct vcpu **ret, struct error *error)
{
    struct vcpu *v = calloc(1, sizeof *v);
    if (!v)
        return error_set(error, ENOMEM, "no memory for vCPU %u", settings->index);
    v->settings = *settings;
    v->run = MAP_FAILED;
    pthread_mutex_init(&v->lock, NULL); // these two cannot fail with default attributes
    pthread_cond_init(&v->changed, NULL);
    v->fd = ioctl(settings->kvm->vm, KVM_CREATE_VCPU, (unsigned long)settings->index);
    if (v->fd >= 0)
        v->run = mmap(NULL, settings->kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    int r = 0;
    if (v->run == MAP_FAILED)
        r = error_set(error, errno, "KVM cannot make vCPU %u of %u: %s", settings->index, settings->count,
                      strerror(errno));
    if (r == 0)
        r = vcpu_set_cpuid(settings->kvm, v->fd, settings->index, settings->count, error);
    if (r == 0)
        r = vcpu_state_reset(v->fd, settings->index, error);
    if (r < 0) {
        vcpu_free(v);
        return r;
    }
    if (settings->index == 0)
        port_ring_map(settings->ring, v->run);
    *ret = v;
    return 0;
}

void vcpu_free(struct vcpu *v)
{
    if (!v)
        return;
    if (v->run != MAP_FAILED)
        munmap(v->run, v->settings.kvm->run_size);
    if (v->fd >= 0)
        close(v->fd);
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

int vcpu_set_entry(struct vcpu *v, const struct load_entry *entry, struct error *error)
{
    return vcpu_state_enter(v->fd, entry, error);
}

static void count(struct vcpu *v, enum vcpu_exit what)
{
    atomic_fetch_add_explicit(&v->exits[what], 1, memory_order_relaxed);
}

void vcpu_count(const struct vcpu *v, uint64_t ret[VCPU_EXITS])
{
    for (unsigned i = 0; i < VCPU_EXITS; i++)
        ret[i] = atomic_load_explicit(&v->exits[i], memory_order_relaxed);
}

static void access_bus(struct bus *b, uint64_t address, unsigned width, bool writes, unsigned char *data)
{
    uint64_t value = 0;
    if (writes) {
        memcpy(&value, data, width);
        bus_write(b, address, width, value);
    } else {
        value = bus_read(b, address, width);
        memcpy(data, &value, width);
    }
}

// One port, `count` values: more than one for a string instruction (INS, OUTS).
static void handle_port(struct vcpu *v)
{
    const struct kvm_run *run = v->run;
    unsigned char *data = (unsigned char *)v->run + run->io.data_offset;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
        access_bus(v->settings.ports, run->io.port, run->io.size, run->io.direction == KVM_EXIT_IO_OUT, data);
    port_ring_soon(v->settings.ring);
}

static void handle_memory(struct vcpu *v)
{
    uint64_t address = v->run->mmio.phys_addr;
    unsigned length = v->run->mmio.len;
    bool whole = length == 1 || length == 2 || length == 4 || length == 8;
    // What is left of an access that crosses a page has widths that no bus has: it is made of bytes.
    for (unsigned i = 0; i < (whole ? 1 : length) && i < sizeof v->run->mmio.data; i++)
        access_bus(v->settings.memory, address + i, whole ? length : 1, v->run->mmio.is_write, v->run->mmio.data + i);
}

// The vCPU cannot go on. Always false.
static bool end(struct vcpu *v, enum vcpu_end why, const char *what)
{
    char registers[512];
    vcpu_state_describe(v->fd, registers, sizeof registers);
    v->settings.ended(v->settings.context, v->settings.index, why, what, registers);
    return false;
}

// False: the vCPU has ended.
static bool handle_exit(struct vcpu *v)
{
    char text[160];
    const struct kvm_run *run = v->run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        count(v, VCPU_EXIT_PORT);
        handle_port(v);
        return true;
    case KVM_EXIT_MMIO:
        count(v, VCPU_EXIT_MEMORY);
        handle_memory(v);
        return true;
    case KVM_EXIT_INTR:
        count(v, VCPU_EXIT_INTERRUPTED);
        return true;
    case KVM_EXIT_SHUTDOWN:
        count(v, VCPU_EXIT_OTHER);
        return end(v, VCPU_TRIPLE_FAULT, "the guest made a triple fault");
    case KVM_EXIT_FAIL_ENTRY:
        snprintf(text, sizeof text, "the processor refused to enter the guest, reason %#llx",
                 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        return end(v, VCPU_ENTRY_FAILED, text);
    case KVM_EXIT_INTERNAL_ERROR:
        snprintf(text, sizeof text, "KVM cannot carry out an instruction of the guest, internal error %u",
                 run->internal.suberror);
        return end(v, VCPU_INTERNAL_ERROR, text);
    case KVM_EXIT_SYSTEM_EVENT:
        snprintf(text, sizeof text, "KVM reports system event %u, which this machine has not asked for",
                 run->system_event.type);
        return end(v, VCPU_INTERNAL_ERROR, text);
    default:
        snprintf(text, sizeof text, "KVM left the guest for reason %u, which this machine does not know",
                 run->exit_reason);
        return end(v, VCPU_INTERNAL_ERROR, text);
    }
}

static bool run_once(struct vcpu *v)
{
    char text[160];
    int r = ioctl(v->fd, KVM_RUN, 0);
    int code = errno;
    port_ring_drain(v->settings.ring);
    if (r == 0)
        return handle_exit(v);
    if (code == EINTR || code == EAGAIN) { // EAGAIN: a processor that waits to be started was woken
        count(v, VCPU_EXIT_INTERRUPTED);
        return true;
    }
    snprintf(text, sizeof text, "KVM cannot run the guest: %s", strerror(code));
    return end(v, VCPU_RUN_FAILED, text);
}

// Waits until the vCPU is to run; false: it is to stop.
static bool wait_to_run(struct vcpu *v)
{
    bool was_paused = false;
    pthread_mutex_lock(&v->lock);
    while (v->wanted == WANT_PAUSE) {
        v->state = STATE_PAUSED;
        was_paused = true;
        pthread_cond_broadcast(&v->changed);
        pthread_cond_wait(&v->changed, &v->lock);
    }
    bool go = v->wanted == WANT_RUN;
    if (go) {
        v->state = STATE_RUNNING;
        pthread_cond_broadcast(&v->changed); // vcpu_start waits for this
        v->run->immediate_exit = 0;
    }
    pthread_mutex_unlock(&v->lock);
    if (go && was_paused)
        ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0); // its watchdogs forgive the pause; refused if it has no such clock
    return go;
}

static void *thread_main(void *argument)
{
    struct vcpu *v = argument;
    char name[16];
    snprintf(name, sizeof name, "vcpu %u", v->settings.index);
    pthread_setname_np(pthread_self(), name); // for people who look at the process; nothing depends on it
    sandbox_enter(v->settings.sandbox, SANDBOX_VCPU);
    bool alive = wait_to_run(v);
    while (alive) {
        alive = run_once(v);
        if (alive && atomic_load_explicit(&v->wanted, memory_order_relaxed) != WANT_RUN)
            alive = wait_to_run(v);
    }
    pthread_mutex_lock(&v->lock);
    v->state = STATE_ENDED;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

int vcpu_start(struct vcpu *v, bool paused, struct error *error)
{
    struct sigaction action = {.sa_handler = kicked}; // no SA_RESTART: the ioctl must end
    (void)sigaction(KICK, &action, NULL);             // cannot fail: the signal and the action are valid
    v->wanted = paused ? WANT_PAUSE : WANT_RUN;
    int r = pthread_create(&v->thread, NULL, thread_main, v);
    if (r != 0)
        return error_set(error, r, "cannot make a thread for vCPU %u: %s", v->settings.index, strerror(r));
    pthread_mutex_lock(&v->lock);
    while (v->state == STATE_NEW)
        pthread_cond_wait(&v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
    return 0;
}

// With the lock held.
static void kick(struct vcpu *v, enum wanted wanted)
{
    v->wanted = wanted;
    v->run->immediate_exit = 1;
    atomic_thread_fence(memory_order_seq_cst);
    if (v->state == STATE_RUNNING)
        pthread_kill(v->thread, KICK);
    pthread_cond_broadcast(&v->changed);
}

void vcpu_pause(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    if (v->wanted == WANT_RUN)
        kick(v, WANT_PAUSE);
    while (v->state == STATE_RUNNING)
        pthread_cond_wait(&v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_resume(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    if (v->wanted == WANT_PAUSE) {
        v->wanted = WANT_RUN;
        pthread_cond_broadcast(&v->changed);
    }
    pthread_mutex_unlock(&v->lock);
}

void vcpu_stop(struct vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    bool started = v->state != STATE_NEW;
    if (started)
        kick(v, WANT_STOP);
    pthread_mutex_unlock(&v->lock);
    if (started)
        pthread_join(v->thread, NULL);
    v->state = STATE_NEW;
}
