// See admin.h.
#include "server/admin.h"

#include "base/log.h"
#include "base/output.h"
#include "base/path.h"
#include "catalog/key.h"
#include "server/site_index.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

static int reindex(int argc, char **argv, struct error *error)
{
    const char *state = NULL;
    const struct option options[] = {{"state", OPTION_TEXT, &state}, {NULL, OPTION_FLAG, NULL}};
    struct index_counts counts;
    unsigned operands;

    int r = admin_parse(argc, argv, options, 1, 1, &operands, error);
    if (r != 0)
        return r;
    if (!state)
        return error_set(error, EINVAL, "--state FOLDER is missing, where the index is");
    r = site_index_renew(state, argv[1], &counts, error);
    if (r == 0)
        (void)printf("%u versions are in the index\n", counts.versions);
    return r;
}

static const struct admin_verb verbs[] = {
    {"gc", admin_gc, "[--state FOLDER] [--grace TIME] [--dry-run] [--json] DIR",
     "Remove what no version of the site needs, and with --state what was sent and never listed."},
    {"quota", admin_quota, "--state FOLDER [--json] [KEY [SIZE|default]]",
     "Show what publishers have here, and may have; set that for one."},
    {"reindex", reindex, "--state FOLDER DIR", "Make the index anew, also while a server uses it."},
    {"user", admin_user,
     "list [--json] DIR\n"
     "       rondo-server user add KEY NAME [--site-key FILE] DIR\n"
     "       rondo-server user remove KEY [--site-key FILE] DIR",
     "Show who may publish which names; allow NAME (or NAME.*) to a key; revoke a key for good."},
    {"verify", admin_verify, "[--json] DIR", "Check the site: every signature, manifest and object."},
};

const struct admin_verb *admin_find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

void admin_list_verbs(void)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        (void)printf("  %-19s %s\n", verbs[i].name, verbs[i].summary);
}

int admin_parse(int argc, char **argv, const struct option *options, unsigned minimum_operands,
                unsigned maximum_operands, unsigned *ret_operands, struct error *error)
{
    const struct admin_verb *verb = admin_find(argv[0]);

    int r = options_parse(argc, argv, options, key_is_text, minimum_operands, maximum_operands, ret_operands, error);
    if (r == 1)
        (void)printf("usage: rondo-server %s %s\n\n%s\n\nThe manual: man rondo-server\n", verb->name, verb->form,
                     verb->summary);
    return r;
}

int admin_become_rondo(const struct spawn_arguments *arguments, struct error *error)
{
    char program[PATH_TEXT_SIZE];

    if (arguments->result < 0)
        return error_set(error, -arguments->result, "the names given are too long");
    int r = output_end(error);
    if (r == 0)
        r = path_find_program("rondo", program, error);
    if (r < 0)
        return r;
    execv(program, arguments->list);
    return error_set(error, errno, "cannot start %s: %m", program);
}

enum exit_code admin_run(const struct admin_verb *verb, int argc, char **argv)
{
    struct error error = {.text = ""};

    int r = verb->run(argc, argv, &error);
    if (r >= 0)
        r = output_end(&error);
    if (r < 0)
        log_error("%s: %s", verb->name, error.text);
    if (r == -EINVAL)
        (void)fprintf(stderr, "usage: rondo-server %s %s\n", verb->name, verb->form);
    return error_exit_code(r);
}
