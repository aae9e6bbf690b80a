// Registers: see vcpu_state.h. Sources: Linux Documentation/x86/boot.rst ("64-bit Boot Protocol"), Xen
// docs/misc/pvh.pandoc ("x86/HVM direct boot ABI"), Intel SDM volume 3 (10.4.7.1 local APIC after reset, 11.11.2.1 MTRR
// default type, 35 MSRs), AMD64 manual volume 2 (14.1.3).
#include "vmm/vcpu_state.h"

#include "base/cleanup.h"
#include "vmm/layout.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/banned.h"

#define CR0_PE (1ull << 0)
#define CR0_ET (1ull << 4)
#define CR0_NE (1ull << 5)
#define CR0_PG (1ull << 31)
#define CR4_PAE (1ull << 5)
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)
#define RFLAGS_ALWAYS 2ull

#define MSR_MISC_ENABLE 0x1a0u
#define MISC_ENABLE_FAST_STRING 1u
#define MSR_MTRR_DEFAULT_TYPE 0x2ffu
#define MTRR_ENABLED_WRITE_BACK 0x806u // as firmware leaves it; with MTRRs off Linux would not use the PAT

#define APIC_LVT_LINT0 0x350u
#define APIC_LVT_LINT1 0x360u
#define APIC_MODE_NMI (4u << 8)
#define APIC_MODE_EXTINT (7u << 8)
#define APIC_MASKED (1u << 16)

static int refuse(const char *what, struct error *error)
{
    int code = errno;
    return error_set(error, code, "KVM cannot set a vCPU's %s: %s", what, strerror(code));
}

static void set_msrs(int fd)
{
    static const struct {
        uint32_t index, value;
    } msrs[] = {
        {MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING},
        {MSR_MTRR_DEFAULT_TYPE, MTRR_ENABLED_WRITE_BACK},
    };
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } one = {.head.nmsrs = 1};
    for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
        one.entry = (struct kvm_msr_entry){.index = msrs[i].index, .data = msrs[i].value};
        ioctl(fd, KVM_SET_MSRS, &one); // one by one: a refused MSR (not of this processor) must not hide the others
    }
}

static void set_vector(struct kvm_lapic_state *apic, unsigned at, uint32_t value)
{
    memcpy(apic->regs + at, &value, sizeof value);
}

// As firmware leaves it: the 8259 behind LINT0 of the first processor, NMI behind LINT1 of all (the MADT says so).
static int set_local_apic(int fd, unsigned index, struct error *error)
{
    struct kvm_lapic_state apic;
    if (ioctl(fd, KVM_GET_LAPIC, &apic) < 0)
        return refuse("local APIC", error);
    set_vector(&apic, APIC_LVT_LINT0, index == 0 ? APIC_MODE_EXTINT : APIC_MASKED);
    set_vector(&apic, APIC_LVT_LINT1, APIC_MODE_NMI);
    return ioctl(fd, KVM_SET_LAPIC, &apic) < 0 ? refuse("local APIC", error) : 0;
}

int vcpu_state_reset(int vcpu_fd, unsigned index, struct error *error)
{
    struct kvm_mp_state state = {.mp_state = index == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED};
    set_msrs(vcpu_fd);
    int r = set_local_apic(vcpu_fd, index, error);
    if (r == 0 && ioctl(vcpu_fd, KVM_SET_MP_STATE, &state) < 0)
        r = refuse("multiprocessing state", error);
    return r;
}

// The selectors of the GDT that the loader wrote (layout.h); the hidden parts are given
// here, as if they had been loaded.
static void set_segments(struct kvm_sregs *s, bool long_mode)
{
    struct kvm_segment code = {
        .limit = UINT32_MAX, .selector = LAYOUT_GDT_CODE, .type = 11, .present = 1, .s = 1, .g = 1};
    struct kvm_segment data = {
        .limit = UINT32_MAX, .selector = LAYOUT_GDT_DATA, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1};
    struct kvm_segment task = {
        .limit = 0x67, .selector = LAYOUT_GDT_TSS, .type = 11, .present = 1}; // VT-x wants a busy TSS
    code.l = long_mode;
    code.db = !long_mode;
    s->cs = code;
    s->ds = s->es = s->fs = s->gs = s->ss = data;
    s->tr = task;
    s->ldt = (struct kvm_segment){.unusable = 1};
    s->gdt = (struct kvm_dtable){.base = LAYOUT_GDT, .limit = LAYOUT_GDT_SIZE - 1};
    s->idt = (struct kvm_dtable){.base = 0, .limit = 0};
}

int vcpu_state_enter(int vcpu_fd, const struct load_entry *entry, struct error *error)
{
    struct kvm_sregs s;
    struct kvm_regs r = {.rip = entry->address, .rflags = RFLAGS_ALWAYS};
    if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
        return refuse("registers", error);
    set_segments(&s, entry->long_mode);
    s.cr0 = CR0_PE | CR0_ET | CR0_NE;
    s.cr4 = 0;
    s.efer = 0;
    if (entry->long_mode) {
        s.cr0 |= CR0_PG;
        s.cr3 = LAYOUT_PAGE_TABLES;
        s.cr4 = CR4_PAE;
        s.efer = EFER_LME | EFER_LMA;
        r.rsi = entry->argument;
    } else {
        r.rbx = entry->argument;
    }
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu_fd, KVM_SET_REGS, &r) < 0)
        return refuse("registers", error);
    return 0;
}

void vcpu_state_describe(int vcpu_fd, char *text, size_t capacity)
{
    struct kvm_regs r;
    struct kvm_sregs s;
    if (ioctl(vcpu_fd, KVM_GET_REGS, &r) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0) {
        snprintf(text, capacity, "its registers cannot be read: %s", strerror(errno));
        return;
    }
    snprintf(text, capacity,
             "rip %llx rsp %llx rflags %llx rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx "
             "cs %x cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx",
             r.rip, r.rsp, r.rflags, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, s.cs.selector, s.cr0, s.cr2, s.cr3,
             s.cr4, s.efer);
}
