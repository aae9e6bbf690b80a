// rondo run: from an address to a running machine, with its console on this terminal.
//
//   address → instance of that name? ──no──▶ resolve (catalog, trust, manifest) ─▶ rondo-cloop opens it ─▶ make
//   instance
//                                  └─yes─▶ the version that it was made from ────▶ rondo-cloop opens it ─▶ lock it
//   ─▶ fork the supervisor ─▶ its word that the engine runs ─▶ attach to the console (or leave, with --detach)
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "client/cli.h"
#include "client/console.h"
#include "client/launch.h"
#include "client/ports.h"
#include "client/resolve.h"
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define MEMORY_DEFAULT (512ull << 20)
#define MEMORY_MINIMUM (64ull << 20)
#define CPUS_MAXIMUM 32u
#define CPUS_DEFAULT 2u
#define OPEN_RETRIES 3u
#define ANSWER_MS 10000

struct run {
    const char *address, *name, *engine_name, *network, *until, *append, *on_outage;
    uint64_t cpus, memory, disk_size, timeout;
    bool ephemeral, detach, offline, require_fresh, require_pin;
    struct option_list ports;

    struct configuration configuration;
    struct address parsed;
    char instance_name[CATALOG_NAME_SIZE];
    const struct engine *engine;
    struct instance instance;
    bool exists; // the instance did before this run
    struct instance_settings settings;
    struct manifest *description; // owned
    struct supervisor_options supervisor;
};

static int check_options(struct run *run)
{
    if (strcmp(run->network, "user") != 0 && strcmp(run->network, "none") != 0)
        return cli_usage("run", "--net takes user or none, not \"%s\"", run->network);
    if (strcmp(run->on_outage, "pause") != 0 && strcmp(run->on_outage, "error") != 0)
        return cli_usage("run", "--on-outage takes pause or error, not \"%s\"", run->on_outage);
    if (run->cpus > CPUS_MAXIMUM)
        return cli_usage("run", "--cpus takes 1 to %u", CPUS_MAXIMUM);
    if (run->memory && run->memory < MEMORY_MINIMUM)
        return cli_usage("run", "--memory: a machine needs 64M at least");
    if (run->detach && (run->until || run->timeout))
        return cli_usage("run", "--detach leaves at once: --until and --timeout have no meaning with it");
    if (run->ports.count && strcmp(run->network, "none") == 0)
        return cli_usage("run", "--port needs a network; drop --net none");
    if (ports_check(&run->ports) != 0)
        return EXIT_CODE_USAGE;
    if (run->name && !text_is_image_name(slice_of(run->name)))
        return cli_usage("run", "--name \"%s\": use a-z, 0-9, dot, dash, underscore", run->name);
    return run->until && !console_check_pattern(run->until) ? EXIT_CODE_USAGE : 0;
}

static int parse_address(struct run *run, struct error *error)
{
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    const char *site = getenv("RONDO_SITE");
    if (!site || !*site)
        site = run->configuration.site[0] ? run->configuration.site : NULL;
    int r = address_parse(run->address, site, folder ? folder : "/", &run->parsed, error);
    if (r < 0)
        return r;
    if (run->name) {
        snprintf(run->instance_name, sizeof(run->instance_name), "%s", run->name);
    } else if (run->ephemeral) {
        // A name of its own, so that it stands in nobody's way.
        unsigned char random[3];
        if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
            return error_set(error, EIO, "no random numbers");
        snprintf(run->instance_name, sizeof(run->instance_name), "%.56s-%02x%02x%02x", run->parsed.name, random[0],
                 random[1], random[2]);
    } else {
        snprintf(run->instance_name, sizeof(run->instance_name), "%s", run->parsed.name);
    }
    return 0;
}

