// Booting once what is to be published (see record.h).
//
//   engine? ─▶ an ephemeral instance: overlay, links to kernel and initrd ─▶ fork the supervisor ─▶ its word that the
//   guest runs ─▶ the console, until the ready text ─▶ the settling time ─▶ kill ─▶ its end ─▶ records → profile
//
// The supervisor takes the instance away at its end, which comes with ours at the latest, since our connection is an
// owner's: so nothing is left whoever is killed. (If the supervisor itself is, its ephemeral instance is a leftover
// that the next start or listing clears away, like any other.)
#include "client/record.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/socket.h"
#include "base/text.h"
#include "client/cli.h"
#include "client/launch.h"
#include "client/until.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/banned.h"

#define END_SECONDS 180 // how long the machine may take to end once told to
#define PROGRESS_MS 500
#define SECOND_NS UINT64_C(1000000000)

struct recording {
    const struct record_options *options;
    const struct engine *engine;
    struct manifest *description; // with its members, owned
    struct supervisor_recording files;
    struct instance instance;
    struct launched launched;
    struct until until;
    bool until_open;
    uint64_t began, limit;  // io_monotonic_ns: since then, until then
    uint64_t ready, killed; // when; 0: not yet
    uint64_t settled;       // when it will have, once it is ready
    size_t count;           // records there when it was settled
    int result;             // of the boot: 0, or -errno and the sentence:
    struct error why;
};

// --- before --------------------------------------------------------------------------------------------------------

