// What a device needs of the machine to interrupt the guest and to be rung by it, so that devices and their tests know
// neither KVM nor each other. vm.c fills it from kvm.h; a test from counters.
#pragma once

#include "base/error.h"
#include <stdint.h>

struct irq_operations {
    // A message vector's eventfd, the caller's from then on, and the number under which it is routed. Writing 1 to it
    // sends the message that was routed last.
    int (*add_message)(void *context, int *ret_eventfd, unsigned *ret_route, struct error *error);
    int (*route_message)(void *context, unsigned route, uint64_t address, uint32_t data);
    // A guest's write of any width at this memory address signals the eventfd instead of exiting.
    int (*add_doorbell)(void *context, uint64_t address, int eventfd);
    int (*remove_doorbell)(void *context, uint64_t address, int eventfd);
};

struct irq_controller {
    const struct irq_operations *operations;
    void *context;
};
