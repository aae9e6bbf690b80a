// The root statements of a site that is mirrored, or looked over by fsck (catalog/root.h): all of them, since a reader
// may know any key that the site ever had. What the folder has already is not fetched again. Each must follow the one
// before it, and the last be the one that the catalog names: a mirror takes nothing that its readers would refuse.
#include "client/mirror_roots.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

// `after` is the root before; number 0: not known, as root 1 is not.
static int check(const void *bytes, size_t n, unsigned number, const struct root *after, struct root *ret,
                 struct error *error)
{
    struct root root;
    int r = after->number ? root_follow(after, bytes, n, &root, error) : root_open(bytes, n, &root, error);
    if (r == 0 && root.number != number)
        r = error_set(error, EBADMSG, "it is root %u", root.number);
    if (r == 0)
        *ret = root;
    return r;
}

static int read_root(const struct site *s, const char *name, unsigned number, struct root *root, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    char path[PATH_TEXT_SIZE];
    size_t n = 0;
    int r = path_format(path, sizeof(path), "%s/%s", site_path(s), name);
    if (r == 0)
        r = io_read_file(AT_FDCWD, path, ROOT_SIZE_MAXIMUM, &bytes, &n);
    return r < 0 ? error_set(error, -r, "%s", strerror(-r)) : check(bytes, n, number, root, root, error);
}

static int copy_root(struct site *s, const struct resolve_place *from, unsigned number, struct root *root,
                     struct error *error)
{
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    char name[ROOT_PATH_SIZE];
    if (read_root(s, root_path(number, name), number, root, NULL) == 0)
        return 0;
    int r = resolve_fetch_root(from, number, &file, error);
    if (r == 0 && (r = check(file.data, file.size, number, root, root, error)) < 0)
        error_prefix(error, r, "%s of %s", name, from->address);
    return r < 0 ? r : site_put_root(s, name + strlen("roots/"), file.data, file.size, error);
}

int mirror_roots(struct site *s, const struct resolve_place *from, const struct catalog *c, struct error *error)
{
    struct root root = {.number = 0};
    int r = 0;
    for (unsigned i = 2; i <= c->root_number && r == 0; i++)
        r = copy_root(s, from, i, &root, error);
    return r < 0 || root.number == 0 ? r : root_check_catalog(&root, c, error);
}

void mirror_roots_check(const struct site *s, const struct catalog *c,
                        void (*wrong)(void *context, const char *path, const char *what), void *context)
{
    char name[ROOT_PATH_SIZE];
    struct root root = {.number = 0};
    for (unsigned i = 2; i <= c->root_number; i++) {
        struct error why = {.text = ""};
        int r = read_root(s, root_path(i, name), i, &root, &why);
        if (r < 0)
            root.number = 0;
        else if (i == c->root_number)
            r = root_check_catalog(&root, c, &why);
        if (r < 0)
            wrong(context, name, why.text);
    }
}
