// The files of the tree: opened, read, released. A reader gets either the bytes that the manifest vouches for, or an
// error. The kernel copies them straight from where the store has them decoded.
#include "base/cleanup.h"
#include "fuse-cloop/tree_private.h"
#include <assert.h>
#include <fcntl.h>

#include "base/banned.h"

static_assert(SESSION_READ_MAXIMUM <= VERSION_BORROW_MAXIMUM, // NOLINT(misc-redundant-expression): equal today
              "a read is borrowed at once");

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

void tree_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *file)
{
    struct session *s = tree_session(req);
    struct error error = {.text = ""};
    struct version_pieces pieces;
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
    r = table_read(s->table, n.key, n.kind - 1, (uint64_t)offset, size, &pieces, &error);
    if (r < 0) {
        tree_fail(req, r, &error);
        return;
    }
    fuse_reply_iov(req, pieces.list, (int)pieces.count);
    version_return(&pieces);
}
