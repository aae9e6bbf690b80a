// See state.h.
#include "server/state.h"

#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/banned.h"

static bool is_below(const char *path, const char *folder)
{
    const size_t n = strcmp(folder, "/") == 0 ? 0 : strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

// The folder, ours alone. `fd` stays the caller's.
static int check_folder(int fd, const char *path, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot use the state folder %s: %m", path);
    if (st.st_uid != geteuid())
        return error_set(error, EACCES, "the state folder %s belongs to another user; give the server one of its own",
                         path);
    if ((st.st_mode & 077) != 0 && fchmod(fd, 0700) < 0)
        return error_set(error, errno, "cannot make the state folder %s private: %m", path);
    return 0;
}

int state_open(const char *path, const char *site, struct state *ret, struct error *error)
{
    struct state s CLEANUP(state_close) = {.folder = -1};
    char *real_site CLEANUP_FREE = realpath(site, NULL);
    if (!real_site)
        return error_set(error, errno, "cannot open the site %s: %m", site);
    int r = io_make_folders(AT_FDCWD, path, 0700);
    char *real CLEANUP_FREE = r < 0 ? NULL : realpath(path, NULL);
    if (!real)
        return error_set(error, r < 0 ? -r : errno, "cannot make the state folder %s: %s", path,
                         strerror(r < 0 ? -r : errno));
    if (is_below(real, real_site) || is_below(real_site, real))
        return error_set(error, EINVAL, "the state folder %s and the site %s must not lie in each other", path, site);
    s.folder = io_open(AT_FDCWD, real, O_RDONLY | O_DIRECTORY, 0);
    if (s.folder < 0)
        return error_set(error, -s.folder, "cannot open the state folder %s: %s", path, strerror(-s.folder));
    r = check_folder(s.folder, path, error);
    if (r < 0)
        return r;
    r = io_make_folders(s.folder, "index", 0700);
    if (r == 0)
        r = path_format(s.index_folder, sizeof s.index_folder, "%s/index", real);
    if (r == 0)
        r = path_format(s.index, sizeof s.index, "%s/index/index.db", real);
    if (r < 0)
        return error_set(error, -r, "cannot make a folder in %s: %s", path, strerror(-r));
    *ret = s;
    s.folder = -1;
    return 0;
}

// The processes beside the server have no descriptor of it: the lock goes with the server, however that ends.
int state_lock(const struct state *s, const char *path, struct error *error)
{
    if (flock(s->folder, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK
               ? error_set(
                     error, EBUSY,
                     "another rondo-server keeps its state in %s: stop that one, or give this one a folder of its own",
                     path)
               : error_set(error, errno, "cannot lock the state folder %s: %m", path);
}

int state_find(const char *path, struct error *error)
{
    int fd CLEANUP_CLOSE = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, errno, "cannot open the state folder %s: %m", path);
    int r = check_folder(fd, path, error);
    return r < 0 ? r : TAKE_FD(fd);
}

void state_close(struct state *s)
{
    cleanup_close(&s->folder);
    s->folder = -1;
}
