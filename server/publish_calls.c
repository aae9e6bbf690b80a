// What each request of publishing over HTTP does (docs/api.md, "Publishing").
#include "server/publish_private.h"

#include "base/cleanup.h"
#include "blockstore/manifest.h"
#include "blockstore/pack.h"
#include "catalog/signed.h"
#include "server/placed.h"

#include <string.h>

#include "base/banned.h"

#define CHALLENGE_MAXIMUM 128u // of the body that asks for one

static bool challenge(struct publish_request *q)
{
    struct publish_api *api = q->api;
    struct publish_site_names site;
    struct error error = {.text = ""};
    struct key_public key;
    char text[PUBLISH_CHALLENGE_SIZE], key_text[KEY_TEXT_SIZE];

    int r = publish_text_parse_key(q->body.data, q->body.size, &key, &error);
    if (r < 0) {
        publish_refuse(q, 400, error.text, NULL);
        return false;
    }
    r = publish_site_check(api->site, &key, &site, &error);
    if (r == 0)
        r = publish_sessions_make_challenge(api->sessions, &key, publish_now(), text, &error);
    if (r == 0)
        r = buf_append_format(&q->answer, "{\"challenge\": \"%s\", \"site\": \"%s\", \"id\": \"", text,
                              key_to_text(&site.key, key_text));
    for (unsigned i = 0; i < sizeof site.id && r == 0; i++)
        r = buf_append_format(&q->answer, "%02x", site.id[i]);
    if (r == 0)
        r = buf_append_format(&q->answer, "\", \"seconds\": %u}\n", PUBLISH_CHALLENGE_SECONDS);
    if (r < 0)
        publish_refuse_code(q, r, &error);
    else
        q->status = 200;
    return false;
}

struct room { // of a publisher
    uint64_t quota, placed;
};

// What it may have, and what it brought into the site. Before the keeper has a list of that: what the publisher's
// versions brought, as the index says.
static int find_room(struct publish_api *api, const struct key_public *key, struct room *ret, struct error *error)
{
    struct index *index;
    bool own;

    ret->quota = api->options.quota;
    int r = placed_find_quota(api->placed, key, &ret->quota, &own, error);
    if (r < 0)
        return r == -EBADMSG ? -EIO : r;
    r = placed_sum(api->placed, key, &ret->placed);
    if (r == 0)
        return 0;
    if (r != -ENOENT)
        return error_set(error, EIO, "what a publisher has used of its quota cannot be read: %s", strerror(-r));
    r = index_pool_take(api->options.index, &index, error);
    if (r < 0)
        return r;
    r = index_sum_new_bytes(index, key, &ret->placed, error);
    index_pool_give(api->options.index, index, r);
    return r;
}

// The signature is that of the key that the text names, over this site's names.
static int check_session(struct publish_api *api, struct slice body, struct publish_session_text *ret,
                         struct error *error)
{
    struct publish_site_names site;
    struct slice text, signature, verified;

    int r = signed_split(body.at, body.length, &text, &signature, error);
    if (r == 0)
        r = publish_text_parse_session(text, ret, error);
    if (r == 0)
        r = signed_verify(body.at, body.length, &ret->key, &verified, error);
    if (r < 0)
        return r;
    r = publish_site_check(api->site, &ret->key, &site, error);
    if (r < 0)
        return r == -EKEYREJECTED ? -EACCES : r; // 403: who it is, is known
    return key_equal(&site.key, &ret->site) && memcmp(site.id, ret->id, sizeof site.id) == 0
               ? 0
               : error_set(error, EKEYREJECTED, "that was signed for another site");
}

static bool session(struct publish_request *q)
{
    struct publish_api *api = q->api;
    struct publish_session_text text;
    struct error error = {.text = ""};
    char token[PUBLISH_CHALLENGE_SIZE];
    struct room room;

    int r = check_session(api, (struct slice){.at = buf_text(&q->body), .length = q->body.size}, &text, &error);
    if (r == 0)
        r = publish_sessions_begin(api->sessions, &text.key, text.challenge, publish_now(), token, &error);
    if (r == -EBADMSG)
        publish_refuse(q, 400, error.text, NULL);
    else if (r == -EKEYREJECTED)
        publish_refuse(q, 401, error.text, "ask for a new challenge");
    if (r == 0)
        r = find_room(api, &text.key, &room, &error);
    const uint64_t used = r == 0 ? room.placed + staging_count_bytes(api->staging, &text.key) : 0;
    if (r == 0)
        r = buf_append_format(&q->answer,
                              "{\"token\": \"%s\", \"seconds\": %u, \"quota_bytes\": %llu, \"used_bytes\": %llu}\n",
                              token, PUBLISH_SESSION_SECONDS, (unsigned long long)room.quota, (unsigned long long)used);
    if (r < 0 && !q->status)
        publish_refuse_code(q, r, &error);
    else if (r == 0)
        q->status = 200;
    return false;
}

