// rondo publish and commit: what a page about the version shows beyond its texts (blockstore/manifest_optional.c).
//
//   --description FILE   Markdown, signed line by line: CR LF ends a line as LF does, a tab becomes four spaces
//   --logo FILE          PNG or JPEG, by its first bytes; becomes an object of the site
//   --show-port N:NAME   what the machine serves
//
// What is given replaces what a commit took over from its base; "none" leaves it out.
#include "base/cleanup.h"
#include "base/io.h"
#include "client/publish_private.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define LINE_MAXIMUM (MANIFEST_LINE_MAXIMUM - sizeof("opt-description"))
#define FILE_MAXIMUM (2 * MANIFEST_DESCRIPTION_MAXIMUM) // with a CR in each line
#define TAB "    "

static bool is_none(const char *value)
{
    return strcmp(value, "none") == 0;
}

static int read_file(const char *option, const char *path, size_t maximum, void **ret, size_t *ret_size,
                     struct error *error)
{
    CLEANUP_FREE char *real = realpath(path, NULL); // a symbolic link is the user's own choice
    int r = real ? io_read_file(AT_FDCWD, real, maximum, ret, ret_size) : -errno;
    if (r == -EFBIG)
        return error_set(error, EINVAL, "--%s: %s is larger than %zu KiB", option, path, maximum >> 10);
    if (r == -EINVAL || r == -EISDIR)
        return error_set(error, EINVAL, "--%s: %s is not a regular file", option, path);
    return r < 0 ? error_set(error, -r, "--%s: cannot read %s: %s", option, path, strerror(-r)) : 0;
}

// --- the description

static int add_line(struct buf *text, struct slice line)
{
    int r = 0;
    while (r == 0 && line.length > 0) {
        const char *tab = memchr(line.at, '\t', line.length);
        const size_t n = tab ? (size_t)(tab - line.at) : line.length;
        r = buf_append(text, line.at, n);
        if (r == 0 && tab)
            r = buf_append(text, TAB, strlen(TAB));
        line = (struct slice){line.at + n + (tab ? 1 : 0), line.length - n - (tab ? 1 : 0)};
    }
    return r == 0 ? buf_append(text, "\n", 1) : r;
}

static int fill_description(struct manifest *m, const char *path, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_DESCRIPTION_MAXIMUM);
    CLEANUP_FREE void *bytes = NULL;
    size_t size = 0;
    unsigned number = 0;
    m->description[0] = '\0';
    if (is_none(path))
        return 0;
    int r = read_file("description", path, FILE_MAXIMUM, &bytes, &size, error);
    for (struct slice rest = {bytes, size}; r == 0 && rest.length > 0;) {
        const char *end = memchr(rest.at, '\n', rest.length);
        struct slice line = {rest.at, end ? (size_t)(end - rest.at) : rest.length};
        rest = (struct slice){rest.at + line.length + (end ? 1 : 0), rest.length - line.length - (end ? 1 : 0)};
        if (line.length > 0 && line.at[line.length - 1] == '\r')
            line.length--;
        const size_t before = text.size;
        if (++number > MANIFEST_DESCRIPTION_LINES_MAXIMUM)
            return error_set(error, EINVAL, "--description: %s has more than %u lines", path,
                             MANIFEST_DESCRIPTION_LINES_MAXIMUM);
        r = add_line(&text, line);
        if (r == -E2BIG)
            return error_set(error, EINVAL, "--description: %s is longer than %u bytes", path,
                             MANIFEST_DESCRIPTION_MAXIMUM);
        if (r < 0)
            return error_set(error, -r, "out of memory");
        line = (struct slice){buf_text(&text) + before, text.size - before - 1};
        if (line.length > LINE_MAXIMUM)
            return error_set(error, EINVAL, "--description: line %u of %s is longer than %zu bytes", number, path,
                             LINE_MAXIMUM);
        if (!text_is_printable(line))
            return error_set(error, EINVAL,
                             "--description: line %u of %s holds control or invisible characters, or is not UTF-8",
                             number, path);
    }
    if (r == 0 && text.size > 0)
        memcpy(m->description, buf_text(&text), text.size + 1);
    return r;
}

// --- the logo

static int fill_logo(struct publication *p, const char *path, struct error *error)
{
    struct manifest_logo *logo = &p->manifest->logo;
    size_t size = 0;
    *logo = (struct manifest_logo){.type = MANIFEST_LOGO_NONE};
    if (is_none(path))
        return 0;
    int r = read_file("logo", path, MANIFEST_LOGO_MAXIMUM, &p->logo, &size, error);
    if (r < 0)
        return r;
    const enum manifest_logo_type type = manifest_detect_logo(p->logo, size);
    if (type == MANIFEST_LOGO_NONE)
        return error_set(error, EINVAL, "--logo: %s is neither a PNG nor a JPEG picture; convert it to one", path);
    *logo = (struct manifest_logo){.type = type, .object = sha256_of(p->logo, size), .size = (uint32_t)size};
    return 0;
}

int publish_put_logo(struct publication *p, struct error *error)
{
    const struct manifest_logo *logo = &p->manifest->logo;
    const struct pack_reference listed = {.name = logo->object, .size = logo->size}; // of no table
    struct site *s = writer_site(p->writer);
    struct sha256 name;
    if (!p->logo)
        return 0;
    int r = site_list_packs(s, p->name, &listed, 1, error); // as packs are: it may be signed elsewhere
    return r < 0 ? r : site_put_object(s, p->logo, logo->size, &name, error);
}

// --- ports

static int add_port(struct manifest *m, const char *text, struct error *error)
{
    const char *colon = strchr(text, ':');
    const struct slice number = {text, colon ? (size_t)(colon - text) : 0}, name = slice_of(colon ? colon + 1 : "");
    char shown[80];
    uint64_t n;
    if (!text_parse_u64(number, UINT16_MAX, &n) || n == 0 || name.length == 0 || name.at[0] == ' ' ||
        name.length >= MANIFEST_PORT_NAME_SIZE || !text_is_printable(name))
        return error_set(error, EINVAL,
                         "--show-port takes NUMBER:NAME, as in 80:web, with a name of at most %u bytes, not \"%s\"",
                         MANIFEST_PORT_NAME_SIZE - 1, text_escape(slice_of(text), shown, sizeof(shown)));
    for (unsigned i = 0; i < m->port_count; i++)
        if (m->ports[i].number == n)
            return error_set(error, EINVAL, "--show-port names port %u twice", (unsigned)n);
    if (m->port_count == MANIFEST_PORTS_MAXIMUM)
        return error_set(error, EINVAL, "--show-port: at most %u ports are shown", MANIFEST_PORTS_MAXIMUM);
    struct manifest_port *port = &m->ports[m->port_count++];
    port->number = (uint16_t)n;
    snprintf(port->name, sizeof(port->name), "%s", name.at);
    return 0;
}

static int fill_ports(struct manifest *m, const struct option_list *ports, struct error *error)
{
    int r = 0;
    memset(m->ports, 0, sizeof(m->ports));
    m->port_count = 0;
    if (ports->count == 1 && is_none(ports->values[0]))
        return 0;
    for (unsigned i = 0; i < ports->count && r == 0; i++)
        r = add_port(m, ports->values[i], error);
    return r;
}

int publish_fill_pages(struct publication *p, struct error *error)
{
    int r = p->description_path ? fill_description(p->manifest, p->description_path, error) : 0;
    if (r == 0 && p->logo_path)
        r = fill_logo(p, p->logo_path, error);
    return r < 0 || p->ports.count == 0 ? r : fill_ports(p->manifest, &p->ports, error);
}
