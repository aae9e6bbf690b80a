// Keys, signatures, catalogs and the trust database in torture. Whatever fails, what was known of other sites stays
// known: a fault is not taken for a damaged database.
#include "tests/torture/torture.h"

#include "tests/unit/catalog_fixture.h"

#include "catalog/trust.h"

#define SITE "http://host/os/"
#define OTHER_SITE "http://other/"
#define ISSUED INT64_C(1795428000)

static struct key_secret *key;
static struct catalog catalog;
static struct buf text = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
static char home[200];

static void set_up(const char *folder)
{
    (void)folder;
    if (key)
        return;
    key = fixture_key();
    fixture_catalog(key, 5, ISSUED, &catalog);
    struct catalog signed_one = catalog;
    fixture_sign(key, &signed_one, &text);
    catalog_free(&catalog);
    MUST(catalog_open(text.data, text.size, &catalog, NULL));
}

static void prepare(const char *folder)
{
    snprintf(home, sizeof(home), "%s", folder);
}

// --- keys ------------------------------------------------------------------------------------------------------------

static int number;

static int make_key(void)
{
    struct key_secret *made CLEANUP(key_free) = NULL, *back CLEANUP(key_free) = NULL;
    struct key_public a, b, c;
    char path[256], public_path[300];
    struct error error = {""};
    int r = key_generate(&made, &error);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/key%d", home, number++);
    snprintf(public_path, sizeof(public_path), "%s.pub", path);
    r = key_write_files(made, path, NULL, &error);
    if (r == 0)
        r = key_read_secret(path, NULL, NULL, &back, &error);
    if (r == 0)
        r = key_read_public(public_path, &c, &error);
    if (r < 0)
        return error.text[0] ? r : torture_wrong("it failed without a word");
    key_public_of(made, &a);
    key_public_of(back, &b);
    return key_equal(&a, &b) && key_equal(&a, &c) ? 0 : torture_wrong("the key is another");
}

// A failure leaves both files, or none.
static int check_keys(void)
{
    if (torture_disk_is_broken)
        return 0;
    for (int i = 0; i < number; i++) {
        char path[256];
        struct key_public public;
        struct key_secret *secret CLEANUP(key_free) = NULL;
        snprintf(path, sizeof(path), "%s/key%d", home, i);
        if (access(path, F_OK) == 0 && key_read_secret(path, NULL, NULL, &secret, NULL) < 0)
            return torture_wrong("half a secret key is left");
        snprintf(path, sizeof(path), "%s/key%d.pub", home, i);
        if (access(path, F_OK) == 0 && key_read_public(path, &public, NULL) < 0)
            return torture_wrong("half a public key is left");
    }
    return 0;
}

static int sign_and_verify(void)
{
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct key_public public, other = {.bytes = {1}};
    struct slice slice;
    key_public_of(key, &public);
    int r = signed_write(key, "a text\n", 7, "a comment", &out, NULL);
    if (r == 0)
        r = signed_verify(out.data, out.size, &public, &slice, NULL);
    if (r != 0)
        return r;
    if (slice.length != 7)
        return torture_wrong("the text is another");
    out.data[0] ^= 1;
    if (signed_verify(out.data, out.size, &public, &slice, NULL) == 0)
        return torture_wrong("another text is verified");
    out.data[0] ^= 1;
    return signed_verify(out.data, out.size, &other, &slice, NULL) < 0 ? 0 : torture_wrong("any key is good");
}

// --- catalogs --------------------------------------------------------------------------------------------------------

