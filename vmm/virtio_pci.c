// The PCI transport of virtio: see virtio_pci.h for its layout. Here are the function with its capabilities, the
// doorbells and the interrupts; the registers are in virtio_pci_registers.c, the vectors in msix.c.
//
// Locks: the device's lock guards all of it. pci.c holds it around config_reading, config_written and bar_changed; the
// handlers of the BARs and the loop's callback take it; the device holds it when it interrupts. Under it only the
// bus's lock and the irq_controller's are taken.
#include "vmm/virtio_pci.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "vmm/msix.h"
#include "vmm/virtio_pci_registers.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/banned.h"

// 4.1.2: ids; the subsystem's is free from 0x40 on.
#define VENDOR 0x1af4u
#define FIRST_DEVICE 0x1040u
#define FIRST_SUBSYSTEM 0x40u
#define REVISION 1u

#define REGISTERS_BAR 0u
#define REGISTERS_BAR_SIZE 0x2000u
#define DOORBELLS 0x1000u
#define DOORBELL_SIZE 4u
#define VECTORS_BAR 1u
#define VECTORS_BAR_SIZE 0x1000u
#define VECTORS_PENDING 0x800u

// Offsets in the capability of the window, struct virtio_pci_cfg_cap (4.1.4.9).
#define CAPABILITY_SIZE (unsigned)sizeof(struct virtio_pci_cap)
#define WINDOW_BAR VIRTIO_PCI_CAP_BAR
#define WINDOW_OFFSET VIRTIO_PCI_CAP_OFFSET
#define WINDOW_LENGTH VIRTIO_PCI_CAP_LENGTH
#define WINDOW_DATA CAPABILITY_SIZE

struct doorbell {
    struct virtio_transport *transport;
    unsigned queue;
    int eventfd;
    struct loop_source *source;
    bool registered; // KVM watches it
};

struct bar { // what the bus hands back
    struct virtio_transport *transport;
    unsigned number;
};

struct virtio_transport {
    struct virtio_device *device;
    struct pci_device function;
    struct virtio_pci_registers registers;
    struct msix msix;
    const struct irq_controller *irq;
    struct loop *loop;
    struct bar bars[2];
    struct doorbell doorbells[VIRTIO_QUEUES_MAXIMUM];
    unsigned window; // where the capability is that accesses BARs through the configuration space
};

static struct virtio_transport *transport_of(struct pci_device *function)
{
    return (struct virtio_transport *)(void *)((char *)function - offsetof(struct virtio_transport, function));
}

// --- doorbells -----------------------------------------------------------------------------------------------------

static void ring(struct virtio_transport *t, unsigned queue)
{
    eventfd_write(t->doorbells[queue].eventfd, 1); // fails only if the counter is full, and then it rings anyway
}

static void rung(void *context, uint32_t events)
{
    struct doorbell *bell = context;
    struct virtio_device *d = bell->transport->device;
    (void)events;
    pthread_mutex_lock(&d->lock);
    virtio_kicked(d, bell->queue);
    pthread_mutex_unlock(&d->lock);
}

static void move_doorbells(struct pci_device *function, unsigned bar, uint32_t old_address, bool was_mapped)
{
    struct virtio_transport *t = transport_of(function);
    const struct irq_operations *irq = t->irq->operations;
    if (bar != REGISTERS_BAR)
        return;
    for (unsigned i = 0; i < t->device->operations->queue_count; i++) {
        struct doorbell *bell = &t->doorbells[i];
        uint64_t offset = DOORBELLS + DOORBELL_SIZE * i;
        if (was_mapped && bell->registered)
            irq->remove_doorbell(t->irq->context, old_address + offset, bell->eventfd);
        // Where it cannot be registered, the write exits, and write_registers rings.
        bell->registered = function->bars[bar].mapped &&
                           irq->add_doorbell(t->irq->context, function->bars[bar].address + offset, bell->eventfd) == 0;
    }
}

// --- the BARs ------------------------------------------------------------------------------------------------------

static uint64_t read_bar(struct virtio_transport *t, unsigned bar, uint64_t offset, unsigned width)
{
    if (bar == REGISTERS_BAR && offset < DOORBELLS)
        return virtio_pci_registers_read(&t->registers, offset, width);
    if (bar == VECTORS_BAR && offset < VECTORS_PENDING)
        return msix_table_read(&t->msix, offset, width);
    if (bar == VECTORS_BAR)
        return msix_pending_read(&t->msix, offset - VECTORS_PENDING, width);
    return UINT64_MAX; // doorbells, and what is not there; the bus and the window cut it to their width
}

