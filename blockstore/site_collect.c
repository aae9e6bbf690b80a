// See site_collect.h. The notes are written, durable, before the first object goes; a collection that is cut short is
// given again.
#include "blockstore/site_collect.h"
#include "base/cleanup.h"
#include "base/folder.h"
#include "base/text.h"
#include "blockstore/site_private.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/banned.h"

#define NOTES ".unneeded"
#define NOTE_LINE_MAXIMUM 128u
#define NOTES_MAXIMUM ((size_t)NEEDS_MAXIMUM * NOTE_LINE_MAXIMUM)

struct unneeded {
    struct sha256 name;
    uint64_t bytes;
    int64_t since;
};

struct unneeded_list {
    struct unneeded *list; // malloc'ed
    size_t count, capacity;
};

struct collection {
    const struct needs *needed;
    struct needs *unfinished;
    struct unneeded_list found;
    struct site_collected sum;
    struct error *error;
};

static void free_list(struct unneeded_list *l)
{
    free(l->list);
}

static int append(struct unneeded_list *l, const struct unneeded *u)
{
    if (l->count == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 256;
        struct unneeded *grown =
            capacity > 2 * (size_t)NEEDS_MAXIMUM ? NULL : realloc(l->list, capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        l->list = grown;
        l->capacity = capacity;
    }
    l->list[l->count++] = *u;
    return 0;
}

// --- the walk ------------------------------------------------------------------------------------------------------

struct object_walk {
    int (*each)(void *context, const struct sha256 *name, uint64_t bytes, const char *path);
    void *context;
    char digits[3]; // of the folder that is walked
};

static int walk_object(void *context, int folder, const char *entry)
{
    struct object_walk *w = context;
    char path[320];
    struct sha256 name;
    struct stat st;
    if (fstatat(folder, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    bool object =
        sha256_from_hex(entry, strlen(entry), &name) && strncmp(entry, w->digits, 2) == 0 && S_ISREG(st.st_mode);
    snprintf(path, sizeof(path), "objects/%s/%s", w->digits, entry);
    return w->each(w->context, object ? &name : NULL, object ? (uint64_t)st.st_size : 0, path);
}

static int walk_folder(void *context, int folder, const char *entry)
{
    struct object_walk *w = context;
    char path[320];
    int r = -ENOTDIR;
    if (strlen(entry) == 2 && strspn(entry, "0123456789abcdef") == 2) {
        memcpy(w->digits, entry, sizeof(w->digits));
        r = folder_walk(folder, entry, walk_object, w);
    }
    if (r != -ENOTDIR && r != -ELOOP)
        return r;
    snprintf(path, sizeof(path), "objects/%s", entry);
    return w->each(w->context, NULL, 0, path);
}

int site_walk_objects(struct site *s,
                      int (*each)(void *context, const struct sha256 *name, uint64_t bytes, const char *path),
                      void *context, struct error *error)
{
    struct object_walk w = {.each = each, .context = context};
    int r = folder_walk(s->objects, ".", walk_folder, &w);
    return r < 0 ? error_set(error, -r, "cannot list the objects of %s: %s", s->path, strerror(-r)) : r;
}

static int look_at_object(void *context, const struct sha256 *name, uint64_t bytes, const char *path)
{
    struct collection *c = context;
    (void)path;
    if (!name) {
        c->sum.foreign++;
        return 0;
    }
    c->sum.objects++;
    c->sum.bytes += bytes;
    if (needs_has(c->needed, name) || needs_has(c->unfinished, name))
        return 0;
    return append(&c->found, &(struct unneeded){.name = *name, .bytes = bytes});
}

// --- the notes -----------------------------------------------------------------------------------------------------

static int compare(const void *a, const void *b)
{
    return memcmp(((const struct unneeded *)a)->name.bytes, ((const struct unneeded *)b)->name.bytes, SHA256_SIZE);
}

// A line that is malformed, or from the future, is none: its object's time begins anew.
static int read_notes(struct site *s, int64_t now, struct unneeded_list *ret, struct error *error)
{
    void *bytes CLEANUP_FREE = NULL;
    size_t size;
    struct slice line;
    int r = io_read_file(s->unfinished, NOTES, NOTES_MAXIMUM, &bytes, &size);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return error_set(error, -r, "cannot read %s/.unfinished/%s: %s; remove it, and the grace time begins anew",
                         s->path, NOTES, strerror(-r));
    struct text_reader reader = text_reader_over(bytes, size, NOTE_LINE_MAXIMUM);
    while (text_next_line(&reader, &line) > 0) {
        struct unneeded u = {.bytes = 0};
        struct slice name = slice_cut_word(&line);
        if (!sha256_from_hex(name.at, name.length, &u.name) || !text_parse_time(line, &u.since) || u.since > now)
            continue;
        if (append(ret, &u) < 0)
            return error_set(error, ENOMEM, "out of memory");
    }
    if (ret->count > 0)
        qsort(ret->list, ret->count, sizeof(*ret->list), compare);
    return 0;
}

static void date_found(struct unneeded_list *found, const struct unneeded_list *notes, int64_t now)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct unneeded *note =
            notes->count ? bsearch(&found->list[i], notes->list, notes->count, sizeof(*notes->list), compare) : NULL;
        found->list[i].since = note ? note->since : now;
    }
}

static int write_notes(struct site *s, const struct unneeded_list *found, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(NOTES_MAXIMUM);
    char hex[SHA256_HEX_SIZE], time[32];
    int r = 0;
    for (size_t i = 0; i < found->count && r == 0; i++)
        r = buf_append_format(&text, "%s %s\n", sha256_to_hex(&found->list[i].name, hex),
                              text_format_time(found->list[i].since, time));
    if (r == 0)
        r = io_replace_file(s->unfinished, NOTES, buf_text(&text), text.size, 0666);
    return r < 0 ? site_write_failed(s, error, r, "the notes on unneeded objects") : 0;
}

static int forget_notes(struct site *s, const struct needs *of, struct error *error)
{
    struct unneeded_list notes CLEANUP(free_list) = {.count = 0};
    size_t kept = 0;
    int r = read_notes(s, INT64_MAX, &notes, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < notes.count; i++)
        if (!needs_has(of, &notes.list[i].name))
            notes.list[kept++] = notes.list[i];
    if (kept == notes.count)
        return 0;
    notes.count = kept;
    return write_notes(s, &notes, error);
}

int site_renew_grace(struct site *s, const struct needs *of, struct error *error)
{
    if (of && forget_notes(s, of, NULL) == 0)
        return 0;
    return io->unlinkat(s->unfinished, NOTES, 0) < 0 && errno != ENOENT
               ? site_write_failed(s, error, -errno, "the notes on unneeded objects")
               : 0;
}

// --- removing ------------------------------------------------------------------------------------------------------

int site_remove_object(struct site *s, const struct sha256 *name)
{
    char hex[SHA256_HEX_SIZE], digits[3];
    sha256_to_hex(name, hex);
    snprintf(digits, sizeof(digits), "%.2s", hex);
    int folder CLEANUP_CLOSE = io_open(s->objects, digits, O_RDONLY | O_DIRECTORY, 0);
    if (folder < 0)
        return folder;
    return io->unlinkat(folder, hex, 0) < 0 ? -errno : 0;
}

static int remove_found(struct site *s, struct collection *c, const struct site_collect *o, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    for (size_t i = 0; i < c->found.count; i++) {
        const struct unneeded *u = &c->found.list[i];
        bool due = o->now - u->since >= o->grace;
        int r = due && !o->dry_run ? site_remove_object(s, &u->name) : 0;
        if (r < 0)
            return error_set(error, -r, "cannot remove %s/objects/%.2s/%s: %s", s->path, sha256_to_hex(&u->name, hex),
                             hex, strerror(-r));
        *(due ? &c->sum.removed : &c->sum.waiting) += 1;
        *(due ? &c->sum.removed_bytes : &c->sum.waiting_bytes) += u->bytes;
        if (o->each)
            o->each(o->context, &u->name, u->bytes, due, u->since + o->grace);
    }
    return 0;
}

static int note_unfinished(void *context, const struct pack_reference *pack)
{
    struct collection *c = context;
    return needs_add(c->unfinished, &pack->name, pack->size, c->error);
}

static int collect(struct site *s, struct collection *c, const struct site_collect *o, struct error *error)
{
    struct unneeded_list notes CLEANUP(free_list) = {.count = 0};
    int r = needs_new(&c->unfinished, error);
    if (r == 0)
        r = site_walk_lists(s, note_unfinished, c, error);
    if (r == 0)
        r = read_notes(s, o->now, &notes, error);
    if (r == 0)
        r = site_walk_objects(s, look_at_object, c, error);
    if (r < 0)
        return r;
    date_found(&c->found, &notes, o->now);
    bool notes_change = !o->dry_run && (c->found.count > 0 || notes.count > 0);
    if (notes_change)
        r = write_notes(s, &c->found, error);
    bool full = r == -ENOSPC || r == -EDQUOT; // what is due was noted before, and its removal makes room
    if (r == 0 || full)
        r = remove_found(s, c, o, error);
    return r == 0 && full ? write_notes(s, &c->found, error) : r;
}

int site_collect(struct site *s, const struct needs *needed, const struct site_collect *options,
                 struct site_collected *ret, struct error *error)
{
    struct collection c = {.needed = needed, .error = error};
    int r = collect(s, &c, options, error);
    needs_free(c.unfinished);
    free_list(&c.found);
    if (r < 0)
        return r;
    *ret = c.sum;
    return 0;
}
