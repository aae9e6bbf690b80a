// Listing, and what interrupted commands have left.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "client/instance_private.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "base/banned.h"

bool instance_take_leftover(struct instance *i)
{
    struct error error = {.text = ""};
    if (!i->settings.ephemeral || instance_lock(i, NULL) < 0)
        return false;
    if (instance_remove(i, &error) < 0) {
        log_warning("%s", error.text);
        close(TAKE_FD(i->lock_fd));
        return false;
    }
    instance_close(i);
    return true;
}

static int list_one(const char *name, int (*each)(void *context, struct instance *i, const struct error *damage),
                    void *context)
{
    struct instance i = INSTANCE_NONE;
    struct error damage = {.text = ""};
    int r = instance_open(name, &i, &damage);
    if (r == -ENOENT)
        return 0; // removed since the folder was read
    if (r < 0 && r != -EBADMSG) {
        log_warning("%s", damage.text);
        return 0;
    }
    if (r < 0 || !instance_take_leftover(&i))
        r = each(context, &i, r < 0 ? &damage : NULL);
    instance_close(&i);
    return r;
}

// A folder that is being made or removed: whoever does it holds its lock for as long as he lives.
static void sweep(int parent, const char *name)
{
    CLEANUP_CLOSE int folder = io_open(parent, name, O_RDONLY | O_DIRECTORY, 0);
    CLEANUP_CLOSE int lock = folder < 0 ? folder : instance_take_lock(folder);
    if (lock < 0)
        return;
    int r = instance_remove_folder(parent, name);
    if (r < 0 && r != -ENOENT)
        log_warning("the leftover %s could not be removed: %s", name, strerror(-r));
}

static bool is_temporary(const char *name)
{
    return strncmp(name, INSTANCE_NEW, strlen(INSTANCE_NEW)) == 0 ||
           strncmp(name, INSTANCE_GONE, strlen(INSTANCE_GONE)) == 0;
}

// The order of the bytes, whatever the language.
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int instance_list(int (*each)(void *context, struct instance *i, const struct error *damage), void *context,
                  struct error *error)
{
    struct dirent **entries;
    CLEANUP_CLOSE int parent = instance_open_parent(error);
    if (parent < 0)
        return parent;
    int count = scandirat(parent, ".", &entries, NULL, by_name), r = 0;
    if (count < 0)
        return error_set(error, errno, "cannot list the machines: %s", strerror(errno));
    bool sweeping = flock(parent, LOCK_EX | LOCK_NB) == 0; // else the next time
    for (int e = 0; sweeping && e < count; e++)
        if (is_temporary(entries[e]->d_name))
            sweep(parent, entries[e]->d_name);
    if (sweeping)
        flock(parent, LOCK_UN);
    for (int e = 0; e < count; e++) {
        if (r == 0 && text_is_image_name(slice_of(entries[e]->d_name)))
            r = list_one(entries[e]->d_name, each, context);
        free(entries[e]);
    }
    free(entries);
    return r;
}

// --- for rondo gc --------------------------------------------------------------------------------------------------

#define RUNTIME_AGE_SECONDS 60 // of a folder whose machine is not there (yet)

static int pass(void *context, struct instance *i, const struct error *damage)
{
    (void)context;
    (void)i;
    (void)damage;
    return 0;
}

static unsigned count_entries(const char *folder)
{
    unsigned count = 0;
    CLEANUP_CLOSEDIR DIR *d = opendir(folder);
    while (d && readdir(d))
        count++;
    return count;
}

// The runtime folder of a machine that does not run: true if it was taken away.
static bool sweep_runtime(const char *name)
{
    struct instance i = INSTANCE_NONE;
    struct stat st;
    int r = instance_open(name, &i, NULL);
    bool dead = (r == 0 || r == -EBADMSG) && instance_lock(&i, NULL) == 0;
    if (r == -ENOENT && instance_find_folders(name, &i, NULL) == 0)
        dead = lstat(i.runtime, &st) == 0 && st.st_mtime + RUNTIME_AGE_SECONDS < io_realtime_seconds();
    if (dead)
        instance_clear_runtime(&i);
    instance_close(&i);
    return dead && access(i.runtime, F_OK) < 0;
}

int instance_sweep(unsigned *ret_count, struct error *error)
{
    char home[PATH_TEXT_SIZE], runtime[PATH_TEXT_SIZE], machines[PATH_TEXT_SIZE], folders[PATH_TEXT_SIZE];
    int r = path_find(PATH_HOME, home, error);
    if (r == 0)
        r = path_find(PATH_RUNTIME, runtime, error);
    if (r == 0 && (path_format(machines, sizeof(machines), "%s/instances", home) < 0 ||
                   path_format(folders, sizeof(folders), "%s/instances", runtime) < 0))
        r = error_set(error, ENAMETOOLONG, "the path %.64s… is too long", home);
    unsigned before = r < 0 ? 0 : count_entries(machines), swept = 0;
    if (r == 0)
        r = instance_list(pass, NULL, error);
    if (r < 0)
        return r;
    unsigned after = count_entries(machines);
    CLEANUP_CLOSEDIR DIR *d = opendir(folders);
    for (const struct dirent *entry; d && (entry = readdir(d));)
        if (text_is_image_name(slice_of(entry->d_name)))
            swept += sweep_runtime(entry->d_name);
    *ret_count = swept + (after < before ? before - after : 0);
    return 0;
}
