// The ring of collected writes (KVM_CAP_COALESCED_PIO; Linux Documentation/virt/kvm/api.rst, 4.116): KVM answers a
// write to a port that kvm_collect_port named by noting it here, without an exit. There is one ring for the whole VM.
//
// 1. Every exit drains the ring before it is handled, so that a device sees all accesses in the order in which one vCPU
//    made them.
// 2. An entry leaves the ring after its write was delivered, so whoever finds the ring empty knows that all is done.
// 3. A write may be the last that a guest does for hours (a prompt): port_ring_soon makes the loop drain once more,
//    PORT_RING_DELAY_MS after a port was used.
#pragma once

#include "base/error.h"
#include "vmm/bus.h"
#include "vmm/kvm.h"
#include "vmm/loop.h"
#include "vmm/stream.h"

#define PORT_RING_DELAY_MS 20

struct port_ring;

// *ret is NULL, and all is well, if the host's KVM has no such ring.
// What one drain delivers leaves the stream (may be NULL) in one go.
int port_ring_new(const struct kvm *k, struct bus *ports, struct loop *loop, struct stream *stream,
                  struct port_ring **ret, struct error *error);
void port_ring_free(struct port_ring *r);
// `run` is a vCPU's mapping, in which the ring is (the same in each). It must stay as long as vCPUs run.
void port_ring_map(struct port_ring *r, void *run);
void port_ring_drain(struct port_ring *r); // any thread
void port_ring_soon(struct port_ring *r);  // any thread
