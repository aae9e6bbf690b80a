// What a clone must not carry is found in ext2, ext3 and ext4, on the disk or in a partition; and whatever a guest
// wrote there, we go on as before: nothing of ours ends, hangs, or is left over.
#include "client/clone_check.h"

#include "base/cleanup.h"
#include "base/cursor.h"
#include "base/io.h"
#include "client/cli.h"
#include "client/generalize.h"
#include "client/partition.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/banned.h"

#define SECTOR 512u
#define MIB (UINT64_C(1) << 20)

extern char **environ;
const struct verb verbs[] = {{NULL, NULL, NULL, NULL}};

static char folder[256];
static unsigned seeds = 200;

struct image {
    unsigned char *bytes;
    size_t size;
    unsigned reads;
    int failure; // of every read
};

static int read_image(void *context, uint64_t offset, void *to, size_t n)
{
    struct image *i = context;
    assert_true(offset <= i->size && n <= i->size - offset);
    i->reads++;
    if (i->failure)
        return i->failure;
    memcpy(to, i->bytes + offset, n);
    return 0;
}

static struct clone_disk disk_of(struct image *i)
{
    return (struct clone_disk){.read = read_image, .context = i, .size = i->size};
}

// --- making file systems -------------------------------------------------------------------------------------------

static int run(const char *const *arguments)
{
    pid_t child;
    int status;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    int r = posix_spawnp(&child, arguments[0], &actions, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return r == 0 && waitpid(child, &status, 0) == child ? status : -1;
}

static void put(const char *tree, const char *path, const char *text, mode_t mode)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s/%s/%s", folder, tree, path);
    *strrchr(whole, '/') = '\0';
    assert_int_equal(io_make_folders(AT_FDCWD, whole, 0755), 0);
    whole[strlen(whole)] = '/';
    assert_int_equal(io_replace_file(AT_FDCWD, whole, text, strlen(text), mode), 0);
}

// The tree `tree` in a file system of `size`; `options` are mke2fs's.
static void make(const char *tree, const char *type, const char *features, const char *block_size, struct image *ret)
{
    char from[512], to[512];
    void *bytes;
    snprintf(from, sizeof from, "%s/%s", folder, tree);
    snprintf(to, sizeof to, "%s/image", folder);
    const char *const arguments[] = {"mke2fs", "-q",       "-F", "-t", type, "-O", features,
                                     "-b",     block_size, "-d", from, to,   "8M", NULL};
    unlink(to);
    assert_int_equal(run(arguments), 0);
    *ret = (struct image){.reads = 0};
    assert_int_equal(io_read_file(AT_FDCWD, to, 16 * MIB, &bytes, &ret->size), 0);
    ret->bytes = bytes;
}

static const char machine_id[] = "0123456789abcdef0123456789abcdef\n";

static void make_trees(void)
{
    put("clean", "etc/machine-id", "", 0644);
    put("clean", "etc/shadow", "root::20000::::::\ndaemon:*:20000::::::\nold:!$y$x:20000::::::\n:$y$x:1::::::\nrubbish",
        0600);
    put("clean", "etc/ssh/sshd_config", "Port 22\n", 0644);
    put("clean", "etc/ssh/ssh_host_rsa_key.pub", "public", 0644);
    put("clean", "root/.ssh/authorized_keys", "", 0600);
    put("clean", "root/.ssh/id_rsa.pub", "public", 0644);
    put("clean", "root/.bash_history", "", 0600);
    put("clean", "var/lib/systemd/random-seed", "", 0600);
    put("other", "vmlinuz", "kernel", 0644);
    put("uninitialized", "etc/machine-id", "uninitialized\n", 0444);
    put("uninitialized", "usr/sbin/rondo-generalize", "#!/bin/sh\n", 0644); // not a program

    put("dirty", "etc/ssh/ssh_host_rsa_key", "secret", 0600);
    put("dirty", "etc/ssh/ssh_host_ed25519_key", "secret", 0600);
    put("dirty", "etc/machine-id", machine_id, 0444);
    put("dirty", "var/lib/dbus/machine-id", machine_id, 0444);
    put("dirty", "var/lib/systemd/random-seed", "seed", 0600);
    put("dirty", "var/lib/systemd/credential.secret", "secret", 0600);
    put("dirty", "root/.ssh/authorized_keys", "ssh-ed25519 AAAA", 0600);
    put("dirty", "home/alice/.ssh/id_ed25519", "secret", 0600);
    put("dirty", "etc/shadow", "root:$y$j9T$abc:20000::::::\nalice:$6$abc:20000::::::\nbob:!:1::::::\n", 0600);
    put("dirty", "etc/NetworkManager/system-connections/home.nmconnection", "psk=secret", 0600);
    put("dirty", "root/.bash_history", "history", 0600);
    put("dirty", "home/alice/.zsh_history", "history", 0600);
    put("dirty", "home/b\033[31mob\n/.ash_history", "history", 0600);
    put("dirty", "home/c/.sh_history", "history", 0600);
    put("dirty", "home/d/.python_history", "history", 0600);
    put("dirty", "home/e/.local/share/fish/fish_history", "history", 0600);
    put("dirty", "var/lib/dhcp/dhclient.eth0.leases", "lease {}", 0644);
    put("dirty", "etc/udev/rules.d/70-persistent-net.rules", "SUBSYSTEM", 0644);
    put("dirty", "var/lib/cloud/instances/i-1/boot-finished", "now", 0644);
    put("dirty", "var/log/journal/0123456789abcdef0123456789abcdef/system.journal", "log", 0644);
    put("dirty", "usr/sbin/rondo-generalize", "#!/bin/sh\n", 0755);
}

