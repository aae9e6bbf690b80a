// See configuration.h.
#include "client/configuration.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/path.h"
#include "base/text.h"
#include "blockstore/store.h"
#include "catalog/address.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

#define FILE_MAXIMUM (64u << 10)
#define LINE_MAXIMUM 2048u

static const struct configuration configuration_default = {
    .outage_seconds = STORE_WAIT_SECONDS, .keep = true, .fill_rate = CONFIGURATION_FILL_RATE};

static int set_flag(bool *flag, const char *value, struct error *error)
{
    *flag = strcmp(value, "yes") == 0;
    return *flag || strcmp(value, "no") == 0 ? 0 : error_set(error, EINVAL, "yes or no are possible");
}

// 0, or -EINVAL if the value does not suit the key, or -ENOENT if there is no such key.
static int set(struct configuration *c, struct slice key, const char *value, struct error *error)
{
    uint64_t number;
    if (slice_equal(key, "site"))
        return address_parse_site(value, "/", c->site, error);
    if (slice_equal(key, "source")) {
        if (c->source_count == CONFIGURATION_SOURCES_MAXIMUM)
            return error_set(error, EINVAL, "at most %u are possible", CONFIGURATION_SOURCES_MAXIMUM);
        return address_parse_site(value, "/", c->sources[c->source_count++], error);
    }
    if (slice_equal(key, "cache-size")) {
        if (!text_parse_size(value, &c->cache_size) || c->cache_size == 0)
            return error_set(error, EINVAL, "a size like 10G is needed");
        return 0;
    }
    if (slice_equal(key, "outage-seconds")) {
        if (!text_parse_u64(slice_of(value), 86400, &number) || number == 0)
            return error_set(error, EINVAL, "1 to 86400 seconds are possible");
        c->outage_seconds = (unsigned)number;
        return 0;
    }
    if (slice_equal(key, "require-pin"))
        return set_flag(&c->require_pin, value, error);
    if (slice_equal(key, "keep"))
        return set_flag(&c->keep, value, error);
    if (slice_equal(key, "fill-rate")) {
        c->fill_rate = 0;
        if (strcmp(value, "none") != 0 && (!text_parse_size(value, &c->fill_rate) || c->fill_rate == 0))
            return error_set(error, EINVAL, "a size like 2M is needed, or none");
        return 0;
    }
    return error_set(error, EINVAL, "there is no such setting");
}

int configuration_parse(const void *bytes, size_t n, const char *path, struct configuration *ret, struct error *error)
{
    struct configuration c = configuration_default;
    struct text_reader reader = text_reader_over(bytes, n, LINE_MAXIMUM - 1);
    struct slice line, key, text;
    char value[LINE_MAXIMUM];
    int r;
    while ((r = text_next_line(&reader, &line)) > 0) {
        if (line.length == 0 || line.at[0] == '#')
            continue;
        text_split_line(line, &key, &text);
        snprintf(value, sizeof(value), "%.*s", SLICE_ARGUMENTS(text));
        r = set(&c, key, value, error);
        if (r < 0)
            return error_prefix(error, -EINVAL, "%s, line %u (%.*s)", path, reader.line, SLICE_ARGUMENTS(key));
    }
    if (r < 0)
        return error_set(error, EINVAL, "%s, line %u: not a line of text that ends in a newline", path, reader.line);
    *ret = c;
    return 0;
}

int configuration_read(struct configuration *ret, struct error *error)
{
    char folder[PATH_TEXT_SIZE], path[PATH_TEXT_SIZE];
    CLEANUP_FREE void *bytes = NULL;
    size_t size;
    int r = path_find(PATH_CONFIG, folder, error);
    if (r < 0)
        return r;
    r = path_format(path, sizeof(path), "%s/config", folder);
    if (r < 0)
        return error_set(error, -r, "the path of the configuration is too long");
    r = io_read_file(AT_FDCWD, path, FILE_MAXIMUM, &bytes, &size);
    if (r == -ENOENT) {
        *ret = configuration_default;
        return 0;
    }
    if (r < 0)
        return error_set(error, -r, "cannot read %s: %s", path, strerror(-r));
    return configuration_parse(bytes, size, path, ret, error);
}