static int change_catalog(void)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0}, back CLEANUP(catalog_free) = {.number = 0};
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct catalog_image image = {.name = "debian", .version = "14", .serial = 9, .manifest = fixture_hash("14")};
    struct key_public public;
    const struct catalog_image *found;
    struct error error = {""};
    key_public_of(key, &public);
    public.bytes[0] ^= 1;
    int r = catalog_open(text.data, text.size, &c, &error);
    if (r == 0)
        r = catalog_add_image(&c, &image, &error);
    if (r == 0)
        r = catalog_set_tag(&c, "debian", "new", "14", &error);
    if (r == 0)
        r = catalog_remove_image(&c, "debian", "13.0", &error);
    if (r == 0)
        r = catalog_advance(&c, ISSUED + 5, 1000, &error);
    if (r == 0)
        r = catalog_format(&c, NULL, NULL, &out, &error);
    if (r == 0)
        r = catalog_parse(out.data, out.size, &back, &error);
    if (r == 0)
        r = catalog_find(&back, "debian", "new", &found, &error);
    if (r != 0)
        return error.text[0] ? r : torture_wrong("it failed without a word");
    return found->serial == 9 && back.number == 6 && back.image_count == 3 ? 0 : torture_wrong("it is another catalog");
}

// --- trust -----------------------------------------------------------------------------------------------------------

static int count_one(void *context, const struct trust_site *site)
{
    (void)site;
    ++*(unsigned *)context;
    return 0;
}

static int count_entry(void *context, const struct trust_entry *entry)
{
    (void)entry;
    ++*(unsigned *)context;
    return 0;
}

static void prepare_trust(const char *folder)
{
    struct trust *t;
    struct key_public public;
    prepare(folder);
    key_public_of(key, &public);
    MUST(trust_open(home, &t, NULL));
    MUST(trust_add(t, OTHER_SITE, &public, NULL));
    trust_close(t);
}

static int ask_trust(struct trust *t, struct error *error)
{
    const struct trust_request request = {.site = SITE, .now = ISSUED + 10};
    struct trust_verdict verdict;
    char etag[128];
    int64_t checked;
    void *bytes = NULL;
    size_t n = 0;
    unsigned entries = 0;
    int r = trust_check(t, &request, &catalog, &verdict, error);
    if (r == 0)
        r = trust_settle(t, &request, &catalog, "debian", 3, error);
    if (r == 0)
        r = trust_save_catalog(t, SITE, text.data, text.size, "\"etag\"", ISSUED + 10, error);
    if (r == 0)
        r = trust_load_catalog(t, SITE, &bytes, &n, etag, &checked, error);
    if (r == 0 && (n != text.size || memcmp(bytes, text.data, n) != 0 || checked != ISSUED + 10))
        r = torture_wrong("the catalog that was kept is another");
    if (r == 0)
        r = trust_list_log(t, NULL, count_entry, &entries, error);
    if (r == 0 && entries < 2)
        r = torture_wrong("the log has %u entries", entries);
    free(bytes);
    return r;
}

static int use_trust(void)
{
    struct trust *t;
    struct error error = {""};
    int r = trust_open(home, &t, &error);
    if (r == 0) {
        r = ask_trust(t, &error);
        trust_close(t);
    }
    return r < 0 && !error.text[0] ? torture_wrong("it failed without a word") : r;
}

static int check_trust(void)
{
    const struct trust_request lower = {.site = SITE, .now = ISSUED + 10};
    struct catalog old CLEANUP(catalog_free) = {.number = 0};
    struct trust_verdict verdict;
    struct trust *t;
    unsigned sites = 0;
    MUST(trust_check_file(home, NULL));
    MUST(trust_open(home, &t, NULL));
    MUST(trust_list(t, count_one, &sites, NULL));
    fixture_catalog(key, 4, ISSUED, &old);
    int r = trust_check(t, &lower, &old, &verdict, NULL);
    trust_close(t);
    if (sites != 2)
        return torture_wrong("%u sites are known, not 2", sites);
    return r == -ESTALE ? 0 : torture_wrong("an older catalog is accepted: %d", r);
}

const struct torture_scenario torture_catalog[] = {
    {.name = "make keys", .set_up = set_up, .prepare = prepare, .act = make_key, .check = check_keys},
    {.name = "sign and verify", .set_up = set_up, .act = sign_and_verify},
    {.name = "change a catalog", .set_up = set_up, .act = change_catalog},
    {.name = "use the trust database",
     .library = true,
     .set_up = set_up,
     .prepare = prepare_trust,
     .act = use_trust,
     .check = check_trust},
    {.name = NULL},
};
