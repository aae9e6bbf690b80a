// See placed.h.
#include "server/placed.h"

#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LINE_MAXIMUM 128u
#define FILE_MAXIMUM ((size_t)256 << 20) // 2 million objects: 16 TiB in packs of the target size
#define FILE_MODE 0600

struct list {
    struct placed_object *objects; // malloc'ed; `bytes` as they are counted
    size_t count;
};

static void free_list(struct list *l)
{
    free(l->objects);
}

static bool parse_line(struct slice line, struct placed_object *ret, uint64_t *ret_sum)
{
    struct slice name = slice_cut_word(&line), bytes = slice_cut_word(&line);

    return sha256_from_hex(name.at, name.length, &ret->name) && text_parse_u64(bytes, INT64_MAX, &ret->bytes) &&
           text_parse_u64(line, INT64_MAX, ret_sum);
}

// What the last whole line says, and where it ends. -EBADMSG if it is none.
static int read_end(int fd, uint64_t *ret_end, uint64_t *ret_sum)
{
    struct placed_object object;
    struct stat st;
    char bytes[2 * LINE_MAXIMUM];

    if (io->fstat(fd, &st) < 0)
        return -errno;
    const uint64_t size = (uint64_t)st.st_size, from = size > sizeof bytes ? size - sizeof bytes : 0;
    size_t n = (size_t)(size - from);
    int r = io_read_full(fd, bytes, n, from);
    if (r < 0)
        return r;
    while (n > 0 && bytes[n - 1] != '\n')
        n--;
    *ret_end = from + n;
    *ret_sum = 0;
    if (n == 0)
        return from == 0 ? 0 : -EBADMSG;
    size_t start = n - 1;
    while (start > 0 && bytes[start - 1] != '\n')
        start--;
    return parse_line((struct slice){.at = bytes + start, .length = n - 1 - start}, &object, ret_sum) ? 0 : -EBADMSG;
}

int placed_sum(int folder, const struct key_public *key, uint64_t *ret)
{
    char name[KEY_TEXT_SIZE];
    uint64_t end;
    int fd CLEANUP_CLOSE = io_open(folder, key_to_text(key, name), O_RDONLY, 0);

    return fd < 0 ? fd : read_end(fd, &end, ret);
}

static int format(struct buf *text, const struct placed_object *objects, size_t n, uint64_t sum)
{
    char hex[SHA256_HEX_SIZE];
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        sum += objects[i].bytes;
        r = buf_append_format(text, "%s %llu %llu\n", sha256_to_hex(&objects[i].name, hex),
                              (unsigned long long)objects[i].bytes, (unsigned long long)sum);
    }
    return r;
}

// --- a list made smaller -------------------------------------------------------------------------------------------

// Up to the first line that is none.
static int read_list(int folder, const char *name, struct list *ret)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    struct slice line;
    uint64_t sum;

    int r = io_read_file(folder, name, FILE_MAXIMUM, &bytes, &size);
    if (r < 0)
        return r;
    ret->objects = calloc(size / SHA256_HEX_SIZE + 1, sizeof *ret->objects); // a line is longer than a name
    if (!ret->objects)
        return -ENOMEM;
    struct text_reader lines = text_reader_over(bytes, size, LINE_MAXIMUM);
    while (text_next_line(&lines, &line) > 0 && parse_line(line, &ret->objects[ret->count], &sum))
        ret->count++;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct placed_object *)a)->name.bytes, ((const struct placed_object *)b)->name.bytes,
                  SHA256_SIZE);
}

static int write_list(int folder, const char *name, struct list *l)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(FILE_MAXIMUM);
    size_t kept = 0;

    if (l->count > 0)
        qsort(l->objects, l->count, sizeof *l->objects, compare);
    for (size_t i = 0; i < l->count; i++)
        if (kept == 0 || !sha256_equal(&l->objects[kept - 1].name, &l->objects[i].name))
            l->objects[kept++] = l->objects[i];
    l->count = kept;
    int r = format(&text, l->objects, l->count, 0);
    return r < 0 ? r : io_replace_file(folder, name, buf_text(&text), text.size, FILE_MODE);
}

static bool is_there(struct site *site, const struct sha256 *name)
{
    int fd CLEANUP_CLOSE = site_open_object(site, name);

    return fd != -ENOENT; // what cannot be looked at counts on
}

static int prune(int folder, const char *name, struct site *site)
{
    struct list l CLEANUP(free_list) = {.count = 0};
    size_t kept = 0;

    int r = read_list(folder, name, &l);
    if (r < 0)
        return r;
    for (size_t i = 0; i < l.count; i++)
        if (is_there(site, &l.objects[i].name))
            l.objects[kept++] = l.objects[i];
    l.count = kept;
    return write_list(folder, name, &l);
}

static int sweep_list(void *context, int folder, const char *entry)
{
    struct key_public key;

    if (strncmp(entry, IO_TEMPORARY_PREFIX, strlen(IO_TEMPORARY_PREFIX)) == 0) {
        io->unlinkat(folder, entry, 0); // a crash left it; if it stays, it is in nobody's way
        return 0;
    }
    int r = key_from_text(entry, strlen(entry), &key) ? prune(folder, entry, context) : 0;
    if (r < 0)
        log_error("what %s brought into the site cannot be counted anew: %s", entry, strerror(-r));
    return 0;
}

void placed_sweep(int folder, struct site *site)
{
    (void)folder_walk(folder, ".", sweep_list, site);
}

