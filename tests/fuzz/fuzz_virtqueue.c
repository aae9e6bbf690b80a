// Fuzz target: the walk over a ring that the driver filled as it liked, and goes on changing. The input:
//
//   flags u8 (event index, indirect) · size's logarithm u8 · descriptors, available, used u16 each (in units of their
//   alignment) · length u16 and as many bytes of memory from address 0 on · then operations
//
// Every chain lies in guest memory and is bounded; never are more in flight than the queue has places; a broken queue
// stays broken and its ring untouched.
#include "vmm_bench.h"

#include "vmm/virtqueue.h"

#include <errno.h>

#include "base/banned.h"

enum { POP, PUSH, UNPOP, LISTEN, SILENCE, ASK, POKE, OPERATIONS };

static void check_segment(const struct guest_memory *m, const struct iovec *segment)
{
    const unsigned char *at = segment->iov_base;
    bool inside = false;
    for (unsigned i = 0; i < m->region_count; i++)
        inside |= at >= m->regions[i].bytes && at < m->regions[i].bytes + m->regions[i].size &&
                  segment->iov_len <= (size_t)(m->regions[i].bytes + m->regions[i].size - at);
    require(inside && segment->iov_len > 0);
}

static void check_chain(const struct virtqueue *q, const struct virtqueue_chain *chain)
{
    size_t readable = 0, writable = 0;
    require(chain->head < q->size && chain->readable + chain->writable <= VIRTQUEUE_CHAIN_MAXIMUM);
    for (unsigned i = 0; i < chain->readable + chain->writable; i++) {
        check_segment(q->memory, &chain->segments[i]);
        *(i < chain->readable ? &readable : &writable) += chain->segments[i].iov_len;
    }
    require(readable == chain->readable_bytes && writable == chain->writable_bytes);
}

static void poke(const struct guest_memory *m, struct cursor *input)
{
    unsigned char bytes[16];
    uint64_t address = cursor_u16(input);
    size_t n = cursor_u8(input) % sizeof bytes;
    cursor_copy(input, bytes, n);
    guest_memory_write(m, address, bytes, n);
}

static void operate(struct virtqueue *q, struct cursor *input)
{
    struct virtqueue_chain chain, last = {.head = 0};
    bool can_unpop = false;

    while (input->left > 0 && !input->failed) {
        bool was_broken = q->broken;
        unsigned char operation = cursor_u8(input);
        int r;
        switch (operation % OPERATIONS) {
        case POP:
            r = virtqueue_pop(q, &chain);
            require(!was_broken || r == -EPROTO);
            require(r == 1 || r == 0 || (r == -EPROTO && q->broken));
            can_unpop = r == 1;
            if (r == 1) {
                check_chain(q, &chain);
                last = chain;
                if (operation & 0x80) // as a device would; it may overwrite the ring itself
                    virtqueue_scatter(&chain, 0, "0123456789abcdef", 16);
            }
            break;
        case PUSH:
            r = virtqueue_push(q, operation & 0x80 ? cursor_u16(input) : last.head, operation);
            require(r == 0 || r == -EPROTO);
            require(!was_broken || r == -EPROTO);
            can_unpop = false;
            break;
        case UNPOP:
            if (can_unpop)
                virtqueue_unpop(q, &last);
            can_unpop = false;
            break;
        case LISTEN:
            require(!virtqueue_listen(q) || !was_broken);
            break;
        case SILENCE:
            virtqueue_silence(q);
            break;
        case ASK:
            require(!virtqueue_wants_interrupt(q) || !was_broken);
            break;
        default:
            poke(q->memory, input);
        }
        require(q->in_flight_count <= q->size && q->broken >= was_broken);
        require(virtqueue_waiting(q) <= q->size);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct cursor input = cursor_over(data, size);
    struct guest_memory memory = bench_memory();
    struct virtqueue q;
    unsigned flags = cursor_u8(&input), shift = cursor_u8(&input) % 17;
    uint64_t descriptors = cursor_u16(&input) * UINT64_C(16), available = cursor_u16(&input) * UINT64_C(2),
             used = cursor_u16(&input) * UINT64_C(4);
    size_t n = cursor_u16(&input);
    if (n > input.left)
        n = input.left;
    cursor_copy(&input, memory.regions[0].bytes, n);
    if (virtqueue_start(&q, &memory, (uint16_t)(1u << shift), descriptors, available, used, flags & 1, flags & 2) == 0)
        operate(&q, &input);
    bench_memory_free(&memory);
    return 0;
}
