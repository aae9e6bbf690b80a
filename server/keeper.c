// The keeper's process (see keeper.h). Its messages:
//
//   hello                       "0", or why it cannot work; the first one, asked by keeper_start
//   hand-in KEY CLIENT TAG      with the manifest's descriptor; TAG "-": none. "0 STATUS JSON"
//
// Every answer to a hand-in is a line of the audit log, state/audit.log, written before the answer is given:
//
//   time key client name version manifest bytes status
//
// name, version and manifest are "-" where no manifest could be read; bytes are those of objects that came with it.
#include "server/keeper.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "server/keeper_private.h"
#include "server/publish_error.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/banned.h"

#define IDLE_SECONDS 5
#define SWEEP_NS (UINT64_C(3600) * 1000000000)
#define PENDING_MAXIMUM (1u << 20)
#define CLIENT_MAXIMUM 64u
#define STATE_MODE 0700

// --- the start -----------------------------------------------------------------------------------------------------

static int read_key(struct keeper *k)
{
    if (!k->options.site_key)
        return 0;
    int r = key_read_secret(k->options.site_key, NULL, NULL, &k->site_key, &k->error);
    return r == -EACCES ? error_set(&k->error, EACCES,
                                    "%s cannot be read, or has a passphrase, which nobody could type: give the server "
                                    "a key of its own (rondo key rotate), or --queue",
                                    k->options.site_key)
                        : r;
}

static int open_state(struct keeper *k)
{
    k->state = io_open(AT_FDCWD, k->options.state, O_RDONLY | O_DIRECTORY, 0);
    if (k->state < 0)
        return error_set(&k->error, -k->state, "cannot open the state folder %s: %s", k->options.state,
                         strerror(-k->state));
    if (io->mkdirat(k->state, PLACED_FOLDER, STATE_MODE) < 0 && errno != EEXIST)
        return error_set(&k->error, errno, "cannot make " PLACED_FOLDER " in the state folder: %m");
    k->placed = io_open(k->state, PLACED_FOLDER, O_RDONLY | O_DIRECTORY, 0);
    return k->placed < 0 ? error_set(&k->error, -k->placed, "cannot open " PLACED_FOLDER " in the state folder: %s",
                                     strerror(-k->placed))
                         : staging_open(k->state, &k->staging, &k->error);
}

