// A whole machine (vm_new, with every device) for a hostile guest, and what that guest can do: accesses of any width to
// any port and address, and anything in its memory. An access is made either by the real guest, a few instructions that
// do what a mailbox in its memory says, or, for volume, by this process on the machine's buses while the vCPU is
// paused; the test is the same. What only has to be written to memory is written there by this process: the guest's
// memory is shared, as it is with a second processor of the guest.
//
// Needs a /dev/kvm; any will do.
#pragma once

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"
#include "blockstore/overlay.h"
#include "vmm/vm_private.h"

#include <elf.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define HOSTILE_MEMORY (32ull << 20)
#define HOSTILE_LOAD 0x200000u
#define HOSTILE_MAILBOX 0x500000u
#define HOSTILE_SECONDS 20

// The mailbox: request number 0, operation 4, address 8, value 12, answer 16, number of the last one done 20.
enum hostile_operation { GUEST_OUT, GUEST_IN, GUEST_WRITE, GUEST_READ }; // times 4, and 0 to 2 for 1, 2, 4 bytes

__asm__(".pushsection .rodata\n"
        ".code32\n"
        "hostile_guest:\n"
        "mov $0x500000, %ebp\n"
        "1: mov (%ebp), %ecx\n cmp 20(%ebp), %ecx\n je 1b\n"
        "mov 8(%ebp), %edx\n mov 12(%ebp), %eax\n mov 4(%ebp), %ebx\n"
        "test %ebx, %ebx\n jne 2f\n out %al, %dx\n jmp 9f\n"
        "2: dec %ebx\n jne 2f\n out %ax, %dx\n jmp 9f\n"
        "2: dec %ebx\n jne 2f\n out %eax, %dx\n jmp 9f\n"
        "2: dec %ebx\n jne 2f\n xor %eax, %eax\n in %dx, %al\n jmp 8f\n"
        "2: dec %ebx\n jne 2f\n xor %eax, %eax\n in %dx, %ax\n jmp 8f\n"
        "2: dec %ebx\n jne 2f\n in %dx, %eax\n jmp 8f\n"
        "2: dec %ebx\n jne 2f\n mov %al, (%edx)\n jmp 9f\n"
        "2: dec %ebx\n jne 2f\n mov %ax, (%edx)\n jmp 9f\n"
        "2: dec %ebx\n jne 2f\n mov %eax, (%edx)\n jmp 9f\n"
        "2: dec %ebx\n jne 2f\n xor %eax, %eax\n mov (%edx), %al\n jmp 8f\n"
        "2: dec %ebx\n jne 2f\n xor %eax, %eax\n mov (%edx), %ax\n jmp 8f\n"
        "2: mov (%edx), %eax\n"
        "8: mov %eax, 16(%ebp)\n"
        "9: mov %ecx, 20(%ebp)\n jmp 1b\n"
        "hostile_guest_end:\n"
        ".code64\n"
        ".popsection\n");
extern const unsigned char hostile_guest[], hostile_guest_end[];

struct hostile {
    struct vm *vm;
    struct vm_options options;
    bool by_guest;
    pthread_t thread;
    sem_t ended, never;
    enum vm_end end;
    int result;
    int console, net; // our ends
    char folder[64];
    int top_fd, folder_fd;
    uint32_t request;
};

