// The process that opens objects (see opener.h). The question is the path; the folder comes with it, and the file goes
// with the answer.
#include "fuse-cloop/opener.h"

#include "base/cleanup.h"
#include "base/confine.h"
#include "base/hash.h"
#include "base/log.h"
#include "blockstore/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/banned.h"

const struct confine_call opener_calls[] = {
    CONFINE_CALL(poll, "a wait for questions"),
    CONFINE_CALL(recvmsg, "a path, and the folder"),
    CONFINE_CALL(openat2, "a file below it"),
    CONFINE_CALL1(newfstatat, CONFINE_IS(3, AT_EMPTY_PATH), "whether it is a regular one (the C library's fstat)"),
    CONFINE_CALL(fstat, "the same, of a newer C library"),
    CONFINE_CALL(sendmsg, "the file"),
    CONFINE_CALL(close, "it, and the folder"),
    CONFINE_CALL(write, "a forbidden call is named"),
    CONFINE_CALL(restart_syscall, "a wait goes on after the process was stopped and continued"),
    CONFINE_CALL(rt_sigreturn, "the end of a signal's handler"),
    CONFINE_CALL(exit_group, "the end"),
};

const size_t opener_call_count = ARRAY_SIZE(opener_calls);

static void prepare(const void *context)
{
    struct error error = {.text = ""};
    (void)context;
    const struct confine_folder all = {.fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)};
    int r = confine_rights(&all, all.fd >= 0, UINT64_C(1) << CAP_DAC_READ_SEARCH, &error);
    close(all.fd);
    if (r == 0)
        r = confine_calls("rondo-open", opener_calls, opener_call_count, &error);
    if (r < 0) {
        log_error("%s", error.text);
        _exit(EXIT_CODE_OTHER);
    }
}

// "objects/01/0123…"
static bool names_object(const char *path)
{
    static const char prefix[] = "objects/";
    const char *folder = path + sizeof prefix - 1;
    struct sha256 name;
    return strncmp(path, prefix, sizeof prefix - 1) == 0 && strlen(folder) == 3 + 2 * SHA256_SIZE && folder[2] == '/' &&
           memcmp(folder, folder + 3, 2) == 0 && sha256_from_hex(folder + 3, 2 * SHA256_SIZE, &name);
}

static int answer(const void *context, const char *path, int root, char ret_text[static SOCKET_LINE_MAXIMUM])
{
    struct stat st;
    (void)context;
    int fd = root >= 0 && names_object(path) ? transport_open_below(root, path) : -EACCES;
    if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
        close(fd);
        fd = -ENXIO;
    }
    snprintf(ret_text, SOCKET_LINE_MAXIMUM, "%d", fd < 0 ? -fd : 0);
    return fd < 0 ? -1 : fd;
}

int opener_start(struct beside *ret, struct error *error)
{
    const struct beside_work work = {.name = "rondo-open", .prepare = prepare, .answer = answer};
    return beside_start(&work, ret, error);
}

int opener_open(void *context, int root, const char *path)
{
    char text[SOCKET_LINE_MAXIMUM], *rest;
    int fd = -1;
    int r = beside_ask(context, path, root, text, &rest, &fd, NULL);
    return r < 0 ? r : fd < 0 ? -EIO : fd;
}
