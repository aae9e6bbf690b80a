// Whatever a guest wrote where clones are searched, we go on as before: nothing of ours ends, hangs, or is left over.
#include "tests/unit/clone_fixture.h"

#include "base/banned.h"

static void what_cannot_be_searched_is_said(void **state)
{
    struct image image;
    struct error error = {.text = ""};
    (void)state;
    make("other", "ext4", "64bit", "4096", &image);
    assert_int_equal(check(&image, &error), -ENODATA);
    image.failure = -EIO;
    assert_int_equal(check(&image, &error), -EPROTO);
    assert_non_null(strstr(error.text, strerror(EIO)));
    image.failure = 0;
    for (size_t size = 0; size < 1100; size += 99) {
        image.size = size;
        assert_int_equal(check(&image, &error), size < 1024 + 58 ? -ENODATA : -EPROTO);
    }
    image.size = 8192; // cut off behind the superblock
    error.text[0] = '\0';
    assert_int_equal(check(&image, &error), -EPROTO);
    assert_true(strncmp(error.text, "the disk's file system could not be read: ", 42) == 0);
    free(image.bytes);
}

// The child that is reading: proc(5), while we have one thread and one child.
static pid_t reader(void)
{
    char text[64] = "";
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return (pid_t)strtol(text, NULL, 10);
}

static void assert_reader_says(const char *file, const char *line)
{
    char path[64], text[4096] = "";
    snprintf(path, sizeof path, "/proc/%d/%s", (int)reader(), file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    if (!strstr(text, line))
        fail_msg("%s: no \"%s\" in %s", path, line, text);
}

static int look_at_reader(void *context, uint64_t offset, void *to, size_t n)
{
    char path[64];
    unsigned open_files = 0;
    assert_reader_says("status", "\nNoNewPrivs:\t1\n");
    assert_reader_says("status", "\nSeccomp:\t2\n");
    assert_reader_says("limits", "\nMax cpu time              10 ");
    snprintf(path, sizeof path, "/proc/%d/fd", (int)reader());
    DIR *d CLEANUP_CLOSEDIR = opendir(path);
    if (!d && errno == EACCES) // it may not be traced, by us neither
        return read_image(context, offset, to, n);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) // NOLINT(clang-analyzer-core.NonNullParamChecker): it failed above
        open_files += e->d_name[0] != '.';
    assert_int_equal(open_files, 1);
    return read_image(context, offset, to, n);
}

static int kill_reader(void *context, uint64_t offset, void *to, size_t n)
{
    struct image *i = context;
    if (i->reads == 20)
        kill(reader(), SIGSEGV);
    return read_image(context, offset, to, n);
}

static void the_reader_has_one_socket_and_may_fail(void **state)
{
    struct image image;
    struct clone_findings f;
    struct error error = {.text = ""};
    (void)state;
    make("dirty", "ext4", "64bit", "4096", &image);
    struct clone_disk disk = disk_of(&image);
    disk.read = look_at_reader;
    assert_int_equal(clone_check(&disk, &f, &error), 0);
    assert_int_equal(f.count, ARRAY_SIZE(all));
    image.reads = 0;
    disk.read = kill_reader;
    assert_int_equal(clone_check(&disk, &f, &error), -EPROTO);
    assert_non_null(strstr(error.text, "its reader"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    free(image.bytes);
}

// SplitMix64 (Steele, Lea, Flood, 2014): the damage of a seed is always the same.
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

// Only bytes that say something: not those that are zero in all their neighbourhood.
static void damage(struct image *i, uint64_t *random)
{
    static const unsigned char zero[64];
    for (unsigned count = 1 + (unsigned)(next_random(random) % 24); count > 0; count--) {
        bool super = next_random(random) % 64 == 0;
        size_t at;
        do
            at = super ? 1024 + next_random(random) % 1024 : next_random(random) % i->size;
        while (memcmp(i->bytes + (at & ~(size_t)63), zero, sizeof zero) == 0);
        i->bytes[at] = next_random(random) % 3 == 0 ? 0xff : (unsigned char)next_random(random);
    }
}

static void damage_costs_a_sentence_at_most(void **state)
{
    unsigned searched = 0, failed = 0;
    struct image good, bad;
    (void)state;
    make("dirty", "ext4", "64bit,^metadata_csum", "1024", &good);
    bad = good;
    bad.bytes = malloc(good.size);
    assert_non_null(bad.bytes);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        uint64_t random = seed;
        struct error error = {.text = ""};
        memcpy(bad.bytes, good.bytes, good.size);
        damage(&bad, &random);
        bad.reads = 0;
        int r = check(&bad, &error);
        if ((r != 0 && r != -ENODATA && r != -EPROTO) || (r < 0) != (error.text[0] != '\0') || bad.reads > 100000)
            fail_msg("seed %llu: %d %s after %u reads", (unsigned long long)seed, r, error.text, bad.reads);
        searched += r == 0;
        failed += r == -EPROTO;
    }
    print_message("# %u seeds: %u searched, %u could not be read\n", seeds, searched, failed);
    assert_true(searched > 0 && failed > 0);
    free(good.bytes);
    free(bad.bytes);
}

static void a_signal_ends_it(void **state)
{
    struct image image;
    struct error error = {.text = ""};
    (void)state;
    make("clean", "ext4", "64bit", "4096", &image);
    cli_catch_signals();
    raise(SIGTERM);
    assert_int_equal(check(&image, &error), -ECANCELED);
    cli_take_signal();
    assert_int_equal(check(&image, &error), 0);
    free(image.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_searched_is_said),
        cmocka_unit_test(the_reader_has_one_socket_and_may_fail),
        cmocka_unit_test(damage_costs_a_sentence_at_most),
        cmocka_unit_test(a_signal_ends_it),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
