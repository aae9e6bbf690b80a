// The verbs about the site's folder (see admin.h).
//
// Who may publish which names is written in the catalog, which the site's key signs: nothing that the server keeps can
// allow anything. So these verbs sign, as rondo renew does, with a key that they are given; without it they say what is
// to be typed where the key is.
#include "server/admin.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/json.h"
#include "catalog/site_catalog.h"
#include "server/staging.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LIST_MAXIMUM (16u << 20) // bytes of JSON: a catalog's key lines take a sixteenth of it

static int read_catalog(const char *path, struct catalog *ret, struct error *error)
{
    struct site *site;

    int r = site_open_reading(path, &site, error);
    if (r < 0)
        return r;
    r = site_catalog_read(site, ret, error);
    site_close(site);
    return r;
}

// --- gc and verify -------------------------------------------------------------------------------------------------

// What publishers sent, and no version has listed. The server's keeper does this every hour, as long as there is one.
static int sweep(const char *state, const char *path, struct error *error)
{
    struct staging *staging CLEANUP(staging_close) = NULL;
    struct site *site = NULL;
    int folder CLEANUP_CLOSE = state_find(state, error);

    if (folder < 0)
        return folder;
    if (faccessat(folder, STAGING_FOLDER, F_OK, 0) < 0)
        return 0; // nobody ever published here
    int r = staging_open(folder, &staging, error);
    if (r == 0)
        r = site_open_reading(path, &site, error);
    if (r == 0)
        staging_sweep(staging, io_realtime_seconds(), site);
    site_close(site);
    return r;
}

int admin_gc(int argc, char **argv, struct error *error)
{
    struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    const char *state = NULL, *grace = NULL;
    bool dry_run = false, json = false;
    const struct option options[] = {{"state", OPTION_TEXT, &state},
                                     {"grace", OPTION_TEXT, &grace},
                                     {"dry-run", OPTION_FLAG, &dry_run},
                                     {"json", OPTION_FLAG, &json},
                                     {NULL, OPTION_FLAG, NULL}};
    unsigned operands;

    int r = admin_parse(argc, argv, options, 1, 1, &operands, error);
    if (r == 0 && state && !dry_run)
        r = sweep(state, argv[1], error);
    if (r != 0)
        return r;
    spawn_argument(&a, "rondo");
    spawn_argument(&a, "gc");
    if (grace)
        spawn_argument(&a, "--grace=%s", grace);
    if (dry_run)
        spawn_argument(&a, "--dry-run");
    if (json)
        spawn_argument(&a, "--json");
    spawn_argument(&a, "--");
    spawn_argument(&a, "%s", argv[1]);
    return admin_become_rondo(&a, error);
}

int admin_verify(int argc, char **argv, struct error *error)
{
    struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    bool json = false;
    const struct option options[] = {{"json", OPTION_FLAG, &json}, {NULL, OPTION_FLAG, NULL}};
    unsigned operands;

    int r = admin_parse(argc, argv, options, 1, 1, &operands, error);
    if (r != 0)
        return r;
    spawn_argument(&a, "rondo");
    spawn_argument(&a, "fsck");
    if (json)
        spawn_argument(&a, "--json");
    spawn_argument(&a, "--");
    spawn_argument(&a, "%s", argv[1]);
    return admin_become_rondo(&a, error);
}

// --- users ---------------------------------------------------------------------------------------------------------

static bool has_name(const struct catalog *c, const struct key_public *key)
{
    for (unsigned i = 0; i < c->key_count; i++)
        if (key_equal(&c->keys[i].key, key))
            return true;
    return false;
}

static int list_text(const struct catalog *c)
{
    char key[KEY_TEXT_SIZE];

    (void)printf("%s  every name: it is the site's own key\n", key_to_text(&c->site_key, key));
    for (unsigned i = 0; i < c->key_count; i++)
        (void)printf("%s  %s%s\n", key_to_text(&c->keys[i].key, key), c->keys[i].prefix,
                     catalog_revokes(c, &c->keys[i].key) ? "  revoked" : "");
    for (unsigned i = 0; i < c->revoked_count; i++)
        if (!has_name(c, &c->revoked[i]))
            (void)printf("%s  revoked\n", key_to_text(&c->revoked[i], key));
    return 0;
}

