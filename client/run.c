// rondo run: from an address to a running machine, with its console on this terminal.
//
//   address ─▶ instance of that name? ──no──▶ resolve (catalog, trust, manifest)
//                      └─yes, locked─▶ the version that it was made from
//   ─▶ rondo-cloop opens the version ─▶ make the instance, unless it was there ─▶ fork the supervisor
//   ─▶ its word that the guest runs ─▶ the console (or leave, with --detach)
#include "client/run.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "blockstore/cache.h"
#include "client/console.h"
#include "client/disks.h"
#include "client/launch.h"
#include "client/measure.h"
#include "client/ports.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define CPUS_MAXIMUM 32u
#define ANSWER_MS 10000

static int check_options(struct run *run)
{
    if (strcmp(run->network, "user") != 0 && strcmp(run->network, "none") != 0)
        return cli_usage(run->verb, "--net takes user or none, not \"%s\"", run->network);
    if (strcmp(run->on_outage, "pause") != 0 && strcmp(run->on_outage, "error") != 0)
        return cli_usage(run->verb, "--on-outage takes pause or error, not \"%s\"", run->on_outage);
    if (run->cpus > CPUS_MAXIMUM)
        return cli_usage(run->verb, "--cpus takes 1 to %u", CPUS_MAXIMUM);
    if (run->memory && run->memory < INSTANCE_MEMORY_MINIMUM)
        return cli_usage(run->verb, "--memory: a machine needs 64M at least");
    if (run->detach && (run->until || run->timeout))
        return cli_usage(run->verb, "--detach leaves at once: --until and --timeout have no meaning with it");
    if (run->detach && run->input)
        return cli_usage(run->verb, "--detach leaves at once: --input has no meaning with it");
    if (run->keep && run->no_keep)
        return cli_usage(run->verb, "--keep and --no-keep contradict each other");
    if (run->keep && run->offline)
        return cli_usage(run->verb, "--keep fetches what --offline forbids to fetch");
    if (run->ports.count && strcmp(run->network, "none") == 0)
        return cli_usage(run->verb, "--port needs a network; drop --net none");
    if (ports_check(&run->ports) != 0)
        return EXIT_CODE_USAGE;
    if (run->name && !text_is_image_name(slice_of(run->name)))
        return cli_usage(run->verb, "%s\"%s\": " TEXT_IMAGE_NAME_RULE, run->address ? "--name " : "the name ",
                         run->name);
    return run->until && !console_check_pattern(run->until) ? EXIT_CODE_USAGE : 0;
}

// What the cache lacks of the version is to be fetched meanwhile. A machine's own pin goes with its folder, which is
// there by now. rondo-cloop may end at any time: then the supervisor says it to its successor.
static int keep_base(struct run *run, struct error *error)
{
    struct supervisor_options *o = &run->supervisor;
    const struct instance_settings *s = &run->instance.settings;
    if (!run->keep && (run->no_keep || !run->configuration.keep || s->ephemeral))
        return 0;
    o->keep_owner = run->keep ? CACHE_OWNER_PULL : run->instance.folder;
    o->keep_rate = run->keep ? 0 : run->configuration.fill_rate;
    int r =
        cloop_keep_version(&o->cloop, &s->manifest, o->keep_owner, o->keep_rate, o->sources, o->source_count, error);
    if (r == 0 || o->cloop.socket < 0)
        return 0;
    if (run->keep)
        return r;
    fprintf(stderr, "rondo: what is missing of %s is not fetched meanwhile: %s\n", s->image, error->text);
    return 0;
}

// --volume none: without any.
static int read_volumes(struct run *run, struct error *error)
{
    const struct option_list *l = &run->volumes;
    if (l->count == 1 && strcmp(l->values[0], "none") == 0)
        return 0;
    if (l->count > VOLUMES_MAXIMUM)
        return error_set(error, EINVAL, "a machine has at most %u volumes", VOLUMES_MAXIMUM);
    for (unsigned i = 0; i < l->count; i++) {
        int r = volume_parse(l->values[i], &run->named[i], error);
        if (r < 0)
            return r;
    }
    run->named_count = l->count;
    return 0;
}

// The volumes that are named now, else those that the machine remembers; what has changed it remembers from now on.
static int open_volumes(struct run *run, struct error *error)
{
    struct instance_settings *s = &run->settings;
    const struct instance_settings *before = &run->instance.settings; // if there is an instance
    const bool named = run->volumes.count > 0;
    if (named) {
        memcpy(s->volumes, run->named, sizeof(s->volumes));
        s->volume_count = run->named_count;
    }
    int r = disks_open_volumes(&run->supervisor, s, named, error);
    bool same = s->volume_count == before->volume_count;
    for (unsigned i = 0; i < s->volume_count && same; i++)
        same =
            s->volumes[i].size == before->volumes[i].size && strcmp(s->volumes[i].path, before->volumes[i].path) == 0;
    return r < 0 || !run->exists || same
               ? r
               : instance_remember_volumes(&run->instance, s->volumes, s->volume_count, error);
}

