// rondo trust ls | add SITE KEY | rm SITE | log [SITE]: whose keys this user trusts. `add` pins a key before the first
// contact; `rm` forgets one, so that the next contact is a first one again; `log` shows what was seen and decided.
#include "catalog/trust.h"
#include "base/cleanup.h"
#include "base/path.h"
#include "client/cli.h"
#include "client/report.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

static int print_one(void *context, const struct trust_site *site)
{
    struct report *p = context;
    char text[KEY_TEXT_SIZE];
    key_to_text(&site->key, text);
    if (!p->json) {
        printf("%s %-10s %s", text, site->pinned ? "pinned" : "remembered", site->address);
        if (site->root > 1)
            printf(" (root %u)", site->root);
        putchar('\n');
        return 0;
    }
    report_text(p, "site", site->address);
    report_text(p, "key", text);
    report_number(p, "root", site->root);
    report_bool(p, "pinned", site->pinned);
    return report_end_row(p);
}

static int list(struct trust *t, struct report *p, struct error *error)
{
    report_begin_list(p);
    return report_end_list(p, trust_list(t, print_one, p, error), error);
}

static int add(struct trust *t, const char *site, const char *text, struct error *error)
{
    struct key_public key;
    if (!key_from_text(text, strlen(text), &key))
        return error_set(error, EINVAL, "\"%s\" is no public key; rondo key show FILE.pub prints one", text);
    return trust_add(t, site, &key, error);
}

static int report_entry(struct report *p, const struct trust_entry *e)
{
    char time[32], key[KEY_TEXT_SIZE], hex[SHA256_HEX_SIZE], id[2 * CATALOG_ID_SIZE + 1];
    for (size_t i = 0; i < CATALOG_ID_SIZE; i++)
        snprintf(id + 2 * i, 3, "%02x", e->id[i]);
    report_text(p, "time", text_format_time(e->time, time));
    report_text(p, "what", trust_event_name(e->event));
    report_text(p, "site", e->site);
    report_text(p, "key", key_to_text(&e->key, key));
    if (e->has_catalog) {
        report_text(p, "id", id);
        report_number(p, "number", e->number);
        report_text(p, "sha256", sha256_to_hex(&e->text, hex));
    }
    return report_end_row(p);
}

static int print_entry(void *context, const struct trust_entry *e)
{
    struct report *p = context;
    char time[32], key[KEY_TEXT_SIZE], number[32] = "-", hex[SHA256_HEX_SIZE] = "-";
    if (p->json)
        return report_entry(p, e);
    if (e->has_catalog) {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)e->number);
        sha256_to_hex(&e->text, hex);
    }
    printf("%s %-15s %s %s %s %s\n", text_format_time(e->time, time), trust_event_name(e->event),
           key_to_text(&e->key, key), e->site, number, hex);
    return 0;
}

static int show_log(struct trust *t, struct report *p, const char *site, struct error *error)
{
    report_begin_list(p);
    return report_end_list(p, trust_list_log(t, site, print_entry, p, error), error);
}

static const struct action {
    const char *name, *operands;
    unsigned minimum, maximum; // of operands, the action itself among them
    bool json;
} actions[] = {{"ls", "no argument", 1, 1, true},
               {"add", "a SITE and a KEY", 3, 3, false},
               {"rm", "a SITE", 2, 2, false},
               {"log", "a SITE, or nothing", 1, 2, true}};
enum { LS, ADD, RM, LOG };

static int act(unsigned action, struct trust *t, struct report *p, const char *site, const char *key,
               struct error *error)
{
    switch (action) {
    case LS:
        return list(t, p, error);
    case ADD:
        return add(t, site, key, error);
    case RM:
        return trust_remove(t, site, error);
    default:
        return show_log(t, p, site, error);
    }
}

int verb_trust(int argc, char **argv)
{
    struct report report = REPORT_EMPTY;
    const struct option options[] = {{"json", OPTION_FLAG, &report.json}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands, action = 0;
    int r = cli_parse(argc, argv, options, 1, 3, &operands);
    if (r != 0)
        return cli_parsed(r);
    while (action < ARRAY_SIZE(actions) && strcmp(argv[1], actions[action].name) != 0)
        action++;
    if (action == ARRAY_SIZE(actions))
        return cli_usage("trust", "ls, add, rm or log, not \"%s\"", argv[1]);
    const struct action *a = &actions[action];
    if (operands < a->minimum || operands > a->maximum)
        return cli_usage("trust", "%s takes %s", a->name, a->operands);
    if (report.json && !a->json)
        return cli_usage("trust", "--json is for ls and log");

    struct error error = {.text = ""};
    struct trust *t = NULL;
    char home[PATH_TEXT_SIZE], site[CATALOG_URL_SIZE];
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    if (operands > 1)
        r = address_parse_site(argv[2], folder ? folder : "/", site, &error);
    if (r == 0)
        r = path_make(PATH_HOME, home, &error);
    if (r == 0)
        r = trust_open(home, &t, &error);
    if (r < 0)
        return cli_fail(r, &error);
    r = act(action, t, &report, operands > 1 ? site : NULL, argv[3], &error);
    trust_close(t);
    return cli_end(r, &error);
}
