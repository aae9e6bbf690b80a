// The conversation with clients over <runtime>/cloop.sock (docs/protocol.md): one thread for each connection, so that
// an `open` that waits for a slow site keeps nobody else waiting.
//
// While the program starts there is no thread but its own, since a thread would keep rights that the program is about
// to give up: connections wait in line, and only `handover` is heard, if the program waits for one.
//
//     starting ──control_await_offer──▶ (a session, or none in time) ──control_set_ready──▶ ready
//
// One mutex guards the counts of connections and holders; it is not held while a version is opened or a message sent.
// The line belongs to the main thread, a connection's own list of opened versions to its thread.
#pragma once

#include "fuse-cloop/session.h"
#include "fuse-cloop/table.h"

#define CONTROL_CONNECTIONS 256u
#define CONTROL_VERSIONS 64u // that one connection may open

struct control;
// Listens. `wake_fd` (an eventfd) becomes readable whenever something changed that the main loop should look at.
int control_new(const char *path, int wake_fd, struct control **ret, struct error *error);
int control_listener(const struct control *c); // for poll
void control_accept(struct control *c);        // takes one waiting connection

// Whether somebody offers a session until `end_ns` (io_monotonic_ns() time): 1 and the two descriptors (then the
// caller's), or 0. Once the offer was looked at, control_answer_offer says whether it was of use. While starting only.
int control_await_offer(struct control *c, uint64_t end_ns, int ret_fds[static 2]);
void control_answer_offer(struct control *c, bool taken);

// From now on questions are answered, for this session. Later offers are not needed.
void control_set_ready(struct control *c, struct session *s, struct store *store);

struct control_counts {
    unsigned connections; // open now
    unsigned holders;     // of them, that were given the session
    bool quit;            // somebody asked for the end
    uint64_t last_end_ns; // when a connection last ended; io_monotonic_ns(), 0: never
};
void control_count(struct control *c, struct control_counts *ret);

// Leaving: the socket's name is moved aside, so that nobody else connects; control_return undoes that. Connections that
// were waiting are taken, and show in the counts. If somebody has removed the name, nobody connects either.
int control_withdraw(struct control *c);
void control_return(struct control *c);
void control_remove(struct control *c); // the socket, for good
