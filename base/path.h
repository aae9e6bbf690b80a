// Where things live: the XDG base directories, each overridable, and the system's directories for root without
// XDG variables (CLI, last paragraph).
//
//   home     RONDO_HOME     or $XDG_DATA_HOME/rondo    or ~/.local/share/rondo  or (root) /var/lib/rondo
//   cache    RONDO_CACHE    or $XDG_CACHE_HOME/rondo   or ~/.cache/rondo        or (root) /var/cache/rondo
//   runtime  RONDO_RUNTIME  or $XDG_RUNTIME_DIR/rondo  or (root) /run/rondo     or /tmp/rondo-<uid>
//   config   $XDG_CONFIG_HOME/rondo or ~/.config/rondo or (root) /etc/rondo
#pragma once

#include "base/error.h"
#include <stddef.h>

#define PATH_TEXT_SIZE 4096

enum path_kind { PATH_HOME, PATH_CACHE, PATH_RUNTIME, PATH_CONFIG };

// Writes the folder's absolute path. Nothing is created.
int path_find(enum path_kind kind, char ret_path[static PATH_TEXT_SIZE], struct error *error);

// The same, and makes it (mode 0700). A runtime folder that another user owns, that others may write to, or that
// is a symbolic link is refused (-EPERM): sockets and descriptors pass there.
int path_make(enum path_kind kind, char ret_path[static PATH_TEXT_SIZE], struct error *error);

// snprintf that fails with -ENAMETOOLONG instead of cutting.
int path_format(char *ret_path, size_t capacity, const char *format, ...) __attribute__((format(printf, 3, 4)));

// The full path of a sibling program (rondo-cloop, …): beside this executable, else in ../libexec/rondo,
// where make install puts them, or from there in ../../bin.
int path_find_program(const char *name, char ret_path[static PATH_TEXT_SIZE], struct error *error);
