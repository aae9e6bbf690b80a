// See site_pages.h.
#include "client/site_pages.h"

#include "base/cleanup.h"
#include "base/folder.h"
#include "base/io.h"
#include "blockstore/manifest.h"
#include "catalog/index.h"
#include "client/cli.h"
#include "client/page_files.h"
#include "web/assets.h"
#include "web/layout.h"
#include "web/pages.h"
#include "web/site_url.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define STATE_FILE "pages.rondo"
#define STATE_FORM "rondo-pages 1\nurl "

struct work {
    struct site *site;
    struct index *index;
    struct index_site about;
    struct pages_site pages;
    struct page_files files;
    struct buf page;
    uint64_t done;
};

static void end_work(struct work *w)
{
    index_close(&w->index);
    cleanup_close(&w->files.folder);
    buf_free(&w->page);
}

// -ENOENT: the folder has no pages.
static int read_url(const struct page_files *f, char ret[static CATALOG_URL_SIZE], struct error *error)
{
    void *bytes CLEANUP_FREE = NULL;
    size_t n;
    int r = io_read_file(f->folder, STATE_FILE, CATALOG_URL_SIZE + 64, &bytes, &n);
    if (r == -ENOENT)
        return r;
    struct slice text = {.at = bytes, .length = r == 0 ? n : 0};
    const size_t form = sizeof(STATE_FORM) - 1;
    if (!slice_starts(text, STATE_FORM) || text.at[n - 1] != '\n' ||
        !site_url_is_right((struct slice){.at = text.at + form, .length = n - 1 - form}))
        return error_set(error, EINVAL,
                         "%s/" STATE_FILE " does not say where the site is; say it anew: rondo site %s --url URL",
                         f->path, f->path);
    memcpy(ret, text.at + form, n - 1 - form);
    ret[n - 1 - form] = '\0';
    return 0;
}

static int choose_url(const struct page_files *f, const struct catalog *c, const char *url,
                      char ret[static CATALOG_URL_SIZE], struct error *error)
{
    int r = url ? -ENOENT : read_url(f, ret, error);
    if (r != -ENOENT)
        return r;
    for (unsigned i = 0; !url && c && i < c->mirror_count; i++)
        if (site_url_is_right(slice_of(c->mirrors[i])))
            url = c->mirrors[i];
    if (!url)
        return error_set(error, EINVAL, "say where visitors find the site: rondo site %s --url https://HOST/", f->path);
    snprintf(ret, CATALOG_URL_SIZE, "%s", url);
    return 0;
}

static int write_state(struct page_files *f, const char *url, struct error *error)
{
    char text[CATALOG_URL_SIZE + 64];
    void *old CLEANUP_FREE = NULL;
    size_t n, size = (size_t)snprintf(text, sizeof(text), STATE_FORM "%s\n", url);
    if (io_read_file(f->folder, STATE_FILE, sizeof(text), &old, &n) == 0 && n == size && memcmp(old, text, n) == 0)
        return 0;
    int r = io_replace_file(f->folder, STATE_FILE, text, size, 0666);
    return r < 0 ? error_set(error, -r, "cannot write %s/" STATE_FILE ": %s", f->path, strerror(-r)) : 0;
}

static int put_page(struct work *w, const char *name, int made, struct error *error)
{
    if (made < 0)
        return error_set(error, -made, "the page %s cannot be made: %s", name, strerror(-made));
    return page_files_put(&w->files, name, w->page.data, w->page.size, error);
}