static int set_up(void **state)
{
    (void)state;
    const char *long_test = getenv("RONDO_TEST_LONG");
    const char *path = getenv("PATH");
    char with_sbin[4096];
    snprintf(folder, sizeof folder, "%s/clone.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    snprintf(with_sbin, sizeof with_sbin, "%s:/usr/sbin:/sbin", path ? path : "/usr/bin:/bin");
    setenv("PATH", with_sbin, 1);
    if (long_test && *long_test)
        seeds = 5000;
    if (!mkdtemp(folder))
        return -1;
    make_trees();
    return 0;
}

static int tear_down(void **state)
{
    const char *const arguments[] = {"rm", "-rf", "--", folder, NULL};
    (void)state;
    return run(arguments);
}

// --- finding -------------------------------------------------------------------------------------------------------

static const char *const all[] = {
    "ssh host keys: /etc/ssh/ssh_host_", // in the folder's own order
    "machine-id: /etc/machine-id, /var/lib/dbus/machine-id",
    "random seeds: /var/lib/systemd/random-seed",
    "secrets of this one machine: /var/lib/systemd/credential.secret",
    "authorised ssh keys: /root/.ssh/authorized_keys",
    "private keys: /home/alice/.ssh/id_ed25519",
    "passwords (/etc/shadow) of: root, alice",
    "secrets of networks: /etc/NetworkManager/system-connections/home.nmconnection",
    "histories: /root/.bash_history, ",
    "DHCP leases: /var/lib/dhcp/dhclient.eth0.leases",
    "names of this machine's network cards: /etc/udev/rules.d/70-persistent-net.rules",
    "cloud-init's instances: /var/lib/cloud/instances/i-1",
    "logs: /var/log/journal/0123456789abcdef0123456789abcdef",
};

static void assert_all_found(struct image *i)
{
    struct clone_findings f;
    struct error error = {.text = ""};
    const struct clone_disk disk = disk_of(i);
    int r = clone_check(&disk, &f, &error);
    assert_string_equal(error.text, "");
    assert_int_equal(r, 0);
    for (unsigned k = 0; k < f.count && k < ARRAY_SIZE(all); k++)
        assert_true(strncmp(f.texts[k], all[k], strlen(all[k])) == 0 || (print_message("# %s\n", f.texts[k]), false));
    assert_int_equal(f.count, ARRAY_SIZE(all));
    assert_non_null(strstr(f.texts[0], "ssh_host_rsa_key"));
    assert_non_null(strstr(f.texts[0], "ssh_host_ed25519_key"));
    assert_non_null(strstr(f.texts[8], " and 2 more"));
    for (unsigned k = 0; k < f.count; k++)
        assert_null(strpbrk(f.texts[k], "\033\n"));
    assert_true(f.generalizes && !f.unclean);
}

static void every_kind_of_file_system_is_searched(void **state)
{
    static const char *const kinds[][3] = {{"ext4", "64bit,metadata_csum", "4096"},
                                           {"ext4", "64bit,metadata_csum,inline_data", "4096"},
                                           {"ext4", "^64bit,^metadata_csum,^extent", "1024"},
                                           {"ext3", "none,has_journal,dir_index", "4096"},
                                           {"ext2", "none", "2048"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct image image;
        make("dirty", kinds[i][0], kinds[i][1], kinds[i][2], &image);
        assert_all_found(&image);
        free(image.bytes);
    }
}

static void a_clean_system_is_clean(void **state)
{
    static const char *const trees[] = {"clean", "uninitialized"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(trees); i++) {
        struct image image;
        struct clone_findings f;
        make(trees[i], "ext4", "64bit,metadata_csum", "4096", &image);
        const struct clone_disk disk = disk_of(&image);
        assert_int_equal(clone_check(&disk, &f, NULL), 0);
        if (f.count > 0)
            fail_msg("%s", f.texts[0]);
        assert_false(f.generalizes || f.unclean);
        free(image.bytes);
    }
}

static void a_journal_to_be_replayed_is_mentioned(void **state)
{
    struct image image;
    struct clone_findings f;
    (void)state;
    make("dirty", "ext4", "64bit,metadata_csum", "4096", &image);
    image.bytes[1024 + 0x60] |= 4; // s_feature_incompat: INCOMPAT_RECOVER
    const struct clone_disk disk = disk_of(&image);
    assert_int_equal(clone_check(&disk, &f, NULL), 0);
    assert_true(f.unclean);
    assert_int_equal(f.count, ARRAY_SIZE(all));
    free(image.bytes);
}

// --- partitions ----------------------------------------------------------------------------------------------------

// Two file systems at 1 and 10 MiB of a disk of 20; the first has no /etc.
static void make_parts(struct image *ret)
{
    struct image first, second;
    *ret = (struct image){.bytes = calloc(1, 20 * MIB), .size = 20 * MIB};
    make("other", "ext4", "64bit", "4096", &first);
    make("dirty", "ext4", "64bit", "4096", &second);
    memcpy(ret->bytes + MIB, first.bytes, first.size);
    memcpy(ret->bytes + 10 * MIB, second.bytes, second.size);
    free(first.bytes);
    free(second.bytes);
}

static void put_gpt(struct image *i, unsigned entry_size)
{
    unsigned char *head = i->bytes + SECTOR, *entry = i->bytes + 2 * SECTOR;
    put_le64(head, UINT64_C(0x5452415020494645)); // "EFI PART"
    put_le64(head + 72, 2);
    put_le32(head + 80, 128);
    put_le32(head + 84, entry_size);
    for (unsigned k = 0; k < 3; k++) { // the second is not used
        memset(entry + k * entry_size, k == 1 ? 0 : 0xaf, 16);
        put_le64(entry + k * entry_size + 32, (k == 0 ? MIB : 10 * MIB) / SECTOR);
        put_le64(entry + k * entry_size + 40, (k == 0 ? 9 * MIB : 18 * MIB) / SECTOR - 1);
    }
}

static void put_mbr(struct image *i)
{
    put_le16(i->bytes + 510, 0xaa55);
    for (unsigned k = 0; k < 2; k++) {
        unsigned char *entry = i->bytes + 446 + 16 * (k + 1);
        entry[4] = 0x83;
        put_le32(entry + 8, (uint32_t)((k == 0 ? MIB : 10 * MIB) / SECTOR));
        put_le32(entry + 12, (uint32_t)(8 * MIB / SECTOR));
    }
}

static void the_partition_with_etc_is_searched(void **state)
{
    struct image image;
    (void)state;
    make_parts(&image);
    put_mbr(&image);
    assert_all_found(&image);
    put_gpt(&image, 128); // counts before the MBR
    memset(image.bytes + 446, 0, 64);
    assert_all_found(&image);
    put_gpt(&image, 256);
    assert_all_found(&image);
    free(image.bytes);
}

static void tables_that_make_no_sense_are_passed_over(void **state)
{
    struct image image;
    struct partition parts[PARTITIONS_MAXIMUM];
    unsigned char *entry;
    (void)state;
    make_parts(&image);
    struct clone_disk disk = disk_of(&image);
    put_gpt(&image, 128);
    entry = image.bytes + 2 * SECTOR;
    assert_int_equal(partition_list(&disk, parts), 2);
    assert_true(parts[1].start == 10 * MIB && parts[1].size == 8 * MIB);
    put_le64(entry + 40, UINT64_MAX);
    assert_int_equal(partition_list(&disk, parts), 1);
    put_le64(entry + 40, 20 * MIB / SECTOR);
    assert_int_equal(partition_list(&disk, parts), 1);
    put_le64(entry + 40, 1);
    assert_int_equal(partition_list(&disk, parts), 1);
    for (unsigned size = 0; size < 128; size += 127) {
        put_le32(image.bytes + SECTOR + 84, size);
        assert_int_equal(partition_list(&disk, parts), 0);
    }
    put_le32(image.bytes + SECTOR + 84, UINT32_MAX);
    assert_int_equal(partition_list(&disk, parts), 0);
    put_le32(image.bytes + SECTOR + 84, 128);
    put_le32(image.bytes + SECTOR + 80, UINT32_MAX);
    put_le64(image.bytes + SECTOR + 72, 20 * MIB / SECTOR - 1); // the table runs over the disk's end
    assert_int_equal(partition_list(&disk, parts), 0);
    put_le64(image.bytes + SECTOR + 72, UINT64_MAX);
    assert_int_equal(partition_list(&disk, parts), 0);
    disk.size = 2 * SECTOR - 1;
    assert_int_equal(partition_list(&disk, parts), 0);
    free(image.bytes);
}

// --- hostile ones --------------------------------------------------------------------------------------------------

static int check(struct image *i, struct error *error)
{
    struct clone_findings f;
    const struct clone_disk disk = disk_of(i);
    int before = dup(0), r = clone_check(&disk, &f, error), after;
    close(before);
    after = dup(0);
    close(after);
    assert_int_equal(before, after);                  // no descriptor is left,
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); // nor a child
    for (unsigned k = 0; r == 0 && k < f.count; k++)
        assert_null(strpbrk(f.texts[k], "\033\n"));
    return r;
}

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
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));)
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