static void write_bar(struct virtio_transport *t, unsigned bar, uint64_t offset, unsigned width, uint64_t value)
{
    if (bar == REGISTERS_BAR && offset < DOORBELLS)
        virtio_pci_registers_write(&t->registers, offset, width, value);
    else if (bar == REGISTERS_BAR && (offset - DOORBELLS) / DOORBELL_SIZE < t->device->operations->queue_count)
        ring(t, (unsigned)((offset - DOORBELLS) / DOORBELL_SIZE));
    else if (bar == VECTORS_BAR && offset < VECTORS_PENDING)
        msix_table_write(&t->msix, offset, width, value);
}

static uint64_t bar_read(void *context, uint64_t offset, unsigned width)
{
    const struct bar *b = context;
    pthread_mutex_lock(&b->transport->device->lock);
    uint64_t value = read_bar(b->transport, b->number, offset, width);
    pthread_mutex_unlock(&b->transport->device->lock);
    return value;
}

static void bar_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    const struct bar *b = context;
    pthread_mutex_lock(&b->transport->device->lock);
    write_bar(b->transport, b->number, offset, width, value);
    pthread_mutex_unlock(&b->transport->device->lock);
}

// --- the configuration space ---------------------------------------------------------------------------------------

// An access to the window's data is an access to the BAR, offset and length that the window names (4.1.4.9).
static bool window_hit(const struct virtio_transport *t, unsigned offset, unsigned width, uint32_t *ret_offset,
                       unsigned *ret_length)
{
    const unsigned char *window = t->function.config + t->window;
    uint32_t at = get_le32(window + WINDOW_OFFSET), length = get_le32(window + WINDOW_LENGTH);
    unsigned data = t->window + WINDOW_DATA, bar = window[WINDOW_BAR];
    if (offset >= data + 4 || offset + width <= data)
        return false;
    if ((length != 1 && length != 2 && length != 4) || at % length != 0)
        return false;
    if (bar >= PCI_BARS || at >= t->function.bars[bar].size)
        return false;
    *ret_offset = at;
    *ret_length = length;
    return true;
}

static void config_reading(struct pci_device *function, unsigned offset, unsigned width)
{
    struct virtio_transport *t = transport_of(function);
    unsigned char *window = function->config + t->window, value[8];
    uint32_t at;
    unsigned length;
    if (!window_hit(t, offset, width, &at, &length))
        return;
    put_le64(value, read_bar(t, window[WINDOW_BAR], at, length));
    memcpy(window + WINDOW_DATA, value, length);
}

static void config_written(struct pci_device *function, unsigned offset, unsigned width)
{
    struct virtio_transport *t = transport_of(function);
    const unsigned char *window = function->config + t->window;
    uint32_t at;
    unsigned length;
    msix_config_written(&t->msix);
    if (!window_hit(t, offset, width, &at, &length))
        return;
    uint64_t value = get_le32(window + WINDOW_DATA) & (UINT32_MAX >> (32 - 8 * length));
    write_bar(t, window[WINDOW_BAR], at, length, value);
}

static unsigned add_capability(struct virtio_transport *t, unsigned char type, uint32_t offset, uint32_t length,
                               unsigned more)
{
    unsigned at = pci_add_capability(&t->function, PCI_CAP_ID_VNDR, CAPABILITY_SIZE + more);
    unsigned char *capability = t->function.config + at;
    capability[VIRTIO_PCI_CAP_LEN] = (unsigned char)(CAPABILITY_SIZE + more);
    capability[VIRTIO_PCI_CAP_CFG_TYPE] = type;
    put_le32(capability + VIRTIO_PCI_CAP_OFFSET, offset); // in BAR 0
    put_le32(capability + VIRTIO_PCI_CAP_LENGTH, length);
    return at;
}

