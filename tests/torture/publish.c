// Both ends of publishing over HTTP, in torture. The keeper, without its process: a version whose objects were all
// uploaded is taken in, and the catalog signed. And the client, which publishes to a rondo-server (of the usual build)
// that nothing fails for. Whatever fails, the site verifies, and the same done once more ends well.
//
//   shared/   key; site: a:1; other: a:1 and a:2, published there with the same key
//   run/      site; state: for the keeper, what a:2 needs and `site` does not have is uploaded
#include "tests/torture/torture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "client/cli.h"
#include "server/keeper_private.h"

int rondo_main(int argc, char **argv); // main() of client/rondo_main.c

#define DISK_SIZE (40 * 4096u)
#define QUOTA (UINT64_C(1) << 30)

static char shared[200], here[200], address[200];
static struct key_public key;
static struct sha256 manifest; // of a:2

static int rondo(const char *const words[], size_t n)
{
    char text[20][300], *argv[21] = {NULL};
    for (size_t i = 0; i < n; i++) {
        const char *w = words[i], *folder = *w == '@' ? shared : *w == '%' ? here : NULL;
        snprintf(text[i], sizeof(text[i]), "%s%s%s", folder ? folder : "", folder ? "/" : "", folder ? w + 1 : w);
        argv[i] = text[i];
    }
    return -rondo_main((int)n, argv);
}
#define RONDO(...)                                                                                                     \
    rondo((const char *const[]){"rondo", __VA_ARGS__}, ARRAY_SIZE(((const char *const[]){"rondo", __VA_ARGS__})))

static void shell(const char *script)
{
    char command[1000];
    snprintf(command, sizeof(command), "set -e; cd %s; shared=%s; %s", here, shared, script);
    MUST(system(command));
}

static void set_state(const char *folder)
{
    static const char *const names[] = {"RONDO_HOME", "RONDO_CACHE"};
    char path[300];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        MUST(setenv(names[i], path, 1));
    }
}

static void set_up(const char *folder)
{
    static unsigned char disk[DISK_SIZE];
    char path[300];
    struct site *site;
    struct catalog c = {.image_count = 0};
    const struct catalog_image *image;
    struct key_secret *secret;
    struct error error = {""};

    snprintf(shared, sizeof(shared), "%s", folder);
    snprintf(here, sizeof(here), "%s", folder);
    set_state(folder);
    snprintf(path, sizeof(path), "%s/disk", folder);
    for (unsigned i = 0; i < DISK_SIZE; i++)
        disk[i] = (unsigned char)(i * 2654435761u >> 13);
    MUST(io_replace_file(AT_FDCWD, path, disk, DISK_SIZE / 2, 0600));
    MUST(RONDO("key", "new", "@key"));
    MUST(RONDO("publish", "--name", "a", "--version", "1", "--disk", "@disk", "--key", "@key", "--to", "@site"));
    shell("cp -a site other");
    MUST(io_replace_file(AT_FDCWD, path, disk, DISK_SIZE, 0600));
    MUST(RONDO("publish", "--name", "a", "--version", "2", "--disk", "@disk", "--key", "@key", "--to", "@other"));
    snprintf(path, sizeof(path), "%s/other", folder);
    MUST(site_open_reading(path, &site, &error));
    MUST(site_catalog_read(site, &c, &error));
    MUST(catalog_find(&c, "a", "2", &image, &error));
    manifest = image->manifest;
    catalog_free(&c);
    site_close(site);
    snprintf(path, sizeof(path), "%s/key", folder);
    MUST(key_read_secret(path, NULL, NULL, &secret, &error));
    key_public_of(secret, &key);
    key_free(&secret);
}

static void prepare(const char *folder)
{
    char script[400], text[KEY_TEXT_SIZE];
    snprintf(here, sizeof(here), "%s", folder);
    key_to_text(&key, text);
    snprintf(script, sizeof(script),
             "cp -a $shared/site site; to=$PWD/state/incoming/%s; mkdir -p $to state/" PLACED_FOLDER
             "; cd $shared/other/objects; for f in */*; do [ -e $shared/site/objects/$f ] || cp $f $to/; done",
             text);
    shell(script);
}

// As the process does it, with a manifest that comes as a descriptor.
static int take(struct keeper *k, struct error *error)
{
    char path[400], hex[SHA256_HEX_SIZE];
    struct taking t = {.keeper = k, .key = key, .staged = -1, .tag = "new"};
    snprintf(path, sizeof(path), "%s/other/objects/%.2s/%s", shared, sha256_to_hex(&manifest, hex), hex);
    int fd CLEANUP_CLOSE = open(path, O_RDONLY | O_CLOEXEC);
    MUST(fd < 0 ? -1 : 0);
    int r = keeper_take(&t, fd, error);
    keeper_take_end(&t);
    return r;
}

