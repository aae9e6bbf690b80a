// many_images SITE INDEX COUNT VERSIONS: a site whose signed catalog lists COUNT images with VERSIONS versions each,
// and the server's index of it, for measuring searches. Both are made by the functions that make real ones; but there
// are no manifests and no packs: the index's rows are put in as they would be after these were read.
//
// Words are of a vocabulary whose n-th word is n times as rare as the first, as in a language; "linux" is in nearly
// every image, and a serial number in each name. The same arguments make the same texts.
#include "base/cleanup.h"
#include "catalog/index_private.h"
#include "catalog/site_catalog.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define VOCABULARY 4000u
#define PUBLISHERS 40u
#define VERSIONS_MAXIMUM 64u
#define DESCRIPTION_LINES 12u
#define LINE_WORDS 12u
#define SECONDS_OF_A_YEAR 31536000

static const char *const systems[] = {"Debian GNU/Linux 12", "Debian GNU/Linux 13", "Ubuntu Linux 24.04",
                                      "Alpine Linux 3.22",   "Fedora Linux 42",     "Arch Linux",
                                      "FreeBSD 14",          "OpenBSD 7.7"};

static uint64_t state = 1;

static unsigned pick(unsigned below)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (unsigned)((state >> 33) % below);
}

// Zipf's: the logarithm of a word's rank is spread evenly.
static const char *word(char ret[static 16])
{
    static const char consonants[] = "bcdfghklmnprstvz", vowels[] = "aeiou";
    const double logarithm = log(VOCABULARY) * (pick(1u << 20) / (double)(1u << 20));
    unsigned rank = (unsigned)exp(logarithm);
    size_t n = 0;
    for (unsigned i = 0; i < 2 || rank > 0; i++, rank /= 80) {
        ret[n++] = consonants[rank % 16];
        ret[n++] = vowels[rank / 16 % 5];
    }
    ret[n] = '\0';
    return ret;
}

static void words(char *to, size_t capacity, unsigned count)
{
    char text[16];
    size_t n = strlen(to);
    for (unsigned i = 0; i < count && n < capacity; i++)
        n += (size_t)snprintf(to + n, capacity - n, "%s%s", n && to[n - 1] != '\n' ? " " : "", word(text));
}

static void describe(struct manifest *m, unsigned image)
{
    char first[16], second[16];
    *m = (struct manifest){.memory = 512u << 20, .member_count = 1};
    snprintf(m->name, sizeof m->name, "%s-%s-%05u", word(first), word(second), image);
    memcpy(m->arch, "x86_64", sizeof "x86_64");
    memcpy(m->members[0].name, "disk", sizeof "disk");
    m->members[0].size = (uint64_t)(1 + pick(64)) << 30;
    m->boot_count = 1;
    m->boot[0].size = 20u << 20;
    memset(m->publisher, (int)pick(PUBLISHERS) + 1, sizeof m->publisher);
    snprintf(m->os, sizeof m->os, "%s", systems[pick(ARRAY_SIZE(systems))]);
    words(m->title, sizeof m->title, 4);
    words(m->summary, sizeof m->summary, 12);
    if (pick(100) < 95)
        memcpy(m->description, "linux\n", sizeof "linux\n");
    for (unsigned i = 0; i < DESCRIPTION_LINES; i++) {
        words(m->description, sizeof m->description - 1, LINE_WORDS);
        memcpy(m->description + strlen(m->description), "\n", 2);
    }
    snprintf(m->licence, sizeof m->licence, "GPL-3.0-or-later");
    snprintf(m->homepage, sizeof m->homepage, "https://example.org/%s/", m->name);
}

static int add_versions(struct index *x, struct manifest *m, struct catalog_image *images, unsigned versions,
                        struct error *error)
{
    const uint64_t all = (uint64_t)(100 + pick(900)) << 20;
    int r = 0;
    for (unsigned i = 0; i < versions && r == 0; i++) {
        struct catalog_image *image = &images[i];
        const struct index_facts facts = {.image = image,
                                          .before = i ? &images[i - 1].manifest : NULL,
                                          .tags = i + 1 == versions ? "latest" : "",
                                          .stored = all,
                                          .new = i ? all / 20 : all};
        snprintf(image->name, sizeof image->name, "%s", m->name);
        snprintf(image->version, sizeof image->version, "%u", 100 + i);
        snprintf(m->version, sizeof m->version, "%s", image->version);
        image->serial = m->serial = i + 1;
        for (size_t k = 0; k < SHA256_SIZE; k++)
            image->manifest.bytes[k] = (unsigned char)pick(256);
        m->created = 1700000000 + (int64_t)i * 86400 + pick(SECONDS_OF_A_YEAR);
        r = index_add_version(x, m, &facts, error);
    }
    return r;
}

