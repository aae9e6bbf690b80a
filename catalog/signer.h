// Whose signature a manifest bears.
#pragma once

#include "blockstore/manifest.h"
#include "catalog/key.h"

// The publisher that it names. Whether that key signed it, and may, is not said by that.
struct key_public signer_of(const struct manifest *m);
// Whether that key signed the file of `n` bytes that *m was parsed from.
int signer_check(const struct manifest *m, const void *bytes, size_t n, struct error *error);
