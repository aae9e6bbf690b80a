// The PCI root: see pci.h for the rules (numbered there).
//
//   0xcf8 (4 bytes)   enable 31 · bus 23–16 · slot 15–11 · function 10–8 · register 7–2     the latch
//   0xcfc–0xcff       the register in the latch, of any width
//   ECAM + …          bus 27–20 · slot 19–15 · function 14–12 · register 11–0
//
// Locks: the device's own; then, in bus_add and bus_remove, the bus's. No other order occurs.
#include "vmm/pci.h"

#include "base/cursor.h"
#include "vmm/layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define FIRST_CAPABILITY 0x40u
#define COMMAND_WRITABLE (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)
#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_RESERVED 0x7f000000u // bits 27–24 are the extended register of some hosts: not here

// A bridge that systems know and that has no oddities to work around: QEMU's docs/specs/pci-ids.
#define BRIDGE_VENDOR 0x1b36u
#define BRIDGE_DEVICE 0x0008u
#define BRIDGE_CLASS 0x060000u

// --- BARs ----------------------------------------------------------------------------------------------------------

static uint32_t bar_wanted(const struct pci_device *d, unsigned bar)
{
    return get_le32(d->config + PCI_BASE_ADDRESS_0 + 4 * bar) & ~(d->bars[bar].size - 1);
}

static bool bar_may_be_mapped(const struct pci_device *d, unsigned bar)
{
    uint64_t address = bar_wanted(d, bar), size = d->bars[bar].size;
    return (d->config[PCI_COMMAND] & PCI_COMMAND_MEMORY) && address >= LAYOUT_PCI_MEMORY &&
           address + size <= LAYOUT_PCI_MEMORY + LAYOUT_PCI_MEMORY_SIZE;
}

// First what goes, then what comes: two BARs of a device may change places.
static void map_bars(struct pci_device *d)
{
    uint32_t old_address[PCI_BARS];
    bool was_mapped[PCI_BARS];

    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &d->bars[i];
        old_address[i] = bar->address;
        was_mapped[i] = bar->mapped;
        if (bar->mapped && (!bar_may_be_mapped(d, i) || bar_wanted(d, i) != bar->address)) {
            bus_remove(d->root->memory, bar->address, bar->size);
            bar->mapped = false;
        }
    }
    for (unsigned i = 0; i < PCI_BARS; i++) {
        struct pci_bar *bar = &d->bars[i];
        if (bar->size == 0)
            continue;
        if (!bar->mapped && bar_may_be_mapped(d, i) &&
            bus_add(d->root->memory, bar_wanted(d, i), bar->size, &bar->handler) == 0) {
            bar->address = bar_wanted(d, i);
            bar->mapped = true;
        }
        bool moved = bar->mapped != was_mapped[i] || (bar->mapped && bar->address != old_address[i]);
        if (moved && d->bar_changed)
            d->bar_changed(d, i, old_address[i], was_mapped[i]);
    }
}

// --- configuration space -------------------------------------------------------------------------------------------

static struct pci_device *find_device(struct pci_root *r, unsigned bus, unsigned slot, unsigned function)
{
    _Static_assert(PCI_SLOTS == 32, "a slot's number has five bits, and both callers cut it out");
    return bus == 0 && function == 0 ? r->slots[slot] : NULL;
}

static uint64_t read_config(struct pci_device *d, unsigned offset, unsigned width)
{
    uint64_t value = 0;
    if (!d || offset + width > PCI_CONFIG_SIZE)
        return bus_all_ones(width);
    pthread_mutex_lock(d->lock);
    if (d->config_reading)
        d->config_reading(d, offset, width);
    for (unsigned i = 0; i < width; i++)
        value |= (uint64_t)d->config[offset + i] << (8 * i);
    pthread_mutex_unlock(d->lock);
    return value;
}

static void write_config(struct pci_device *d, unsigned offset, unsigned width, uint64_t value)
{
    if (!d || offset + width > PCI_CONFIG_SIZE)
        return;
    pthread_mutex_lock(d->lock);
    for (unsigned i = 0; i < width; i++) {
        unsigned char *byte = &d->config[offset + i], may = d->writable[offset + i];
        *byte = (unsigned char)((*byte & ~may) | ((value >> (8 * i)) & may));
    }
    if (offset < PCI_BASE_ADDRESS_0 + 4 * PCI_BARS && offset + width > PCI_COMMAND)
        map_bars(d);
    if (d->config_written)
        d->config_written(d, offset, width);
    pthread_mutex_unlock(d->lock);
}

// --- the two ways there --------------------------------------------------------------------------------------------

static struct pci_device *latched_device(struct pci_root *r, unsigned *ret_register)
{
    uint32_t address = r->address;
    if (!(address & ADDRESS_ENABLE) || (address & ADDRESS_RESERVED))
        return NULL;
    *ret_register = address & 0xfc;
    return find_device(r, address >> 16 & 0xff, address >> 11 & 31, address >> 8 & 7);
}

static uint64_t read_address_port(void *context, uint64_t offset, unsigned width)
{
    const struct pci_root *r = context;
    return offset == 0 && width == 4 ? r->address : bus_all_ones(width);
}

static void write_address_port(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct pci_root *r = context;
    if (offset == 0 && width == 4) // only whole: 3.2.2.3.2
        r->address = (uint32_t)value;
}

static uint64_t read_data_port(void *context, uint64_t offset, unsigned width)
{
    unsigned in_latch = 0;
    struct pci_device *d = latched_device(context, &in_latch);
    return read_config(d, in_latch + (unsigned)offset, width);
}

