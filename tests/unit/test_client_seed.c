// client/seed.h and client/iso9660.h: the disk of first-boot settings is what others read there, and holds what was
// given, byte for byte; what cannot be given is refused, private keys above all.
#include "client/seed.h"

#include "base/cleanup.h"
#include "base/io.h"
#include "client/iso9660.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/folder_fixture.h"
#include "tests/unit/skip.h"

#include "base/banned.h"

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPnvuup+j+wTQXa8KsYw90M2WPKDVTMscE00d9+2TF6C"

static int setup(void **state)
{
    folder_set_up(state);
    return chdir(folder);
}

static void put(const char *name, const void *bytes, size_t n)
{
    assert_int_equal(io_replace_file(AT_FDCWD, name, bytes, n, 0600), 0);
}

static bool isoinfo_is_there(void)
{
    return access("/usr/bin/isoinfo", X_OK) == 0;
}

// What isoinfo, which knows nothing of us, says about the image; `more`: its arguments.
static void ask_isoinfo(const struct buf *image, const char *first, const char *second, char *ret, size_t capacity)
{
    put("image", image->data, image->size);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        execl("/usr/bin/isoinfo", "isoinfo", "-i", "image", "-R", first, second, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], ret + n, capacity - 1 - n)) > 0;)
        n += (size_t)got;
    ret[n] = '\0';
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void its_files_are_read_by_others(void **state)
{
    (void)state;
    if (!isoinfo_is_there())
        SKIP("isoinfo (genisoimage) is not installed");
    struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1 << 20);
    char large[5000], said[16384];
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = (char)('a' + i % 23);
    const struct iso9660_file files[] = {{"a-name-of-twenty-eight-bytes", "x", 1},
                                         {"empty", NULL, 0},
                                         {"large", large, sizeof(large)},
                                         {"sector", large, ISO9660_SECTOR}};
    assert_int_equal(iso9660_write(&image, "a label", files, 4), 0);
    assert_true(image.size == (21 + 1 + 0 + 3 + 1) * ISO9660_SECTOR);
    ask_isoinfo(&image, "-f", NULL, said, sizeof(said));
    assert_string_equal(said, "/a-name-of-twenty-eight-bytes\n/empty\n/large\n/sector\n");
    ask_isoinfo(&image, "-d", NULL, said, sizeof(said));
    assert_non_null(strstr(said, "Volume id: a label\n"));
    assert_non_null(strstr(said, "Rock Ridge"));
    ask_isoinfo(&image, "-x", "/large", said, sizeof(said));
    assert_int_equal(strlen(said), sizeof(large));
    assert_memory_equal(said, large, sizeof(large));
    ask_isoinfo(&image, "-x", "/a-name-of-twenty-eight-bytes", said, sizeof(said));
    assert_string_equal(said, "x");
    struct buf again CLEANUP(buf_free) = BUF_WITH_MAXIMUM(1 << 20);
    assert_int_equal(iso9660_write(&again, "a label", files, 4), 0);
    assert_int_equal(again.size, image.size);
    assert_memory_equal(again.data, image.data, image.size);
}

static void more_than_fits_is_refused(void **state)
{
    (void)state;
    struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(21 * ISO9660_SECTOR);
    const struct iso9660_file file = {"name", "x", 1}, long_name = {"a-name-of-twenty-nine-bytes-x", "x", 1};
    struct iso9660_file many[ISO9660_FILES_MAXIMUM + 1];
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = file;
    assert_int_equal(iso9660_write(&image, "label", &file, 1), -E2BIG);
    assert_int_equal(iso9660_write(&image, "label", &long_name, 1), -EINVAL);
    assert_int_equal(iso9660_write(&image, "label", many, ARRAY_SIZE(many)), -EINVAL);
    assert_int_equal(iso9660_write(&image, "a label that has more than 32 bytes", &file, 0), -EINVAL);
    assert_int_equal(image.size, 0);
}

static void settings_are_in_nocloud_form(void **state)
{
    (void)state;
    struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM);
    struct error error;
    char said[4096], first_id[4096];
    static const char user[] = "#!/bin/sh\necho \0\xff binary";
    static const char keys[] = "# mine\n\n" KEY " bob \"the\\builder\"\r\n" KEY;
    put("user", user, sizeof(user));
    put("keys.pub", keys, sizeof(keys) - 1);
    assert_int_equal(symlink("keys.pub", "link"), 0); // as good as the file
    const struct seed_options o = {.user_data = "user", .ssh_key = "link", .hostname = "box-1.example.org"};
    if (seed_make(&o, &image, &error) < 0)
        fail_msg("%s", error.text);
    assert_non_null(memmem(image.data, image.size, user, sizeof(user)));
    if (!isoinfo_is_there())
        SKIP("isoinfo (genisoimage) is not installed");
    ask_isoinfo(&image, "-x", "/meta-data", said, sizeof(said));
    assert_memory_equal(said, "instance-id: rondo-", 19);
    const char *rest = strchr(said, '\n');
    assert_string_equal(rest, "\nlocal-hostname: \"box-1.example.org\"\npublic-keys:\n"
                              "  - \"" KEY " bob \\\"the\\\\builder\\\"\"\n  - \"" KEY "\"\n");
    memcpy(first_id, said, sizeof(said));
    buf_clear(&image);
    const struct seed_options hostname = {.hostname = "b"};
    assert_int_equal(seed_make(&hostname, &image, &error), 0);
    ask_isoinfo(&image, "-x", "/meta-data", said, sizeof(said));
    assert_non_null(strstr(said, "local-hostname: \"b\"\n"));
    assert_null(strstr(said, "public-keys"));
    assert_memory_not_equal(said, first_id, 19 + 32); // another machine
    ask_isoinfo(&image, "-f", NULL, said, sizeof(said));
    assert_string_equal(said, "/meta-data\n/user-data\n"); // cloud-init wants both
}

