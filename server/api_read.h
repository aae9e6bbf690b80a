// The read API (docs/api.md): what the index knows, as JSON. Nothing of it is signed: whoever runs something verifies
// it.
#pragma once

#include "server/answer.h"
#include "server/index_pool.h"

#define API_PREFIX "/api/v1/"

// Makes the answer to a GET or HEAD below API_PREFIX, whatever it is; 0 or -ENOMEM. Any thread.
int api_read_answer(struct index_pool *pool, const struct request *request, struct answer *ret);
// A failure's answer: {"error": …, "next": …}; `next` may be "".
int api_make_error(unsigned status, const char *message, const char *next, struct answer *ret);
