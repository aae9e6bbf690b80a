// The places for visitors' machines, and who may take one: a token for one machine, which is given out to a page of
// ours and works once, for a minute.
//
//            reserve                take                     open
//   free ───────────────▶ reserved ──────────▶ opening ─────────────────▶ running ──▶ free
//     ▲                      │                    │  (the connection is        release
//     └──── its time is over ┴────────────────────┘   a WebSocket now)
//
// 1. A token holds a place. So what was promised is kept, and no more tokens are out than machines may run.
// 2. An address has one place: who asks again gets another token for it, and the one before is worth nothing.
// 3. Nothing depends on who asks but on the address: a proxy on this host names it (try_address_of).
#pragma once

#include "base/error.h"
#include "server/try_host.h"
#include <netinet/in.h>
#include <stdbool.h>

#define TRY_TOKEN_SIZE 44 // 43 characters of base64url, 256 random bits, and a NUL byte
#define TRY_TOKEN_SECONDS 60
#define TRY_IMAGE_SIZE 65 // names of images have up to 64 characters

// Of the whole network that one visitor is given: an IPv4 address, or the first half of an IPv6 address.
struct try_address {
    unsigned char bytes[16];
};
// Of a connection. `forwarded`: the X-Forwarded-For header or NULL, of which the last address counts, and only from a
// client on this host's loopback: anybody else could write anything into it.
struct try_address try_address_of(const struct sockaddr *client, const char *forwarded);

struct try_places;
// `count`: at most TRY_MACHINES_MAXIMUM. NULL if memory is short.
struct try_places *try_places_new(unsigned count);
void try_places_free(struct try_places **p); // NULL is fine

// All of these by any thread; `now` is io_monotonic_ns(). A place is named by a number that is never used again.
//
// A token for a place: 0; -EBUSY if all are taken; -EUSERS if this address's machine runs; -EIO if there are no random
// numbers.
int try_places_reserve(struct try_places *p, const struct try_address *who, const char *image, uint64_t now,
                       char ret_token[static TRY_TOKEN_SIZE]);
// The place of a token, which is used up now; -ENOENT for one that was used, is late, or never was.
int try_places_take(struct try_places *p, const char *token, uint64_t now, uint64_t *ret_place);
// A place that was taken becomes a running one: its image. -ENOENT if that came too late.
int try_places_open(struct try_places *p, uint64_t place, uint64_t now, char ret_image[static TRY_IMAGE_SIZE]);
void try_places_release(struct try_places *p, uint64_t place);
