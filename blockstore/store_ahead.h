// What to read ahead: from the reads of a version's members so far to the range that will be wanted soon.
//
// A stream is what one sequential reader reads. Several may be interleaved, in one member or in several, and the reads
// of one may come in another order than they were made, because many threads serve them: a read belongs to the stream
// whose end is at most AHEAD_SLACK away.
//
//   1. A stream's window is what it has read so far, from AHEAD_FIRST to AHEAD_LAST, from its second read on. So no
//      more is ever read ahead in vain than was read.
//   2. A stream that leaves out more than it reads has no window, until it reads everything again.
//   3. More is asked for when half of the window has been used up, so requests are large.
//   4. Another stream takes the place of the one that was read least recently.
//
// All of this follows from the sequence of reads alone. The caller's mutex guards it.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define AHEAD_STREAMS 16u
#define AHEAD_SLACK (256u << 10)
#define AHEAD_FIRST (128u << 10)
#define AHEAD_LAST (4u << 20)

struct ahead_stream {
    unsigned member;
    uint64_t end;   // of what was read; 0: there is no stream here
    uint64_t read;  // bytes, and …
    uint64_t span;  // … how far they reach, both forgotten by and by
    uint64_t asked; // the end of what was read ahead
    uint64_t used;  // when, by the count of reads
};

struct ahead_streams {
    struct ahead_stream list[AHEAD_STREAMS];
    uint64_t reads;
};

// Notes that n > 0 bytes are being read of a member of `size` bytes. Returns the stream whose window is to be filled
// further, with the range, or NULL. The caller takes it by setting the stream's `asked` to the range's end; else the
// next read asks again.
struct ahead_stream *ahead_note_read(struct ahead_streams *a, unsigned member, uint64_t size, uint64_t offset,
                                     uint64_t n, uint64_t *ret_offset, uint64_t *ret_length);
