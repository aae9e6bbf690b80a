// First-boot settings: what a new machine is told when it boots for the first time, without a rebuilt image. A small
// read-only disk in the form of cloud-init's data source NoCloud: a file system with the label "cidata" and the files
//
//   meta-data    instance-id, new with each machine; local-hostname and public-keys, if given
//   user-data    byte for byte as given; empty if not
//
// It is made once, with the instance, and attached at every start as the last disk, with the serial number SEED_SERIAL.
// Whoever reads it applies it once for each instance-id (appliances/settings, cloud-init).
#pragma once

#include "base/buf.h"
#include "base/error.h"

#define SEED_NAME "seed.img" // in the instance's folder
#define SEED_SERIAL "rondo-seed"
#define SEED_LABEL "cidata"
#define SEED_USER_DATA_MAXIMUM (1u << 20)
#define SEED_KEYS_MAXIMUM (64u << 10) // bytes of a file of public keys
#define SEED_HOSTNAME_MAXIMUM 64u     // HOST_NAME_MAX of Linux
#define SEED_IMAGE_MAXIMUM (SEED_USER_DATA_MAXIMUM + 3 * SEED_KEYS_MAXIMUM)

struct seed_options {                // each may be NULL
    const char *user_data, *ssh_key; // files
    const char *hostname;
};

// Reads and checks what is given, and appends the disk to *ret (nothing if nothing is given). -EINVAL if something
// cannot be what it should, -ENOENT if a file is missing.
int seed_make(const struct seed_options *o, struct buf *ret, struct error *error);
