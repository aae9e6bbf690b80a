// The walker of split virtqueues: see virtqueue.h for the rules (numbered there).
//
//   descriptors  size × { address 8, length 4, flags 2, next 2 }                               written by the driver
//   available    flags 2, index 2, size × head 2, used_event 2                                 written by the driver
//   used         flags 2, index 2, size × { head 4, written 4 }, available_event 2             written by us
//
// (virtio 1.2, 2.7.5, 2.7.6, 2.7.8.) Indexes run freely through 16 bits and are masked by the size where they are used.
//
// The driver runs on other processors. What it publishes is read in this order: the index (acquire), then the head,
// then the descriptors. What we publish: the element, then the index (release). Whether the other side wants to be told
// is read behind a full fence, since both sides write their index and then read the other's wish: without it both could
// miss each other.
#include "vmm/virtqueue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/banned.h"

#define DESCRIPTOR_SIZE (unsigned)sizeof(struct vring_desc)
#define INDEX 2u // offset of the index in both rings
#define RING 4u  // offset of the elements in both rings
#define CHAIN_BYTES_MAXIMUM (UINT64_C(1) << 32)
#define TABLE_ENTRIES_MAXIMUM 65536u // of an indirect table: `next` has 16 bits

// --- single accesses to what the guest shares with us --------------------------------------------------------------

static uint16_t load16(const unsigned char *p)
{
    return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE); // on x86 it costs nothing
}

static void store16(unsigned char *p, uint16_t v)
{
    __atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELEASE);
}

static void store32(unsigned char *p, uint32_t v)
{
    __atomic_store_n((uint32_t *)(void *)p, v, __ATOMIC_RELAXED);
}

// The barrier keeps the compiler from reading the table again where it could use the copy (rule 1).
static struct vring_desc copy_descriptor(const unsigned char *table, unsigned i)
{
    struct vring_desc d;
    memcpy(&d, table + (size_t)i * DESCRIPTOR_SIZE, sizeof d);
    __asm__ volatile("" ::: "memory");
    return d;
}

static unsigned char *used_event(const struct virtqueue *q)
{
    return q->available + RING + 2u * q->size;
}

static unsigned char *available_event(const struct virtqueue *q)
{
    return q->used + RING + 8u * q->size;
}

static uint16_t masked(const struct virtqueue *q, uint16_t index)
{
    return (uint16_t)(index & (q->size - 1u));
}

// --- setting up ----------------------------------------------------------------------------------------------------

int virtqueue_start(struct virtqueue *q, const struct guest_memory *memory, uint16_t size, uint64_t descriptors,
                    uint64_t available, uint64_t used, bool event_index, bool indirect)
{
    if (size == 0 || size > VIRTQUEUE_SIZE_MAXIMUM || (size & (size - 1u)) != 0)
        return -EPROTO;
    if (descriptors % 16 != 0 || available % 2 != 0 || used % 4 != 0)
        return -EPROTO;
    struct virtqueue started = {
        .memory = memory,
        .size = size,
        .event_index = event_index,
        .indirect = indirect,
        .descriptors = guest_memory_slice(memory, descriptors, (uint64_t)DESCRIPTOR_SIZE * size),
        .available = guest_memory_slice(memory, available, RING + 2u * size + 2u),
        .used = guest_memory_slice(memory, used, RING + 8u * size + 2u),
    };
    if (!started.descriptors || !started.available || !started.used)
        return -EPROTO;
    *q = started;
    return 0;
}

void virtqueue_stop(struct virtqueue *q)
{
    *q = (struct virtqueue){.size = 0};
}

// --- taking a request ----------------------------------------------------------------------------------------------

static bool in_flight(const struct virtqueue *q, uint16_t head)
{
    return q->in_flight[head / 64] >> (head % 64) & 1;
}

static void set_in_flight(struct virtqueue *q, uint16_t head, bool on)
{
    uint64_t bit = UINT64_C(1) << (head % 64);
    q->in_flight[head / 64] = on ? q->in_flight[head / 64] | bit : q->in_flight[head / 64] & ~bit;
    q->in_flight_count += on ? 1u : -1u;
}

static int add_segment(const struct virtqueue *q, const struct vring_desc *d, struct virtqueue_chain *chain)
{
    bool writable = d->flags & VRING_DESC_F_WRITE;
    void *bytes = guest_memory_slice(q->memory, d->addr, d->len);
    if (!bytes || (!writable && chain->writable > 0))
        return -EPROTO;
    if (d->len == 0)
        return 0;
    if (chain->readable + chain->writable == VIRTQUEUE_CHAIN_MAXIMUM ||
        (uint64_t)chain->readable_bytes + chain->writable_bytes + d->len > CHAIN_BYTES_MAXIMUM)
        return -EPROTO;
    chain->segments[chain->readable + chain->writable] = (struct iovec){.iov_base = bytes, .iov_len = d->len};
    if (writable) {
        chain->writable++;
        chain->writable_bytes += d->len;
    } else {
        chain->readable++;
        chain->readable_bytes += d->len;
    }
    return 0;
}

// The table that the descriptor stands for, and how many entries it has.
static const unsigned char *indirect_table(const struct virtqueue *q, const struct vring_desc *d, unsigned *ret_entries)
{
    unsigned entries = d->len / DESCRIPTOR_SIZE;
    if (!q->indirect || (d->flags & VRING_DESC_F_NEXT) || entries == 0 || d->len % DESCRIPTOR_SIZE != 0 ||
        entries > TABLE_ENTRIES_MAXIMUM)
        return NULL;
    *ret_entries = entries;
    return guest_memory_slice(q->memory, d->addr, d->len);
}

