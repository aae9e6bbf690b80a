// Engines: what executes the guest. An engine is a table of functions and a process that it starts; the supervisor owns
// the process, its console and its control descriptor.
//
//   start ─▶ starting ─ENGINE_STARTED─▶ running ◀─pause/resume─▶ paused ─▶ ended (the process exits; its status says
//   how)
//
// No function waits: an engine that reads its kernel from rondo-cloop may take as long as that takes, and meanwhile its
// owner must be free to start a successor of a rondo-cloop that died.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/socket.h"
#include "client/volume.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// A raw disk beside the system disk.
#define ENGINE_DISKS_MAXIMUM (VOLUMES_MAXIMUM + 1) // the volumes, and the first-boot settings
struct engine_disk {
    int fd; // inherited by the engine: with its lock
    bool read_only;
    char serial[VOLUME_SERIAL_SIZE]; // under which the guest finds it: letters, digits, ".-_"
};

struct engine_start {
    const char *kernel, *initrd; // files; NULL: none
    const char *disk;            // a writable file (rondo-overlay's); not for an engine that opens the disk itself:
    const char *folder;          // of the instance, with its overlay
    int base, lock;              // the base disk, and the instance's lock, which the engine inherits
    const struct sha256 *manifest;
    const struct engine_disk *disks; // in the order in which the guest sees them, behind the system disk
    unsigned disk_count;
    int record; // where such an engine notes the reads of the base (blockstore/overlay_record.h); -1: nowhere
    bool pass_outage;
    unsigned outage_after; // seconds
    const char *cmdline;
    const char *machine_name;
    uint64_t memory; // bytes
    unsigned cpus;
    int network; // a connected stream socket to passt, or -1: no network
    int errors;  // where its own messages go
};

struct engine_process {
    pid_t pid;
    int console;                    // stream: bytes from and to the guest's first serial port
    int control;                    // the engine's own
    struct buf pending;             // of control: a line that is not complete yet
    bool asked, started;            // qemu: its greeting was answered; it takes commands
    char said[SOCKET_LINE_MAXIMUM]; // with ENGINE_SAYS
};

enum engine_event {
    ENGINE_NOTHING,
    ENGINE_STARTED,      // it takes commands from now on; the first event
    ENGINE_POWERED_OFF,  // the guest switched itself off
    ENGINE_RESET,        // the guest restarted itself
    ENGINE_TRIPLE_FAULT, // its processor gave up, which restarts it, too
    ENGINE_SAYS,         // in `said`: about the disk, what rondo-overlay would say; "statistics" and lines; "error …"
    ENGINE_PANICKED,
    ENGINE_LOST, // the control connection ended
};

#define ENGINE_GUEST_EXIT_FIRST                                                                                        \
    20 // of an engine that ends at a reset: from here on an exit code tells what its guest did

struct engine {
    const char *name;
    bool opens_disk;    // it opens base and overlay itself: there is no rondo-overlay
    bool needs_kernel;  // it starts kernels, no firmware: the image must have one of its own
    bool ends_at_reset; // its process ends when the guest restarts, and is to be started again
    // 0 if this host can run it; otherwise -EOPNOTSUPP (or what it is) and why.
    int (*probe)(struct error *error);
    // Starts the process. Commands are for after ENGINE_STARTED.
    int (*start)(const struct engine_start *s, struct engine_process *ret, struct error *error);
    int (*pause)(struct engine_process *p);
    int (*resume)(struct engine_process *p);
    int (*press_power)(struct engine_process *p);
    int (*switch_off)(struct engine_process *p); // at once, in order: what the guest flushed stays
    // The control descriptor is readable: takes one event off it, ENGINE_NOTHING when there is none left.
    enum engine_event (*next_event)(struct engine_process *p);
    // Of an engine that opens the disk: what rondo-overlay would be told. The descriptors stay the caller's.
    int (*tell_disk)(struct engine_process *p, const char *text, const int *fds, unsigned count);
    // Its counts come as ENGINE_SAYS, "statistics" and lines of "key value". NULL: it has none.
    int (*ask_statistics)(struct engine_process *p);
};

extern const struct engine engine_qemu, engine_kvm;

// `choice` is auto, kvm or qemu. For auto, *ret_reason gets one line that says why it is not kvm (empty if it is).
int engine_choose(const char *choice, const struct engine **ret, char *ret_reason, size_t capacity,
                  struct error *error);
// Then, of an image that has no kernel of its own, and boots by its disk: another engine in *engine, and why, if that
// one needs a kernel and `choice` leaves it open; -EOPNOTSUPP if it does not.
int engine_choose_without_kernel(const char *choice, const struct engine **engine, char *ret_reason, size_t capacity,
                                 struct error *error);
