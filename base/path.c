// Where things live.
//
// 1. Every folder is absolute. A relative RONDO_… is refused, as the next process may run elsewhere; a relative
//    XDG_… is passed over, as the XDG specification demands.
// 2. An empty variable is an unset one.
// 3. The effective user decides: that user's files are the ones that will be made.
#include "base/path.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"

#include "base/banned.h"

static const struct {
    const char *own;        // variable that names the folder itself; NULL: none
    const char *xdg;        // variable that names the folder above
    const char *below_home; // the folder above, in the home directory; NULL: /tmp/rondo-<uid> instead
    const char *for_root;
    const char *what;
} kinds[] = {
    [PATH_HOME] = {"RONDO_HOME", "XDG_DATA_HOME", ".local/share", "/var/lib/rondo", "home"},
    [PATH_CACHE] = {"RONDO_CACHE", "XDG_CACHE_HOME", ".cache", "/var/cache/rondo", "cache"},
    [PATH_RUNTIME] = {"RONDO_RUNTIME", "XDG_RUNTIME_DIR", NULL, "/run/rondo", "runtime"},
    [PATH_CONFIG] = {NULL, "XDG_CONFIG_HOME", ".config", "/etc/rondo", "configuration"},
};

static const char *variable(const char *name)
{
    const char *value = name ? getenv(name) : NULL;
    return value && *value ? value : NULL;
}

int path_format(char *ret_path, size_t capacity, const char *format, ...)
{
    char path[PATH_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    if (n < 0)
        return -EINVAL;
    if ((size_t)n >= sizeof path || (size_t)n >= capacity)
        return -ENAMETOOLONG;
    memcpy(ret_path, path, (size_t)n + 1);
    return 0;
}

static int format_below_home(char ret_path[static PATH_TEXT_SIZE], const char *below)
{
    const char *home = variable("HOME");
    if (home && home[0] == '/')
        return path_format(ret_path, PATH_TEXT_SIZE, "%s/%s/rondo", home, below);
    struct passwd entry;
    struct passwd *found = NULL;
    char strings[4096];
    int code = getpwuid_r(geteuid(), &entry, strings, sizeof strings, &found);
    if (code != 0)
        return -code;
    if (!found || !found->pw_dir || found->pw_dir[0] != '/')
        return -ENOENT;
    return path_format(ret_path, PATH_TEXT_SIZE, "%s/%s/rondo", found->pw_dir, below);
}

int path_find(enum path_kind kind, char ret_path[static PATH_TEXT_SIZE], struct error *error)
{
    const char *own = variable(kinds[kind].own);
    const char *xdg = variable(kinds[kind].xdg);
    int r;
    if (own && own[0] != '/')
        return error_set(error, EINVAL, "%s must be an absolute path, not \"%s\"", kinds[kind].own, own);
    if (own)
        r = path_format(ret_path, PATH_TEXT_SIZE, "%s", own);
    else if (xdg && xdg[0] == '/')
        r = path_format(ret_path, PATH_TEXT_SIZE, "%s/rondo", xdg);
    else if (geteuid() == 0)
        r = path_format(ret_path, PATH_TEXT_SIZE, "%s", kinds[kind].for_root);
    else if (!kinds[kind].below_home)
        r = path_format(ret_path, PATH_TEXT_SIZE, "/tmp/rondo-%u", (unsigned)geteuid());
    else
        r = format_below_home(ret_path, kinds[kind].below_home);
    if (r == -ENAMETOOLONG)
        return error_set(error, ENAMETOOLONG, "the path of the %s folder is too long; set %s to a shorter one",
                         kinds[kind].what, kinds[kind].own ? kinds[kind].own : kinds[kind].xdg);
    if (r < 0)
        return error_set(error, -r, "no home directory is known for user %u; set HOME or %s", (unsigned)geteuid(),
                         kinds[kind].own ? kinds[kind].own : kinds[kind].xdg);
    return 0;
}

static int check_private(const char *path, struct error *error)
{
    struct stat st;
    int fd CLEANUP_CLOSE = io_open(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0);
    if (fd == -ENOTDIR || fd == -ELOOP)
        return error_set(error, EPERM, "%s is a symbolic link or not a folder; remove it, or set RONDO_RUNTIME", path);
    if (fd < 0)
        return error_set(error, -fd, "cannot open %s: %s", path, strerror(-fd));
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot look at %s: %m", path);
    if (st.st_uid != geteuid())
        return error_set(error, EPERM, "%s belongs to user %u, not to you; set RONDO_RUNTIME to a folder of your own",
                         path, (unsigned)st.st_uid);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(error, EPERM, "others may write to %s; run: chmod go-w %s", path, path);
    return 0;
}

int path_make(enum path_kind kind, char ret_path[static PATH_TEXT_SIZE], struct error *error)
{
    char path[PATH_TEXT_SIZE];
    int r = path_find(kind, path, error);
    if (r < 0)
        return r;
    r = io_make_folders(AT_FDCWD, path, 0700);
    // A dangling link where the runtime folder belongs is reported as what it is, below.
    if (r < 0 && !(kind == PATH_RUNTIME && (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)))
        return error_set(error, -r, "cannot make the %s folder %s: %s", kinds[kind].what, path, strerror(-r));
    if (kind == PATH_RUNTIME) {
        r = check_private(path, error);
        if (r < 0)
            return r;
    }
    return path_format(ret_path, PATH_TEXT_SIZE, "%s", path);
}

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int path_find_program(const char *name, char ret_path[static PATH_TEXT_SIZE], struct error *error)
{
    char own[PATH_TEXT_SIZE];
    char libexec[PATH_TEXT_SIZE];
    char path[PATH_TEXT_SIZE];
    if (name[0] == '\0' || strchr(name, '/'))
        return error_set(error, EINVAL, "\"%s\" is not the name of a program", name);
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    if (n < 0)
        return error_set(error, errno, "cannot read /proc/self/exe: %m; is /proc mounted?");
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = '\0';
    // Where an installation lies is not compiled in: it may be moved, or tried out where DESTDIR put it.
    slash = strrchr(own, '/');
    int r = path_format(libexec, sizeof libexec, "%.*s/libexec/rondo", slash ? (int)(slash - own) : 0, own);
    if (r < 0)
        return error_set(error, -r, "the path of %s/%s is too long", own, name);
    r = path_format(path, sizeof path, "%s/%s", own, name);
    if (r < 0 || !is_program(path))
        r = path_format(path, sizeof path, "%s/%s", libexec, name);
    if (r < 0 || !is_program(path))
        r = path_format(path, sizeof path, "%s/../../bin/%s", own, name);
    if (r < 0 || !is_program(path))
        return error_set(error, ENOENT, "the program %s is neither in %s nor in %s; install Rondo again", name, own,
                         libexec);
    return path_format(ret_path, PATH_TEXT_SIZE, "%s", path);
}