// An instance of that name: is it what the address asks for, and free?
static int take_existing(struct run *run, struct error *error)
{
    int r = instance_open(run->instance_name, &run->instance, error);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (instance_take_leftover(&run->instance))
        return 0;
    const struct instance_settings *s = &run->instance.settings;
    if (strcmp(s->image, run->parsed.name) != 0 || strcmp(s->site, run->parsed.site) != 0 ||
        (run->parsed.has_manifest && !sha256_equal(&s->manifest, &run->parsed.manifest)))
        return error_set(error, EBUSY,
                         "machine %s exists and is %s %s from %s; choose another --name, or remove it with rondo rm %s",
                         run->instance_name, s->image, s->version, s->site, run->instance_name);
    const char *asked = run->parsed.selector;
    if (asked[0] && strcmp(asked, s->asked) != 0 && strcmp(asked, s->version) != 0)
        return error_set(error, EBUSY,
                         "machine %s exists and was made from %s:%s (version %s), which it keeps; for %s:%s choose "
                         "another --name",
                         run->instance_name, s->image, s->asked, s->version, s->image, asked);
    r = instance_lock(&run->instance, error);
    if (r == -ENOENT) { // removed this moment
        instance_close(&run->instance);
        return 0;
    }
    if (r < 0)
        return r;
    if (run->disk_size && run->disk_size != s->disk_size)
        return error_set(error, EBUSY, "machine %s has a disk of %llu bytes; --disk-size is for new machines",
                         run->instance_name, (unsigned long long)s->disk_size);
    if (run->ephemeral)
        return error_set(error, EBUSY, "machine %s exists; --ephemeral needs a new --name", run->instance_name);
    run->exists = true;
    run->settings = *s;
    return 0;
}

static int copy_manifest(struct run *run, const struct manifest *m, struct error *error)
{
    run->description = malloc(sizeof(*m));
    if (!run->description)
        return error_set(error, ENOMEM, "out of memory");
    *run->description = *m;
    return 0;
}

// The version that an existing machine was made from: it keeps that, wherever the tags have moved (TRUST T43).
static int find_own_version(struct run *run, struct store *store, struct error *error)
{
    const struct instance_settings *s = &run->settings;
    const char *sources[CATALOG_MIRRORS_MAXIMUM];
    for (unsigned i = 0; i < s->source_count; i++)
        sources[i] = s->sources[i];
    struct version *v;
    unsigned count = run->offline ? 0 : s->source_count;
    int r = version_open(store, &s->manifest, sources, count, &v, error);
    if (r < 0)
        return resolve_explain_offline(r, count, s->site, s->image, s->version, error);
    r = copy_manifest(run, version_manifest(v), error);
    version_close(v);
    return r;
}

static int find_version(struct run *run, struct store *store, struct error *error)
{
    struct resolve_options options = {
        .offline = run->offline, .require_fresh = run->require_fresh, .require_pin = run->require_pin};
    struct resolved resolved;
    int r = 0;
    if (!run->exists || run->require_fresh) {
        r = resolve_image(store, &run->configuration, run->address, &options, &resolved, error);
        if (r < 0)
            return r;
    }
    if (run->exists) {
        if (run->require_fresh)
            resolve_free(&resolved);
        return find_own_version(run, store, error);
    }
    struct instance_settings *s = &run->settings;
    s->manifest = resolved.manifest;
    snprintf(s->image, sizeof(s->image), "%s", resolved.description->name);
    snprintf(s->version, sizeof(s->version), "%s", resolved.description->version);
    snprintf(s->site, sizeof(s->site), "%s", run->parsed.site);
    snprintf(s->asked, sizeof(s->asked), "%s", run->parsed.selector[0] ? run->parsed.selector : "latest");
    for (unsigned i = 0; i < resolved.source_count && i < CATALOG_MIRRORS_MAXIMUM; i++)
        snprintf(s->sources[s->source_count++], CATALOG_URL_SIZE, "%s", resolved.sources[i]);
    if (s->source_count == 0) // offline now, but perhaps not for ever
        snprintf(s->sources[s->source_count++], CATALOG_URL_SIZE, "%s", run->parsed.site);
    r = copy_manifest(run, resolved.description, error);
    resolve_free(&resolved);
    return r;
}

