// What the client keeps, in torture: configuration, machines' folders, volumes, first-boot settings, measured logs.
#include "tests/torture/torture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "client/configuration.h"
#include "client/instance.h"
#include "client/measure_log.h"
#include "client/seed.h"

#define DISK_SIZE (1u << 20)
#define SSH_KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPnvuup+j+wTQXa8KsYw90M2WPKDVTMscE00d9+2TF6C"

static char here[200];

static const char *below(const char *name)
{
    static char paths[4][300];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", here, name);
    return path;
}

static void prepare(const char *folder)
{
    snprintf(here, sizeof(here), "%s", folder);
    MUST(setenv("RONDO_HOME", below("home"), 1));
    MUST(setenv("RONDO_CACHE", below("cache"), 1));
    MUST(setenv("RONDO_RUNTIME", below("runtime"), 1));
    MUST(setenv("XDG_CONFIG_HOME", below("config"), 1));
}

static void put(const char *name, const char *text)
{
    MUST(io_replace_file(AT_FDCWD, below(name), text, strlen(text), 0600));
}

// --- configuration ---------------------------------------------------------------------------------------------------

static void prepare_configuration(const char *folder)
{
    prepare(folder);
    MUST(io_make_folders(AT_FDCWD, below("config/rondo"), 0700));
    put("config/rondo/config", "site http://host/\ncache-size 3G\nsource /media/usb\n");
}

static int read_configuration(void)
{
    struct configuration c;
    struct error error = {""};
    int r = configuration_read(&c, &error);
    if (r < 0)
        return error.text[0] ? r : torture_wrong("it failed without a word");
    return strcmp(c.site, "http://host/") == 0 && c.cache_size == 3ull << 30 && c.source_count == 1
               ? 0
               : torture_wrong("the configuration is another");
}

// --- machines --------------------------------------------------------------------------------------------------------

static struct instance_settings settings_of(uint64_t memory)
{
    struct instance_settings s = {.image = "debian",
                                  .version = "12.5",
                                  .site = "http://host:8080/os/",
                                  .sources = {"http://host:8080/os/"},
                                  .source_count = 1,
                                  .asked = "12",
                                  .disk_size = DISK_SIZE,
                                  .memory = memory,
                                  .cpus = 2};
    s.manifest = sha256_of("manifest", 8);
    return s;
}

static const struct buf seed = {.data = (unsigned char *)(uintptr_t) "a seed", .size = 6, .capacity = 7, .maximum = 6};

static int make_machine(void)
{
    struct instance i = INSTANCE_NONE;
    struct error error = {""};
    struct instance_settings s = settings_of(512u << 20);
    int r = instance_create("box", &s, &seed, &i, &error);
    instance_close(&i);
    return r < 0 && !error.text[0] ? torture_wrong("it failed without a word") : r;
}

static int make_machine_again(void)
{
    int r = make_machine();
    return r == -EEXIST ? 0 : r;
}

static int check_memory(uint64_t memory)
{
    struct instance i = INSTANCE_NONE;
    struct error error = {""};
    int r = instance_open("box", &i, &error);
    if (r < 0)
        return torture_wrong("the machine cannot be opened: %s", error.text);
    bool right = i.settings.memory == memory && strcmp(i.settings.site, "http://host:8080/os/") == 0;
    instance_close(&i);
    return right ? 0 : torture_wrong("its settings are others");
}

static int check_made(void)
{
    return check_memory(512u << 20);
}

static void prepare_machine(const char *folder)
{
    prepare(folder);
    MUST(make_machine());
}

static int replace_machine(void)
{
    struct instance i = INSTANCE_NONE;
    struct error error = {""};
    struct instance_settings s = settings_of(256u << 20);
    int r = instance_open("box", &i, &error);
    if (r == 0)
        r = instance_lock(&i, &error);
    if (r == 0)
        r = instance_replace(&i, &s, &error);
    instance_close(&i);
    return r;
}

static int check_replaced(void)
{
    return check_memory(256u << 20);
}

static int count_machine(void *context, struct instance *i, const struct error *damage)
{
    (void)i;
    *(unsigned *)context += damage == NULL;
    return 0;
}

static int list_machines(void)
{
    unsigned count = 0;
    struct error error = {""};
    int r = instance_list(count_machine, &count, &error);
    return r < 0 ? r : count == 1 ? 0 : torture_wrong("there are %u machines", count);
}

// A machine that cannot be looked at is listed as damaged, and no more than that.
static int list_machines_at_fault(void)
{
    unsigned count = 0;
    struct error error = {""};
    return instance_list(count_machine, &count, &error);
}

