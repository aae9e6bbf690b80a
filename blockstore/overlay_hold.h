// What rondo-overlay and rondo-vmm do while they cannot serve a request: they hold it, tell the supervisor, and go on
// by themselves. A guest whose disk is slow only waits; a guest that gets an I/O error makes its root read-only (TRUST,
// rules 5 and 7).
//
//   the base cannot be read   `outage <sentence>` … `recovered`      overlay_hold_read_base, overlay_hold_look
//   no space for a write      `no-space <path>` … `space`            overlay_hold_wait_for_space
//   a flush failed            `failed <sentence>`, once and for all  overlay_hold_say_failed
//
// Any thread may call any of these at once.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct overlay_hold;

struct overlay_hold_settings {
    int control;                   // the socket to the supervisor; stays the caller's
    const char *folder;            // or file, for `no-space`; must outlive the hold
    bool pass_outage;              // an outage is an error of the request, and nobody waits (--on-outage error)
    unsigned outage_after_seconds; // how long a base read may take, attempts and all, before it counts as an outage;
                                   // 0: its first failure is one
};

// Takes over the base descriptor, a regular file whose size is then fixed: also on failure it is closed. -1: a disk
// that has no base, and waits for space alone.
int overlay_hold_new(const struct overlay_hold_settings *settings, int base_fd, struct overlay_hold **ret,
                     struct error *error);
void overlay_hold_free(struct overlay_hold *h); // no request may be held any more

uint64_t overlay_hold_base_size(const struct overlay_hold *h);

// For struct overlay_base, with the hold as context. Repeats a failed read every second, and at once when the base is
// replaced. -EIO if outages are passed on, and after overlay_hold_stop.
int overlay_hold_read_base(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n);

// Looks for reads that wait for longer than that without having failed. To be called again and again: returns after how
// many milliseconds, or -1 if never.
int overlay_hold_look(struct overlay_hold *h);

// A new descriptor of the same base in place of the old one, which is closed when its last read ends. Takes the
// descriptor over, also on failure. -EINVAL if it is not a file of the same size.
int overlay_hold_replace_base(struct overlay_hold *h, int base_fd, struct error *error);

// Waits a second for space; false after overlay_hold_stop. *held says for this request whether it waited already; when
// it is over, well or not, overlay_hold_end_wait is due.
bool overlay_hold_wait_for_space(struct overlay_hold *h, bool *held);
void overlay_hold_end_wait(struct overlay_hold *h, const bool *held);

void overlay_hold_say_failed(struct overlay_hold *h, const char *sentence); // only the first is sent

// No request is held from now on; those that are fail with -EIO. Nothing more is said, but a failed flush.
void overlay_hold_stop(struct overlay_hold *h);
