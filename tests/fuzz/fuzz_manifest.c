// Fuzz target: a manifest file. One that is accepted has only values within their limits, can be written again, and
// what is written reads back as the same.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "blockstore/manifest.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(int promise)
{
    if (!promise)
        abort();
}

static void check_values(const struct manifest *m)
{
    check(text_is_image_name(slice_of(m->name)) && text_is_version_name(slice_of(m->version)));
    check(m->serial >= 1 && m->serial <= INT64_MAX && m->created >= 0);
    check(m->member_count >= 1 && m->member_count <= MANIFEST_MEMBERS_MAXIMUM);
    check(m->boot_count <= MANIFEST_BOOT_MAXIMUM);
    for (unsigned i = 0; i < m->member_count; i++) {
        const struct manifest_member *member = &m->members[i];
        check(!strchr(member->name, '/') && !strchr(member->name, '.') && member->name[0] != '\0');
        check(manifest_find_member(m, member->name) == (int)i);
        check(member->size <= MEMBER_SIZE_MAXIMUM);
        check(member->zero || (uint64_t)member->top.offset + member->top.length < member->top.pack.size);
    }
    const char *const texts[] = {m->cmdline, m->ready, m->title, m->summary, m->homepage, m->licence, m->os};
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
        check(text_is_printable(slice_of(texts[i])));
    const size_t length = strlen(m->description);
    check(length <= MANIFEST_DESCRIPTION_MAXIMUM && (length == 0 || m->description[length - 1] == '\n'));
    check(m->logo.type == MANIFEST_LOGO_NONE || (m->logo.size >= 1 && m->logo.size <= MANIFEST_LOGO_MAXIMUM));
    check(m->port_count <= MANIFEST_PORTS_MAXIMUM);
    for (unsigned i = 0; i < m->port_count; i++)
        check(m->ports[i].number > 0 && m->ports[i].name[0] && text_is_printable(slice_of(m->ports[i].name)));
}

static void format_with_end(const struct manifest *m, struct buf *text)
{
    check(manifest_format(m, text, NULL) == 0);
    check(buf_append(text, "---\n", 4) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct buf once CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM + 4);
    struct buf twice CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM + 4);
    struct manifest *m CLEANUP_FREE = malloc(sizeof(*m));
    struct error error = {""};

    check(m != NULL);
    if (manifest_parse(data, size, m, &error) < 0) {
        check(error.text[0] != '\0' && text_is_printable(slice_of(error.text)));
        return 0;
    }
    check_values(m);
    format_with_end(m, &once);
    if (once.size <= MANIFEST_SIZE_MAXIMUM) {
        check(manifest_parse(once.data, once.size, m, NULL) == 0);
        format_with_end(m, &twice);
        check(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    }
    return 0;
}