static inline int hostile_file(const void *bytes, size_t n, uint64_t size)
{
    int fd = memfd_create("a file of a test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, bytes, n, 0), 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

// An ELF file of one segment, whose beginning is the PVH note.
static inline int hostile_kernel(void)
{
    unsigned char file[2048] = {0}, *note = file + 512;
    size_t code = (size_t)(hostile_guest_end - hostile_guest);
    assert_true(code < 1024);
    const Elf64_Ehdr head = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                             .e_type = ET_EXEC,
                             .e_machine = EM_X86_64,
                             .e_version = EV_CURRENT,
                             .e_phoff = sizeof head,
                             .e_ehsize = sizeof head,
                             .e_phentsize = sizeof(Elf64_Phdr),
                             .e_phnum = 2};
    const Elf64_Phdr parts[2] = {
        {.p_type = PT_LOAD,
         .p_offset = 512,
         .p_vaddr = HOSTILE_LOAD,
         .p_paddr = HOSTILE_LOAD,
         .p_filesz = 1536,
         .p_memsz = 1536,
         .p_align = 4},
        {.p_type = PT_NOTE,
         .p_offset = 512,
         .p_vaddr = HOSTILE_LOAD,
         .p_paddr = HOSTILE_LOAD,
         .p_filesz = 20,
         .p_memsz = 20,
         .p_align = 4},
    };
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, parts, sizeof parts);
    put_le32(note, 4);
    put_le32(note + 4, 4);
    put_le32(note + 8, 18);
    memcpy(note + 12, "Xen", 4);
    put_le32(note + 16, HOSTILE_LOAD + 64);
    memcpy(note + 64, hostile_guest, code);
    return hostile_file(file, sizeof file, sizeof file);
}

// For the overlay; in the sandbox it can be removed through a descriptor only.
static inline void hostile_make_folder(struct hostile *h)
{
    const char *top = getenv("TMPDIR");
    snprintf(h->folder, sizeof h->folder, "%.40s/hostile.XXXXXX", top ? top : "/tmp");
    assert_non_null(mkdtemp(h->folder));
    h->folder_fd = open(h->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    h->top_fd = open(top ? top : "/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(h->folder_fd >= 0 && h->top_fd >= 0);
}

static inline void hostile_remove_folder(struct hostile *h)
{
    unlinkat(h->folder_fd, "disk.data", 0);
    unlinkat(h->folder_fd, "disk.map", 0);
    unlinkat(h->top_fd, strrchr(h->folder, '/') + 1, AT_REMOVEDIR);
    close(h->folder_fd);
    close(h->top_fd);
}

static inline void hostile_add_overlay(struct hostile *h)
{
    static unsigned char base[65536];
    struct error error = {""};
    int folder = fcntl(h->folder_fd, F_DUPFD_CLOEXEC, 3);
    assert_true(folder >= 0);
    h->options.overlay = (struct vm_overlay){.folder = {.name = h->folder, .fd = folder},
                                             .base = {.name = "base", .fd = hostile_file(base, sizeof base, 1 << 20)}};
    if (overlay_create(folder, 1 << 20, &h->options.overlay.manifest, &error) < 0)
        fail_msg("%s", error.text);
}

static inline void *hostile_thread(void *context)
{
    struct hostile *h = context;
    struct error error = {""};
    h->result = vm_run(h->vm, &h->end, &error);
    if (h->result < 0)
        print_message("# the machine ended: %s\n", error.text);
    sem_post(&h->ended);
    while (h->options.sandbox) // a main thread: its filter knows no end of a thread, only of the process
        sem_wait(&h->never);
    return NULL;
}

// After hostile_make_folder. False: there is no KVM here.
static inline bool hostile_begin(struct hostile *h, bool by_guest, bool sandbox)
{
    static const unsigned char sector[512];
    struct error error = {""};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), console[2], net[2];
    if (kvm < 0)
        return false;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, console), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, net), 0);
    h->by_guest = by_guest;
    h->console = console[0];
    h->net = net[0];
    h->options = (struct vm_options){
        .kernel = {.name = "a hostile guest", .fd = hostile_kernel()},
        .initrd.fd = -1,
        .kvm = {.name = "/dev/kvm", .fd = kvm},
        .cmdline = "console=hvc0",
        .memory = HOSTILE_MEMORY,
        .cpus = 1,
        .disk_count = 2,
        .disks = {{.file = {.name = "disk", .fd = hostile_file(sector, sizeof sector, 1 << 20)}},
                  {.file = {.name = "read-only disk", .fd = hostile_file(sector, sizeof sector, 65536)},
                   .read_only = true}},
        .net = VM_NET_PASST,
        .net_fd = net[1],
        .console_input = console[1],
        .console_output = console[1],
        .console = console[1],
        .control = -1,
        .record = -1,
        .paused = !by_guest,
        .sandbox = sandbox,
    };
    hostile_add_overlay(h);
    if (vm_new(&h->options, &h->vm, &error) < 0)
        fail_msg("%s", error.text);
    return true;
}

