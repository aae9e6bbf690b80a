// A folder for each test of base/io.h, as its state; the runner removes it with its own.
#pragma once

#include "base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/path.h"

static inline int make_folder(void **state)
{
    static char path[PATH_TEXT_SIZE];
    const char *parent = getenv("TMPDIR");
    if (path_format(path, sizeof path, "%s/rondo-io.XXXXXX", parent ? parent : "/tmp") < 0 || !mkdtemp(path))
        return -1;
    int *dir = malloc(sizeof *dir);
    if (!dir)
        return -1;
    *dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = dir;
    return *dir < 0 ? -1 : 0;
}

static inline int close_folder(void **state)
{
    int *dir = *state;
    int r = close(*dir);
    free(dir);
    return r;
}

static inline unsigned count_names(int dir)
{
    DIR *d CLEANUP_CLOSEDIR = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    return n;
}

static inline void assert_content(int dir, const char *path, const char *wanted)
{
    void *bytes CLEANUP_FREE = NULL;
    size_t size = 0;
    assert_int_equal(io_read_file(dir, path, 1 << 20, &bytes, &size), 0);
    assert_int_equal(size, strlen(wanted));
    assert_string_equal((const char *)bytes, wanted);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, close_folder)
