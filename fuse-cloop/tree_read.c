// The files of the tree: opened, read, released. A reader gets either the bytes that the manifest vouches for, or an
// error.
#include "base/cleanup.h"
#include "fuse-cloop/tree_private.h"
#include <fcntl.h>

#include "base/banned.h"

// What a thread reads of a member stands here until it is written to the kernel: kept, so that no read allocates.
static _Thread_local void *buffer;

static void *thread_buffer(void)
{
    if (!buffer)
        buffer = malloc(SESSION_READ_MAXIMUM);
    return buffer;
}

void tree_free_buffer(void)
{
    free(TAKE_PTR(buffer));
}

void tree_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file)
{
    struct session *s = tree_session(req);
    struct node n;
    int r = tree_parse_number(s, number, &n);
    if (r == 0 && (file->flags & O_ACCMODE) != O_RDONLY)
        r = -EROFS;
    if (r == 0)
        r = table_file_opened(s->table, n.key);
    if (r < 0) {
        fuse_reply_err(req, -r);
        return;
    }
    file->keep_cache = 1;
    file->noflush = 1;
    if (fuse_reply_open(req, file) == -ENOENT) // nobody waits for the answer: there will be no RELEASE
        table_file_closed(s->table, n.key);
}

void tree_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file)
{
    struct session *s = tree_session(req);
    struct node n;
    (void)file;
    int r = tree_parse_number(s, number, &n);
    fuse_reply_err(req, 0);
    if (r == 0)
        table_file_closed(s->table, n.key); // after the answer: state.h, invariant 4
}

static void read_manifest(fuse_req_t req, const struct node *n, size_t size, uint64_t offset)
{
    struct session *s = tree_session(req);
    struct error error = {.text = ""};
    struct opened *o;
    size_t all;
    int r = table_use(s->table, n->key, &o, &error);
    if (r < 0) {
        tree_fail(req, r, &error);
        return;
    }
    const char *bytes = version_manifest_bytes(table_version(o), &all);
    size_t left = offset < all ? all - offset : 0;
    fuse_reply_buf(req, bytes + (all - left), size < left ? size : left);
    table_put(s->table, o);
}

static int read_member(struct session *s, const struct node *n, void *to, size_t *size, uint64_t offset,
                       struct error *error)
{
    struct opened *o;
    int r = table_use(s->table, n->key, &o, error);
    if (r < 0)
        return r;
    const struct manifest *m = version_manifest(table_version(o));
    unsigned member = n->kind - 1;
    uint64_t all = n->kind != KIND_FOLDER && member < m->member_count ? m->members[member].size : 0;
    uint64_t left = offset < all ? all - offset : 0;
    table_put(s->table, o);
    if (*size > left)
        *size = left;
    return *size > 0 ? table_read(s->table, n->key, member, offset, to, *size, error) : 0;
}

void tree_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *file)
{
    struct session *s = tree_session(req);
    struct error error = {.text = ""};
    struct node n;
    (void)file;
    int r = tree_parse_number(s, number, &n);
    if (r < 0) {
        tree_fail(req, r, &error);
        return;
    }
    if (n.kind == KIND_MANIFEST) {
        read_manifest(req, &n, size, (uint64_t)offset);
        return;
    }
    if (size > SESSION_READ_MAXIMUM)
        size = SESSION_READ_MAXIMUM; // the kernel agreed to ask for no more
    char *to = thread_buffer();
    if (!to) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    r = read_member(s, &n, to, &size, (uint64_t)offset, &error);
    if (r < 0)
        tree_fail(req, r, &error);
    else
        fuse_reply_buf(req, to, size);
}
