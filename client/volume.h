// Volumes: raw disks of the user's own that a machine has beside its system disk, and that outlive it: `rondo run
// --volume FILE[:SIZE]`. The guest finds the first one as /dev/vdb, the next as /dev/vdc …, and each by its serial
// number (volume_serial): /dev/disk/by-id/virtio-SERIAL.
//
// A volume is a regular file or a block device. A running machine holds a lock on it (flock(2)), by a descriptor that
// the supervisor and the engine share: it is free when the last of them has ended, whoever was killed.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define VOLUMES_MAXIMUM 4u
#define VOLUME_PATH_SIZE 1024u
#define VOLUME_SERIAL_SIZE 21u // 20 bytes (virtio 1.2, 5.2.6: VIRTIO_BLK_T_GET_ID) and a NUL

struct volume {
    char path[VOLUME_PATH_SIZE]; // absolute, of printable UTF-8
    uint64_t size;               // bytes; 0: none was given
};

// FILE or FILE:SIZE as people type it; what follows the last colon is a size if it looks like one. -EINVAL.
int volume_parse(const char *text, struct volume *ret, struct error *error);

// Opens and locks it, for reading and writing; returns the descriptor. With `named` the user asks for it now: a file
// that is missing is made (sparse) if a size is given, and one that is smaller grows; v->size is then what it has.
// Without, it is one that a machine remembers, and must still be as large as it was.
// -ENOENT if it is missing, -EBUSY if another machine or the host uses it, -EINVAL if it cannot be a volume, is larger
// than the size given, or lies where Rondo keeps its own, -ERANGE if a remembered one has shrunk.
int volume_open(struct volume *v, bool named, struct error *error);

// The last component of its path, with everything but letters, digits, dot, dash and underscore replaced by "_".
void volume_serial(const struct volume *v, char ret[static VOLUME_SERIAL_SIZE]);