// --- the command line ----------------------------------------------------------------------------------------------

#define WORDS "init=/usr/sbin/rondo-generalize"

static void a_command_line_gets_a_token(void **state)
{
    char first[256], second[256], small[80];
    struct error error = {.text = ""};
    (void)state;
    assert_int_equal(generalize_command_line("root=/dev/vda quiet", first, sizeof first, &error), 0);
    assert_true(strncmp(first, "root=/dev/vda quiet rondo.generalize=", 37) == 0);
    assert_int_equal(strspn(first + 37, "0123456789abcdef"), 16);
    assert_string_equal(first + 53, " " WORDS);
    assert_int_equal(generalize_command_line(first, second, sizeof second, &error), 0);
    assert_int_equal(strlen(first), strlen(second)); // instead of the other,
    assert_int_equal(strncmp(first, second, 37), 0);
    assert_string_not_equal(first, second); // and a new one
    assert_int_equal(generalize_command_line("", first, sizeof first, &error), 0);
    assert_int_equal(strncmp(first, "rondo.generalize=", 17), 0);
    assert_int_equal(generalize_command_line("a init=/bin/sh", first, sizeof first, &error), -EINVAL);
    assert_non_null(strstr(error.text, "init=/bin/sh"));
    assert_int_equal(generalize_command_line("0123456789012345", small, sizeof small, &error), -E2BIG);
    assert_int_equal(generalize_command_line("0123456789012", small, sizeof small, &error), 0);
    assert_int_equal(strlen(small), sizeof small - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_file_system_is_searched),
        cmocka_unit_test(a_clean_system_is_clean),
        cmocka_unit_test(a_journal_to_be_replayed_is_mentioned),
        cmocka_unit_test(the_partition_with_etc_is_searched),
        cmocka_unit_test(tables_that_make_no_sense_are_passed_over),
        cmocka_unit_test(what_cannot_be_searched_is_said),
        cmocka_unit_test(the_reader_has_one_socket_and_may_fail),
        cmocka_unit_test(damage_costs_a_sentence_at_most),
        cmocka_unit_test(a_signal_ends_it),
        cmocka_unit_test(a_command_line_gets_a_token),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
