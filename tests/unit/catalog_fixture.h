// Help for the tests of catalog/: folders, keys, signed catalogs, and running minisign.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "skip.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "catalog/catalog.h"
#include "catalog/signed.h"

#define assert_ok(call, error)                                                                                         \
    do {                                                                                                               \
        (error).text[0] = '\0';                                                                                        \
        int result_ = (call);                                                                                          \
        if (result_ != 0)                                                                                              \
            fail_msg("%s: %d, %s", #call, result_, (error).text);                                                      \
    } while (0)

#define FIXTURE_SECRET_COMMENT "untrusted comment: minisign encrypted secret key\n"

// Gives `context` as the passphrase.
static inline int fixture_answer(void *context, const char *prompt, char *ret, size_t capacity)
{
    (void)prompt;
    const char *text = context;
    assert_true(strlen(text) < capacity);
    memcpy(ret, text, strlen(text) + 1);
    return (int)strlen(text);
}

// A folder of the test's own, removed by fixture_remove.
static inline char *fixture_folder(void)
{
    const char *base = getenv("TMPDIR");
    char *path;
    assert_true(asprintf(&path, "%s/rondo-catalog.XXXXXX", base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void fixture_remove(char **folder)
{
    DIR *d = opendir(*folder);
    for (struct dirent *e; d && (e = readdir(d));)
        unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    rmdir(*folder);
    free(*folder);
    *folder = NULL;
}

static inline const char *fixture_path(const char *folder, const char *name)
{
    static char paths[4][PATH_TEXT_SIZE];
    static unsigned next;
    char *path = paths[next++ % 4];
    assert_int_equal(path_format(path, PATH_TEXT_SIZE, "%s/%s", folder, name), 0);
    return path;
}

static inline void fixture_write(const char *folder, const char *name, const void *bytes, size_t n)
{
    assert_int_equal(io_replace_file(AT_FDCWD, fixture_path(folder, name), bytes, n, 0600), 0);
}

// The caller frees. (Inlined, gcc 12 takes what io_read_file gives for the address of `bytes`.)
static __attribute__((noinline, unused)) char *fixture_read(const char *folder, const char *name, size_t *ret_size)
{
    void *bytes = NULL;
    size_t n;
    assert_int_equal(io_read_file(AT_FDCWD, fixture_path(folder, name), 1 << 20, &bytes, &n), 0);
    if (ret_size)
        *ret_size = n;
    return bytes;
}

// A copy in memory of just that size, so that AddressSanitizer sees a read past its end. The caller frees.
static inline char *fixture_exact(const void *bytes, size_t n)
{
    char *exact = malloc(n > 0 ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    return exact;
}

static inline struct key_secret *fixture_key(void)
{
    struct key_secret *k = NULL;
    assert_int_equal(key_generate(&k, NULL), 0);
    return k;
}

// Runs minisign in `folder` with `input` on its stdin and what it says thrown away; returns its exit code, 127 if it is
// missing.
static inline int fixture_minisign(const char *folder, const char *input, char *const arguments[])
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (chdir(folder) < 0 || dup2(pipes[0], 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
            _exit(126);
        close(pipes[0]);
        close(pipes[1]);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    close(pipes[0]);
    assert_int_equal(write(pipes[1], input, strlen(input)), (ssize_t)strlen(input));
    close(pipes[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
#define MINISIGN(folder, input, ...) fixture_minisign(folder, input, (char *[]){"minisign", __VA_ARGS__, NULL})

static inline void fixture_need_minisign(void)
{
    if (MINISIGN("/", "", "-v") == 127) {
        SKIP("minisign is not installed");
    }
}

static inline struct sha256 fixture_hash(const char *text)
{
    return sha256_of(text, strlen(text));
}

// A catalog with some images, number `number`, issued at `issued`; the caller frees.
static inline void fixture_catalog(const struct key_secret *k, uint64_t number, int64_t issued, struct catalog *ret)
{
    struct key_public public;
    key_public_of(k, &public);
    struct error error;
    assert_ok(catalog_start(ret, "zoo", &public, &error), error);
    memset(ret->id, 7, sizeof ret->id);
    ret->number = number - 1;
    assert_ok(catalog_advance(ret, issued, CATALOG_EXPIRES_DEFAULT, &error), error);
    static const char *const versions[] = {"12.4", "12.5", "13.0"};
    for (unsigned i = 0; i < ARRAY_SIZE(versions); i++) {
        struct catalog_image image = {.name = "debian", .serial = i + 1, .manifest = fixture_hash(versions[i])};
        memcpy(image.version, versions[i], strlen(versions[i]) + 1);
        assert_ok(catalog_add_image(ret, &image, &error), error);
    }
    assert_ok(catalog_set_tag(ret, "debian", "12", "12.5", &error), error);
}

// Its signed text, appended.
static inline void fixture_sign(const struct key_secret *k, const struct catalog *c, struct buf *ret)
{
    struct error error;
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    assert_ok(catalog_format(c, NULL, NULL, &text, &error), error);
    assert_ok(signed_write(k, text.data, text.size, "rondo catalog", ret, &error), error);
}
