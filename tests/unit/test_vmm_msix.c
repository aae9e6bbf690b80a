// MSI-X: when a vector is signalled, kept pending or lost, and when its route changes (msix.h, rules 1–4).
#include "vmm/msix.h"

#include "base/cursor.h"
#include "irq_fixture.h"

#include <fcntl.h>
#include <string.h>

#define COUNT 3u
#define ENABLE 0x8000u
#define FUNCTION_MASK 0x4000u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct counted_irq irq;
static struct pci_device function;
static struct msix msix;

static int set_up(void **state)
{
    (void)state;
    counted_irq_init(&irq);
    pci_device_init(&function, &lock, 1, 2, 3, 4, 5, 6);
    return msix_init(&msix, &function, &irq.controller, COUNT, 1, 0, 0x800, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    msix_destroy(&msix);
    return 0;
}

static void set_control(unsigned value)
{
    unsigned char *control = function.config + msix.capability + 2;
    unsigned writable = get_le16(function.writable + msix.capability + 2);
    put_le16(control, (uint16_t)((get_le16(control) & ~writable) | (value & writable)));
    msix_config_written(&msix);
}

static void set_message(unsigned vector, uint64_t address, uint32_t data)
{
    msix_table_write(&msix, 16u * vector, 4, (uint32_t)address);
    msix_table_write(&msix, 16u * vector + 4, 4, address >> 32);
    msix_table_write(&msix, 16u * vector + 8, 4, data);
}

static void set_mask(unsigned vector, unsigned masked)
{
    msix_table_write(&msix, 16u * vector + 12, 4, masked);
}

static void the_capability_tells_where_the_table_is(void **state)
{
    const unsigned char *at = function.config + msix.capability;
    (void)state;
    assert_int_equal(at[0], 0x11);
    assert_int_equal(get_le16(at + 2), COUNT - 1);
    assert_int_equal(get_le32(at + 4), 0 | 1);
    assert_int_equal(get_le32(at + 8), 0x800 | 1);
    set_control(0xffff);
    assert_int_equal(get_le16(at + 2), ENABLE | FUNCTION_MASK | (COUNT - 1));
}

static void there_are_as_many_vectors_as_there_is_room_for(void **state)
{
    struct msix other;
    struct error error = {""};
    (void)state;
    for (unsigned count = 0; count <= MSIX_VECTORS_MAXIMUM + 1; count += MSIX_VECTORS_MAXIMUM + 1) {
        assert_int_equal(msix_init(&other, &function, &irq.controller, count, 1, 0, 0x800, &error), -EINVAL);
        assert_non_null(strstr(error.text, "interrupt vectors"));
    }
}

static void a_full_counter_interrupts_anyway(void **state)
{
    (void)state;
    set_control(ENABLE);
    set_mask(0, 0);
    assert_int_equal(eventfd_write(msix.vectors[0].eventfd, UINT64_MAX - 1), 0);
    msix_signal(&msix, 0);
    assert_int_equal(msix_pending_read(&msix, 0, 4), 0);
}

static void an_unmasked_vector_is_signalled(void **state)
{
    (void)state;
    set_message(1, 0x1fee00000, 0x41);
    set_mask(1, 0);
    assert_int_equal(irq.routings, 0); // not yet enabled
    set_control(ENABLE);
    assert_int_equal(irq.routings, 1);
    assert_true(irq.addresses[1] == 0x1fee00000 && irq.data[1] == 0x41);
    msix_signal(&msix, 1);
    msix_signal(&msix, 1);
    assert_int_equal(counted_signals(&irq, 1), 2);
    assert_int_equal(counted_signals(&irq, 0) + counted_signals(&irq, 2), 0);
    msix_signal(&msix, COUNT);
    msix_signal(&msix, 0xffff);
    assert_int_equal(irq.routings, 1);
}

static void every_vector_is_masked_at_first(void **state)
{
    (void)state;
    set_control(ENABLE);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(msix_table_read(&msix, 16u * i + 12, 4), 1);
        msix_signal(&msix, i);
        assert_int_equal(counted_signals(&irq, i), 0);
    }
    assert_int_equal(msix_pending_read(&msix, 0, 8), 7);
}

static void a_masked_vector_keeps_one_signal(void **state)
{
    (void)state;
    set_control(ENABLE);
    set_message(2, 0xfee00000, 7);
    msix_signal(&msix, 2);
    msix_signal(&msix, 2);
    assert_int_equal(msix_pending_read(&msix, 0, 4), 4);
    set_mask(2, 0);
    assert_int_equal(counted_signals(&irq, 2), 1);
    assert_int_equal(msix_pending_read(&msix, 0, 4), 0);
    set_mask(2, 1);
    set_mask(2, 0);
    assert_int_equal(counted_signals(&irq, 2), 0);
    assert_int_equal(irq.routings, 1); // the same message
}

static void the_function_mask_keeps_them_all(void **state)
{
    (void)state;
    set_control(ENABLE | FUNCTION_MASK);
    for (unsigned i = 0; i < COUNT; i++) {
        set_message(i, 0xfee00000, i);
        if (i != 1)
            set_mask(i, 0);
        msix_signal(&msix, i);
    }
    assert_int_equal(irq.routings, 0);
    assert_int_equal(msix_pending_read(&msix, 0, 4), 7);
    set_control(ENABLE);
    assert_int_equal(msix_pending_read(&msix, 0, 4), 2); // 1 is masked by itself
    assert_int_equal(counted_signals(&irq, 0), 1);
    assert_int_equal(counted_signals(&irq, 2), 1);
    assert_int_equal(irq.routings, 2);
}

