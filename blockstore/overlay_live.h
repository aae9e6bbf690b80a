// A snapshot of an overlay that is open and goes on: the part of the process that has it open. overlay_snapshot.h has
// the other part, in the folder, which may be another process's: rondo-vmm can open no file.
//
//   going on ──overlay_live_hold──▶ held: no change is made, all are flushed ──overlay_live_end──▶ going on, with the
//      ▲             │ it failed                      │ overlay_live_refuse                        new layer or without
//      └─────────────┘                                └──▶ over: every change fails with -EIO
//
// Requests may be in progress in any number of threads. Reads go on throughout; a change waits while they are held, and
// a request of several pieces may have some of them in the snapshot and some behind it, as at a power loss.
//
// These functions are for one thread.
#pragma once

#include "blockstore/overlay.h"
#include "blockstore/overlay_hold.h"

// `id` and `fds` as overlay_taking_describe has them, opened for writing; both descriptors are taken over, also on
// failure, after which everything is as it was. -EINVAL if this is no new layer of this overlay, or one is held
// already; -EMLINK: there are as many layers as there may be; -EIO after a failed flush (rule 4).
int overlay_live_hold(struct overlay *o, const char *id, const int fds[static 2], struct error *error);
// `taken`: the list that names the new layer as the top is durable. Does nothing if no change is held.
void overlay_live_end(struct overlay *o, bool taken);
// Whoever could say which list there is will say no more, or requests must end now. Does nothing if no change is held.
void overlay_live_refuse(struct overlay *o);

// The messages of a supervisor to the process that has an overlay open (docs/protocol.md, "rondo-overlay"), where they
// concern the disk: `base`, `counts`, `snapshot …`. False if it is none of them. Descriptors that were taken over are
// -1 afterwards. *ret_answer is to be sent back, if it is not empty.
#define OVERLAY_LIVE_ANSWER_SIZE (ERROR_TEXT_SIZE + 64)
bool overlay_live_hear(struct overlay *o, struct overlay_hold *h, const char *text, int *fds, unsigned count,
                       char ret_answer[static OVERLAY_LIVE_ANSWER_SIZE]);
