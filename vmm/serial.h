// A 16550A serial port (National Semiconductor PC16550D data sheet): the machine's first console, COM1. It has a real
// 16-byte FIFO and transmitter interrupt, so a driver needs one exit for 16 characters instead of two for each: while
// the driver has the FIFOs on, writes to the data port are collected by KVM (kvm_collect_port) and arrive in order
// before the next exit is handled. A driver that has not turned them on may write without ever looking, and gets each
// write through at once.
#pragma once

#include "base/error.h"
#include "vmm/bus.h"
#include "vmm/stream.h"

struct serial;

struct serial_settings {
    struct stream *stream;
    int interrupt; // eventfd of its line (edge): stays the caller's
    // Turns collecting of writes to the data port on or off; may be NULL. Called with the port's lock held, so it must
    // not reach the port.
    void (*collect)(void *context, bool on);
    void *context;
};

int serial_new(const struct serial_settings *settings, struct bus *ports, uint16_t port, struct serial **ret,
               struct error *error);
void serial_free(struct serial *s); // when nobody uses the bus any more
