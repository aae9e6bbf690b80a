// The disks that a machine has beside its system disk, opened and locked before its supervisor is forked, which
// inherits them and hands them to the engine: volumes (volume.h), then first-boot settings (seed.h).
#pragma once

#include "client/supervisor.h"

// Opens the volumes of `s` into o->disks, which is empty. `named`: the user has named them now (volume_open). Sizes in
// `s` become what the volumes have. On failure o->disks holds what is still to be closed.
int disks_open_volumes(struct supervisor_options *o, struct instance_settings *s, bool named, struct error *error);

// Adds the first-boot settings of an instance, if it has any.
int disks_open_seed(struct supervisor_options *o, const struct instance *i, struct error *error);

void disks_close(struct supervisor_options *o);
