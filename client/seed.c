// See seed.h.
//
// 1. A private key never gets into a machine: a file that holds anything but public keys is refused as a whole.
// 2. Nothing of a user's file is interpreted but that: user-data is passed through, a key is one quoted text.
#include "client/seed.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "client/iso9660.h"
#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define LABEL_MAXIMUM 63u
#define KEY_SHORTEST 40u // characters of base64: an Ed25519 key has 68

static int read_file(const char *option, const char *path, size_t maximum, struct buf *ret, struct error *error)
{
    CLEANUP_FREE char *real = realpath(path, NULL); // a link to the file is as good
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    int r = real ? io_read_file(AT_FDCWD, real, maximum, &bytes, &size) : -errno;
    if (r == -EFBIG)
        return error_set(error, EINVAL, "--%s: %s is larger than %zu KiB", option, path, maximum >> 10);
    if (r == -EINVAL || r == -EISDIR)
        return error_set(error, EINVAL, "--%s: %s is not a regular file", option, path);
    if (r < 0)
        return error_set(error, -r, "--%s: cannot read %s: %s", option, path, strerror(-r));
    r = buf_append(ret, bytes, size);
    return r < 0 ? error_set(error, -r, "--%s: out of memory", option) : 0;
}

// RFC 1123, 2.1: labels of letters, digits and dashes, which do not begin or end with a dash.
static bool is_hostname(const char *name)
{
    size_t label = 0;
    for (const char *c = name; *c; c++) {
        bool edge = label == 0 || c[1] == '.' || c[1] == '\0';
        if (*c == '.' && label > 0) {
            label = 0;
        } else if (isalnum((unsigned char)*c) || (*c == '-' && !edge)) {
            if (++label > LABEL_MAXIMUM)
                return false;
        } else {
            return false;
        }
    }
    return label > 0 && strlen(name) <= SEED_HOSTNAME_MAXIMUM;
}

// --- keys ----------------------------------------------------------------------------------------------------------

// sshd(8), AUTHORIZED_KEYS FILE FORMAT, without options: a key's type, the key in base64, and a comment.
static bool is_public_key(struct slice line)
{
    static const char *const types[] = {"ssh-ed25519",
                                        "ssh-rsa",
                                        "ecdsa-sha2-nistp256",
                                        "ecdsa-sha2-nistp384",
                                        "ecdsa-sha2-nistp521",
                                        "sk-ssh-ed25519@openssh.com",
                                        "sk-ecdsa-sha2-nistp256@openssh.com"};
    if (!text_is_printable(line))
        return false;
    struct slice type = slice_cut_word(&line), key = slice_cut_word(&line);
    size_t known = 0;
    while (known < ARRAY_SIZE(types) && !slice_equal(type, types[known]))
        known++;
    for (size_t i = 0; i < key.length; i++)
        if (!isalnum((unsigned char)key.at[i]) && !strchr("+/=", key.at[i]))
            return false;
    return known < ARRAY_SIZE(types) && key.length >= KEY_SHORTEST;
}

// A text in double quotes means the same to YAML as to us if `"` and `\` stand behind a `\`.
static int append_quoted(struct buf *b, struct slice text)
{
    int r = buf_append_format(b, "  - \"");
    for (size_t i = 0; i < text.length && r == 0; i++)
        r = buf_append_format(b, strchr("\"\\", text.at[i]) ? "\\%c" : "%c", text.at[i]);
    return r < 0 ? r : buf_append_format(b, "\"\n");
}

static int append_keys(struct buf *meta, const char *path, struct error *error)
{
    struct buf file CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_KEYS_MAXIMUM);
    int r = read_file("ssh-key", path, SEED_KEYS_MAXIMUM, &file, error);
    if (r < 0)
        return r;
    const char *text = buf_text(&file);
    if (memmem(text, file.size, "PRIVATE KEY", 11) || memmem(text, file.size, "PuTTY-User-Key", 14))
        return error_set(
            error, EINVAL,
            "--ssh-key: %s is a private key, which must not leave this host; give its public half (%s.pub)", path,
            path);
    static const char blanks[] = {' ', '\t', '\r'};
    unsigned keys = 0, number = 0;
    r = buf_append_format(meta, "public-keys:\n");
    for (const char *end = text + file.size; text < end && r == 0;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        struct slice line = {text, (size_t)((newline ? newline : end) - text)};
        text += line.length + 1;
        number++;
        while (line.length && memchr(blanks, line.at[line.length - 1], sizeof(blanks)))
            line.length--;
        if (line.length == 0 || line.at[0] == '#')
            continue;
        if (!is_public_key(line))
            return error_set(error, EINVAL, "--ssh-key: line %u of %s is no public key (ssh-ed25519 AAAA… comment)",
                             number, path);
        keys++;
        r = append_quoted(meta, line);
    }
    if (r == 0 && keys == 0)
        return error_set(error, EINVAL, "--ssh-key: %s holds no public key", path);
    return r < 0 ? error_set(error, -r, "--ssh-key: %s cannot be used: %s", path, strerror(-r)) : 0;
}

// --- the disk ------------------------------------------------------------------------------------------------------

int seed_make(const struct seed_options *o, struct buf *ret, struct error *error)
{
    struct buf meta CLEANUP(buf_free) = BUF_WITH_MAXIMUM(2 * SEED_KEYS_MAXIMUM);
    struct buf user CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SEED_USER_DATA_MAXIMUM);
    unsigned long long id[2];
    if (!o->user_data && !o->ssh_key && !o->hostname)
        return 0;
    if (o->hostname && !is_hostname(o->hostname))
        return error_set(error, EINVAL, "--hostname: use letters, digits, dots, and dashes between them, at most %u",
                         SEED_HOSTNAME_MAXIMUM);
    if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
        return error_set(error, EIO, "no random numbers");
    int r = buf_append_format(&meta, "instance-id: rondo-%016llx%016llx\n", id[0], id[1]);
    if (r == 0 && o->hostname)
        r = buf_append_format(&meta, "local-hostname: \"%s\"\n", o->hostname);
    if (r < 0)
        return error_set(error, -r, "out of memory");
    if (o->ssh_key)
        r = append_keys(&meta, o->ssh_key, error);
    if (r == 0 && o->user_data)
        r = read_file("user-data", o->user_data, SEED_USER_DATA_MAXIMUM, &user, error);
    if (r < 0)
        return r;
    const struct iso9660_file files[] = {{"meta-data", meta.data, meta.size}, {"user-data", user.data, user.size}};
    r = iso9660_write(ret, SEED_LABEL, files, ARRAY_SIZE(files));
    return r < 0 ? error_set(error, -r, "cannot make the first-boot settings: %s", strerror(-r)) : 0;
}
