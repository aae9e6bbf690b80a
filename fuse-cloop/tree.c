// The tree of files (see tree.h).
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fuse-cloop/tree_private.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

#define TIMEOUT 86400.0 // seconds; nothing changes
#define MANIFEST_FILE "manifest"
#define LOG_LINES_MINUTE 30u

static fuse_ino_t number_of(struct table_key key, unsigned kind)
{
    return key.generation << 12 | key.entry << 4 | kind;
}

struct session *tree_session(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

int tree_parse_number(const struct session *s, fuse_ino_t number, struct node *ret)
{
    struct node n = {.root = number == FUSE_ROOT_ID};
    struct sha256 name;
    if (n.root && s->single) {
        n.root = false;
        if (!table_name(s->table, 0, &n.key, &name))
            return -ESTALE;
    } else if (!n.root) {
        n.key = (struct table_key){.entry = (unsigned)(number >> 4 & 0xff), .generation = number >> 12};
        n.kind = (unsigned)(number & 15);
    }
    *ret = n;
    return 0;
}

// What goes wrong is said in the log, but not a thousand times a minute: a site that is down fails many reads.
static void tell(const struct error *error)
{
    static _Atomic uint64_t minute;
    static atomic_uint lines;
    uint64_t now = io_monotonic_ns() / 60000000000ull;
    if (atomic_exchange(&minute, now) != now)
        atomic_store(&lines, 0);
    unsigned line = atomic_fetch_add(&lines, 1);
    if (line < LOG_LINES_MINUTE)
        log_error("%s", error->text);
    else if (line == LOG_LINES_MINUTE)
        log_error("… and more of this kind; the rest of this minute is not logged");
}

void tree_fail(fuse_req_t req, int result, const struct error *error)
{
    if (result != -ESTALE)
        tell(error);
    fuse_reply_err(req, result == -ESTALE ? ESTALE : EIO);
}

// --- attributes ----------------------------------------------------------------------------------------------------

static void describe_folder(fuse_ino_t number, struct stat *ret)
{
    *ret = (struct stat){.st_ino = number,
                         .st_mode = S_IFDIR | 0555,
                         .st_nlink = 2,
                         .st_uid = geteuid(),
                         .st_gid = getegid(),
                         .st_blksize = 4096};
}

// A member of an opened version; -ENOENT if it has none of that number.
static int describe_file(struct opened *o, struct table_key key, unsigned kind, struct stat *ret)
{
    const struct manifest *m = version_manifest(table_version(o));
    size_t size;
    describe_folder(number_of(key, kind), ret);
    if (kind == KIND_MANIFEST)
        version_manifest_bytes(table_version(o), &size);
    else if (kind - 1 < m->member_count)
        size = m->members[kind - 1].size;
    else
        return -ENOENT;
    ret->st_mode = S_IFREG | 0444;
    ret->st_nlink = 1;
    ret->st_size = (off_t)size;
    ret->st_blocks = (blkcnt_t)((size + 511) / 512);
    ret->st_blksize = SESSION_READ_MAXIMUM;
    ret->st_mtim.tv_sec = ret->st_ctim.tv_sec = ret->st_atim.tv_sec = m->created;
    return 0;
}

static int describe(struct session *s, const struct node *n, fuse_ino_t number, struct stat *ret, struct error *error)
{
    struct opened *o;
    if (n->root || n->kind == KIND_FOLDER) {
        describe_folder(number, ret);
        return 0;
    }
    int r = table_use(s->table, n->key, &o, error);
    if (r < 0)
        return r;
    r = describe_file(o, n->key, n->kind, ret);
    table_put(s->table, o);
    return r < 0 ? error_set(error, ESTALE, "no such member") : 0;
}

static void tree_getattr(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file)
{
    struct error error = {.text = ""};
    struct node n;
    struct stat st;
    (void)file;
    int r = tree_parse_number(tree_session(req), number, &n);
    if (r == 0)
        r = describe(tree_session(req), &n, number, &st, &error);
    if (r < 0)
        tree_fail(req, r, &error);
    else
        fuse_reply_attr(req, &st, TIMEOUT);
}

// --- names ---------------------------------------------------------------------------------------------------------

static unsigned kind_of_name(const struct manifest *m, const char *name)
{
    if (strcmp(name, MANIFEST_FILE) == 0)
        return KIND_MANIFEST;
    int member = manifest_find_member(m, name);
    return member < 0 ? KIND_FOLDER : (unsigned)member + 1;
}

static int look_up_member(struct session *s, const struct node *parent, const char *name, struct stat *ret,
                          struct error *error)
{
    struct opened *o;
    int r = table_use(s->table, parent->key, &o, error);
    if (r < 0)
        return r;
    unsigned kind = kind_of_name(version_manifest(table_version(o)), name);
    r = kind == KIND_FOLDER ? -ENOENT : describe_file(o, parent->key, kind, ret);
    table_put(s->table, o);
    return r;
}

static int look_up_version(struct session *s, const char *name, struct stat *ret)
{
    struct table_key key;
    struct sha256 manifest;
    if (!sha256_from_hex(name, strlen(name), &manifest) || table_find(s->table, &manifest, &key) < 0)
        return -ENOENT;
    describe_folder(number_of(key, KIND_FOLDER), ret);
    return 0;
}

static void tree_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct session *s = tree_session(req);
    struct error error = {.text = ""};
    struct fuse_entry_param e = {.attr_timeout = TIMEOUT, .entry_timeout = TIMEOUT};
    struct node n;
    int r = tree_parse_number(s, parent, &n);
    if (r == 0)
        r = n.root                  ? look_up_version(s, name, &e.attr)
            : n.kind == KIND_FOLDER ? look_up_member(s, &n, name, &e.attr, &error)
                                    : -ENOENT;
    e.ino = e.attr.st_ino;
    if (r == -ENOENT)
        fuse_reply_err(req, ENOENT); // not kept: a version may be opened at any moment
    else if (r < 0)
        tree_fail(req, r, &error);
    else
        fuse_reply_entry(req, &e);
}

