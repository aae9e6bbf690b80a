// What the guest sees of the processor: all that KVM supports on this host (api.rst, 4.46; its hypervisor leaves
// 0x40000000 and 0x40000001 included), with this machine's own topology in place of the host's: one package, `count`
// cores of one thread, APIC id = index. Sources: Intel SDM volume 2, CPUID; AMD64 manual volume 3, appendix E.
#include "base/cleanup.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/banned.h"

#define ENTRIES_MAXIMUM 256u

#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR (1u << 31)
#define LEAF1_EDX_HTT (1u << 28)
#define AMD_ECX_COMPATIBLE_LEGACY (1u << 1) // the package's logical processors are cores
#define LEVEL_TYPE_THREAD 1u
#define LEVEL_TYPE_CORE 2u

struct topology {
    uint32_t index, count;
    uint32_t shift; // bits of an APIC id that number the cores
    bool tsc_deadline;
    bool amd; // leaves that Intel reserves
};

static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

// Leaf 4 and AMD's 0x8000001d: who shares a cache. The host's answer tells of its own threads and cores.
static void fix_cache(struct kvm_cpuid_entry2 *e, const struct topology *t, bool intel)
{
    uint32_t level = e->eax >> 5 & 7;
    uint32_t sharing = level >= 3 ? (1u << t->shift) - 1 : 0;
    e->eax = (e->eax & 0x3fff) | sharing << 14;
    if (intel)
        e->eax |= ((1u << t->shift) - 1) << 26;
}

static void fix(struct kvm_cpuid_entry2 *e, const struct topology *t)
{
    switch (e->function) {
    case 0x1:
        e->ebx = (e->ebx & 0xffff) | t->count << 16 | t->index << 24;
        e->ecx |= LEAF1_ECX_HYPERVISOR;
        if (t->tsc_deadline)
            e->ecx |= LEAF1_ECX_TSC_DEADLINE;
        e->edx = t->count > 1 ? e->edx | LEAF1_EDX_HTT : e->edx & ~LEAF1_EDX_HTT;
        break;
    case 0x4:
        if (e->eax & 0x1f) // 0: no more caches
            fix_cache(e, t, true);
        break;
    case 0x80000001:
        if (!t->amd)
            break;
        e->ecx = t->count > 1 ? e->ecx | AMD_ECX_COMPATIBLE_LEGACY : e->ecx & ~AMD_ECX_COMPATIBLE_LEGACY;
        break;
    case 0x80000008:
        if (t->amd)
            e->ecx = (e->ecx & ~0xf0ffu) | (t->count - 1) | t->shift << 12;
        break;
    case 0x8000001d:
        if (e->eax & 0x1f)
            fix_cache(e, t, false);
        break;
    case 0x8000001e:
        e->eax = t->index;
        e->ebx = t->index; // core id; one thread each
        e->ecx = 0;        // one node
        break;
    default:
        break;
    }
}

// Leaves 0xb and 0x1f are left out and made anew: their number of subleaves is the machine's, not the host's. 0x1f
// (dies, modules) stays empty, and systems then use 0xb.
static bool is_topology(const struct kvm_cpuid_entry2 *e)
{
    return e->function == 0xb || e->function == 0x1f;
}

static void add_topology(struct kvm_cpuid2 *c, const struct topology *t)
{
    const struct {
        uint32_t shift, count, type;
    } levels[] = {{0, 1, LEVEL_TYPE_THREAD}, {t->shift, t->count, LEVEL_TYPE_CORE}, {0, 0, 0}};
    for (uint32_t i = 0; i < ARRAY_SIZE(levels) && c->nent < ENTRIES_MAXIMUM; i++)
        c->entries[c->nent++] = (struct kvm_cpuid_entry2){
            .function = 0xb,
            .index = i,
            .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            .eax = levels[i].shift,
            .ebx = levels[i].count,
            .ecx = i | levels[i].type << 8,
            .edx = t->index,
        };
}

static bool is_amd(const struct kvm_cpuid2 *c)
{
    for (uint32_t i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];
        if (e->function == 0)
            return e->ecx == 0x444d4163 || e->ecx == 0x656e6975; // "AuthenticAMD", "HygonGenuine": their ends
    }
    return false;
}

static void apply(struct kvm_cpuid2 *c, const struct topology *t)
{
    uint32_t kept = 0, leaves = 0;
    for (uint32_t i = 0; i < c->nent; i++) {
        struct kvm_cpuid_entry2 *e = &c->entries[i];
        if (e->function == 0)
            leaves = e->eax;
        if (is_topology(e))
            continue;
        fix(e, t);
        c->entries[kept++] = *e;
    }
    c->nent = kept;
    if (leaves >= 0xb)
        add_topology(c, t);
}

int vcpu_set_cpuid(const struct kvm *k, int vcpu_fd, unsigned index, unsigned count, struct error *error)
{
    struct kvm_cpuid2 *c CLEANUP_FREE = calloc(1, sizeof *c + ENTRIES_MAXIMUM * sizeof c->entries[0]);
    if (!c)
        return error_set(error, ENOMEM, "no memory for the processor's description");
    c->nent = ENTRIES_MAXIMUM;
    if (ioctl(k->dev, KVM_GET_SUPPORTED_CPUID, c) < 0)
        return error_set(error, errno, "KVM does not say which processor it can offer: %s", strerror(errno));
    struct topology t = {
        .index = index,
        .count = count,
        .shift = bits_for(count),
        .tsc_deadline = ioctl(k->dev, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
        .amd = is_amd(c),
    };
    apply(c, &t);
    if (ioctl(vcpu_fd, KVM_SET_CPUID2, c) < 0)
        return error_set(error, errno, "KVM refuses the processor's description: %s", strerror(errno));
    return 0;
}
