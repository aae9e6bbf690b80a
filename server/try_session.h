// One visitor's connection, once it is a WebSocket: what it brings is typed into a machine's stream, what the stream
// shows is sent. Over two descriptors, without a thread of its own.
//
// 1. Neither side makes us hold more than a frame: from the machine nothing is read while something waits to be sent,
//    from the visitor nothing while something waits to be typed, or there is no room for an answer to a ping.
// 2. A visitor who says nothing is asked (ping) every TRY_PING_SECONDS; one who has not answered for
//    TRY_SILENCE_SECONDS is gone, whatever TCP believes. While the machine does not take what was typed, nothing is
//    heard of the visitor, and nobody is gone: then the host's idle limit ends both.
// 3. What is not allowed ends the connection with the status that the standard has for it.
#pragma once

#include "server/websocket.h"
#include <poll.h>
#include <stdint.h>

#define TRY_PING_SECONDS 20
#define TRY_SILENCE_SECONDS 60
#define TRY_CLOSE_SECONDS 2 // for the visitor to close, too

struct try_session {
    int socket; // the visitor's; the caller's
    int stream; // the machine's; −1: it has ended, or there is none yet. Closed by try_session_end
    struct websocket_reader reader;
    unsigned char in[WEBSOCKET_FRAME_MAXIMUM];
    size_t in_size;
    size_t frame; // bytes of `in` that are a frame which is being typed; 0: none
    size_t typed; // where in it is what is still to be typed
    unsigned char out[WEBSOCKET_FRAME_MAXIMUM + 2 * (WEBSOCKET_HEAD_MAXIMUM + WEBSOCKET_CONTROL_MAXIMUM)];
    size_t out_begin, out_end;
    bool closing, shut;           // a close frame is in `out`, or was sent; it was the last that we send
    uint64_t heard, asked, until; // io_monotonic_ns(): what came last, the last ping, the end of the closing
};

// `early`: bytes that came with the request; false if they are too many.
bool try_session_begin(struct try_session *s, int socket, const void *early, size_t size, uint64_t now);

// What to wait for, and what to do then; also once a second. False: the connection is over.
#define TRY_SESSION_POLLS 2
void try_session_prepare(const struct try_session *s, struct pollfd polls[static TRY_SESSION_POLLS]);
bool try_session_handle(struct try_session *s, const struct pollfd polls[static TRY_SESSION_POLLS], uint64_t now);

// A close frame goes out when what is before it has; nothing but that is waited for any more.
void try_session_close(struct try_session *s, enum websocket_status status, uint64_t now);
void try_session_end(struct try_session *s); // the machine's stream is closed
