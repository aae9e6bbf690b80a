// Handshakes and frames of WebSockets (server/websocket.h).

#include "base/cleanup.h"
#include "server/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/banned.h"

static const struct websocket_request good = {
    .host = "zoo.example:8080",
    .origin = "http://zoo.example:8080",
    .upgrade = "websocket",
    .connection = "keep-alive, Upgrade",
    .version = "13",
    .key = "dGhlIHNhbXBsZSBub25jZQ==",
};

static void test_the_standards_example(void **state)
{
    char accept[WEBSOCKET_ACCEPT_SIZE];
    (void)state;
    assert_int_equal(websocket_check_request(&good, accept), 101);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); // RFC 6455, section 1.3
}

static void check_refused(struct websocket_request request, unsigned status)
{
    char accept[WEBSOCKET_ACCEPT_SIZE] = "untouched";
    assert_int_equal(websocket_check_request(&request, accept), status);
    assert_string_equal(accept, "untouched");
}

#define CHECK_FIELD(field, value, status)                                                                              \
    do {                                                                                                               \
        struct websocket_request changed = good;                                                                       \
        changed.field = (value);                                                                                       \
        check_refused(changed, (status));                                                                              \
    } while (0)

static void test_refused_requests(void **state)
{
    (void)state;
    CHECK_FIELD(upgrade, NULL, 426);
    CHECK_FIELD(upgrade, "h2c", 426);
    CHECK_FIELD(connection, "close", 426);
    CHECK_FIELD(connection, "upgraded", 426);
    CHECK_FIELD(version, NULL, 426);
    CHECK_FIELD(version, "8", 426);
    CHECK_FIELD(version, "13, 8", 426);
    CHECK_FIELD(key, NULL, 400);
    CHECK_FIELD(key, "", 400);
    CHECK_FIELD(key, "dGhlIHNhbXBsZSBub25jZQ", 400);
    CHECK_FIELD(key, "dGhlIHNhbXBsZSBub25jZSE=", 400); // 17 bytes
    CHECK_FIELD(key, "dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==", 400);
    CHECK_FIELD(host, NULL, 403);
    CHECK_FIELD(origin, NULL, 403);
    CHECK_FIELD(origin, "null", 403);
    CHECK_FIELD(origin, "http://zoo.example", 403);
    CHECK_FIELD(origin, "http://zoo.example:8080.evil.example", 403);
    CHECK_FIELD(origin, "http://evil.example/http://zoo.example:8080", 403);
    CHECK_FIELD(origin, "file://zoo.example:8080", 403);
}

static void test_same_origin(void **state)
{
    (void)state;
    assert_true(websocket_is_same_origin("https://Zoo.example", "zoo.EXAMPLE"));
    assert_true(websocket_is_same_origin("http://[::1]:80", "[::1]:80"));
    assert_false(websocket_is_same_origin("http://", ""));
    assert_false(websocket_is_same_origin("", ""));
}

// A frame of a client, masked with 1 2 3 4; returns its size.
static size_t make_frame(unsigned first, const char *payload, size_t length, unsigned char *frame)
{
    size_t n = websocket_encode_head(WEBSOCKET_BINARY, length, frame);
    frame[0] = (unsigned char)first;
    frame[1] |= 0x80;
    for (unsigned i = 0; i < 4; i++)
        frame[n++] = (unsigned char)(i + 1);
    for (size_t i = 0; i < length; i++)
        frame[n++] = (unsigned char)payload[i] ^ (unsigned char)(i % 4 + 1);
    return n;
}

static void check_frame(struct websocket_reader *r, unsigned first, const char *payload, size_t length)
{
    unsigned char frame[WEBSOCKET_FRAME_MAXIMUM];
    struct websocket_frame got;
    size_t used = 0, size = make_frame(first, payload, length, frame);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(websocket_decode(r, frame, i, &got, &used), 0);
    assert_int_equal(used, 0);
    assert_int_equal(websocket_decode(r, frame, size, &got, &used), 1);
    assert_int_equal(used, size);
    assert_int_equal(got.opcode, first & 15);
    assert_int_equal(got.length, length);
    assert_memory_equal(got.payload, payload, length);
}

