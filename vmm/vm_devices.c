// Which virtio devices the machine has, by its options: one function for each kind, in the order of their PCI slots.
// Each puts its device into the list with how it ends; the transport is made here for all.
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

// Puts the device on the bus and into the list; on failure it is freed.
static int attach(struct vm *m, const struct vm_device *device, struct error *error)
{
    struct vm_device d = *device;
    int r = m->device_count < VM_DEVICES_MAXIMUM ? 0 : error_set(error, ENOSPC, "the machine has too many devices");
    if (r == 0)
        r = virtio_pci_new(d.virtio, &m->root, &m->irq, &m->loop, &d.transport, error);
    if (r < 0) {
        d.free(d.self);
        return r;
    }
    m->devices[m->device_count++] = d;
    return 0;
}

static int end_block(void *self, struct error *error)
{
    return virtio_block_end(self, error);
}

static void free_block(void *self)
{
    virtio_block_free(self);
}

static int add_block(struct vm *m, struct block_backend *backend, const char *serial, struct error *error)
{
    struct virtio_block *b;
    const struct virtio_block_settings settings = {
        .backend = backend, .serial = serial, .loop = &m->loop, .sandbox = m->sandbox};
    int r = virtio_block_new(&settings, &m->memory, &b, error);
    if (r < 0)
        return r;
    m->workers++; // the first: what it makes is in its filter from the beginning
    const struct vm_device device = {.virtio = virtio_block_device(b), .self = b, .end = end_block, .free = free_block};
    return attach(m, &device, error);
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
    cleanup_close(&overlay->folder.fd); // its files are open, and a folder would lead out of the sandbox
    overlay->folder.fd = -1;
    return r;
}

static int add_disks(struct vm *m, struct error *error)
{
    for (unsigned i = 0; i < m->options->disk_count; i++) {
        struct vm_disk *disk = &m->options->disks[i];
        struct block_backend *backend;
        char serial[24]; // whatever the number
        snprintf(serial, sizeof serial, "rondo-disk-%u", i);
        int r = block_file_new(TAKE_FD(disk->file.fd), disk->file.name, disk->read_only, &backend, error);
        if (r == 0)
            r = add_block(m, backend, serial, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static void free_net(void *self)
{
    virtio_net_free(self);
}

static int add_net(struct vm *m, struct error *error)
{
    struct virtio_net *n;
    struct virtio_net_settings settings = {.loop = &m->loop};
    if (m->options->net == VM_NET_NONE)
        return 0;
    memcpy(settings.mac, m->options->mac, sizeof settings.mac);
    int r = net_link_new(m->options->net == VM_NET_TAP ? NET_LINK_TAP : NET_LINK_PASST, TAKE_FD(m->options->net_fd),
                         &settings.link, error);
    if (r == 0)
        r = virtio_net_new(&settings, &m->memory, &n, error);
    if (r != 0)
        return r;
    const struct vm_device device = {.virtio = virtio_net_device(n), .self = n, .free = free_net};
    return attach(m, &device, error);
}

static void free_console(void *self)
{
    virtio_console_free(self);
}

// Only for a kernel that is told to use it: a system that finds a second console puts a second login prompt there.
static int add_console(struct vm *m, struct error *error)
{
    struct virtio_console *c;
    if (!strstr(m->options->cmdline, "console=hvc0"))
        return 0;
    int r = virtio_console_new(&m->memory, m->stream, &c, error);
    if (r < 0)
        return r;
    const struct vm_device device = {.virtio = virtio_console_device(c), .self = c, .free = free_console};
    return attach(m, &device, error);
}

static void free_rng(void *self)
{
    virtio_rng_free(self);
}

static int add_rng(struct vm *m, struct error *error)
{
    struct virtio_rng *rng;
    int r = virtio_rng_new(&m->memory, &rng, error);
    if (r < 0)
        return r;
    const struct vm_device device = {.virtio = virtio_rng_device(rng), .self = rng, .free = free_rng};
    return attach(m, &device, error);
}

static void free_balloon(void *self)
{
    virtio_balloon_free(self);
}

static int add_balloon(struct vm *m, struct error *error)
{
    struct virtio_balloon *b;
    int r = virtio_balloon_new(&m->memory, &b, error);
    if (r < 0)
        return r;
    const struct vm_device device = {.virtio = virtio_balloon_device(b), .self = b, .free = free_balloon};
    return attach(m, &device, error);
}

int vm_devices_new(struct vm *m, struct error *error)
{
    int r = m->overlay ? add_block(m, TAKE_PTR(m->overlay), "rondo-overlay", error) : 0;
    if (r == 0)
        r = add_disks(m, error);
    if (r == 0)
        r = add_net(m, error);
    if (r == 0)
        r = add_console(m, error);
    if (r == 0)
        r = add_rng(m, error);
    if (r == 0)
        r = add_balloon(m, error);
    return r;
}

int vm_devices_end(struct vm *m, struct error *error)
{
    int r = 0;
    for (unsigned i = 0; i < m->device_count; i++) {
        struct vm_device *d = &m->devices[i];
        struct error why = {""};
        int ended = d->end ? d->end(d->self, &why) : 0;
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
        struct vm_device *d = &m->devices[--m->device_count];
        virtio_pci_free(d->transport);
        d->free(d->self);
    }
    if (m->overlay)
        (void)m->overlay->close(m->overlay, NULL); // the machine was not made: nothing has been written
}

// The overlay is the first device, if there is one.
int vm_devices_replace_base(struct vm *m, int fd, struct error *error)
{
    if (m->options->overlay.folder.name)
        return virtio_block_replace_base(m->devices[0].self, fd, error);
    cleanup_close(&fd);
    return error_set(error, EOPNOTSUPP, "this machine has no overlay, and so no base to replace");
}
