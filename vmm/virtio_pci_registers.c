// The registers of a virtio device on PCI: see virtio_pci_registers.h. What they mean is virtio.c's: here they are only
// found, and kept from being written when they must not be.
#include "vmm/virtio_pci_registers.h"

#include "base/cursor.h"
#include "vmm/bus.h"

#include <linux/virtio_pci.h>

#include "base/banned.h"

// The registers of the common configuration are those of <linux/virtio_pci.h> (4.1.4.3). The three 64-bit addresses of
// a queue lie between these two. What comes after them belongs to features that are not offered, and reads 0.
#define ADDRESSES VIRTIO_PCI_COMMON_Q_DESCLO
#define ADDRESSES_END VIRTIO_PCI_COMMON_Q_NDATA

static bool is_address(uint64_t offset)
{
    return offset >= ADDRESSES && offset < ADDRESSES_END;
}

// Whether a register begins at the offset and may be accessed in this width.
static bool is_register(uint64_t offset, unsigned width)
{
    if (is_address(offset))
        return offset % width == 0 && width >= 4;
    if (offset < VIRTIO_PCI_COMMON_MSIX)
        return offset % 4 == 0 && width == 4;
    if (offset == VIRTIO_PCI_COMMON_STATUS || offset == VIRTIO_PCI_COMMON_CFGGENERATION)
        return width == 1;
    return offset % 2 == 0 && width == 2;
}

// The settings of the selected queue; NULL if there is no such queue.
static struct virtio_queue_settings *selected(struct virtio_pci_registers *r)
{
    return r->queue_select < r->device->operations->queue_count ? &r->device->settings[r->queue_select] : NULL;
}

static uint64_t *address_register(struct virtio_queue_settings *s, uint64_t offset)
{
    return offset < VIRTIO_PCI_COMMON_Q_AVAILLO  ? &s->descriptors
           : offset < VIRTIO_PCI_COMMON_Q_USEDLO ? &s->available
                                                 : &s->used;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
    return select > 1 ? 0 : (uint32_t)(features >> (32 * select));
}

// --- reading -------------------------------------------------------------------------------------------------------

// A queue that does not exist reads 0, its size included, which says so (4.1.4.3.2).
static uint64_t read_queue(struct virtio_pci_registers *r, uint64_t offset, unsigned width)
{
    struct virtio_queue_settings *s = selected(r);
    if (!s)
        return 0;
    if (is_address(offset))
        return *address_register(s, offset) >> (8 * (offset % 8)) & bus_all_ones(width);
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        return s->size;
    case VIRTIO_PCI_COMMON_Q_MSIX:
        return r->queue_vectors[r->queue_select];
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        return s->enabled;
    case VIRTIO_PCI_COMMON_Q_NOFF:
        return r->queue_select; // times the multiplier: virtio_pci.c
    default:
        return 0;
    }
}

static uint64_t read_common(struct virtio_pci_registers *r, uint64_t offset, unsigned width)
{
    const struct virtio_device *d = r->device;
    if (!is_register(offset, width))
        return bus_all_ones(width);
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        return r->device_feature_select;
    case VIRTIO_PCI_COMMON_DF:
        return feature_word(d->offered, r->device_feature_select);
    case VIRTIO_PCI_COMMON_GFSELECT:
        return r->driver_feature_select;
    case VIRTIO_PCI_COMMON_GF:
        return feature_word(d->features, r->driver_feature_select);
    case VIRTIO_PCI_COMMON_MSIX:
        return r->config_vector;
    case VIRTIO_PCI_COMMON_NUMQ:
        return d->operations->queue_count;
    case VIRTIO_PCI_COMMON_STATUS:
        return d->status;
    case VIRTIO_PCI_COMMON_CFGGENERATION:
        return d->config_generation;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        return r->queue_select;
    default:
        return read_queue(r, offset, width);
    }
}

static bool in_device_config(const struct virtio_device *d, uint64_t offset, unsigned width)
{
    uint64_t at = offset - VIRTIO_PCI_DEVICE, size = d->operations->config_size;
    return offset >= VIRTIO_PCI_DEVICE && at < size && width <= size - at;
}

uint64_t virtio_pci_registers_read(struct virtio_pci_registers *r, uint64_t offset, unsigned width)
{
    struct virtio_device *d = r->device;
    if (offset < VIRTIO_PCI_COMMON_SIZE)
        return read_common(r, offset, width);
    if (offset == VIRTIO_PCI_INTERRUPT && width == 1) {
        uint8_t status = r->interrupt_status;
        r->interrupt_status = 0;
        return status;
    }
    if (in_device_config(d, offset, width)) {
        unsigned char bytes[8] = {0};
        if (d->operations->read_config)
            d->operations->read_config(d, (unsigned)(offset - VIRTIO_PCI_DEVICE), bytes, width);
        return get_le64(bytes);
    }
    return bus_all_ones(width);
}

// --- writing -------------------------------------------------------------------------------------------------------

// A vector that there is not reads back as none, which tells the driver (4.1.5.1.2.1).
static uint16_t checked_vector(const struct virtio_pci_registers *r, uint64_t value)
{
    return value < r->vectors ? (uint16_t)value : VIRTIO_PCI_NO_VECTOR;
}

static void write_queue(struct virtio_pci_registers *r, uint64_t offset, unsigned width, uint64_t value)
{
    struct virtio_queue_settings *s = selected(r);
    if (!s)
        return;
    if (offset == VIRTIO_PCI_COMMON_Q_MSIX) { // may change at any time
        r->queue_vectors[r->queue_select] = checked_vector(r, value);
        return;
    }
    if (virtio_queues_frozen(r->device) || s->enabled)
        return;
    if (is_address(offset)) {
        unsigned shift = 8 * (offset % 8);
        uint64_t *address = address_register(s, offset);
        *address = (*address & ~(bus_all_ones(width) << shift)) | (value & bus_all_ones(width)) << shift;
    } else if (offset == VIRTIO_PCI_COMMON_Q_SIZE) {
        if (value > 0 && value <= r->device->operations->queue_size && (value & (value - 1)) == 0)
            s->size = (uint16_t)value;
    } else if (offset == VIRTIO_PCI_COMMON_Q_ENABLE) {
        s->enabled = value == 1; // writing 0 is not allowed to the driver
    }
}

static void write_common(struct virtio_pci_registers *r, uint64_t offset, unsigned width, uint64_t value)
{
    if (!is_register(offset, width))
        return;
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        r->device_feature_select = (uint32_t)value;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        r->driver_feature_select = (uint32_t)value;
        break;
    case VIRTIO_PCI_COMMON_GF:
        virtio_write_features(r->device, r->driver_feature_select, (uint32_t)value);
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        r->config_vector = checked_vector(r, value);
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        virtio_write_status(r->device, (uint8_t)value);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        r->queue_select = (uint16_t)value;
        break;
    default:
        write_queue(r, offset, width, value);
    }
}

void virtio_pci_registers_write(struct virtio_pci_registers *r, uint64_t offset, unsigned width, uint64_t value)
{
    if (offset < VIRTIO_PCI_COMMON_SIZE) // the others cannot be written
        write_common(r, offset, width, value);
}

void virtio_pci_registers_reset(struct virtio_pci_registers *r)
{
    *r = (struct virtio_pci_registers){
        .device = r->device, .vectors = r->vectors, .config_vector = VIRTIO_PCI_NO_VECTOR};
    for (unsigned i = 0; i < VIRTIO_QUEUES_MAXIMUM; i++)
        r->queue_vectors[i] = VIRTIO_PCI_NO_VECTOR;
}
