// The list of the packs of an unfinished publication: <site>/.unfinished/<image>, a line for each, in the order in
// which they were finished. It only grows, by whole batches that are synced before the packs in them get their names,
// until it is removed. So a crash can leave a name of a pack that is not there, and a last line that is cut short;
// never a pack that is there and not listed.
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/text.h"
#include "blockstore/site_private.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

#define LIST_LINE_MAXIMUM 256
#define LIST_SIZE_MAXIMUM (1u << 30) // 2 million packs of 150 bytes each are a 16 TiB image

static int append_list(struct site *s, const char *image, const char *bytes, size_t n)
{
    struct stat st;
    int fd = io_open(s->unfinished, image, O_RDWR | O_CREAT, 0666);
    if (fd < 0)
        return fd;
    int r = io->fstat(fd, &st) < 0 ? -errno : 0;
    if (r == 0)
        r = io_write_full(fd, bytes, n, (uint64_t)st.st_size);
    if (r == 0 && io->fsync(fd) < 0)
        r = -errno;
    int closed = io_close(fd);
    r = r < 0 ? r : closed;
    return r == 0 && st.st_size == 0 ? site_sync_folder(s->unfinished) : r;
}

int site_list_packs(struct site *s, const char *image, const struct pack_reference *packs, unsigned n,
                    struct error *error)
{
    struct buf lines CLEANUP(buf_free) = BUF_WITH_MAXIMUM(LIST_SIZE_MAXIMUM);
    char name[SHA256_HEX_SIZE], table[SHA256_HEX_SIZE];
    int r = 0;

    for (unsigned i = 0; r == 0 && i < n; i++)
        r = buf_append_format(&lines, "%s %u %s\n", sha256_to_hex(&packs[i].name, name), packs[i].size,
                              sha256_to_hex(&packs[i].table, table));
    if (r == 0)
        r = append_list(s, image, buf_text(&lines), lines.size);
    return r < 0 ? site_write_failed(s, error, r, "the list of unfinished packs") : 0;
}

static bool parse_pack_line(struct slice line, struct pack_reference *ret)
{
    struct slice name = slice_cut_word(&line), size = slice_cut_word(&line);
    uint64_t bytes;

    if (!sha256_from_hex(name.at, name.length, &ret->name) || !text_parse_u64(size, UINT32_MAX, &bytes) ||
        !sha256_from_hex(line.at, line.length, &ret->table))
        return false;
    ret->size = (uint32_t)bytes;
    return true;
}

int site_walk_list(struct site *s, const char *image, int (*each)(void *context, const struct pack_reference *pack),
                   void *context, struct error *error)
{
    void *bytes CLEANUP_FREE = NULL;
    struct pack_reference pack;
    struct slice line;
    size_t size, sound = 0;

    int r = io_read_file(s->unfinished, image, LIST_SIZE_MAXIMUM, &bytes, &size);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return site_write_failed(s, error, r, "the list of unfinished packs");
    struct text_reader reader = text_reader_over(bytes, size, LIST_LINE_MAXIMUM);
    while (text_next_line(&reader, &line) > 0 && parse_pack_line(line, &pack)) {
        sound = size - reader.left;
        r = each(context, &pack);
        if (r < 0)
            return r;
    }
    if (sound == size)
        return 0;
    // A crash cut the last line short: what is appended must not stand behind it.
    int fd = io_open(s->unfinished, image, O_WRONLY, 0);
    if (fd < 0)
        return site_write_failed(s, error, fd, "the list of unfinished packs");
    r = io->ftruncate(fd, (off_t)sound) < 0 ? -errno : 0;
    int closed = io_close(fd);
    r = r < 0 ? r : closed;
    return r < 0 ? site_write_failed(s, error, r, "the list of unfinished packs") : 0;
}

struct lists_walk {
    struct site *s;
    int (*each)(void *context, const struct pack_reference *pack);
    void *context;
    struct error *error;
};

static int walk_one_list(void *context, int folder, const char *name)
{
    struct lists_walk *w = context;
    (void)folder;
    return name[0] == '.' ? 0 : site_walk_list(w->s, name, w->each, w->context, w->error);
}

int site_walk_lists(struct site *s, int (*each)(void *context, const struct pack_reference *pack), void *context,
                    struct error *error)
{
    struct error why = {.text = ""};
    struct lists_walk w = {.s = s, .each = each, .context = context, .error = &why};
    int r = folder_walk(s->unfinished, ".", walk_one_list, &w);
    return r < 0 ? error_set(error, -r, "%s/.unfinished: %s", s->path, why.text[0] ? why.text : strerror(-r)) : r;
}

int site_end_list(struct site *s, const char *image, struct error *error)
{
    if (io->unlinkat(s->unfinished, image, 0) < 0 && errno != ENOENT)
        return site_write_failed(s, error, -errno, "the list of unfinished packs");
    return 0;
}
