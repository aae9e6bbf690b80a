// rondo pause and rondo resume: a running machine stands still, and goes on. Both may be given again: what is so
// already is said, and is no failure.
//
// An outage or a full disk pause a machine, too (supervisor.h). Each reason is its own: resume takes back what pause
// did, and a machine that has another reason stays paused, which is said with it. One that is only starting has its
// reasons already, and is paused as soon as it runs.
#include "client/ask.h"
#include "client/cli.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define ANSWER_MS 10000

// *ret_reason: why it is paused, or will be; empty if it is not.
static int look(const struct instance *i, char ret_reason[static ERROR_TEXT_SIZE], struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int r = ask_machine(i, "status", ANSWER_MS, answer, error);
    if (r < 0)
        return r;
    ask_find(answer, "reason", ret_reason, ERROR_TEXT_SIZE);
    return 0;
}

static int tell(const struct instance *i, const char *verb, struct error *error)
{
    char reason[ERROR_TEXT_SIZE], answer[SOCKET_LINE_MAXIMUM];
    int r = look(i, reason, error);
    if (r < 0)
        return r;
    bool paused = reason[0] != '\0';
    r = ask_machine(i, verb, ANSWER_MS, answer, error);
    if (r < 0)
        return r;
    if (strcmp(verb, "pause") == 0) {
        if (paused)
            fprintf(stderr, "rondo: %s is paused already: %s; rondo resume %s takes this pause back\n", i->name, reason,
                    i->name);
        return 0;
    }
    if (!paused)
        fprintf(stderr, "rondo: %s is not paused\n", i->name);
    if (paused && look(i, reason, NULL) == 0 && reason[0])
        fprintf(stderr, "rondo: %s stays paused: %s\n", i->name, reason);
    return 0;
}

static int run_verb(int argc, char **argv)
{
    int r = cli_parse_operand(argc, argv);
    if (r != 0)
        return cli_parsed(r);
    struct error error = {.text = ""};
    struct instance i = INSTANCE_NONE;
    r = instance_open(argv[1], &i, &error);
    if (r == 0 || (r == -EBADMSG && instance_is_running(&i))) // its settings are of no interest here
        r = tell(&i, argv[0], &error);
    instance_close(&i);
    return cli_end(r, &error);
}

int verb_pause(int argc, char **argv)
{
    return run_verb(argc, argv);
}

int verb_resume(int argc, char **argv)
{
    return run_verb(argc, argv);
}
