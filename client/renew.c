// rondo renew: signs a site's catalog anew, with the next number and a later date; --mirror replaces its mirrors,
// --allow and --revoke say whose signatures are worth something there. With --unsigned the catalog's text is left in a
// file, to be signed elsewhere (publish_signed.c). Cut short at any point, the old catalog or the new one stands.
#include "base/cleanup.h"
#include "client/cli.h"
#include "client/publisher.h"
#include "client/signing.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

struct request {
    const char *site, *key_path, *unsigned_path;
    int64_t expires;
    struct option_list mirrors, allow, revoke;
};

static int allow_key(struct catalog *c, const char *text, struct error *error)
{
    struct key_public key;
    const char *colon = strchr(text, ':');
    if (!colon || !key_from_text(text, (size_t)(colon - text), &key))
        return error_set(error, EINVAL, "--allow takes KEY:NAME, as rondo key show FILE.pub prints the key; not \"%s\"",
                         text);
    if (catalog_revokes(c, &key))
        return error_set(error, EINVAL, "--allow: that key is revoked; its owner needs a new one");
    return catalog_add_key(c, &key, colon + 1, error);
}

static int revoke_key(struct publisher_change *p, const char *text, struct error *error)
{
    struct key_public key;
    int r = signing_read_public(text, &key, error);
    if (r < 0)
        return error_prefix(error, -EINVAL, "--revoke");
    r = catalog_add_revoked(&p->catalog, &key, error);
    if (r == 0)
        r = publisher_tell_revoked(p->site, &p->catalog, &key, error);
    return r;
}

static int write_text(const struct request *q, struct publisher_change *p, struct error *error)
{
    char key[KEY_TEXT_SIZE];
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    int r = site_catalog_format(p->site, &p->catalog, q->expires, &text, error);
    if (r == 0)
        r = signing_write_text(q->unsigned_path, text.data, text.size, error);
    if (r < 0)
        return r;
    fprintf(stderr,
            "rondo: nothing has changed yet: %s is to be signed with the key %s (rondo sign, or minisign -S), then: "
            "rondo publish --signed %s.signed --to %s\n",
            q->unsigned_path, key_to_text(&p->catalog.site_key, key), q->unsigned_path, q->site);
    printf("%s\n", q->unsigned_path);
    return 0;
}

static int sign(const struct request *q, struct publisher_change *p, struct error *error)
{
    char date[32];
    int r = publisher_sign_catalog(p->site, &p->catalog, p->key, q->expires, error);
    if (r == 0)
        printf("%s: number %llu, expires %s\n", q->site, (unsigned long long)p->catalog.number,
               text_format_time(p->catalog.expires, date));
    return r;
}

static int renew(const struct request *q, struct error *error)
{
    struct publisher_change p;
    int r = publisher_begin(q->site, q->unsigned_path ? NULL : q->key_path, NULL, &p, error);
    if (r == 0)
        r = publisher_set_mirrors(&p.catalog, &q->mirrors, error);
    for (unsigned i = 0; i < q->revoke.count && r == 0; i++)
        r = revoke_key(&p, q->revoke.values[i], error);
    for (unsigned i = 0; i < q->allow.count && r == 0; i++)
        r = allow_key(&p.catalog, q->allow.values[i], error);
    if (r == 0)
        r = q->unsigned_path ? write_text(q, &p, error) : sign(q, &p, error);
    publisher_end(&p);
    return r;
}

int verb_renew(int argc, char **argv)
{
    struct request q = {.expires = CATALOG_EXPIRES_DEFAULT};
    const char *expires_text = NULL;
    const struct option options[] = {{"key", OPTION_TEXT, &q.key_path},
                                     {"unsigned", OPTION_TEXT, &q.unsigned_path},
                                     {"expires", OPTION_TEXT, &expires_text},
                                     {"mirror", OPTION_LIST, &q.mirrors},
                                     {"allow", OPTION_LIST, &q.allow},
                                     {"revoke", OPTION_LIST, &q.revoke},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;
    int r = cli_parse(argc, argv, options, 1, 1, &operands);
    if (r != 0)
        return cli_parsed(r);
    if (!q.key_path == !q.unsigned_path)
        return cli_usage("renew", "either --key KEYFILE or --unsigned FILE is needed");
    if (expires_text && !publisher_parse_duration(expires_text, &q.expires))
        return cli_usage("renew", "--expires takes a time like 90d or 12h, not \"%s\"", expires_text);
    q.site = argv[1];
    struct error error = {.text = ""};
    cli_cancel_on_signals();
    r = renew(&q, &error);
    return cli_end(r, &error);
}
