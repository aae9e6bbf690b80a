// A report: fields with their values, printed as lines, or at its end as one JSON object. And, for --json alone, a list
// of such objects, each printed as soon as it is whole; for people the verb prints a table of its own.
//
//   struct report p = REPORT_EMPTY;
//   report_text(&p, "name", …); report_number(&p, …); …
//   r = report_end(&p, r, &error);
//
//   report_begin_list(&p); { report_text(&p, …); … r = report_end_row(&p); } r = report_end_list(&p, r, &error);
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include <stdbool.h>

struct report {
    bool json; // set before the first field
    struct buf object;
    unsigned rows; // of a list, so far
    int failed;    // the first failure of a buffer
};
#define REPORT_EMPTY                                                                                                   \
    {                                                                                                                  \
        .object = BUF_WITH_MAXIMUM(256u << 10)                                                                         \
    }

void report_text(struct report *p, const char *key, const char *text);
void report_number(struct report *p, const char *key, unsigned long long number);
void report_bool(struct report *p, const char *key, bool yes);

// Prints the JSON object, if `result` is no failure, and frees everything. Returns `result`, or -E2BIG or -ENOMEM.
int report_end(struct report *p, int result, struct error *error);

// A list; these do nothing unless `json`. One that has failed is ended all the same, so that what is there is JSON.
void report_begin_list(const struct report *p);
int report_end_row(struct report *p);
int report_end_list(struct report *p, int result, struct error *error); // what it returns is as report_end's
