// The virtio console (virtio 1.2, 5.3): one port, hvc0, which takes a whole line for one exit where the serial port
// takes a character. It shares the host's stream with COM1:
//
//   output  of both is shown, in the order in which it comes
//   input   goes to the one that the guest wrote to last: where its prompt is, there its answer goes
//
// So each of them calls stream_listen whenever the guest writes to it. What was typed for one stays there.
#pragma once

#include "vmm/stream.h"
#include "vmm/virtio.h"

#define VIRTIO_CONSOLE_INPUT_MAXIMUM 4096u      // bytes kept until the driver gives a buffer for them
#define VIRTIO_CONSOLE_WRITE_MAXIMUM (1u << 20) // bytes of one request; Linux sends up to 32 KiB

// The stream stays the caller's, and lives longer.
int virtio_console_new(const struct guest_memory *memory, struct stream *stream, struct virtio_device **ret,
                       struct error *error);
