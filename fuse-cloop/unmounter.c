// The process that unmounts (see unmounter.h). The questions: "detach" or "unmount", or "device PATH", which is
// answered with the device's number.
#include "fuse-cloop/unmounter.h"

#include "base/path.h"
#include "fuse-cloop/mount.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

static const char detach_word[] = "detach", unmount_word[] = "unmount", device_word[] = "device ";

static int answer(const void *path, const char *question, int given, char ret_text[static SOCKET_LINE_MAXIMUM])
{
    struct error error = {.text = ""};
    dev_t device;
    int r;
    (void)given;
    if (strncmp(question, device_word, sizeof device_word - 1) != 0) {
        r = mount_remove(path, strcmp(question, detach_word) == 0, &error);
    } else {
        r = mount_device_of(question + sizeof device_word - 1, &device);
        if (r == 0)
            snprintf(error.text, sizeof error.text, "%llu", (unsigned long long)device);
    }
    snprintf(ret_text, SOCKET_LINE_MAXIMUM, "%d %s", -r, error.text);
    return -1;
}

int unmounter_start(const char *path, struct beside *ret, struct error *error)
{
    const struct beside_work work = {.name = "rondo-unmount", .answer = answer, .context = path};
    return beside_start(&work, ret, error);
}

int unmounter_remove(struct beside *u, bool detach, struct error *error)
{
    char text[SOCKET_LINE_MAXIMUM], *rest;
    return beside_ask(u, detach ? detach_word : unmount_word, -1, text, &rest, NULL, error);
}

int unmounter_find_device(struct beside *u, const char *path, dev_t *ret_device)
{
    char question[SOCKET_LINE_MAXIMUM], text[SOCKET_LINE_MAXIMUM], *rest;
    int r = path_format(question, sizeof question, "%s%s", device_word, path);
    if (r == 0)
        r = beside_ask(u, question, -1, text, &rest, NULL, NULL);
    if (r == 0)
        *ret_device = (dev_t)strtoull(rest, NULL, 10);
    return r;
}
