// Taking a snapshot of an overlay that is open: what happens in its folder, for the process that holds its lock
// (overlay_live.c has what happens in it meanwhile).
//
//   new pair stable ─▶ its names stable ─▶ changes held, top flushed ─▶ list replaced
//   └──────── swept by the next change ────────────────────────┘
//
// The numbered rules are those of overlay_snapshot.h.
#include "blockstore/overlay_private.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct overlay_taking {
    int dir;
    struct overlay_layers before, after;
    struct overlay_pair top; // the new one
    bool listed;             // a list that can be seen, or that a power loss brings back, may name it
};

// Whoever has the overlay open does that (overlay_live.h).
static int flush_elsewhere(const struct overlay_pair *pair, struct error *error)
{
    (void)pair, (void)error;
    return 0;
}

int overlay_taking_begin(int dir, const char *label, int64_t now, struct overlay_taking **ret, struct error *error)
{
    struct overlay_taking *t = calloc(1, sizeof *t);
    if (!t)
        return error_set(error, ENOMEM, "out of memory");
    t->dir = dir;
    t->top = (struct overlay_pair){.data = -1, .map = -1};
    int r = overlay_snapshot_look(dir, &t->before, error);
    t->listed = r < 0; // then what lies there is left alone
    t->after = t->before;
    if (r == 0)
        r = overlay_snapshot_add_layer(dir, &t->after, label, now, flush_elsewhere, error);
    if (r == 0)
        r = overlay_snapshot_not_a_label(overlay_pair_open(dir, &t->after.layers[0].id, O_RDWR, &t->top, error));
    if (r < 0)
        overlay_taking_free(t);
    else
        *ret = t;
    return r;
}

void overlay_taking_describe(const struct overlay_taking *t, char ret_id[static OVERLAY_ID_TEXT_SIZE],
                             int ret_fds[static 2])
{
    overlay_id_to_hex(&t->after.layers[0].id, ret_id);
    ret_fds[0] = t->top.data;
    ret_fds[1] = t->top.map;
}

// The list was replaced, but perhaps not for good. Whoever has the overlay open goes on writing to the old top; so the
// old list is the right one.
static void put_back(const struct overlay_taking *t)
{
    struct overlay_layers now;
    struct error error = {.text = ""};
    bool listed;
    int r = overlay_layers_read(t->dir, &now, &listed, &error);
    if (r == 0 && overlay_id_equal(&now.layers[0].id, &t->after.layers[0].id))
        r = overlay_layers_replace(t->dir, &t->before, &error);
    if (r < 0)
        log_warning("snapshot %s, which failed, may be listed: %s", t->after.layers[1].snapshot.label, error.text);
}

int overlay_taking_finish(struct overlay_taking *t, char ret_label[static OVERLAY_LABEL_SIZE], struct error *error)
{
    t->listed = true;
    int r = overlay_layers_replace(t->dir, &t->after, error);
    if (r == 0)
        memcpy(ret_label, t->after.layers[1].snapshot.label, OVERLAY_LABEL_SIZE);
    else
        put_back(t);
    return r;
}

void overlay_taking_free(struct overlay_taking *t)
{
    overlay_pair_close(&t->top);
    if (!t->listed)
        overlay_snapshot_clean(t->dir, &t->before); // rule 3
    free(t);
}
