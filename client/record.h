// Recording a boot: what is to be published is booted once, before anything of it is published, and the order in which
// it is read becomes its boot profile (blockstore/profile.h).
//
// The machine is an ephemeral instance like any other, with the same supervisor and engine, but over the user's own
// files (client/supervisor.h, struct supervisor_recording). Its base disk is only ever read.
#pragma once

#include "blockstore/manifest.h"
#include "blockstore/overlay_record.h"
#include "blockstore/profile.h"

#define RECORD_SECONDS_DEFAULT 180u // Debian needs 15 to 30 in software emulation
// What a boot still reads when its ready text is there (the login shell, late units): this long, but a tenth of the
// boot where that is more, for a host that is slow.
#define RECORD_SETTLE_SECONDS 2u

struct record_options {
    const struct manifest *description; // of what will be published: its name, cmdline, memory, ready text
    // The members' files and their open descriptors; kernel and initrd may be absent (NULL, -1).
    const char *disk_path, *kernel_path, *initrd_path;
    int disk, kernel, initrd;
    unsigned seconds; // how long the boot may take
};

// Shows the progress on stderr. A boot that cannot be recorded, whatever the reason, is no failure: that was said, and
// *ret is NULL. -ECANCELED after SIGINT, SIGTERM or SIGHUP (cli_catch_signals must have been called). Whatever the
// outcome, nothing is left of the machine. *ret is to be freed with profile_free.
int record_boot(const struct record_options *options, struct profile **ret, struct error *error);

// The profile of a boot: the members but the first whole, since kernel and initrd are read before the guest begins,
// then the reads of the first, the disk, which are the first `count` records of the file (blockstore/overlay_record.h),
// up to what a profile may hold. What no overlay can have written is passed over: reads of nothing, or beyond the
// disk's end.
int record_make_profile(const struct manifest *description, int reads, size_t count, struct profile **ret,
                        struct error *error);

// The extended regular expression that matches just this text. False if it does not fit.
bool record_make_pattern(const char *text, char *ret, size_t capacity);
