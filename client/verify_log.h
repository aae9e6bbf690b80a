// rondo verify-log, shared by verify_log_read.c (the file, line by line) and verify_log.c (what it says, against what
// was signed).
#pragma once

#include "client/hash_set.h"
#include "client/measure_log.h"

struct given {
    char member[16];
    enum chunk_kind kind;
    unsigned line;
    bool found;
};

struct verification {
    struct measure_reader reader;
    bool cut, running;
    struct sha256 first, manifest, catalog_hash; // first: the hash of the first line
    bool has_catalog, has_cmdline;
    struct key_public catalog_key;
    uint64_t catalog_number, exit_code;
    unsigned disks;
    char began[32], machine[65], engine[8], image[65], version[65], network[8], overlay[8], lost[ERROR_TEXT_SIZE],
        end[ERROR_TEXT_SIZE];
    char cmdline[MEASURE_LINE_MAXIMUM];
    uint64_t memory, cpus;
    struct hash_set chunks;
    struct given *given; // by number in `chunks`
    size_t capacity;
};

// Reads the whole log from an open file: -EBADMSG names the line that does not fit, or says that the file is none.
int verify_log_read(struct verification *v, int fd, struct error *error);
