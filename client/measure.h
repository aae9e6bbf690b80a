// Measured machines: rondo run --measure FILE. The log (measure_log.h) says what the machine was given: the head, by
// the command that starts it, before anything runs; then every chunk on first use, by a process of its own beside the
// supervisor; then the end.
//
//   the guest reads its disk ─▶ overlay ─▶ base: the read is noted in memory (blockstore/overlay_record.h)
//   the measuring process, each second and at the end: notes ─▶ blocks ─▶ the version's map ─▶ chunks ─▶ lines, synced
//
// 1. What counts is what the machine reads, not what rondo-cloop fetches or serves: that is more (it reads ahead, and
//    for several machines), and less (what the host's kernel has in its page cache nobody asks for again).
// 2. Kernel and initrd are given as a whole, when the engine starts.
// 3. Map pages are given with what they map: what is zero is so because a page says it.
// 4. Measuring never delays the machine, and ends neither it nor its start; what could not be measured is a `lost`
// line,
//    and a log that cannot be written ends without an `end` line. Both are said aloud.
// 5. As long as a log is written, its file is locked (flock).
#pragma once

#include "client/measure_log.h"
#include "client/supervisor.h"

#define MEASURE_END_SECONDS 30 // what the last lines may take

// Makes the file: -EINVAL if it exists, since no log is ever written over.
int measure_open(const char *path, struct measure_log *ret, struct error *error);
// Takes back a file into which nothing was written; closes it in any case.
void measure_close(struct measure_log *l, const char *path);

// Writes the head. `catalog`: the signed bytes that vouched for the version; empty: those that are remembered of the
// machine's site, if there are any. `is_new`: the disk has nothing written yet.
int measure_begin(struct measure_log *l, const struct supervisor_options *o, const struct buf *catalog, bool is_new,
                  struct error *error);

// The measuring process, from here to its end; the exit code. Told over `connection`: "given" when the engine starts,
// "end <exit code> <sentence>" when the machine has ended. It says one thing itself, at its end: why the log is not
// complete. An end of the connection without that is the supervisor's:
// the log then stays without its last line.
struct measure_job {
    struct measure_log *log;
    int connection, reads;
    const struct sha256 *manifest;
    const char *const *sources;
    unsigned source_count;
};
int measure_run(const struct measure_job *job);
