// The command line in torture: each verb that starts no process, on small sites in folders, with the state of a user
// who has nothing, or has pulled and has a stopped machine. The result is looked at through other commands, and through
// the store: what a site offers then is read whole, and compared.
//
//   shared/   key, key.pub, disk, disk2, kernel
//             site: img:0, img:1 with the tag "old", img:2; unsigned, a text of it that is to be signed
//             home, cache: of one who has pulled img:2 and has a machine of it, "box", which has changed its disk to
//             disk3, and a snapshot of that; exported: img:2
//   run/      copies of what a command changes
#include "tests/torture/torture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/overlay.h"
#include "client/cli.h"
#include "client/configuration.h"
#include "client/instance.h"
#include "client/resolve.h"

int rondo_main(int argc, char **argv); // main() of client/rondo_main.c

#define DISK_SIZE (3u << 20)
#define WORDS_MAXIMUM 24
#define KEY "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"
#define PROFILE "rondo-profile 1\nmember disk 3145728\nread disk 3 40\n"

struct command {
    const char *from;                    // folders of shared/ that run/ gets copies of, with spaces between
    const char *words[WORDS_MAXIMUM];    // "@x": shared/x, "%x": run/x
    const char *again[WORDS_MAXIMUM];    // after a failure, if that is another command
    const char *looks[4][WORDS_MAXIMUM]; // afterwards: each must succeed
    const char *offers;                  // an image that must then be whole: "img:2 disk2" in the site of run/
    const char *cached;                  // and one in the cache of run/
    const char *file[2];                 // these must then be equal
    int done;                            // an exit code that says, after a failure, that it is done already
};

static char shared[PATH_MAX], here[PATH_MAX];

// --- files -----------------------------------------------------------------------------------------------------------

static void write_file(const char *folder, const char *name, const void *bytes, size_t n)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    MUST(io_replace_file(AT_FDCWD, path, bytes, n, 0600));
}

// Compressible and not, with zeros between.
static void fill_disk(unsigned char *disk, uint64_t seed)
{
    static const unsigned char same[sizeof(seed)] = {'t', 'h', 'e', ' ', 's', 'a', 'm', 'e'};
    memset(disk, 0, DISK_SIZE);
    for (size_t at = 0; at < DISK_SIZE / 2; at += 8) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        if (at / 65536 % 4 != 3)
            memcpy(disk + at, at / 65536 % 4 == 2 ? same : (const void *)&seed, sizeof(seed));
    }
}

static const char *copy_from, *copy_to;

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    char to[2 * PATH_MAX];
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    (void)at;
    snprintf(to, sizeof(to), "%s%s", copy_to, path + strlen(copy_from));
    if (type == FTW_D)
        return mkdir(to, st->st_mode & 0777);
    MUST(io_read_file(AT_FDCWD, path, 64u << 20, &bytes, &n));
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 0777);
    MUST(fd < 0 ? -errno : 0);
    for (size_t i = 0; i < n; i += 4096) { // holes stay holes
        size_t piece = n - i < 4096 ? n - i : 4096;
        static const char zeros[4096];
        if (memcmp((char *)bytes + i, zeros, piece) != 0)
            MUST(io_write_full(fd, (char *)bytes + i, piece, i));
    }
    MUST(ftruncate(fd, (off_t)n));
    close(fd);
    return 0;
}

static void copy_tree(const char *from, const char *to)
{
    copy_from = from;
    copy_to = to;
    MUST(nftw(from, copy_one, 16, FTW_PHYS));
}

static void use_state(const char *folder)
{
    static const char *const names[][2] = {
        {"RONDO_HOME", "home"}, {"RONDO_CACHE", "cache"}, {"RONDO_RUNTIME", "runtime"}, {"XDG_CONFIG_HOME", "config"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[PATH_MAX + 64];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i][1]);
        MUST(setenv(names[i][0], path, 1));
    }
    MUST(unsetenv("RONDO_SITE"));
    char path[PATH_MAX + 64];
    snprintf(path, sizeof(path), "%s/config/rondo", folder);
    MUST(io_make_folders(AT_FDCWD, path, 0700));
    write_file(path, "config", "outage-seconds 1\n", 17); // what a fault keeps away is not waited for
}

