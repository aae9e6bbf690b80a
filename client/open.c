// rondo open LINK: what a click on "Open in Rondo" starts (TRUST T38). The link was made by somebody else.
//
//   link → address (catalog/address_link.c) → a way to ask? → catalog, manifest, map: verified, nothing remembered of
//   the site → what it would be, shown → a yes → rondo run --ephemeral of exactly that version
//
// 1. Of the link come address, name, version, digest and key; how the machine runs is the manifest's and this user's.
// 2. Nothing starts, and nothing is believed of a site, before somebody said yes; what was fetched is in the cache by
//    then, and an empty trust.db is there. Nobody who could is there: exit code 2, before anything is asked of anybody.
//    Looking has a limit: a map that is larger is not counted (WORK_MAXIMUM).
// 3. What was shown is what starts: run gets the digest of the manifest that was shown.
// 4. What was typed before the question is no answer to it.
#include "base/cleanup.h"
#include "catalog/signer.h"
#include "client/dialog.h"
#include "client/images.h"
#include "client/run.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "base/banned.h"

#define QUESTION_MAXIMUM 8192u
#define ANSWER_SIZE 16
#define WORK_MAXIMUM (2u << 20) // before a yes: about 128 GiB of data that lies closely

struct opening {
    struct address address;
    char asked[CATALOG_URL_SIZE + 512]; // as an address for rondo run: the link's, then with rule 3
    const struct dialog *dialog;        // NULL: there is a terminal
    struct images images;
    struct resolved resolved;
    bool counted;
    struct version_difference all; // if counted: what a computer that has nothing of it would fetch
};

static int format_address(struct opening *o, struct error *error)
{
    const struct address *a = &o->address;
    char hex[SHA256_HEX_SIZE] = "", key[KEY_TEXT_SIZE] = "";
    const int n = snprintf(o->asked, sizeof(o->asked), "%s%s%s%s%s%s%s%s", a->site, a->name, a->selector[0] ? ":" : "",
                           a->selector, a->has_manifest ? "@sha256:" : "",
                           a->has_manifest ? sha256_to_hex(&a->manifest, hex) : "", a->has_key ? "#" : "",
                           a->has_key ? key_to_text(&a->key, key) : "");
    return n > 0 && (size_t)n < sizeof(o->asked) ? 0 : error_set(error, EINVAL, "the address is too long");
}

// --- what it is

static int look(struct opening *o, struct error *error)
{
    struct version *v;
    fprintf(stderr, "rondo: asking %s\n", o->address.site);
    int r = images_open(&o->images, error);
    if (r == 0)
        r = images_resolve(&o->images, o->asked, &o->resolved, error);
    if (r == 0 && manifest_find_member(o->resolved.description, "disk") < 0)
        r = error_set(error, EINVAL, "%s %s has no disk, so it cannot be run", o->resolved.description->name,
                      o->resolved.description->version);
    if (r < 0)
        return r;
    cli_progress("reading what it consists of");
    r = images_open_version(&o->images, &o->resolved, &v, error);
    if (r == 0) {
        r = version_sum(v, WORK_MAXIMUM, &o->all, error);
        o->counted = r == 0;
        r = r == -E2BIG ? 0 : r; // it may still be wanted
        version_close(v);
    }
    cli_progress_end();
    return r;
}

static int add_text(struct buf *b, const char *label, const char *text)
{
    return text[0] ? buf_append_format(b, "  %-10s %s\n", label, text) : 0;
}

static int describe(const struct opening *o, struct buf *ret)
{
    const struct manifest *m = o->resolved.description;
    const struct key_public publisher = signer_of(m);
    char key[KEY_TEXT_SIZE], boot[32], all[32], memory[32], line[256], shown[80];
    int r = buf_append_format(ret, "A link asks to start this machine:\n");
    snprintf(line, sizeof(line), "%s %s", m->name, m->version);
    if (r == 0)
        r = add_text(ret, "image", line);
    if (r == 0)
        r = add_text(ret, "site", o->resolved.address.site);
    if (r == 0)
        r = add_text(ret, "publisher", key_to_text(&publisher, key));
    // A stranger's words come behind what is checked, and are cut: no padding makes them look like other lines.
    if (r == 0)
        r = add_text(ret, "title", text_escape(slice_of(m->title), shown, sizeof(shown)));
    if (r == 0)
        r = add_text(ret, "summary", text_escape(slice_of(m->summary), shown, sizeof(shown)));
    if (!o->counted)
        snprintf(line, sizeof(line), "very large: it was not counted, and is fetched as it is read");
    else if (m->boot_count)
        snprintf(line, sizeof(line), "%s to boot, %s in all", text_format_size(o->all.boot_bytes, boot),
                 text_format_size(o->all.data_bytes + o->all.page_bytes, all));
    else
        snprintf(line, sizeof(line), "%s in all, fetched as it is read",
                 text_format_size(o->all.data_bytes + o->all.page_bytes, all));
    if (r == 0)
        r = add_text(ret, "size", line);
    if (r == 0)
        r = add_text(ret, "memory", text_format_size(m->memory ? m->memory : INSTANCE_MEMORY_DEFAULT, memory));
    return r == 0 ? buf_append_format(ret, "What it writes is thrown away when it ends.\n") : r;
}

