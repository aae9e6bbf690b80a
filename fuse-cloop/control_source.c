// Which sources a client may name (see control_source.h).
#include "fuse-cloop/control_source.h"
#include "fuse-cloop/unmounter.h"
#include <errno.h>
#include <string.h>

#include "base/banned.h"

static bool is_site(const char *address)
{
    return strncmp(address, "http://", 7) == 0 || strncmp(address, "https://", 8) == 0;
}

static bool lies_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

int control_check_source(const struct session *s, const char *address, struct error *error)
{
    if (is_site(address))
        return 0;
    if (address[0] != '/')
        return error_set(error, EINVAL, "source %s is neither an http address nor an absolute path", address);
    if (lies_below(address, s->mount_point))
        return error_set(error, EINVAL, "source %s lies in rondo-cloop's own mount", address);
    // A folder that is not there now may come (a stick that will be plugged in). Symbolic links and bind mounts may
    // lead to our own mount, too.
    dev_t device;
    int r = unmounter_find_device(s->unmounter, address, &device);
    if (r == 0 && device == s->device)
        return error_set(error, EINVAL, "source %s lies in rondo-cloop's own mount", address);
    if (r == -ETIMEDOUT)
        return error_set(error, ETIMEDOUT, "source %s does not answer", address);
    return 0;
}

int control_check_cache(const char *mount_point, const char *folder, struct error *error)
{
    if (lies_below(folder, mount_point))
        return error_set(error, EINVAL,
                         "the cache %s lies in rondo-cloop's own mount; set RONDO_CACHE to another folder", folder);
    return 0;
}