static int add_member(struct recording *rec, const char *name, const char *path, int fd, struct error *error)
{
    struct stat st;
    if (fd < 0)
        return 0;
    if (io->fstat(fd, &st) < 0)
        return error_set(error, errno, "cannot examine %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size == 0)
        return error_set(error, EOPNOTSUPP, "%s is %s, and a boot can be recorded only from files", path,
                         S_ISREG(st.st_mode) ? "empty" : "no file");
    struct manifest_member *member = &rec->description->members[rec->description->member_count++];
    snprintf(member->name, sizeof(member->name), "%s", name);
    member->size = (uint64_t)st.st_size;
    return 0;
}

static int describe(struct recording *rec, struct error *error)
{
    const struct record_options *o = rec->options;
    char pattern[2 * MANIFEST_TEXT_MAXIMUM], why[128];
    if (!o->kernel_path)
        return error_set(error, EOPNOTSUPP, "without a kernel it cannot be booted here; add --kernel");
    *rec->description = *o->description;
    rec->description->member_count = 0;
    int r = add_member(rec, "disk", o->disk_path, o->disk, error);
    if (r == 0)
        r = add_member(rec, "kernel", o->kernel_path, o->kernel, error);
    if (r == 0)
        r = add_member(rec, "initrd", o->initrd_path, o->initrd, error);
    if (r < 0)
        return r;
    if (!record_make_pattern(o->description->ready, pattern, sizeof(pattern)))
        return error_set(error, EINVAL, "the ready text is too long");
    r = until_open(&rec->until, pattern, why, sizeof(why));
    rec->until_open = r == 0;
    return r < 0 ? error_set(error, EINVAL, "the ready text cannot be looked for: %s", why) : 0;
}

static int link_member(const struct instance *i, const char *name, const char *path, struct error *error)
{
    if (!path)
        return 0;
    CLEANUP_FREE char *full = realpath(path, NULL);
    if (full && symlinkat(full, i->folder_fd, name) == 0)
        return 0;
    return error_set(error, errno, "cannot link to %s in %s: %s", path, i->folder, strerror(errno));
}

static int make_instance(struct recording *rec, struct error *error)
{
    const struct record_options *o = rec->options;
    const struct manifest *d = rec->description;
    char name[CATALOG_NAME_SIZE];
    unsigned char random[3];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return error_set(error, EIO, "no random numbers");
    CLEANUP_FREE struct instance_settings *s = calloc(1, sizeof(*s));
    if (!s)
        return error_set(error, ENOMEM, "out of memory");
    snprintf(name, sizeof(name), "%.46s-recording-%02x%02x%02x", d->name, random[0], random[1], random[2]);
    snprintf(s->image, sizeof(s->image), "%s", d->name);
    snprintf(s->version, sizeof(s->version), "%s", d->version);
    snprintf(s->asked, sizeof(s->asked), "%s", d->version);
    snprintf(s->site, sizeof(s->site), "(being recorded)");
    s->disk_size = (d->members[0].size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    s->memory = d->memory ? d->memory : INSTANCE_MEMORY_DEFAULT;
    s->cpus = INSTANCE_CPUS_DEFAULT;
    s->ephemeral = true;
    int r = instance_create(name, s, NULL, &rec->instance, error);
    if (r == 0)
        r = link_member(&rec->instance, "kernel", o->kernel_path, error);
    if (r == 0)
        r = link_member(&rec->instance, "initrd", o->initrd_path, error);
    return r;
}

static int launch(struct recording *rec, struct error *error)
{
    static const struct option_list no_ports = {.count = 0};
    struct supervisor_options s = {.instance = &rec->instance,
                                   .cloop = CLOOP_NONE,
                                   .recording = &rec->files,
                                   .description = rec->description,
                                   .engine = rec->engine,
                                   .ports = &no_ports,
                                   .network = true, // what starts it is a part of the boot
                                   .offline = true,
                                   .remove_on_failure = true,
                                   .starter = -1,
                                   .starter_console = -1};
    snprintf(s.version_folder, sizeof(s.version_folder), "%s", rec->instance.folder);
    return launch_machine(&s, true, rec->limit, &rec->launched, error);
}

// --- while it boots ------------------------------------------------------------------------------------------------

static size_t count_records(const struct recording *rec)
{
    struct stat st;
    return io->fstat(rec->files.reads, &st) < 0 ? 0 : (size_t)st.st_size / sizeof(struct overlay_read);
}

static void end_machine(struct recording *rec)
{
    if (rec->killed)
        return;
    rec->killed = io_monotonic_ns();
    socket_send(rec->launched.connection, "kill", NULL, 0);
}

static void fail(struct recording *rec, int code, const char *sentence)
{
    if (rec->result == 0)
        rec->result = error_set(&rec->why, code, "%s", sentence);
    end_machine(rec);
}

static void note_ready(struct recording *rec)
{
    const uint64_t now = io_monotonic_ns(), tenth = (now - rec->began) / 10;
    rec->ready = now;
    rec->settled = now + (tenth > RECORD_SETTLE_SECONDS * SECOND_NS ? tenth : RECORD_SETTLE_SECONDS * SECOND_NS);
}

static void hear_console(struct recording *rec)
{
    unsigned char bytes[16384];
    ssize_t n = recv(rec->launched.console, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        close(TAKE_FD(rec->launched.console)); // the end of the machine follows
    else if (n > 0 && !rec->ready && until_feed(&rec->until, bytes, (size_t)n))
        note_ready(rec);
}

static void hear_machine(struct recording *rec)
{
    char text[SOCKET_LINE_MAXIMUM], sentence[ERROR_TEXT_SIZE];
    int r = socket_receive(rec->launched.connection, 0, text, NULL, NULL);
    if (r == -EAGAIN || r == -EINTR)
        return;
    if (r <= 0) {
        close(TAKE_FD(rec->launched.connection));
        return;
    }
    struct slice rest = slice_of(text);
    if (!slice_equal(slice_cut_word(&rest), "exit") || rec->killed)
        return;
    slice_cut_word(&rest);                         // its exit code
    const int length = (int)strcspn(rest.at, ";"); // behind it is what to look at, which is gone
    snprintf(sentence, sizeof(sentence), "the machine ended before its console showed \"%.200s\": %.*s",
             rec->description->ready, length < 400 ? length : 400, rest.at);
    if (!rec->ready)
        fail(rec, EIO, sentence);
}

static void heed_time(struct recording *rec)
{
    const uint64_t now = io_monotonic_ns();
    const unsigned seconds = (unsigned)((now - rec->began) / SECOND_NS);
    char sentence[ERROR_TEXT_SIZE];
    if (rec->killed) {
        cli_progress("recording a boot: %u s, switching the machine off", seconds);
        if (now - rec->killed >= END_SECONDS * SECOND_NS)
            close(TAKE_FD(rec->launched.connection)); // its supervisor goes on without us
        return;
    }
    cli_progress("recording a boot: %u s, %zu reads%s", seconds, count_records(rec), rec->ready ? ", ready" : "");
    if (rec->ready && now >= rec->settled) {
        rec->count = count_records(rec);
        end_machine(rec);
    } else if (!rec->ready && now >= rec->limit) {
        snprintf(sentence, sizeof(sentence), "its console did not show \"%.200s\" within %u seconds (--timeout)",
                 rec->description->ready, rec->options->seconds);
        fail(rec, ETIMEDOUT, sentence);
    }
}

static int time_to_next(const struct recording *rec)
{
    const uint64_t now = io_monotonic_ns();
    uint64_t next = rec->killed ? rec->killed + END_SECONDS * SECOND_NS : rec->ready ? rec->settled : rec->limit;
    uint64_t left = next > now ? (next - now) / 1000000 + 1 : 0;
    return left < PROGRESS_MS ? (int)left : PROGRESS_MS;
}

// Until the machine has ended.
static void follow(struct recording *rec)
{
    struct launched *l = &rec->launched;
    while (l->connection >= 0) {
        struct pollfd polls[] = {{.fd = l->console, .events = POLLIN}, {.fd = l->connection, .events = POLLIN}};
        int ready = cli_poll(polls, 2, time_to_next(rec));
        if (cli_take_signal() != 0) {
            if (rec->result == -ECANCELED) { // it ends with our connection, too
                close(TAKE_FD(l->connection));
                return;
            }
            rec->result = 0;
            fail(rec, ECANCELED, "cancelled");
        }
        if (ready > 0 && polls[0].revents)
            hear_console(rec);
        else if (ready > 0 && polls[1].revents) // its last words on the console come first
            hear_machine(rec);
        if (l->connection >= 0)
            heed_time(rec);
    }
    if (rec->ready && !rec->killed) // it ended by itself while it settled: that is all there is
        rec->count = count_records(rec);
    if (!rec->ready)
        fail(rec, EIO, "its supervisor ended without a word");
}

// --- after ---------------------------------------------------------------------------------------------------------

static int boot(struct recording *rec, struct error *error)
{
    char reason[256] = "";
    int r = describe(rec, error);
    if (r == 0)
        r = engine_choose("auto", &rec->engine, reason, sizeof(reason), error);
    if (r < 0)
        return r;
    rec->files.reads = memfd_create("reads", MFD_CLOEXEC);
    if (rec->files.reads < 0)
        return error_set(error, errno, "cannot make a file for the reads: %s", strerror(errno));
    if (reason[0])
        fprintf(stderr, "rondo: %s\n", reason);
    fprintf(stderr, "rondo: recording a boot of %s %s, until its console shows \"%s\" (%u s at most)\n",
            rec->description->name, rec->description->version, rec->description->ready, rec->options->seconds);
    rec->began = io_monotonic_ns();
    rec->limit = rec->began + rec->options->seconds * SECOND_NS;
    r = make_instance(rec, error);
    if (r == 0)
        r = launch(rec, error);
    if (r < 0) {
        if (rec->instance.lock_fd >= 0) // it never was the supervisor's
            instance_remove(&rec->instance, NULL);
        return r;
    }
    follow(rec);
    return rec->result < 0 ? error_set(error, -rec->result, "%s", rec->why.text) : 0;
}

static void release(struct recording *rec)
{
    if (rec->launched.connection >= 0)
        close(rec->launched.connection);
    if (rec->launched.console >= 0)
        close(rec->launched.console);
    if (rec->files.reads >= 0)
        close(rec->files.reads);
    if (rec->until_open)
        until_close(&rec->until);
    instance_close(&rec->instance);
    free(rec->description);
}

int record_boot(const struct record_options *options, struct profile **ret, struct error *error)
{
    struct recording rec = {.options = options,
                            .files = {.disk = options->disk, .reads = -1},
                            .instance = INSTANCE_NONE,
                            .launched = {.connection = -1, .console = -1}};
    struct profile *profile = NULL;
    struct error why = {.text = ""};
    rec.description = malloc(sizeof(*rec.description));
    int r = rec.description ? boot(&rec, &why) : error_set(&why, ENOMEM, "out of memory");
    cli_progress_end();
    if (r == 0)
        r = record_make_profile(rec.description, rec.files.reads, rec.count, &profile, &why);
    release(&rec);
    if (r == -ECANCELED)
        return error_set(error, ECANCELED, "cancelled");
    if (r == 0)
        fprintf(stderr, "rondo: it was ready after %u s, with %s of its disk\n",
                (unsigned)((rec.ready - rec.began) / SECOND_NS), TEXT_COUNT(rec.count, "read"));
    else
        fprintf(stderr, "rondo: no boot was recorded: %s\n", why.text);
    *ret = profile;
    return 0;
}
