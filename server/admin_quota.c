// What publishers may have, and what they use of it: rondo-server quota (see admin.h). The server looks at each
// request, so that what is set here holds at once.
#include "server/admin.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/json.h"
#include "base/text.h"
#include "server/placed.h"
#include "server/staging.h"
#include "server/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LINE_MAXIMUM 512u
#define PUBLISHERS_MAXIMUM 65536u // that are listed

struct publishers {
    struct key_public *keys; // malloc'ed
    size_t count, capacity;
};

struct quota {
    int state, placed; // folders
    struct staging *staging;
    struct publishers publishers;
};

static void end(struct quota *q)
{
    free(q->publishers.keys);
    staging_close(&q->staging);
    cleanup_close(&q->placed);
    cleanup_close(&q->state);
}

static int start(const char *state, struct quota *q, struct error *error)
{
    q->state = state_find(state, error);
    if (q->state < 0)
        return q->state;
    q->placed = io_open(q->state, PLACED_FOLDER, O_RDONLY | O_DIRECTORY, 0);
    if (q->placed < 0)
        return error_set(error, -q->placed, "no server has taken publications with the state folder %s: %s", state,
                         strerror(-q->placed));
    return staging_open(q->state, &q->staging, error);
}

// --- who there is --------------------------------------------------------------------------------------------------

static int note(void *context, int folder, const char *entry)
{
    struct publishers *p = context;
    struct key_public key;
    const char *dot = strchr(entry, '.');

    (void)folder;
    if (!key_from_text(entry, dot ? (size_t)(dot - entry) : strlen(entry), &key) || p->count == PUBLISHERS_MAXIMUM)
        return 0;
    if (p->count == p->capacity) {
        const size_t capacity = p->capacity ? 2 * p->capacity : 16;
        struct key_public *grown = realloc(p->keys, capacity * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        p->keys = grown;
        p->capacity = capacity;
    }
    p->keys[p->count++] = key;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct key_public *)a)->bytes, ((const struct key_public *)b)->bytes, KEY_PUBLIC_SIZE);
}

// Whoever has a list, a quota or something staged, each once.
static int find_publishers(struct quota *q, struct error *error)
{
    struct publishers *p = &q->publishers;
    size_t kept = 0;

    int r = folder_walk(q->placed, ".", note, p);
    if (r == 0)
        r = folder_walk(q->state, STAGING_FOLDER, note, p);
    if (r < 0)
        return error_set(error, -r, "the state folder cannot be read: %s", strerror(-r));
    if (p->count > 0)
        qsort(p->keys, p->count, sizeof *p->keys, compare);
    for (size_t i = 0; i < p->count; i++)
        if (kept == 0 || !key_equal(&p->keys[kept - 1], &p->keys[i]))
            p->keys[kept++] = p->keys[i];
    p->count = kept;
    return 0;
}

// --- what is shown -------------------------------------------------------------------------------------------------

static int show_json(const char *comma, const char *key, uint64_t used, const uint64_t *own)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(LINE_MAXIMUM);

    int r = buf_append_format(&b, "%s\n  {", comma);
    if (r == 0)
        r = json_append_text(&b, "key", key);
    if (r == 0)
        r = json_append_number(&b, "used_bytes", used);
    if (r == 0 && own)
        r = json_append_number(&b, "quota_bytes", *own);
    if (r == 0)
        (void)printf("%s}", buf_text(&b));
    return r;
}

static int show(struct quota *q, const struct key_public *key, bool json, const char *comma, struct error *error)
{
    char text[KEY_TEXT_SIZE], used_text[32], own_text[32];
    uint64_t used = 0, own = 0;
    bool has_own;

    int r = placed_find_quota(q->placed, key, &own, &has_own, error);
    if (r < 0)
        return r;
    r = placed_sum(q->placed, key, &used);
    if (r < 0 && r != -ENOENT)
        return error_set(error, -r, "what %s has used cannot be read: %s", key_to_text(key, text), strerror(-r));
    used += staging_count_bytes(q->staging, key);
    key_to_text(key, text);
    if (json)
        return show_json(comma, text, used, has_own ? &own : NULL) < 0 ? error_set(error, ENOMEM, "out of memory") : 0;
    (void)printf("%s  %s of %s\n", text, text_format_size(used, used_text),
                 has_own ? text_format_size(own, own_text) : "what the server gives everybody (--quota)");
    return 0;
}

static int show_all(struct quota *q, bool json, struct error *error)
{
    int r = find_publishers(q, error);
    if (r < 0)
        return r;
    (void)fputs(json ? "[" : "", stdout);
    for (size_t i = 0; i < q->publishers.count && r == 0; i++)
        r = show(q, &q->publishers.keys[i], json, i > 0 ? "," : "", error);
    (void)fputs(json ? "\n]\n" : "", stdout);
    return r;
}

static int set(struct quota *q, const struct key_public *key, const char *size, struct error *error)
{
    uint64_t bytes;

    if (strcmp(size, "default") == 0)
        return placed_remove_quota(q->placed, key, error);
    if (!text_parse_size(size, &bytes))
        return error_set(error, EINVAL, "a quota is a size as 64G, or default, not \"%s\"", size);
    return placed_set_quota(q->placed, key, bytes, error);
}

int admin_quota(int argc, char **argv, struct error *error)
{
    struct quota q CLEANUP(end) = {.state = -1, .placed = -1};
    const char *state = NULL;
    bool json = false;
    const struct option options[] = {
        {"state", OPTION_TEXT, &state}, {"json", OPTION_FLAG, &json}, {NULL, OPTION_FLAG, NULL}};
    struct key_public key;
    unsigned operands;

    int r = admin_parse(argc, argv, options, 0, 2, &operands, error);
    if (r != 0)
        return r;
    if (!state)
        return error_set(error, EINVAL, "--state FOLDER is missing, where quotas are");
    if (operands > 0 && !key_from_text(argv[1], strlen(argv[1]), &key))
        return error_set(error, EINVAL, ADMIN_NO_KEY, argv[1]);
    r = start(state, &q, error);
    if (r == 0 && operands == 0)
        return show_all(&q, json, error);
    if (r == 0 && operands == 2)
        r = set(&q, &key, argv[2], error);
    if (r < 0)
        return r;
    (void)fputs(json ? "[" : "", stdout);
    r = show(&q, &key, json, "", error);
    (void)fputs(json ? "\n]\n" : "", stdout);
    return r;
}