// --- the question

// Up to the newline; what does not fit is dropped. False at the end, too.
static bool read_line(char *ret, size_t capacity)
{
    size_t n = 0;
    char byte;
    ssize_t got;
    while ((got = read(STDIN_FILENO, &byte, 1)) == 1 && byte != '\n')
        if (n < capacity - 1)
            ret[n++] = byte;
    ret[n] = '\0';
    return got == 1;
}

static bool ask_terminal(const char *text)
{
    char answer[ANSWER_SIZE];
    tcflush(STDIN_FILENO, TCIFLUSH); // rule 4
    fprintf(stderr, "%sStart it? [y/N] ", text);
    const bool answered = read_line(answer, sizeof(answer));
    if (!answered)
        fputs("\n", stderr);
    return answered && (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0);
}

static int ask(struct opening *o, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(QUESTION_MAXIMUM);
    int r = describe(o, &text);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    r = o->dialog ? dialog_ask(o->dialog, buf_text(&text), "Start", error) : ask_terminal(buf_text(&text));
    return r == 0 ? error_set(error, ECANCELED, "%s was not started", o->resolved.description->name) : r;
}

// --- the whole

static int prepare(struct opening *o, struct error *error)
{
    o->images.resolve.look_only = true;
    int r = look(o, error);
    if (r == 0)
        r = ask(o, error);
    if (r > 0) {
        const struct manifest *m = o->resolved.description;
        snprintf(o->address.selector, sizeof(o->address.selector), "%s", m->version);
        o->address.has_manifest = true;
        o->address.manifest = o->resolved.manifest;
        r = format_address(o, error);
    }
    resolve_free(&o->resolved);
    images_close(&o->images); // and its threads: run forks
    return r;
}

static int start(struct opening *o)
{
    struct run run = {.verb = "open", RUN_DEFAULTS};
    char text[2048];
    run.address = o->asked;
    run.ephemeral = true;
    run.detach = o->dialog;
    const int code = run_and_free(&run);
    if (!o->dialog)
        return code;
    if (code == EXIT_CODE_OK)
        snprintf(text, sizeof(text),
                 "It runs, as machine %s. In a terminal, \"rondo console %s\" shows it, \"rondo stop %s\" ends it.",
                 run.instance_name, run.instance_name, run.instance_name);
    else
        snprintf(text, sizeof(text), "%s could not be started; in a terminal, \"rondo run '%s' --ephemeral\" says why.",
                 o->address.name, o->asked);
    dialog_tell(o->dialog, text);
    return code;
}

static int open_link(const char *link)
{
    struct opening o = {.dialog = NULL};
    struct error error = {.text = ""};
    int r = address_parse_link(link, &o.address, &error);
    if (r == 0)
        r = format_address(&o, &error);
    if (r < 0)
        return cli_fail(r, &error);
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        o.dialog = dialog_find();
        if (!o.dialog)
            return cli_usage("open",
                             "there is neither a terminal nor a display with zenity, kdialog or xmessage to ask on. If "
                             "you want it: rondo run '%s' --ephemeral",
                             o.asked);
    }
    cli_cancel_on_signals(); // nothing is made before run, which has its own way
    r = prepare(&o, &error);
    if (r < 0 && r != -ECANCELED && o.dialog)
        dialog_tell(o.dialog, error.text);
    return r < 0 ? cli_fail(r, &error) : start(&o);
}

int verb_open(int argc, char **argv)
{
    bool hold = false;
    const struct option options[] = {{"hold", OPTION_FLAG, &hold}, {NULL, OPTION_FLAG, NULL}};
    char line[2];
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    r = open_link(argv[1]);
    if (hold && isatty(STDIN_FILENO) && isatty(STDERR_FILENO)) {
        fputs("rondo: Enter closes this window\n", stderr);
        read_line(line, sizeof(line));
    }
    return r;
}
