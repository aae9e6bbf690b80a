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
#define END_SECONDS 160 // the supervisor's own limits for ending an engine and for the last flush, and a little
#define ANSWER_MS 10000

// Once, when its time is over and it was switched off: that may be seen only when it has ended.
static void tell_off(const struct instance *i, uint64_t seconds, uint64_t *off)
{
    if (!*off || io_monotonic_ns() < *off)
        return;
    *off = 0;
    cli_progress_end();
    if (seconds)
        fprintf(stderr, "rondo: %s did not shut down within %llu s, and is switched off\n", i->name,
                (unsigned long long)seconds);
}

// Whatever happens at once (it ends by itself; it is only starting): afterwards it does not run.
static int stop(struct instance *i, uint64_t seconds, struct error *error)
{
    char question[64], answer[SOCKET_LINE_MAXIMUM];
    int r = -EBUSY;
    snprintf(question, sizeof(question), "stop %llu", (unsigned long long)seconds);
    if (!instance_is_running(i))
        return error_set(error, ENOENT, "machine %s is not running; rondo start %s starts it", i->name, i->name);
    uint64_t end = io_monotonic_ns() + (seconds + END_SECONDS) * 1000000000ull;
    uint64_t off = 0; // when it is switched off, until that is said
    do {
        if (r < 0) {
            off = io_monotonic_ns() + seconds * 1000000000ull; // no later than the supervisor's
            r = ask_machine(i, question, ANSWER_MS, answer, error);
        }
        if (r < 0 && r != -ENOENT && r != -EBUSY && r != -EAGAIN) // it does not listen yet, or no more
            return r;
        if (cli_interrupted())
            return r < 0 ? error_set(error, ECANCELED, "cancelled")
                         : error_set(error, ECANCELED, "cancelled; %s is still being stopped", i->name);
        if (io_monotonic_ns() > end)
            return r < 0 ? r
                         : error_set(error, EIO, "machine %s does not end; %s/machine.log may say why", i->name,
                                     i->folder);
        cli_progress("stopping %s", i->name);
        poll(NULL, 0, 50);
        if (r == 0)
            tell_off(i, seconds, &off);
    } while (instance_is_running(i));
    if (r == 0)
        tell_off(i, seconds, &off);
    cli_progress_end();
    return 0;
}

int verb_stop(int argc, char **argv)
{
    uint64_t seconds = GRACE_SECONDS;
    const struct option options[] = {{"timeout", OPTION_TIME, &seconds}, {NULL, OPTION_FLAG, NULL}};
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
    if (r == 0 || (r == -EBADMSG && instance_is_running(&i))) // its settings are of no interest here
        r = stop(&i, seconds, &error);
    instance_close(&i);
    return cli_end(r, &error);
}
