// The log of a measured machine: what it was given, in lines that hang together (docs/formats.md, "Measured log"). This
// is the format alone, both ways; client/measure.h writes one, `rondo verify-log` looks one over.
//
//   <64 hex digits> <key> <value>
//
// The digits are SHA-256 over the 32 bytes of the line before (zeros before the first) and over what follows them in
// their own line, without the newline. So each line vouches for all before it.
//
// 1. A log is only ever added to, by whole lines, at its end: what a kill leaves is a beginning of it, perhaps with a
//    last line without a newline, which counts as not written.
// 2. Without its `end` line a log is incomplete, and one with a `lost` line says itself that something is missing.
// 3. A reader believes nothing: the chain shows that a line was changed, left out, put in or moved, as long as the last
//    hash, or a later line, is known to be right. Whoever can rewrite the whole file can make a whole new chain.
#pragma once

#include "base/buf.h"
#include "base/hash.h"
#include "base/text.h"
#include "blockstore/chunk.h"
#include "catalog/key.h"
#include <stdbool.h>

#define MEASURE_LINE_MAXIMUM 4096u          // without the newline
#define MEASURE_CHUNKS_MAXIMUM (1u << 20)   // chunk lines: 128 GiB of a disk in chunks of the usual size
#define MEASURE_FILE_MAXIMUM (256ull << 20) // more than that many lines have

// In the order in which they stand.
enum measure_key {
    MEASURE_VERSION,
    MEASURE_BEGAN,
    MEASURE_MACHINE,
    MEASURE_ENGINE,
    MEASURE_MEMORY,
    MEASURE_CPUS,
    MEASURE_NETWORK,
    MEASURE_OVERLAY,
    MEASURE_DISK,
    MEASURE_IMAGE,
    MEASURE_CATALOG,
    MEASURE_MANIFEST,
    MEASURE_CMDLINE,
    MEASURE_CHUNK,
    MEASURE_LOST,
    MEASURE_END,
    MEASURE_KEYS
};

// --- writing ---------------------------------------------------------------------------------------------------------

struct measure_log {
    int fd; // -1: no log
    uint64_t size;
    struct sha256 last;
    struct buf pending; // whole lines, not yet written
};
#define MEASURE_LOG_NONE                                                                                               \
    {                                                                                                                  \
        .fd = -1, .pending = BUF_WITH_MAXIMUM(1u << 20)                                                                \
    }

// Adds a line, written at the next flush, or before that if many wait. The value must be printable (text_is_printable):
// -EINVAL; -E2BIG if it is too long. A failed write is final: the log ends there.
int measure_log_add(struct measure_log *l, enum measure_key key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Writes and syncs what was added.
int measure_log_flush(struct measure_log *l);

// --- reading ---------------------------------------------------------------------------------------------------------

struct measure_line {
    enum measure_key key;
    struct slice value; // all of it; for some keys, its parts:
    struct slice words[3];
    uint64_t number;          // memory, cpus, catalog, end (the exit code)
    struct sha256 hash;       // catalog, manifest, chunk
    struct key_public signer; // catalog
    enum chunk_kind kind;     // chunk; its member is words[0]
};
struct measure_reader {
    struct sha256 last;
    unsigned line;  // the number of the last one
    int key;        // of the last one; -1: there was none
    unsigned count; // of lines with that key, so far
    bool ended, lost;
};
#define MEASURE_READER_START                                                                                           \
    {                                                                                                                  \
        .key = -1                                                                                                      \
    }

// The next line, without its newline: its hash, then its form and its place. -EBADMSG names the line. *ret points into
// the line.
int measure_read_line(struct measure_reader *r, const char *line, size_t n, struct measure_line *ret,
                      struct error *error);
// Form and place alone, of what stands behind the hash.
int measure_read_text(struct measure_reader *r, struct slice text, struct measure_line *ret, struct error *error);
// After the last line: -EBADMSG if even the head is not whole, as in a file that is none of ours.
int measure_read_end(const struct measure_reader *r, struct error *error);
