// What is sent of a publication over HTTP, and what came of it (publish_remote.h).
//
//   sign ──▶ what of it lies in the work folder ──▶ ask what is missing ◀──▶ send it ──▶ hand in
//     ▲                                                                                    │
//     │                                          201, 409, or no answer: look at the catalog
//     └──(somebody was quicker: the next serial)──────────────┤                            │ 202
//                                                             ▼                            ▼
//                                                          listed                        waits
//
// 1. Rounds of asking and sending go on while the server comes to hold more; it cannot ask for the same for ever.
// 2. Whether a version is listed is what the site's signed catalog says, whatever the server answered.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/needs.h"
#include "client/publish_remote.h"
#include "client/publish_work.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

#define SERIALS_MAXIMUM 5u      // times that others may publish the same name between our look and our manifest
#define BUSY_WAITS_MAXIMUM 5u   // of a second, two, three …, while somebody else changes the site
#define QUEUE_WAITS_MAXIMUM 60u // of five seconds, while other manifests of this publisher wait
#define SERIALS_WAITING 100u // versions of a name that a site may say to have waiting for its key: a serial is for ever
#define VAIN_ROUNDS_MAXIMUM 5u    // of sending, by which nothing new is there
#define VAIN_ROUNDS_REFUSED 2u    // the same, where it was not the network
#define VAIN_ROUNDS_BUSY 12u      // the same, where the server was busy: with what a killed command left, it may be
#define VAIN_WAIT_MS 250          // before each; twice as long as before the last one ...
#define VAIN_WAIT_MAXIMUM_MS 5000 // ... but no longer

struct objects {
    struct upload_object *list; // sorted by name
    size_t count;
};

static int read_own_page(void *context, const struct chunk_reference *ref, void *to, struct error *error)
{
    CLEANUP_CLOSE int fd = site_open_object(context, &ref->pack.name);
    if (fd < 0) // a page that the site has, and so it has all that is below it
        return fd;
    int r = io_read_full(fd, to, ref->length, ref->offset);
    return r < 0 ? error_set(error, -r, "cannot read a map page: %s", strerror(-r)) : 0;
}

static int compare_objects(const void *a, const void *b)
{
    const struct upload_object *x = a, *y = b;
    return memcmp(x->name.bytes, y->name.bytes, SHA256_SIZE);
}

// Of what the new version needs, what lies in the work folder. The manifest comes last, and another way.
static int list_objects(struct publication *p, const struct sha256 *manifest, struct objects *ret, struct error *error)
{
    struct site *s = writer_site(p->writer);
    struct needs *needs = NULL;
    struct stat st;
    unsigned at_site;
    int r = needs_new(&needs, error);
    if (r == 0)
        r = needs_add_version(needs, manifest, p->manifest, read_own_page, s, &at_site, error);
    if (r == 0 && !(ret->list = calloc(needs_count(needs) + 1, sizeof(*ret->list))))
        r = error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < needs_count(needs); i++) {
        const struct needs_object o = needs_get(needs, i);
        CLEANUP_CLOSE int fd = site_open_object(s, &o.name);
        if (fd < 0 || sha256_equal(&o.name, manifest))
            continue;
        if (io->fstat(fd, &st) < 0 || st.st_size != (off_t)o.size || o.size == 0)
            r = error_set(error, EBADMSG,
                          "an object in %s is damaged; remove that folder, and run the same command "
                          "again",
                          p->remote->work);
        // Failures are negative, which the analyzer does not know of error_set.
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference)
        ret->list[ret->count++] = (struct upload_object){.name = o.name, .size = o.size};
    }
    needs_free(needs);
    if (r == 0 && ret->count > 0)
        qsort(ret->list, ret->count, sizeof(*ret->list), compare_objects);
    return r;
}

