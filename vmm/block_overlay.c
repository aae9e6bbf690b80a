// An instance's disk: what the guest wrote in the overlay, the rest from the base, a member in rondo-cloop's mount. A
// request that cannot be served now is held, not failed (blockstore/overlay_hold.h).
#include "vmm/block_backend.h"

#include "base/cleanup.h"
#include "blockstore/overlay_live.h"
#include "blockstore/overlay_record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct block_overlay {
    struct block_backend backend;
    struct overlay *overlay;
    struct overlay_hold *hold;
    struct overlay_record record;
};

static struct block_overlay *of(struct block_backend *b)
{
    return (struct block_overlay *)b; // its first member
}

// The first failed flush makes all that follow fail; the supervisor is told once why (FORMATS, overlay rule 4).
static int finish(struct block_overlay *d, int r)
{
    struct error error;
    if (r < 0 && overlay_failure(d->overlay, &error) < 0)
        overlay_hold_say_failed(d->hold, error.text);
    return r;
}

static int overlay_backend_read(struct block_backend *b, uint64_t offset, const struct iovec *to, size_t n)
{
    return finish(of(b), overlay_readv(of(b)->overlay, offset, to, n));
}

static int overlay_backend_write(struct block_backend *b, uint64_t offset, const struct iovec *from, size_t n)
{
    struct block_overlay *d = of(b);
    bool held = false;
    int r;
    do {
        r = overlay_writev(d->overlay, offset, from, n);
    } while (r == -ENOSPC && overlay_hold_wait_for_space(d->hold, &held));
    overlay_hold_end_wait(d->hold, &held);
    return finish(d, r);
}

// Both need space for the map alone, and wait for it in the same way.
static int change(struct block_overlay *d, int (*function)(struct overlay *, uint64_t, uint64_t), uint64_t offset,
                  uint64_t n)
{
    bool held = false;
    int r;
    do {
        r = function(d->overlay, offset, n);
    } while (r == -ENOSPC && overlay_hold_wait_for_space(d->hold, &held));
    overlay_hold_end_wait(d->hold, &held);
    return finish(d, r);
}

static int overlay_backend_discard(struct block_backend *b, uint64_t offset, uint64_t n)
{
    return change(of(b), overlay_discard, offset, n);
}

static int overlay_backend_write_zeroes(struct block_backend *b, uint64_t offset, uint64_t n)
{
    return change(of(b), overlay_write_zeroes, offset, n);
}

static int overlay_backend_flush(struct block_backend *b)
{
    return finish(of(b), overlay_flush(of(b)->overlay));
}

static void overlay_backend_set_write_through(struct block_backend *b, bool on)
{
    overlay_set_write_through(of(b)->overlay, on);
}

static void overlay_backend_let_go(struct block_backend *b)
{
    overlay_hold_stop(of(b)->hold);
    overlay_live_refuse(of(b)->overlay);
}

static int overlay_backend_look(struct block_backend *b)
{
    return overlay_hold_look(of(b)->hold);
}

static bool overlay_backend_hear(struct block_backend *b, const char *text, int *fds, unsigned count, char *ret_answer)
{
    return overlay_live_hear(of(b)->overlay, of(b)->hold, text, fds, count, ret_answer);
}

static int overlay_backend_close(struct block_backend *b, struct error *error)
{
    struct block_overlay *d = of(b);
    struct error why = {.text = ""};
    int r = overlay_close(d->overlay, &why);
    if (r < 0) {
        overlay_hold_say_failed(d->hold, why.text);
        error_set(error, -r, "%s", why.text);
    }
    overlay_hold_free(d->hold);
    overlay_record_close(&d->record);
    free(d);
    return r;
}

int block_overlay_new(const struct block_overlay_settings *settings, struct block_backend **ret, struct error *error)
{
    CLEANUP_CLOSE int base_fd = settings->base;
    CLEANUP_FREE struct block_overlay *d = calloc(1, sizeof *d);
    if (!d)
        return error_set(error, ENOMEM, "out of memory");
    const struct overlay_hold_settings hold = {.control = settings->control,
                                               .folder = settings->folder_name,
                                               .pass_outage = settings->pass_outage,
                                               .outage_after_seconds = settings->outage_after_seconds};
    int r = overlay_hold_new(&hold, TAKE_FD(base_fd), &d->hold, error);
    if (r < 0)
        return r;
    const struct overlay_base held = {
        .read = overlay_hold_read_base, .context = d->hold, .size = overlay_hold_base_size(d->hold)};
    struct overlay_base base;
    r = overlay_record_open(&d->record, settings->record, &held, &base, error);
    if (r == 0)
        r = overlay_open(settings->folder, &settings->manifest, &base, &d->overlay, error);
    if (r < 0) {
        overlay_record_close(&d->record);
        overlay_hold_free(d->hold);
        return error_prefix(error, r, "cannot use the disk in %s", settings->folder_name);
    }
    d->backend = (struct block_backend){.read = overlay_backend_read,
                                        .write = overlay_backend_write,
                                        .flush = overlay_backend_flush,
                                        .discard = overlay_backend_discard,
                                        .write_zeroes = overlay_backend_write_zeroes,
                                        .set_write_through = overlay_backend_set_write_through,
                                        .let_go = overlay_backend_let_go,
                                        .look = overlay_backend_look,
                                        .hear = overlay_backend_hear,
                                        .close = overlay_backend_close,
                                        .size = overlay_size(d->overlay)};
    *ret = &TAKE_PTR(d)->backend;
    return 0;
}
