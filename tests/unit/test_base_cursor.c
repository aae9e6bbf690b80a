// base/cursor.h: little-endian reads, and reads past the end that give zeros and stay failed.
#include "base/cursor.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

// Exactly `n` bytes of memory, so that AddressSanitizer sees a read one byte too far.
static unsigned char *exact(size_t n)
{
    unsigned char *p = malloc(n ? n : 1);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(i + 1);
    return p;
}

static void integers_are_little_endian(void **state)
{
    (void)state;
    unsigned char *p CLEANUP_FREE = exact(15);
    struct cursor c = cursor_over(p, 15);
    assert_int_equal(cursor_u8(&c), 0x01);
    assert_int_equal(cursor_u16(&c), 0x0302);
    assert_int_equal(cursor_u32(&c), 0x07060504);
    assert_true(cursor_u64(&c) == UINT64_C(0x0F0E0D0C0B0A0908));
    assert_int_equal(c.left, 0);
    assert_false(c.failed);
}

static void high_bits_survive(void **state)
{
    (void)state;
    static const unsigned char ones[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    struct cursor c = cursor_over(ones, sizeof ones);
    assert_true(cursor_u64(&c) == UINT64_MAX);
    assert_int_equal(get_le16(ones), 0xFFFF);
    assert_true(get_le32(ones) == UINT32_MAX);
}

static void put_and_get_are_inverse(void **state)
{
    (void)state;
    unsigned char p[8];
    put_le64(p, UINT64_C(0x8123456789ABCDEF));
    assert_int_equal(p[0], 0xEF);
    assert_int_equal(p[7], 0x81);
    assert_true(get_le64(p) == UINT64_C(0x8123456789ABCDEF));
    put_le32(p, 0xFEDCBA98);
    assert_true(get_le32(p) == 0xFEDCBA98);
    put_le16(p, 0x8001);
    assert_int_equal(get_le16(p), 0x8001);
}

// A structure {u8, u16, u32, u64, 3 bytes} over every shorter length: fails exactly when bytes are missing.
static void every_truncation_fails_once_and_for_good(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 18; n++) {
        unsigned char *p CLEANUP_FREE = exact(n);
        struct cursor c = cursor_over(p, n);
        unsigned char tail[3] = {9, 9, 9};
        cursor_u8(&c);
        cursor_u16(&c);
        cursor_u32(&c);
        uint64_t last = cursor_u64(&c);
        cursor_copy(&c, tail, sizeof tail);
        assert_int_equal(c.failed, n < 18);
        if (n < 15)
            assert_true(last == 0);
        if (n < 18) {
            assert_int_equal(tail[0] | tail[1] | tail[2], 0);
            assert_int_equal(cursor_u8(&c), 0); // even if bytes are left
            assert_null(cursor_bytes(&c, 0));
        } else {
            assert_int_equal(tail[2], 18);
        }
    }
}

static void huge_counts_do_not_wrap(void **state)
{
    (void)state;
    unsigned char *p CLEANUP_FREE = exact(4);
    struct cursor c = cursor_over(p, 4);
    assert_null(cursor_bytes(&c, SIZE_MAX));
    assert_true(c.failed);
    c = cursor_over(p, 4);
    assert_ptr_equal(cursor_bytes(&c, 4), p);
    assert_non_null(cursor_bytes(&c, 0)); // nothing, at the end, is there
    assert_false(c.failed);
    assert_null(cursor_bytes(&c, 1));
    assert_true(c.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_little_endian), cmocka_unit_test(high_bits_survive),
        cmocka_unit_test(put_and_get_are_inverse),    cmocka_unit_test(every_truncation_fails_once_and_for_good),
        cmocka_unit_test(huge_counts_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
