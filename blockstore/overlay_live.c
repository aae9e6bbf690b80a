// The top layer of an open overlay becomes a snapshot (see overlay_live.h). In this order:
//
//   1. a flush, while requests go on, so that the next one is short
//   2. changes are held: those in progress end first. They wait for nothing but the local disk: a slow read of the base
//      is done outside (merge_part in overlay.c)
//   3. a flush: whatever was acknowledged is in the layer, and stable
//   4. the list is replaced, elsewhere
//   5. the layer is added to those below the top; then the top is replaced. A reader asks the top first, then those
//      below (overlay_lower.c, invariant 5), so that between the two it finds the same
//   6. changes go on
//
// The numbered rules are those of FORMATS, "Overlay", and of overlay_snapshot.h.
#include "blockstore/overlay_live.h"
#include "blockstore/overlay_private.h"

#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// The layer must have been made over our top: a list that has another one is not ours to add to.
static int check_layer(const struct overlay *o, const struct overlay_id *id, const struct overlay_pair *pair,
                       struct error *error)
{
    if (o->next.data >= 0)
        return error_set(error, EINVAL, "a snapshot of the disk is being taken already");
    if (o->lower.count + 1 >= OVERLAY_DEPTH_MAXIMUM)
        return error_set(error, EMLINK, "the disk has as many layers as there may be");
    if (overlay_id_equal(id, &o->top) || !overlay_id_equal(&pair->header.parent, &o->top) ||
        pair->header.blocks != o->blocks)
        return error_set(error, EINVAL, "the new layer was not made over the one that the disk has");
    return 0;
}

int overlay_live_hold(struct overlay *o, const char *id, const int fds[static 2], struct error *error)
{
    CLEANUP_CLOSE int data = fds[0];
    CLEANUP_CLOSE int map = fds[1];
    struct overlay_id next_id;
    struct overlay_pair next;
    if (!overlay_id_from_hex(slice_of(id), &next_id))
        return error_set(error, EINVAL, "\"%.40s\" is not the name of a layer", id);
    int r = overlay_pair_adopt(&next_id, data, map, &next, error);
    if (r == 0)
        r = check_layer(o, &next_id, &next, error);
    if (r < 0)
        return r;
    r = overlay_flusher_round(o);
    if (r == 0) {
        overlay_map_hold_changes(o);
        r = overlay_flusher_round(o); // rule 5 of overlay_snapshot.h
    }
    if (r < 0) {
        overlay_map_end_hold(o, OVERLAY_CHANGES_MADE); // they are refused all the same, by rule 4
        overlay_failure(o, error);
        return r;
    }
    (void)TAKE_FD(data);
    (void)TAKE_FD(map);
    o->next = next;
    o->next_id = next_id;
    return 0;
}

void overlay_live_end(struct overlay *o, bool taken)
{
    if (o->next.data < 0)
        return;
    if (taken) {
        overlay_flusher_keep_out(&o->flusher);
        overlay_lower_add(&o->lower, o->data, o->map_file);
        overlay_map_replace(o, TAKE_FD(o->next.data), TAKE_FD(o->next.map));
        overlay_flusher_let_in(&o->flusher);
        o->top = o->next_id;
    } else {
        overlay_pair_close(&o->next);
    }
    overlay_map_end_hold(o, OVERLAY_CHANGES_MADE);
}

void overlay_live_refuse(struct overlay *o)
{
    overlay_map_end_hold(o, OVERLAY_CHANGES_REFUSED);
}

// --- the supervisor's words ----------------------------------------------------------------------------------------

static void replace_base(struct overlay_hold *h, int *fd, char *ret, size_t size)
{
    struct error error = {.text = ""};
    if (overlay_hold_replace_base(h, TAKE_FD(*fd), &error) < 0)
        snprintf(ret, size, "error the new base disk is refused: %s", error.text);
}

static void say_counts(struct overlay *o, char *ret, size_t size)
{
    struct overlay_counts n;
    int r = overlay_count(o, &n);
    if (r < 0)
        snprintf(ret, size, "error the overlay's map cannot be read: %s", strerror(-r));
    else
        snprintf(ret, size, "counts data_blocks=%llu zero_blocks=%llu flushes=%llu rounds=%llu",
                 (unsigned long long)n.data_blocks, (unsigned long long)n.zero_blocks, (unsigned long long)n.flushes,
                 (unsigned long long)n.rounds);
}

static void hold(struct overlay *o, const char *id, int *fds, char *ret, size_t size)
{
    struct error error = {.text = ""};
    const int given[] = {TAKE_FD(fds[0]), TAKE_FD(fds[1])};
    int r = overlay_live_hold(o, id, given, &error);
    if (r < 0)
        snprintf(ret, size, "snapshot error %d %s", -r, error.text);
    else
        snprintf(ret, size, "snapshot held");
}

bool overlay_live_hear(struct overlay *o, struct overlay_hold *h, const char *text, int *fds, unsigned count,
                       char ret_answer[static OVERLAY_LIVE_ANSWER_SIZE])
{
    static const char snapshot[] = "snapshot ";
    char answer[OVERLAY_LIVE_ANSWER_SIZE] = "";
    if (strcmp(text, "base") == 0 && count == 1)
        replace_base(h, fds, answer, sizeof answer);
    else if (strcmp(text, "counts") == 0 && count == 0)
        say_counts(o, answer, sizeof answer);
    else if (strcmp(text, "snapshot taken") == 0 && count == 0)
        overlay_live_end(o, true);
    else if (strcmp(text, "snapshot failed") == 0 && count == 0)
        overlay_live_end(o, false);
    else if (strncmp(text, snapshot, strlen(snapshot)) == 0 && count == 2)
        hold(o, text + strlen(snapshot), fds, answer, sizeof answer);
    else
        return false;
    memcpy(ret_answer, answer, sizeof answer);
    return true;
}
