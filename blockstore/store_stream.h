// What the two files of the stream share. What the rest of the store asks of them is in store_private.h.
//
//   store_stream.c       the order: which pack is asked for when; pauses, the end
//   store_stream_pack.c  one pack on its way: its bytes, what readers get of it, what becomes of it
//
// A pack of a version's boot profile, in its stream:
//
//   listed ──(in the cache, coming already, or too large)──▶ passed over
//     └──(its turn)──▶ asked for ──first byte──▶ arriving ──(whole, right)──▶ object of the cache
//                        ▲                          ├──(whole, wrong)──▶ asked for elsewhere; refused by all: given up
//                        └──── connection lost ─────┘       after RESTARTS_MAXIMUM: given up
//
//   1. A chunk whose bytes have all arrived is served from the pack's buffer: whoever wants it hashes and decodes it
//      there, and waits for nothing else. Nothing else than such a hash makes bytes of a stream worth anything.
//   2. The bytes of a buffer are written once: an attempt that begins anew begins a new buffer, and the old one goes
//      with its last reader. So what was hashed is what is decoded.
//   3. A pack that has arrived is hashed as a whole; only then it is written to the cache. Before it is taken from the
//      list of arriving ones it stands there, so readers find it in one of the two places.
//   4. A pack is asked for once in a process, whichever versions list it, and not at all if it cannot be kept.
//   5. Memory: STORE_STREAM_MEMORY of packs asked for and not yet written, for all versions of a store together.
//   6. An outage costs the stream time, nothing else: it goes on when somebody's request succeeds, or by itself.
//
// The store's mutex guards everything in here but the bytes of buffers, and is not held during I/O or hashing.
#pragma once

#include "blockstore/store_private.h"

#define STORE_STREAM_MEMORY (12u << 20)
#define STORE_STREAM_PACK_MAXIMUM (9u << 20) // ordinary packs fit, too; larger ones are left to whoever reads them
#define STORE_STREAM_THREADS 3u              // one pack arrives, the next is asked for; at first two small ones arrive

struct stream_buffer {
    unsigned users; // the pack, as long as it is this attempt's; and readers
    unsigned char *bytes;
};

struct stream_pack {
    struct stream *stream;
    struct sha256 name;
    uint32_t size;
    bool asked;                   // in store.arriving
    struct stream_buffer *buffer; // NULL: nothing of this attempt has arrived
    uint32_t arrived;             // bytes in it
    uint64_t progress_ns;         // when it was asked for, or bytes arrived last
    uint64_t asked_ns;
    unsigned restarts; // after bytes had arrived
    bool wrong;        // a chunk in the buffer did not verify: readers leave it alone
    int kept;          // of cache_stream_finish
    struct cache_stream *file;
    struct stream_pack *next; // in store.arriving
};

struct stream {
    struct version *version;
    struct stream_pack packs[STORE_STREAM_THREADS]; // one for each thread
    pthread_t threads[STORE_STREAM_THREADS];
    unsigned started; // threads
    unsigned next;    // boot line that nobody has looked at
    bool stop;
    uint64_t idle_ns;    // when it last came to have no pack asked for
    unsigned paused;     // threads that wait for the end of an outage
    unsigned recoveries; // requests of readers that succeeded: an outage may be over
    // Measured: bytes a second while any arrive, and from a request to its first byte. 0: not yet.
    uint64_t rate, latency_ns;
    uint64_t window_ns, window_bytes;
};

// --- store_stream_pack.c; with the mutex held where that is said -------------------------------------------------

// Fetches p->name, which is in store.arriving, and writes it to the cache; without the mutex. 0; 1: right, but not
// kept; or as mirrors_fetch.
int stream_pack_fetch(struct stream_pack *p);
// Lets go of its bytes; with the mutex.
void stream_pack_forget(struct stream_pack *p);
uint64_t stream_lead(const struct stream *st); // bytes that arrive during a round trip; with the mutex
