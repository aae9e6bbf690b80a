// The end of what a program writes to its standard output.
#pragma once

#include "base/error.h"

// Flushes it. -EIO if a write to it failed, now or before (a full disk, a closed pipe): what was to be done was done,
// so that no other exit code but 1 is true.
int output_end(struct error *error);
