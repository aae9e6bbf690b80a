// rondo serve: becomes rondo-server, which is a program of its own so that it holds nothing but what it needs.
#include "base/cleanup.h"
#include "client/cli.h"
#include <string.h>

#include "base/banned.h"

int verb_serve(int argc, char **argv)
{
    const char *listen = NULL, *log = NULL;
    const struct option options[] = {
        {"listen", OPTION_TEXT, &listen}, {"log", OPTION_TEXT, &log}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    char program[PATH_TEXT_SIZE];
    r = path_find_program("rondo-server", program, &error);
    if (r < 0)
        return cli_fail(r, &error);
    const char *arguments[8] = {program};
    unsigned n = 1;
    if (listen) {
        arguments[n++] = "--listen";
        arguments[n++] = listen;
    }
    if (log) {
        arguments[n++] = "--log";
        arguments[n++] = log;
    }
    arguments[n++] = "--";
    arguments[n++] = argv[1];
    execv(program, (char **)arguments); // exec's prototype lacks the const that it promises
    r = error_set(&error, errno, "cannot start %s: %s", program, strerror(errno));
    return cli_fail(r, &error);
}
