// The host's end of a console: two descriptors (often one and the same socket), non-blocking, with what could not be
// written yet kept up to a maximum. Shared by the serial port and the virtio console. Input is read in the loop's
// thread; everything that says so may be called by any thread.
//
// Anything that can be read or written will do: a socket, a pipe, a terminal, a file, /dev/null. While the stream
// exists, its descriptors are non-blocking and a terminal in the foreground is raw; stream_free puts both back.
// SIGPIPE must be ignored in the program.
//
// A reader that is too slow loses the oldest output beyond the maximum (the guest must never wait for a terminal, nor
// our memory grow); the loss is counted. Input is never lost: it stays with its writer until there is room for it.
#pragma once

#include "base/error.h"
#include "vmm/loop.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_BACKLOG_MAXIMUM (256u << 10)

struct stream;

// Called in the loop's thread, without any lock of the stream.
struct stream_listener {
    // How many bytes of input there is room for; 0 stops reading until stream_more_room.
    size_t (*room)(void *context);
    void (*input)(void *context, const unsigned char *bytes, size_t n); // n ≤ what room said
    void *context;
};

// The descriptors stay the caller's. input −1: no input.
int stream_new(struct loop *loop, int input, int output, struct stream **ret, struct error *error);
// What is still to be written gets half a second. The loop does not run any more.
void stream_free(struct stream *s);
// From now on input goes to this listener, which is copied; before the first call nothing is read. Costs nothing if it
// is the same again. Any thread.
void stream_listen(struct stream *s, const struct stream_listener *listener);
void stream_write(struct stream *s, const void *bytes, size_t n); // any thread; in the order of the calls
// While a batch is on, output is only noted (as much as is kept at all); its end writes it at once. Any thread.
void stream_batch(struct stream *s, bool on);
void stream_more_room(struct stream *s);      // any thread
uint64_t stream_lost(const struct stream *s); // bytes of output; any thread
