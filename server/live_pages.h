// The pages of a site, live: what web/pages.h makes of the index at the time of each request.
//
//   /  /page/N/  /search  /images/NAME/        pages; /images/NAME leads to /images/NAME/
//   /images/NAME/logo-<hash>.png or .jpg       its logo, out of the site's objects
//   /rondo.js  /icon.svg  /favicon.ico         the pages' script; their icon, also under the name that browsers guess
//
// The URL in commands and links is the one that the visitor used: the Host header, with https where a proxy says so
// (X-Forwarded-Proto). Pages carry a policy that keeps everything from elsewhere out (web/layout.h), and an ETag of
// their bytes.
#pragma once

#include "server/answer.h"
#include "server/index_pool.h"
#include "server/site_files.h"

bool live_pages_has(const char *target); // whether it is for live_pages_answer
bool live_pages_is_browser(
    const struct request *request); // whether it takes a page, and is told of what is wrong on one
// Whether a browser asks for a file that the site does not have, so that live_pages_answer's page says so.
bool live_pages_tell_missing(const struct site_files *files, const struct request *request);
// The answer to a GET or HEAD of these; 0 or -ENOMEM. Any thread. `try_memory`: see web/pages.h.
int live_pages_answer(struct index_pool *pool, const struct site_files *files, uint64_t try_memory,
                      const struct request *request, struct answer *ret);
