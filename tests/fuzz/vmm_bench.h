// A machine without processors, for fuzzing what a guest's driver can reach: memory, buses, a PCI root, the loop, and
// an interrupt controller that checks what it is asked. What is broken aborts.
#pragma once

#include "base/cursor.h"
#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/layout.h"
#include "vmm/loop.h"
#include "vmm/pci.h"
#include "vmm/virtio_pci.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BENCH_LOW_SIZE (64u << 10)
#define BENCH_HIGH_SIZE (8u << 10)
#define BENCH_DOORBELLS 32u

struct bench {
    struct guest_memory memory;
    struct bus ports, bus;
    struct pci_root root;
    struct loop loop;
    struct irq_controller irq;
    unsigned routes;
    uint64_t doorbells[BENCH_DOORBELLS]; // addresses, 0: none
};

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static inline void require(int condition)
{
    if (!condition)
        abort();
}

// Exactly as large as the guest believes, so that a sanitizer sees the first byte beyond.
static inline struct guest_memory bench_memory(void)
{
    struct guest_memory m = {.size = BENCH_LOW_SIZE + BENCH_HIGH_SIZE, .region_count = 2};
    m.regions[0] = (struct guest_region){0, BENCH_LOW_SIZE, calloc(1, BENCH_LOW_SIZE)};
    m.regions[1] = (struct guest_region){LAYOUT_HIGH_RAM, BENCH_HIGH_SIZE, calloc(1, BENCH_HIGH_SIZE)};
    require(m.regions[0].bytes && m.regions[1].bytes);
    return m;
}

static inline void bench_memory_free(struct guest_memory *m)
{
    free(m->regions[0].bytes);
    free(m->regions[1].bytes);
}

static inline int bench_add_message(void *context, int *ret_eventfd, unsigned *ret_route, struct error *error)
{
    struct bench *b = context;
    (void)error;
    *ret_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    require(*ret_eventfd >= 0);
    *ret_route = b->routes++;
    return 0;
}

static inline int bench_route(void *context, unsigned route, uint64_t address, uint32_t data)
{
    const struct bench *b = context;
    (void)address;
    require(route < b->routes);
    return data == 0xbad ? -22 : 0;
}

static inline int bench_add_doorbell(void *context, uint64_t address, int eventfd)
{
    struct bench *b = context;
    require(eventfd >= 0 && address >= LAYOUT_PCI_MEMORY && address < LAYOUT_PCI_MEMORY + LAYOUT_PCI_MEMORY_SIZE);
    for (unsigned i = 0; i < BENCH_DOORBELLS; i++)
        require(b->doorbells[i] != address);
    for (unsigned i = 0; i < BENCH_DOORBELLS; i++)
        if (b->doorbells[i] == 0) {
            b->doorbells[i] = address;
            return 0;
        }
    return -28;
}

static inline int bench_remove_doorbell(void *context, uint64_t address, int eventfd)
{
    struct bench *b = context;
    (void)eventfd;
    for (unsigned i = 0; i < BENCH_DOORBELLS; i++)
        if (b->doorbells[i] == address) {
            b->doorbells[i] = 0;
            return 0;
        }
    abort(); // it was never there
}

static inline void bench_init(struct bench *b)
{
    static const struct irq_operations operations = {bench_add_message, bench_route, bench_add_doorbell,
                                                     bench_remove_doorbell};
    memset(b, 0, sizeof *b);
    b->memory = bench_memory();
    b->irq = (struct irq_controller){&operations, b};
    bus_init(&b->ports);
    bus_init(&b->bus);
    require(loop_init(&b->loop, NULL) == 0);
    require(pci_root_init(&b->root, &b->ports, &b->bus, NULL) == 0);
}

static inline void bench_destroy(struct bench *b)
{
    for (unsigned i = 0; i < BENCH_DOORBELLS; i++)
        require(b->doorbells[i] == 0); // the devices took theirs with them
    pci_root_destroy(&b->root);
    require(b->bus.count == 0 && b->ports.count == 0);
    loop_destroy(&b->loop);
    bus_destroy(&b->ports);
    bus_destroy(&b->bus);
    bench_memory_free(&b->memory);
}

static inline void bench_end_loop(void *context, uint32_t events)
{
    struct bench *b = context;
    (void)events;
    loop_end(&b->loop);
}

// Whatever was rung for is done.
static inline void bench_turn_loop(struct bench *b)
{
    struct loop_source *source;
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    require(fd >= 0 && loop_add(&b->loop, fd, 1, bench_end_loop, b, &source) == 0);
    b->loop.ended = false;
    require(loop_run(&b->loop) == 0);
    loop_remove(&b->loop, source);
    close(fd);
}

// A configuration register of slot 1.
static inline uint64_t bench_config(unsigned slot, unsigned offset)
{
    return LAYOUT_ECAM + (slot << 15) + offset;
}