static int append_user(struct buf *b, const char *comma, const struct key_public *key, const char *name, bool revoked)
{
    char text[KEY_TEXT_SIZE];

    int r = buf_append_format(b, "%s\n  {", comma);
    if (r == 0)
        r = json_append_text(b, "key", key_to_text(key, text));
    if (r == 0 && name)
        r = json_append_text(b, "name", name);
    if (r == 0)
        r = json_append_bool(b, "revoked", revoked);
    return r == 0 ? buf_append(b, "}", 1) : r;
}

static int list_json(const struct catalog *c, struct error *error)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(LIST_MAXIMUM);

    int r = buf_append(&b, "[", 1);
    if (r == 0)
        r = append_user(&b, "", &c->site_key, "*", false);
    for (unsigned i = 0; i < c->key_count && r == 0; i++)
        r = append_user(&b, ",", &c->keys[i].key, c->keys[i].prefix, catalog_revokes(c, &c->keys[i].key));
    for (unsigned i = 0; i < c->revoked_count && r == 0; i++)
        if (!has_name(c, &c->revoked[i]))
            r = append_user(&b, ",", &c->revoked[i], NULL, true);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    (void)printf("%s\n]\n", buf_text(&b));
    return 0;
}

static int list_users(const char *path, bool json, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};

    int r = read_catalog(path, &c, error);
    if (r < 0)
        return r;
    return json ? list_json(&c, error) : list_text(&c);
}

// `change`: --allow or --revoke, and its value.
static int sign(const char *path, const char *site_key, const char *change, const char *value, struct error *error)
{
    struct spawn_arguments a CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    struct catalog c CLEANUP(catalog_free) = {.number = 0};

    int r = read_catalog(path, &c, error);
    if (r < 0)
        return r;
    if (!site_key)
        return error_set(error, EINVAL,
                         "nothing has changed: who may publish is in the catalog, and the site's key signs that. Give "
                         "--site-key FILE; or type, where that key is: rondo renew %s --key FILE %s %s",
                         path, change, value);
    spawn_argument(&a, "rondo");
    spawn_argument(&a, "renew");
    spawn_argument(&a, "--key=%s", site_key);
    spawn_argument(&a, "%s=%s", change, value);
    spawn_argument(&a, "--expires=%llds", (long long)(c.expires - c.issued)); // as long as the last one
    spawn_argument(&a, "--");
    spawn_argument(&a, "%s", path);
    return admin_become_rondo(&a, error);
}

int admin_user(int argc, char **argv, struct error *error)
{
    const char *site_key = NULL;
    bool json = false;
    const struct option options[] = {
        {"site-key", OPTION_TEXT, &site_key}, {"json", OPTION_FLAG, &json}, {NULL, OPTION_FLAG, NULL}};
    char allowed[KEY_TEXT_SIZE + CATALOG_NAME_SIZE];
    unsigned operands;

    int r = admin_parse(argc, argv, options, 2, 4, &operands, error);
    if (r != 0)
        return r;
    const bool list = strcmp(argv[1], "list") == 0, add = strcmp(argv[1], "add") == 0;
    if (!list && !add && strcmp(argv[1], "remove") != 0)
        return error_set(error, EINVAL, "list, add or remove is what users can be, not %s", argv[1]);
    if (operands != (list ? 2u : add ? 4u : 3u))
        return error_set(error, EINVAL, "user %s takes %s", argv[1],
                         list  ? "the site's folder"
                         : add ? "a key, a name and the site's folder"
                               : "a key and the site's folder");
    if (list && site_key)
        return error_set(error, EINVAL, "list signs nothing: leave --site-key out");
    if (!list && json)
        return error_set(error, EINVAL, "--json belongs to list");
    if (list)
        return list_users(argv[2], json, error);
    if (!key_is_text(argv[2]))
        return error_set(error, EINVAL, ADMIN_NO_KEY, argv[2]);
    if (!add)
        return sign(argv[3], site_key, "--revoke", argv[2], error);
    if (snprintf(allowed, sizeof allowed, "%s:%s", argv[2], argv[3]) >= (int)sizeof allowed)
        return error_set(error, EINVAL, "a name has at most %d characters", CATALOG_NAME_SIZE - 1);
    return sign(argv[4], site_key, "--allow", allowed, error);
}
