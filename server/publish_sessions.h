// Who may publish over HTTP, and for how long: challenges, which a publisher signs with its key, and sessions, which a
// token stands for.
//
// 1. A challenge is a number that only this process can have made, for one key and PUBLISH_CHALLENGE_SECONDS: asking
//    for one takes no memory, so that nobody is kept out by whoever asks for many. One that was used is remembered
//    until its time is over.
// 2. A session begins only with a signature over its challenge (the caller has verified it). Of a token only the hash
//    is kept. A restart ends all sessions: their publishers open new ones.
// 3. Bounded: sessions in all and for each key, and requests at a time for each session.
//
// Any thread.
#pragma once

#include "base/error.h"
#include "server/publish_text.h"

#define PUBLISH_CHALLENGE_SECONDS 60
#define PUBLISH_SESSION_SECONDS 3600
#define PUBLISH_SESSIONS 256u
#define PUBLISH_SESSIONS_PER_KEY 8u // another one ends the oldest that is idle
#define PUBLISH_REQUESTS_PER_SESSION 8u

struct publish_sessions;
int publish_sessions_new(struct publish_sessions **ret, struct error *error);
void publish_sessions_free(struct publish_sessions **s); // for CLEANUP too; NULL is fine

// `now` in seconds of a clock that never goes back, here and below.
int publish_sessions_make_challenge(struct publish_sessions *s, const struct key_public *key, uint64_t now,
                                    char ret[static PUBLISH_CHALLENGE_SIZE], struct error *error);

// Uses the challenge up: -EKEYREJECTED if it is not one of ours for that key, too old, or used; -EAGAIN if there are
// too many sessions.
int publish_sessions_begin(struct publish_sessions *s, const struct key_public *key,
                           const unsigned char challenge[static PUBLISH_CHALLENGE_BYTES], uint64_t now,
                           char ret_token[static PUBLISH_CHALLENGE_SIZE], struct error *error);

// A request of a session: its number, for publish_sessions_leave, and its key. -EKEYREJECTED if there is no such
// session (any more), -EAGAIN if it has too many requests under way.
int publish_sessions_enter(struct publish_sessions *s, const unsigned char token[static PUBLISH_CHALLENGE_BYTES],
                           uint64_t now, struct key_public *ret_key, struct error *error);
void publish_sessions_leave(struct publish_sessions *s, int session);