// How many bytes the server lacks. Nothing may be missing that it said it had, whole and verified.
static int ask_missing(struct publication *p, struct objects *o, uint64_t *ret_bytes, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    uint64_t bytes = 0;
    int r = publish_session_ask_missing(p, o->list, o->count, error);
    for (size_t i = 0; r == 0 && i < o->count; i++) {
        bytes += o->list[i].missing ? o->list[i].size - o->list[i].offset : 0;
        if (o->list[i].missing && o->list[i].sent)
            r = error_set(error, EBADMSG, "%s took object %.16s… and says now that it lacks it: tell its operator",
                          p->site, sha256_to_hex(&o->list[i].name, hex));
    }
    if (r == 0)
        *ret_bytes = bytes;
    return r;
}

static bool is_refused(const struct publication *p)
{
    const long status = p->remote->counts.status;
    return status >= 400 && status < 500 && status != 408 && status != 429; // these two may pass
}

static unsigned most_rounds(const struct publication *p)
{
    if (is_refused(p))
        return VAIN_ROUNDS_REFUSED;
    return p->remote->counts.status == 429 ? VAIN_ROUNDS_BUSY : VAIN_ROUNDS_MAXIMUM;
}

static int explain_vain(const struct publication *p, uint64_t left, struct error *error)
{
    char size[32], status[48] = "the connection fails";
    if (p->remote->counts.status)
        snprintf(status, sizeof(status), "the last answer was HTTP %ld", p->remote->counts.status);
    return error_set(error, is_refused(p) ? EBADMSG : ENETUNREACH,
                     "%s does not get on with the %s that it lacks (%s); the same command goes on from here", p->site,
                     text_format_size(left, size), status);
}

static int send_missing(struct publication *p, struct objects *o, struct error *error)
{
    uint64_t least = UINT64_MAX, left = 0;
    unsigned vain = 0;
    for (;;) {
        int r = ask_missing(p, o, &left, error);
        if (r == -ENETUNREACH)
            p->remote->counts.status = 0;
        else if (r < 0 || left == 0)
            return r;
        vain = r == 0 && left < least ? 0 : vain + 1;
        least = left < least && r == 0 ? left : least;
        if (vain >= most_rounds(p))
            return r < 0 ? r : explain_vain(p, left, error);
        if (vain > 0) {
            cli_progress("%s: trying again soon", p->site);
            cli_poll(NULL, 0,
                     VAIN_WAIT_MS << vain < VAIN_WAIT_MAXIMUM_MS ? VAIN_WAIT_MS << vain : VAIN_WAIT_MAXIMUM_MS);
        }
        if (r == 0)
            r = upload_objects(p->remote->upload, writer_site(p->writer), o->list, o->count, &p->remote->counts, error);
        if (r == -EKEYREJECTED && p->remote->counts.status == 401)
            r = publish_session_open(p, error);
        if (r < 0 && r != -ENETUNREACH)
            return r;
    }
}

// --- handing in ------------------------------------------------------------------------------------------------------

enum outcome { LISTED, WAITS, AGAIN };

// What the site's own catalog says, after an answer, or none. `r` with *error is what it means if it does not list the
// version. `waiting` is the newest serial that the server names, of a version that its catalog need not list yet.
static int look(struct publication *p, const struct sha256 *name, uint64_t waiting, int r, enum outcome *ret,
                struct error *error)
{
    struct error why = {.text = ""};
    int looked = publish_remote_get_catalog(p, &why);
    if (looked < 0) {
        if (r < 0)
            return r;
        return error_prefix(error, error_set(error, -looked, "%s", why.text),
                            "%s says that it lists %s %s, but its catalog does not come", p->site, p->name, p->version);
    }
    const struct catalog_image *listed = publish_remote_find_version(p);
    uint64_t newest = catalog_newest_serial(&p->catalog, p->name);
    if (waiting > newest && waiting - newest <= SERIALS_WAITING)
        newest = waiting;
    if (listed && sha256_equal(&listed->manifest, name)) {
        *ret = LISTED;
        return 0;
    }
    if (listed)
        return site_catalog_check_new(&p->catalog, p->name, p->version, p->tag, error);
    if (newest < p->manifest->serial)
        return r < 0 ? r
                     : error_set(error, EBADMSG,
                                 "%s says that it lists %s %s, but its catalog does not: tell its "
                                 "operator",
                                 p->site, p->name, p->version);
    p->manifest->serial = newest + 1; // another version was quicker, or waits
    *ret = AGAIN;
    return 0;
}

