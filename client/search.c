// rondo search WORD…: which sites offer what the words say. And what rondo ls --remote lists, which is a search without
// words.
//
// 1. What a server's API says is unsigned (site_search.h): every text of it is escaped, and a name is shown only with
// the
//    command that runs it, which verifies all. Nothing of it goes into that command but name and version, which are of
//    few characters; key and address are what the user has typed or what is known of the site.
// 2. Sites are asked one after the other, in the order of their addresses: one that is silent costs its time-out, and
// is
//    told of.
#include "client/search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "catalog/trust.h"
#include "client/report.h"

#include "base/banned.h"

#define LIMIT_DEFAULT 20u
#define SITES_MAXIMUM 256u
#define KEY_SHORT 8    // characters of a publisher's key that a line shows
#define SHOWN_SIZE 400 // of a text, escaped, for people
#define TEXT_SIZE 8192 // the same for --json

struct sites {
    char (*list)[CATALOG_URL_SIZE]; // malloc'ed
    unsigned count;
};

struct search_run {
    const struct search_request *request;
    struct report report;
    uint64_t shown; // of all sites
};

// --- sites -----------------------------------------------------------------------------------------------------------

static int add_site(struct sites *s, const char *site)
{
    for (unsigned i = 0; i < s->count; i++)
        if (strcmp(s->list[i], site) == 0)
            return 0;
    if (s->count == SITES_MAXIMUM)
        return -E2BIG;
    void *grown = realloc(s->list, (s->count + 1) * sizeof(*s->list));
    if (!grown)
        return -ENOMEM;
    s->list = grown;
    snprintf(s->list[s->count++], CATALOG_URL_SIZE, "%s", site);
    return 0;
}

static int add_known(void *context, const struct trust_site *site)
{
    return add_site(context, site->address);
}

static int list_known(const struct configuration *configuration, struct sites *s, struct error *error)
{
    struct trust *trust = NULL;
    char home[PATH_TEXT_SIZE];
    int r = path_make(PATH_HOME, home, error);
    if (r == 0)
        r = trust_open(home, &trust, error);
    if (r < 0)
        return r;
    r = trust_list(trust, add_known, s, error);
    trust_close(trust);
    if (r == 0 && configuration->site[0])
        r = add_site(s, configuration->site);
    if (r == -E2BIG)
        return error_set(error, E2BIG, "more than %u sites are known; name some", SITES_MAXIMUM);
    if (r == 0 && s->count == 0)
        return error_set(error, ENOENT,
                         "no site is known yet; name one by its address (rondo search WORD --site URL, "
                         "rondo ls --remote URL)");
    return r;
}

static int list_named(const struct search_request *q, struct sites *s, struct error *error)
{
    CLEANUP_FREE char *folder = getcwd(NULL, 0);
    char site[CATALOG_URL_SIZE];
    int r = 0;
    for (unsigned i = 0; i < q->site_count && r == 0; i++) {
        r = address_parse_site(q->sites[i], folder ? folder : "/", site, error);
        if (r == 0 && add_site(s, site) < 0)
            r = error_set(error, ENOMEM, "out of memory");
    }
    return r;
}

// --- what is shown ---------------------------------------------------------------------------------------------------

static int append_command(const struct site_hit *h, struct buf *to)
{
    int r = buf_append_format(to, "rondo run ");
    return r == 0 ? address_append_word(to, h->site, h->name, h->version) : r;
}

static void report_escaped(struct report *p, const char *key, struct slice text)
{
    char shown[TEXT_SIZE];
    report_text(p, key, text_escape(text, shown, sizeof(shown)));
}

static void report_unsigned(struct report *p, const struct site_hit *h)
{
    const struct {
        const char *key;
        uint64_t number;
    } numbers[] = {{"memory", h->memory},
                   {"disk_bytes", h->disk_bytes},
                   {"boot_bytes", h->boot_bytes},
                   {"stored_bytes", h->stored_bytes},
                   {"versions", h->versions}};
    report_text(p, "publisher", h->publisher);
    report_escaped(p, "title", h->title);
    report_escaped(p, "summary", h->summary);
    report_escaped(p, "os", h->os);
    report_escaped(p, "arch", h->arch);
    report_escaped(p, "licence", h->licence);
    report_escaped(p, "homepage", h->homepage);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        report_number(p, numbers[i].key, numbers[i].number);
    report_bool(p, "revoked", h->revoked);
}

static int report_hit(struct report *p, const struct site_hit *h, const char *command)
{
    char hex[SHA256_HEX_SIZE];
    report_text(p, "site", h->site);
    report_text(p, "name", h->name);
    report_text(p, "version", h->version);
    report_number(p, "serial", h->serial);
    report_text(p, "manifest", sha256_to_hex(&h->manifest, hex));
    report_escaped(p, "tags", h->tags);
    report_bool(p, "signed", h->is_signed);
    if (!h->is_signed)
        report_unsigned(p, h);
    report_text(p, "command", command);
    return report_end_row(p);
}

