// rondo snapshot: keeps the disk of a machine as it is, under a label; lists what is kept; deletes one. Of a machine
// that runs or is paused, its supervisor takes the snapshot (machine_snapshot.c).
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "blockstore/overlay_snapshot.h"
#include "client/ask.h"
#include "client/cli.h"
#include "client/instance.h"
#include "client/report.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct request {
    const char *name, *label; // label NULL: none was given
    bool list, delete, json;
};

#define LIVE_MS 300000 // what the guest has written is flushed, to a disk that may be slow

static int take_live(const struct instance *i, const char *label, char ret_label[static OVERLAY_LABEL_SIZE],
                     struct error *error)
{
    char question[SOCKET_LINE_MAXIMUM], answer[SOCKET_LINE_MAXIMUM];
    snprintf(question, sizeof(question), "snapshot%s%s", label ? " " : "", label ? label : "");
    cli_catch_signals();
    cli_progress("taking a snapshot of %s", i->name);
    int r = ask_machine(i, question, LIVE_MS, answer, error);
    cli_progress_end();
    if (r == -EINTR)
        return error_set(error, ECANCELED,
                         "cancelled; the snapshot may be taken all the same (rondo snapshot %s --list lists them)",
                         i->name);
    if (r == -ENOENT) // not any more
        return error_set(error, EBUSY, "machine %s has just ended; give the command again", i->name);
    if (r == 0)
        snprintf(ret_label, OVERLAY_LABEL_SIZE, "%.*s", (int)OVERLAY_LABEL_SIZE - 1, answer);
    return r;
}

static int take(struct instance *i, const char *label, struct error *error)
{
    char given[OVERLAY_LABEL_SIZE];
    int r = label ? overlay_snapshot_check_label(label, error) : 0; // an empty one would be no word of the question
    if (r < 0)
        return r;
    r = instance_lock(i, error);
    if (r == -EBUSY)
        r = take_live(i, label, given, error);
    else if (r == 0)
        r = overlay_snapshot_take(i->folder_fd, label, io_realtime_seconds(), given, error);
    if (r == -EEXIST)
        error_set(error, EEXIST, "machine %s has a snapshot %s already; rondo snapshot %s --list lists them", i->name,
                  label, i->name);
    if (r == -EMLINK)
        error_set(error, EMLINK, "machine %s has %u snapshots, no more are possible; rondo snapshot %s LABEL --delete",
                  i->name, OVERLAY_DEPTH_MAXIMUM - 1, i->name);
    if (r == -ENOSPC)
        error_set(error, ENOSPC, "no space for a snapshot of %s in %s; free some, and give the command again", i->name,
                  i->folder);
    if (r == 0)
        printf("%s\n", given);
    return r;
}

static void show_progress(uint64_t bytes)
{
    char size[32];
    cli_progress("copying into the layer below: %s", text_format_size(bytes, size));
}

static int delete (const struct instance *i, const char *label, struct error *error)
{
    cli_cancel_on_signals(); // every step can be repeated
    int r = overlay_snapshot_delete(i->folder_fd, label, show_progress, error);
    cli_progress_end();
    if (r == -ENOENT)
        error_set(error, ENOENT, "machine %s has no snapshot %s; rondo snapshot %s --list lists them", i->name, label,
                  i->name);
    return r;
}

static int report_all(const struct overlay_history *h, struct error *error)
{
    struct report p = REPORT_EMPTY;
    char time[32];
    p.json = true;
    report_begin_list(&p);
    for (unsigned i = 0; i < h->count; i++) {
        report_text(&p, "label", h->snapshots[i].label);
        report_text(&p, "time", text_format_time(h->snapshots[i].time, time));
        report_number(&p, "written", h->snapshots[i].bytes);
        report_end_row(&p);
    }
    return report_end_list(&p, 0, error);
}

static int list(const struct instance *i, bool json, struct error *error)
{
    struct overlay_history h;
    char time[32], size[32];
    int r = overlay_history_read(i->folder_fd, &h, error);
    if (r < 0 || json)
        return r < 0 ? r : report_all(&h, error);
    if (h.count == 0)
        fprintf(stderr, "no snapshots; rondo snapshot %s takes one\n", i->name);
    else
        printf("%-24s %-22s %s\n", "SNAPSHOT", "TIME", "WRITTEN");
    for (unsigned s = 0; s < h.count; s++)
        printf("%-24s %-22s %s\n", h.snapshots[s].label, text_format_time(h.snapshots[s].time, time),
               text_format_size(h.snapshots[s].bytes, size));
    return 0;
}

static int carry_out(const struct request *q, struct error *error)
{
    struct instance i = INSTANCE_NONE;
    int r = instance_open(q->name, &i, error);
    if (r == 0 && q->delete)
        r = instance_lock_stopped(&i, error);
    if (r == 0)
        r = q->list ? list(&i, q->json, error) : q->delete ? delete (&i, q->label, error) : take(&i, q->label, error);
    instance_close(&i);
    return r;
}

int verb_snapshot(int argc, char **argv)
{
    struct request q = {.label = NULL};
    const struct option options[] = {{"list", OPTION_FLAG, &q.list},
                                     {"delete", OPTION_FLAG, &q.delete},
                                     {"json", OPTION_FLAG, &q.json},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    q.name = argv[1];
    q.label = operands == 2 ? argv[2] : NULL;
    if (q.delete &&!q.label)
        return cli_usage("snapshot", "--delete needs the label of a snapshot");
    if (q.list && (q.label || q.delete))
        return cli_usage("snapshot", "--list takes a machine's name only");
    if (q.json && !q.list)
        return cli_usage("snapshot", "--json goes with --list");
    struct error error = {.text = ""};
    r = carry_out(&q, &error);
    return cli_end(r, &error);
}
