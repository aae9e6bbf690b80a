// The options of rondo-server where it serves. (Those of its other verbs: server/admin.h.)
#pragma once

#include "base/error.h"
#include "server/try_api.h"

#include <stdbool.h>
#include <stdint.h>

struct server_options {
    const char *folder;           // of the site
    const char *listen;           // NULL: what is handed over, or the default
    const char *log;              // or NULL
    struct try_limits machines;   // to try; 0: none
    unsigned stall;               // seconds
    const char *state, *site_key; // or NULL
    bool queue;
    uint64_t quota; // bytes
};

#define SERVER_LISTEN_DEFAULT "127.0.0.1:8080"

// An option that would change nothing is refused. 0; 1: it has answered --help or --version on stdout; -EINVAL; -EIO:
// stdout cannot be written. The texts stay those of argv.
int server_options_parse(int argc, char **argv, struct server_options *ret, struct error *error);

bool server_options_publish(const struct server_options *options); // are publications taken?