// Places the logo beside the page. Without one that is right, the row has none.
static int put_logo(struct work *w, struct index_version *v, struct error *error)
{
    char name[256], logo[LAYOUT_LOGO_SIZE];
    if (!v->has_logo)
        return 0;
    v->has_logo = false;
    void *bytes CLEANUP_FREE = v->logo_size <= MANIFEST_LOGO_MAXIMUM ? malloc(v->logo_size + 1) : NULL;
    int fd CLEANUP_CLOSE = site_open_object(w->site, &v->logo);
    if (!bytes || fd < 0 || io_read_full(fd, bytes, v->logo_size, 0) < 0)
        return 0;
    struct sha256 hash = sha256_of(bytes, v->logo_size);
    if (!sha256_equal(&hash, &v->logo) ||
        strcmp(manifest_logo_type_name(manifest_detect_logo(bytes, v->logo_size)), v->logo_type) != 0)
        return 0;
    v->has_logo = true;
    snprintf(name, sizeof(name), "images/%s/%s", v->name, layout_logo_name(v, logo));
    return page_files_put_logo(&w->files, name, bytes, v->logo_size, error);
}

static int write_image(struct work *w, const char *image, struct error *error)
{
    char name[256], logo[LAYOUT_LOGO_SIZE] = "";
    struct index_list one CLEANUP(index_list_free) = {0}, versions CLEANUP(index_list_free) = {0};
    int r = index_find_image(w->index, image, NULL, &one, error);
    if (r == 0)
        r = index_list_versions(w->index, image, PAGES_VERSIONS, 0, &versions, error);
    if (r == 0)
        r = put_logo(w, &one.versions[0], error);
    if (r < 0)
        return r;
    if (one.versions[0].has_logo)
        layout_logo_name(&one.versions[0], logo);
    snprintf(name, sizeof(name), "images/%s/index.html", image);
    buf_clear(&w->page);
    r = put_page(w, name, pages_image(&w->pages, &one.versions[0], &versions, &w->page), error);
    snprintf(name, sizeof(name), "images/%s", image);
    if (r == 0)
        r = page_files_remove(&w->files, name, true, logo, error);
    w->done++;
    cli_progress("pages: %llu of %s", (unsigned long long)w->done, TEXT_COUNT(w->about.images, "image"));
    return r;
}

