// Passphrases of secret keys: from the file that RONDO_KEY_PASSPHRASE_FILE names, else asked for on the terminal, where
// nothing is echoed; never taken from the command line or the environment itself.
//
// The file is a regular file or a FIFO (also a pipe, as `<(command)` of a shell gives it) of this user or root, which
// nobody else may read; its first line, of at most 1,023 bytes, is the passphrase. A FIFO gives one line to each key.
#pragma once

#include "catalog/key.h"

#define PASSPHRASE_FILE_VARIABLE "RONDO_KEY_PASSPHRASE_FILE"

// key_read_secret, with the passphrase from there. -EACCES if the key is encrypted and there is neither file nor
// terminal, or the file may be read by others; -ETIMEDOUT if nobody writes to a FIFO within a minute.
int passphrase_read_key(const char *path, struct key_secret **ret, struct error *error);
// For a new key: from the file, which may not be empty; else asked for twice, -EINVAL if the two differ (empty: none).
// Without file and terminal: none. Returns its length.
int passphrase_ask_new(char *ret, size_t capacity, struct error *error);
