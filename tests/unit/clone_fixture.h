// File systems for the tests of client/clone_check.h, made by e2fsprogs in folders of the test's own.
#pragma once

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

static inline int read_image(void *context, uint64_t offset, void *to, size_t n)
{
    struct image *i = context;
    assert_true(offset <= i->size && n <= i->size - offset);
    i->reads++;
    if (i->failure)
        return i->failure;
    memcpy(to, i->bytes + offset, n);
    return 0;
}

static inline struct clone_disk disk_of(struct image *i)
{
    return (struct clone_disk){.read = read_image, .context = i, .size = i->size};
}

static inline int run(const char *const *arguments)
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

static inline void put(const char *tree, const char *path, const char *text, mode_t mode)
{
    char whole[1024];
    snprintf(whole, sizeof whole, "%s/%s/%s", folder, tree, path);
    *strrchr(whole, '/') = '\0';
    assert_int_equal(io_make_folders(AT_FDCWD, whole, 0755), 0);
    whole[strlen(whole)] = '/';
    assert_int_equal(io_replace_file(AT_FDCWD, whole, text, strlen(text), mode), 0);
}

// The tree `tree` in a file system of `size`; `options` are mke2fs's.
static inline void make(const char *tree, const char *type, const char *features, const char *block_size,
                        struct image *ret)
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

static inline void make_trees(void)
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    const char *const arguments[] = {"rm", "-rf", "--", folder, NULL};
    (void)state;
    return run(arguments);
}

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

static inline int check(struct image *i, struct error *error)
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