static bool missing(struct publish_request *q)
{
    struct publish_api *api = q->api;
    struct error error = {.text = ""};
    struct publish_object object;
    struct text_reader lines = text_reader_over(q->body.data, q->body.size, 80);
    char hex[SHA256_HEX_SIZE];
    bool whole;
    int r;

    while ((r = publish_text_next_object(&lines, &object, &error)) > 0) {
        if (publish_site_has(api->site, &object.name))
            continue;
        uint64_t there = staging_find(api->staging, &q->key, &object.name, &whole);
        if (!whole && buf_append_format(&q->answer, "%s %llu %llu\n", sha256_to_hex(&object.name, hex),
                                        (unsigned long long)object.size, (unsigned long long)there) < 0) {
            publish_refuse(q, 503, "not enough memory", "ask again");
            return false;
        }
    }
    if (r < 0) {
        publish_refuse(q, 400, error.text, NULL);
        return false;
    }
    q->status = 200;
    q->is_text = true;
    return false;
}

// --- objects -------------------------------------------------------------------------------------------------------

static bool find_part(struct publish_request *q, uint64_t length)
{
    const char *range = MHD_lookup_connection_value(q->connection, MHD_HEADER_KIND, "Content-Range");

    q->part = (struct publish_part){.first = 0, .length = length, .total = length};
    if (range && (!publish_text_parse_part(slice_of(range), &q->part) || q->part.length != length)) {
        publish_refuse(q, 400, "Content-Range is not bytes FIRST-LAST/TOTAL of this body", NULL);
        return false;
    }
    if (q->part.total == 0 || q->part.total > PACK_SIZE_MAXIMUM) {
        publish_refuse(q, 413, "an object has 1 byte to 64 MiB", NULL);
        return false;
    }
    return true;
}

static void begin_object(struct publish_request *q, uint64_t length)
{
    const char *hex = q->target + strlen(q->call->path);
    struct error error = {.text = ""};
    uint64_t offset = 0;

    if (!sha256_from_hex(hex, strlen(hex), &q->object)) {
        publish_refuse(q, 404, "an object is named by 64 digits of its SHA-256", NULL);
        return;
    }
    if (!find_part(q, length))
        return;
    bool whole;
    if (publish_site_has(q->api->site, &q->object) ||
        (staging_find(q->api->staging, &q->key, &q->object, &whole) > 0 && whole)) {
        q->status = buf_append_format(&q->answer, "{}\n") == 0 ? 201 : 503; // it is there already
        return;
    }
    struct room room;
    int r = find_room(q->api, &q->key, &room, &error);
    if (r == 0)
        r = staging_begin(q->api->staging, &q->key, &q->object, &q->part,
                          room.quota > room.placed ? room.quota - room.placed : 0, &q->upload, &offset, &error);
    if (r == -ERANGE)
        q->status = buf_append_format(&q->answer, "{\"offset\": %llu}\n", (unsigned long long)offset) == 0 ? 409 : 503;
    else if (r == -EDQUOT)
        publish_refuse(q, 413, error.text, "ask the site's owner for more (rondo-server quota)");
    else if (r == -EBUSY)
        publish_refuse(q, 429, error.text, "send it again in a moment");
    else if (r < 0)
        publish_refuse_code(q, r, &error);
}

static bool finish_object(struct publish_request *q)
{
    struct error error = {.text = ""};

    int r = staging_finish(q->upload, &error);
    if (r == -EBADMSG)
        publish_refuse(q, 422, error.text, "send all of it again");
    else if (r < 0)
        publish_refuse_code(q, r, &error);
    else
        q->status = buf_append_format(&q->answer, "{}\n") < 0 ? 503 : r > 0 ? 201 : 202;
    return false;
}

// --- manifests -----------------------------------------------------------------------------------------------------

static enum MHD_Result check_argument(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct publish_request *q = context;
    struct error error;

    (void)kind;
    if (strcmp(name, "tag") != 0 || q->tag[0] || !value)
        publish_refuse(q, 400, "the query is not tag=NAME", NULL);
    else if (publish_text_parse_tag(slice_of(value), q->tag, &error) < 0)
        publish_refuse(q, 400, error.text, NULL);
    return q->status ? MHD_NO : MHD_YES;
}

static void begin_manifest(struct publish_request *q, uint64_t length)
{
    (void)length;
    MHD_get_connection_values(q->connection, MHD_GET_ARGUMENT_KIND, check_argument, q);
}

static bool finish_manifest(struct publish_request *q)
{
    int r = publish_wait_for_keeper(q);
    if (r == -EBUSY)
        publish_refuse(q, 429, "another manifest of this publisher waits already",
                       "hand this one in when that is answered");
    else if (r < 0)
        publish_refuse(q, 503, "the server is ending", "hand the manifest in again in a moment");
    return r == 0;
}

const struct publish_call publish_calls[] = {
    {"POST", PUBLISH_API_PREFIX "challenge", false, CHALLENGE_MAXIMUM, NULL, challenge},
    {"POST", PUBLISH_API_PREFIX "session", false, PUBLISH_SESSION_MAXIMUM, NULL, session},
    {"POST", PUBLISH_API_PREFIX "missing", true, PUBLISH_MISSING_MAXIMUM, NULL, missing},
    {"PUT", PUBLISH_API_PREFIX "objects/", true, PACK_SIZE_MAXIMUM, begin_object, finish_object},
    {"POST", PUBLISH_API_PREFIX "manifest", true, MANIFEST_SIZE_MAXIMUM, begin_manifest, finish_manifest},
};
const unsigned publish_call_count = ARRAY_SIZE(publish_calls);