static int decide_settings(struct run *run, struct error *error)
{
    struct instance_settings *s = &run->settings;
    int disk = manifest_find_member(run->description, "disk");
    if (disk < 0)
        return error_set(error, EINVAL, "%s %s has no disk, so it cannot be run", s->image, s->version);
    if (manifest_find_member(run->description, "kernel") < 0)
        return error_set(error, EOPNOTSUPP, "%s %s has no kernel member, and this version of Rondo boots no firmware",
                         s->image, s->version);
    uint64_t size = (run->description->members[disk].size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    if (!run->exists) {
        s->disk_size = run->disk_size ? (run->disk_size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE : size;
        if (s->disk_size < size)
            return error_set(error, EINVAL, "--disk-size: the disk of %s has %llu bytes already", s->image,
                             (unsigned long long)size);
        s->ephemeral = run->ephemeral;
        s->memory = run->description->memory ? run->description->memory : MEMORY_DEFAULT;
        s->cpus = CPUS_DEFAULT;
    }
    if (run->memory)
        s->memory = run->memory;
    if (run->cpus)
        s->cpus = run->cpus;
    return 0;
}

static int open_version_once(struct run *run, struct error *error)
{
    struct instance_settings *s = &run->settings;
    struct supervisor_options *o = &run->supervisor;
    char *sources[CATALOG_MIRRORS_MAXIMUM], counts[1024];
    for (unsigned i = 0; i < s->source_count; i++)
        sources[i] = s->sources[i];
    o->cloop = (struct cloop)CLOOP_NONE;
    o->cloop.cache_limit = run->configuration.cache_size;
    o->cloop.wait_seconds = run->configuration.outage_seconds;
    int r = cloop_connect(&o->cloop, error);
    if (r == 0)
        r = cloop_counts(&o->cloop, counts, sizeof(counts), error);
    if (r == 0) {
        o->requests_before = supervisor_count_in(counts, "requests");
        o->bytes_before = supervisor_count_in(counts, "bytes");
        o->wrong_before = supervisor_count_in(counts, "wrong");
        r = cloop_open_version(&o->cloop, &s->manifest, sources, run->offline ? 0 : s->source_count, o->version_folder,
                               error);
    }
    return r == 0 ? cloop_hold(&o->cloop, error) : r;
}

// Until the session is held, a rondo-cloop that ends takes everything with it: begin again.
static int open_version(struct run *run, struct error *error)
{
    int r = open_version_once(run, error);
    for (unsigned i = 0; i < OPEN_RETRIES && (r == -ECONNRESET || r == -EPIPE); i++) {
        cloop_close(&run->supervisor.cloop);
        r = open_version_once(run, error);
    }
    return r;
}

// Everything that leaves no trace but in the cache. The store's thread ends with the store: nothing but this thread
// crosses the fork of the supervisor.
static int prepare(struct run *run, struct error *error)
{
    char reason[256];
    int r = configuration_read(&run->configuration, error);
    if (r == 0)
        r = engine_choose(run->engine_name, &run->engine, reason, sizeof(reason), error);
    if (r == 0)
        r = parse_address(run, error);
    if (r == 0)
        r = take_existing(run, error);
    if (r == 0)
        r = ports_check_free(&run->ports, error);
    if (r < 0)
        return r;
    struct store *store;
    r = resolve_open_store(&run->configuration, &store, error);
    if (r < 0)
        return r;
    if (!run->offline && !run->exists)
        fprintf(stderr, "rondo: asking %s\n", run->parsed.site);
    r = find_version(run, store, error);
    struct store_counts counts;
    store_count(store, &counts);
    run->supervisor.requests = counts.network.requests;
    run->supervisor.bytes = counts.network.bytes;
    store_free(store);
    if (r == 0)
        r = decide_settings(run, error);
    if (r < 0)
        return r;
    if (reason[0])
        fprintf(stderr, "rondo: %s\n", reason);
    fprintf(stderr, "rondo: %s %s as machine %s\n", run->settings.image, run->settings.version, run->instance_name);
    return open_version(run, error);
}

// The instance, and its supervisor. From here on signals are only remembered: what was made is taken back.
static int start(struct run *run, struct launched *ret, struct error *error)
{
    struct supervisor_options *o = &run->supervisor;
    int r = 0;
    if (run->exists)
        run->instance.settings = run->settings;
    else
        r = instance_create(run->instance_name, &run->settings, &run->instance, error);
    if (r == -EEXIST)
        return error_set(error, EBUSY, "machine %s is being started by another command", run->instance_name);
    if (r < 0)
        return r;
    o->instance = &run->instance;
    o->description = run->description;
    o->engine = run->engine;
    o->ports = &run->ports;
    o->append = run->append;
    o->network = strcmp(run->network, "user") == 0;
    o->offline = run->offline;
    o->remove_on_failure = !run->exists;
    o->outage_error = strcmp(run->on_outage, "error") == 0;
    r = cli_interrupted() ? error_set(error, ECANCELED, "cancelled") : launch_machine(o, !run->detach, ret, error);
    if (r < 0 && !run->exists && run->instance.lock_fd >= 0) // it never was the supervisor's
        instance_remove(&run->instance, NULL);
    return r;
}

// Leaves a machine to itself: from now on it does not end with its connection.
static int leave(struct run *run, int connection, struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int r = socket_send(connection, "detach", NULL, 0);
    while (r == 0) { // what it says before the answer is of no interest
        r = socket_receive(connection, ANSWER_MS, answer, NULL, NULL);
        if (r > 0 && strcmp(answer, "ok") == 0)
            return 0;
        r = r == 0 ? -ECONNRESET : r > 0 ? 0 : r;
    }
    return error_set(error, EIO, "machine %s ended at once; %s/machine.log may say why", run->instance_name,
                     run->instance.folder);
}

static int run_machine(struct run *run)
{
    struct error error = {.text = ""};
    struct launched launched = {.connection = -1, .console = -1};
    cli_cancel_on_signals();
    int r = prepare(run, &error);
    if (r < 0)
        return cli_fail(r, &error);
    cli_catch_signals();
    r = start(run, &launched, &error);
    if (r < 0)
        return cli_fail(r, &error);
    if (run->detach) {
        r = leave(run, launched.connection, &error);
        close(launched.connection);
        if (r < 0)
            return cli_fail(r, &error);
        printf("%s\n", run->instance_name);
        return cli_finish_output(EXIT_CODE_OK);
    }
    return console_attach(
        &run->instance, launched.connection, launched.console,
        &(struct console_options){.owner = true, .until = run->until, .timeout = (unsigned)run->timeout});
}

int verb_run(int argc, char **argv)
{
    struct run run = {.engine_name = "auto",
                      .network = "user",
                      .on_outage = "pause",
                      .instance = INSTANCE_NONE,
                      .supervisor = {.cloop = CLOOP_NONE, .starter = -1, .starter_console = -1}};
    const struct option options[] = {
        {"name", OPTION_TEXT, &run.name},
        {"cpus", OPTION_NUMBER, &run.cpus},
        {"memory", OPTION_SIZE, &run.memory},
        {"ephemeral", OPTION_FLAG, &run.ephemeral},
        {"detach", OPTION_FLAG, &run.detach},
        {"engine", OPTION_TEXT, &run.engine_name},
        {"net", OPTION_TEXT, &run.network},
        {"port", OPTION_LIST, &run.ports},
        {"disk-size", OPTION_SIZE, &run.disk_size},
        {"until", OPTION_TEXT, &run.until},
        {"timeout", OPTION_NUMBER, &run.timeout},
        {"append", OPTION_TEXT, &run.append},
        {"offline", OPTION_FLAG, &run.offline},
        {"require-fresh", OPTION_FLAG, &run.require_fresh},
        {"require-pin", OPTION_FLAG, &run.require_pin},
        {"on-outage", OPTION_TEXT, &run.on_outage},
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    run.address = argv[1];
    r = check_options(&run);
    if (r == 0)
        r = run_machine(&run);
    instance_close(&run.instance);
    cloop_close(&run.supervisor.cloop);
    free(run.description);
    return r;
}