static int add_image(struct index *x, struct manifest *m, const struct catalog_tag *tag, struct error *error)
{
    bool changed = false;
    int r = index_show_image(x, m->name, tag->version, error);
    return r == 0 ? index_put_tags(x, m->name, tag, 1, &changed, error) : r;
}

static int by_name(const void *a, const void *b)
{
    const struct catalog_image *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->version, y->version);
}

static int by_tag_name(const void *a, const void *b)
{
    return strcmp(((const struct catalog_tag *)a)->name, ((const struct catalog_tag *)b)->name);
}

static int fill(struct index *x, struct catalog *c, unsigned count, unsigned versions, struct error *error)
{
    struct manifest *m CLEANUP_FREE = calloc(1, sizeof *m);
    c->images = calloc((size_t)count * versions, sizeof *c->images);
    c->tags = calloc(count, sizeof *c->tags);
    if (!m || !c->images || !c->tags)
        return error_set(error, ENOMEM, "out of memory");
    int r = 0;
    for (unsigned i = 0; i < count && r == 0; i++, c->tag_count++, c->image_count += versions) {
        describe(m, i);
        r = add_versions(x, m, c->images + c->image_count, versions, error);
        memcpy(c->tags[i].name, m->name, sizeof m->name);
        memcpy(c->tags[i].version, m->version, sizeof m->version);
        memcpy(c->tags[i].tag, "latest", sizeof "latest");
        if (r == 0)
            r = add_image(x, m, &c->tags[i], error);
    }
    if (r == 0)
        r = index_count_facets(x, error);
    qsort(c->images, c->image_count, sizeof *c->images, by_name);
    qsort(c->tags, c->tag_count, sizeof *c->tags, by_tag_name);
    return r;
}

static int make(const char *folder, const char *path, unsigned count, unsigned versions, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct key_secret *key CLEANUP(key_free) = NULL;
    struct index *x CLEANUP(index_close) = NULL;
    struct index_transaction t CLEANUP(index_db_end) = {NULL};
    struct index_counts counts = {.versions = 0};
    struct key_public public;
    struct site *site = NULL;
    int r = key_generate(&key, error);
    if (r < 0)
        return r;
    key_public_of(key, &public);
    r = site_open(folder, &site, error);
    if (r == 0)
        r = catalog_start(&c, "many", &public, error);
    if (r == 0)
        r = index_open(path, true, &x, error);
    if (r == 0)
        r = index_db_begin(x, true, &t, error);
    if (r == 0)
        r = fill(x, &c, count, versions, error);
    if (r == 0)
        r = index_db_commit(&t, error);
    if (r == 0)
        r = site_catalog_sign(site, &c, key, CATALOG_EXPIRES_DEFAULT, error);
    site_close(site);
    if (r == 0)
        r = index_update(x, folder, false, &counts, error); // finds nothing to be done, but for the site's own row
    if (r == 0 && (counts.added || counts.removed || counts.refused || counts.versions != count * versions))
        r = error_set(error, EIO, "the index is not what the catalog says");
    return r;
}

int main(int argc, char **argv)
{
    struct error error = {.text = ""};
    uint64_t count = 0, versions = 0;
    if (argc != 5 || !text_parse_u64(slice_of(argv[3]), 1000000, &count) ||
        !text_parse_u64(slice_of(argv[4]), VERSIONS_MAXIMUM, &versions) || count == 0 || versions == 0) {
        fputs("usage: many_images SITE INDEX COUNT VERSIONS\n", stderr);
        return 2;
    }
    if (make(argv[1], argv[2], (unsigned)count, (unsigned)versions, &error) == 0)
        return 0;
    fprintf(stderr, "many_images: %s\n", error.text);
    return 1;
}
