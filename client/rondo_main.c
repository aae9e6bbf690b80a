// rondo: one command, one verb per file. This file only finds the verb.
#include "base/log.h"
#include "client/cli.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

const struct verb verbs[] = {
    {"run", verb_run,
     "IMAGE [--name N] [--cpus C] [--memory M] [--ephemeral] [--detach] [--engine auto|kvm|qemu] [--net user|none]\n"
     "           [--port HOST:GUEST] [--volume FILE[:SIZE]]... [--disk-size S] [--user-data FILE] [--ssh-key FILE]\n"
     "           [--hostname H] [--until REGEX] [--timeout SECONDS] [--append ARGS] [--offline]\n"
     "           [--require-fresh] [--require-pin] [--keep|--no-keep] [--on-outage pause|error] [--source DIR|URL]...\n"
     "           [--measure FILE] [--input]",
     "Boot an image from its URL."},
    {"ps", verb_ps, "[--json]", "List the machines of this user."},
    {"start", verb_start,
     "NAME [--cpus C] [--memory M] [--detach] [--engine auto|kvm|qemu] [--net user|none] [--port HOST:GUEST]\n"
     "           [--volume FILE[:SIZE]]... [--until REGEX] [--timeout SECONDS] [--append ARGS] [--offline]\n"
     "           [--keep|--no-keep] [--on-outage pause|error] [--source DIR|URL]... [--measure FILE]\n"
     "           [--input]",
     "Start a stopped machine again, by its name."},
    {"console", verb_console, "NAME", "Attach to a running machine's console (Ctrl-] leaves)."},
    {"logs", verb_logs, "NAME [--follow] [--machine]",
     "Show what the console showed in the last run, or what the machine's own log says."},
    {"open", verb_open, "[--hold] rondo://HOST/PATH/NAME[:VERSION][@sha256:HASH][#KEY]",
     "Show what a link would start, ask, and start it for once."},
    {"pause", verb_pause, "NAME", "Have a running machine stand still."},
    {"resume", verb_resume, "NAME", "Have a paused machine go on."},
    {"stop", verb_stop, "NAME [--timeout SECONDS]", "Shut a machine down; after the time-out, switch it off."},
    {"rm", verb_rm, "NAME", "Remove a stopped machine and what it wrote."},
    {"snapshot", verb_snapshot, "NAME [LABEL] | NAME LABEL --delete | NAME --list [--json]",
     "Keep a machine's disk as it is; list or delete what is kept."},
    {"rollback", verb_rollback, "NAME [LABEL [--drop-newer]]",
     "Make a stopped machine's disk what it was at a snapshot."},
    {"update", verb_update, "NAME [--discard|--keep] [--to TAG|VERSION] [--offline] [--json] [--source DIR|URL]...",
     "Move a machine to its image's newer version, or say how."},
    {"pull", verb_pull, "IMAGE [--require-pin] [--source DIR|URL]...",
     "Fetch a whole version, so that it runs without a network."},
    {"rmi", verb_rmi, "IMAGE", "Keep a pulled version no longer: it may leave the cache."},
    {"export", verb_export, "IMAGE FILE|- [--offline] [--require-fresh] [--require-pin] [--source DIR|URL]...",
     "Write all of a version to one file."},
    {"import", verb_import, "FILE|- [--require-fresh] [--require-pin]",
     "Take in a version that was exported, as if it had been pulled."},
    {"mirror", verb_mirror, "SITE DIR [IMAGE...] [--require-pin] [--source DIR|URL]...",
     "Copy a site, or some of its images, to a folder that any web server can serve."},
    {"search", verb_search, "WORD... [--site URL]... [--os O] [--arch A] [--publisher KEY] [--limit COUNT] [--json]",
     "Find images at the sites that are known."},
    {"ls", verb_ls,
     "[SITE] [--json] [--offline] [--require-fresh] [--require-pin] | --remote [SITE] [--limit COUNT] [--json]",
     "List a site's images; without a site, what was pulled."},
    {"inspect", verb_inspect, "IMAGE|NAME [--json] [--offline] [--require-fresh] [--require-pin] [--source DIR|URL]...",
     "Show what a version or a machine consists of."},
    {"history", verb_history,
     "IMAGE [--limit N] [--json] [--offline] [--require-fresh] [--require-pin] [--source DIR|URL]...",
     "List the versions of an image, and what each one added."},
    {"diff", verb_diff, "IMAGE IMAGE [--json] [--offline] [--require-fresh] [--require-pin] [--source DIR|URL]...",
     "Say what a holder of one version must fetch for another."},
    {"verify-log", verb_verify_log,
     "FILE [IMAGE] [--json] [--offline] [--require-fresh] [--require-pin] [--source DIR|URL]...",
     "Check the log of a measured machine against what was signed."},
    {"mount", verb_mount, "IMAGE DIR [--offline] [--require-fresh] [--require-pin] [--source DIR|URL]...",
     "Show a version's members as read-only files."},
    {"umount", verb_umount, "DIR", "End a mount."},
    {"gc", verb_gc, "[--max-size S] [--dry-run] [--json] | SITE [--grace 7d] [--dry-run] [--json]",
     "Make the cache smaller; with a site's folder, remove what no version needs."},
    {"fsck", verb_fsck, "[SITE] [--repair] [--offline] [--json]",
     "Check the cache and the machines, or a site's folder; mend what can be mended."},
    {"publish", verb_publish,
     "--name NAME --version V --disk FILE --key KEYFILE --to DIR|URL [--kernel F --initrd F --cmdline S] [--memory M]\n"
     "           [--ready TEXT] [--profile auto|FILE|none] [--timeout S] [--parent IMAGE]...\n"
     "           [--generalize] [--title T] [--summary S] [--homepage U] [--licence L] [--os O]\n"
     "           [--description FILE|none] [--logo FILE|none] [--show-port N:NAME]... [--tag TAG]\n"
     "           [--site-key FILE] [--mirror URL|none] [--expires 90d] [--codec zstd|lz4] [--level N] [--unsigned "
     "FILE] |\n"
     "           --signed FILE --to DIR [--site-key FILE] [--unsigned FILE] [--tag TAG] [--mirror URL|none]\n"
     "           [--expires 90d]",
     "Publish a new version of an image to a site."},
    {"commit", verb_commit,
     "NAME --name NAME --version V --key KEYFILE --to DIR|URL [--tag TAG] [--kernel F] [--initrd F] [--cmdline S]\n"
     "           [--memory M] [--ready TEXT] [--generalize] [--title T] [--summary S] [--homepage U] [--licence L]\n"
     "           [--os O] [--description FILE|none] [--logo FILE|none] [--show-port N:NAME|none]...\n"
     "           [--site-key FILE] [--mirror URL|none] [--expires 90d] [--codec zstd|lz4] [--level N] "
     "[--force]",
     "Publish what a stopped machine's disk holds now as a new version."},
    {"tag", verb_tag,
     "SITE IMAGENAME TAG VERSION --key KEYFILE [--site-key FILE] [--version V] [--expires 90d] |\n"
     "           SITE IMAGENAME TAG --remove --key KEYFILE [--site-key FILE] [--expires 90d]",
     "Make, move or remove a tag of an image in a site."},
    {"withdraw", verb_withdraw, "SITE IMAGENAME VERSION --key KEYFILE [--site-key FILE] [--expires 90d]",
     "Offer a version no longer."},
    {"renew", verb_renew,
     "SITE --key KEYFILE|--unsigned FILE [--expires 90d] [--mirror URL|none] [--allow KEY:NAME]... [--revoke KEY]...",
     "Sign a site's catalog anew, with a later date; say whose keys may publish."},
    {"sign", verb_sign, "FILE --key KEYFILE", "Sign what publish, renew or key rotate --unsigned left in a file."},
    {"key", verb_key,
     "rotate SITE --key KEYFILE... [--new-key KEY]... [--catalog-key KEY] [--threshold N] [--revoke KEY]...\n"
     "           [--expires 90d] | rotate SITE --unsigned FILE [--new-key KEY]... [--catalog-key KEY] [--threshold N]\n"
     "           [--revoke KEY]... | rotate SITE --signed FILE... --catalog-key KEYFILE|--unsigned FILE [--expires "
     "90d] |\n"
     "           new FILE | show FILE",
     "Make or show a signing key (minisign's format); change the keys of a site."},
    {"site", verb_site, "DIR [--url URL]", "Write a site's web pages into its folder, for any web server."},
    {"serve", verb_serve, "DIR [--listen HOST:PORT] [--log FILE]", "Serve a site over HTTP."},
    {"trust", verb_trust, "ls [--json] | add SITE KEY | rm SITE | log [SITE] [--json]",
     "Show, pin or forget the keys of sites; show what was seen of them."},
    {"doctor", verb_doctor, "[--json]", "Say what this host can do, and what to install or change."},
    {NULL, NULL, NULL, NULL},
};

static int help(FILE *to)
{
    fputs("rondo boots an operating system from a URL.\n\n", to);
    for (const struct verb *v = verbs; v->name; v++)
        fprintf(to, "  rondo %-10s %s\n", v->name, v->summary);
    fputs("\nAn image is [URL/]name[:tag or version][@sha256:HASH][#KEY]; rondo VERB --help says more.\n", to);
    return 0;
}

// A caller may have closed some of 0, 1 and 2; what is opened next must not become our standard output.
static bool open_standard_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
    return fd >= 0;
}

int main(int argc, char **argv)
{
    if (!open_standard_streams())
        return EXIT_CODE_OTHER;
    log_start("rondo");
    (void)signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        help(stderr);
        return EXIT_CODE_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        help(stdout);
        return cli_finish_output(EXIT_CODE_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("rondo " RONDO_VERSION);
        return cli_finish_output(EXIT_CODE_OK);
    }
    for (const struct verb *v = verbs; v->name; v++)
        if (strcmp(v->name, argv[1]) == 0)
            return v->run(argc - 1, argv + 1);
    fprintf(stderr, "rondo: no verb \"%s\"; rondo --help lists them\n", argv[1]);
    return EXIT_CODE_USAGE;
}
