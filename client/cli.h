// What every verb of the command line shares: options, failures, terminal, --json. A verb is one file with one function
// that gets its own arguments (argv[0] is the verb) and returns an exit code of base/error.h.
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/options.h"
#include "base/path.h"
#include <stdbool.h>
#include <stdint.h>

struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *form;    // its arguments, for usage messages
    const char *summary; // one line
};
extern const struct verb verbs[]; // ends with a NULL name; in rondo_main.c

int verb_commit(int argc, char **argv);
int verb_console(int argc, char **argv);
int verb_diff(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_fsck(int argc, char **argv);
int verb_gc(int argc, char **argv);
int verb_export(int argc, char **argv);
int verb_import(int argc, char **argv);
int verb_history(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_key(int argc, char **argv);
int verb_logs(int argc, char **argv);
int verb_ls(int argc, char **argv);
int verb_mirror(int argc, char **argv);
int verb_mount(int argc, char **argv);
int verb_open(int argc, char **argv);
int verb_pause(int argc, char **argv);
int verb_ps(int argc, char **argv);
int verb_publish(int argc, char **argv);
int verb_pull(int argc, char **argv);
int verb_renew(int argc, char **argv);
int verb_resume(int argc, char **argv);
int verb_rm(int argc, char **argv);
int verb_rmi(int argc, char **argv);
int verb_rollback(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_search(int argc, char **argv);
int verb_serve(int argc, char **argv);
int verb_sign(int argc, char **argv);
int verb_site(int argc, char **argv);
int verb_snapshot(int argc, char **argv);
int verb_start(int argc, char **argv);
int verb_stop(int argc, char **argv);
int verb_tag(int argc, char **argv);
int verb_trust(int argc, char **argv);
int verb_umount(int argc, char **argv);
int verb_update(int argc, char **argv);
int verb_verify_log(int argc, char **argv);
int verb_withdraw(int argc, char **argv);

// Options: base/options.h. A public key is an operand, even one that begins with a dash.
// Parses all of argv; operands are collected at argv[1…] and counted in *ret_operands. --help prints the verb's form.
// Returns 0; EXIT_CODE_USAGE after a message; or -1 when the verb is done (--help).
int cli_parse(int argc, char **argv, const struct option *options, unsigned minimum_operands, unsigned maximum_operands,
              unsigned *ret_operands);
// For a verb: `if ((r = cli_parse(…)) != 0) return cli_parsed(r);`
int cli_parsed(int result);
// cli_parse for a verb without options and with one operand, argv[1].
int cli_parse_operand(int argc, char **argv);

// Prints "rondo: <error's text>" on stderr, and what to do about a network that fails (-ENONET: the text says it);
// returns the exit code for `result`.
int cli_fail(int result, const struct error *error);
// A usage error of a verb: message, its form, exit code 2.
int cli_usage(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));

// One line on stderr that replaces the one before it; only on a terminal, at most ten times a second. Any
// thread.
void cli_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_progress_end(void); // clears the line

// From here on SIGINT, SIGTERM and SIGHUP end the process at once, with exit code 11 and a word: for verbs of which
// every step may be cut short.
void cli_cancel_on_signals(void);

// From here on the same signals are only remembered. cli_interrupted is true once one came; cli_take_signal returns the
// number of the last one, and forgets it; 0: none.
void cli_catch_signals(void);
bool cli_interrupted(void);
int cli_take_signal(void);

// poll(), which is ended (-1, EINTR) by a remembered signal, even if it came just before.
struct pollfd;
int cli_poll(struct pollfd *polls, unsigned count, int timeout_ms);

// Flushes stdout; a failed write to it (a full disk, a closed pipe) becomes exit code 1. Returns the exit code.
int cli_finish_output(int code);
// The end of a verb that returns 0 or -errno: cli_fail, or the output is finished.
int cli_end(int result, const struct error *error);
