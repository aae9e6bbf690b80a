// What a client controls of a request, and we parse ourselves: "Range header\nIf-None-Match\ntarget". Checks that a
// part lies within the file, and that an accepted name obeys the invariants of server/site_path.c.

#include "server/conditions.h"
#include "server/range.h"
#include "server/site_path.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static struct slice cut_line(struct slice *rest)
{
    const char *newline = memchr(rest->at, '\n', rest->length);
    struct slice line = {.at = rest->at, .length = newline ? (size_t)(newline - rest->at) : rest->length};

    rest->at += line.length + (newline ? 1 : 0);
    rest->length -= line.length + (newline ? 1 : 0);
    return line;
}

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_range(struct slice header, uint64_t file_size)
{
    struct byte_range range;

    if (range_parse(header, file_size, &range) != RANGE_PART)
        return;
    require(range.length > 0 && range.first < file_size && range.length <= file_size - range.first);
}

static void check_name(const struct site_path *path)
{
    size_t length = strlen(path->name);

    require(length > 0 && length < sizeof path->name);
    require(path->name[0] != '/' && path->name[0] != '.' && path->name[length - 1] != '/');
    require(!strstr(path->name, "//") && !strstr(path->name, "/.") && !strchr(path->name, '\\'));
    require(strncmp(path->name, "partial/", 8) != 0);
    if (strncmp(path->name, "objects/", 8) == 0)
        require(path->kind == SITE_PATH_OBJECT && length == 75 && path->name[10] == '/' &&
                strspn(path->name + 11, "0123456789abcdef") == 64 && memcmp(path->name + 8, path->name + 11, 2) == 0);
    else
        require(path->kind == (strcmp(path->name, SITE_PATH_CATALOG) == 0 ? SITE_PATH_CATALOG_FILE : SITE_PATH_PAGE));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const uint64_t sizes[] = {0, 1, 10, 8388608, INT64_MAX, UINT64_MAX};
    struct slice rest = {.at = (const char *)data, .length = size};
    struct slice range = cut_line(&rest), tags = cut_line(&rest);
    struct site_path path;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        check_range(range, sizes[i]);
    conditions_tag_in_list(tags, "\"x\"");
    conditions_if_range(tags, "\"x\"", "Mon, 23 Nov 2026 10:00:00 GMT");
    if (site_path_parse(rest.at, rest.length, &path) == 0)
        check_name(&path);
    return 0;
}
