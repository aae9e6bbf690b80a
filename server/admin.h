// What an operator does with a server's site and state folder: rondo-server VERB …
//
//   admin.c         the verbs, their options, reindex
//   admin_quota.c   quota: what publishers may have
//   admin_site.c    gc, verify, user: what the site's own folder says
//
// Whatever changes a site or checks it is rondo's work, which this program becomes for it (admin_become_rondo): one
// program writes sites, asks for passphrases, and knows what a version needs.
#pragma once

#include "base/error.h"
#include "base/options.h"
#include "base/spawn.h"

struct admin_verb {
    const char *name;
    int (*run)(int argc, char **argv, struct error *error); // 0; 1: --help was answered; or -errno
    const char *form, *summary;
};
const struct admin_verb *admin_find(const char *name); // NULL: it is no verb
enum exit_code admin_run(const struct admin_verb *verb, int argc, char **argv);
void admin_list_verbs(void); // for --help: a line for each

// For a verb, as options_parse; --help is answered. argv[0] is the verb.
int admin_parse(int argc, char **argv, const struct option *options, unsigned minimum_operands,
                unsigned maximum_operands, unsigned *ret_operands, struct error *error);
// Returns only if that failed. `arguments` begins with "rondo".
int admin_become_rondo(const struct spawn_arguments *arguments, struct error *error);

#define ADMIN_NO_KEY "a key is 43 characters, as rondo key show FILE.pub prints it, not \"%s\""

int admin_gc(int argc, char **argv, struct error *error);
int admin_quota(int argc, char **argv, struct error *error);
int admin_user(int argc, char **argv, struct error *error);
int admin_verify(int argc, char **argv, struct error *error);
