// The process that opens the access log (see log_opener.h). It is made before the server gives up its rights, and holds
// the log's folder: Landlock lets it write below that one, and it asks for one name there.
#include "server/log_opener.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "server/access_log.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>

#include "base/banned.h"

const struct confine_call log_opener_calls[] = {
    CONFINE_CALL(poll, "a wait for questions"),
    CONFINE_CALL(recvmsg, "a question"),
    CONFINE_CALL1(openat, CONFINE_WITH(2, O_WRONLY | O_APPEND | O_CREAT), "the log"),
    CONFINE_CALL(sendmsg, "it, or why it cannot be opened"),
    CONFINE_CALL(close, "it"),
    CONFINE_CALL(write, "a forbidden call is named"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(exit_group, "the end"),
};

const size_t log_opener_call_count = ARRAY_SIZE(log_opener_calls);

static int open_folder(const char *file)
{
    const char *slash = strrchr(file, '/');
    char *folder CLEANUP_FREE = slash ? strndup(file, slash == file ? 1 : (size_t)(slash - file)) : strdup(".");

    return folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

static void prepare(const void *file)
{
    struct error error = {.text = ""};
    const struct confine_folder folder = {.fd = open_folder(file), .writable = true};

    int r = confine_rights(&folder, folder.fd >= 0, UINT64_C(1) << CAP_DAC_OVERRIDE, &error);
    cleanup_close(&(int){folder.fd});
    if (r == 0)
        r = confine_calls("rondo-log", log_opener_calls, log_opener_call_count, &error);
    if (r < 0) {
        log_error("%s", error.text);
        _exit(EXIT_CODE_OTHER);
    }
}

static int answer(const void *file, const char *question, int given, char ret_text[static SOCKET_LINE_MAXIMUM])
{
    struct error error = {.text = ""};

    (void)question; // there is but one
    (void)given;
    int fd = access_log_open_file(file, &error);
    (void)snprintf(ret_text, SOCKET_LINE_MAXIMUM, "%d %s", fd < 0 ? -fd : 0, error.text);
    return fd < 0 ? -1 : fd;
}

int log_opener_start(const char *file, struct beside *ret, struct error *error)
{
    const struct beside_work work = {.name = "rondo-log", .prepare = prepare, .answer = answer, .context = file};

    return beside_start(&work, ret, error);
}

int log_opener_open(struct beside *opener, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM], *rest;
    int fd = -1;

    int r = beside_ask(opener, "open", -1, text, &rest, &fd, error);
    return r < 0 ? r : fd < 0 ? error_set(error, EIO, "the access log was not opened") : fd;
}
