// Snapshots of the disk of a machine that runs or is paused (see machine.h). The guest goes on: while its writes are
// held, by whoever has the disk open, it waits for its disk, as it does for a slow one. What the snapshot holds is what
// a disk holds after a power loss: everything that was flushed, or acknowledged.
//
//   client       supervisor                                          rondo-overlay, or the engine
//   snapshot ──▶ makes a new layer ── snapshot <id>, its files ────▶ holds all changes, flushes
//                replaces the list ◀──────────────── snapshot held ──
//        ok ◀──                     ── snapshot taken, or failed ──▶ goes on, with the new layer or without
//
// Whoever has the disk open is the one that holds the overlay's lock, and its life is ours; so nobody else changes the
// list meanwhile (blockstore/overlay_snapshot.h). One snapshot is taken at a time.
#include "base/io.h"
#include "base/log.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/ask.h"
#include "client/machine.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

static bool has_disk(const struct machine *m)
{
    return m->options->engine->opens_disk ? m->engine_runs && m->engine.control >= 0 : m->overlay >= 0;
}

static int tell_disk(struct machine *m, const char *text, const int *fds, unsigned count)
{
    const struct engine *engine = m->options->engine;
    return engine->opens_disk ? engine->tell_disk(&m->engine, text, fds, count)
                              : socket_send(m->overlay, text, fds, count);
}

void machine_snapshot_stop(struct machine *m)
{
    if (m->taking)
        overlay_taking_free(m->taking);
    m->taking = NULL;
}

static void end(struct machine *m, const char *answer)
{
    machine_snapshot_stop(m);
    machine_clients_answer(m, ASKED_SNAPSHOT, answer);
}

static void fail(struct machine *m, int result, const char *why)
{
    char answer[ERROR_TEXT_SIZE + 32];
    log_warning("no snapshot was taken: %s", why);
    snprintf(answer, sizeof(answer), "error %d %s", -result, why);
    end(m, answer);
}

int machine_snapshot_begin(struct machine *m, const char *label, struct error *error)
{
    char id[OVERLAY_ID_TEXT_SIZE], text[OVERLAY_ID_TEXT_SIZE + 16];
    int fds[2];
    if (m->taking)
        return error_set(error, EBUSY, "another snapshot is being taken; give the command again in a moment");
    if (m->state != MACHINE_RUNNING || m->restarting || !has_disk(m))
        return error_set(error, EBUSY, "it is only starting, or ending; give the command again in a moment");
    int r = overlay_taking_begin(m->instance->folder_fd, label, io_realtime_seconds(), &m->taking, error);
    if (r < 0)
        return r;
    overlay_taking_describe(m->taking, id, fds);
    snprintf(text, sizeof(text), "snapshot %s", id);
    r = tell_disk(m, text, fds, 2);
    if (r < 0) {
        machine_snapshot_stop(m);
        return error_set(error, -r, "its disk could not be told of the snapshot: %s", strerror(-r));
    }
    return 0;
}

// No change is made from now on, and all that were are flushed. Should nobody listen any more, it is the same.
static void finish(struct machine *m)
{
    char label[OVERLAY_LABEL_SIZE], answer[OVERLAY_LABEL_SIZE + 8];
    struct error error = {.text = ""};
    int r = overlay_taking_finish(m->taking, label, &error);
    int told = tell_disk(m, r < 0 ? "snapshot failed" : "snapshot taken", NULL, 0);
    if (told < 0)
        log_warning("the disk could not be told how the snapshot went: %s", strerror(-told));
    if (r < 0) {
        fail(m, r, error.text);
        return;
    }
    log_info("snapshot %s was taken", label);
    snprintf(answer, sizeof(answer), "ok %s", label);
    end(m, answer);
}

void machine_snapshot_hear(struct machine *m, struct slice said)
{
    struct error error = {.text = ""};
    struct slice rest;
    char text[ERROR_TEXT_SIZE + 32];
    if (!m->taking)
        return;
    if (slice_equal(said, "held")) {
        finish(m);
        return;
    }
    snprintf(text, sizeof(text), "%.*s", SLICE_ARGUMENTS(said));
    int r = ask_parse(text, &rest, &error);
    fail(m, r < 0 ? r : -EPROTO, r < 0 ? error.text : "the disk's answer is none");
}

void machine_snapshot_look(struct machine *m)
{
    if (m->taking && (m->restarting || !has_disk(m)))
        fail(m, -EBUSY, "the guest restarted, or ended, meanwhile; give the command again");
}