static void disabled_signals_are_lost(void **state)
{
    (void)state;
    set_mask(0, 0);
    msix_signal(&msix, 0);
    set_control(ENABLE);
    assert_int_equal(counted_signals(&irq, 0), 0);
    set_mask(0, 1);
    msix_signal(&msix, 0); // pending,
    set_control(0);        // forgotten
    set_mask(0, 0);
    set_control(ENABLE);
    assert_int_equal(counted_signals(&irq, 0), 0);
    msix_signal(&msix, 0);
    assert_int_equal(counted_signals(&irq, 0), 1);
}

static void routes_change_with_messages_only(void **state)
{
    (void)state;
    set_control(ENABLE);
    set_message(0, 0xfee00000, 1);
    set_mask(0, 0);
    for (unsigned i = 0; i < 100; i++) {
        set_mask(0, 1);
        set_mask(0, 0);
        set_control(ENABLE | FUNCTION_MASK);
        set_control(ENABLE);
        msix_signal(&msix, 0);
    }
    assert_int_equal(irq.routings, 1);
    set_mask(0, 1);
    set_message(0, 0xfee01000, 2); // to another processor, while masked
    assert_int_equal(irq.routings, 1);
    set_mask(0, 0);
    assert_int_equal(irq.routings, 2);
    assert_true(irq.addresses[0] == 0xfee01000 && irq.data[0] == 2);
    msix_table_write(&msix, 8, 4, 3); // unmasked: at once
    assert_int_equal(irq.data[0], 3);
}

static void a_message_that_cannot_be_routed_stays_pending(void **state)
{
    (void)state;
    set_control(ENABLE);
    set_mask(0, 0);
    irq.refuse_routes = true;
    set_message(0, 0x123, 1);
    msix_signal(&msix, 0);
    assert_int_equal(counted_signals(&irq, 0), 0);
    assert_int_equal(msix_pending_read(&msix, 0, 4), 1);
    irq.refuse_routes = false;
    set_message(0, 0xfee00000, 1);
    assert_int_equal(counted_signals(&irq, 0), 1);
}

static void only_aligned_words_reach_the_table(void **state)
{
    (void)state;
    set_message(0, UINT64_C(0x1122334455667788), 0x99aabbcc);
    assert_true(msix_table_read(&msix, 0, 8) == UINT64_C(0x1122334455667788));
    assert_true(msix_table_read(&msix, 8, 8) == UINT64_C(0x0000000199aabbcc));
    for (uint64_t offset = 0; offset < 16 * COUNT + 16; offset++)
        for (unsigned width = 1; width <= 8; width *= 2) {
            bool legal = width >= 4 && offset % width == 0 && offset + width <= 16 * COUNT;
            uint64_t ones = width == 8 ? UINT64_MAX : (UINT64_C(1) << (8 * width)) - 1;
            if (legal)
                continue;
            assert_true(msix_table_read(&msix, offset, width) == ones);
            msix_table_write(&msix, offset, width, 0);
        }
    assert_true(msix_table_read(&msix, 0, 8) == UINT64_C(0x1122334455667788));
    assert_true(msix_table_read(&msix, UINT64_MAX - 3, 4) == 0xffffffff);
    msix_table_write(&msix, 24, 8, UINT64_C(0xffffffff00000007)); // data and control at once
    assert_int_equal(msix_table_read(&msix, 24, 4), 7);
    assert_int_equal(msix_table_read(&msix, 28, 4), 1); // reserved bits stay 0
    assert_int_equal(msix_pending_read(&msix, 4, 4), 0);
    assert_int_equal(msix_pending_read(&msix, 8, 4), 0xffffffff);
    assert_int_equal(msix_pending_read(&msix, 0, 2), 0xffff);
}

static void what_cannot_be_made_is_undone(void **state)
{
    struct counted_irq few;
    struct pci_device d;
    struct msix m;
    struct error error = {""};
    (void)state;
    counted_irq_init(&few);
    few.messages_maximum = 2;
    pci_device_init(&d, &lock, 1, 2, 3, 4, 5, 6);
    assert_int_equal(msix_init(&m, &d, &few.controller, 3, 1, 0, 0x800, &error), -ENOSPC);
    assert_int_equal(fcntl(few.eventfds[0], F_GETFD), -1); // closed again
    assert_int_equal(fcntl(few.eventfds[1], F_GETFD), -1);
    assert_int_equal(msix_init(&m, &d, &few.controller, MSIX_VECTORS_MAXIMUM + 1, 1, 0, 0x800, &error), -EINVAL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        T(the_capability_tells_where_the_table_is),
        T(an_unmasked_vector_is_signalled),
        T(every_vector_is_masked_at_first),
        T(a_masked_vector_keeps_one_signal),
        T(the_function_mask_keeps_them_all),
        T(disabled_signals_are_lost),
        T(routes_change_with_messages_only),
        T(a_message_that_cannot_be_routed_stays_pending),
        T(there_are_as_many_vectors_as_there_is_room_for),
        T(a_full_counter_interrupts_anyway),
        T(only_aligned_words_reach_the_table),
        T(what_cannot_be_made_is_undone),
    };
    return cmocka_run_group_tests_name("msix", tests, NULL, NULL);
}