// --- commands --------------------------------------------------------------------------------------------------------

static int perform(const char *const words[WORDS_MAXIMUM])
{
    static char text[WORDS_MAXIMUM + 1][PATH_MAX + 256];
    char *argv[WORDS_MAXIMUM + 2] = {text[0]};
    int argc = 1;
    snprintf(text[0], sizeof(text[0]), "rondo");
    for (; words[argc - 1]; argc++) {
        const char *w = words[argc - 1];
        if (*w == '@' || *w == '%')
            snprintf(text[argc], sizeof(text[argc]), "%s/%s", *w == '@' ? shared : here, w + 1);
        else
            snprintf(text[argc], sizeof(text[argc]), "%s", w);
        argv[argc] = text[argc];
    }
    return -rondo_main(argc, argv);
}
#define PERFORM(...) MUST(perform((const char *const[WORDS_MAXIMUM]){__VA_ARGS__}))

static int read_zeros(void *context, uint64_t offset, const struct iovec *to, unsigned count, size_t n)
{
    (void)context, (void)offset, (void)n;
    for (unsigned i = 0; i < count; i++)
        memset(to[i].iov_base, 0, to[i].iov_len);
    return 0;
}

// A machine of img:2 that has written to its disk, which is then as the file disk3.
static void make_machine(unsigned char *disk)
{
    char address[PATH_MAX + 64];
    const struct overlay_base base = {.read = read_zeros, .size = DISK_SIZE};
    const struct resolve_options options = {.offline = true};
    struct instance_settings settings = {.disk_size = DISK_SIZE, .memory = 512u << 20, .cpus = 1};
    struct instance box = INSTANCE_NONE;
    struct configuration configuration;
    struct resolved resolved;
    struct overlay *o;
    struct store *store;

    snprintf(address, sizeof(address), "%s/site/img:2", shared);
    MUST(configuration_read(&configuration, NULL));
    MUST(resolve_open_store(&configuration, &store, NULL));
    MUST(resolve_image(store, &configuration, address, &options, &resolved, NULL));
    instance_set_version(&settings, &resolved);
    MUST(instance_create("box", &settings, NULL, &box, NULL));
    MUST(overlay_open(box.folder_fd, &settings.manifest, &base, &o, NULL));
    memset(disk + 40 * 4096, 'y', 20 * 4096);
    MUST(overlay_write(o, 40 * 4096, disk + 40 * 4096, 20 * 4096));
    MUST(overlay_close(o, NULL));
    instance_close(&box);
    resolve_free(&resolved);
    store_free(store);
    write_file(shared, "disk3", disk, DISK_SIZE);
    PERFORM("snapshot", "box", "first");
}

static void set_up(const char *folder)
{
    unsigned char *disk CLEANUP_FREE = malloc(DISK_SIZE);
    snprintf(shared, sizeof(shared), "%s", folder);
    snprintf(here, sizeof(here), "%s", folder);
    use_state(folder);
    fill_disk(disk, 1);
    write_file(folder, "disk", disk, DISK_SIZE);
    write_file(folder, "kernel", disk + 5, 100000);
    memset(disk + 300000, 'x', 50000);
    write_file(folder, "disk2", disk, DISK_SIZE);
    write_file(folder, "profile", PROFILE, sizeof(PROFILE) - 1);
    PERFORM("key", "new", "@key");
    PERFORM("publish", "--name", "img", "--version", "0", "--disk", "@kernel", "--key", "@key", "--to", "@site");
    PERFORM("publish", "--name", "img", "--version", "1", "--disk", "@disk", "--kernel", "@kernel", "--cmdline", "x",
            "--key", "@key", "--to", "@site");
    PERFORM("tag", "@site", "img", "old", "1", "--key", "@key");
    PERFORM("publish", "--name", "img", "--version", "2", "--disk", "@disk2", "--kernel", "@kernel", "--cmdline", "x",
            "--profile", "@profile", "--key", "@key", "--to", "@site");
    PERFORM("pull", "@site/img:2");
    PERFORM("export", "@site/img:2", "@exported");
    PERFORM("renew", "@site", "--unsigned", "@unsigned");
    make_machine(disk);
}

