// rondo start: a stopped machine, by its name alone. Otherwise it is rondo run (run.h), without what is for new
// machines or asks about an address.
#include "client/run.h"

#include "base/banned.h"

int verb_start(int argc, char **argv)
{
    struct run run = {.verb = "start", RUN_DEFAULTS};
    const struct option options[] = {
        RUN_OPTIONS(run),
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    run.name = argv[1];
    return run_and_free(&run);
}
