// What is looked for, and where: one table of patterns. A pattern is matched a name at a time, so that only the folders
// on its way are read; symbolic links on the way are followed within the file system, the last name is not.
//
// What libext2fs says is checked where it is used: a name's length, a file's size. How much is read, and for how long,
// is the parent's to bound (clone_check.c).
#include "client/clone_private.h"

#include "base/cleanup.h"
#include "client/generalize.h"
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define NAMES_MAXIMUM 64u // names that one name of a pattern matches in one folder
#define SHADOW_MAXIMUM (64u << 10)

enum test {
    A_FILE,       // that is not empty
    A_FOLDER,     // any
    A_MACHINE_ID, // a file that holds one
    A_SHADOW,     // a file in which users have passwords
};

// "~" is each user's home.
static const struct {
    enum clone_kind kind;
    enum test test;
    const char *pattern;
} places[] = {
    {CLONE_HOST_KEYS, A_FILE, "etc/ssh/ssh_host_*_key"},
    {CLONE_HOST_KEYS, A_FILE, "etc/dropbear/dropbear_*_host_key"},
    {CLONE_MACHINE_ID, A_MACHINE_ID, "etc/machine-id"},
    {CLONE_MACHINE_ID, A_MACHINE_ID, "var/lib/dbus/machine-id"},
    {CLONE_SEEDS, A_FILE, "var/lib/systemd/random-seed"},
    {CLONE_SEEDS, A_FILE, "var/lib/urandom/random-seed"},
    {CLONE_SEEDS, A_FILE, "var/lib/misc/random-seed"},
    {CLONE_SEEDS, A_FILE, "var/lib/random-seed"},
    {CLONE_SEEDS, A_FILE, "var/lib/seedrng/seed.*"},
    {CLONE_SEEDS, A_FILE, "boot/loader/random-seed"},
    {CLONE_MACHINE_SECRETS, A_FILE, "var/lib/systemd/credential.secret"},
    {CLONE_MACHINE_SECRETS, A_FILE, "var/lib/NetworkManager/secret_key"},
    {CLONE_MACHINE_SECRETS, A_FILE, "etc/iscsi/initiatorname.iscsi"},
    {CLONE_MACHINE_SECRETS, A_FILE, "etc/krb5.keytab"},
    {CLONE_MACHINE_SECRETS, A_FILE, "etc/ssl/private/*.key"},
    {CLONE_AUTHORIZED_KEYS, A_FILE, "~/.ssh/authorized_keys"},
    {CLONE_AUTHORIZED_KEYS, A_FILE, "~/.ssh/authorized_keys2"},
    {CLONE_AUTHORIZED_KEYS, A_FILE, "etc/dropbear/authorized_keys"},
    {CLONE_PRIVATE_KEYS, A_FILE, "~/.ssh/id_!(*.pub)"},
    {CLONE_PRIVATE_KEYS, A_FILE, "~/.gnupg/private-keys-v1.d/*"},
    {CLONE_PASSWORDS, A_SHADOW, "etc/shadow"},
    {CLONE_NETWORK_SECRETS, A_FILE, "etc/NetworkManager/system-connections/*"},
    {CLONE_NETWORK_SECRETS, A_FILE, "etc/wireguard/*.conf"},
    {CLONE_NETWORK_SECRETS, A_FILE, "etc/wpa_supplicant/*.conf"},
    {CLONE_HISTORIES, A_FILE, "~/.*_history"},
    {CLONE_HISTORIES, A_FILE, "~/.history"},
    {CLONE_HISTORIES, A_FILE, "~/.lesshst"},
    {CLONE_HISTORIES, A_FILE, "~/.viminfo"},
    {CLONE_HISTORIES, A_FILE, "~/.local/share/fish/fish_history"},
    {CLONE_LEASES, A_FILE, "var/lib/dhcp/*.lease*"},
    {CLONE_LEASES, A_FILE, "var/lib/dhcpcd/*.lease*"},
    {CLONE_LEASES, A_FILE, "var/lib/dhclient/*.lease*"},
    {CLONE_LEASES, A_FILE, "var/lib/NetworkManager/*.lease"},
    {CLONE_NETWORK_NAMES, A_FILE, "etc/udev/rules.d/*-persistent-net.rules"},
    {CLONE_INSTANCES, A_FOLDER, "var/lib/cloud/instances/*"},
    {CLONE_LOGS, A_FOLDER, "var/log/journal/*"},
};

struct search {
    ext2_filsys fs;
    clone_found *found;
    enum clone_kind kind;
    enum test test;
};

// --- files ---------------------------------------------------------------------------------------------------------

// The first bytes of a file, with a NUL behind them; nothing of one that cannot be read.
static void read_start(ext2_filsys fs, ext2_ino_t inode, char *text, unsigned maximum)
{
    ext2_file_t file;
    unsigned size = 0;
    text[0] = '\0';
    if (ext2fs_file_open(fs, inode, 0, &file) != 0)
        return;
    errcode_t failure = ext2fs_file_read(file, text, maximum, &size);
    ext2fs_file_close(file);
    text[failure == 0 && size <= maximum ? size : 0] = '\0';
}

static void find_machine_id(const struct search *s, ext2_ino_t inode, const char *path)
{
    char text[32 + 1];
    read_start(s->fs, inode, text, sizeof text - 1);
    if (strspn(text, "0123456789abcdefABCDEF-") == 32) // not "uninitialized", machine-id(5)
        s->found(CLONE_FOUND, s->kind, path);
}

