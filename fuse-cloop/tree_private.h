// What the tree's two files share: tree.c has names and attributes, tree_read.c the files' contents.
#pragma once

#include "fuse-cloop/table.h"
#include "fuse-cloop/tree.h"

#define KIND_FOLDER 0u
#define KIND_MANIFEST 15u // members are 1 to MANIFEST_MEMBERS_MAXIMUM

struct node {
    bool root; // of the shared tree
    struct table_key key;
    unsigned kind;
};

struct session *tree_session(fuse_req_t req);
// -ESTALE if the single version's entry is gone. Whether a key is still right is the table's matter.
int tree_parse_number(const struct session *s, fuse_ino_t number, struct node *ret);
// Answers with a failure as the kernel may see it: only a stale node is anything else than an input/output error.
void tree_fail(fuse_req_t req, int result, const struct error *error);

void tree_open(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file);
void tree_release(fuse_req_t req, fuse_ino_t number, struct fuse_file_info *file);
void tree_read(fuse_req_t req, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *file);
