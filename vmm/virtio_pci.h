// The PCI transport of virtio (virtio 1.2, 4.1), modern only: one function, BAR 0 with the common, notify, ISR and
// device structures, BAR 1 with the MSI-X table and pending bits; a vector for each queue and one for configuration.
#pragma once

#include "base/error.h"
#include "vmm/irq.h"
#include "vmm/loop.h"
#include "vmm/pci.h"
#include "vmm/virtio.h"

struct virtio_transport;

// Puts the device into the next free slot of the root. Its kicks arrive through the loop. *ret is freed by
// virtio_pci_free after the machine has stopped.
int virtio_pci_new(struct virtio_device *device, struct pci_root *root, const struct irq_controller *irq,
                   struct loop *loop, struct virtio_transport **ret, struct error *error);
void virtio_pci_free(struct virtio_transport *t);
