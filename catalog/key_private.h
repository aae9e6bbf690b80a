// A secret key's inside, for key.c and key_file.c alone.
#pragma once

#include "catalog/key.h"

#define KEY_SEED_SIZE 32

struct key_secret {
    struct key_public public;          // derived from the seed, never read from elsewhere
    unsigned char seed[KEY_SEED_SIZE]; // RFC 8032, section 5.1.5: the 32 bytes everything else comes from
};

// A key from its seed and key id. The caller wipes its own copy of the seed.
int key_from_seed(const unsigned char seed[static KEY_SEED_SIZE], const unsigned char id[static KEY_ID_SIZE],
                  struct key_secret **ret);
