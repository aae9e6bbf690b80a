// See publish_work.h.
#include "client/publish_work.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/log.h"
#include "base/path.h"
#include "blockstore/site.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

static int remove_entry(void *context, int folder, const char *entry)
{
    (void)context;
    if (io->unlinkat(folder, entry, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int r = folder_walk(folder, entry, remove_entry, NULL);
    return r == 0 && io->unlinkat(folder, entry, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : r;
}

void publish_work_remove(const char *work)
{
    char path[PATH_TEXT_SIZE], gone[PATH_TEXT_SIZE];
    int r = path_format(path, sizeof(path), "%s", work);
    if (r == 0)
        r = path_format(gone, sizeof(gone), "%s+", work);
    if (r == 0)
        r = remove_entry(NULL, AT_FDCWD, gone); // of one that was killed here
    if (r == 0 && io->renameat(AT_FDCWD, work, AT_FDCWD, gone) < 0)
        r = errno == ENOENT ? 0 : -errno;
    if (r == 0)
        r = remove_entry(NULL, AT_FDCWD, gone);
    if (r < 0)
        log_warning("the work folder %s could not be removed (%s): remove it", work, strerror(-r));
    for (unsigned i = 0; r == 0 && i < 2; i++) {
        *strrchr(path, '/') = '\0';
        if (io->unlinkat(AT_FDCWD, path, AT_REMOVEDIR) < 0)
            break;
    }
}

bool publish_work_drop(const char *work)
{
    struct site *site;
    if (site_open(work, &site, NULL) < 0)
        return false;
    publish_work_remove(work);
    site_close(site);
    return true;
}

// --- what was never taken up again -----------------------------------------------------------------------------------

struct sweep {
    int64_t before; // seconds since 1970
    bool dry_run;
    unsigned count;
    char folder[PATH_TEXT_SIZE]; // publishing/, and a site's in it
};

// Whatever is done in a site's folder makes temporaries in .unfinished, and so changes it.
static bool is_old(const struct sweep *w, const char *work)
{
    static const char *const parts[] = {"", "/.unfinished"};
    char path[PATH_TEXT_SIZE];
    struct stat st;
    bool there = false;
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        if (path_format(path, sizeof(path), "%s%s", work, parts[i]) < 0 ||
            fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (!S_ISDIR(st.st_mode) || st.st_mtim.tv_sec >= w->before)
            return false;
        there = true;
    }
    return there;
}

static int sweep_image(void *context, int folder, const char *entry)
{
    struct sweep *w = context;
    char work[PATH_TEXT_SIZE];
    (void)folder;
    if (path_format(work, sizeof(work), "%s/%s", w->folder, entry) < 0 || !is_old(w, work))
        return 0;
    if (!w->dry_run && entry[strlen(entry) - 1] == '+')
        return remove_entry(NULL, AT_FDCWD, work);
    w->count += w->dry_run || publish_work_drop(work);
    return 0;
}

static int sweep_site(void *context, int folder, const char *entry)
{
    struct sweep *w = context;
    const size_t length = strlen(w->folder);
    (void)folder;
    if (snprintf(w->folder + length, sizeof(w->folder) - length, "/%s", entry) >= (int)(sizeof(w->folder) - length)) {
        w->folder[length] = '\0';
        return 0;
    }
    int r = folder_walk(AT_FDCWD, w->folder, sweep_image, w);
    if (!w->dry_run)
        (void)io->unlinkat(AT_FDCWD, w->folder, AT_REMOVEDIR); // if nothing is left in it
    w->folder[length] = '\0';
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? 0 : r;
}

int publish_work_sweep(int64_t now, bool dry_run, unsigned *ret_count, struct error *error)
{
    struct sweep w = {.before = now - PUBLISH_WORK_AGE_MAXIMUM, .dry_run = dry_run};
    char cache[PATH_TEXT_SIZE];
    int r = path_make(PATH_CACHE, cache, error);
    if (r < 0)
        return r;
    r = path_format(w.folder, sizeof(w.folder), "%s/publishing", cache);
    if (r == 0)
        r = folder_walk(AT_FDCWD, w.folder, sweep_site, &w);
    if (r < 0 && r != -ENOENT)
        return error_set(error, -r, "cannot look through %s/publishing: %s", cache, strerror(-r));
    if (!dry_run)
        (void)io->unlinkat(AT_FDCWD, w.folder, AT_REMOVEDIR); // the same
    *ret_count = w.count;
    return 0;
}
