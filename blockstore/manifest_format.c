// Manifests: the writer.
//
// What is written is parsed back before it is handed out, so that a manifest which readers would refuse is never
// signed. A value that holds a newline would parse back as something else; so every text is checked to be printable
// first.
#include "base/cleanup.h"
#include "blockstore/manifest.h"
#include "blockstore/manifest_text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/banned.h"

// A line with a free text; none if the text is empty.
static int add_text(struct buf *b, const char *key, const char *value, struct error *error)
{
    if (!text_is_printable(slice_of(value)))
        return error_set(error, EINVAL, "the %s holds control characters or is not UTF-8", key);
    return value[0] == '\0' ? 0 : buf_append_format(b, "%s %s\n", key, value);
}

static int add_identity(struct buf *b, const struct manifest *m, struct error *error)
{
    char hex[SHA256_HEX_SIZE], time[32], key[PUBLIC_KEY_SIZE * 2];
    int r = buf_append_format(b, MANIFEST_FIRST_LINE "\n");

    if (r == 0)
        r = add_text(b, "name", m->name, error);
    if (r == 0)
        r = add_text(b, "version", m->version, error);
    if (r == 0)
        r = buf_append_format(b, "serial %" PRIu64 "\n", m->serial);
    if (r == 0 && m->has_parent)
        r = buf_append_format(b, "parent %s\n", sha256_to_hex(&m->parent, hex));
    if (r == 0)
        r = buf_append_format(b, "created %s\n", text_format_time(m->created, time));
    if (r == 0 && base64url_encode(m->publisher, PUBLIC_KEY_SIZE, key, sizeof(key)) > 0)
        r = buf_append_format(b, "publisher %s\n", key);
    if (r == 0)
        r = add_text(b, "arch", m->arch, error);
    return r;
}

static int add_member(struct buf *b, const struct manifest_member *member, struct error *error)
{
    char page[SHA256_HEX_SIZE], pack[SHA256_HEX_SIZE], table[SHA256_HEX_SIZE];
    const struct chunk_reference *top = &member->top;

    if (!text_is_printable(slice_of(member->name)))
        return error_set(error, EINVAL, "a member's name holds control characters or is not UTF-8");
    if (member->zero)
        return buf_append_format(b, "member %s %" PRIu64 " -\n", member->name, member->size);
    return buf_append_format(b, "member %s %" PRIu64 " %s,%s,%u,%s,%u,%u\n", member->name, member->size,
                             sha256_to_hex(&top->name, page), sha256_to_hex(&top->pack.name, pack), top->pack.size,
                             sha256_to_hex(&top->pack.table, table), top->offset, top->length);
}

// The shortest form that is exact: 512M, 1G, 1536.
static int add_memory(struct buf *b, uint64_t bytes)
{
    static const char *const units[] = {"", "K", "M", "G", "T"};
    unsigned unit = 0;

    if (bytes == 0)
        return 0;
    for (; unit + 1 < ARRAY_SIZE(units) && bytes % 1024 == 0; unit++)
        bytes /= 1024;
    return buf_append_format(b, "memory %" PRIu64 "%s\n", bytes, units[unit]);
}

static int add_lines(struct buf *b, const struct manifest *m, struct error *error)
{
    char hex[SHA256_HEX_SIZE];
    int r = add_identity(b, m, error);

    for (unsigned i = 0; r == 0 && i < m->member_count; i++)
        r = add_member(b, &m->members[i], error);
    if (r == 0)
        r = add_text(b, "cmdline", m->cmdline, error);
    if (r == 0)
        r = add_memory(b, m->memory);
    for (unsigned i = 0; r == 0 && i < m->boot_count; i++)
        r = buf_append_format(b, "boot %s %u\n", sha256_to_hex(&m->boot[i].pack, hex), m->boot[i].size);

    const struct {
        const char *key, *value;
    } texts[] = {{"ready", m->ready},       {"title", m->title},     {"summary", m->summary},
                 {"homepage", m->homepage}, {"licence", m->licence}, {"os", m->os}};
    for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
        r = add_text(b, texts[i].key, texts[i].value, error);
    return r < 0 ? r : manifest_format_optional(b, m, error);
}

static int check_parses_back(const struct buf *text, struct error *error)
{
    struct manifest *back = malloc(sizeof(*back));
    struct error why = {""};

    if (!back)
        return error_set(error, ENOMEM, "no memory for a manifest");
    int r = manifest_parse_text(text->data, text->size, false, back, &why);
    free(back);
    if (r < 0)
        return error_set(error, r == -ENOMEM ? ENOMEM : EINVAL, "this would not be a manifest: %s", why.text);
    return 0;
}

int manifest_format(const struct manifest *m, struct buf *ret_text, struct error *error)
{
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(MANIFEST_SIZE_MAXIMUM);

    if (m->member_count > MANIFEST_MEMBERS_MAXIMUM || m->boot_count > MANIFEST_BOOT_MAXIMUM ||
        m->port_count > MANIFEST_PORTS_MAXIMUM)
        return error_set(error, EINVAL, "a manifest of %u members, %u boot packs and %u ports cannot be",
                         m->member_count, m->boot_count, m->port_count);
    int r = add_lines(&text, m, error);
    if (r == -EINVAL)
        return r;
    if (r < 0)
        return error_set(error, -r, "cannot write a manifest: %s", strerror(-r));
    r = check_parses_back(&text, error);
    if (r < 0)
        return r;
    r = buf_append(ret_text, text.data, text.size);
    return r < 0 ? error_set(error, -r, "cannot write a manifest: %s", strerror(-r)) : 0;
}