static int write_list(struct work *w, struct index_list *l, unsigned page, struct error *error)
{
    char name[256], logo[LAYOUT_LOGO_SIZE];
    for (unsigned i = 0; i < l->count; i++) {
        struct index_version *v = &l->versions[i];
        struct stat st;
        snprintf(name, sizeof(name), "images/%s/%s", v->name, v->has_logo ? layout_logo_name(v, logo) : "");
        v->has_logo = v->has_logo && fstatat(w->files.folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    }
    char folder[32] = ".";
    if (page > 1)
        snprintf(folder, sizeof(folder), "page/%u", page);
    snprintf(name, sizeof(name), "%s/index.html", folder);
    buf_clear(&w->page);
    int r = put_page(w, page > 1 ? name : "index.html", pages_list(&w->pages, l, page, &w->page), error);
    return r < 0 ? r : page_files_remove(&w->files, folder, true, "", error); // temporaries of one who was killed
}

// Twice: the images' own pages, then the lists that lead to them. The first list comes last.
static int write_all(struct work *w, bool lists, struct error *error)
{
    uint64_t pages = (w->about.images + PAGES_ROWS - 1) / PAGES_ROWS;
    int r = 0;
    for (uint64_t page = pages ? pages : 1; page >= 1 && r == 0; page--) {
        struct index_list l CLEANUP(index_list_free) = {0};
        struct index_query q = {
            .order = INDEX_BY_NAME, .limit = PAGES_ROWS, .offset = (unsigned)((page - 1) * PAGES_ROWS)};
        r = index_search(w->index, &q, &l, error);
        for (unsigned i = 0; i < l.count && r == 0 && !lists; i++)
            r = write_image(w, l.versions[i].name, error);
        if (r == 0 && lists)
            r = write_list(w, &l, (unsigned)page, error);
    }
    return r;
}

struct sweep {
    struct work *work;
    const char *folder;
    struct error *error;
};

static int sweep_entry(void *context, int folder, const char *entry)
{
    const struct sweep *s = context;
    struct work *w = s->work;
    struct index_list one CLEANUP(index_list_free) = {0};
    char name[512];
    uint64_t number;
    (void)folder;
    if (strcmp(s->folder, "page") == 0) {
        if (!text_parse_u64(slice_of(entry), UINT32_MAX, &number) ||
            (number >= 2 && (number - 1) * PAGES_ROWS < w->about.images))
            return 0;
    } else {
        int r = text_is_image_name(slice_of(entry)) ? index_find_image(w->index, entry, NULL, &one, s->error) : 0;
        if (r != -ENOENT)
            return r;
    }
    snprintf(name, sizeof(name), "%s/%s", s->folder, entry);
    return page_files_remove(&w->files, name, false, "", s->error);
}

static int sweep(struct work *w, const char *folder, struct error *error)
{
    struct sweep s = {.work = w, .folder = folder, .error = error};
    int r = folder_walk(w->files.folder, folder, sweep_entry, &s);
    return r == -ENOENT ? 0 : r;
}

static int write_pages(struct work *w, const char *url, struct error *error)
{
    struct index_counts counts;
    int r = index_open(NULL, true, &w->index, error);
    if (r == 0)
        r = index_update(w->index, site_path(w->site), false, &counts, error);
    if (r == 0)
        r = index_get_site(w->index, &w->about, error);
    if (r < 0)
        return r;
    w->pages = (struct pages_site){.about = &w->about, .url = url};
    r = write_state(&w->files, url, error);
    if (r == 0)
        r = page_files_put(&w->files, "rondo.js", assets_script, strlen(assets_script), error);
    if (r == 0)
        r = page_files_put(&w->files, "icon.svg", assets_icon, strlen(assets_icon), error);
    if (r == 0)
        r = write_all(w, false, error);
    if (r == 0)
        r = write_all(w, true, error);
    if (r == 0)
        r = sweep(w, "page", error);
    if (r == 0)
        r = sweep(w, "images", error);
    cli_progress_end();
    return r;
}

// 1 if the folder has no pages and `only_refresh`.
static int begin_and_write(struct site *s, const struct catalog *c, const char *url, bool only_refresh,
                           char ret_url[static CATALOG_URL_SIZE], struct site_pages_counts *ret, struct error *error)
{
    char chosen[CATALOG_URL_SIZE];
    struct work w CLEANUP(end_work) = {
        .site = s, .files = {.folder = -1, .path = site_path(s)}, .page = BUF_WITH_MAXIMUM(PAGES_SIZE_MAXIMUM)};
    w.files.folder = io->openat(AT_FDCWD, site_path(s), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (w.files.folder < 0)
        return error_set(error, errno, "%s cannot be opened: %m", site_path(s));
    if (only_refresh && faccessat(w.files.folder, STATE_FILE, F_OK, 0) < 0)
        return 1;
    int r = choose_url(&w.files, c, url, chosen, error);
    if (r == 0)
        r = write_pages(&w, chosen, error);
    if (r < 0)
        return r;
    memcpy(ret_url, chosen, sizeof(chosen));
    *ret = (struct site_pages_counts){
        .written = w.files.written, .same = w.files.same, .removed = w.files.removed, .foreign = w.files.foreign};
    return 0;
}

int site_pages_write(struct site *s, const struct catalog *c, const char *url, char ret_url[static CATALOG_URL_SIZE],
                     struct site_pages_counts *ret, struct error *error)
{
    return begin_and_write(s, c, url, false, ret_url, ret, error);
}

void site_pages_refresh(struct site *s)
{
    char url[CATALOG_URL_SIZE];
    struct site_pages_counts counts;
    struct error error = {.text = ""};
    if (begin_and_write(s, NULL, NULL, true, url, &counts, &error) < 0)
        fprintf(stderr, "rondo: the site's pages are as they were: %s; later: rondo site %s\n", error.text,
                site_path(s));
}
