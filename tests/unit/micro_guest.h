// A machine for guests of a few instructions: KVM, 16 MiB of memory, both buses, vCPUs, and no device but those that a
// test adds. The guest is 64-bit machine code of the test's own binary (MICRO_GUEST), copied to MICRO_CODE and entered
// with paging on, the first 4 GiB mapped identically; it ends by writing to MICRO_PORT_END.
//
// Such a guest runs on any /dev/kvm, a software one too. Without one the tests are skipped.
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/bus.h"
#include "vmm/guest_memory.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/vcpu.h"

#define MICRO_CODE 0x100000ull
#define MICRO_DATA 0x200000ull // results of the guest
#define MICRO_STACK 0x300000ull
#define MICRO_PORT_END 0xf4
#define MICRO_SECONDS 20 // a guest that takes longer hangs
#define MICRO_CPUS 4u

// MICRO_GUEST(name, "instructions"): code between name and name_end.
#define MICRO_GUEST(name, code)                                                                                        \
    __asm__(".pushsection .rodata\n" #name ":\n" code "\n" #name "_end:\n.popsection\n");                              \
    extern const unsigned char name[], name##_end[]

enum micro_what { MICRO_RUNNING, MICRO_FINISHED, MICRO_VCPU_ENDED };

struct micro {
    struct kvm kvm;
    struct guest_memory memory;
    struct bus ports, memory_bus;
    struct vcpu *vcpus[MICRO_CPUS];
    unsigned count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum micro_what what;
    enum vcpu_end end;    // MICRO_VCPU_ENDED
    char sentence[160];   // the same
    uint64_t finished_by; // MICRO_FINISHED: the value written to MICRO_PORT_END
};

static inline void micro_set(struct micro *m, enum micro_what what)
{
    m->what = what;
    pthread_cond_broadcast(&m->changed);
}

static inline void micro_end_written(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct micro *m = context;
    (void)offset;
    (void)width;
    pthread_mutex_lock(&m->lock);
    m->finished_by = value;
    micro_set(m, MICRO_FINISHED);
    pthread_mutex_unlock(&m->lock);
}

static inline void micro_vcpu_ended(void *context, unsigned index, enum vcpu_end end, const char *what,
                                    const char *registers)
{
    struct micro *m = context;
    (void)index;
    (void)registers;
    pthread_mutex_lock(&m->lock);
    m->end = end;
    snprintf(m->sentence, sizeof m->sentence, "%s", what);
    micro_set(m, MICRO_VCPU_ENDED);
    pthread_mutex_unlock(&m->lock);
}

// PML4 → PDPT → four PDs of 2 MiB pages.
static inline void micro_map(const struct guest_memory *memory)
{
    uint64_t *page = guest_memory_slice(memory, LAYOUT_PAGE_TABLES, 6 * 4096);
    page[0] = (LAYOUT_PAGE_TABLES + 4096) | 3;
    for (uint64_t i = 0; i < 4; i++)
        page[512 + i] = (LAYOUT_PAGE_TABLES + 4096 * (2 + i)) | 3;
    for (uint64_t i = 0; i < 4 * 512; i++)
        page[1024 + i] = i << 21 | 0x83;
}

// False: there is no KVM here (skip). Everything else that fails is a failure of the test.
static inline int micro_make(struct micro *m, unsigned cpus)
{
    struct error error = {""};
    *m = (struct micro){.kvm = {.dev = -1, .vm = -1}, .count = cpus};
    if (kvm_open("/dev/kvm", -1, &m->kvm, &error) < 0) {
        print_message("# no micro-guests: %s\n", error.text);
        return 0;
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    assert_int_equal(kvm_create_vm(&m->kvm, &error), 0);
    assert_int_equal(guest_memory_make(LAYOUT_MEMORY_MINIMUM, &m->memory, &error), 0);
    assert_int_equal(kvm_map_memory(&m->kvm, &m->memory, &error), 0);
    bus_init(&m->ports);
    bus_init(&m->memory_bus);
    const struct bus_handler end = {.name = "end", .write = micro_end_written, .context = m};
    assert_int_equal(bus_add(&m->ports, MICRO_PORT_END, 1, &end), 0);
    return 1;
}

static inline void micro_make_vcpus(struct micro *m, struct port_ring *ring, const unsigned char *code,
                                    const unsigned char *code_end)
{
    struct error error = {""};
    const struct load_entry entry = {.long_mode = true, .address = MICRO_CODE, .argument = MICRO_DATA};
    micro_map(&m->memory);
    assert_int_equal(guest_memory_write(&m->memory, MICRO_CODE, code, (size_t)(code_end - code)), 0);
    for (unsigned i = 0; i < m->count; i++) {
        const struct vcpu_settings settings = {
            .kvm = &m->kvm,
            .ports = &m->ports,
            .memory = &m->memory_bus,
            .ring = ring,
            .index = i,
            .count = m->count,
            .ended = micro_vcpu_ended,
            .context = m,
        };
        if (vcpu_new(&settings, &m->vcpus[i], &error) < 0)
            fail_msg("%s", error.text);
    }
    assert_int_equal(vcpu_set_entry(m->vcpus[0], &entry, &error), 0);
}

static inline void micro_start(struct micro *m)
{
    struct error error = {""};
    for (unsigned i = 0; i < m->count; i++)
        if (vcpu_start(m->vcpus[i], false, &error) < 0)
            fail_msg("%s", error.text);
}

// Until the guest has ended in one way or another, at most `milliseconds`: what happened.
static inline enum micro_what micro_wait(struct micro *m, unsigned milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += milliseconds / 1000;
    until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&m->lock);
    while (m->what == MICRO_RUNNING && pthread_cond_timedwait(&m->changed, &m->lock, &until) != ETIMEDOUT)
        ;
    enum micro_what what = m->what;
    pthread_mutex_unlock(&m->lock);
    return what;
}

static inline void micro_free(struct micro *m)
{
    for (unsigned i = 0; i < m->count; i++)
        if (m->vcpus[i])
            vcpu_stop(m->vcpus[i]);
    for (unsigned i = 0; i < m->count; i++)
        vcpu_free(m->vcpus[i]);
    bus_destroy(&m->ports);
    bus_destroy(&m->memory_bus);
    guest_memory_free(&m->memory);
    kvm_close(&m->kvm);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
}

// Runs the guest to its end; it must finish by itself. 0: no KVM here.
static inline int micro_run(struct micro *m, const unsigned char *code, const unsigned char *code_end)
{
    micro_make_vcpus(m, NULL, code, code_end);
    micro_start(m);
    enum micro_what what = micro_wait(m, MICRO_SECONDS * 1000);
    if (what == MICRO_VCPU_ENDED)
        fail_msg("the guest ended: %s", m->sentence);
    return what == MICRO_FINISHED;
}
