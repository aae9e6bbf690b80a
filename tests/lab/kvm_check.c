// Proves that /dev/kvm works: kvm_check NUMBER
//
// A guest of a few bytes, in real mode, sends NUMBER to a port and halts. The exit code is what has arrived at the
// port: NUMBER, if everything works; 100 and above is for what did not, with a message.
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { PORT = 0x80, MEMORY = 0x1000, FAILED = 100 };

static int failed(const char *what)
{
    fprintf(stderr, "kvm_check: %s: %s\n", what, strerror(errno));
    return FAILED;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return FAILED;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        return failed("/dev/kvm");
    int version = ioctl(kvm, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return failed("KVM_GET_API_VERSION");
    printf("API version %d\n", version);

    int machine = ioctl(kvm, KVM_CREATE_VM, 0);
    if (machine < 0)
        return failed("KVM_CREATE_VM");
    // Intel's processors want three pages for real mode where they cannot run it (unrestricted_guest=0).
    if (ioctl(machine, KVM_SET_TSS_ADDR, 0xfffbd000UL) < 0)
        return failed("KVM_SET_TSS_ADDR");
    uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return failed("mmap");
    const uint8_t code[] = {0xb0, (uint8_t)atoi(argv[1]), // mov al, NUMBER
                            0xe6, PORT,                   // out PORT, al
                            0xf4};                        // hlt
    memcpy(memory, code, sizeof code);
    struct kvm_userspace_memory_region region = {
        .memory_size = MEMORY, .guest_phys_addr = 0, .userspace_addr = (uintptr_t)memory};
    if (ioctl(machine, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return failed("KVM_SET_USER_MEMORY_REGION");

    int processor = ioctl(machine, KVM_CREATE_VCPU, 0);
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (processor < 0 || size < (int)sizeof(struct kvm_run))
        return failed("KVM_CREATE_VCPU");
    struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, processor, 0);
    if (run == MAP_FAILED)
        return failed("mmap of the processor");
    struct kvm_sregs special;
    if (ioctl(processor, KVM_GET_SREGS, &special) < 0)
        return failed("KVM_GET_SREGS");
    special.cs.base = special.cs.selector = 0;
    struct kvm_regs registers = {.rip = 0, .rflags = 2};
    if (ioctl(processor, KVM_SET_SREGS, &special) < 0 || ioctl(processor, KVM_SET_REGS, &registers) < 0)
        return failed("registers");

    int got = FAILED;
    for (;;) {
        if (ioctl(processor, KVM_RUN, 0) < 0)
            return failed("KVM_RUN");
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            if (run->io.port != PORT || run->io.direction != KVM_EXIT_IO_OUT)
                return failed("a wrong port");
            got = *((uint8_t *)run + run->io.data_offset);
            break;
        case KVM_EXIT_HLT:
            return got;
        default:
            fprintf(stderr, "kvm_check: exit reason %u\n", run->exit_reason);
            return FAILED;
        }
    }
}
