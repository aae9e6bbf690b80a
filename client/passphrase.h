// Passphrases of secret keys: asked for on the terminal, never echoed, never taken from the command line.
#pragma once

#include "catalog/key.h"

// For key_read_secret and key new. On no terminal: -EACCES.
int passphrase_ask(void *context, const char *prompt, char *ret, size_t capacity);
// Asks twice; -EINVAL if the two differ. Empty: none. On no terminal: none (length 0).
int passphrase_ask_new(char *ret, size_t capacity, struct error *error);
