// Guests of a few instructions on the real KVM: vmm/kvm.h, vcpu.h, port_ring.h. What reaches the buses, and how a
// vCPU starts, pauses and ends.
#include "vmm/vcpu.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "micro_guest.h"

#include "base/banned.h"

#define PORT 0x1230
#define MMIO 0xd0000000ull

// A device that notes what was done to it, and answers reads with a value of its own for each width.
struct recorder {
    pthread_mutex_t lock;
    unsigned count;
    struct access {
        char what;
        uint64_t offset, value;
        unsigned width;
    } accesses[64];
};

static void record(struct recorder *r, char what, uint64_t offset, unsigned width, uint64_t value)
{
    pthread_mutex_lock(&r->lock);
    if (r->count < 64)
        r->accesses[r->count++] = (struct access){.what = what, .offset = offset, .value = value, .width = width};
    pthread_mutex_unlock(&r->lock);
}

static uint64_t recorder_read(void *context, uint64_t offset, unsigned width)
{
    record(context, 'r', offset, width, 0);
    return 0x8877665544332211ull;
}

static void recorder_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    record(context, 'w', offset, width, value);
}

static void add_recorder(struct bus *b, uint64_t address, uint64_t size, struct recorder *r)
{
    const struct bus_handler handler = {
        .name = "recorder", .read = recorder_read, .write = recorder_write, .context = r};
    *r = (struct recorder){.lock = PTHREAD_MUTEX_INITIALIZER};
    assert_int_equal(bus_add(b, address, size, &handler), 0);
}

static void assert_access(const struct recorder *r, unsigned i, char what, uint64_t offset, unsigned width,
                          uint64_t value)
{
    assert_true(i < r->count);
    assert_int_equal(r->accesses[i].what, what);
    assert_int_equal(r->accesses[i].offset, offset);
    assert_int_equal(r->accesses[i].width, width);
    assert_int_equal(r->accesses[i].value, value);
}

static uint64_t result(const struct micro *m, unsigned i)
{
    uint64_t value;
    assert_int_equal(guest_memory_read(&m->memory, MICRO_DATA + i * 8, &value, sizeof value), 0);
    return value;
}

#define BEGIN                                                                                                          \
    struct micro m;                                                                                                    \
    (void)state;                                                                                                       \
    if (!micro_make(&m, 1))                                                                                            \
    skip()
#define FINISH "mov $0x5a, %al\n out %al, $0xf4\n 1: hlt\n jmp 1b\n"

MICRO_GUEST(port_widths, "mov $0x1230, %edx\n mov $0x11223344, %eax\n"
                         "out %al, %dx\n out %ax, %dx\n out %eax, %dx\n"
                         "mov $-1, %rax\n in %dx, %al\n mov %rax, (%rsi)\n"
                         "mov $-1, %rax\n in %dx, %ax\n mov %rax, 8(%rsi)\n"
                         "xor %eax, %eax\n in %dx, %eax\n mov %rax, 16(%rsi)\n" FINISH);

static void ports_have_widths_1_2_and_4(void **state)
{
    struct recorder r;
    BEGIN;
    add_recorder(&m.ports, PORT, 4, &r);
    assert_true(micro_run(&m, port_widths, port_widths_end));
    assert_int_equal(r.count, 6);
    assert_access(&r, 0, 'w', 0, 1, 0x44);
    assert_access(&r, 1, 'w', 0, 2, 0x3344);
    assert_access(&r, 2, 'w', 0, 4, 0x11223344);
    assert_access(&r, 3, 'r', 0, 1, 0);
    assert_access(&r, 4, 'r', 0, 2, 0);
    assert_access(&r, 5, 'r', 0, 4, 0);
    assert_int_equal(result(&m, 0), 0xffffffffffffff11ull);
    assert_int_equal(result(&m, 1), 0xffffffffffff2211ull);
    assert_int_equal(result(&m, 2), 0x44332211ull);
    micro_free(&m);
}

MICRO_GUEST(port_strings, "mov $0x1230, %edx\n movabs $0x0706050403020100, %rax\n mov %rax, (%rsi)\n cld\n"
                          "mov $4, %ecx\n rep outsb\n" // rsi moves on by 4
                          "mov $2, %ecx\n rep outsw\n" // and by 4
                          "mov $0x200000, %edi\n mov $2, %ecx\n rep insl\n"
                          "mov $3, %ecx\n rep insb\n" FINISH);

