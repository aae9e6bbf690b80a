// The settings of an instance: lines of `key value` in a fixed order, then one `source` line for each address, then one
// `volume SIZE PATH` for each volume.
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "client/instance_private.h"
#include "client/resolve.h"
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define SETTINGS_MAXIMUM (64u << 10)
#define SETTINGS_LINES 10u // without the sources
#define LINE_MAXIMUM (CATALOG_URL_SIZE + 64)
_Static_assert(VOLUME_PATH_SIZE <= CATALOG_URL_SIZE, "a volume's line is not longer than a source's");

int instance_write_settings(int folder, const struct instance_settings *s)
{
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(SETTINGS_MAXIMUM);
    char hex[SHA256_HEX_SIZE];
    int r = buf_append_format(&b,
                              "rondo-instance 1\nimage %s\nversion %s\nmanifest %s\nsite %s\ndisk %llu\nmemory %llu\n"
                              "cpus %llu\nephemeral %s\nasked %s\n",
                              s->image, s->version, sha256_to_hex(&s->manifest, hex), s->site,
                              (unsigned long long)s->disk_size, (unsigned long long)s->memory,
                              (unsigned long long)s->cpus, s->ephemeral ? "yes" : "no", s->asked);
    for (unsigned i = 0; i < s->source_count && r == 0; i++)
        r = buf_append_format(&b, "source %s\n", s->sources[i]);
    for (unsigned i = 0; i < s->volume_count && r == 0; i++)
        r = buf_append_format(&b, "volume %llu %s\n", (unsigned long long)s->volumes[i].size, s->volumes[i].path);
    return r < 0 ? r : io_replace_file(folder, "settings", b.data, b.size, 0600);
}

static bool copy_text(char *to, size_t capacity, struct slice from)
{
    if (from.length == 0 || from.length >= capacity)
        return false;
    memcpy(to, from.at, from.length);
    to[from.length] = '\0';
    return true;
}

static bool parse_volume(struct instance_settings *s, struct slice value)
{
    if (s->volume_count == VOLUMES_MAXIMUM)
        return false;
    struct volume *v = &s->volumes[s->volume_count++];
    return text_parse_u64(slice_cut_word(&value), INT64_MAX, &v->size) && slice_starts(value, "/") &&
           copy_text(v->path, sizeof(v->path), value);
}

static bool parse_setting(struct instance_settings *s, unsigned line, struct slice key, struct slice value)
{
    switch (line) {
    case 1:
        return slice_equal(key, "rondo-instance") && slice_equal(value, "1");
    case 2:
        return slice_equal(key, "image") && text_is_image_name(value) && copy_text(s->image, sizeof(s->image), value);
    case 3:
        return slice_equal(key, "version") && text_is_version_name(value) &&
               copy_text(s->version, sizeof(s->version), value);
    case 4:
        return slice_equal(key, "manifest") && sha256_from_hex(value.at, value.length, &s->manifest);
    case 5:
        return slice_equal(key, "site") && copy_text(s->site, sizeof(s->site), value);
    case 6:
        return slice_equal(key, "disk") && text_parse_u64(value, INT64_MAX, &s->disk_size);
    case 7:
        return slice_equal(key, "memory") && text_parse_u64(value, INT64_MAX, &s->memory);
    case 8:
        return slice_equal(key, "cpus") && text_parse_u64(value, 1024, &s->cpus);
    case 9:
        s->ephemeral = slice_equal(value, "yes");
        return slice_equal(key, "ephemeral") && (s->ephemeral || slice_equal(value, "no"));
    case 10:
        return slice_equal(key, "asked") && text_is_version_name(value) && copy_text(s->asked, sizeof(s->asked), value);
    default:
        if (slice_equal(key, "volume"))
            return parse_volume(s, value);
        return slice_equal(key, "source") && s->source_count < CATALOG_MIRRORS_MAXIMUM &&
               copy_text(s->sources[s->source_count++], CATALOG_URL_SIZE, value);
    }
}

int instance_read_settings(struct instance *i, struct error *error)
{
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    int r = io_read_file(i->folder_fd, "settings", SETTINGS_MAXIMUM, &bytes, &size);
    if (r == -ENOENT || r == -EFBIG || r == -EISDIR || r == -ELOOP || r == -EINVAL)
        return error_set(error, EBADMSG, "%s has no settings (%s); rondo rm %s removes the machine", i->folder,
                         strerror(-r), i->name);
    if (r < 0)
        return error_set(error, -r, "cannot read %s/settings: %s", i->folder, strerror(-r));
    struct text_reader reader = text_reader_over(bytes, size, LINE_MAXIMUM);
    struct slice line, key, value;
    memset(&i->settings, 0, sizeof(i->settings));
    while ((r = text_next_line(&reader, &line)) > 0) {
        text_split_line(line, &key, &value);
        if (!parse_setting(&i->settings, reader.line, key, value))
            r = -EBADMSG;
        if (r < 0)
            break;
    }
    if (r < 0 || reader.line < SETTINGS_LINES)
        return error_set(error, EBADMSG, "%s/settings is damaged at line %u; rondo rm %s removes the machine",
                         i->folder, reader.line, i->name);
    return 0;
}

int instance_remember_volumes(const struct instance *i, const struct volume *volumes, unsigned count,
                              struct error *error)
{
    struct instance on_disk = *i; // what this run alone has changed stays out
    int r = instance_read_settings(&on_disk, error);
    if (r < 0)
        return r;
    on_disk.settings.volume_count = count;
    if (count)
        memcpy(on_disk.settings.volumes, volumes, count * sizeof(*volumes));
    r = instance_write_settings(i->folder_fd, &on_disk.settings);
    return r < 0 ? error_set(error, -r, "cannot write %s/settings: %s", i->folder, strerror(-r)) : 0;
}

void instance_set_version(struct instance_settings *s, const struct resolved *from)
{
    const struct address *a = &from->address;
    s->manifest = from->manifest;
    snprintf(s->image, sizeof(s->image), "%s", from->description->name);
    snprintf(s->version, sizeof(s->version), "%s", from->description->version);
    snprintf(s->site, sizeof(s->site), "%s", a->site);
    snprintf(s->asked, sizeof(s->asked), "%s", a->selector[0] ? a->selector : "latest");
    s->source_count = 0;
    for (unsigned i = from->other_count; i < from->source_count && s->source_count < CATALOG_MIRRORS_MAXIMUM; i++)
        snprintf(s->sources[s->source_count++], CATALOG_URL_SIZE, "%s", from->sources[i]);
    if (s->source_count == 0) // offline now, but perhaps not for ever
        snprintf(s->sources[s->source_count++], CATALOG_URL_SIZE, "%s", a->site);
}
