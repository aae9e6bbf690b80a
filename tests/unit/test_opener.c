// The process that opens objects for rondo-cloop opens nothing else, whoever asks (fuse-cloop/opener.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "fuse-cloop/opener.h"
#include "skip.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

#define DIGITS "23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" // and two before them

static char folder[] = "/tmp/rondo-opener-XXXXXX";
static int root = -1;

static void make_file(const char *path)
{
    int fd = openat(root, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, "object", 6) == 6);
    close(fd);
}

static int begin(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0 && mkdirat(root, "objects", 0700) == 0 && mkdirat(root, "objects/01", 0700) == 0);
    make_file("secret");
    make_file("objects/01/01" DIGITS);
    make_file("objects/01/02" DIGITS);
    make_file("objects/01/id_ed25519");
    assert_int_equal(symlinkat("/etc/passwd", root,
                               "objects/01/01a"
                               "3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
                     0);
    assert_int_equal(mkfifoat(root,
                              "objects/01/01b"
                              "3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                              0600),
                     0);
    return 0;
}

static int finish(void **state)
{
    char command[64];
    (void)state;
    close(root);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); // NOLINT(cert-env33-c): our own folder
}

static void objects_are_opened_and_nothing_else(void **state)
{
    static const struct {
        const char *path;
        int result; // 0: opened
    } table[] = {
        {"objects/01/01" DIGITS, 0},
        {"objects/01/03" DIGITS, -EACCES}, // the folder is another's
        {"objects/01/02" DIGITS, -EACCES},
        {"objects/01/id_ed25519", -EACCES},
        {"secret", -EACCES},
        {"objects/../secret", -EACCES},
        {"objects/01/../../secret", -EACCES},
        {"/etc/passwd", -EACCES},
        {"objects/01/01" DIGITS "/", -EACCES},
        {"objects/01/01a3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
         -EXDEV}, // a link that leads out
        {"objects/01/01b3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", -ENXIO}, // a FIFO
        {"objects/01/01c3456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", -ENOENT},
    };
    struct beside opener;
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    SKIP("a sanitizer makes calls of its own");
#endif
    assert_int_equal(opener_start(&opener, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char text[8] = "";
        int fd = opener_open(&opener, root, table[i].path);
        if ((table[i].result == 0) != (fd >= 0) || (fd < 0 && fd != table[i].result))
            fail_msg("%s: %d", table[i].path, fd);
        if (fd < 0)
            continue;
        assert_int_equal(read(fd, text, sizeof text), 6);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        close(fd);
    }
    assert_int_equal(opener_open(&opener, -1, table[0].path), -EACCES);
    kill(opener.pid, SIGKILL);
    assert_int_equal(opener_open(&opener, root, table[0].path), -EPIPE);
    beside_end(&opener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(objects_are_opened_and_nothing_else)};
    return cmocka_run_group_tests(tests, begin, finish);
}
