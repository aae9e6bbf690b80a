// rondo start: a stopped machine, by its name alone. Otherwise it is rondo run (run.h), without what is for new
// machines or asks about an address.
#include "client/run.h"

#include "base/banned.h"

int verb_start(int argc, char **argv)
{
    struct run run = {.verb = "start", RUN_DEFAULTS};
    const struct option options[] = {
        {"cpus", OPTION_NUMBER, &run.cpus},
        {"memory", OPTION_SIZE, &run.memory},
        {"detach", OPTION_FLAG, &run.detach},
        {"engine", OPTION_TEXT, &run.engine_name},
        {"net", OPTION_TEXT, &run.network},
        {"port", OPTION_LIST, &run.ports},
        {"volume", OPTION_LIST, &run.volumes},
        {"until", OPTION_TEXT, &run.until},
        {"timeout", OPTION_NUMBER, &run.timeout},
        {"append", OPTION_TEXT, &run.append},
        {"offline", OPTION_FLAG, &run.offline},
        {"keep", OPTION_FLAG, &run.keep},
        {"no-keep", OPTION_FLAG, &run.no_keep},
        {"source", OPTION_LIST, &run.sources},
        {"on-outage", OPTION_TEXT, &run.on_outage},
        {"measure", OPTION_TEXT, &run.measure},
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    run.name = argv[1];
    return run_and_free(&run);
}