static void test_frames_come_byte_by_byte(void **state)
{
    static char large[WEBSOCKET_PAYLOAD_MAXIMUM];
    struct websocket_reader r = {0};
    (void)state;
    memset(large, 'x', sizeof large);
    check_frame(&r, 0x82, "uname -a\r", 9);
    check_frame(&r, 0x82, "", 0);
    check_frame(&r, 0x82, large, 125);
    check_frame(&r, 0x82, large, 126);
    check_frame(&r, 0x82, large, sizeof large);
    check_frame(&r, 0x89, "ping", 4);
    check_frame(&r, 0x88, "\x03\xe8", 2);
}

static void test_fragments(void **state)
{
    struct websocket_reader r = {0};
    (void)state;
    check_frame(&r, 0x02, "un", 2);
    assert_true(r.in_message);
    check_frame(&r, 0x00, "am", 2);
    check_frame(&r, 0x8a, "", 0); // a pong between
    assert_true(r.in_message);
    check_frame(&r, 0x80, "e", 1);
    assert_false(r.in_message);
}

static void test_refused_frames(void **state)
{
    static const struct {
        unsigned char bytes[4];
        unsigned size;
        bool in_message;
        enum websocket_status status;
    } frames[] = {
        {{0x80}, 1, false, WEBSOCKET_PROTOCOL_ERROR},                   // a continuation of nothing
        {{0x82}, 1, true, WEBSOCKET_PROTOCOL_ERROR},                    // a message within a message
        {{0x81}, 1, true, WEBSOCKET_PROTOCOL_ERROR},                    //
        {{0x81}, 1, false, WEBSOCKET_UNSUPPORTED},                      // text
        {{0xc2}, 1, false, WEBSOCKET_PROTOCOL_ERROR},                   // reserved bits
        {{0x92}, 1, false, WEBSOCKET_PROTOCOL_ERROR},                   //
        {{0x83}, 1, false, WEBSOCKET_PROTOCOL_ERROR},                   // unknown opcodes
        {{0x8b}, 1, false, WEBSOCKET_PROTOCOL_ERROR},                   //
        {{0x09}, 1, false, WEBSOCKET_PROTOCOL_ERROR},                   // a control frame in pieces
        {{0x89, 0xfe}, 2, false, WEBSOCKET_PROTOCOL_ERROR},             // a large one
        {{0x82, 0x05}, 2, false, WEBSOCKET_PROTOCOL_ERROR},             // not masked
        {{0x82, 0xff}, 2, false, WEBSOCKET_TOO_BIG},                    // a length of 64 bits
        {{0x82, 0xfe, 0x10, 0x01}, 4, false, WEBSOCKET_TOO_BIG},        // 4097
        {{0x82, 0xfe, 0x00, 0x7d}, 4, false, WEBSOCKET_PROTOCOL_ERROR}, // 125 in 16 bits
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(frames); i++) {
        struct websocket_reader r = {.in_message = frames[i].in_message};
        struct websocket_frame got;
        unsigned char bytes[4];
        size_t used;
        memcpy(bytes, frames[i].bytes, sizeof bytes);
        for (unsigned n = 0; n < frames[i].size; n++)
            assert_int_equal(websocket_decode(&r, bytes, n, &got, &used), 0);
        assert_int_equal(websocket_decode(&r, bytes, frames[i].size, &got, &used), -(int)frames[i].status);
        assert_int_equal(r.in_message, frames[i].in_message);
    }
}

static void test_what_we_send(void **state)
{
    static const unsigned char close[] = {0x88, 2, 0x03, 0xe8}, large[] = {0x82, 126, 0xff, 0xff};
    unsigned char bytes[WEBSOCKET_HEAD_MAXIMUM];
    (void)state;
    assert_int_equal(websocket_encode_close(WEBSOCKET_NORMAL, bytes), sizeof close);
    assert_memory_equal(bytes, close, sizeof close);
    assert_int_equal(websocket_encode_head(WEBSOCKET_BINARY, 125, bytes), 2);
    assert_int_equal(websocket_encode_head(WEBSOCKET_BINARY, 65535, bytes), 4);
    assert_memory_equal(bytes, large, sizeof large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_standards_example),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_same_origin),
        cmocka_unit_test(test_frames_come_byte_by_byte),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_refused_frames),
        cmocka_unit_test(test_what_we_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