// While the site is locked by somebody who will not have it for long, unless it is by a publication in its folder.
static int hand_in_when_free(struct publication *p, const struct buf *file, long *ret_status, uint64_t *ret_serial,
                             struct error *error)
{
    for (unsigned waits = 1;; waits++) {
        int r = publish_session_hand_in(p, file, ret_status, ret_serial, error);
        if (r < 0 || (*ret_status != 503 && *ret_status != 429))
            return r;
        if (waits > (*ret_status == 429 ? QUEUE_WAITS_MAXIMUM : BUSY_WAITS_MAXIMUM))
            return error_prefix(error, -EBUSY, "all of it is there; give the same command again in a while");
        cli_progress("%s: %s; trying again soon", p->site,
                     *ret_status == 429 ? "another version of this publisher waits there"
                                        : "somebody else is changing the site");
        if (cli_poll(NULL, 0, (int)(waits < BUSY_WAITS_MAXIMUM ? waits : BUSY_WAITS_MAXIMUM) * 1000) < 0 &&
            cli_interrupted())
            return error_set(error, ECANCELED, "cancelled; the same command goes on from here");
    }
}

static int hand_in(struct publication *p, struct objects *o, const struct buf *file, const struct sha256 *name,
                   enum outcome *ret, struct error *error)
{
    long status = 0;
    uint64_t serial = 0;
    int r = send_missing(p, o, error);
    if (r == 0)
        r = hand_in_when_free(p, file, &status, &serial, error);
    if (r == 0 && status == 422) { // something went in between
        r = send_missing(p, o, error);
        if (r == 0)
            r = hand_in_when_free(p, file, &status, &serial, error);
    }
    if (r == 0 && status == 202) {
        *ret = WAITS;
        return 0;
    }
    if (r == 0 && status == 422)
        return error_prefix(error, -EBADMSG, "the same command stores anew what is gone");
    if (r == 0 && status == 409)
        return look(p, name, serial, -EBUSY, ret, error);
    return r == 0 || error_is_network(r) ? look(p, name, 0, r, ret, error) : r;
}

static int sign_and_hand_in(struct publication *p, struct sha256 *ret_name, enum outcome *ret, struct error *error)
{
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);
    struct objects o = {.count = 0};
    int r = publisher_sign_manifest(p->manifest, p->key, &file, error);
    if (r == 0)
        r = writer_put_manifest(p->writer, file.data, file.size, ret_name, error);
    if (r == 0)
        r = list_objects(p, ret_name, &o, error);
    if (r == 0)
        r = hand_in(p, &o, &file, ret_name, ret, error);
    free(o.list);
    return r;
}

int publish_remote_finish(struct publication *p, struct sha256 *ret_name, struct error *error)
{
    enum outcome outcome = AGAIN;
    char size[32];
    int r = 0;
    site_set_elsewhere(writer_site(p->writer), NULL);
    for (unsigned i = 0; r == 0 && outcome == AGAIN; i++)
        r = i < SERIALS_MAXIMUM
                ? sign_and_hand_in(p, ret_name, &outcome, error)
                : error_set(error, EBUSY, "others publish %s in %s all the time; try again later", p->name, p->site);
    cli_progress_end();
    if (r < 0)
        return r;
    fprintf(stderr, "rondo: sent %s in %s to %s\n", text_format_size(p->remote->counts.bytes, size),
            TEXT_COUNT(p->remote->counts.objects, "object"), p->site);
    struct buf word CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ADDRESS_WORD_MAXIMUM);
    if (outcome == WAITS) {
        const bool shown = address_append_word(&word, p->site, p->name, "") == 0;
        fprintf(stderr,
                "rondo: %s %s waits there: the site's owner signs the catalog that lists it with a key that is "
                "elsewhere; rondo history %s shows when it is listed\n",
                p->name, p->version, shown ? buf_text(&word) : p->name);
    }
    publish_work_remove(p->remote->work);
    return 0;
}
