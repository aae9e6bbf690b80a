// Fuzz target: configuration accesses through ports and ECAM, moves of BARs, and MSI-X tables, of two virtio devices
// without any memory of the guest's behind them. The input is a list of operations:
//
//   kind u8 · place u16 · value u32
//
// A BAR is mapped only in the PCI window and over nothing else; what answers in the bus is what the devices believe to
// be mapped; doorbells are where BAR 0 is; capabilities cannot be changed away.
#include "vmm_bench.h"

#include "vmm/virtio_balloon.h"
#include "vmm/virtio_rng.h"

#include "base/banned.h"

static struct pci_device *slot(struct bench *b, unsigned i)
{
    return b->root.slots[i];
}

static void check(struct bench *b)
{
    unsigned mapped = 0, doorbells = 0, wanted = 0;
    for (unsigned i = 0; i < PCI_SLOTS; i++)
        for (unsigned bar = 0; slot(b, i) && bar < PCI_BARS; bar++) {
            const struct pci_bar *at = &slot(b, i)->bars[bar];
            if (!at->mapped)
                continue;
            mapped++;
            require(slot(b, i)->config[PCI_COMMAND] & PCI_COMMAND_MEMORY);
            require(at->address >= LAYOUT_PCI_MEMORY && at->address % at->size == 0);
            require(at->address + (uint64_t)at->size <= LAYOUT_PCI_MEMORY + LAYOUT_PCI_MEMORY_SIZE);
            if (bar == 0)
                wanted += i == 1 ? 1 : 5; // a doorbell for each queue
        }
    for (unsigned i = 0; i < BENCH_DOORBELLS; i++)
        doorbells += b->doorbells[i] != 0;
    require(b->bus.count == mapped + 1 && doorbells == wanted);
}

// An address in a BAR, wherever it is at present.
static uint64_t in_bar(struct bench *b, unsigned place)
{
    const struct pci_bar *bar = &slot(b, 1 + (place >> 15))->bars[place >> 14 & 1];
    return bar->address + (place & 0x3fff);
}

static unsigned capabilities(struct pci_device *d)
{
    unsigned count = 0;
    for (unsigned at = d->config[0x34]; at != 0; at = d->config[at + 1])
        require(++count < 10 && at >= 0x40 && at < 0xfc);
    return count;
}

static void operate(struct bench *b, struct cursor *input)
{
    unsigned kind = cursor_u8(input), place = cursor_u16(input), width = 1u << (kind >> 3 & 3);
    uint64_t value = cursor_u32(input);
    value |= value << 32;
    switch (kind & 7) {
    case 0:
        bus_write(&b->ports, 0xcf8 + (place & 7), width, value);
        break;
    case 1:
        bus_read(&b->ports, 0xcf8 + (place & 7), width);
        break;
    case 2: // the whole of mechanism 1
        bus_write(&b->ports, 0xcf8, 4, 0x80000000u | (place & 0x1ffc));
        bus_write(&b->ports, 0xcfc + (place & 3), width & 7, value);
        break;
    case 3:
        bus_write(&b->bus, LAYOUT_ECAM + place, width, value);
        break;
    case 4:
        bus_read(&b->bus, LAYOUT_ECAM + place, width);
        break;
    case 5:
        bus_write(&b->bus, in_bar(b, place), width, value);
        break;
    case 6:
        bus_read(&b->bus, in_bar(b, place), width);
        break;
    default: // a BAR into the window, one of 256 places near each other
        bus_write(&b->bus, bench_config(1 + (place & 1), 0x10 + (place & 4)), 4, 0xc0000000u | (value & 0xff) << 12);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct cursor input = cursor_over(data, size);
    struct bench b;
    struct virtio_device *rng, *balloon;

    bench_init(&b);
    require(virtio_rng_new(&b.memory, &rng, NULL) == 0);
    require(virtio_balloon_new(&b.memory, &balloon, NULL) == 0);
    require(virtio_pci_new(rng, &b.root, &b.irq, &b.loop, NULL) == 0);
    require(virtio_pci_new(balloon, &b.root, &b.irq, &b.loop, NULL) == 0);
    while (input.left > 0 && !input.failed) {
        operate(&b, &input);
        check(&b);
    }
    bench_turn_loop(&b);
    require(capabilities(slot(&b, 1)) == 5 && capabilities(slot(&b, 2)) == 6);
    virtio_pci_free(balloon);
    virtio_pci_free(rng);
    virtio_free(rng);
    virtio_free(balloon);
    bench_destroy(&b);
    return 0;
}
