// Tokens and places for visitors' machines (server/try_places.h).

#include "base/cleanup.h"
#include "server/try_places.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

#define SECOND UINT64_C(1000000000)

static struct try_address visitor(unsigned n)
{
    struct try_address a = {.bytes = {[15] = (unsigned char)n}};
    return a;
}

static int reserve(struct try_places *p, unsigned who, uint64_t now, char *token)
{
    const struct try_address a = visitor(who);
    return try_places_reserve(p, &a, "tiny", now, token);
}

static void test_a_token_works_once(void **state)
{
    struct try_places *p CLEANUP(try_places_free) = try_places_new(2);
    char token[TRY_TOKEN_SIZE], image[TRY_IMAGE_SIZE];
    uint64_t place = 0;
    (void)state;
    assert_int_equal(reserve(p, 1, 0, token), 0);
    assert_int_equal(strlen(token), TRY_TOKEN_SIZE - 1);
    assert_int_equal(try_places_take(p, "", 0, &place), -ENOENT);
    token[42] ^= 1;
    assert_int_equal(try_places_take(p, token, 0, &place), -ENOENT);
    token[42] ^= 1;
    assert_int_equal(try_places_take(p, token, 59 * SECOND, &place), 0);
    assert_int_equal(try_places_take(p, token, 59 * SECOND, &place), -ENOENT);
    assert_int_equal(try_places_open(p, place, 60 * SECOND, image), 0);
    assert_string_equal(image, "tiny");
    assert_int_equal(try_places_open(p, place, 60 * SECOND, image), -ENOENT);
}

static void test_late_ones(void **state)
{
    struct try_places *p CLEANUP(try_places_free) = try_places_new(1);
    char token[TRY_TOKEN_SIZE], image[TRY_IMAGE_SIZE];
    uint64_t place, next;
    (void)state;
    assert_int_equal(reserve(p, 1, 0, token), 0);
    assert_int_equal(reserve(p, 2, 59 * SECOND, token), -EBUSY);
    assert_int_equal(try_places_take(p, token, 60 * SECOND, &place), -ENOENT);
    assert_int_equal(reserve(p, 2, 60 * SECOND, token), 0);
    assert_int_equal(try_places_take(p, token, 61 * SECOND, &place), 0);
    // A connection that never became a WebSocket, and one that does so behind it.
    assert_int_equal(reserve(p, 3, 180 * SECOND, token), -EBUSY);
    assert_int_equal(reserve(p, 3, 181 * SECOND, token), 0);
    assert_int_equal(try_places_open(p, place, 181 * SECOND, image), -ENOENT);
    assert_int_equal(try_places_take(p, token, 181 * SECOND, &next), 0);
    assert_int_not_equal(place, next);
    assert_int_equal(try_places_open(p, place, 181 * SECOND, image), -ENOENT);
    try_places_release(p, place);
    assert_int_equal(try_places_open(p, next, 181 * SECOND, image), 0);
}

static void test_one_for_an_address(void **state)
{
    struct try_places *p CLEANUP(try_places_free) = try_places_new(2);
    char first[TRY_TOKEN_SIZE], second[TRY_TOKEN_SIZE], image[TRY_IMAGE_SIZE];
    uint64_t place;
    (void)state;
    assert_int_equal(reserve(p, 1, 0, first), 0);
    assert_int_equal(reserve(p, 1, 0, second), 0);
    assert_int_equal(try_places_take(p, first, 0, &place), -ENOENT);
    assert_int_equal(try_places_take(p, second, 0, &place), 0);
    assert_int_equal(reserve(p, 1, 0, first), -EUSERS);
    assert_int_equal(try_places_open(p, place, 0, image), 0);
    assert_int_equal(reserve(p, 1, 1000 * SECOND, first), -EUSERS);
    assert_int_equal(reserve(p, 2, 1000 * SECOND, first), 0);
    assert_int_equal(reserve(p, 3, 1000 * SECOND, first), -EBUSY);
    try_places_release(p, place);
    assert_int_equal(reserve(p, 1, 1000 * SECOND, first), 0);
}

static struct try_address address(const char *text, const char *forwarded)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1)
        return try_address_of((struct sockaddr *)&ipv4, forwarded);
    assert_int_equal(inet_pton(AF_INET6, text, &ipv6.sin6_addr), 1);
    return try_address_of((struct sockaddr *)&ipv6, forwarded);
}

static bool same(const char *a, const char *a_forwarded, const char *b, const char *b_forwarded)
{
    struct try_address one = address(a, a_forwarded), other = address(b, b_forwarded);
    return memcmp(&one, &other, sizeof one) == 0;
}

static void test_addresses(void **state)
{
    (void)state;
    assert_true(same("192.0.2.1", NULL, "::ffff:192.0.2.1", NULL));
    assert_false(same("192.0.2.1", NULL, "192.0.2.2", NULL));
    assert_true(same("2001:db8:0:1::1", NULL, "2001:db8:0:1:ffff::2", NULL));
    assert_false(same("2001:db8:0:1::1", NULL, "2001:db8:0:2::1", NULL));
    // A proxy's word counts from this host only, and its own, the last one.
    assert_true(same("192.0.2.1", "192.0.2.9", "192.0.2.1", NULL));
    assert_true(same("127.0.0.1", "192.0.2.9", "192.0.2.9", NULL));
    assert_true(same("::1", "10.0.0.1, 2001:db8::5 ", "2001:db8::1", NULL));
    assert_true(same("::ffff:127.0.0.2", "192.0.2.9", "192.0.2.9", NULL));
    assert_true(same("127.0.0.1", "192.0.2.9, what", "127.0.0.1", NULL));
    assert_true(same("127.0.0.1", "", "127.0.0.1", NULL));
    assert_true(same("127.0.0.1", "0000000000000000000000000000000000000000000000000000001", "127.0.0.1", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_token_works_once),
        cmocka_unit_test(test_late_ones),
        cmocka_unit_test(test_one_for_an_address),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
