// What a machine asks that watches this one:
//
//   /healthz   200 "ok", or 503 and why no visitor should be sent here: there is no catalog, the index cannot be read,
//              or the server is about to end
//   /metrics   server/metrics.h, for clients on this machine (loopback) alone: how busy a site is is its owner's
//   affair.
//              A web server in front is such a client, and has to keep it to whom it may concern (docs/nginx.conf)
//
// Both answer without the lock of anybody, and are never kept by caches.
#pragma once

#include "server/answer.h"
#include "server/index_pool.h"
#include "server/site_files.h"

bool health_is_asked(const struct request *request); // whether this is one of the two

// `index`: NULL where there is none. `last`: no more requests will be taken. 0 or -ENOMEM.
int health_answer(const struct site_files *files, struct index_pool *index, const struct request *request, bool last,
                  struct answer *ret);