static void add_capabilities(struct virtio_transport *t)
{
    const struct virtio_operations *operations = t->device->operations;
    add_capability(t, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON, VIRTIO_PCI_COMMON_SIZE, 0);
    add_capability(t, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_PCI_INTERRUPT, VIRTIO_PCI_INTERRUPT_SIZE, 0);
    if (operations->config_size > 0)
        add_capability(t, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_DEVICE, operations->config_size, 0);
    unsigned notify =
        add_capability(t, VIRTIO_PCI_CAP_NOTIFY_CFG, DOORBELLS, DOORBELL_SIZE * operations->queue_count, 4);
    put_le32(t->function.config + notify + CAPABILITY_SIZE, DOORBELL_SIZE); // the multiplier
    t->window = add_capability(t, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
    unsigned char *writable = t->function.writable + t->window;
    writable[WINDOW_BAR] = 0xff;
    memset(writable + WINDOW_OFFSET, 0xff, WINDOW_DATA + 4 - WINDOW_OFFSET);
}

// --- what the device calls -----------------------------------------------------------------------------------------

static void interrupt(struct virtio_transport *t, unsigned queue)
{
    if (!msix_enabled(&t->msix))
        t->registers.interrupt_status |= VIRTIO_PCI_INTERRUPT_QUEUE;
    msix_signal(&t->msix, t->registers.queue_vectors[queue]);
}

static void config_interrupt(struct virtio_transport *t)
{
    t->registers.interrupt_status |= VIRTIO_PCI_INTERRUPT_CONFIG;
    msix_signal(&t->msix, t->registers.config_vector);
}

static void reset(struct virtio_transport *t)
{
    virtio_pci_registers_reset(&t->registers);
}

// --- making and freeing --------------------------------------------------------------------------------------------

static int make_doorbells(struct virtio_transport *t, struct error *error)
{
    for (unsigned i = 0; i < t->device->operations->queue_count; i++) {
        struct doorbell *bell = &t->doorbells[i];
        int r = loop_add_eventfd(t->loop, rung, bell, &bell->eventfd, &bell->source);
        if (r < 0)
            return error_set(error, -r, "cannot make a doorbell for the virtio %s device: %s",
                             t->device->operations->name, strerror(-r));
    }
    return 0;
}

static void release(struct virtio_transport *t)
{
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAXIMUM; i++)
        loop_remove(t->loop, t->doorbells[i].source);
    msix_destroy(&t->msix);
    free(t);
}

int virtio_pci_new(struct virtio_device *device, struct pci_root *root, const struct irq_controller *irq,
                   struct loop *loop, struct error *error)
{
    static const struct virtio_transport_operations operations = {interrupt, config_interrupt, ring, reset};
    const struct virtio_operations *what = device->operations;
    struct virtio_transport *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(error, ENOMEM, "no memory for the virtio %s device", what->name);
    t->device = device;
    t->irq = irq;
    t->loop = loop;
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAXIMUM; i++)
        t->doorbells[i] = (struct doorbell){.transport = t, .queue = i};
    t->registers = (struct virtio_pci_registers){.device = device, .vectors = what->queue_count + 1};
    virtio_pci_registers_reset(&t->registers);

    pci_device_init(&t->function, &device->lock, VENDOR, (uint16_t)(FIRST_DEVICE + what->device_id), what->pci_class,
                    REVISION, VENDOR, (uint16_t)(FIRST_SUBSYSTEM + what->device_id));
    add_capabilities(t);
    t->function.config_reading = config_reading;
    t->function.config_written = config_written;
    t->function.bar_changed = move_doorbells;
    for (unsigned i = 0; i < 2; i++) {
        t->bars[i] = (struct bar){t, i};
        t->function.bars[i] = (struct pci_bar){.size = i == REGISTERS_BAR ? REGISTERS_BAR_SIZE : VECTORS_BAR_SIZE,
                                               .handler = {what->name, bar_read, bar_write, &t->bars[i]}};
    }

    int r = msix_init(&t->msix, &t->function, irq, t->registers.vectors, VECTORS_BAR, 0, VECTORS_PENDING, error);
    if (r == 0)
        r = make_doorbells(t, error);
    if (r == 0)
        r = pci_attach(root, &t->function, error);
    if (r < 0) {
        release(t);
        return r;
    }
    device->transport_operations = &operations;
    device->transport = t;
    return 0;
}

void virtio_pci_free(struct virtio_device *device)
{
    struct virtio_transport *t = TAKE_PTR(device->transport);
    if (!t)
        return;
    pci_detach(&t->function); // takes the doorbells away too
    release(t);
}
