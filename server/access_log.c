// The access log. A line is made in a buffer of the caller's stack and leaves in one write(2); O_APPEND makes that
// atomic among all writers of a local file, so there is no lock. A log that cannot be written never stops the
// server: the first failure is reported, requests go on.

#include "server/access_log.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "server/metrics.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

#include "base/banned.h"

#define TARGET_MAXIMUM 512
#define SHORT_FIELD_MAXIMUM 64
#define ESCAPED_SIZE(n) (3UL * (n) + sizeof "...")

int access_log_open_file(const char *file, struct error *error)
{
    int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);

    return fd < 0 ? error_set(error, errno, "cannot write the access log %s: %m", file) : fd;
}

int access_log_open(const char *file, struct access_log *ret, struct error *error)
{
    int fd = file ? access_log_open_file(file, error) : -1;

    if (file && fd < 0)
        return fd;
    ret->fd = fd;
    atomic_init(&ret->failed, false);
    return 0;
}

// The number stays: lines that other threads write meanwhile go to the one file or to the other.
int access_log_replace(struct access_log *log, int fd)
{
    int r = dup3(fd, log->fd, O_CLOEXEC) < 0 ? -errno : 0;

    close(fd); // nothing was written to it under this number
    if (r == 0)
        atomic_store(&log->failed, false);
    return r;
}

void access_log_close(struct access_log *log)
{
    if (log->fd >= 0 && io_close(log->fd) < 0)
        log_warning("the access log may lack its last lines: %m");
    log->fd = -1;
}

static const char *escape_field(const char *text, size_t maximum, char *to)
{
    static const char hex[] = "0123456789ABCDEF";
    char *at = to;
    size_t i;

    for (i = 0; text[i] && i < maximum; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c > 0x20 && c < 0x7f) {
            *at++ = (char)c;
        } else {
            *at++ = '%';
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        }
    }
    if (i == 0)
        *at++ = '-';
    memcpy(at, text[i] ? "..." : "", text[i] ? 4 : 1);
    return to;
}

static const char *client_text(const struct sockaddr *client, char text[static INET6_ADDRSTRLEN])
{
    const void *address = NULL;

    if (client && client->sa_family == AF_INET)
        address = &((const struct sockaddr_in *)(const void *)client)->sin_addr;
    else if (client && client->sa_family == AF_INET6)
        address = &((const struct sockaddr_in6 *)(const void *)client)->sin6_addr;
    if (!address || !inet_ntop(client->sa_family, address, text, INET6_ADDRSTRLEN))
        return "-";
    return text;
}

void access_log_write(struct access_log *log, const struct access_log_line *line)
{
    char time_text[32], client[INET6_ADDRSTRLEN];
    char method[ESCAPED_SIZE(SHORT_FIELD_MAXIMUM)], range[ESCAPED_SIZE(SHORT_FIELD_MAXIMUM)];
    char target[ESCAPED_SIZE(TARGET_MAXIMUM)];
    char text[sizeof target + sizeof method + sizeof range + 256];

    metrics_count_answer(line->status, line->bytes);
    int n = snprintf(text, sizeof text, "%s %s %s %s %u %llu %s\n", text_format_time(io_realtime_seconds(), time_text),
                     client_text(line->client, client), escape_field(line->method, SHORT_FIELD_MAXIMUM, method),
                     escape_field(line->target, TARGET_MAXIMUM, target), line->status, (unsigned long long)line->bytes,
                     escape_field(line->range ? line->range : "", SHORT_FIELD_MAXIMUM, range));
    if (n < 0 || (size_t)n >= sizeof text)
        return;
    if (log->fd < 0) {
        log_debug("%.*s", n - 1, text);
        return;
    }
    ssize_t written = write(log->fd, text, (size_t)n);
    if (written != n && !atomic_exchange(&log->failed, true))
        log_warning("cannot write the access log, going on without it: %s",
                    written < 0 ? strerror(errno) : "no space for a whole line");
}
