// rondo stop: the power button; after the time-out, off.
#include "base/cleanup.h"
#include "base/io.h"
#include "client/ask.h"
#include "client/cli.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define GRACE_SECONDS 30
#define FLUSH_SECONDS 130 // the supervisor's own limit for the last flush, and a little

static int stop(struct instance *i, uint64_t seconds, struct error *error)
{
    char question[64], answer[SOCKET_LINE_MAXIMUM];
    snprintf(question, sizeof(question), "stop %llu", (unsigned long long)seconds);
    int r = ask_machine(i, question, answer, error);
    if (r < 0)
        return r;
    uint64_t end = io_monotonic_ns() + (seconds + FLUSH_SECONDS) * 1000000000ull;
    while (instance_is_running(i)) {
        if (cli_interrupted())
            return error_set(error, ECANCELED, "cancelled; %s is still being stopped", i->name);
        if (io_monotonic_ns() > end)
            return error_set(error, EIO, "machine %s does not end; %s/machine.log may say why", i->name, i->folder);
        cli_progress("stopping %s", i->name);
        poll(NULL, 0, 50);
    }
    cli_progress_end();
    return 0;
}

int verb_stop(int argc, char **argv)
{
    uint64_t seconds = GRACE_SECONDS;
    const struct option options[] = {{"timeout", OPTION_NUMBER, &seconds}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (seconds > 86400)
        return cli_usage("stop", "--timeout takes a day (86400) at most");
    struct error error = {.text = ""};
    struct instance i = INSTANCE_NONE;
    cli_catch_signals();
    r = instance_open(argv[1], &i, &error);
    if (r == 0)
        r = stop(&i, seconds, &error);
    instance_close(&i);
    return r < 0 ? cli_fail(r, &error) : EXIT_CODE_OK;
}