static const struct command *command(void)
{
    return torture_current->data;
}

static void prepare(const char *folder)
{
    char names[200];
    snprintf(here, sizeof(here), "%s", folder);
    use_state(folder);
    snprintf(names, sizeof(names), "%s", command()->from ? command()->from : "");
    char *rest = names;
    for (const char *name; (name = strsep(&rest, " "));) {
        char from[PATH_MAX + 256], to[PATH_MAX + 256];
        snprintf(from, sizeof(from), "%s/%s", shared, name);
        snprintf(to, sizeof(to), "%s/%s", here, name);
        if (*name)
            copy_tree(from, to);
    }
}

static int act(void)
{
    return perform(command()->words);
}

static int act_again(void)
{
    int r = command()->again[0] ? perform(command()->again) : act();
    return command()->done && r == -command()->done ? 0 : r;
}

// --- looking at the result -------------------------------------------------------------------------------------------

static int compare_member(struct version *v, unsigned member, const void *expected, size_t n)
{
    struct error error = {""};
    CLEANUP_FREE char *got = malloc(n);
    if (version_manifest(v)->members[member].size < n)
        return torture_wrong("member %u is too small", member);
    int r = version_read(v, member, 0, got, n, &error);
    if (r < 0)
        return torture_wrong("what is offered cannot be read: %s", error.text);
    return memcmp(got, expected, n) == 0 ? 0 : torture_wrong("the bytes of member %u are wrong", member);
}

// The version's first member is that file of shared/.
static int compare_version(struct store *store, const struct sha256 *manifest, const char *source, const char *file)
{
    char path[PATH_MAX + 128];
    struct version *v;
    struct error error = {""};
    void *expected CLEANUP_FREE = NULL;
    size_t n;
    snprintf(path, sizeof(path), "%s/%s", shared, file);
    MUST(io_read_file(AT_FDCWD, path, DISK_SIZE, &expected, &n));
    if (version_open(store, manifest, &source, source ? 1 : 0, &v, &error) < 0)
        return torture_wrong("a version cannot be opened: %s", error.text);
    int r = compare_member(v, 0, expected, n);
    version_close(v);
    return r;
}

// `wanted`: "img:2 disk2". Of the site in run/, without a cache; or offline, of the cache alone.
static int check_image(const char *wanted, bool offline)
{
    char address[PATH_MAX + 128];
    const char *space = strchr(wanted, ' ');
    struct configuration configuration;
    struct resolve_options options = {.for_update = !offline, .offline = offline};
    struct resolved resolved;
    struct store_options bare = {.wait_seconds = 2};
    struct store *store, *plain;
    struct error error = {""};

    snprintf(address, sizeof(address), "%s/site/%.*s", offline ? shared : here, (int)(space - wanted), wanted);
    MUST(configuration_read(&configuration, &error));
    MUST(resolve_open_store(&configuration, &store, &error));
    int r = resolve_image(store, &configuration, address, &options, &resolved, &error);
    if (r < 0) {
        store_free(store);
        return torture_wrong("%s is not to be had: %s", wanted, error.text);
    }
    MUST(store_new(&bare, &plain, &error));
    r = compare_version(offline ? store : plain, &resolved.manifest, offline ? NULL : resolved.address.site, space + 1);
    store_free(plain);
    resolve_free(&resolved);
    store_free(store);
    return r;
}