static void print_hit(const struct site_hit *h, const char *command)
{
    const struct slice facts[] = {h->title, h->os, h->arch};
    char shown[SHOWN_SIZE], size[32];
    printf("%s %s", h->name, h->version);
    for (size_t i = 0; i < ARRAY_SIZE(facts); i++)
        if (facts[i].length > 0)
            printf("%s%s", i ? ", " : ": ", text_escape(facts[i], shown, sizeof(shown)));
    if (!h->is_signed)
        printf(", %s, publisher %.*s%s", text_format_size(h->stored_bytes, size), KEY_SHORT, h->publisher,
               h->revoked ? ", REVOKED" : "");
    if (h->summary.length > 0)
        printf("\n    %s", text_escape(h->summary, shown, sizeof(shown)));
    printf("\n    %s\n", command);
}

static int show(void *context, const struct site_hit *h)
{
    struct search_run *run = context;
    struct buf command CLEANUP(buf_free) = BUF_WITH_MAXIMUM(8 * CATALOG_URL_SIZE);
    int r = append_command(h, &command);
    if (r < 0)
        return r;
    run->shown++;
    cli_progress_end();
    if (run->report.json)
        return report_hit(&run->report, h, buf_text(&command));
    print_hit(h, buf_text(&command));
    return 0;
}

// --- the whole -------------------------------------------------------------------------------------------------------

// 0, or the failure of the first site that failed, in *error, if nothing was found.
static int ask_sites(struct search_run *run, struct images *images, const struct sites *sites, struct error *error)
{
    const struct site_search *search = &run->request->search;
    int failed = 0;
    for (unsigned i = 0; i < sites->count; i++) {
        struct error e = {.text = ""};
        const uint64_t before = run->shown;
        uint64_t all = 0;
        int r = site_search(images, sites->list[i], search, show, run, &all, &e);
        cli_progress_end();
        if (r < 0 && failed == 0 && sites->count == 1)
            return error_set(error, -r, "%s", e.text);
        if (r < 0)
            fprintf(stderr, "rondo: %s\n", e.text);
        if (r < 0 && failed == 0)
            failed = error_set(error, -r, "nothing was found, and not all sites could be asked");
        if (r == 0 && run->shown - before < all)
            fprintf(stderr, "rondo: %llu of %llu images at %s are shown; --limit %llu shows all\n",
                    (unsigned long long)(run->shown - before), (unsigned long long)all, sites->list[i],
                    (unsigned long long)all);
    }
    if (run->shown > 0)
        return 0;
    if (failed < 0)
        return failed;
    return search->words[0]
               ? error_set(error, ENOENT, "nothing was found for \"%s\"; rondo ls --remote lists all images",
                           search->words)
               : error_set(error, ENOENT, "there are no such images");
}

int search_and_print(const struct search_request *request)
{
    struct search_run run = {.request = request, .report = REPORT_EMPTY};
    struct images images = {.store = NULL};
    struct sites sites = {.list = NULL};
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    int r = images_open(&images, &error);
    if (r == 0)
        r = request->site_count ? list_named(request, &sites, &error)
                                : list_known(&images.configuration, &sites, &error);
    if (r == 0) {
        run.report.json = request->json;
        report_begin_list(&run.report);
        r = ask_sites(&run, &images, &sites, &error);
        r = report_end_list(&run.report, r, &error);
    }
    free(sites.list);
    images_close(&images);
    return cli_end(r, &error);
}

// The operands as one line of words. False: there are too many of them.
static bool join_words(char *const words[], unsigned count, char ret[static SITE_SEARCH_WORDS_MAXIMUM + 1])
{
    size_t n = 0;
    ret[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        const int added = snprintf(ret + n, SITE_SEARCH_WORDS_MAXIMUM + 1 - n, "%s%s", i ? " " : "", words[i]);
        if (added < 0 || (size_t)added > SITE_SEARCH_WORDS_MAXIMUM - n)
            return false;
        n += (size_t)added;
    }
    return true;
}

int verb_search(int argc, char **argv)
{
    struct search_request q = {.search = {.limit = LIMIT_DEFAULT}};
    struct option_list sites = {.count = 0};
    char words[SITE_SEARCH_WORDS_MAXIMUM + 1];
    const struct option options[] = {{"site", OPTION_LIST, &sites},
                                     {"os", OPTION_TEXT, &q.search.os},
                                     {"arch", OPTION_TEXT, &q.search.arch},
                                     {"publisher", OPTION_TEXT, &q.search.publisher},
                                     {"limit", OPTION_NUMBER, &q.search.limit},
                                     {"json", OPTION_FLAG, &q.json},
                                     {NULL, OPTION_FLAG, NULL}};
    struct key_public key;
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, SITE_SEARCH_WORDS_MAXIMUM, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (!join_words(argv + 1, operands, words))
        return cli_usage("search", "these are more than %u bytes of words; use fewer", SITE_SEARCH_WORDS_MAXIMUM);
    const char *const texts[] = {words, q.search.os, q.search.arch};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i] && (texts[i][0] == '\0' || strlen(texts[i]) > SITE_SEARCH_WORDS_MAXIMUM ||
                         !text_is_printable(slice_of(texts[i]))))
            return cli_usage("search", "words, --os and --arch are text of 1 to %u bytes", SITE_SEARCH_WORDS_MAXIMUM);
    if (q.search.publisher && !key_from_text(q.search.publisher, strlen(q.search.publisher), &key))
        return cli_usage("search", "\"%s\" is no public key; rondo key show FILE.pub prints one", q.search.publisher);
    q.search.words = words;
    q.sites = sites.values;
    q.site_count = sites.count;
    return search_and_print(&q);
}
