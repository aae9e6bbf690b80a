// The conversation of a publication over HTTP (publish_remote.h, docs/api.md). What is signed with the publisher's key
// is one text, all of whose lines but the challenge's come from the catalog that was verified; a challenge is 43
// characters of base64url, so that it cannot add a line. A token that is not taken any more is replaced by a new one,
// once for each question.
#include "base/cleanup.h"
#include "client/json.h"
#include "client/publish_remote.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define SESSION_TEXT_MAXIMUM 4096u
#define CHECK_SECONDS 900u // without a byte: the server reads and hashes all of a version before it lists it

static const char *id_text(const struct catalog *c, char text[static 2 * CATALOG_ID_SIZE + 1])
{
    for (unsigned i = 0; i < CATALOG_ID_SIZE; i++)
        snprintf(text + 2 * (size_t)i, 3, "%02x", c->id[i]);
    return text;
}

// They must be talking of the site whose catalog was verified.
static int check_site(const struct publication *p, const struct upload_answer *a, struct error *error)
{
    char key[KEY_TEXT_SIZE], id[2 * CATALOG_ID_SIZE + 1], said[64];
    const struct {
        const char *path, *wanted;
    } fields[] = {{"$.site", key_to_text(&p->catalog.site_key, key)}, {"$.id", id_text(&p->catalog, id)}};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (a->body.size == 0 ||
            !json_find((const char *)a->body.data, a->body.size, fields[i].path, said, sizeof(said)) ||
            strcmp(said, fields[i].wanted) != 0)
            return error_set(error, EKEYREJECTED,
                             "%s takes publications of another site than the one whose catalog it serves (%s); "
                             "nothing was signed for it",
                             p->site, key);
    return 0;
}

static int ask_challenge(struct publication *p, char ret[static UPLOAD_TOKEN_SIZE], struct error *error)
{
    char key[KEY_TEXT_SIZE], body[KEY_TEXT_SIZE + 8];
    struct upload_answer a = UPLOAD_ANSWER_NONE;
    snprintf(body, sizeof(body), "key %s\n", key_to_text(&p->public, key));
    int r = upload_post(p->remote->upload, "challenge", body, strlen(body), UPLOAD_ANSWER_SECONDS, "asking to publish",
                        &a, error);
    if (r == 0 && a.status != 200)
        r = upload_explain(p->remote->upload, "this key", &a, error);
    if (r == 0)
        r = check_site(p, &a, error);
    if (r == 0)
        r = upload_find_token(p->remote->upload, &a, "$.challenge", ret, error);
    buf_free(&a.body);
    return r;
}

static int sign_challenge(struct publication *p, const char *challenge, struct buf *ret, struct error *error)
{
    char site[KEY_TEXT_SIZE], key[KEY_TEXT_SIZE], id[2 * CATALOG_ID_SIZE + 1];
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SESSION_TEXT_MAXIMUM);
    int r = buf_append_format(&text, "rondo-publish 1\nsite %s\nid %s\nkey %s\nchallenge %s\n",
                              key_to_text(&p->catalog.site_key, site), id_text(&p->catalog, id),
                              key_to_text(&p->public, key), challenge);
    return r < 0 ? error_set(error, -r, "out of memory")
                 : signed_write(p->key, text.data, text.size, "rondo publish", ret, error);
}

int publish_session_open(struct publication *p, struct error *error)
{
    char challenge[UPLOAD_TOKEN_SIZE], token[UPLOAD_TOKEN_SIZE], key[KEY_TEXT_SIZE];
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SESSION_TEXT_MAXIMUM);
    struct upload_answer a = UPLOAD_ANSWER_NONE;
    struct upload *u = p->remote->upload;
    upload_set_token(u, (const char[UPLOAD_TOKEN_SIZE]){0});
    int r = ask_challenge(p, challenge, error);
    if (r == 0)
        r = sign_challenge(p, challenge, &text, error);
    if (r == 0)
        r = upload_post(u, "session", text.data, text.size, UPLOAD_ANSWER_SECONDS, "opening a session", &a, error);
    if (r == 0 && a.status != 200) {
        r = upload_explain(u, "this key", &a, error);
        if (a.status == 403)
            error_set(error, EKEYREJECTED,
                      "%s lets the key %s publish nothing; its owner allows it: rondo renew DIR --key SITEKEY --allow "
                      "%s:%s",
                      p->site, key_to_text(&p->public, key), key, p->name);
    }
    if (r == 0)
        r = upload_find_token(u, &a, "$.token", token, error);
    if (r == 0)
        upload_set_token(u, token);
    buf_free(&a.body);
    return r;
}