// Every step reads one descriptor, and the steps are bounded, one for an indirect table included: a loop ends there.
static int walk(const struct virtqueue *q, uint16_t head, struct virtqueue_chain *chain)
{
    const unsigned char *table = q->descriptors;
    unsigned entries = q->size, i = head;
    bool in_table = false;

    chain->head = head;
    chain->readable = chain->writable = 0;
    chain->readable_bytes = chain->writable_bytes = 0;
    for (unsigned steps = 0; steps <= VIRTQUEUE_CHAIN_MAXIMUM; steps++) {
        struct vring_desc d = copy_descriptor(table, i);
        if (d.flags & VRING_DESC_F_INDIRECT) {
            if (in_table || !(table = indirect_table(q, &d, &entries)))
                return -EPROTO;
            in_table = true;
            i = 0;
            continue;
        }
        int r = add_segment(q, &d, chain);
        if (r < 0)
            return r;
        if (!(d.flags & VRING_DESC_F_NEXT))
            return 0;
        if (d.next >= entries)
            return -EPROTO;
        i = d.next;
    }
    return -EPROTO;
}

static int break_queue(struct virtqueue *q)
{
    q->broken = true;
    return -EPROTO;
}

int virtqueue_pop(struct virtqueue *q, struct virtqueue_chain *ret)
{
    if (q->broken)
        return -EPROTO;
    if (q->size == 0)
        return 0;
    uint16_t waiting = (uint16_t)(load16(q->available + INDEX) - q->next_available);
    if (waiting > q->size || (waiting == 0 && q->promised))
        return break_queue(q);
    if (waiting == 0)
        return 0;
    q->promised = false;
    uint16_t head = load16(q->available + RING + 2u * masked(q, q->next_available));
    if (head >= q->size || in_flight(q, head) || walk(q, head, ret) < 0)
        return break_queue(q);
    set_in_flight(q, head, true);
    q->next_available++;
    if (q->event_index && !q->silent) {
        store16(available_event(q), q->next_available);
        __atomic_thread_fence(__ATOMIC_SEQ_CST); // before the next call reads the index
    }
    return 1;
}

void virtqueue_unpop(struct virtqueue *q, const struct virtqueue_chain *chain)
{
    if (q->size == 0 || q->broken || !in_flight(q, chain->head))
        return;
    set_in_flight(q, chain->head, false);
    q->next_available--;
}

// --- giving it back ------------------------------------------------------------------------------------------------

int virtqueue_put(struct virtqueue *q, uint16_t head, uint32_t written)
{
    if (head >= q->size || !in_flight(q, head))
        return -EPROTO;
    set_in_flight(q, head, false);
    if (q->broken)
        return -EPROTO;
    unsigned char *element = q->used + RING + 8u * masked(q, q->next_used);
    store32(element, head);
    store32(element + 4, written);
    q->next_used++;
    return 0;
}

void virtqueue_publish(struct virtqueue *q)
{
    if (q->size > 0 && !q->broken)
        store16(q->used + INDEX, q->next_used);
}

int virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t written)
{
    int r = virtqueue_put(q, head, written);
    if (r == 0)
        virtqueue_publish(q);
    return r;
}

bool virtqueue_wants_interrupt(struct virtqueue *q)
{
    uint16_t pushed = (uint16_t)(q->next_used - q->last_asked);
    if (q->size == 0 || q->broken || pushed == 0)
        return false;
    q->last_asked = q->next_used;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!q->event_index)
        return !(load16(q->available) & VRING_AVAIL_F_NO_INTERRUPT);
    // The driver wants one when the element at used_event is used (2.7.7.2): is it among those that were pushed?
    uint16_t since_event = (uint16_t)(q->next_used - load16(used_event(q)) - 1u);
    return since_event < pushed;
}

// --- being rung ----------------------------------------------------------------------------------------------------

void virtqueue_silence(struct virtqueue *q)
{
    if (q->size == 0 || q->broken)
        return;
    q->silent = true; // with event indexes it is enough not to move ours
    if (!q->event_index)
        store16(q->used, VRING_USED_F_NO_NOTIFY);
}

bool virtqueue_listen(struct virtqueue *q)
{
    if (q->size == 0 || q->broken)
        return false;
    q->silent = false;
    if (q->event_index)
        store16(available_event(q), q->next_available);
    else
        store16(q->used, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    q->promised = load16(q->available + INDEX) != q->next_available;
    return q->promised;
}

unsigned virtqueue_waiting(const struct virtqueue *q)
{
    if (q->size == 0 || q->broken)
        return 0;
    uint16_t waiting = (uint16_t)(load16(q->available + INDEX) - q->next_available);
    return waiting < q->size ? waiting : q->size;
}

// --- copying -------------------------------------------------------------------------------------------------------

static size_t at_most(size_t n, size_t bytes, size_t offset)
{
    size_t left = offset < bytes ? bytes - offset : 0;
    return n < left ? n : left;
}

size_t virtqueue_gather(const struct virtqueue_chain *chain, size_t offset, void *to, size_t n)
{
    struct vector v = vector_over(chain->segments);
    n = at_most(n, chain->readable_bytes, offset);
    vector_skip(&v, n > 0 ? offset : 0);
    vector_copy_from(&v, to, n);
    __asm__ volatile("" ::: "memory"); // as in copy_descriptor
    return n;
}

size_t virtqueue_scatter(const struct virtqueue_chain *chain, size_t offset, const void *from, size_t n)
{
    struct vector v = vector_over(chain->segments + chain->readable);
    n = at_most(n, chain->writable_bytes, offset);
    vector_skip(&v, n > 0 ? offset : 0);
    vector_copy_to(&v, from, n);
    return n;
}
