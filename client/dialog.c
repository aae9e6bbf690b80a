// See dialog.h.
//
// 1. The text may hold what a stranger wrote. zenity can be told to take it literally; kdialog shows as HTML what looks
//    like it, and all of them know escapes with a backslash: so the signs that begin either are replaced.
// 2. Only one answer is a yes: exit code 0. Whatever goes wrong is a no.
#include "client/dialog.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/spawn.h"
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/banned.h"

#define TEXT_MAXIMUM 8192u

struct dialog {
    const char *program;
    bool needs_x;
    void (*ask)(struct spawn_arguments *a, const char *text, const char *yes);
    void (*tell)(struct spawn_arguments *a, const char *text);
};

static void ask_zenity(struct spawn_arguments *a, const char *text, const char *yes)
{
    spawn_argument(a, "--question");
    spawn_argument(a, "--no-markup");
    spawn_argument(a, "--default-cancel");
    spawn_argument(a, "--title=Rondo");
    spawn_argument(a, "--ok-label=%s", yes);
    spawn_argument(a, "--cancel-label=Cancel");
    spawn_argument(a, "--text=%s", text);
}

static void tell_zenity(struct spawn_arguments *a, const char *text)
{
    spawn_argument(a, "--info");
    spawn_argument(a, "--no-markup");
    spawn_argument(a, "--title=Rondo");
    spawn_argument(a, "--text=%s", text);
}

static void ask_kdialog(struct spawn_arguments *a, const char *text, const char *yes)
{
    spawn_argument(a, "--title");
    spawn_argument(a, "Rondo");
    spawn_argument(a, "--yes-label");
    spawn_argument(a, "%s", yes);
    spawn_argument(a, "--no-label");
    spawn_argument(a, "Cancel");
    spawn_argument(a, "--warningyesno");
    spawn_argument(a, "%s", text);
}

static void tell_kdialog(struct spawn_arguments *a, const char *text)
{
    spawn_argument(a, "--title");
    spawn_argument(a, "Rondo");
    spawn_argument(a, "--msgbox");
    spawn_argument(a, "%s", text);
}

static void ask_xmessage(struct spawn_arguments *a, const char *text, const char *yes)
{
    spawn_argument(a, "-center");
    spawn_argument(a, "-title");
    spawn_argument(a, "Rondo");
    spawn_argument(a, "-buttons");
    spawn_argument(a, "%s:0,Cancel:1", yes);
    spawn_argument(a, "-default");
    spawn_argument(a, "Cancel");
    spawn_argument(a, "%s", text);
}

static void tell_xmessage(struct spawn_arguments *a, const char *text)
{
    spawn_argument(a, "-center");
    spawn_argument(a, "-title");
    spawn_argument(a, "Rondo");
    spawn_argument(a, "%s", text);
}

static const struct dialog dialogs[] = {{"zenity", false, ask_zenity, tell_zenity},
                                        {"kdialog", false, ask_kdialog, tell_kdialog},
                                        {"xmessage", true, ask_xmessage, tell_xmessage}};

static bool is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value;
}

const struct dialog *dialog_find(void)
{
    const bool x = is_set("DISPLAY"), any = x || is_set("WAYLAND_DISPLAY");
    for (size_t i = 0; i < ARRAY_SIZE(dialogs); i++)
        if ((dialogs[i].needs_x ? x : any) && spawn_finds_program(dialogs[i].program))
            return &dialogs[i];
    return NULL;
}

// Rule 1.
static int make_plain(const char *text, struct buf *ret)
{
    int r = buf_append(ret, text, strlen(text));
    for (size_t i = 0; r == 0 && i < ret->size; i++)
        if (strchr("<>&\\", ret->data[i]))
            ret->data[i] = '_';
    return r;
}

// The exit code of the program.
static int run(const struct dialog *d, const char *text, const char *yes, struct error *error)
{
    struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    struct buf plain CLEANUP(buf_free) = BUF_WITH_MAXIMUM(TEXT_MAXIMUM);
    int status, r = make_plain(text, &plain);
    if (r < 0)
        return error_set(error, -r, "the question is too long for %s", d->program);
    spawn_argument(&a, "%s", d->program);
    if (yes)
        d->ask(&a, buf_text(&plain), yes);
    else
        d->tell(&a, buf_text(&plain));
    if (a.result < 0)
        return error_set(error, -a.result, "cannot start %s: %s", d->program, strerror(-a.result));
    const struct spawn s = {
        .path = d->program, .arguments = a.list, .input = -1, .output = -1, .errors = -1, .die_with_us = true};
    const pid_t child = spawn_program(&s, error);
    if (child < 0)
        return (int)child;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set(error, errno, "cannot wait for %s: %s", d->program, strerror(errno));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int dialog_ask(const struct dialog *d, const char *text, const char *yes, struct error *error)
{
    const int code = run(d, text, yes, error);
    return code < 0 ? code : code == 0;
}

void dialog_tell(const struct dialog *d, const char *text)
{
    struct error error;
    run(d, text, NULL, &error);
}
