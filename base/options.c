// See options.h. A table walk, because getopt_long keeps hidden state, accepts abbreviations that change meaning as
// options are added, and cannot check the values.
#include "base/options.h"

#include "base/text.h"

#include <errno.h>
#include <string.h>

#include "base/banned.h"

static int store(const struct option *o, const char *value, struct error *error)
{
    struct option_list *list = o->target;
    switch (o->type) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return 0;
    case OPTION_TEXT:
        *(const char **)o->target = value;
        return 0;
    case OPTION_SIZE:
    case OPTION_LIMIT:
        if (!text_parse_size(value, o->target) || (*(uint64_t *)o->target == 0 && o->type == OPTION_SIZE))
            return error_set(error, EINVAL, "--%s takes a size like 512M or 2G, not \"%s\"", o->name, value);
        return 0;
    case OPTION_NUMBER:
    case OPTION_TIME:
        if (!text_parse_u64(slice_of(value), UINT32_MAX, o->target) ||
            (*(uint64_t *)o->target == 0 && o->type == OPTION_NUMBER))
            return error_set(error, EINVAL, "--%s takes a number from %d on, not \"%s\"", o->name,
                             o->type == OPTION_NUMBER, value);
        return 0;
    case OPTION_LIST:
        if (list->count == OPTION_LIST_MAXIMUM)
            return error_set(error, EINVAL, "--%s may be given at most %u times", o->name, OPTION_LIST_MAXIMUM);
        list->values[list->count++] = value;
        return 0;
    }
    return error_set(error, EINVAL, "--%s is of no type", o->name);
}

// *ret_value: what stands behind "=", or NULL.
static const struct option *find(const struct option *options, const char *argument, const char **ret_value)
{
    for (const struct option *o = options; o->name; o++) {
        const size_t length = strlen(o->name);
        if (strncmp(argument, "--", 2) != 0 || strncmp(argument + 2, o->name, length) != 0)
            continue;
        if (argument[2 + length] == '\0' || argument[2 + length] == '=') {
            *ret_value = argument[2 + length] == '=' ? argument + 3 + length : NULL;
            return o;
        }
    }
    return NULL;
}

// Takes the option at argv[*i], and its value.
static int take(int argc, char **argv, int *i, const struct option *options, struct error *error)
{
    const char *value;
    const struct option *o = find(options, argv[*i], &value);
    if (!o)
        return error_set(error, EINVAL, "no option %s", argv[*i]);
    if (o->type == OPTION_FLAG && value)
        return error_set(error, EINVAL, "--%s takes no value", o->name);
    if (o->type != OPTION_FLAG && !value) {
        if (*i + 1 == argc)
            return error_set(error, EINVAL, "--%s needs a value", o->name);
        value = argv[++*i];
    }
    return store(o, value, error);
}

int options_parse(int argc, char **argv, const struct option *options, bool (*is_operand)(const char *text),
                  unsigned minimum_operands, unsigned maximum_operands, unsigned *ret_operands, struct error *error)
{
    unsigned operands = 0;
    bool ended = false;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        if (ended || argument[0] != '-' || argument[1] == '\0' || (is_operand && is_operand(argument))) {
            if (operands == maximum_operands)
                return error_set(error, EINVAL, "unexpected argument \"%s\"", argument);
            argv[1 + operands++] = argv[i];
            continue;
        }
        ended = strcmp(argument, "--") == 0;
        if (ended)
            continue;
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
            return 1;
        int r = take(argc, argv, &i, options, error);
        if (r < 0)
            return r;
    }
    if (operands < minimum_operands)
        return error_set(error, EINVAL, "an argument is missing");
    argv[1 + operands] = NULL;
    *ret_operands = operands;
    return 0;
}
