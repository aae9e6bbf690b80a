// See ask.h.
#include "client/ask.h"
#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

int ask_parse(const char *answer, struct slice *ret_rest, struct error *error)
{
    struct slice rest = slice_of(answer), word = slice_cut_word(&rest);
    uint64_t code;
    if (slice_equal(word, "ok")) {
        *ret_rest = rest;
        return 0;
    }
    if (slice_equal(word, "error") && text_parse_u64(slice_cut_word(&rest), 4095, &code) && code) {
        error_set(error, (int)code, "%.*s", SLICE_ARGUMENTS(rest));
        return -(int)code;
    }
    error_set(error, EPROTO, "an answer that is none");
    return -EPROTO;
}

int ask_machine(const struct instance *i, const char *question, int timeout_ms,
                char ret_answer[static SOCKET_LINE_MAXIMUM], struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int fds[SOCKET_FDS_MAXIMUM];
    unsigned count = 0;
    CLEANUP_CLOSE int fd = instance_connect(i, error);
    if (fd < 0)
        return fd;
    int r = socket_send(fd, question, NULL, 0);
    if (r >= 0)
        r = socket_receive(fd, timeout_ms, answer, fds, &count);
    for (unsigned n = 0; n < count; n++)
        close(fds[n]);
    if (r == 0 || r == -EPIPE)
        return error_set(error, ENOENT, "machine %s has just ended", i->name);
    if (r < 0)
        return error_set(error, -r, "machine %s does not answer%s%s; %s/machine.log may say why", i->name,
                         r == -EAGAIN ? "" : ": ", r == -EAGAIN ? "" : strerror(-r), i->folder);
    struct slice rest = {.length = 0};
    r = ask_parse(answer, &rest, error);
    if (r < 0)
        return error_prefix(error, r, "machine %s", i->name);
    snprintf(ret_answer, SOCKET_LINE_MAXIMUM, "%.*s", SLICE_ARGUMENTS(rest));
    return 0;
}

void ask_find(const char *answer, const char *key, char *ret, size_t capacity)
{
    struct text_reader reader = text_reader_over(answer, strlen(answer), SOCKET_LINE_MAXIMUM);
    struct slice line, name, value;
    ret[0] = '\0';
    while (text_next_line(&reader, &line) > 0) {
        text_split_line(line, &name, &value);
        if (slice_equal(name, key))
            snprintf(ret, capacity, "%.*s", SLICE_ARGUMENTS(value));
    }
}
