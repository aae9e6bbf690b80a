// Reading in torture: a version from a folder, over HTTP, from two sources at once; with an empty cache and with a full
// one; pulled whole; with its boot packs ahead.
#include "tests/torture/torture.h"

#include "tests/unit/store_server.h"

static struct test_site *site; // made once for all scenarios
static struct site_server *server;
static struct store *store;
static char cache[200];
static pid_t owner;

static void remove_site(void)
{
    if (getpid() == owner)
        site_free(site);
}

static void set_up(const char *folder)
{
    (void)folder;
    if (site)
        return;
    unsigned boot[] = {0, 1};
    site = site_make_usual();
    site_list_boot(site, boot, 2);
    owner = getpid();
    (void)atexit(remove_site);
}

static bool serve(struct tiny_request *q, void *context)
{
    torture_exempt = true; // it reads files by the product's own functions
    return server_handle(q, context);
}

static void prepare_folder(const char *folder)
{
    snprintf(cache, sizeof(cache), "%s/cache", folder);
}

static void prepare_server(const char *folder)
{
    prepare_folder(folder);
    server = calloc(1, sizeof(*server));
    server->site = site;
    pthread_mutex_init(&server->mutex, NULL);
    server->http = tiny_http_start(serve, server);
}

static void finish_server(void)
{
    server_stop(server);
    server = NULL;
}

// --- the work --------------------------------------------------------------------------------------------------------

static int read_some(struct version *v)
{
    static const struct {
        unsigned member;
        uint64_t offset;
        size_t n;
    } reads[] = {
        {KERNEL, 0, KERNEL_SIZE},
        {DISK, 5000, 200000},
        {DISK, (uint64_t)MAP_LEAF_BLOCKS * BLOCK_SIZE - 9000, 20000},
        {DISK, (uint64_t)REPEAT_FIRST * BLOCK_SIZE - 5000, 10000},
        {INITRD, 10, 5000},
    };
    struct error error = {""};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(reads); i++)
        r = site_check(site, v, reads[i].member, reads[i].offset, reads[i].n, &error);
    if (r < 0 && !error.text[0])
        return torture_wrong("a read failed without a word");
    return r > 0 ? torture_wrong("a byte is wrong") : r;
}

static int pull(struct version *v)
{
    struct sha256 *objects = NULL;
    size_t count = 0;
    struct error error = {""};
    int r = version_pull(v, NULL, NULL, &objects, &count, &error);
    if (r == 0)
        r = cache_pin(store_cache(store), version_name(v), CACHE_OWNER_PULL, objects, count, &error);
    free(objects);
    if (r < 0 && !error.text[0])
        return torture_wrong("it failed without a word");
    return r;
}

static int with_version(const char *const *sources, unsigned count, struct store_options options,
                        int (*work)(struct version *v))
{
    struct version *v;
    struct error error = {""};
    options.wait_seconds = 1;
    options.remember_failures = true;
    int r = store_new(&options, &store, &error);
    if (r < 0)
        return r;
    r = version_open(store, &site->manifest, sources, count, &v, &error);
    if (r == 0) {
        if (options.adaptive)
            version_stream(v);
        r = work(v);
        version_close(v);
    }
    store_free(store);
    return r;
}

static int from_folder(void)
{
    const char *source = site->folder;
    return with_version(&source, 1, (struct store_options){.cache_folder = cache}, read_some);
}

static int from_folder_without_cache(void)
{
    const char *source = site->folder;
    return with_version(&source, 1, (struct store_options){.wait_seconds = 1}, read_some);
}

static int from_server(void)
{
    const char *source = server->http->address;
    return with_version(&source, 1, (struct store_options){.cache_folder = cache}, read_some);
}

static int from_server_ahead(void)
{
    const char *source = server->http->address;
    return with_version(&source, 1, (struct store_options){.cache_folder = cache, .adaptive = true}, read_some);
}

static int from_two_sources(void)
{
    const char *sources[] = {server->http->address, site->folder};
    return with_version(sources, 2, (struct store_options){.cache_folder = cache}, read_some);
}

static int from_cache(void)
{
    return with_version(NULL, 0, (struct store_options){.cache_folder = cache}, read_some);
}

static int pull_from_folder(void)
{
    const char *source = site->folder;
    return with_version(&source, 1, (struct store_options){.cache_folder = cache}, pull);
}

static int pull_from_server(void)
{
    const char *source = server->http->address;
    return with_version(&source, 1, (struct store_options){.cache_folder = cache}, pull);
}

static void prepare_pulled(const char *folder)
{
    prepare_folder(folder);
    MUST(pull_from_folder());
}

// What a fault left in the cache is right, or is not used.
static int check_cache(void)
{
    return from_folder();
}

const struct torture_scenario torture_store[] = {
    {.name = "read from a folder",
     .set_up = set_up,
     .prepare = prepare_folder,
     .act = from_folder,
     .check = check_cache},
    {.name = "read without a cache", .set_up = set_up, .act = from_folder_without_cache},
    {.name = "read over HTTP",
     .library = true,
     .set_up = set_up,
     .prepare = prepare_server,
     .act = from_server,
     .check = check_cache,
     .finish = finish_server},
    {.name = "read over HTTP, boot packs ahead",
     .set_up = set_up,
     .prepare = prepare_server,
     .act = from_server_ahead,
     .check = check_cache,
     .finish = finish_server},
    {.name = "read from two sources",
     .set_up = set_up,
     .prepare = prepare_server,
     .act = from_two_sources,
     .check = check_cache,
     .finish = finish_server},
    {.name = "read from the cache",
     .set_up = set_up,
     .prepare = prepare_pulled,
     .act = from_cache,
     .check = check_cache},
    {.name = "pull from a folder",
     .set_up = set_up,
     .prepare = prepare_folder,
     .act = pull_from_folder,
     .check = from_cache},
    {.name = "pull over HTTP",
     .set_up = set_up,
     .prepare = prepare_server,
     .act = pull_from_server,
     .check = from_cache,
     .finish = finish_server},
    {.name = NULL},
};
