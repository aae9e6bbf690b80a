// A walk over what a folder holds.
#pragma once

// Calls `each` for every entry of the folder `name` in `dir` ("." is `dir` itself) but "." and "..", in no order;
// `folder` is a descriptor of that folder, for the length of the call. What `each` returns ends the walk if it is not
// 0, and is returned; otherwise 0, or -errno if the folder cannot be opened (no symbolic link is followed) or read.
// `each` may remove the entry that it is given.
int folder_walk(int dir, const char *name, int (*each)(void *context, int folder, const char *entry), void *context);