// Appends one entry; position `at` is the number of the next one.
static int add_name(fuse_req_t req, struct buf *b, const char *name, fuse_ino_t number, mode_t type, off_t at)
{
    struct stat st = {.st_ino = number, .st_mode = type};
    unsigned char *to;
    size_t n = fuse_add_direntry(req, NULL, 0, name, &st, at);
    int r = buf_reserve(b, n, &to);
    if (r == 0)
        b->size += fuse_add_direntry(req, (char *)to, n, name, &st, at);
    return r;
}

// Entries 0 and 1 are . and .., what follows is the version's entry (its number + 2) or the file (its number + 2).
static int list_root(fuse_req_t req, struct buf *b, off_t from)
{
    struct session *s = tree_session(req);
    int r = 0;
    for (unsigned i = from > 2 ? (unsigned)from - 2 : 0; i < STATE_VERSIONS && r == 0; i++) {
        struct table_key key;
        struct sha256 manifest;
        char hex[SHA256_HEX_SIZE];
        if (table_name(s->table, i, &key, &manifest))
            r = add_name(req, b, sha256_to_hex(&manifest, hex), number_of(key, KIND_FOLDER), S_IFDIR, (off_t)i + 3);
    }
    return r;
}

static int list_members(fuse_req_t req, const struct node *n, struct buf *b, off_t from, struct error *error)
{
    struct session *s = tree_session(req);
    struct opened *o;
    int r = table_use(s->table, n->key, &o, error);
    if (r < 0)
        return r;
    const struct manifest *m = version_manifest(table_version(o));
    for (unsigned i = from > 2 ? (unsigned)from - 2 : 0; i <= m->member_count && r == 0; i++)
        r = add_name(req, b, i == m->member_count ? MANIFEST_FILE : m->members[i].name,
                     number_of(n->key, i == m->member_count ? KIND_MANIFEST : i + 1), S_IFREG, (off_t)i + 3);
    table_put(s->table, o);
    return r;
}

static void tree_readdir(fuse_req_t req, fuse_ino_t number, size_t size, off_t from, struct fuse_file_info *file)
{
    struct error error = {.text = ""};
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(size < SESSION_READ_MAXIMUM ? size : SESSION_READ_MAXIMUM);
    struct node n;
    (void)file;
    int r = tree_parse_number(tree_session(req), number, &n);
    if (r == 0 && from < 1)
        r = add_name(req, &b, ".", number, S_IFDIR, 1);
    if (r == 0 && from < 2)
        r = add_name(req, &b, "..", FUSE_ROOT_ID, S_IFDIR, 2);
    if (r == 0)
        r = n.root ? list_root(req, &b, from) : list_members(req, &n, &b, from, &error);
    if (r < 0 && r != -E2BIG) // no room for more is how every full answer ends
        tree_fail(req, r, &error);
    else
        fuse_reply_buf(req, (const char *)b.data, b.size);
}

// --- beginning -----------------------------------------------------------------------------------------------------

// Called for INIT, and again when a successor replays it: what it decides must be the same both times.
static void tree_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    conn->max_write = 4096; // no more than INIT's and LOOKUP's length in a slot (session.c, amend_init)
    conn->max_read = SESSION_READ_MAXIMUM;
    conn->max_background = SESSION_BACKGROUND;
    conn->congestion_threshold = SESSION_BACKGROUND;
    conn->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV);
}

const struct fuse_lowlevel_ops tree_operations = {
    .init = tree_init,
    .lookup = tree_lookup,
    .getattr = tree_getattr,
    .open = tree_open,
    .release = tree_release,
    .read = tree_read,
    .readdir = tree_readdir,
};
