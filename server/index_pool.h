// Connections to the index for the server's threads: each request has one to itself while it is answered.
#pragma once

#include "base/beside.h"
#include "catalog/index.h"

struct index_pool;

// `path` and `indexer` must live as long as the pool; the indexer (server/indexer.h) is told of damage that shows. The
// first connection is made now.
int index_pool_open(const char *path, struct beside *indexer, struct index_pool **ret, struct error *error);
void index_pool_close(struct index_pool **p); // all must have been given back; NULL is fine

// Any thread. Failures are index_open's.
int index_pool_take(struct index_pool *p, struct index **ret, struct error *error);
// `result`: what came of the last question. After a failure that lies in the file the connection is not used again.
void index_pool_give(struct index_pool *p, struct index *x, int result);
