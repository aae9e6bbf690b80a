// MSI-X (PCI Local Bus 3.0, 6.8.2): the vector table and the pending bits of one function. A vector is an irqfd, routed
// to the message that the guest wrote; while it is masked, its signal is kept as a pending bit.
// The device's lock guards it.
#pragma once

#include "base/error.h"
#include "vmm/irq.h"
#include "vmm/pci.h"
#include <stdbool.h>
#include <stdint.h>

#define MSIX_VECTORS_MAXIMUM 9u // VIRTIO_QUEUES_MAXIMUM and one for the configuration

struct msix_vector {
    unsigned char entry[16]; // as the guest wrote it
    bool pending;
    int eventfd;
    unsigned route;
    bool routed;
};

struct msix {
    struct pci_device *device;
    const struct irq_controller *irq;
    unsigned capability; // its offset in the configuration space
    unsigned count;
    struct msix_vector vectors[MSIX_VECTORS_MAXIMUM];
};

// Adds the capability; the table is at `table_offset` of BAR `bar`, the pending bits at `pending_offset` of the same.
int msix_init(struct msix *m, struct pci_device *device, const struct irq_controller *irq, unsigned count, unsigned bar,
              uint32_t table_offset, uint32_t pending_offset, struct error *error);
void msix_destroy(struct msix *m);
void msix_config_written(struct msix *m); // the message control may have changed
bool msix_enabled(const struct msix *m);
void msix_signal(struct msix *m, unsigned vector); // out of range: nothing
uint64_t msix_table_read(struct msix *m, uint32_t offset, unsigned width);
void msix_table_write(struct msix *m, uint32_t offset, unsigned width, uint64_t value);
uint64_t msix_pending_read(const struct msix *m, uint32_t offset, unsigned width);
