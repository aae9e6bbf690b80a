// The options of a command line. Each takes the form --name or --name VALUE (or --name=VALUE); operands may stand
// between; "--" ends options.
#pragma once

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum option_type {
    OPTION_FLAG,   // bool: set to true
    OPTION_TEXT,   // const char *: the argument
    OPTION_SIZE,   // uint64_t: 512M, 2G; not 0
    OPTION_LIMIT,  // the same, or 0
    OPTION_NUMBER, // uint64_t: decimal, 1 to 2^32-1
    OPTION_TIME,   // seconds, the same, or 0
    OPTION_LIST,   // struct option_list: may be repeated
};
#define OPTION_LIST_MAXIMUM 32u
struct option_list {
    const char *values[OPTION_LIST_MAXIMUM];
    unsigned count;
};
struct option {
    const char *name; // without the dashes; NULL ends the table
    enum option_type type;
    void *target;
};

// Parses all of argv; operands are collected at argv[1…], with a NULL behind them, and counted in *ret_operands.
// `is_operand` (or NULL) knows operands that may begin with a dash. 0; 1: --help or -h was there, and the rest was not
// looked at; -EINVAL with a sentence.
int options_parse(int argc, char **argv, const struct option *options, bool (*is_operand)(const char *text),
                  unsigned minimum_operands, unsigned maximum_operands, unsigned *ret_operands, struct error *error);
