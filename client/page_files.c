// See page_files.h. Names come from signed catalogs, where they are one plain part of a path each.
#include "client/page_files.h"

#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "base/path.h"
#include "base/text.h"
#include "client/cli.h"
#include "web/layout.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define FILE_MAXIMUM (1u << 20) // a longer one is none of ours

static bool is_marked(const char *bytes)
{
    const struct slice text = slice_of(bytes);
    return slice_starts(text, LAYOUT_MARK) || slice_starts(text, LAYOUT_SCRIPT_MARK) ||
           slice_starts(text, LAYOUT_ICON_MARK);
}

static bool is_logo_name(const char *entry)
{
    struct sha256 hash;
    size_t n = strlen(entry);
    return n == 5 + 64 + 4 && strncmp(entry, "logo-", 5) == 0 && sha256_from_hex(entry + 5, 64, &hash) &&
           (strcmp(entry + 69, ".png") == 0 || strcmp(entry + 69, ".jpg") == 0);
}

static int replace(struct page_files *f, const char *name, const void *bytes, size_t n, struct error *error)
{
    char folder[PATH_TEXT_SIZE];
    const char *end = strrchr(name, '/');
    int r = 0;
    if (end) {
        r = path_format(folder, sizeof(folder), "%.*s", (int)(end - name), name);
        if (r == 0)
            r = io_make_folders(f->folder, folder, 0777);
    }
    if (r == 0)
        r = io_replace_file(f->folder, name, bytes, n, 0666);
    if (r == -ENOSPC || r == -EDQUOT)
        return error_set(error, -r, "no space is left in %s for its pages: make room, then: rondo site %s", f->path,
                         f->path);
    if (r < 0)
        return error_set(error, -r, "cannot write the page %s/%s: %s", f->path, name, strerror(-r));
    f->written++;
    return 0;
}

int page_files_put(struct page_files *f, const char *name, const void *bytes, size_t n, struct error *error)
{
    void *old CLEANUP_FREE = NULL;
    size_t size;
    int r = io_read_file(f->folder, name, FILE_MAXIMUM, &old, &size);
    if (r == -ENOENT)
        return replace(f, name, bytes, n, error);
    if (r < 0 || !is_marked(old)) {
        cli_progress_end();
        fprintf(stderr, "rondo: %s/%s was not made by rondo site and stays as it is\n", f->path, name);
        f->foreign++;
        return 0;
    }
    if (size == n && memcmp(old, bytes, n) == 0) {
        f->same++;
        return 0;
    }
    return replace(f, name, bytes, n, error);
}

int page_files_put_logo(struct page_files *f, const char *name, const void *bytes, size_t n, struct error *error)
{
    struct stat st;
    if (fstatat(f->folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_size == (off_t)n) {
        f->same++;
        return 0;
    }
    return replace(f, name, bytes, n, error);
}

struct removal {
    struct page_files *files;
    bool keep_page;
    const char *keep_logo;
    bool kept; // something is left in the folder
};

static int remove_entry(void *context, int folder, const char *entry)
{
    struct removal *m = context;
    void *old CLEANUP_FREE = NULL;
    size_t size;
    bool ours = slice_starts(slice_of(entry), IO_TEMPORARY_PREFIX);
    if (is_logo_name(entry))
        ours = strcmp(entry, m->keep_logo) != 0;
    else if (strcmp(entry, "index.html") == 0)
        ours = !m->keep_page && io_read_file(folder, entry, FILE_MAXIMUM, &old, &size) == 0 && is_marked(old);
    if (!ours) {
        m->kept = true;
        return 0;
    }
    if (io->unlinkat(folder, entry, 0) < 0 && errno != ENOENT)
        return -errno;
    m->files->removed++;
    return 0;
}

int page_files_remove(struct page_files *f, const char *name, bool keep_page, const char *keep_logo,
                      struct error *error)
{
    struct removal m = {.files = f, .keep_page = keep_page, .keep_logo = keep_logo};
    int r = folder_walk(f->folder, name, remove_entry, &m);
    if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
        return 0;
    if (r == 0 && !m.kept && io->unlinkat(f->folder, name, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY && errno != ENOENT)
        r = -errno;
    return r < 0 ? error_set(error, -r, "cannot remove old pages in %s/%s: %s", f->path, name, strerror(-r)) : 0;
}
