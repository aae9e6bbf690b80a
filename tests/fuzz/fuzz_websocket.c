// What a client controls of a WebSocket: the first line of the input is the request's headers, Host, Origin, Upgrade,
// Connection, Sec-WebSocket-Version and Sec-WebSocket-Key with '|' between; the rest are frames. Checks that frames lie
// within what has come, within their bounds, and are the same if they come byte by byte.

#include "base/cleanup.h"
#include "server/websocket.h"

#include <stdint.h>
#include <string.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_request(const unsigned char *line, size_t length)
{
    char text[1024] = "", accept[WEBSOCKET_ACCEPT_SIZE] = "";
    const char *fields[6] = {NULL};
    memcpy(text, line, length < sizeof text ? length : sizeof text - 1);
    char *rest = text;
    for (size_t i = 0; i < ARRAY_SIZE(fields) && rest; i++)
        fields[i] = strsep(&rest, "|");
    const struct websocket_request request = {.host = fields[0],
                                              .origin = fields[1],
                                              .upgrade = fields[2],
                                              .connection = fields[3],
                                              .version = fields[4],
                                              .key = fields[5]};
    if (websocket_check_request(&request, accept) != 101)
        return;
    require(strlen(accept) == WEBSOCKET_ACCEPT_SIZE - 1);
    require(request.key && request.origin && request.host);
    require(strlen(request.key) == 24 && strlen(request.origin) > strlen(request.host));
}

static void check_frames(const unsigned char *data, size_t size)
{
    struct websocket_reader r = {0}, slow = {0};
    struct websocket_frame frame, same;
    size_t used, again;
    while (size > 0) {
        unsigned char bytes[WEBSOCKET_FRAME_MAXIMUM], twice[WEBSOCKET_FRAME_MAXIMUM];
        size_t n = size < sizeof bytes ? size : sizeof bytes, came = 0;
        memcpy(bytes, data, n);
        memcpy(twice, data, n);
        int result = websocket_decode(&r, bytes, n, &frame, &used), later = 0;
        while (later == 0 && came < n)
            later = websocket_decode(&slow, twice, ++came, &same, &again);
        require(result == later && r.in_message == slow.in_message);
        if (result <= 0) {
            require(result < 0 || n < sizeof bytes);
            return;
        }
        require(used == again && used == came && used <= n);
        require(frame.payload + frame.length == bytes + used && frame.length <= WEBSOCKET_PAYLOAD_MAXIMUM);
        require(frame.opcode == same.opcode && memcmp(frame.payload, same.payload, frame.length) == 0);
        require(frame.opcode < WEBSOCKET_CLOSE || frame.length <= WEBSOCKET_CONTROL_MAXIMUM);
        data += used;
        size -= used;
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    const unsigned char *newline = memchr(data, '\n', size);
    size_t line = newline ? (size_t)(newline - data) : 0;
    if (newline)
        check_request(data, line);
    check_frames(data + line + (newline ? 1 : 0), size - line - (newline ? 1 : 0));
    return 0;
}
