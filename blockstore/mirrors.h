// Mirrors: the ordered sources of one site, with what is known of each one's health and speed; and the one loop that
// fetches from them: the quickest first, with retries (back-off and jitter), hedges, verification, and demotion of
// liars.
//
// Rules
//   1. Healthy folders are asked before the network: what they lack costs nothing to find out. Then, of the healthy
//      sources the one is asked first that is expected to deliver a job first (mirrors_speed.h); where nothing is known
//      of them, or they are about as quick, the order of the list decides. A source that failed lately
//      is asked after the healthy ones; one that gave wrong data is asked last, for ten minutes.
//   2. Wrong data is never retried from the same source within one fetch (TRUST rule 5).
//   3. A fetch ends with success, with -ENOENT or -EBADMSG once every source has given such an answer, or with
//      -ENETUNREACH when `deadline` or the job's patience passes. Waits grow from 50 ms to 2 s, each with jitter; a
//      source that answers again after an outage ends them.
//   4. Two addresses of the same source count once.
//   5. A job that somebody waits for (SOURCE_DEMAND) and of which no byte has come when one is usual is also asked of
//      another healthy source, once (a hedge). What is complete and verified first is delivered, the other request is
//      cancelled. One job in MIRRORS_HEDGE_SHARE may be hedged, a few more at a time, so that a slow time does not
//      double the load.
//   6. A job that nobody waits for (SOURCE_STREAM, SOURCE_FILL) is taken back, once, where another source would have it
//      all in a third of the time that is left. At leisure (SOURCE_FILL) it may try a source that was never asked.
//   7. A source that sends nothing does not use up the time of others: it and each healthy source that was not asked
//      yet get equal parts of what is left until the deadline, of three seconds at least. Then it counts as failed, and
//      the next one is asked.
#pragma once

#include "blockstore/transport.h"

#define MIRRORS_MAXIMUM 16u
#define MIRRORS_HEDGE_SHARE 16u        // of the jobs that somebody waits for
#define MIRRORS_HEDGE_BYTES (4u << 20) // the longest that is hedged: what may have to be held in memory

struct mirrors;
int mirrors_new(struct transport *t, const char *const *addresses, unsigned count, struct mirrors **ret,
                struct error *error);
void mirrors_free(struct mirrors *m); // after the last fetch has returned
unsigned mirrors_count(const struct mirrors *m);
struct source *mirrors_source(struct mirrors *m, unsigned i); // in the order given
// True if the source that would be asked next is known to ignore ranges: whole objects are then the unit.
bool mirrors_ignore_ranges(struct mirrors *m);

// One object or range to fetch.
struct mirrors_job {
    // Set by the caller, as in source_request.
    const char *path;
    uint64_t offset, length, maximum;
    enum source_priority priority;
    // Before each attempt: forget what was delivered. May be NULL.
    void (*restart)(void *context);
    int (*sink)(void *context, uint64_t offset, const void *bytes, size_t n);
    // After an attempt that delivered everything: 0, or -EBADMSG if the bytes are not what they should be.
    int (*verify)(void *context, struct error *error);
    void *context;
    // How long to go on asking while no attempt delivers a byte, before the deadline, but until each source was asked
    // once; 0: until the deadline. For jobs whose deadline leaves time for many bytes.
    uint64_t patience_ns;

    int result; // after mirrors_fetch: as rule 3 says, or the sink's failure
    bool whole;
    struct error error; // names the object and the source
};

// Fetches all jobs, side by side, and returns when each has its result; returns 0, or the first job's failure.
// `deadline_ns` is a time of io_monotonic_ns(). May be called by any number of threads.
int mirrors_fetch(struct mirrors *m, struct mirrors_job *jobs, unsigned count, uint64_t deadline_ns);

// Makes every fetch in progress, and every later one, end with -ECANCELED.
void mirrors_cancel(struct mirrors *m);
