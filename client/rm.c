// rondo rm: a stopped machine and what it wrote. A damaged one can be removed too.
#include "client/cli.h"
#include "client/instance.h"
#include <errno.h>

#include "base/banned.h"

int verb_rm(int argc, char **argv)
{
    int r = cli_parse_operand(argc, argv);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    struct instance i = INSTANCE_NONE;
    r = instance_open(argv[1], &i, &error);
    if (r == 0 || (r == -EBADMSG && i.folder_fd >= 0))
        r = instance_lock_stopped(&i, &error);
    if (r == 0)
        r = instance_remove(&i, &error);
    instance_close(&i);
    return cli_end(r, &error);
}
