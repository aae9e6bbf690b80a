// MSI-X: see msix.h for the rules (numbered there).
//
//   capability  id 11 · next · message control (enable 15, function mask 14, count − 1) · table offset | BAR · pending
//               offset | BAR
#include "vmm/msix.h"

#include "base/cursor.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/banned.h"

int msix_init(struct msix *m, struct pci_device *device, const struct irq_controller *irq, unsigned count, unsigned bar,
              uint32_t table_offset, uint32_t pending_offset, struct error *error)
{
    if (count == 0 || count > MSIX_VECTORS_MAXIMUM)
        return error_set(error, EINVAL, "a device cannot have %u interrupt vectors", count);
    *m = (struct msix){.device = device, .irq = irq};
    for (; m->count < count; m->count++) {
        struct msix_vector *v = &m->vectors[m->count];
        int r = irq->operations->add_message(irq->context, &v->eventfd, &v->route, error);
        if (r < 0) {
            msix_destroy(m);
            return r;
        }
        v->entry[PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
    }
    m->capability = pci_add_capability(device, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
    unsigned char *at = device->config + m->capability;
    put_le16(at + PCI_MSIX_FLAGS, (uint16_t)(count - 1));
    put_le16(device->writable + m->capability + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
    put_le32(at + PCI_MSIX_TABLE, table_offset | bar);
    put_le32(at + PCI_MSIX_PBA, pending_offset | bar);
    return 0;
}

void msix_destroy(struct msix *m)
{
    for (unsigned i = 0; i < m->count; i++)
        close(m->vectors[i].eventfd); // an eventfd: nothing can be lost
    m->count = 0;
}

static uint16_t message_control(const struct msix *m)
{
    return get_le16(m->device->config + m->capability + PCI_MSIX_FLAGS);
}

bool msix_enabled(const struct msix *m)
{
    return message_control(m) & PCI_MSIX_FLAGS_ENABLE;
}

// Rule 1.
static bool live(const struct msix *m, const struct msix_vector *v)
{
    return (message_control(m) & (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL)) == PCI_MSIX_FLAGS_ENABLE &&
           !(v->entry[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

// Rule 3.
static bool route(struct msix *m, struct msix_vector *v)
{
    uint64_t address = get_le64(v->entry);
    uint32_t data = get_le32(v->entry + PCI_MSIX_ENTRY_DATA);
    if (v->routed && v->routed_address == address && v->routed_data == data)
        return true;
    int r = m->irq->operations->route_message(m->irq->context, v->route, address, data);
    v->routed = r == 0;
    v->routed_address = address;
    v->routed_data = data;
    if (r < 0 && !m->complained)
        log_warning("an interrupt message of the guest cannot be routed, its device will not be heard: %s",
                    strerror(-r));
    m->complained |= r < 0;
    return r == 0;
}

// After any change, and for any signal: brings the vector's route up to date and sends what is pending.
static void deliver(struct msix *m, struct msix_vector *v)
{
    if (!live(m, v) || !route(m, v) || !v->pending)
        return;
    // An eventfd that is full (never, in practice) will interrupt anyway.
    v->pending = eventfd_write(v->eventfd, 1) < 0 && errno != EAGAIN;
}

void msix_config_written(struct msix *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (!msix_enabled(m))
            m->vectors[i].pending = false;
        deliver(m, &m->vectors[i]);
    }
}

void msix_signal(struct msix *m, unsigned vector)
{
    if (vector >= m->count || !msix_enabled(m))
        return;
    m->vectors[vector].pending = true;
    deliver(m, &m->vectors[vector]);
}

// --- the table -----------------------------------------------------------------------------------------------------

static bool fits(uint64_t offset, unsigned width, uint64_t size)
{
    return (width == 4 || width == 8) && offset % width == 0 && offset < size; // which 8 divides
}

uint64_t msix_table_read(const struct msix *m, uint64_t offset, unsigned width)
{
    if (!fits(offset, width, (uint64_t)m->count * MSIX_ENTRY_SIZE))
        return bus_all_ones(width);
    const unsigned char *at = m->vectors[offset / MSIX_ENTRY_SIZE].entry + offset % MSIX_ENTRY_SIZE;
    return width == 8 ? get_le64(at) : get_le32(at);
}

void msix_table_write(struct msix *m, uint64_t offset, unsigned width, uint64_t value)
{
    if (!fits(offset, width, (uint64_t)m->count * MSIX_ENTRY_SIZE))
        return;
    struct msix_vector *v = &m->vectors[offset / MSIX_ENTRY_SIZE];
    unsigned char *at = v->entry + offset % MSIX_ENTRY_SIZE;
    if (width == 8)
        put_le64(at, value);
    else
        put_le32(at, (uint32_t)value);
    put_le32(v->entry + PCI_MSIX_ENTRY_VECTOR_CTRL,
             v->entry[PCI_MSIX_ENTRY_VECTOR_CTRL] & PCI_MSIX_ENTRY_CTRL_MASKBIT); // the rest is reserved
    deliver(m, v);
}

uint64_t msix_pending_read(const struct msix *m, uint64_t offset, unsigned width)
{
    unsigned char bits[MSIX_PENDING_SIZE] = {0};
    if (!fits(offset, width, sizeof bits))
        return bus_all_ones(width);
    for (unsigned i = 0; i < m->count; i++)
        bits[i / 8] |= (unsigned char)(m->vectors[i].pending << (i % 8));
    return width == 8 ? get_le64(bits) : get_le32(bits + offset);
}