int placed_make(int folder, const struct key_public *key, const struct placed_object *objects, size_t n,
                struct error *error)
{
    struct list l CLEANUP(free_list) = {.objects = calloc(n + 1, sizeof *l.objects), .count = n};
    char name[KEY_TEXT_SIZE];

    if (!l.objects)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        l.objects[i] = (struct placed_object){.name = objects[i].name, .bytes = placed_count(objects[i].bytes)};
    int r = write_list(folder, key_to_text(key, name), &l);
    return r < 0 ? error_set(error, -r, "the list of what a publisher brought cannot be written: %s", strerror(-r)) : 0;
}

// --- a list made longer --------------------------------------------------------------------------------------------

// What is there, without what has gone from the site if that makes the difference.
static int find_room(int folder, const char *name, uint64_t quota, uint64_t wanted, struct site *site, int *ret_fd,
                     uint64_t *ret_end, uint64_t *ret_sum)
{
    for (bool pruned = false;; pruned = true) {
        int fd CLEANUP_CLOSE = io_open(folder, name, O_RDWR, 0);
        int r = fd < 0 ? fd : read_end(fd, ret_end, ret_sum);
        const bool fits = r == 0 && *ret_sum <= quota && wanted <= quota - *ret_sum;
        if (fits || pruned || (r < 0 && r != -EBADMSG)) {
            *ret_fd = r == 0 ? TAKE_FD(fd) : -1;
            return r == 0 && !fits ? -EDQUOT : r;
        }
        r = prune(folder, name, site);
        if (r < 0)
            return r;
    }
}

static int append(int fd, uint64_t end, const struct buf *text)
{
    struct stat st;

    if (io->fstat(fd, &st) < 0 || ((uint64_t)st.st_size > end && io->ftruncate(fd, (off_t)end) < 0))
        return -errno;
    int r = io_write_full(fd, text->data, text->size, end);
    return r == 0 && io->fsync(fd) < 0 ? -errno : r;
}

int placed_add(int folder, const struct key_public *key, const struct placed_object *objects, size_t n, uint64_t quota,
               struct site *site, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(FILE_MAXIMUM);
    CLEANUP_FREE struct placed_object *counted = calloc(n + 1, sizeof *counted);
    char name[KEY_TEXT_SIZE], size[32], had[32], all[32];
    uint64_t wanted = 0, end = 0, sum = 0;
    int fd CLEANUP_CLOSE = -1;

    if (!counted)
        return error_set(error, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        counted[i] = (struct placed_object){.name = objects[i].name, .bytes = placed_count(objects[i].bytes)};
        wanted += counted[i].bytes;
    }
    int r = find_room(folder, key_to_text(key, name), quota, wanted, site, &fd, &end, &sum);
    if (r == -ENOENT)
        return r;
    if (r == -EDQUOT)
        return error_set(error, EDQUOT,
                         "this is over your quota: the version brings %s, and of %s you have used %s here",
                         text_format_size(wanted, size), text_format_size(quota, all), text_format_size(sum, had));
    if (r == 0)
        r = format(&text, counted, n, sum);
    if (r == 0)
        r = append(fd, end, &text);
    return r < 0 ? error_set(error, -r, "the list of what a publisher brought cannot be written: %s", strerror(-r)) : 0;
}

// --- quotas --------------------------------------------------------------------------------------------------------

#define QUOTA_NAME_SIZE (KEY_TEXT_SIZE + sizeof PLACED_QUOTA_SUFFIX)

static const char *quota_name(const struct key_public *key, char ret[static QUOTA_NAME_SIZE])
{
    char text[KEY_TEXT_SIZE];

    (void)snprintf(ret, QUOTA_NAME_SIZE, "%s" PLACED_QUOTA_SUFFIX, key_to_text(key, text));
    return ret;
}

int placed_find_quota(int folder, const struct key_public *key, uint64_t *quota, bool *ret_own, struct error *error)
{
    char name[QUOTA_NAME_SIZE], text[32];
    int fd CLEANUP_CLOSE = io_open(folder, quota_name(key, name), O_RDONLY | O_NONBLOCK, 0);

    if (fd == -ENOENT) {
        *ret_own = false;
        return 0;
    }
    ssize_t n = fd < 0 ? fd : io_read_some(fd, text, sizeof text, 0);
    if (n < 0)
        return error_set(error, (int)-n, "a publisher's quota cannot be read: %s", strerror((int)-n));
    if (n == 0 || text[n - 1] != '\n' ||
        !text_parse_u64((struct slice){.at = text, .length = (size_t)n - 1}, INT64_MAX, quota))
        return error_set(error, EBADMSG, PLACED_FOLDER "/%s is damaged; rondo-server quota sets it anew", name);
    *ret_own = true;
    return 0;
}

int placed_set_quota(int folder, const struct key_public *key, uint64_t quota, struct error *error)
{
    char name[QUOTA_NAME_SIZE], text[32];

    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)quota);
    int r = io_replace_file(folder, quota_name(key, name), text, (size_t)n, FILE_MODE);
    return r < 0 ? error_set(error, -r, "a publisher's quota cannot be written: %s", strerror(-r)) : 0;
}

int placed_remove_quota(int folder, const struct key_public *key, struct error *error)
{
    char name[QUOTA_NAME_SIZE];

    if (io->unlinkat(folder, quota_name(key, name), 0) < 0 && errno != ENOENT)
        return error_set(error, errno, "a publisher's quota cannot be removed: %m");
    return 0;
}
