// The server's end of a WebSocket (RFC 6455), as functions over memory: whether a request may become one, and the
// frames that follow. It carries a stream of bytes: binary messages, whose boundaries mean nothing, in frames that are
// small. Extensions, subprotocols and text are not spoken.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- the handshake (section 4.2) -----------------------------------------------------------------------------------

// Values of the request's headers; NULL where there is none.
struct websocket_request {
    const char *host, *origin, *upgrade, *connection, *version, *key;
};
#define WEBSOCKET_VERSION "13"
#define WEBSOCKET_ACCEPT_SIZE 29 // 28 characters of base64 and a NUL byte

// Whether the page that sends the request is one of the server that it is sent to: Origin is Host, behind http:// or
// https:// (a proxy may add TLS). False without either of them. A browser lets no page choose its Origin.
bool websocket_is_same_origin(const char *origin, const char *host);

// 101, and what Sec-WebSocket-Accept is to be; or the status to refuse it with: 400, 403 (another origin) or 426 (not a
// WebSocket of our version: the answer names WEBSOCKET_VERSION).
unsigned websocket_check_request(const struct websocket_request *request,
                                 char ret_accept[static WEBSOCKET_ACCEPT_SIZE]);

// --- frames (section 5) --------------------------------------------------------------------------------------------

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};
#define WEBSOCKET_PAYLOAD_MAXIMUM 4096 // of a client's frame
#define WEBSOCKET_CONTROL_MAXIMUM 125  // of a control frame (section 5.5)
#define WEBSOCKET_CLIENT_HEAD_MAXIMUM 8
#define WEBSOCKET_HEAD_MAXIMUM 4 // of a frame of ours
#define WEBSOCKET_FRAME_MAXIMUM (WEBSOCKET_CLIENT_HEAD_MAXIMUM + WEBSOCKET_PAYLOAD_MAXIMUM)

// Status codes of a close frame (section 7.4.1).
enum websocket_status {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_TRY_LATER = 1013,
};

struct websocket_frame {
    enum websocket_opcode opcode;
    unsigned char *payload; // in the caller's bytes, unmasked in place
    size_t length;
};

// Zeroed at the beginning of a connection.
struct websocket_reader {
    bool in_message; // a message has begun and not ended: continuation frames follow
};

// The frame at the beginning of what has come: 1, with how many bytes it takes; 0 if more of it is to come (at most
// WEBSOCKET_FRAME_MAXIMUM bytes in all); or −the status (enum websocket_status) with which the connection is to be
// closed: nothing behind that frame can be understood. Refused are frames that are not masked, larger than
// WEBSOCKET_PAYLOAD_MAXIMUM, of unknown opcodes, with reserved bits, with a length that has a shorter form; text;
// control frames that are fragmented or too large; continuations of nothing, and messages within messages.
int websocket_decode(struct websocket_reader *r, unsigned char *bytes, size_t size, struct websocket_frame *ret_frame,
                     size_t *ret_used);

// The head of a whole, unmasked frame with `length` bytes of payload (65535 at most); returns its size.
size_t websocket_encode_head(enum websocket_opcode opcode, size_t length,
                             unsigned char head[static WEBSOCKET_HEAD_MAXIMUM]);
// A close frame; returns its size.
#define WEBSOCKET_CLOSE_SIZE 4
size_t websocket_encode_close(enum websocket_status status, unsigned char frame[static WEBSOCKET_CLOSE_SIZE]);