// The instance, and its supervisor. From here on signals are only remembered: what was made is taken back.
static int start(struct run *run, uint64_t deadline_ns, struct launched *ret, struct error *error)
{
    struct supervisor_options *o = &run->supervisor;
    int r = open_volumes(run, error);
    if (r < 0)
        return r;
    if (run->exists)
        run->instance.settings = run->settings;
    else
        r = instance_create(run->instance_name, &run->settings, &run->seed_image, &run->instance, error);
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
    r = disks_open_seed(o, &run->instance, error);
    if (r == 0 && run->measure) {
        o->measure = &run->log;
        r = measure_begin(&run->log, o, &run->catalog, !run->exists, error);
    }
    if (r == 0 && cli_interrupted())
        r = error_set(error, ECANCELED, "cancelled");
    if (r == 0)
        r = keep_base(run, error);
    if (r == 0)
        r = launch_machine(o, !run->detach, deadline_ns, ret, error);
    if (r < 0 && !run->exists && run->instance.lock_fd >= 0) // it never was the supervisor's
        instance_remove(&run->instance, NULL);
    return r;
}

// Leaves a machine to itself: from now on it does not end with its connection.
static int leave(struct run *run, int connection, struct error *error)
{
    char answer[SOCKET_LINE_MAXIMUM];
    int r = socket_send(connection, "detach", NULL, 0);
    while (r == 0) { // what it says before the answer is of no interest, nor is a signal: this is the last step
        r = socket_receive(connection, ANSWER_MS, answer, NULL, NULL);
        if (r > 0 && strcmp(answer, "ok") == 0)
            return 0;
        r = r == 0 ? -ECONNRESET : r > 0 || r == -EINTR ? 0 : r;
    }
    return error_set(error, EIO, "machine %s ended at once; %s/machine.log may say why", run->instance_name,
                     run->instance.folder);
}

static int run_machine(struct run *run)
{
    struct error error = {.text = ""};
    struct launched launched = {.connection = -1, .console = -1};
    const uint64_t deadline = run->timeout ? io_monotonic_ns() + run->timeout * 1000000000ull : 0;
    cli_cancel_on_signals();
    int r = read_volumes(run, &error);
    if (r == 0)
        r = seed_make(&run->seed, &run->seed_image, &error);
    if (r == 0)
        r = run_prepare(run, &error);
    if (r == 0 && run->measure)
        r = measure_open(run->measure, &run->log, &error);
    if (r < 0)
        return cli_fail(r, &error);
    cli_catch_signals();
    r = start(run, deadline, &launched, &error);
    measure_close(&run->log, run->measure); // it is the measuring process's now
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
    return console_attach(&run->instance, launched.connection, launched.console,
                          &(struct console_options){.owner = true,
                                                    .input = run->input,
                                                    .until = run->until,
                                                    .deadline_ns = deadline,
                                                    .timeout = (unsigned)run->timeout});
}

int run_and_free(struct run *run)
{
    int r = check_options(run);
    if (r == 0)
        r = run_machine(run);
    instance_close(&run->instance);
    disks_close(&run->supervisor);
    buf_free(&run->seed_image);
    buf_free(&run->catalog);
    cloop_close(&run->supervisor.cloop);
    transport_close_ahead(&run->ahead);
    free(run->description);
    return r;
}

int verb_run(int argc, char **argv)
{
    struct run run = {.verb = "run", RUN_DEFAULTS};
    const struct option options[] = {
        {"name", OPTION_TEXT, &run.name},
        {"ephemeral", OPTION_FLAG, &run.ephemeral},
        {"disk-size", OPTION_SIZE, &run.disk_size},
        {"user-data", OPTION_TEXT, &run.seed.user_data},
        {"ssh-key", OPTION_TEXT, &run.seed.ssh_key},
        {"hostname", OPTION_TEXT, &run.seed.hostname},
        {"require-fresh", OPTION_FLAG, &run.require_fresh},
        {"require-pin", OPTION_FLAG, &run.require_pin},
        RUN_OPTIONS(run),
        {NULL, OPTION_FLAG, NULL},
    };
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    run.address = argv[1];
    return run_and_free(&run);
}
