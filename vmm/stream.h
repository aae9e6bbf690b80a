// The host's end of a console: two descriptors (often one and the same socket), non-blocking, with what could not be
// written yet kept up to a maximum. Shared by the serial port and the virtio console. Runs in the loop's thread;
// stream_write may be called by any thread.
//
// A reader that is too slow loses the oldest output beyond the maximum (the guest must never wait for a terminal, nor
// our memory grow); the loss is counted.
#pragma once

#include "base/error.h"
#include "vmm/loop.h"
#include <stddef.h>
#include <stdint.h>

#define STREAM_BACKLOG_MAXIMUM (256u << 10)

struct stream;

struct stream_listener {
    // How many bytes of input there is room for; 0 stops reading until stream_more_room.
    size_t (*room)(void *context);
    void (*input)(void *context, const unsigned char *bytes, size_t n); // n ≤ what room said
    void *context;
};

// The descriptors stay the caller's. input −1: no input.
int stream_new(struct loop *loop, int input, int output, struct stream **ret, struct error *error);
void stream_free(struct stream *s); // writes what it can without waiting
void stream_listen(struct stream *s, const struct stream_listener *listener);
void stream_write(struct stream *s, const void *bytes, size_t n);
void stream_more_room(struct stream *s); // any thread
uint64_t stream_lost(struct stream *s);
