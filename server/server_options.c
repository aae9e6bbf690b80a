// See server_options.h.
#include "server/server_options.h"

#include "base/options.h"
#include "base/output.h"
#include "server/admin.h"
#include "server/http_server.h"
#include "server/publish_api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/banned.h"

#define STALL_MAXIMUM 3600u
#define QUOTA_DEFAULT UINT64_MAX // none was given

static const char usage[] = "usage: rondo-server [OPTION…] DIR\n"
                            "Serves the site in DIR over HTTP. See rondo-server(1).\n"
                            "  --listen HOST:PORT  where to listen (" SERVER_LISTEN_DEFAULT "; port 0: any free port)\n"
                            "  --log FILE          append a line for each request to FILE (SIGHUP: opened anew)\n"
                            "  --stall SECONDS     close connections that make no progress for so long (15)\n"
                            "  --state FOLDER      of the server's own: answer searches, with an index kept there\n"
                            "  --site-key FILE     take publications, and sign the catalog with this key\n"
                            "  --queue             take publications; FOLDER/pending/catalog waits for the site's key\n"
                            "  --quota SIZE        bytes that a publisher may have here (64G)\n"
                            "  --try N[,LIMIT…]    let visitors try images in the browser, N at once\n"
                            "  --help, --version\n"
                            "\n"
                            "usage: rondo-server VERB … (rondo-server VERB --help says more)\n";

bool server_options_publish(const struct server_options *options)
{
    return options->site_key || options->queue;
}

// What belongs together, and what would be ignored.
static int check(const struct server_options *o, bool has_quota, const char *machines, struct error *error)
{
    if (o->stall > STALL_MAXIMUM)
        return error_set(error, EINVAL, "--stall takes seconds from 1 to %u, not %u", STALL_MAXIMUM, o->stall);
    if (o->site_key && o->queue)
        return error_set(error, EINVAL, "--site-key signs catalogs here, --queue elsewhere: give one of them");
    if (server_options_publish(o) && !o->state)
        return error_set(error, EINVAL, "to take publications needs --state FOLDER, where they wait");
    if (has_quota && !server_options_publish(o))
        return error_set(error, EINVAL,
                         "--quota is for those who publish here: give --site-key FILE or --queue too, or leave it out");
    if (machines && !o->state)
        return error_set(error, EINVAL, "--try needs --state FOLDER, where machines write");
    return 0;
}

static int check_machines(const struct try_limits *limits, struct error *error)
{
    struct sysinfo here;
    if (sysinfo(&here) < 0)
        return error_set(error, errno, "cannot ask how much memory this computer has: %m");
    return try_limits_check_memory(limits, ((uint64_t)here.totalram + here.totalswap) * here.mem_unit, error);
}

static int finish(struct error *error)
{
    int r = output_end(error);
    return r < 0 ? r : 1;
}

int server_options_parse(int argc, char **argv, struct server_options *ret, struct error *error)
{
    struct server_options o = {.folder = NULL};
    uint64_t stall = HTTP_SERVER_STALL_SECONDS, quota = QUOTA_DEFAULT;
    const char *machines = NULL;
    bool version = false;
    const struct option options[] = {{"listen", OPTION_TEXT, &o.listen},     {"log", OPTION_TEXT, &o.log},
                                     {"stall", OPTION_NUMBER, &stall},       {"state", OPTION_TEXT, &o.state},
                                     {"site-key", OPTION_TEXT, &o.site_key}, {"queue", OPTION_FLAG, &o.queue},
                                     {"quota", OPTION_LIMIT, &quota},        {"try", OPTION_TEXT, &machines},
                                     {"version", OPTION_FLAG, &version},     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;

    int r = options_parse(argc, argv, options, NULL, 0, 1, &operands, error);
    if (r == 1) {
        (void)fputs(usage, stdout);
        admin_list_verbs();
        return finish(error);
    }
    if (r == 0 && version) {
        (void)puts("rondo-server " RONDO_VERSION);
        return finish(error);
    }
    if (r == 0 && operands == 0)
        r = error_set(error, EINVAL, "the site's folder is missing");
    if (r == 0 && machines)
        r = try_limits_parse(machines, &o.machines, error);
    if (r == 0 && machines)
        r = check_machines(&o.machines, error);
    o.stall = (unsigned)stall;
    o.folder = argv[1];
    o.quota = quota == QUOTA_DEFAULT ? PUBLISH_QUOTA_DEFAULT : quota;
    if (r == 0)
        r = check(&o, quota != QUOTA_DEFAULT, machines, error);
    if (r < 0)
        return r;
    *ret = o;
    return 0;
}
