// A visitor's connection (see try_session.h).
#include "server/try_session.h"

#include "base/cleanup.h"

#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define CONTROL_ROOM (WEBSOCKET_HEAD_MAXIMUM + WEBSOCKET_CONTROL_MAXIMUM)

enum { VISITOR, MACHINE };

bool try_session_begin(struct try_session *s, int socket, const void *early, size_t size, uint64_t now)
{
    *s = (struct try_session){.socket = socket, .stream = -1, .heard = now, .asked = now};
    if (size > sizeof s->in)
        return false;
    if (size > 0)
        memcpy(s->in, early, size);
    s->in_size = size;
    return true;
}

// --- to the visitor ------------------------------------------------------------------------------------------------

static size_t room(const struct try_session *s)
{
    return sizeof s->out - s->out_end;
}

static bool is_sent(const struct try_session *s)
{
    return s->out_begin == s->out_end;
}

static void append(struct try_session *s, enum websocket_opcode opcode, const void *payload, size_t size)
{
    s->out_end += websocket_encode_head(opcode, size, s->out + s->out_end);
    if (size > 0)
        memcpy(s->out + s->out_end, payload, size);
    s->out_end += size;
}

void try_session_close(struct try_session *s, enum websocket_status status, uint64_t now)
{
    if (s->closing)
        return;
    if (room(s) >= WEBSOCKET_CLOSE_SIZE)
        s->out_end += websocket_encode_close(status, s->out + s->out_end);
    s->closing = true;
    s->until = now + TRY_CLOSE_SECONDS * NS_PER_SECOND;
}

void try_session_end(struct try_session *s)
{
    if (s->stream >= 0)
        close(TAKE_FD(s->stream));
}

// False if the connection is broken.
static bool send_out(struct try_session *s)
{
    if (!is_sent(s)) {
        ssize_t n = send(s->socket, s->out + s->out_begin, s->out_end - s->out_begin, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        s->out_begin += n > 0 ? (size_t)n : 0;
    }
    if (is_sent(s)) {
        s->out_begin = s->out_end = 0;
        if (s->closing && !s->shut)
            shutdown(s->socket, SHUT_WR);
        s->shut = s->closing;
    }
    return true;
}

static void show(struct try_session *s, uint64_t now)
{
    unsigned char bytes[WEBSOCKET_PAYLOAD_MAXIMUM];
    ssize_t n = recv(s->stream, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) {
        append(s, WEBSOCKET_BINARY, bytes, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        try_session_end(s);
        try_session_close(s, WEBSOCKET_NORMAL, now);
    }
}

// --- from the visitor ----------------------------------------------------------------------------------------------

// What a machine that has ended does not take is lost. True when nothing waits any more.
static bool type(struct try_session *s)
{
    if (s->frame == 0)
        return true;
    while (s->typed < s->frame && s->stream >= 0) {
        ssize_t n = send(s->stream, s->in + s->typed, s->frame - s->typed, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        s->typed = n < 0 ? s->frame : s->typed + (size_t)n;
    }
    s->in_size -= s->frame;
    memmove(s->in, s->in + s->frame, s->in_size);
    s->frame = 0;
    return true;
}

// All frames that have come and can be dealt with.
static void take_frames(struct try_session *s, uint64_t now)
{
    struct websocket_frame frame;
    size_t used;
    while (type(s) && !s->closing && room(s) >= CONTROL_ROOM + WEBSOCKET_CLOSE_SIZE) {
        int r = websocket_decode(&s->reader, s->in, s->in_size, &frame, &used);
        if (r == 0)
            return;
        if (r < 0) {
            try_session_close(s, (enum websocket_status) - r, now);
            return;
        }
        s->frame = s->typed = used;
        if (frame.opcode == WEBSOCKET_CLOSE)
            try_session_close(s, WEBSOCKET_NORMAL, now);
        else if (frame.opcode == WEBSOCKET_PING)
            append(s, WEBSOCKET_PONG, frame.payload, frame.length);
        else if (frame.opcode != WEBSOCKET_PONG)
            s->typed = (size_t)(frame.payload - s->in);
    }
}

static bool listens(const struct try_session *s)
{
    return s->closing || (s->frame == 0 && room(s) >= CONTROL_ROOM + WEBSOCKET_CLOSE_SIZE);
}

// False at the end of the connection.
static bool hear(struct try_session *s, uint64_t now)
{
    if (s->closing)
        s->in_size = s->frame = 0; // the visitor's close frame, and what comes before it; what was typed of it is lost
    ssize_t n = recv(s->socket, s->in + s->in_size, sizeof s->in - s->in_size, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    s->in_size += (size_t)n;
    s->heard = now;
    return true;
}

// --- both ----------------------------------------------------------------------------------------------------------

void try_session_prepare(const struct try_session *s, struct pollfd polls[static TRY_SESSION_POLLS])
{
    const bool sent = is_sent(s), typing = s->frame > 0;
    polls[VISITOR] =
        (struct pollfd){.fd = s->socket, .events = (short)((listens(s) ? POLLIN : 0) | (sent ? 0 : POLLOUT))};
    polls[MACHINE] = (struct pollfd){.fd = s->stream, .events = (short)((sent ? POLLIN : 0) | (typing ? POLLOUT : 0))};
    if (s->closing || !polls[MACHINE].events)
        polls[MACHINE].fd = -1; // its end would be reported again and again
}

// False when the visitor's time is over.
static bool keep_time(struct try_session *s, uint64_t now)
{
    if (s->closing)
        return now < s->until;
    if (now - s->heard >= TRY_SILENCE_SECONDS * NS_PER_SECOND)
        return false;
    const uint64_t last = s->heard > s->asked ? s->heard : s->asked;
    if (now - last >= TRY_PING_SECONDS * NS_PER_SECOND && is_sent(s)) {
        append(s, WEBSOCKET_PING, NULL, 0);
        s->asked = now;
    }
    return true;
}

bool try_session_handle(struct try_session *s, const struct pollfd polls[static TRY_SESSION_POLLS], uint64_t now)
{
    const short broken = POLLHUP | POLLERR;
    if (polls[VISITOR].revents && listens(s) ? !hear(s, now) : polls[VISITOR].revents & broken)
        return false;
    take_frames(s, now);
    if (s->frame > 0)
        s->heard = now; // it is the machine that does not listen; nobody knows what the visitor says
    if (polls[MACHINE].revents & (POLLIN | broken) && is_sent(s) && !s->closing && s->stream >= 0)
        show(s, now);
    return keep_time(s, now) && send_out(s);
}
