// rondo-vmm's command line (docs/vmm.md), read once and checked; every file is opened here, so that nothing is opened
// later. FILE is a path or "fd:N", a descriptor that we inherited.
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include <stdbool.h>
#include <stdint.h>

#define VM_DISKS_MAXIMUM 8u
#define VM_OUTAGE_SECONDS_MAXIMUM 86400u

enum vm_action { VM_ACTION_RUN, VM_ACTION_PROBE, VM_ACTION_HELP, VM_ACTION_VERSION };
enum vm_net { VM_NET_NONE, VM_NET_PASST, VM_NET_TAP };

struct vm_file {
    const char *name; // as it was given, for messages; NULL: not given
    int fd;           // ours; −1: not given, or not opened yet (--kvm with a path)
};

struct vm_disk {
    struct vm_file file;
    bool read_only;
};

struct vm_overlay {
    struct vm_file folder, base; // folder.name NULL: there is none
    struct sha256 manifest;
};

struct vm_options {
    enum vm_action action;
    struct vm_file kernel, initrd, kvm;
    const char *cmdline; // "" unless given
    uint64_t memory;     // bytes
    unsigned cpus;
    struct vm_overlay overlay; // the first disk, before `disks`
    struct vm_disk disks[VM_DISKS_MAXIMUM];
    unsigned disk_count;
    bool pass_outage;      // --on-outage error
    unsigned outage_after; // seconds
    enum vm_net net;
    int net_fd;
    int console_input, console_output; // standard input and output unless given; not closed by vm_options_free
    int console, control;              // −1: not given
    int record;                        // where to note the reads of the overlay's base; −1: nowhere
    bool paused, sandbox;
};

extern const char vm_options_usage[];

// -EINVAL with what is wrong; an option that needs another, or contradicts one, is wrong too. The strings stay argv's.
// *ret is to be released with vm_options_free. argv as main gets it: a name, the arguments, NULL.
int vm_options_parse(char **argv, struct vm_options *ret, struct error *error);
void vm_options_free(struct vm_options *o); // closes every descriptor that is still in it (TAKE_FD takes one out)
