// Which virtio devices the machine has, by its options: one function for each kind, in the order of their PCI slots.
// The transport is made here for all.
#include "vmm/vm_private.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "vmm/block_backend.h"
#include "vmm/virtio_balloon.h"
#include "vmm/virtio_block.h"
#include "vmm/virtio_console.h"
#include "vmm/virtio_net.h"
#include "vmm/virtio_rng.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// Puts the device on the bus and into the list; on failure it is freed. For the return of what made it.
static int attach(struct vm *m, int r, struct virtio_device *d, struct error *error)
{
    if (r != 0)
        return r;
    r = m->device_count < VM_DEVICES_MAXIMUM ? 0 : error_set(error, ENOSPC, "the machine has too many devices");
    if (r == 0)
        r = virtio_pci_new(d, &m->root, &m->irq, &m->loop, error);
    if (r < 0) {
        virtio_free(d);
        return r;
    }
    unsigned number = 1;
    for (unsigned i = 0; i < m->device_count; i++)
        number += m->devices[i]->operations == d->operations;
    if (number > 1)
        snprintf(d->name, sizeof d->name, "%s%u", d->operations->name, number);
    m->devices[m->device_count++] = d;
    return 0;
}

static int add_block(struct vm *m, struct block_backend *backend, const char *serial, struct error *error)
{
    struct virtio_device *d = NULL;
    const struct virtio_block_settings settings = {
        .backend = backend, .serial = serial, .loop = &m->loop, .sandbox = m->sandbox};
    int r = virtio_block_new(&settings, &m->memory, &d, error);
    m->workers += r == 0; // the first: what it makes is in its filter from the beginning
    return attach(m, r, d, error);
}

int vm_devices_open(struct vm *m, struct error *error)
{
    struct vm_overlay *overlay = &m->options->overlay;
    if (!overlay->folder.name)
        return 0;
    int base = TAKE_FD(overlay->base.fd);
    const struct block_overlay_settings settings = {
        .folder = overlay->folder.fd,
        .base = base,
        .folder_name = overlay->folder.name,
        .manifest = overlay->manifest,
        .control = m->options->control,
        .pass_outage = m->options->pass_outage,
        .outage_after_seconds = m->options->outage_after,
        .record = m->options->record,
    };
    int r = block_overlay_new(&settings, &m->overlay, error);
    close(TAKE_FD(overlay->folder.fd)); // its files are open, and a folder would lead out of the sandbox
    return r;
}

static int add_disks(struct vm *m, struct error *error)
{
    for (unsigned i = 0; i < m->options->disk_count; i++) {
        struct vm_disk *disk = &m->options->disks[i];
        struct block_backend *backend;
        int r = block_file_new(TAKE_FD(disk->file.fd), disk->file.name, disk->read_only, m->options->control, &backend,
                               error);
        if (r == 0)
            r = add_block(m, backend, disk->file.name, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_net(struct vm *m, struct error *error)
{
    struct virtio_device *d = NULL;
    // The address is locally administered, and as good as any on a network of two.
    struct virtio_net_settings settings = {.mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, .loop = &m->loop};
    if (m->options->net == VM_NET_NONE)
        return 0;
    int r = net_link_new(m->options->net == VM_NET_TAP ? NET_LINK_TAP : NET_LINK_PASST, TAKE_FD(m->options->net_fd),
                         &settings.link, error);
    if (r == 0)
        r = virtio_net_new(&settings, &m->memory, &d, error);
    return attach(m, r, d, error);
}

// Only for a kernel that is told to use it: a system that finds a second console puts a second login prompt there.
static int add_console(struct vm *m, struct error *error)
{
    struct virtio_device *d = NULL;
    if (!strstr(m->options->cmdline, "console=hvc0"))
        return 0;
    int r = virtio_console_new(&m->memory, m->stream, &d, error);
    return attach(m, r, d, error);
}

static int add_rng(struct vm *m, struct error *error)
{
    struct virtio_device *d = NULL;
    int r = virtio_rng_new(&m->memory, &d, error);
    return attach(m, r, d, error);
}

static int add_balloon(struct vm *m, struct error *error)
{
    struct virtio_device *d = NULL;
    int r = virtio_balloon_new(&m->memory, &d, error);
    return attach(m, r, d, error);
}

int vm_devices_new(struct vm *m, struct error *error)
{
    static int (*const kinds[])(struct vm * m, struct error * error) = {add_disks, add_net, add_console, add_rng,
                                                                        add_balloon};
    int r = m->overlay ? add_block(m, TAKE_PTR(m->overlay), "rondo-overlay", error) : 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kinds); i++)
        r = kinds[i](m, error);
    return r;
}

int vm_devices_end(struct vm *m, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < m->device_count; i++) {
        struct virtio_device *d = m->devices[i];
        struct error why = {""};
        int ended = d->operations->end ? d->operations->end(d, &why) : 0;
        m->stuck |= ended == -ETIMEDOUT;
        if (ended < 0 && r == 0) {
            r = ended;
            if (error)
                *error = why;
        } else if (ended < 0) {
            log_error("%s", why.text);
        }
    }
    return r;
}

void vm_devices_free(struct vm *m)
{
    while (m->device_count > 0) {
        struct virtio_device *d = m->devices[--m->device_count];
        virtio_pci_free(d);
        virtio_free(d);
    }
    if (m->overlay)
        (void)m->overlay->close(m->overlay, NULL); // the machine was not made: nothing has been written
}

// The overlay is the first device, if there is one.
bool vm_devices_hear(struct vm *m, const char *text, int *fds, unsigned count, char *ret_answer)
{
    return m->options->overlay.folder.name && virtio_block_hear(m->devices[0], text, fds, count, ret_answer);
}