static void nothing_given_is_no_disk(void **state)
{
    (void)state;
    struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM);
    assert_int_equal(seed_make(&(struct seed_options){.hostname = NULL}, &image, NULL), 0);
    assert_int_equal(image.size, 0);
}

static void refused(const struct seed_options *o, int code, const char *words)
{
    struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM);
    struct error error = {.text = ""};
    assert_int_equal(seed_make(o, &image, &error), code);
    if (!strstr(error.text, words))
        fail_msg("\"%s\" lacks \"%s\"", error.text, words);
    assert_int_equal(image.size, 0);
}

static void keys_that_are_not_public_are_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n", "private key"},
        {KEY "\n-----BEGIN RSA PRIVATE KEY-----\n", "private key"},
        {"PuTTY-User-Key-File-3: ssh-ed25519\n", "private key"},
        {"", "no public key"},
        {"# nothing\n", "no public key"},
        {"ssh-ed25519\n", "line 1"},
        {KEY "\nssh-ed25519 short\n", "line 2"},
        {"command=\"reboot\" " KEY "\n", "line 1"},
        {"ssh-dss AAAAB3NzaC1kc3MAAACBAPnvuup+j+wTQXa8KsYw90M2WPKDVTMscE00d9\n", "line 1"},
        {KEY " a\x1b[1mb\n", "line 1"},
        {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPnvuup'j+wTQXa8KsYw90M2WPKDVTMscE00d9+2TF6C\n", "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        put("bad", bad[i].text, strlen(bad[i].text));
        refused(&(struct seed_options){.ssh_key = "bad"}, -EINVAL, bad[i].words);
    }
    put("bad", KEY "\0 x\n", sizeof(KEY "\0 x\n") - 1); // a NUL
    refused(&(struct seed_options){.ssh_key = "bad"}, -EINVAL, "line 1");
}

static void files_that_are_none_are_refused(void **state)
{
    (void)state;
    CLEANUP_FREE char *large = calloc(1, SEED_USER_DATA_MAXIMUM + 1);
    put("large", large, SEED_USER_DATA_MAXIMUM + 1);
    put("fits", large, SEED_USER_DATA_MAXIMUM);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    refused(&(struct seed_options){.user_data = "missing"}, -ENOENT, "missing");
    refused(&(struct seed_options){.user_data = "large"}, -EINVAL, "1024 KiB");
    refused(&(struct seed_options){.user_data = "fifo"}, -EINVAL, "not a regular file");
    refused(&(struct seed_options){.user_data = "."}, -EINVAL, "not a regular file");
    refused(&(struct seed_options){.user_data = "/dev/zero"}, -EINVAL, "not a regular file");
    refused(&(struct seed_options){.user_data = ""}, -ENOENT, "--user-data");
    refused(&(struct seed_options){.ssh_key = "fits"}, -EINVAL, "64 KiB");
    refused(&(struct seed_options){.ssh_key = "fifo"}, -EINVAL, "not a regular file");
    struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM);
    assert_int_equal(seed_make(&(struct seed_options){.user_data = "fits"}, &image, NULL), 0);
}

static void hostnames_are_checked(void **state)
{
    static const char *const bad[] = {"",
                                      ".",
                                      "a.",
                                      ".a",
                                      "a..b",
                                      "-a",
                                      "a-",
                                      "a.-b",
                                      "a b",
                                      "a_b",
                                      "a\nb",
                                      "\xc3\xa4",
                                      "a1234567890123456789012345678901234567890123456789012345678901234",
                                      "a12345678901234567890123456789012345678901234567890123456789012.bc"};
    static const char *const good[] = {"a", "a-b", "A.1",
                                       "a12345678901234567890123456789012345678901234567890123456789012"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refused(&(struct seed_options){.hostname = bad[i]}, -EINVAL, "--hostname");
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct buf image CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_IMAGE_MAXIMUM);
        assert_int_equal(seed_make(&(struct seed_options){.hostname = good[i]}, &image, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_files_are_read_by_others),
        cmocka_unit_test(more_than_fits_is_refused),
        cmocka_unit_test(settings_are_in_nocloud_form),
        cmocka_unit_test(nothing_given_is_no_disk),
        cmocka_unit_test(keys_that_are_not_public_are_refused),
        cmocka_unit_test(files_that_are_none_are_refused),
        cmocka_unit_test(hostnames_are_checked),
    };
    return cmocka_run_group_tests_name("client/seed", tests, setup, folder_tear_down);
}