static int compare_files(const char *a, const char *b)
{
    char path[2][PATH_MAX + 128];
    void *bytes[2] = {NULL, NULL};
    size_t n[2] = {0, 1};
    const char *const names[2] = {a, b};
    for (unsigned i = 0; i < 2; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/%s", names[i][0] == '@' ? shared : here, names[i] + 1);
        if (io_read_file(AT_FDCWD, path[i], 64u << 20, &bytes[i], &n[i]) < 0)
            torture_wrong("%s cannot be read", path[i]);
    }
    int r = n[0] == n[1] && memcmp(bytes[0], bytes[1], n[0]) == 0 ? 0 : torture_wrong("%s is not %s", a, b);
    free(bytes[0]);
    free(bytes[1]);
    return r;
}

static int check(void)
{
    const struct command *c = command();
    for (size_t i = 0; i < ARRAY_SIZE(c->looks) && c->looks[i][0]; i++)
        if (perform(c->looks[i]) != 0)
            return torture_wrong("afterwards %s %s fails", c->looks[i][0], c->looks[i][1] ? c->looks[i][1] : "");
    if ((c->offers && check_image(c->offers, false) != 0) || (c->cached && check_image(c->cached, true) != 0))
        return TORTURE_WRONG;
    return c->file[0] ? compare_files(c->file[0], c->file[1]) : 0;
}

