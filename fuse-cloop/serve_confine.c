// What rondo-cloop takes from itself before it hears a server, or a client (base/confine.h). It is one thread until
// then.
//
//   mounted ─▶ name services are loaded ─▶ rights ─▶ limits ─▶ the filter ─▶ threads, network, clients
//
// 1. It writes in the cache's folder and in the runtime folder, where the socket is taken away at the end. It reads
// what
//    is the system's, for the resolver and TLS: every folder of / but those where users have their own.
// 2. What unmounts, and asks files that may be our own, is a process beside it (unmounter.h); what opens objects in
//    sources, which may be folders anywhere and come at any time, is another (opener.h).
// 3. Libraries that the C library loads when it first needs them are loaded here: afterwards nothing that is a file
//    becomes code. A name service that is not among them is passed over (the filter makes loading it fail).
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/folder.h"
#include "base/log.h"
#include "fuse-cloop/cloop_calls.h"
#include "fuse-cloop/serve_private.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/banned.h"

#define MEMORY_MAXIMUM (UINT64_C(2) << 30) // 256 readers and 256 clients with their stacks take 300 MiB
#define FILE_MAXIMUM (UINT64_C(512) << 20) // the largest file that we write is a pin (blockstore/cache_pin.c)

static void load(const char *library)
{
    if (!dlopen(library, RTLD_NOW))
        log_debug("%s is not loaded: %s", library, dlerror());
}

// nsswitch.conf(5): "hosts: files mdns4_minimal [NOTFOUND=return] dns"
static void load_libraries(void)
{
    FILE *services CLEANUP_FCLOSE = fopen("/etc/nsswitch.conf", "re");
    char *line CLEANUP_FREE = NULL;
    size_t capacity = 0;
    while (services && getline(&line, &capacity, services) >= 0) {
        char library[128], *rest = line;
        if (strcmp(strsep(&rest, ":"), "hosts") != 0 || !rest)
            continue;
        for (char *name; (name = strtok_r(NULL, " \t\n", &rest));)
            if (name[0] != '[' && path_format(library, sizeof library, "libnss_%s.so.2", name) == 0)
                load(library);
    }
    load("libgcc_s.so.1"); // threads that are cancelled need it
}

#define FOLDERS_MAXIMUM 64u

struct folders {
    struct confine_folder list[FOLDERS_MAXIMUM];
    unsigned count;
};

static void add_folder(struct folders *f, const char *path, bool writable)
{
    int fd = path && f->count < FOLDERS_MAXIMUM ? open(path, O_PATH | O_CLOEXEC) : -1;
    if (fd >= 0)
        f->list[f->count++] = (struct confine_folder){.fd = fd, .writable = writable};
}

static int add_system_folder(void *context, int root, const char *name)
{
    static const char *const of_users[] = {"home", "root", "tmp", "srv", "mnt", "media"};
    char path[PATH_TEXT_SIZE];
    const char *home = getenv("HOME");
    size_t n = strlen(name);
    struct stat st;
    bool own = home && home[0] == '/' && strncmp(home + 1, name, n) == 0 && (home[n + 1] == '/' || !home[n + 1]);
    for (size_t i = 0; i < ARRAY_SIZE(of_users); i++)
        own |= strcmp(name, of_users[i]) == 0;
    if (!own && fstatat(root, name, &st, 0) == 0 && S_ISDIR(st.st_mode) &&
        path_format(path, sizeof path, "/%s", name) == 0)
        add_folder(context, path, false);
    return 0;
}

static int give_up_rights(const char *runtime, struct error *error)
{
    struct folders f = {.count = 0};
    char cache[PATH_TEXT_SIZE];
    struct stat st;
    uint64_t kept = 0;
    int r = path_find(PATH_CACHE, cache, error);
    if (r < 0)
        return r;
    add_folder(&f, cache, true); // one that cannot be made is not used
    add_folder(&f, runtime, true);
    for (unsigned i = 0; i < f.count; i++) // root writes to another user's cache
        if (fstat(f.list[i].fd, &st) == 0 && st.st_uid != geteuid())
            kept = UINT64_C(1) << CAP_DAC_OVERRIDE;
    r = folder_walk(AT_FDCWD, "/", add_system_folder, &f);
    if (r < 0)
        log_debug("the folders of the system cannot be listed: %s", strerror(-r));
    r = confine_rights(f.list, f.count, kept, error);
    while (f.count > 0)
        close(f.list[--f.count].fd);
    return r;
}

static void set_limits(void)
{
    (void)signal(SIGXFSZ, SIG_IGN); // a write beyond FILE_MAXIMUM fails, like any other
    int r = confine_limit(RLIMIT_FSIZE, FILE_MAXIMUM);
    if (r == 0)
        r = confine_limit(RLIMIT_DATA, MEMORY_MAXIMUM);
    if (r < 0)
        log_debug("limits of resources cannot be set: %s", strerror(-r));
}

int serve_confine(struct program *p, const char *runtime, struct error *error)
{
    const char *wish = getenv("RONDO_CLOOP_CONFINE");
    if (wish && strcmp(wish, "0") == 0) {
        log_warning("RONDO_CLOOP_CONFINE=0: whoever breaks into rondo-cloop has this user's rights");
        return 0;
    }
    transport_set_opener(store_transport(p->store), opener_open, &p->opener);
    load_libraries();
    tzset(); // the C library reads the time zone once
    int r = give_up_rights(runtime, error);
    if (r < 0)
        return r;
    set_limits();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // its user may look at it, as at any daemon; cores are limited to nothing
    return confine_calls("rondo-cloop", cloop_calls, cloop_call_count, error);
}
