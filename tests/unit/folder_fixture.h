// A folder for each test of a file, which is removed behind it.
#pragma once

#include "tests/unit/remove_tree.h"

#include <string.h>
#include <unistd.h>

static char folder[64];

static inline int folder_set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), TEMPORARY_FOLDER);
    assert_non_null(mkdtemp(folder));
    return 0;
}

static inline int folder_tear_down(void **state)
{
    (void)state;
    assert_int_equal(chdir("/"), 0);
    remove_tree(folder);
    return 0;
}

// The path of something in the folder becomes the variable's value.
static inline const char *folder_export(const char *variable, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(setenv(variable, path, 1), 0);
    return getenv(variable);
}
