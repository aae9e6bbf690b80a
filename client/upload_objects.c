// Objects, side by side (upload.h).
//
//   missing ──begin──▶ under way ──201──▶ sent
//                         │
//                         ├── 409, 429, 5xx, 202, the network: it stays missing, and whoever asks again learns how
//                         │   much of it arrived
//                         ├── 422: is the file here still what its name says? If not, or the second time, the end
//                         └── 401, 403, 404, 413, …: the end
//
// What is under way when one comes to its end is cut off; the server keeps what it has of it.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "client/cli.h"
#include "client/upload_private.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

struct sending {
    struct upload *u;
    struct site *from;
    struct upload_counts *counts;
    struct upload_transfer transfers[UPLOAD_AT_ONCE];
    struct upload_answer answers[UPLOAD_AT_ONCE];
    uint64_t done, all; // bytes
    struct error *error;
};

static size_t give_body(char *to, size_t size, size_t count, void *context)
{
    struct upload_transfer *t = context;
    size_t n = size * count;
    if (n > t->object->size - t->at)
        n = (size_t)(t->object->size - t->at);
    int r = io_read_full(t->fd, to, n, t->at);
    if (r < 0) {
        t->failure = error_set(&t->error, -r, "cannot read an object that is to be sent: %s", strerror(-r));
        return CURL_READFUNC_ABORT;
    }
    t->at += n;
    return n;
}

// libcurl begins again where a kept connection turns out to be closed.
static int rewind_body(void *context, curl_off_t offset, int origin)
{
    struct upload_transfer *t = context;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > t->object->size - t->object->offset)
        return CURL_SEEKFUNC_FAIL;
    t->at = t->object->offset + (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

static int begin_object(struct sending *s, unsigned slot, struct upload_object *o)
{
    struct upload_transfer *t = &s->transfers[slot];
    char path[16 + SHA256_HEX_SIZE], hex[SHA256_HEX_SIZE], range[96];
    int fd = site_open_object(s->from, &o->name);
    if (fd < 0)
        return error_set(s->error, -fd, "cannot read object %.16s… in %s: %s; run the same command again",
                         sha256_to_hex(&o->name, hex), site_path(s->from), strerror(-fd));
    *t = (struct upload_transfer){.answer = &s->answers[slot], .object = o, .fd = fd, .at = o->offset};
    buf_clear(&t->answer->body);
    snprintf(path, sizeof(path), "objects/%s", sha256_to_hex(&o->name, hex));
    snprintf(range, sizeof(range), "Content-Range: bytes %u-%u/%u", o->offset, o->size - 1, o->size);
    int r = upload_begin(s->u, t, path, o->offset ? range : NULL, UPLOAD_ANSWER_SECONDS, s->error);
    if (r < 0)
        return r;
    int bad = 0;
#define SET(option, value) bad = bad || curl_easy_setopt(t->easy, option, value) != CURLE_OK
    SET(CURLOPT_UPLOAD, 1L);
    SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)(o->size - o->offset));
    SET(CURLOPT_READFUNCTION, give_body);
    SET(CURLOPT_READDATA, t);
    SET(CURLOPT_SEEKFUNCTION, rewind_body);
    SET(CURLOPT_SEEKDATA, t);
#undef SET
    return bad ? error_set(s->error, ENOMEM, "libcurl cannot prepare an upload to %s", s->u->site)
               : upload_start(t, s->error);
}

static void end_object(struct upload_transfer *t)
{
    upload_end(t);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

// 422: whose fault is it?
static int check_own(struct sending *s, const struct upload_transfer *t)
{
    struct sha256 actual;
    char hex[SHA256_HEX_SIZE];
    sha256_to_hex(&t->object->name, hex);
    if (sha256_of_file(t->fd, &actual, NULL) < 0 || !sha256_equal(&actual, &t->object->name))
        return error_set(s->error, EBADMSG,
                         "object %.16s… in %s is damaged; remove that folder, and run the same "
                         "command again",
                         hex, site_path(s->from));
    return 0;
}

static int settle_object(struct sending *s, struct upload_transfer *t)
{
    char did[32 + SHA256_HEX_SIZE], hex[SHA256_HEX_SIZE];
    curl_off_t sent = 0;
    curl_easy_getinfo(t->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    s->counts->bytes += sent > 0 ? (uint64_t)sent : 0;
    int r = upload_judge(t, s->error);
    if (r < 0) {
        s->counts->status = 0;
        return error_is_network(r) ? 0 : r;
    }
    const long status = s->counts->status = t->answer->status;
    if (status == 201 || status == 200) {
        t->object->sent = true;
        t->object->missing = false;
        s->counts->objects++;
        s->done += t->object->size - t->object->offset;
        return 0;
    }
    snprintf(did, sizeof(did), "object %.16s…", sha256_to_hex(&t->object->name, hex));
    r = status == 202 ? 0 : upload_explain(s->u, did, t->answer, s->error);
    if (status == 422)
        return check_own(s, t);
    return status == 409 || error_is_network(r) ? 0 : r;
}

static void report(const struct sending *s)
{
    char sent[32], all[32];
    uint64_t now = s->done;
    for (unsigned i = 0; i < UPLOAD_AT_ONCE; i++)
        if (s->transfers[i].easy)
            now += s->transfers[i].at - s->transfers[i].object->offset;
    cli_progress("sending to %s: %s of %s", s->u->site, text_format_size(now, sent), text_format_size(s->all, all));
}

static int send_objects(struct sending *s, struct upload_object *objects, size_t n)
{
    size_t next = 0;
    unsigned running = 0;
    int r = 0;
    while (r == 0) {
        for (unsigned i = 0; i < UPLOAD_AT_ONCE && r == 0; i++) {
            struct upload_transfer *t = &s->transfers[i];
            if (t->easy && t->over) {
                r = settle_object(s, t);
                end_object(t);
                running--;
            }
            while (next < n && !objects[next].missing)
                next++;
            if (r == 0 && !t->easy && next < n) {
                r = begin_object(s, i, &objects[next++]);
                running++;
            }
        }
        if (running == 0)
            break;
        report(s);
        if (r == 0)
            r = upload_move(s->u, s->error);
    }
    return r;
}

int upload_objects(struct upload *u, struct site *from, struct upload_object *objects, size_t n,
                   struct upload_counts *counts, struct error *error)
{
    struct sending s = {.u = u, .from = from, .counts = counts, .error = error};
    for (unsigned i = 0; i < UPLOAD_AT_ONCE; i++) {
        s.transfers[i].fd = -1;
        s.answers[i] = (struct upload_answer)UPLOAD_ANSWER_NONE;
    }
    for (size_t i = 0; i < n; i++)
        s.all += objects[i].missing ? objects[i].size - objects[i].offset : 0;
    int r = send_objects(&s, objects, n);
    for (unsigned i = 0; i < UPLOAD_AT_ONCE; i++) {
        end_object(&s.transfers[i]);
        buf_free(&s.answers[i].body);
    }
    cli_progress_end();
    return r;
}