static inline void hostile_start(struct hostile *h)
{
    assert_int_equal(sem_init(&h->ended, 0, 0) | sem_init(&h->never, 0, 0), 0);
    assert_int_equal(pthread_create(&h->thread, NULL, hostile_thread, h), 0);
}

// Waits for the machine's end, and checks which it is.
static inline void hostile_wait(struct hostile *h, enum vm_end end)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += HOSTILE_SECONDS;
    assert_int_equal(sem_timedwait(&h->ended, &until), 0);
    if (!h->options.sandbox)
        pthread_join(h->thread, NULL);
    assert_int_equal(h->result, 0);
    assert_int_equal(h->end, end);
}

// After the machine has ended.
static inline void hostile_free(struct hostile *h)
{
    vm_free(h->vm);
    vm_options_free(&h->options);
    close(h->console);
    close(h->net);
}

static inline uint64_t hostile_now_ms(void)
{
    return io_monotonic_ns() / 1000000;
}

static inline void hostile_pause(unsigned us)
{
    const struct timespec t = {.tv_nsec = us * 1000L};
    nanosleep(&t, NULL);
}

// --- accesses ------------------------------------------------------------------------------------------------------

static inline unsigned char *hostile_at(struct hostile *h, uint64_t address, uint64_t n)
{
    unsigned char *bytes = guest_memory_slice(&h->vm->memory, address, n);
    assert_non_null(bytes);
    return bytes;
}

static inline uint32_t hostile_ask(struct hostile *h, enum hostile_operation what, unsigned width, uint32_t address,
                                   uint32_t value)
{
    unsigned char *box = hostile_at(h, HOSTILE_MAILBOX, 24);
    uint64_t deadline = hostile_now_ms() + HOSTILE_SECONDS * 1000;
    put_le32(box + 4, what * 3u + (width == 1 ? 0u : width == 2 ? 1u : 2u));
    put_le32(box + 8, address);
    put_le32(box + 12, value);
    __atomic_store_n((uint32_t *)(void *)box, ++h->request, __ATOMIC_RELEASE);
    for (unsigned i = 0; __atomic_load_n((uint32_t *)(void *)(box + 20), __ATOMIC_ACQUIRE) != h->request; i++) {
        if (h->vm->end != VM_GOES_ON)
            return 0;
        if (hostile_now_ms() > deadline)
            fail_msg("the guest does not answer");
        if (i > 200)
            hostile_pause(20);
    }
    return get_le32(box + 16);
}

static inline uint64_t hostile_read(struct hostile *h, uint64_t address, unsigned width)
{
    if (h->by_guest && width <= 4)
        return hostile_ask(h, GUEST_READ, width, (uint32_t)address, 0);
    return bus_read(&h->vm->memory_bus, address, width);
}

static inline void hostile_write(struct hostile *h, uint64_t address, unsigned width, uint64_t value)
{
    if (h->by_guest && width <= 4)
        hostile_ask(h, GUEST_WRITE, width, (uint32_t)address, (uint32_t)value);
    else
        bus_write(&h->vm->memory_bus, address, width, value);
}

static inline uint64_t hostile_in(struct hostile *h, uint16_t port, unsigned width)
{
    return h->by_guest ? hostile_ask(h, GUEST_IN, width, port, 0) : bus_read(&h->vm->ports, port, width);
}

static inline void hostile_out(struct hostile *h, uint16_t port, unsigned width, uint32_t value)
{
    if (h->by_guest)
        hostile_ask(h, GUEST_OUT, width, port, value);
    else
        bus_write(&h->vm->ports, port, width, value);
}