static int remove_machine(void)
{
    struct instance i = INSTANCE_NONE;
    int r = instance_open("box", &i, NULL);
    if (r == 0)
        r = instance_lock(&i, NULL);
    if (r == 0)
        r = instance_remove(&i, NULL);
    instance_close(&i);
    return r;
}

static int remove_machine_again(void)
{
    int r = remove_machine();
    return r == -ENOENT ? 0 : r;
}

static int check_removed(void)
{
    unsigned count = 0, swept;
    MUST(instance_sweep(&swept, NULL));
    MUST(instance_list(count_machine, &count, NULL));
    return count == 0 ? 0 : torture_wrong("it is still there");
}

// --- volumes ---------------------------------------------------------------------------------------------------------

static int use_volume(void)
{
    struct volume v;
    char text[300];
    struct error error = {""};
    snprintf(text, sizeof(text), "%s:1M", below("volume"));
    int r = volume_parse(text, &v, &error);
    if (r == 0)
        r = volume_open(&v, true, &error);
    if (r < 0)
        return error.text[0] ? r : torture_wrong("it failed without a word");
    close(r);
    return v.size == 1u << 20 ? 0 : torture_wrong("its size is another");
}

// --- first-boot settings ---------------------------------------------------------------------------------------------

static void prepare_seed(const char *folder)
{
    prepare(folder);
    put("user-data", "#cloud-config\n");
    put("id.pub", SSH_KEY " me\n");
}

static int make_seed(void)
{
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM);
    struct seed_options o = {.user_data = below("user-data"), .ssh_key = below("id.pub"), .hostname = "box"};
    struct error error = {""};
    int r = seed_make(&o, &out, &error);
    if (r < 0)
        return error.text[0] ? r : torture_wrong("it failed without a word");
    return memmem(out.data, out.size, "#cloud-config\n", 14) && memmem(out.data, out.size, SSH_KEY, sizeof(SSH_KEY) - 1)
               ? 0
               : torture_wrong("something is missing in it");
}

// --- measured logs ---------------------------------------------------------------------------------------------------

static bool whole; // it was written to its end

// What is there is right, as far as it goes.
static int check_log(void)
{
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    struct measure_reader reader = MEASURE_READER_START;
    struct measure_line line;
    struct error error = {""};
    MUST(io_read_file(AT_FDCWD, below("log"), MEASURE_FILE_MAXIMUM, &bytes, &n));
    unsigned lines = 0;
    for (char *at = bytes, *end; (end = memchr(at, '\n', n - (size_t)(at - (char *)bytes))); at = end + 1, lines++)
        if (measure_read_line(&reader, at, (size_t)(end - at), &line, &error) < 0)
            return torture_wrong("what was written is wrong: %s", error.text);
    return !whole || lines == 3 ? 0 : torture_wrong("there are %u lines", lines);
}

static int write_log(void)
{
    struct measure_log log = MEASURE_LOG_NONE;
    log.fd = open(below("log"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    MUST(log.fd < 0 ? -errno : 0);
    int r = measure_log_add(&log, MEASURE_VERSION, "%s", "1");
    if (r == 0)
        r = measure_log_add(&log, MEASURE_BEGAN, "2026-11-23T10:00:00Z");
    if (r == 0)
        r = measure_log_flush(&log);
    if (r == 0)
        r = measure_log_add(&log, MEASURE_MACHINE, "box");
    if (r == 0)
        r = measure_log_flush(&log);
    buf_free(&log.pending);
    close(log.fd);
    whole = r == 0;
    return r;
}

const struct torture_scenario torture_client[] = {
    {.name = "read the configuration", .prepare = prepare_configuration, .act = read_configuration},
    {.name = "make a machine",
     .prepare = prepare,
     .act = make_machine,
     .again = make_machine_again,
     .check = check_made},
    {.name = "replace a machine", .prepare = prepare_machine, .act = replace_machine, .check = check_replaced},
    {.name = "list machines",
     .prepare = prepare_machine,
     .act = list_machines_at_fault,
     .again = list_machines,
     .check = list_machines},
    {.name = "remove a machine",
     .prepare = prepare_machine,
     .act = remove_machine,
     .again = remove_machine_again,
     .check = check_removed},
    {.name = "use a volume", .prepare = prepare, .act = use_volume},
    {.name = "make first-boot settings", .prepare = prepare_seed, .act = make_seed},
    {.name = "write a measured log", .prepare = prepare, .act = write_log, .check = check_log},
    {.name = NULL},
};