// To a keeper that has the site's key; or does not, so that the version waits for it.
static int hand_in_to(bool queue)
{
    char site[300], file[300], path[300];
    struct key_secret *secret CLEANUP(key_free) = NULL;
    struct staging *staging CLEANUP(staging_close) = NULL;
    struct error error = {""};
    snprintf(site, sizeof(site), "%s/site", here);
    snprintf(file, sizeof(file), "%s/key", shared);
    snprintf(path, sizeof(path), "%s/state", here);
    int state CLEANUP_CLOSE = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int placed CLEANUP_CLOSE = openat(state, PLACED_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(state < 0 || placed < 0 ? -1 : 0);
    int r = key_read_secret(file, NULL, NULL, &secret, &error);
    if (r == 0)
        r = staging_open(state, &staging, &error);
    struct keeper k = {.options = {.site = site, .site_key = file, .quota = QUOTA},
                       .site_key = queue ? NULL : secret,
                       .state = state,
                       .placed = placed,
                       .staging = staging,
                       .pending = BUF_WITH_MAXIMUM(1u << 20)};
    if (r == 0)
        r = take(&k, &error);
    if (r == 0 && queue)
        keeper_pending_refresh(&k); // which tells the log of its failures, and tries again
    buf_free(&k.pending);
    return r < 0 && !error.text[0] ? torture_wrong("it failed without a word") : r;
}

static int hand_in(void)
{
    return hand_in_to(false);
}

static int hand_in_to_wait(void)
{
    return hand_in_to(true);
}

static int check_waits(void)
{
    char path[300], hex[SHA256_HEX_SIZE];
    void *text CLEANUP_FREE = NULL;
    size_t n;
    snprintf(path, sizeof(path), "%s/state/pending/catalog", here);
    if (RONDO("fsck", "%site", "--json") != 0)
        return torture_wrong("the site does not verify");
    MUST(io_read_file(AT_FDCWD, path, 1u << 20, &text, &n));
    return strstr(text, sha256_to_hex(&manifest, hex)) ? 0 : torture_wrong("the version does not wait");
}

static int check(void)
{
    struct site *site;
    struct error error = {""};
    char path[300];
    snprintf(path, sizeof(path), "%s/site", here);
    if (RONDO("fsck", "%site", "--json") != 0 || RONDO("inspect", "%site/a:new", "--json") != 0)
        return torture_wrong("the site does not verify");
    MUST(site_open_reading(path, &site, &error));
    int fd CLEANUP_CLOSE = site_open_object(site, &manifest);
    site_close(site);
    return fd < 0 ? torture_wrong("the manifest is not there") : 0;
}

// --- the client ------------------------------------------------------------------------------------------------------

static pid_t server;

static void prepare_server(const char *folder)
{
    char path[4][300], url[200] = "";
    snprintf(here, sizeof(here), "%s", folder);
    shell("cp -a $shared/site site");
    set_state(folder);
    snprintf(path[0], sizeof(path[0]), "%s/../rondo-server", getenv("BUILD"));
    snprintf(path[1], sizeof(path[1]), "%s/state", folder);
    snprintf(path[2], sizeof(path[2]), "%s/key", shared);
    snprintf(path[3], sizeof(path[3]), "%s/site", folder);
    int ends[2];
    MUST(pipe2(ends, O_CLOEXEC));
    server = fork();
    if (server == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl(path[0], path[0], "--listen", "127.0.0.1:0", "--state", path[1], "--site-key", path[2], path[3], NULL);
        _exit(127);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], url, sizeof(url) - 1);
    close(ends[0]);
    MUST(n > 13 && sscanf(url, "listening on %199s", address) == 1 ? 0 : -1);
}

static void end_server(void)
{
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
}

static int publish(void)
{
    return RONDO("publish", "--name", "a", "--version", "2", "--tag", "new", "--disk", "@disk", "--key", "@key", "--to",
                 address);
}

static int publish_again(void)
{
    int r = publish();
    return r == -EXIT_CODE_OTHER ? 0 : r; // all was done, but for its last words
}

static int check_published(void)
{
    return RONDO("fsck", "%site", "--json") == 0 && RONDO("inspect", "%site/a:new", "--json") == 0
               ? 0
               : torture_wrong("the site does not verify");
}

const struct torture_scenario torture_publish[] = {
    {.name = "take a version in", .set_up = set_up, .prepare = prepare, .act = hand_in, .check = check},
    {.name = "have a version wait", .set_up = set_up, .prepare = prepare, .act = hand_in_to_wait, .check = check_waits},
    {.name = "rondo publish --to URL",
     .set_up = set_up,
     .prepare = prepare_server,
     .act = publish,
     .again = publish_again,
     .check = check_published,
     .finish = end_server},
    {.name = NULL},
};