static void string_instructions_reach_the_port_value_by_value(void **state)
{
    struct recorder r;
    BEGIN;
    add_recorder(&m.ports, PORT, 4, &r);
    assert_true(micro_run(&m, port_strings, port_strings_end));
    assert_int_equal(r.count, 11);
    for (unsigned i = 0; i < 4; i++)
        assert_access(&r, i, 'w', 0, 1, i);
    assert_access(&r, 4, 'w', 0, 2, 0x0504);
    assert_access(&r, 5, 'w', 0, 2, 0x0706);
    assert_access(&r, 6, 'r', 0, 4, 0);
    assert_access(&r, 7, 'r', 0, 4, 0);
    assert_access(&r, 10, 'r', 0, 1, 0);
    assert_int_equal(result(&m, 0), 0x4433221144332211ull);
    assert_int_equal(result(&m, 1), 0x111111);
    micro_free(&m);
}

MICRO_GUEST(memory_widths, "mov $0xd0000010, %ebx\n movabs $0x1122334455667788, %rax\n"
                           "mov %al, (%rbx)\n mov %ax, (%rbx)\n mov %eax, (%rbx)\n mov %rax, (%rbx)\n"
                           "mov $-1, %rax\n mov (%rbx), %al\n mov %rax, (%rsi)\n"
                           "mov $-1, %rax\n mov (%rbx), %ax\n mov %rax, 8(%rsi)\n"
                           "mov (%rbx), %eax\n mov %rax, 16(%rsi)\n mov (%rbx), %rax\n mov %rax, 24(%rsi)\n" FINISH);

static void memory_has_widths_1_2_4_and_8(void **state)
{
    struct recorder r;
    BEGIN;
    add_recorder(&m.memory_bus, MMIO, 0x1000, &r);
    assert_true(micro_run(&m, memory_widths, memory_widths_end));
    assert_int_equal(r.count, 8);
    assert_access(&r, 0, 'w', 0x10, 1, 0x88);
    assert_access(&r, 1, 'w', 0x10, 2, 0x7788);
    assert_access(&r, 2, 'w', 0x10, 4, 0x55667788);
    assert_access(&r, 3, 'w', 0x10, 8, 0x1122334455667788ull);
    for (unsigned i = 0; i < 4; i++)
        assert_access(&r, 4 + i, 'r', 0x10, 1u << i, 0);
    assert_int_equal(result(&m, 0), 0xffffffffffffff11ull);
    assert_int_equal(result(&m, 1), 0xffffffffffff2211ull);
    assert_int_equal(result(&m, 2), 0x44332211ull);
    assert_int_equal(result(&m, 3), 0x8877665544332211ull);
    micro_free(&m);
}

MICRO_GUEST(nobody_there, "mov $0xe123, %edx\n"
                          "xor %eax, %eax\n in %dx, %al\n mov %rax, (%rsi)\n"
                          "xor %eax, %eax\n in %dx, %ax\n mov %rax, 8(%rsi)\n"
                          "in %dx, %eax\n mov %rax, 16(%rsi)\n"
                          "out %al, %dx\n out %ax, %dx\n out %eax, %dx\n"
                          "mov $0xd8000000, %ebx\n mov (%rbx), %rax\n mov %rax, 24(%rsi)\n"
                          "mov 4093(%rbx), %eax\n mov %rax, 32(%rsi)\n" // across two pages
                          "mov %rax, (%rbx)\n mov %eax, 4093(%rbx)\n" FINISH);

static void what_nobody_answers_reads_all_ones(void **state)
{
    BEGIN;
    assert_true(micro_run(&m, nobody_there, nobody_there_end));
    assert_int_equal(result(&m, 0), 0xff);
    assert_int_equal(result(&m, 1), 0xffff);
    assert_int_equal(result(&m, 2), 0xffffffff);
    assert_int_equal(result(&m, 3), UINT64_MAX);
    assert_int_equal(result(&m, 4), 0xffffffff);
    micro_free(&m);
}

MICRO_GUEST(faults, "mov $0x200000, %esp\n ud2\n");

