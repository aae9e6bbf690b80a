// The probe: see probe.h. The guest tells each step that it has done through a port; the last step that arrived and how
// the vCPU ended say what this KVM cannot do.
//
// Time is that of the vCPU's thread, not of the clock on the wall: a busy host is not a slow KVM. Nor is a busy host
// below this one, whose pauses that clock counts: so a short loop is timed some times, and the quickest time counts. A
// slow KVM is never quick.
#include "vmm/probe.h"

#include "base/cleanup.h"
#include "vmm/bus.h"
#include "vmm/guest_memory.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/load.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/banned.h"

#define CODE 0x100000ull
#define DATA 0x110000ull
#define DATA_IDT 0x3000u // offsets in it: 16 bytes for cmpxchg16b at 0, the xsave area at 0x1000, the stack's end here
#define PORT 0xf4

#define LOOP_US_MAXIMUM 8000u // for 50,000 instructions: at 2 million a second they take 25 ms, on a processor 12 us
#define WAIT_SECONDS 5        // of anybody's time; only a KVM that gets stuck takes so long

enum step {
    STEP_NONE,
    STEP_LONG_MODE,
    STEP_CMPXCHG16B,
    STEP_XSAVE,
    STEP_LOOP_BEGAN,
    STEP_LOOP_ENDED,
    STEP_ALL,
    STEP_WRONG = 0xff
};

// 64-bit code at CODE; RSI points to DATA.
__asm__(
    ".pushsection .rodata\n"
    "probe_guest:\n"
    "  lea 0x3000(%rsi), %rsp\n"
    "  mov $1, %al\n  out %al, $0xf4\n"
    // cmpxchg16b: 0 is there, so 2:1 is stored.
    "  xor %eax, %eax\n  xor %edx, %edx\n  mov $1, %ebx\n  mov $2, %ecx\n"
    "  lock cmpxchg16b (%rsi)\n  jnz probe_wrong\n  cmpq $2, 8(%rsi)\n  jne probe_wrong\n"
    "  mov $2, %al\n  out %al, $0xf4\n"
    // xsave and xrstor, if the processor has them at all (leaf 1, ECX bit 26); CR4: OSFXSR, OSXSAVE; XCR0: x87, SSE.
    "  mov $1, %eax\n  cpuid\n  bt $26, %ecx\n  jnc 1f\n"
    "  mov %cr4, %rax\n  or $0x40200, %eax\n  mov %rax, %cr4\n"
    "  xor %ecx, %ecx\n  xor %edx, %edx\n  mov $3, %eax\n  xsetbv\n"
    "  xsave 0x1000(%rsi)\n  mov $3, %eax\n  xrstor 0x1000(%rsi)\n"
    "1: mov $3, %al\n  out %al, $0xf4\n"
    // int3 through the IDT.
    "  lidt probe_idtr(%rip)\n  xor %ebx, %ebx\n  int3\n  cmp $1, %ebx\n  jne probe_wrong\n"
    // The loop, four times.
    "  mov $4, %edx\n"
    "2: mov $4, %al\n  out %al, $0xf4\n"
    "  mov $25000, %ecx\n"
    "4: dec %ecx\n  jnz 4b\n"
    "  mov $5, %al\n  out %al, $0xf4\n"
    "  dec %edx\n  jnz 2b\n"
    "  mov $6, %al\n  out %al, $0xf4\n"
    "3: hlt\n  jmp 3b\n"
    "probe_wrong: mov $0xff, %al\n  out %al, $0xf4\n  jmp 3b\n"
    "probe_int3: inc %ebx\n  iretq\n"
    "probe_idtr: .word 0x3f\n  .quad 0x113000\n"
    "probe_guest_end:\n"
    ".popsection\n");
extern const unsigned char probe_guest[], probe_int3[], probe_guest_end[];

struct probe {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended;
    enum step step;
    uint64_t loop_began, quickest_loop; // ns of the vCPU's thread's own time; UINT64_MAX: none yet
    char why[160];
};

static uint64_t thread_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool quick_enough(const struct probe *p)
{
    return p->quickest_loop <= LOOP_US_MAXIMUM * 1000ull;
}