#define VERB(title, ...)                                                                                               \
    {                                                                                                                  \
        .name = "rondo " title, .set_up = set_up, .prepare = prepare, .act = act, .again = act_again, .check = check,  \
        .data = &(const struct command)                                                                                \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

#define PUBLISHED_ALREADY EXIT_CODE_OTHER // all was done, but for its last words
#define WHOLE_SITE                                                                                                     \
    {                                                                                                                  \
        "fsck", "%site", "--json"                                                                                      \
    }

const struct torture_scenario torture_verbs[] = {
    VERB("key new", .words = {"key", "new", "%k"}, .again = {"key", "new", "%k2"},
         .looks = {{"key", "show", "@key.pub"}}),
    VERB("key show", .words = {"key", "show", "@key"}),
    VERB("publish",
         .words = {"publish", "--name", "img", "--version", "1", "--disk", "@disk", "--kernel", "@kernel", "--cmdline",
                   "x", "--key", "@key", "--to", "%site"},
         .done = PUBLISHED_ALREADY, .looks = {WHOLE_SITE}, .offers = "img:1 disk"),
    VERB("publish a second version", .from = "site",
         .words = {"publish",  "--name",  "img",       "--version", "3",         "--disk",   "@disk2",
                   "--kernel", "@kernel", "--cmdline", "x",         "--profile", "@profile", "--tag",
                   "new",      "--title", "T",         "--key",     "@key",      "--to",     "%site"},
         .done = PUBLISHED_ALREADY, .looks = {WHOLE_SITE}, .offers = "img:3 disk2"),
    VERB("publish --unsigned",
         .words = {"publish", "--name", "img", "--version", "1", "--disk", "@disk", "--kernel", "@kernel", "--cmdline",
                   "x", "--key", "@key.pub", "--to", "%site", "--unsigned", "%text"},
         .looks = {{"sign", "%text", "--key", "@key"}}),
    VERB("site", .from = "site", .words = {"site", "%site", "--url", "https://example.com/"}, .looks = {WHOLE_SITE},
         .offers = "img:2 disk2"),
    VERB("sign", .from = "unsigned", .words = {"sign", "%unsigned", "--key", "@key"}),
    VERB("tag", .from = "site", .words = {"tag", "%site", "img", "more", "1", "--key", "@key"}, .looks = {WHOLE_SITE},
         .offers = "img:more disk"),
    VERB("withdraw", .from = "site", .words = {"withdraw", "%site", "img", "0", "--key", "@key"},
         .done = EXIT_CODE_NOT_FOUND, .looks = {WHOLE_SITE}, .offers = "img:2 disk2"),
    VERB("renew", .from = "site", .words = {"renew", "%site", "--key", "@key", "--mirror", "http://127.0.0.1:1/"},
         .looks = {WHOLE_SITE}, .offers = "img:2 disk2"),
    VERB("ls", .words = {"ls", "@site", "--json"}),
    VERB("ls, of what was pulled", .from = "home cache", .words = {"ls"}),
    VERB("inspect", .words = {"inspect", "@site/img:old", "--json"}),
    VERB("history", .words = {"history", "@site/img"}),
    VERB("diff", .words = {"diff", "@site/img:1", "@site/img:2", "--json"}),
    VERB("pull", .words = {"pull", "@site/img:2"}, .cached = "img:2 disk2"),
    VERB("pull an update", .from = "home cache", .words = {"pull", "@site/img:1"}, .looks = {{"ls", "--offline"}},
         .cached = "img:2 disk2"),
    VERB("rmi", .from = "home cache", .words = {"rmi", "@site/img:2"}, .done = EXIT_CODE_NOT_FOUND),
    VERB("export", .words = {"export", "@site/img:2", "%exported"}, .file = {"%exported", "@exported"}),
    VERB("import", .words = {"import", "@exported"}, .cached = "img:2 disk2"),
    VERB("mirror", .words = {"mirror", "@site", "%site"}, .looks = {WHOLE_SITE}, .offers = "img:2 disk2"),
    VERB("gc", .from = "home cache", .words = {"gc", "--max-size", "1M"}, .cached = "img:2 disk2"),
    VERB("gc SITE", .from = "site", .words = {"gc", "%site", "--grace", "1s"}, .looks = {WHOLE_SITE},
         .offers = "img:2 disk2"),
    VERB("fsck", .from = "home cache", .words = {"fsck", "--offline"}, .cached = "img:2 disk2"),
    VERB("fsck SITE", .from = "site", .words = {"fsck", "%site"}, .offers = "img:2 disk2"),
    VERB("trust add", .words = {"trust", "add", "http://host/", KEY}, .looks = {{"trust", "ls", "--json"}}),
    VERB("trust ls", .from = "home", .words = {"trust", "ls"}),
    VERB("trust log", .from = "home", .words = {"trust", "log"}),
    VERB("ps", .from = "home", .words = {"ps", "--json"}),
    VERB("inspect a machine", .from = "home cache", .words = {"inspect", "box", "--json"}),
    VERB("snapshot", .from = "home", .words = {"snapshot", "box", "second"}, .done = EXIT_CODE_OTHER, // "taken"
         .looks = {{"rollback", "box", "second"}, {"rollback", "box", "first", "--drop-newer"}}),
    VERB("snapshot --list", .from = "home", .words = {"snapshot", "box", "--list", "--json"}),
    VERB("snapshot --delete", .from = "home", .words = {"snapshot", "box", "first", "--delete"},
         .done = EXIT_CODE_NOT_FOUND, .looks = {{"fsck", "--offline"}}),
    VERB("rollback", .from = "home", .words = {"rollback", "box", "first"}, .looks = {{"fsck", "--offline"}}),
    VERB("commit", .from = "home cache site",
         .words = {"commit", "box", "--name", "img", "--version", "3", "--key", "@key", "--to", "%site"},
         .done = PUBLISHED_ALREADY, .looks = {WHOLE_SITE, {"fsck", "--offline"}}, .offers = "img:3 disk3"),
    VERB("update", .from = "home cache", .words = {"update", "box", "--to", "1", "--discard"},
         .looks = {{"fsck", "--offline"}, {"inspect", "box"}}),
    VERB("rm", .from = "home", .words = {"rm", "box"}, .done = EXIT_CODE_NOT_FOUND, .looks = {{"fsck", "--offline"}}),
    {.name = NULL},
};