static int give_up_rights(struct keeper *k)
{
    int site CLEANUP_CLOSE = open(k->options.site, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (site < 0)
        return error_set(&k->error, errno, "cannot open the site %s: %m", k->options.site);
    const struct confine_folder folders[] = {{.fd = site, .writable = true}, {.fd = k->state, .writable = true}};
    tzset(); // the C library reads the time zone once, from a file outside
    return confine_rights(folders, ARRAY_SIZE(folders), UINT64_C(1) << CAP_DAC_OVERRIDE, &k->error);
}

// Is it the site's? Of a site that has no catalog yet, or one that is damaged, publishers are told.
static int check_key(struct keeper *k)
{
    struct catalog catalog = {.images = NULL};
    struct site *site = NULL;
    struct key_public ours;
    char key[KEY_TEXT_SIZE];
    int r = 0;

    if (!k->site_key || site_open_reading(k->options.site, &site, NULL) < 0)
        return 0;
    if (site_catalog_read(site, &catalog, NULL) == 0) {
        key_public_of(k->site_key, &ours);
        if (!key_equal(&ours, &catalog.site_key))
            r = error_set(
                &k->error, EKEYREJECTED,
                "%s is not the key of the site %s, which is %s: give --site-key that one's file, or --queue if "
                "it is elsewhere",
                k->options.site_key, k->options.site, key_to_text(&catalog.site_key, key));
        catalog_free(&catalog);
    }
    site_close(site);
    return r;
}

// A failure is kept for whoever asks first.
static void prepare(const void *context)
{
    struct keeper *k = *(struct keeper *const *)context;

    int r = read_key(k);
    if (r == 0)
        r = open_state(k);
    if (r == 0)
        r = give_up_rights(k);
    if (r == 0)
        r = confine_calls("rondo-keeper", keeper_calls, keeper_call_count, &k->error);
    if (r == 0)
        r = check_key(k);
    k->failure = r;
}

static void idle(const void *context)
{
    struct keeper *k = *(struct keeper *const *)context;
    const uint64_t now = io_monotonic_ns();

    if (k->failure)
        return;
    keeper_pending_refresh(k); // with the site's key, too: what waited before there was one is not forgotten
    if (k->swept && now - k->swept < SWEEP_NS)
        return;
    k->swept = now;
    struct site *site;
    if (site_open_reading(k->options.site, &site, NULL) < 0)
        return; // a new site: nothing was staged for it
    staging_sweep(k->staging, io_realtime_seconds(), site);
    placed_sweep(k->placed, site);
    site_close(site);
}

// --- a manifest ----------------------------------------------------------------------------------------------------

static const struct {
    int code;
    unsigned status;
    const char *next;
} statuses[] = {
    {EKEYREJECTED, 403, "ask the site's owner to allow it: rondo renew SITE --allow KEY:PREFIX"},
    {EEXIST, 409, "choose another version"},
    {EINVAL, 409, "choose another version or tag"},
    {ESTALE, 409, "publish again: the new version then follows the newest"},
    {ENOENT, 422, "send what is missing, and hand the manifest in again"},
    {EBADMSG, 422, "publish again; what is damaged is sent anew"},
    {E2BIG, 422, "publish it in fewer pieces"},
    {EBUSY, 503, "hand the manifest in again in a moment"},
    {EAGAIN, 503, "hand the manifest in again"},
    {ENOSPC, 507, "ask the site's owner for room"},
    {EDQUOT, 413, "ask the site's owner for more (rondo-server quota)"},
};

static unsigned refuse(const struct taking *t, int r, const struct error *error, struct buf *json)
{
    unsigned status = 500;
    const char *next = "the server's log says more";
    char hex[SHA256_HEX_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
        if (statuses[i].code == -r) {
            status = statuses[i].status;
            next = statuses[i].next;
        }
    if (status == 500)
        log_error("a version could not be taken in: %s", error->text);
    const bool stale = r == -ESTALE;
    r = publish_error_format(json, error->text, next);
    if (r < 0 || (!stale && t->missing_count == 0))
        return status;
    json->size -= strlen("}\n");
    r = stale ? buf_append_format(json, ", \"serial\": %llu", (unsigned long long)t->newest) : 0;
    for (unsigned i = 0; i < t->missing_count && r == 0; i++)
        r = buf_append_format(json, "%s\"%s\"", i == 0 ? ", \"missing\": [" : ", ", sha256_to_hex(&t->missing[i], hex));
    if (r == 0)
        (void)buf_append_format(json, "%s}\n", t->missing_count > 0 ? "]" : "");
    return status;
}

static unsigned accept(const struct taking *t, struct buf *json)
{
    char hex[SHA256_HEX_SIZE];

    (void)buf_append_format(json, "{\"%s\": \"%s\", \"number\": %llu}\n", t->pending ? "pending" : "manifest",
                            sha256_to_hex(&t->name, hex), (unsigned long long)t->catalog.number);
    return t->pending ? 202 : 201;
}

static void audit(const struct taking *t, const char *client, unsigned status)
{
    char now[32], key[KEY_TEXT_SIZE], hex[SHA256_HEX_SIZE], line[512];
    const bool known = t->manifest && t->manifest->serial > 0;

    int n =
        snprintf(line, sizeof line, "%s %s %s %s %s %s %llu %u\n", text_format_time(io_realtime_seconds(), now),
                 key_to_text(&t->key, key), client, known ? t->manifest->name : "-", known ? t->manifest->version : "-",
                 known ? sha256_to_hex(&t->name, hex) : "-", (unsigned long long)t->object_bytes, status);
    int fd CLEANUP_CLOSE = io_open(t->keeper->state, KEEPER_AUDIT_LOG, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        log_error("the audit log cannot be written: %s", strerror(fd < 0 ? -fd : errno));
}

// An address, of whatever the web process said.
static const char *check_client(struct slice client, char text[static CLIENT_MAXIMUM])
{
    for (size_t i = 0; i < client.length; i++)
        if (!strchr("0123456789abcdef.:%", client.at[i]))
            return "-";
    (void)snprintf(text, CLIENT_MAXIMUM, "%.*s", SLICE_ARGUMENTS(client));
    return client.length > 0 && client.length < CLIENT_MAXIMUM ? text : "-";
}

static unsigned hand_in(struct keeper *k, struct slice words, int manifest, struct buf *json)
{
    struct taking t = {.keeper = k, .staged = -1};
    struct error error = {.text = ""};
    char client[CLIENT_MAXIMUM], tag[CATALOG_NAME_SIZE] = "";
    const struct slice key = slice_cut_word(&words), from = slice_cut_word(&words);

    int r = key_from_text(key.at, key.length, &t.key) ? 0 : error_set(&error, EBADMSG, "no key");
    if (r == 0 && !slice_equal(words, "-") && text_is_version_name(words))
        (void)snprintf(tag, sizeof tag, "%.*s", SLICE_ARGUMENTS(words));
    t.tag = tag;
    if (r == 0)
        r = keeper_take(&t, manifest, &error);
    unsigned status = r < 0 ? refuse(&t, r, &error, json) : accept(&t, json);
    audit(&t, check_client(from, client), status);
    keeper_take_end(&t);
    return status;
}

static int answer(const void *context, const char *question, int given, char ret_text[static SOCKET_LINE_MAXIMUM])
{
    struct keeper *k = *(struct keeper *const *)context;
    struct buf json CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SOCKET_LINE_MAXIMUM - 16);
    struct slice words = slice_of(question);
    const struct slice verb = slice_cut_word(&words);

    if (k->failure) {
        (void)snprintf(ret_text, SOCKET_LINE_MAXIMUM, "%d %s", -k->failure, k->error.text);
        return -1;
    }
    (void)snprintf(ret_text, SOCKET_LINE_MAXIMUM, "0");
    if (slice_equal(verb, "hand-in")) {
        unsigned status = hand_in(k, words, given, &json);
        (void)snprintf(ret_text, SOCKET_LINE_MAXIMUM, "0 %u %s", status, buf_text(&json));
    }
    return -1;
}

// --- the other side ------------------------------------------------------------------------------------------------

int keeper_start(const struct keeper_options *options, struct beside *ret, struct error *error)
{
    static struct keeper keeper; // of the process that is made
    static struct keeper *const context = &keeper;
    const struct beside_work work = {.name = "rondo-keeper",
                                     .prepare = prepare,
                                     .answer = answer,
                                     .idle = idle,
                                     .idle_seconds = IDLE_SECONDS,
                                     .context = &context};
    char text[SOCKET_LINE_MAXIMUM], *rest;

    keeper = (struct keeper){.options = *options,
                             .state = -1,
                             .placed = -1,
                             .pending = BUF_WITH_MAXIMUM(PENDING_MAXIMUM),
                             .error = {.text = ""}};
    if (io->mkdirat(AT_FDCWD, options->state, STATE_MODE) < 0 && errno != EEXIST)
        return error_set(error, errno, "cannot make the state folder %s: %m", options->state);
    int r = beside_start(&work, ret, error);
    return r < 0 ? r : beside_ask(ret, "hello", -1, text, &rest, NULL, error);
}

int keeper_hand_in(struct beside *keeper, const struct key_public *key, const char *client, const char *tag, int fd,
                   struct keeper_answer *ret, struct error *error)
{
    char question[512], text[SOCKET_LINE_MAXIMUM], key_text[KEY_TEXT_SIZE], *rest;

    (void)snprintf(question, sizeof question, "hand-in %s %s %s", key_to_text(key, key_text), client,
                   tag[0] ? tag : "-");
    int r = beside_ask(keeper, question, fd, text, &rest, NULL, error);
    if (r < 0)
        return r;
    ret->status = (unsigned)strtoul(rest, &rest, 10);
    (void)snprintf(ret->json, sizeof ret->json, "%s", *rest == ' ' ? rest + 1 : rest);
    return 0;
}