// shadow(5): name:password:…. What begins with "!" or "*" is locked, an empty one is none.
static void find_passwords(const struct search *s, ext2_ino_t inode)
{
    char text[SHADOW_MAXIMUM + 1];
    read_start(s->fs, inode, text, SHADOW_MAXIMUM);
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *password = strchr(line, ':');
        if (!password || password == line)
            continue;
        *password++ = '\0';
        if (*password && !strchr(":!*", *password))
            s->found(CLONE_FOUND, s->kind, line);
    }
}

static void look_at(const struct search *s, ext2_ino_t inode, const char *path)
{
    struct ext2_inode i;
    if (ext2fs_read_inode(s->fs, inode, &i) != 0)
        return;
    bool file = LINUX_S_ISREG(i.i_mode) && EXT2_I_SIZE(&i) > 0;
    if (s->test == A_FILE ? file : s->test == A_FOLDER && LINUX_S_ISDIR(i.i_mode))
        s->found(CLONE_FOUND, s->kind, path);
    else if (s->test == A_MACHINE_ID && file)
        find_machine_id(s, inode, path);
    else if (s->test == A_SHADOW && file)
        find_passwords(s, inode);
}

// --- folders -------------------------------------------------------------------------------------------------------

struct names {
    const char *pattern;
    unsigned count;
    struct {
        ext2_ino_t inode;
        char name[EXT2_NAME_LEN + 1];
    } list[NAMES_MAXIMUM];
};

static int take_name(ext2_ino_t folder, int entry, struct ext2_dir_entry *dirent, int offset, int block_size,
                     char *block, void *context)
{
    struct names *n = context;
    char name[EXT2_NAME_LEN + 1];
    size_t length = (size_t)ext2fs_dirent_name_len(dirent); // of eight bits
    (void)folder;
    (void)offset;
    // libext2fs has seen to it that a name lies in its entry, an entry in its block (dir_iterate.c); once more, since
    // it costs little.
    if (entry != DIRENT_OTHER_FILE || length == 0 || length > (size_t)(block + block_size - dirent->name))
        return 0;
    memcpy(name, dirent->name, length);
    name[length] = '\0';
    if (strlen(name) != length || strchr(name, '/') || fnmatch(n->pattern, name, FNM_PERIOD | FNM_EXTMATCH) != 0)
        return 0;
    n->list[n->count].inode = dirent->inode;
    memcpy(n->list[n->count].name, name, length + 1);
    return ++n->count == NAMES_MAXIMUM ? DIRENT_ABORT : 0;
}

// A folder, or what a symbolic link to one leads to; 0: neither.
static ext2_ino_t enter(ext2_filsys fs, ext2_ino_t parent, ext2_ino_t inode)
{
    if (ext2fs_follow_link(fs, EXT2_ROOT_INO, parent, inode, &inode) != 0 || ext2fs_check_directory(fs, inode) != 0)
        return 0;
    return inode;
}

static void walk(const struct search *s, ext2_ino_t folder, const char *above, const char *pattern);

static void descend(const struct search *s, ext2_ino_t folder, ext2_ino_t inode, const char *above, const char *name,
                    const char *rest)
{
    char path[CLONE_WORD_SIZE];
    int length = snprintf(path, sizeof path, "%s/%s", above, name);
    if ((size_t)length >= sizeof path) // none of the table's own names is as long
        return;
    if (!rest)
        look_at(s, inode, path);
    else if ((inode = enter(s->fs, folder, inode)) != 0)
        walk(s, inode, path, rest);
}

// `pattern`: below `folder`, which is at the path `above`.
static void walk(const struct search *s, ext2_ino_t folder, const char *above, const char *pattern)
{
    char name[64]; // longer than any name of the table
    const char *slash = strchr(pattern, '/'), *rest = slash ? slash + 1 : NULL;
    int length = slash ? (int)(slash - pattern) : (int)strlen(pattern);
    snprintf(name, sizeof name, "%.*s", length, pattern);
    if (!strpbrk(name, "*?[")) {
        ext2_ino_t inode;
        if (ext2fs_lookup(s->fs, folder, name, length, NULL, &inode) == 0)
            descend(s, folder, inode, above, name, rest);
        return;
    }
    struct names n = {.pattern = name};
    (void)ext2fs_dir_iterate2(s->fs, folder, 0, NULL, take_name, &n); // what came before a fault counts
    for (unsigned i = 0; i < n.count; i++)
        descend(s, folder, n.list[i].inode, above, n.list[i].name, rest);
}

void clone_search(ext2_filsys fs, clone_found *found)
{
    struct search s = {.fs = fs, .found = found};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        char pattern[128];
        s.kind = places[i].kind;
        s.test = places[i].test;
        if (places[i].pattern[0] != '~') {
            walk(&s, EXT2_ROOT_INO, "", places[i].pattern);
            continue;
        }
        snprintf(pattern, sizeof pattern, "root%s", places[i].pattern + 1);
        walk(&s, EXT2_ROOT_INO, "", pattern);
        snprintf(pattern, sizeof pattern, "home/*%s", places[i].pattern + 1);
        walk(&s, EXT2_ROOT_INO, "", pattern);
    }
    struct ext2_inode program;
    ext2_ino_t inode;
    if (ext2fs_namei_follow(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, GENERALIZE_PROGRAM, &inode) == 0 &&
        ext2fs_read_inode(fs, inode, &program) == 0 && LINUX_S_ISREG(program.i_mode) && (program.i_mode & 0100))
        found(CLONE_GENERALIZES, 0, "");
}