static void write_data_port(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    unsigned in_latch = 0;
    struct pci_device *d = latched_device(context, &in_latch);
    write_config(d, in_latch + (unsigned)offset, width, value);
}

static struct pci_device *ecam_device(struct pci_root *r, uint64_t offset)
{
    return find_device(r, offset >> 20 & 0xff, offset >> 15 & 31, offset >> 12 & 7);
}

static uint64_t read_ecam(void *context, uint64_t offset, unsigned width)
{
    return read_config(ecam_device(context, offset), offset & 0xfff, width);
}

static void write_ecam(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    write_config(ecam_device(context, offset), offset & 0xfff, width, value);
}

// --- making and attaching ------------------------------------------------------------------------------------------

void pci_device_init(struct pci_device *d, pthread_mutex_t *lock, uint16_t vendor, uint16_t device, uint32_t class_code,
                     uint8_t revision, uint16_t subsystem_vendor, uint16_t subsystem)
{
    *d = (struct pci_device){.lock = lock, .capabilities_end = FIRST_CAPABILITY};
    put_le16(d->config + PCI_VENDOR_ID, vendor);
    put_le16(d->config + PCI_DEVICE_ID, device);
    d->config[PCI_REVISION_ID] = revision;
    d->config[PCI_CLASS_PROG] = (unsigned char)class_code;
    put_le16(d->config + PCI_CLASS_PROG + 1, (uint16_t)(class_code >> 8));
    put_le16(d->config + PCI_SUBSYSTEM_VENDOR_ID, subsystem_vendor);
    put_le16(d->config + PCI_SUBSYSTEM_ID, subsystem);
    put_le16(d->writable + PCI_COMMAND, COMMAND_WRITABLE);
}

unsigned pci_add_capability(struct pci_device *d, uint8_t id, unsigned size)
{
    unsigned at = d->capabilities_end;
    if (size < 2 || size > PCI_CONFIG_SIZE - at)
        abort();
    d->config[at] = id;
    d->config[d->last_capability ? d->last_capability + 1 : PCI_CAPABILITY_LIST] = (unsigned char)at;
    d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    d->last_capability = at;
    d->capabilities_end = (at + size + 3) & ~3u;
    return at;
}

static int place_bars(struct pci_root *r, struct pci_device *d, struct error *error)
{
    uint64_t next = r->next_address;
    for (unsigned i = 0; i < PCI_BARS; i++) {
        uint64_t size = d->bars[i].size;
        if (size == 0)
            continue;
        next = (next + size - 1) / size * size;
        if (next + size > LAYOUT_PCI_MEMORY + LAYOUT_PCI_MEMORY_SIZE)
            return error_set(error, ENOSPC, "the machine's PCI memory window is full: use fewer devices");
        put_le32(d->config + PCI_BASE_ADDRESS_0 + 4 * i, (uint32_t)next);
        put_le32(d->writable + PCI_BASE_ADDRESS_0 + 4 * i, ~((uint32_t)size - 1));
        next += size;
    }
    r->next_address = next;
    return 0;
}

int pci_attach(struct pci_root *r, struct pci_device *d, struct error *error)
{
    unsigned slot = 0;
    while (slot < PCI_SLOTS && r->slots[slot])
        slot++;
    if (slot == PCI_SLOTS)
        return error_set(error, ENOSPC, "the machine has room for %u PCI devices: use fewer disks", PCI_SLOTS - 1);
    int result = place_bars(r, d, error);
    if (result < 0)
        return result;
    d->root = r;
    r->slots[slot] = d;
    return 0;
}

void pci_detach(struct pci_device *d)
{
    pthread_mutex_lock(d->lock);
    d->config[PCI_COMMAND] &= (unsigned char)~PCI_COMMAND_MEMORY;
    map_bars(d);
    pthread_mutex_unlock(d->lock);
    for (unsigned i = 0; i < PCI_SLOTS; i++)
        if (d->root->slots[i] == d)
            d->root->slots[i] = NULL;
}

int pci_root_init(struct pci_root *r, struct bus *ports, struct bus *memory, struct error *error)
{
    const struct bus_range mechanism[] = {
        {LAYOUT_PORT_PCI_ADDRESS, 4, {"pci address", read_address_port, write_address_port, r}},
        {LAYOUT_PORT_PCI_DATA, 4, {"pci data", read_data_port, write_data_port, r}}};
    const struct bus_range ecam = {LAYOUT_ECAM, LAYOUT_ECAM_SIZE, {"pci ecam", read_ecam, write_ecam, r}};
    int result = bus_add_all(ports, mechanism, 2);
    if (result == 0)
        result = bus_add_all(memory, &ecam, 1);
    if (result < 0)
        return error_set(error, -result, "cannot put the PCI root onto the machine's buses: %s", strerror(-result));
    *r = (struct pci_root){.ports = ports, .memory = memory, .next_address = LAYOUT_PCI_MEMORY};
    pthread_mutex_init(&r->bridge_lock, NULL); // a plain mutex: cannot fail on Linux
    pci_device_init(&r->bridge, &r->bridge_lock, BRIDGE_VENDOR, BRIDGE_DEVICE, BRIDGE_CLASS, 0, 0, 0);
    return pci_attach(r, &r->bridge, error);
}

void pci_root_destroy(struct pci_root *r)
{
    bus_remove(r->ports, LAYOUT_PORT_PCI_ADDRESS, 4);
    bus_remove(r->ports, LAYOUT_PORT_PCI_DATA, 4);
    bus_remove(r->memory, LAYOUT_ECAM, LAYOUT_ECAM_SIZE);
    pthread_mutex_destroy(&r->bridge_lock);
}
