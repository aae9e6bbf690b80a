// Streams of reads, and their windows (see store_ahead.h).
#include "blockstore/store_ahead.h"
#include <stddef.h>

#include "base/banned.h"

static bool continues(const struct ahead_stream *s, unsigned member, uint64_t offset, uint64_t n)
{
    return s->end != 0 && s->member == member && offset <= s->end + AHEAD_SLACK && offset + n + AHEAD_SLACK >= s->end;
}

// The stream that a read belongs to: the one whose end is nearest to where it begins. Or a place for a new one.
static struct ahead_stream *find(struct ahead_streams *a, unsigned member, uint64_t offset, uint64_t n, bool *ret_new)
{
    struct ahead_stream *oldest = &a->list[0], *best = NULL;
    uint64_t best_distance = UINT64_MAX;
    for (unsigned i = 0; i < AHEAD_STREAMS; i++) {
        struct ahead_stream *s = &a->list[i];
        uint64_t distance = s->end > offset ? s->end - offset : offset - s->end;
        if (continues(s, member, offset, n) && distance < best_distance) {
            best = s;
            best_distance = distance;
        }
        if (s->used < oldest->used)
            oldest = s;
    }
    *ret_new = !best;
    return best ? best : oldest;
}

static uint64_t window_of(const struct ahead_stream *s)
{
    if (s->read < AHEAD_FIRST || s->read < s->span / 2)
        return 0;
    return s->read < AHEAD_LAST ? s->read : AHEAD_LAST;
}

struct ahead_stream *ahead_note_read(struct ahead_streams *a, unsigned member, uint64_t size, uint64_t offset,
                                     uint64_t n, uint64_t *ret_offset, uint64_t *ret_length)
{
    bool begins;
    uint64_t end = offset + n;
    struct ahead_stream *s = find(a, member, offset, n, &begins);
    if (begins)
        *s = (struct ahead_stream){.member = member, .end = offset, .asked = end};
    s->used = ++a->reads;
    if (end > s->end) {
        s->span += end - s->end;
        s->end = end;
    }
    s->read += n;
    if (s->read > s->span) // what was read twice
        s->read = s->span;
    if (s->span > 4 * (uint64_t)AHEAD_LAST) {
        s->span /= 2;
        s->read /= 2;
    }
    uint64_t window = window_of(s), from = s->asked > s->end ? s->asked : s->end;
    uint64_t to = window < size - s->end ? s->end + window : size;
    if (begins || window == 0 || from >= to || (to - from < window / 2 && to < size))
        return NULL;
    *ret_offset = from;
    *ret_length = to - from;
    return s;
}
