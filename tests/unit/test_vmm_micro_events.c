// Guests of a few instructions on the real KVM, and what passes between them and us without an exit: a second
// processor's start, doorbells, message interrupts, collected writes (vmm/kvm.h, port_ring.h).
#include "vmm/port_ring.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "micro_guest.h"

#include "base/banned.h"

#define FINISH "mov $0x5a, %al\n out %al, $0xf4\n 1: hlt\n jmp 1b\n"

// INIT and SIPI (vector 8: 0x8000) to APIC id 1, by the local APIC's interrupt command register.
MICRO_GUEST(starts_another, "mov $0xfee00000, %ebx\n movl $0x01000000, 0x310(%rbx)\n movl $0x4500, 0x300(%rbx)\n"
                            "movl $0x01000000, 0x310(%rbx)\n movl $0x4608, 0x300(%rbx)\n 1: hlt\n jmp 1b\n");
MICRO_GUEST(other, ".code16\n mov $0x77, %al\n out %al, $0xf4\n 1: hlt\n jmp 1b\n .code64\n");

static void second_processor_begins_where_the_first_sends_it(void **state)
{
    struct micro m;
    (void)state;
    if (!micro_make(&m, 2))
        skip();
    assert_int_equal(guest_memory_write(&m.memory, 0x8000, other, (size_t)(other_end - other)), 0);
    assert_true(micro_run(&m, starts_another, starts_another_end));
    assert_int_equal(m.finished_by, 0x77);
    micro_free(&m);
}

MICRO_GUEST(rings,
            "mov $0xd0000000, %ebx\n movb $1, (%rbx)\n movw $2, (%rbx)\n movl $3, (%rbx)\n movl $4, 4(%rbx)\n" FINISH);

static void count_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    unsigned *writes = context;
    (void)offset;
    (void)width;
    (void)value;
    ++*writes;
}

static void doorbell_of_any_width_rings_without_an_exit(void **state)
{
    struct micro m;
    unsigned writes = 0;
    uint64_t count = 0, exits[VCPU_EXITS];
    const struct bus_handler handler = {.name = "doorbells", .write = count_write, .context = &writes};
    (void)state;
    if (!micro_make(&m, 1))
        skip();
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(bus_add(&m.memory_bus, 0xd0000000, 0x1000, &handler), 0);
    assert_int_equal(kvm_irq_operations.add_doorbell(&m.kvm, 0xd0000000, bell), 0);
    assert_true(micro_run(&m, rings, rings_end));
    assert_int_equal(read(bell, &count, sizeof count), 8);
    assert_int_equal(count, 3);
    assert_int_equal(writes, 1); // the one beside it
    vcpu_count(m.vcpus[0], exits);
    assert_int_equal(exits[VCPU_EXIT_MEMORY], 1);
    assert_int_equal(kvm_irq_operations.remove_doorbell(&m.kvm, 0xd0000000, bell), 0);
    assert_true(kvm_irq_operations.remove_doorbell(&m.kvm, 0xd0000000, bell) < 0);
    close(bell);
    micro_free(&m);
}

// Turns its APIC on, then shows by IRR bit 0x41 and later 0x52 (0x200: 32 vectors each 16 bytes) what has arrived: an
// interrupt that waits, since they are off.
MICRO_GUEST(waits_for_messages, "mov $0xfee00000, %ebx\n movl $0x1ff, 0xf0(%rbx)\n incq (%rsi)\n"
                                "1: pause\n mov 0x220(%rbx), %eax\n test $2, %eax\n jz 1b\n incq (%rsi)\n"
                                "2: pause\n mov 0x220(%rbx), %eax\n test $0x40000, %eax\n jz 2b\n" FINISH);

static void wait_for_count(const struct micro *m, uint64_t wanted)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 10000 && value != wanted; i++) {
        usleep(1000);
        assert_int_equal(guest_memory_read(&m->memory, MICRO_DATA, &value, sizeof value), 0);
    }
    assert_int_equal(value, wanted);
}

static void message_arrives_at_the_vector_that_was_routed_last(void **state)
{
    struct micro m;
    const uint64_t one = 1;
    int fd = -1, unused = -1;
    unsigned route = 0, other_route = 0;
    (void)state;
    if (!micro_make(&m, 1))
        skip();
    assert_int_equal(kvm_irq_operations.add_message(&m.kvm, &unused, &other_route, NULL), 0);
    assert_int_equal(kvm_irq_operations.add_message(&m.kvm, &fd, &route, NULL), 0);
    assert_int_not_equal(route, other_route);
    assert_int_equal(kvm_irq_operations.route_message(&m.kvm, route + 1, 0xfee00000, 0x41), -EINVAL);
    assert_int_equal(kvm_irq_operations.route_message(&m.kvm, 4, 0xfee00000, 0x41), -EINVAL); // a pin of the I/O APIC
    assert_int_equal(kvm_irq_operations.route_message(&m.kvm, route, 0xfee00000, 0x41), 0);
    micro_make_vcpus(&m, NULL, waits_for_messages, waits_for_messages_end);
    micro_start(&m);
    wait_for_count(&m, 1);
    assert_int_equal(write(fd, &one, 8), 8);
    wait_for_count(&m, 2);
    assert_int_equal(kvm_irq_operations.route_message(&m.kvm, route, 0xfee00000, 0x52), 0);
    assert_int_equal(write(fd, &one, 8), 8);
    assert_int_equal(micro_wait(&m, MICRO_SECONDS * 1000), MICRO_FINISHED);
    close(fd);
    close(unused);
    micro_free(&m);
}

