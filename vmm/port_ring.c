// The ring of collected writes: see port_ring.h for the invariants. KVM moves `last`, we move `first`; `lock`
// serialises those who drain, and is held while the device is called (it never waits for a vCPU).
#include "vmm/port_ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include "base/banned.h"

#define RING_CAPACITY ((4096u - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

struct port_ring {
    pthread_mutex_t lock;
    struct kvm_coalesced_mmio_ring *_Atomic ring;
    unsigned page; // where it is in a vCPU's mapping, in pages
    struct bus *ports;
    struct stream *stream;
    struct loop *loop;
    struct loop_source *source;
    int timer;
    atomic_bool armed;
};

static void timer_rang(void *context, uint32_t events)
{
    struct port_ring *r = context;
    (void)events;
    atomic_store(&r->armed, false);
    port_ring_drain(r);
}

int port_ring_new(const struct kvm *k, struct bus *ports, struct loop *loop, struct stream *stream,
                  struct port_ring **ret, struct error *error)
{
    int page = ioctl(k->dev, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);
    if (page <= 0 || ioctl(k->dev, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0) {
        *ret = NULL;
        return 0;
    }
    struct port_ring *r = calloc(1, sizeof *r);
    if (!r)
        return error_set(error, ENOMEM, "no memory for the ring of collected writes");
    r->page = (unsigned)page;
    r->ports = ports;
    r->loop = loop;
    r->stream = stream;
    pthread_mutex_init(&r->lock, NULL); // cannot fail with default attributes
    int code = loop_add_timer(loop, timer_rang, r, &r->timer, &r->source);
    if (code < 0) {
        port_ring_free(r);
        return error_set(error, -code, "cannot make a timer: %s", strerror(-code));
    }
    *ret = r;
    return 0;
}

void port_ring_free(struct port_ring *r)
{
    if (!r)
        return;
    loop_remove(r->loop, r->source);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void port_ring_map(struct port_ring *r, void *run)
{
    if (r)
        atomic_store(&r->ring, (void *)((unsigned char *)run + (size_t)r->page * 4096u));
}

static void deliver(struct port_ring *r, struct kvm_coalesced_mmio_ring *ring, uint32_t last)
{
    for (uint32_t first = ring->first; first != last && first < RING_CAPACITY;) {
        const struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[first];
        uint64_t value = 0;
        if (entry->pio && entry->len <= sizeof entry->data) {
            memcpy(&value, entry->data, entry->len);
            bus_write(r->ports, entry->phys_addr, entry->len, value);
        }
        first = (first + 1) % RING_CAPACITY;
        __atomic_store_n(&ring->first, first, __ATOMIC_RELEASE); // rule 2
    }
}

void port_ring_drain(struct port_ring *r)
{
    struct kvm_coalesced_mmio_ring *ring = r ? atomic_load(&r->ring) : NULL;
    if (!ring || __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE) == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE))
        return;
    pthread_mutex_lock(&r->lock);
    if (r->stream)
        stream_batch(r->stream, true);
    deliver(r, ring, __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE));
    if (r->stream)
        stream_batch(r->stream, false);
    pthread_mutex_unlock(&r->lock);
}

void port_ring_soon(struct port_ring *r)
{
    static const struct itimerspec delay = {.it_value = {.tv_nsec = PORT_RING_DELAY_MS * 1000000L}};
    if (r && !atomic_exchange(&r->armed, true))
        timerfd_settime(r->timer, 0, &delay, NULL); // our own timer and a valid time: it cannot fail
}
