// Stands in for libFuzzer where a fuzz target only handles the inputs of its corpus, once each: `PROGRAM FOLDER…`. Each
// target is linked with it from the objects that the unit tests under sanitizers have, so that nothing is compiled
// twice, and no clang is needed.
//
// As with libFuzzer, the empty input comes first, an input that takes more than ten seconds ends the program, each lies
// in memory of just its size, and which one it was stands in the last line on standard error. ASAN_OPTIONS bounds the
// memory (tests/fuzz/corpus.sh).
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

static void handle(const char *name, const unsigned char *data, size_t size)
{
    fprintf(stderr, "%s\n", name);
    alarm(10);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
}

static int handle_file(int folder, const char *name)
{
    const int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    struct stat status;
    unsigned char *data = NULL;
    int err = -1;
    if (fd < 0 || fstat(fd, &status) < 0)
        goto out;
    const size_t size = (size_t)status.st_size;
    data = malloc(size);
    if (!data || read(fd, data, size) != (ssize_t)size)
        goto out;
    handle(name, data, size);
    err = 0;
out:
    if (err)
        perror(name);
    free(data);
    if (fd >= 0)
        close(fd);
    return err;
}

int main(int argc, char **argv)
{
    int err = argc > 1 ? 0 : -1;
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    handle("(empty)", (const unsigned char *)"", 0);
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        if (!folder) {
            perror(argv[i]);
            return 1;
        }
        for (const struct dirent *e; (e = readdir(folder));)
            if (e->d_name[0] != '.' && handle_file(dirfd(folder), e->d_name) < 0)
                err = -1;
        closedir(folder);
    }
    return err ? 1 : 0;
}
