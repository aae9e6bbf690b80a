// The health of sources: ranks, pauses, and the times that they last. See mirrors_health.h.

#include "blockstore/mirrors_health.h"

#include "base/log.h"
#include "base/text.h"
#include <errno.h>
#include <sys/random.h>

#include "base/banned.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define LIAR_NS (600 * SECOND)
#define BACK_OFF_FIRST_NS (50 * MS)
#define BACK_OFF_LAST_NS (2 * SECOND)
#define FAILED_FIRST_NS (8 * SECOND) // doubles with every further failure …
#define FAILED_DOUBLINGS 5           // … this often
#define FAILURES_BEFORE_PAUSE 3

enum rank { HEALTHY_HERE, HEALTHY, FAILED, LIAR, NONE };

static enum rank rank_of(const struct mirror *m, uint64_t now)
{
    if (m->liar_until > now)
        return LIAR;
    if (m->failures && m->failed_until > now)
        return FAILED;
    return m->here ? HEALTHY_HERE : HEALTHY;
}

bool mirrors_health_is_well(const struct mirror *m, uint64_t now)
{
    return m->paused_until <= now && rank_of(m, now) <= HEALTHY;
}

bool mirrors_health_pick(const struct mirror *mirrors, unsigned count, unsigned excluded, uint64_t bytes, uint64_t now,
                         unsigned *ret_index, uint64_t *ret_wake)
{
    enum rank best = NONE;
    unsigned best_index = 0;
    uint64_t wake = UINT64_MAX;
    for (unsigned i = 0; i < count; i++) {
        const struct mirror *m = &mirrors[i];
        if (excluded & 1u << i)
            continue;
        if (m->paused_until > now) {
            wake = m->paused_until < wake ? m->paused_until : wake;
            continue;
        }
        enum rank rank = rank_of(m, now);
        if (rank < best || (rank == best && rank <= HEALTHY &&
                            mirrors_speed_is_better(&m->speed, &mirrors[best_index].speed, bytes))) {
            best = rank;
            best_index = i;
        }
    }
    if (best == NONE)
        *ret_wake = wake;
    else
        *ret_index = best_index;
    return best != NONE;
}

uint64_t mirrors_health_back_off(unsigned failures_before)
{
    uint64_t ns = failures_before < 8 ? BACK_OFF_FIRST_NS << failures_before : BACK_OFF_LAST_NS;
    ns = ns < BACK_OFF_LAST_NS ? ns : BACK_OFF_LAST_NS;
    uint32_t chance = 0;
    if (getrandom(&chance, sizeof(chance), GRND_NONBLOCK) != sizeof(chance))
        chance = UINT32_MAX / 2; // early in a boot
    return ns / 2 + ns / 2 * chance / UINT32_MAX;
}

static uint64_t failed_time(const struct mirror *m)
{
    unsigned doublings = m->failures ? m->failures - 1 : 0;
    return FAILED_FIRST_NS << (doublings < FAILED_DOUBLINGS ? doublings : FAILED_DOUBLINGS);
}

void mirrors_health_note_asked(struct mirror *m, uint64_t now)
{
    if (m->failures) // until we know, the others ask elsewhere
        m->failed_until = now + failed_time(m);
}

static void note_failure(struct mirror *m, uint64_t started, uint64_t now, const struct source_request *r)
{
    bool counts = m->failures == 0 || started >= m->failed_at;
    if (counts)
        m->failures++;
    // A single failure is everyday life, and a long outage is news only once.
    log_at(counts && m->failures == FAILURES_BEFORE_PAUSE ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "%s", r->error.text);
    m->failed_at = now;
    m->failed_until = now + failed_time(m);
    uint64_t pause = r->retry_after_ms * MS;
    if (m->failures >= FAILURES_BEFORE_PAUSE) {
        uint64_t back_off = mirrors_health_back_off(m->failures - FAILURES_BEFORE_PAUSE);
        pause = pause > back_off ? pause : back_off;
    }
    if (now + pause > m->paused_until)
        m->paused_until = now + pause;
}

static bool note_answer(struct mirror *m)
{
    bool is_back = m->failures >= FAILURES_BEFORE_PAUSE;
    if (is_back) {
        char address[256];
        log_info("%s answers again", text_escape(slice_of(source_address(m->source)), address, sizeof(address)));
    }
    m->failures = 0;
    m->failed_until = 0;
    m->paused_until = 0;
    return is_back;
}

bool mirrors_health_note_result(struct mirror *m, int result, uint64_t started, uint64_t now,
                                const struct source_request *r)
{
    if (result == 0 || result == -ENOENT)
        return note_answer(m);
    if (result == -ENETUNREACH) {
        note_failure(m, started, now, r);
    } else if (result == -EBADMSG) {
        bool known = m->liar_until > now; // one that is asked because there is no other would fill the log
        log_at(known ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "%s; this source is asked last for ten minutes",
               r->error.text);
        m->liar_until = now + LIAR_NS;
    }
    return false;
}