// The log of two ports: what was written where, in order.
struct log {
    struct loop loop;
    _Atomic unsigned count; // the loop looks at it while a vCPU writes
    unsigned char bytes[512];
};

static void log_byte(struct log *l, uint64_t value)
{
    if (l->count < sizeof l->bytes)
        l->bytes[l->count++] = (unsigned char)value;
}

static void log_write(void *context, uint64_t offset, unsigned width, uint64_t value)
{
    (void)offset;
    (void)width;
    log_byte(context, value);
}

static uint64_t log_read(void *context, uint64_t offset, unsigned width)
{
    (void)offset;
    (void)width;
    log_byte(context, 'R');
    return 0;
}

static void add_log(struct micro *m, struct log *l)
{
    const struct bus_handler handler = {.name = "log", .read = log_read, .write = log_write, .context = l};
    assert_int_equal(loop_init(&l->loop, NULL), 0);
    assert_int_equal(bus_add(&m->ports, 0x1230, 8, &handler), 0);
}

MICRO_GUEST(writes_much, "mov $0x1230, %edx\n mov $300, %ecx\n 1: mov %ecx, %eax\n out %al, %dx\n loop 1b\n"
                         "mov $0x1235, %edx\n in %dx, %al\n" FINISH);

static void collected_writes_come_in_order_before_the_next_exit(void **state)
{
    struct micro m;
    struct log l = {.count = 0};
    struct port_ring *ring;
    uint64_t exits[VCPU_EXITS];
    (void)state;
    if (!micro_make(&m, 1))
        skip();
    add_log(&m, &l);
    assert_int_equal(port_ring_new(&m.kvm, &m.ports, &l.loop, NULL, &ring, NULL), 0);
    if (!ring)
        skip();
    assert_int_equal(kvm_collect_port(&m.kvm, 0x1230, true), 0);
    micro_make_vcpus(&m, ring, writes_much, writes_much_end);
    micro_start(&m);
    assert_int_equal(micro_wait(&m, MICRO_SECONDS * 1000), MICRO_FINISHED);
    assert_int_equal(l.count, 301);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(l.bytes[i], (300 - i) & 0xff);
    assert_int_equal(l.bytes[300], 'R');
    vcpu_count(m.vcpus[0], exits);
    assert_true(exits[VCPU_EXIT_PORT] < 10); // the ring holds about 170; then one write is an exit, and drains it
    assert_int_equal(kvm_collect_port(&m.kvm, 0x1230, false), 0);
    micro_free(&m);
    port_ring_free(ring);
    loop_destroy(&l.loop);
}

// A read, and the last write of a guest's life.
MICRO_GUEST(writes_last, "mov $0x1235, %edx\n in %dx, %al\n mov $0x1230, %edx\n mov $0x4c, %al\n out %al, %dx\n"
                         "1: hlt\n jmp 1b\n");

static void look_whether_it_came(void *context, uint32_t events)
{
    struct log *l = context;
    (void)events;
    if (l->count == 2)
        loop_end(&l->loop);
}

static void the_last_write_is_not_forgotten(void **state)
{
    struct micro m;
    struct log l = {.count = 0};
    struct port_ring *ring;
    struct loop_source *source;
    const struct itimerspec often = {.it_value = {0, 5000000}, .it_interval = {0, 5000000}};
    (void)state;
    if (!micro_make(&m, 1))
        skip();
    add_log(&m, &l);
    assert_int_equal(port_ring_new(&m.kvm, &m.ports, &l.loop, NULL, &ring, NULL), 0);
    if (!ring)
        skip();
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    timerfd_settime(timer, 0, &often, NULL);
    assert_int_equal(loop_add(&l.loop, timer, EPOLLIN, look_whether_it_came, &l, &source), 0);
    assert_int_equal(kvm_collect_port(&m.kvm, 0x1230, true), 0);
    micro_make_vcpus(&m, ring, writes_last, writes_last_end);
    micro_start(&m);
    assert_int_equal(loop_run(&l.loop), 0); // hangs, and the test's time limit ends it, if it is forgotten
    assert_memory_equal(l.bytes, "RL", 2);
    micro_free(&m);
    port_ring_free(ring);
    loop_destroy(&l.loop);
    close(timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(second_processor_begins_where_the_first_sends_it),
        cmocka_unit_test(doorbell_of_any_width_rings_without_an_exit),
        cmocka_unit_test(message_arrives_at_the_vector_that_was_routed_last),
        cmocka_unit_test(collected_writes_come_in_order_before_the_next_exit),
        cmocka_unit_test(the_last_write_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
