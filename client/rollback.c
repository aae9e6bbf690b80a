// rondo rollback: makes the disk of a stopped machine what it was at a snapshot.
#include "blockstore/overlay_snapshot.h"
#include "client/cli.h"
#include "client/instance.h"
#include <errno.h>
#include <stdio.h>

#include "base/banned.h"

static int roll_back(const struct instance *i, const char *label, bool drop_newer, struct error *error)
{
    char given[OVERLAY_LABEL_SIZE];
    int r = overlay_snapshot_roll_back(i->folder_fd, label, drop_newer, given, error);
    if (r == -ENOENT && label)
        error_set(error, ENOENT, "machine %s has no snapshot %s; rondo snapshot %s --list lists them", i->name, label,
                  i->name);
    else if (r == -ENOENT)
        error_set(error, ENOENT, "machine %s has no snapshot; rondo snapshot %s takes one", i->name, i->name);
    else if (r == -ENOTEMPTY)
        error_set(error, ENOTEMPTY,
                  "snapshot %s is not the newest, and rolling back to it deletes the newer ones; rondo rollback %s %s "
                  "--drop-newer does",
                  label, i->name, label);
    if (r == 0)
        printf("%s\n", given);
    return r;
}

int verb_rollback(int argc, char **argv)
{
    bool drop_newer = false;
    const struct option options[] = {{"drop-newer", OPTION_FLAG, &drop_newer}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 2, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (drop_newer && operands < 2)
        return cli_usage("rollback", "--drop-newer goes with the label of a snapshot");
    struct error error = {.text = ""};
    struct instance i = INSTANCE_NONE;
    r = instance_open(argv[1], &i, &error);
    if (r == 0)
        r = instance_lock_stopped(&i, &error);
    if (r == 0)
        r = roll_back(&i, operands == 2 ? argv[2] : NULL, drop_newer, &error);
    instance_close(&i);
    return cli_end(r, &error);
}
