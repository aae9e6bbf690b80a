// Flushing in rounds (rules 3 and 4).
//
//   idle ──overlay_flusher_round──> running ──all steps succeed──> idle
//                                      └────────any fails────────> failed (for good)
//
// There is one flusher at a time: whichever caller finds none running becomes it, does one round without any lock held,
// and wakes the others. A caller needs a round that began after its call; who comes during a round therefore waits
// for the next, which serves everybody who came meanwhile.
//
// 1. A round: copy the dirty map pages, fdatasync(data), write the copies, fdatasync(map). Since a bit is set in memory
//    only after its data was written (rule 1), every bit in the copies has its data in what the first fdatasync made
//    stable. No bit reaches the map file in any other way (rule 3).
// 2. A torn map page is harmless: each block's two bits stand for themselves, old or new.
// 3. After a failure the kernel may have dropped what it could not write and report success the next time; so nothing
//    is tried again, and the pages of the failed round stay as they are (rule 4).
#include "blockstore/overlay_private.h"

#include "base/io.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

int overlay_flusher_start(struct overlay_flusher *f)
{
    memset(f, 0, sizeof *f);
    int r = pthread_mutex_init(&f->lock, NULL);
    if (r != 0)
        return -r;
    r = pthread_cond_init(&f->finished_one, NULL);
    if (r != 0)
        pthread_mutex_destroy(&f->lock);
    return -r;
}

void overlay_flusher_stop(struct overlay_flusher *f)
{
    pthread_cond_destroy(&f->finished_one);
    pthread_mutex_destroy(&f->lock);
}

// One round, by the flusher alone.
static int run_round(struct overlay *o, struct error *error)
{
    unsigned copied = overlay_map_begin_round(o);
    if (io->fdatasync(o->data) < 0)
        return error_set(error, errno, "the overlay's data (disk.data) could not be written to the disk: %m");
    if (copied == 0)
        return 0;
    int r = overlay_map_write_round(o);
    if (r < 0)
        return error_set(error, -r, "the overlay's map (disk.map) could not be written: %s", strerror(-r));
    if (io->fdatasync(o->map_file) < 0)
        return error_set(error, errno, "the overlay's map (disk.map) could not be written to the disk: %m");
    overlay_map_end_round(o);
    return 0;
}

int overlay_flusher_round(struct overlay *o)
{
    struct overlay_flusher *f = &o->flusher;
    pthread_mutex_lock(&f->lock);
    uint64_t needed = f->started + 1;
    while (!f->failed && f->finished < needed) {
        if (f->running) {
            pthread_cond_wait(&f->finished_one, &f->lock);
            continue;
        }
        f->running = true;
        f->started++;
        pthread_mutex_unlock(&f->lock);
        struct error error = {0};
        int r = run_round(o, &error);
        pthread_mutex_lock(&f->lock);
        f->running = false;
        if (r < 0) {
            f->failure = error;
            f->failed = true;
        } else {
            f->finished = f->started;
        }
        pthread_cond_broadcast(&f->finished_one);
        if (r < 0) {
            pthread_mutex_unlock(&f->lock);
            overlay_map_wake(o);
            pthread_mutex_lock(&f->lock);
        }
    }
    bool failed = f->failed;
    pthread_mutex_unlock(&f->lock);
    return failed ? -EIO : 0;
}

void overlay_flusher_keep_out(struct overlay_flusher *f)
{
    pthread_mutex_lock(&f->lock);
    while (f->running)
        pthread_cond_wait(&f->finished_one, &f->lock);
    f->running = true;
    pthread_mutex_unlock(&f->lock);
}

void overlay_flusher_let_in(struct overlay_flusher *f)
{
    pthread_mutex_lock(&f->lock);
    f->running = false;
    pthread_cond_broadcast(&f->finished_one);
    pthread_mutex_unlock(&f->lock);
}

int overlay_flush(struct overlay *o)
{
    atomic_fetch_add(&o->flusher.requests, 1);
    return overlay_flusher_round(o);
}

int overlay_failure(struct overlay *o, struct error *error)
{
    struct overlay_flusher *f = &o->flusher;
    if (!f->failed)
        return 0;
    pthread_mutex_lock(&f->lock);
    error_set(error, EIO, "%s", f->failure.text);
    pthread_mutex_unlock(&f->lock);
    return -EIO;
}
