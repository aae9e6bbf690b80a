// MSI-X (PCI Local Bus 3.0, 6.8.2): the vector table and the pending bits of one function. A vector is an irqfd, routed
// to the message that the guest wrote. The device's lock guards it.
//
// 1. A vector is live while MSI-X is enabled, the function is not masked, and the vector is not masked. Only a live one
//    is signalled.
// 2. A signal for a vector that is enabled but masked is kept as one pending bit, and sent when it becomes live. With
//    MSI-X disabled a signal is lost: there is no INTx, the driver polls.
// 3. A route is changed only when its vector is live and its message is another one than before: a driver that masks
//    and unmasks for ever costs nothing. If it cannot be changed, the vector is dead and its signals stay pending.
// 4. The table takes aligned accesses of 4 and 8 bytes; others read all-ones and write nothing.
#pragma once

#include "base/error.h"
#include "vmm/irq.h"
#include "vmm/pci.h"
#include <stdbool.h>
#include <stdint.h>

#define MSIX_VECTORS_MAXIMUM 9u // VIRTIO_QUEUES_MAXIMUM and one for the configuration
#define MSIX_ENTRY_SIZE 16u     // of the table: address 8, data 4, control 4 (bit 0: masked)
#define MSIX_PENDING_SIZE 8u    // bytes of pending bits

struct msix_vector {
    unsigned char entry[MSIX_ENTRY_SIZE]; // as the guest wrote it
    bool pending;
    int eventfd;
    unsigned route;
    bool routed; // to the next two
    uint64_t routed_address;
    uint32_t routed_data;
};

struct msix {
    struct pci_device *device;
    const struct irq_controller *irq;
    unsigned capability; // its offset in the configuration space
    unsigned count;
    bool complained; // said once that a message cannot be routed
    struct msix_vector vectors[MSIX_VECTORS_MAXIMUM];
};

// Adds the capability; the table is at `table_offset` of BAR `bar`, the pending bits at `pending_offset` of the same.
int msix_init(struct msix *m, struct pci_device *device, const struct irq_controller *irq, unsigned count, unsigned bar,
              uint32_t table_offset, uint32_t pending_offset, struct error *error);
void msix_destroy(struct msix *m);
void msix_config_written(struct msix *m); // the message control may have changed
bool msix_enabled(const struct msix *m);
void msix_signal(struct msix *m, unsigned vector); // out of range: nothing
uint64_t msix_table_read(const struct msix *m, uint64_t offset, unsigned width);
void msix_table_write(struct msix *m, uint64_t offset, unsigned width, uint64_t value);
uint64_t msix_pending_read(const struct msix *m, uint64_t offset, unsigned width);
