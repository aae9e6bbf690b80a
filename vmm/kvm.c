// The VM as KVM has it: see kvm.h. Numbers in parentheses are sections of Documentation/virt/kvm/api.rst.
//
// The routing table (4.52) is always set as a whole. It begins with the two 8259s and the I/O APIC: interrupt n is pin
// n of each, but the timer's, interrupt 0, is pin 2 of the I/O APIC, as in every PC. Each message vector adds an entry
// once the guest has given it an address. `lock` guards the table, so that two devices may route at once.
#include "vmm/kvm.h"

#include "base/cleanup.h"
#include "vmm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/banned.h"

#define API_VERSION 12 // 4.1
#define PIC_PINS 8u
#define PIC_CASCADE 2u // the pin at which the second 8259 hangs: no interrupt of its own
#define CHIP_ROUTES_MAXIMUM (LAYOUT_IRQ_COUNT + 2 * PIC_PINS)

// What this program cannot do without.
// clang-format off
#define NEEDED(name) {KVM_CAP_##name, "KVM_CAP_" #name}
// clang-format on
static const struct {
    long number;
    const char *name;
} needed[] = {
    NEEDED(USER_MEMORY), NEEDED(SET_TSS_ADDR),   NEEDED(IRQCHIP), NEEDED(PIT2),      NEEDED(EXT_CPUID),
    NEEDED(MP_STATE),    NEEDED(IRQ_ROUTING),    NEEDED(IRQFD),   NEEDED(IOEVENTFD), NEEDED(IOEVENTFD_ANY_LENGTH),
    NEEDED(SIGNAL_MSI),  NEEDED(IMMEDIATE_EXIT),
};

struct kvm_table {
    struct kvm_irq_routing head;
    struct kvm_irq_routing_entry entries[CHIP_ROUTES_MAXIMUM + KVM_MESSAGES_MAXIMUM];
};

static int refuse_open(const char *path, int code, struct error *error)
{
    struct stat status;
    if (code == ENOENT || code == ENXIO || code == ENODEV)
        return error_set(error, EOPNOTSUPP,
                         "%s is missing: this host offers no virtualisation (in a cloud or a container it may have to "
                         "be allowed first); `rondo doctor` says more, and --engine qemu does without",
                         path);
    if (code == EACCES || code == EPERM) {
        const struct group *group = stat(path, &status) == 0 ? getgrgid(status.st_gid) : NULL;
        const char *name = group && status.st_gid != 0 ? group->gr_name : "kvm";
        return error_set(error, EACCES,
                         "%s may not be opened: join the group that may, with `sudo usermod -aG %s $USER`, and log in "
                         "anew; `rondo doctor` says more",
                         path, name);
    }
    return error_set(error, EOPNOTSUPP, "cannot open %s: %s; `rondo doctor` says more", path, strerror(code));
}

static int check_device(int dev, const char *path, struct error *error)
{
    int version = ioctl(dev, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return error_set(error, EOPNOTSUPP, "%s is not KVM's device", path);
    if (version != API_VERSION)
        return error_set(error, EOPNOTSUPP, "%s speaks version %d of KVM's interface, not %d", path, version,
                         API_VERSION);
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (ioctl(dev, KVM_CHECK_EXTENSION, needed[i].number) <= 0)
            return error_set(error, EOPNOTSUPP, "this host's KVM lacks %s; --engine qemu does without KVM",
                             needed[i].name);
    return 0;
}

int kvm_open(const char *path, int fd, struct kvm *ret, struct error *error)
{
    const char *name = path ? path : "the inherited KVM descriptor";
    int dev CLEANUP_CLOSE = path ? open(path, O_RDWR | O_CLOEXEC) : fd;
    if (dev < 0)
        return refuse_open(name, path ? errno : EBADF, error);
    int r = check_device(dev, name, error);
    if (r < 0)
        return r;
    int run_size = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < (int)sizeof(struct kvm_run))
        return error_set(error, EOPNOTSUPP, "%s offers no state of a vCPU", name);
    *ret = (struct kvm){.dev = TAKE_FD(dev), .vm = -1, .run_size = (unsigned)run_size};
    return 0;
}

static void add_chip_route(struct kvm_irq_routing *table, unsigned gsi, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry *e = &table->entries[table->nr++];
    *e = (struct kvm_irq_routing_entry){.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};
    e->u.irqchip.irqchip = chip;
    e->u.irqchip.pin = pin;
}

static void add_default_routes(struct kvm_irq_routing *table)
{
    for (unsigned gsi = 0; gsi < LAYOUT_IRQ_COUNT; gsi++) {
        if (gsi == PIC_CASCADE)
            continue;
        add_chip_route(table, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? LAYOUT_PIN_PIT : gsi);
        if (gsi < 2 * PIC_PINS)
            add_chip_route(table, gsi, gsi < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % PIC_PINS);
    }
}

static int refuse(const char *what, struct error *error)
{
    int code = errno;
    return error_set(error, code, "KVM cannot %s: %s", what, strerror(code));
}

static int create(int dev)
{
    int vm;
    do
        vm = ioctl(dev, KVM_CREATE_VM, 0ul); // a signal may interrupt it while it waits for memory
    while (vm < 0 && errno == EINTR);
    return vm;
}

