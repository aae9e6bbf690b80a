// An interrupt controller that counts: it hands out eventfds, remembers the last message of each route and which
// doorbells are registered, and fails where it is told to.
#pragma once

#include "vmm/irq.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNTED_MESSAGES 32u
#define COUNTED_DOORBELLS 32u

struct counted_irq {
    struct irq_controller controller;
    unsigned messages, routings; // vectors made; routes changed
    int eventfds[COUNTED_MESSAGES];
    uint64_t addresses[COUNTED_MESSAGES];
    uint32_t data[COUNTED_MESSAGES];
    struct {
        uint64_t address;
        int eventfd;
    } doorbells[COUNTED_DOORBELLS];
    unsigned doorbell_count;
    unsigned messages_maximum; // add_message fails beyond
    bool refuse_routes, refuse_doorbells;
};

static inline int counted_add_message(void *context, int *ret_eventfd, unsigned *ret_route, struct error *error)
{
    struct counted_irq *c = context;
    if (c->messages >= c->messages_maximum)
        return error_set(error, ENOSPC, "no more messages");
    *ret_eventfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(*ret_eventfd >= 0);
    c->eventfds[c->messages] = *ret_eventfd;
    *ret_route = c->messages++;
    return 0;
}

static inline int counted_route(void *context, unsigned route, uint64_t address, uint32_t data)
{
    struct counted_irq *c = context;
    assert_true(route < c->messages);
    if (c->refuse_routes)
        return -EINVAL;
    c->addresses[route] = address;
    c->data[route] = data;
    c->routings++;
    return 0;
}

static inline int counted_add_doorbell(void *context, uint64_t address, int eventfd)
{
    struct counted_irq *c = context;
    if (c->refuse_doorbells)
        return -ENOSPC;
    assert_true(c->doorbell_count < COUNTED_DOORBELLS);
    c->doorbells[c->doorbell_count].address = address;
    c->doorbells[c->doorbell_count++].eventfd = eventfd;
    return 0;
}

static inline int counted_remove_doorbell(void *context, uint64_t address, int eventfd)
{
    struct counted_irq *c = context;
    for (unsigned i = 0; i < c->doorbell_count; i++)
        if (c->doorbells[i].address == address && c->doorbells[i].eventfd == eventfd) {
            c->doorbells[i] = c->doorbells[--c->doorbell_count];
            return 0;
        }
    fail_msg("a doorbell that was never registered is removed");
    return -ENOENT;
}

static inline void counted_irq_init(struct counted_irq *c)
{
    static const struct irq_operations operations = {counted_add_message, counted_route, counted_add_doorbell,
                                                     counted_remove_doorbell};
    *c = (struct counted_irq){.controller = {&operations, c}, .messages_maximum = COUNTED_MESSAGES};
}

// How often the vector was signalled since the last call.
static inline unsigned counted_signals(struct counted_irq *c, unsigned message)
{
    uint64_t count;
    return read(c->eventfds[message], &count, sizeof count) == sizeof count ? (unsigned)count : 0;
}

// As KVM does it: a guest's write to a registered doorbell. False if there is none.
static inline bool counted_ring(struct counted_irq *c, uint64_t address)
{
    const uint64_t one = 1;
    for (unsigned i = 0; i < c->doorbell_count; i++)
        if (c->doorbells[i].address == address)
            return write(c->doorbells[i].eventfd, &one, sizeof one) == sizeof one;
    return false;
}