static void triple_fault_ends_the_vcpu_and_is_named(void **state)
{
    BEGIN;
    micro_make_vcpus(&m, NULL, faults, faults_end);
    micro_start(&m);
    assert_int_equal(micro_wait(&m, MICRO_SECONDS * 1000), MICRO_VCPU_ENDED);
    assert_int_equal(m.end, VCPU_TRIPLE_FAULT);
    micro_free(&m);
}

MICRO_GUEST(counts_forever, "1: lock incq (%rsi)\n jmp 1b\n");

static void paused_vcpu_stands_still_and_goes_on(void **state)
{
    BEGIN;
    micro_make_vcpus(&m, NULL, counts_forever, counts_forever_end);
    micro_start(&m);
    for (unsigned round = 0; round < 20; round++) {
        uint64_t before = result(&m, 0);
        for (unsigned i = 0; i < 10000 && result(&m, 0) == before; i++)
            usleep(1000);
        assert_true(result(&m, 0) != before);
        vcpu_pause(m.vcpus[0]);
        vcpu_pause(m.vcpus[0]); // twice is once
        before = result(&m, 0);
        usleep(2000);
        assert_int_equal(result(&m, 0), before);
        vcpu_resume(m.vcpus[0]);
    }
    assert_int_equal(micro_wait(&m, 0), MICRO_RUNNING);
    micro_free(&m);
}

static void vcpu_started_paused_runs_nothing_until_resumed(void **state)
{
    struct error error = {""};
    BEGIN;
    micro_make_vcpus(&m, NULL, counts_forever, counts_forever_end);
    assert_int_equal(vcpu_start(m.vcpus[0], true, &error), 0);
    usleep(5000);
    assert_int_equal(result(&m, 0), 0);
    vcpu_resume(m.vcpus[0]);
    for (unsigned i = 0; i < 10000 && result(&m, 0) == 0; i++)
        usleep(1000);
    assert_true(result(&m, 0) > 0);
    micro_free(&m);
}

// Each of many pauses must take hold, at whatever point of an exit it arrives.
MICRO_GUEST(exits_forever, "mov $0x1230, %edx\n 1: out %al, %dx\n incq (%rsi)\n jmp 1b\n");

static void no_pause_is_lost_among_exits(void **state)
{
    struct recorder r;
    BEGIN;
    add_recorder(&m.ports, PORT, 4, &r);
    micro_make_vcpus(&m, NULL, exits_forever, exits_forever_end);
    micro_start(&m);
    for (unsigned round = 0; round < 500; round++) {
        vcpu_pause(m.vcpus[0]);
        uint64_t before = result(&m, 0);
        assert_int_equal(result(&m, 0), before);
        vcpu_resume(m.vcpus[0]);
        if (round % 3 == 0)
            usleep(round % 7 * 10);
    }
    uint64_t exits[VCPU_EXITS];
    vcpu_count(m.vcpus[0], exits);
    assert_true(exits[VCPU_EXIT_PORT] > 0);
    assert_int_equal(micro_wait(&m, 0), MICRO_RUNNING);
    micro_free(&m);
}

MICRO_GUEST(sleeps_forever, "1: hlt\n jmp 1b\n");

static void halted_vcpu_can_be_paused_and_stopped(void **state)
{
    BEGIN;
    micro_make_vcpus(&m, NULL, sleeps_forever, sleeps_forever_end);
    micro_start(&m);
    usleep(5000);
    vcpu_pause(m.vcpus[0]);
    vcpu_resume(m.vcpus[0]);
    assert_int_equal(micro_wait(&m, 0), MICRO_RUNNING);
    micro_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ports_have_widths_1_2_and_4),
        cmocka_unit_test(string_instructions_reach_the_port_value_by_value),
        cmocka_unit_test(memory_has_widths_1_2_4_and_8),
        cmocka_unit_test(what_nobody_answers_reads_all_ones),
        cmocka_unit_test(triple_fault_ends_the_vcpu_and_is_named),
        cmocka_unit_test(paused_vcpu_stands_still_and_goes_on),
        cmocka_unit_test(vcpu_started_paused_runs_nothing_until_resumed),
        cmocka_unit_test(no_pause_is_lost_among_exits),
        cmocka_unit_test(halted_vcpu_can_be_paused_and_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