// A question with the token; with a new one if that one is too old.
static int ask(struct publication *p, const char *path, const struct buf *body, unsigned seconds, const char *doing,
               struct upload_answer *ret, struct error *error)
{
    int r = upload_post(p->remote->upload, path, body->data, body->size, seconds, doing, ret, error);
    if (r < 0 || ret->status != 401)
        return r;
    r = publish_session_open(p, error);
    return r < 0 ? r : upload_post(p->remote->upload, path, body->data, body->size, seconds, doing, ret, error);
}

// --- what is missing -------------------------------------------------------------------------------------------------

static int compare_objects(const void *a, const void *b)
{
    const struct upload_object *x = a, *y = b;
    return memcmp(x->name.bytes, y->name.bytes, SHA256_SIZE);
}

// `<sha256> <bytes> <offset>`: of one of those that were asked for, and within it.
static int take_line(struct slice line, struct upload_object *objects, size_t n)
{
    struct slice hex = slice_cut_word(&line), bytes = slice_cut_word(&line);
    struct upload_object wanted = {.size = 0};
    uint64_t size, offset;
    if (!sha256_from_hex(hex.at, hex.length, &wanted.name) || !text_parse_u64(bytes, UINT32_MAX, &size) ||
        !text_parse_u64(line, UINT32_MAX, &offset))
        return -EBADMSG;
    struct upload_object *o = bsearch(&wanted, objects, n, sizeof(*objects), compare_objects);
    if (!o || o->size != size || offset > size)
        return -EBADMSG;
    o->missing = true;
    o->offset = offset < size ? (uint32_t)offset : 0; // all of it, and not found right: it is sent anew
    return 0;
}

static int ask_some(struct publication *p, struct upload_object *objects, size_t n, struct error *error)
{
    struct buf body CLEANUP(buf_free) = BUF_WITH_MAXIMUM(UPLOAD_ANSWER_MAXIMUM);
    struct upload_answer a = UPLOAD_ANSWER_NONE;
    char hex[SHA256_HEX_SIZE];
    struct slice line;
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++) {
        objects[i].missing = false;
        r = buf_append_format(&body, "%s %u\n", sha256_to_hex(&objects[i].name, hex), objects[i].size);
    }
    r = r < 0 ? error_set(error, -r, "out of memory")
              : ask(p, "missing", &body, UPLOAD_ANSWER_SECONDS, "asking what is missing", &a, error);
    if (r == 0 && a.status != 200)
        r = upload_explain(p->remote->upload, "the list of objects", &a, error);
    if (r == 0) {
        struct text_reader reader = text_reader_over(a.body.data, a.body.size, 128);
        while ((r = text_next_line(&reader, &line)) > 0 && (r = take_line(line, objects, n)) == 0)
            continue;
        if (r < 0)
            error_set(error, EBADMSG, "%s does not answer what is missing (line %u)", p->site, reader.line);
    }
    buf_free(&a.body);
    return r;
}

int publish_session_ask_missing(struct publication *p, struct upload_object *objects, size_t n, struct error *error)
{
    int r = 0;
    for (size_t at = 0; at < n && r == 0; at += UPLOAD_MISSING_MAXIMUM)
        r = ask_some(p, objects + at, n - at < UPLOAD_MISSING_MAXIMUM ? n - at : UPLOAD_MISSING_MAXIMUM, error);
    return r;
}

// --- the manifest ----------------------------------------------------------------------------------------------------

// A tag in a query: of what it may hold only the plus sign means something else there.
static void format_path(const char *tag, char *to, size_t capacity)
{
    size_t used = (size_t)snprintf(to, capacity, "manifest%s", tag ? "?tag=" : "");
    for (; tag && *tag && used + 4 < capacity; tag++)
        used += (size_t)snprintf(to + used, capacity - used, *tag == '+' ? "%%2B" : "%c", *tag);
}

static uint64_t find_serial(const struct upload_answer *a)
{
    char text[24];
    uint64_t serial;
    return a->status == 409 && a->body.size > 0 &&
                   json_find((const char *)a->body.data, a->body.size, "$.serial", text, sizeof(text)) &&
                   text_parse_u64(slice_of(text), INT64_MAX - 1, &serial)
               ? serial
               : 0;
}

int publish_session_hand_in(struct publication *p, const struct buf *file, long *ret_status, uint64_t *ret_serial,
                            struct error *error)
{
    char path[16 + 3 * MANIFEST_NAME_SIZE];
    struct upload_answer a = UPLOAD_ANSWER_NONE;
    format_path(p->tag, path, sizeof(path));
    int r = ask(p, path, file, CHECK_SECONDS, "waiting until it is checked there", &a, error);
    if (r == 0 && a.status != 201 && a.status != 202)
        r = upload_explain(p->remote->upload, "this version", &a, error);
    if (r == 0 || a.status == 409 || a.status == 422 || a.status == 429 || a.status == 503) {
        *ret_status = a.status;
        *ret_serial = find_serial(&a);
        r = 0;
    }
    buf_free(&a.body);
    return r;
}