// In the vCPU's thread.
static void step_written(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    struct probe *p = context;
    uint64_t now = thread_ns();
    (void)offset, (void)width;
    pthread_mutex_lock(&p->lock);
    p->step = (enum step)value;
    if (p->step == STEP_LOOP_BEGAN)
        p->loop_began = now;
    if (p->step == STEP_LOOP_ENDED && now - p->loop_began < p->quickest_loop)
        p->quickest_loop = now - p->loop_began;
    p->ended = quick_enough(p) || p->step == STEP_ALL || p->step == STEP_WRONG;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void vcpu_ended(void *context, unsigned index, enum vcpu_end end, const char *what, const char *registers)
{
    struct probe *p = context;
    (void)index, (void)end, (void)registers;
    pthread_mutex_lock(&p->lock);
    snprintf(p->why, sizeof p->why, "%s", what);
    p->ended = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

// The tables of any kernel, the IDT's entry 3, the code.
static int write_guest(const struct guest_memory *m, struct error *error)
{
    const uint64_t handler = CODE + ((uintptr_t)probe_int3 - (uintptr_t)probe_guest);
    const uint64_t gate[2] = {(handler & 0xffff) | (uint64_t)LAYOUT_GDT_CODE << 16 | 0x8e00ull << 32 |
                                  (handler >> 16 & 0xffff) << 48,
                              handler >> 32};
    int r = load_tables(m, true, error);
    if (r == 0 && (guest_memory_write(m, DATA + DATA_IDT + 3 * sizeof gate, gate, sizeof gate) < 0 ||
                   guest_memory_write(m, CODE, probe_guest, (uintptr_t)probe_guest_end - (uintptr_t)probe_guest) < 0))
        r = error_set(error, EFAULT, "the memory has no room for a guest to probe KVM with");
    return r;
}

// Until the guest is through, stopped, or out of time.
static void wait_for_end(struct probe *p)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_SECONDS;
    pthread_mutex_lock(&p->lock);
    while (!p->ended && pthread_cond_timedwait(&p->changed, &p->lock, &until) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&p->lock);
}

static int judge(const struct probe *p, struct error *error)
{
    static const char *const tried[] = {
        [STEP_NONE] = "enter long mode", [STEP_LONG_MODE] = "run cmpxchg16b", [STEP_CMPXCHG16B] = "run xsave or xrstor",
        [STEP_XSAVE] = "run int3",       [STEP_LOOP_BEGAN] = "run a loop",    [STEP_LOOP_ENDED] = "run a loop",
    };
    static const char advice[] = "it is a software KVM inside another machine; --engine qemu does without it";
    if (quick_enough(p))
        return 0;
    if (p->step == STEP_ALL)
        return error_set(error, EOPNOTSUPP,
                         "this host's KVM is too slow for a kernel (%u us for what takes a processor 12): %s",
                         (unsigned)(p->quickest_loop / 1000), advice);
    if (p->step == STEP_WRONG)
        return error_set(error, EOPNOTSUPP, "this host's KVM computes wrong results: %s", advice);
    return error_set(error, EOPNOTSUPP, "this host's KVM cannot %s (%s): %s", tried[p->step],
                     p->why[0] ? p->why : "it is too slow, or stops", advice);
}

static int run(struct probe *p, struct kvm *k, struct bus *ports, struct bus *memory_bus, struct error *error)
{
    const struct bus_handler handler = {.name = "probe", .write = step_written, .context = p};
    const struct load_entry entry = {.long_mode = true, .address = CODE, .argument = DATA};
    const struct vcpu_settings settings = {
        .kvm = k,
        .ports = ports,
        .memory = memory_bus,
        .count = 1,
        .ended = vcpu_ended,
        .context = p,
    };
    struct vcpu *v;
    int r = bus_add(ports, PORT, 1, &handler);
    if (r < 0)
        return error_set(error, -r, "cannot probe KVM: %s", strerror(-r));
    r = vcpu_new(&settings, &v, error);
    if (r < 0)
        return r;
    r = vcpu_set_entry(v, &entry, error);
    if (r == 0)
        r = vcpu_start(v, false, error);
    if (r == 0) {
        wait_for_end(p);
        vcpu_stop(v);
        r = judge(p, error);
    }
    vcpu_free(v);
    return r;
}

int probe_kvm(const char *path, int fd, struct error *error)
{
    struct probe p = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .quickest_loop = UINT64_MAX};
    struct guest_memory memory CLEANUP(guest_memory_free) = {.mapped = false};
    struct kvm k CLEANUP(kvm_close) = {.dev = -1, .vm = -1};
    struct bus ports, memory_bus;
    int r = kvm_open(path, fd, &k, error);
    if (r == 0)
        r = kvm_create_vm(&k, error);
    if (r == 0)
        r = guest_memory_make(LAYOUT_MEMORY_MINIMUM, &memory, error);
    if (r == 0)
        r = kvm_map_memory(&k, &memory, error);
    if (r == 0)
        r = write_guest(&memory, error);
    if (r < 0)
        return r;
    bus_init(&ports);
    bus_init(&memory_bus);
    r = run(&p, &k, &ports, &memory_bus, error);
    bus_destroy(&memory_bus);
    bus_destroy(&ports);
    return r;
}