int kvm_create_vm(struct kvm *k, struct error *error)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY}; // port 0x61 then needs no exit either
    uint64_t identity_map = LAYOUT_KVM_IDENTITY_MAP;
    int vm CLEANUP_CLOSE = create(k->dev); // 4.2
    if (vm < 0)
        return refuse("make a VM", error);
    if (ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0) // 4.40: before any vCPU
        return refuse("place its identity map", error);
    if (ioctl(vm, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0) // 4.36
        return refuse("place its task state segment", error);
    if (ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0) // 4.24: before any vCPU
        return refuse("make the interrupt controllers", error);
    if (ioctl(vm, KVM_CREATE_PIT2, &pit) < 0) // 4.71
        return refuse("make the timer", error);
    struct kvm_table *table = calloc(1, sizeof *table);
    if (!table)
        return error_set(error, ENOMEM, "no memory for the interrupt routes");
    add_default_routes(&table->head);
    int r = pthread_mutex_init(&k->lock, NULL);
    if (r != 0) {
        free(table);
        return error_set(error, r, "cannot make a lock: %s", strerror(r));
    }
    k->routes = &table->head;
    k->messages = 0;
    k->vm = TAKE_FD(vm);
    return ioctl(k->vm, KVM_SET_GSI_ROUTING, k->routes) < 0 ? refuse("route interrupts", error) : 0;
}

void kvm_close(struct kvm *k)
{
    if (k->vm >= 0) {
        close(k->vm);
        pthread_mutex_destroy(&k->lock);
        free(k->routes);
    }
    if (k->dev >= 0)
        close(k->dev);
    *k = (struct kvm){.dev = -1, .vm = -1};
}

int kvm_map_memory(struct kvm *k, const struct guest_memory *m, struct error *error)
{
    for (unsigned i = 0; i < m->region_count; i++) {
        struct kvm_userspace_memory_region slot = {
            .slot = i,
            .guest_phys_addr = m->regions[i].address,
            .memory_size = m->regions[i].size,
            .userspace_addr = (uintptr_t)m->regions[i].bytes,
        };
        if (ioctl(k->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0) // 4.35
            return refuse("use the machine's memory", error);
    }
    return 0;
}

int kvm_add_line(struct kvm *k, unsigned gsi, int *ret_eventfd, struct error *error)
{
    int fd CLEANUP_CLOSE = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_set(error, errno, "cannot make an eventfd: %s", strerror(errno));
    struct kvm_irqfd irqfd = {.fd = (uint32_t)fd, .gsi = gsi};
    if (ioctl(k->vm, KVM_IRQFD, &irqfd) < 0) // 4.75
        return refuse("connect an interrupt", error);
    *ret_eventfd = TAKE_FD(fd);
    return 0;
}

static int add_message(void *context, int *ret_eventfd, unsigned *ret_gsi, struct error *error)
{
    struct kvm *k = context;
    pthread_mutex_lock(&k->lock);
    unsigned gsi = LAYOUT_IRQ_COUNT + k->messages;
    int r = k->messages < KVM_MESSAGES_MAXIMUM
                ? kvm_add_line(k, gsi, ret_eventfd, error)
                : error_set(error, ENOSPC, "the machine has too many message interrupts");
    if (r == 0) {
        k->messages++;
        *ret_gsi = gsi;
    }
    pthread_mutex_unlock(&k->lock);
    return r;
}

static struct kvm_irq_routing_entry *find_message(struct kvm_irq_routing *table, unsigned gsi)
{
    for (unsigned i = 0; i < table->nr; i++)
        if (table->entries[i].type == KVM_IRQ_ROUTING_MSI && table->entries[i].gsi == gsi)
            return &table->entries[i];
    return NULL;
}

static int route(struct kvm *k, unsigned gsi, uint64_t address, uint32_t data)
{
    struct kvm_irq_routing_entry new = {.gsi = gsi, .type = KVM_IRQ_ROUTING_MSI};
    new.u.msi.address_lo = (uint32_t)address;
    new.u.msi.address_hi = (uint32_t)(address >> 32);
    new.u.msi.data = data;
    struct kvm_irq_routing_entry *e = find_message(k->routes, gsi);
    bool added = !e;
    if (added)
        e = &k->routes->entries[k->routes->nr++];
    else if (e->u.msi.address_lo == new.u.msi.address_lo && e->u.msi.address_hi == new.u.msi.address_hi &&
             e->u.msi.data == data)
        return 0; // unmasking a vector changes nothing, and a change costs milliseconds
    struct kvm_irq_routing_entry old = *e;
    *e = new;
    if (ioctl(k->vm, KVM_SET_GSI_ROUTING, k->routes) == 0)
        return 0;
    int r = -errno;
    *e = old;
    k->routes->nr -= added;
    return r;
}

static int route_message(void *context, unsigned gsi, uint64_t address, uint32_t data)
{
    struct kvm *k = context;
    int r = -EINVAL;
    pthread_mutex_lock(&k->lock);
    if (gsi >= LAYOUT_IRQ_COUNT && gsi - LAYOUT_IRQ_COUNT < k->messages)
        r = route(k, gsi, address, data);
    pthread_mutex_unlock(&k->lock);
    return r;
}

static int set_doorbell(const struct kvm *k, uint64_t address, int eventfd, uint32_t flags)
{
    struct kvm_ioeventfd doorbell = {.addr = address, .len = 0, .fd = eventfd, .flags = flags};
    return ioctl(k->vm, KVM_IOEVENTFD, &doorbell) < 0 ? -errno : 0; // 4.59
}

static int add_doorbell(void *context, uint64_t address, int eventfd)
{
    return set_doorbell(context, address, eventfd, 0);
}

static int remove_doorbell(void *context, uint64_t address, int eventfd)
{
    return set_doorbell(context, address, eventfd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

const struct irq_operations kvm_irq_operations = {add_message, route_message, add_doorbell, remove_doorbell};

int kvm_collect_port(struct kvm *k, uint16_t port, bool on)
{
    struct kvm_coalesced_mmio_zone zone = {.addr = port, .size = 1, .pio = 1};
    return ioctl(k->vm, on ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &zone) < 0 ? -errno : 0;
}
