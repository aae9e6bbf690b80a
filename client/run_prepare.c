// From an address, or the name of a machine that exists, to a version that is open, and the settings of the machine
// that is to run it (see run.h).
#include "base/cleanup.h"
#include "client/newer.h"
#include "client/ports.h"
#include "client/resolve.h"
#include "client/run.h"
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define OPEN_RETRIES 3u

static uint64_t whole_blocks(uint64_t bytes)
{
    return (bytes + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

static int parse_address(struct run *run, struct error *error)
{
    if (!run->address) {
        snprintf(run->instance_name, sizeof(run->instance_name), "%s", run->name);
        return 0;
    }
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

// Is the machine of that name what the address asks for?
static int check_address(const struct run *run, struct error *error)
{
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
    return 0;
}

// A machine of that name, if there is one, locked.
static int take_existing(struct run *run, struct error *error)
{
    int r = instance_open(run->instance_name, &run->instance, error);
    if (r == -ENOENT && run->address)
        return 0;
    if (r < 0)
        return r;
    if (instance_take_leftover(&run->instance))
        return run->address
                   ? 0
                   : error_set(error, ENOENT, "there is no machine %s any more: it was ephemeral, and has ended",
                               run->instance_name);
    r = run->address ? check_address(run, error) : 0;
    if (r < 0)
        return r;
    r = instance_lock(&run->instance, error);
    if (r == -ENOENT) { // removed this moment
        instance_close(&run->instance);
        return run->address ? 0 : r;
    }
    if (r == -EBUSY && !run->address)
        return error_set(error, EBUSY,
                         "machine %s is running (rondo console %s attaches to it), or another command is changing it",
                         run->instance_name, run->instance_name);
    if (r < 0)
        return r;
    const struct instance_settings *s = &run->instance.settings;
    if (run->disk_size && whole_blocks(run->disk_size) != s->disk_size)
        return error_set(error, EBUSY, "machine %s has a disk of %llu bytes; --disk-size is for new machines",
                         run->instance_name, (unsigned long long)s->disk_size);
    if (run->seed_image.size)
        return error_set(
            error, EBUSY,
            "machine %s exists; --user-data, --ssh-key and --hostname are for new machines: remove it with "
            "rondo rm %s, or choose another --name",
            run->instance_name, run->instance_name);
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

// Whom rondo-cloop may ask: the other places of this run, and, unless offline, where the machine's version came from.
static void list_sources(struct run *run)
{
    struct supervisor_options *o = &run->supervisor;
    o->source_count = 0;
    for (unsigned i = 0; i < run->others.count; i++)
        o->sources[o->source_count++] = run->others.list[i];
    for (unsigned i = 0; i < run->settings.source_count && !run->offline && o->source_count < MIRRORS_MAXIMUM; i++)
        o->sources[o->source_count++] = run->settings.sources[i];
}

// The version that an existing machine was made from: it keeps that, wherever the tags have moved (TRUST T43).
static int find_own_version(struct run *run, struct store *store, struct error *error)
{
    const struct instance_settings *s = &run->settings;
    const struct supervisor_options *o = &run->supervisor;
    struct version *v;
    list_sources(run);
    int r = version_open(store, &s->manifest, (const char *const *)o->sources, o->source_count, &v, error);
    if (r < 0)
        return resolve_explain_offline(r, run->offline, s->site, s->image, s->version, error);
    r = copy_manifest(run, version_manifest(v), error);
    version_close(v);
    return r;
}

static int find_version(struct run *run, struct store *store, struct error *error)
{
    struct resolve_options options = {.offline = run->offline,
                                      .require_fresh = run->require_fresh,
                                      .require_pin = run->require_pin,
                                      .connect_ahead = !run->exists,
                                      .others = &run->others};
    struct resolved resolved;
    int r = 0;
    // What a machine is made from does not change any more; but what the user demands of its site is looked at.
    const bool ask = !run->exists || run->require_fresh || run->require_pin || run->parsed.has_key;
    if (ask) {
        r = resolve_image(store, &run->configuration, run->address, &options, &resolved, error);
        if (r < 0)
            return r;
    }
    if (run->exists) {
        if (ask)
            resolve_free(&resolved);
        return find_own_version(run, store, error);
    }
    instance_set_version(&run->settings, &resolved);
    r = copy_manifest(run, resolved.description, error);
    run->ahead = resolved.ahead;
    resolved.ahead.count = 0;
    run->catalog = resolved.catalog;
    resolved.catalog = (struct buf){.data = NULL};
    resolve_free(&resolved);
    return r;
}

static int decide_settings(struct run *run, struct error *error)
{
    struct instance_settings *s = &run->settings;
    int disk = manifest_find_member(run->description, "disk");
    if (disk < 0)
        return error_set(error, EINVAL, "%s %s has no disk, so it cannot be run", s->image, s->version);
    uint64_t size = whole_blocks(run->description->members[disk].size);
    if (!run->exists) {
        s->disk_size = run->disk_size ? whole_blocks(run->disk_size) : size;
        if (s->disk_size < size)
            return error_set(error, EINVAL, "--disk-size: the disk of %s has %llu bytes already", s->image,
                             (unsigned long long)size);
        s->ephemeral = run->ephemeral;
        s->memory = run->description->memory ? run->description->memory : INSTANCE_MEMORY_DEFAULT;
        s->cpus = INSTANCE_CPUS_DEFAULT;
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
    char counts[1024];
    list_sources(run);
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
        r = cloop_open_version(&o->cloop, &s->manifest, o->sources, o->source_count, &run->ahead, o->version_folder,
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

int run_prepare(struct run *run, struct error *error)
{
    char reason[256] = "";
    int r = configuration_read(&run->configuration, error);
    if (r == 0)
        r = engine_choose(run->engine_name, &run->engine, reason, sizeof(reason), error);
    if (r == 0)
        r = parse_address(run, error);
    if (r == 0)
        r = resolve_list_others(&run->configuration, &run->sources, run->offline, &run->others, error);
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
    store_free(store); // and its thread: nothing but this one crosses the fork of the supervisor
    if (r == 0)
        r = decide_settings(run, error);
    if (r == 0 && manifest_find_member(run->description, "kernel") < 0)
        r = engine_choose_without_kernel(run->engine_name, &run->engine, reason, sizeof(reason), error);
    if (r < 0)
        return r;
    if (reason[0])
        fprintf(stderr, "rondo: %s\n", reason);
    fprintf(stderr, "rondo: %s %s as machine %s\n", run->settings.image, run->settings.version, run->instance_name);
    if (run->exists)
        newer_tell(&run->instance);
    return open_version(run, error);
}
