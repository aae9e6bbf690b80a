// Reading catalogs: the head, the signature, shards. The text was signed by whoever the caller trusts with it, and is
// still hostile: every count is bounded by the text, and every name is checked. The lines that repeat are
// catalog_lines.c's.
//
// 1. Before the signature is verified, only the first two lines are read, for the key to verify it with.
// 2. On failure the outputs are untouched.
#include "catalog/catalog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/catalog_private.h"
#include "catalog/signed.h"

#include "base/banned.h"

int catalog_parser_expect(struct catalog_parser *p, const char *key)
{
    if (p->have && slice_equal(p->key, key))
        return 0;
    return error_set(p->error, EBADMSG, "line %u: expected %s", p->reader.line + (p->have ? 0 : 1), key);
}

bool catalog_parser_take_id(struct slice s, unsigned char ret[static CATALOG_ID_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    if (s.length != 2 * CATALOG_ID_SIZE)
        return false;
    for (size_t i = 0; i < s.length; i++) {
        const char *digit = memchr(digits, s.at[i], sizeof digits - 1);
        if (!digit)
            return false;
        const unsigned char value = (unsigned char)(digit - digits);
        ret[i / 2] = (unsigned char)(i % 2 ? ret[i / 2] | value : value << 4);
    }
    return true;
}

// The head.

static int parse_site(struct catalog_parser *p)
{
    struct slice words[2];
    int r = catalog_parser_advance(p);
    if (r == 0)
        r = catalog_parser_expect(p, "rondo-catalog");
    if (r < 0)
        return r;
    if (p->reader.line != 1)
        return catalog_parser_complain(p, "expected before every other line");
    if (!slice_equal(p->value, "1"))
        return catalog_parser_complain(p, "a catalog of another format; a newer rondo may know it");
    if ((r = catalog_parser_advance(p)) < 0 || (r = catalog_parser_expect(p, "site")) < 0)
        return r;
    if (!catalog_parser_cut_words(p->value, words, 2) || !text_is_image_name(words[0]) ||
        !key_from_text(words[1].at, words[1].length, &p->c->site_key))
        return catalog_parser_complain(p, "expected: site NAME KEY");
    catalog_parser_copy_name(p->c->site, words[0]);
    return catalog_parser_advance(p);
}

static int parse_dates(struct catalog_parser *p)
{
    int r = catalog_parser_expect(p, "id");
    if (r < 0)
        return r;
    if (!catalog_parser_take_id(p->value, p->c->id))
        return catalog_parser_complain(p, "an id is 32 hex digits in lower case");
    if ((r = catalog_parser_advance(p)) < 0 || (r = catalog_parser_expect(p, "number")) < 0)
        return r;
    if (!text_parse_u64(p->value, INT64_MAX, &p->c->number) || p->c->number == 0)
        return catalog_parser_complain(p, "a catalog's number is decimal, from 1 to 2^63-1");
    if ((r = catalog_parser_advance(p)) < 0 || (r = catalog_parser_expect(p, "issued")) < 0)
        return r;
    if (!text_parse_time(p->value, &p->c->issued))
        return catalog_parser_complain(p, "expected a time as in 2026-11-23T10:00:00Z");
    if ((r = catalog_parser_advance(p)) < 0 || (r = catalog_parser_expect(p, "expires")) < 0)
        return r;
    if (!text_parse_time(p->value, &p->c->expires))
        return catalog_parser_complain(p, "expected a time as in 2026-11-23T10:00:00Z");
    if (p->c->expires <= p->c->issued)
        return catalog_parser_complain(p, "it expires before it is issued");
    return catalog_parser_advance(p);
}

static int parse_root(struct catalog_parser *p)
{
    struct slice words[2];
    uint64_t number;
    p->c->root_number = 1;
    if (!p->have || !slice_equal(p->key, "root"))
        return 0;
    if (!catalog_parser_cut_words(p->value, words, 2) || !text_parse_u64(words[0], ROOT_NUMBER_MAXIMUM, &number) ||
        number < 2 || !sha256_from_hex(words[1].at, words[1].length, &p->c->root_text))
        return catalog_parser_complain(p, "expected: root NUMBER SHA256");
    p->c->root_number = (unsigned)number;
    return catalog_parser_advance(p);
}

int catalog_parse(const void *text, size_t n, struct catalog *ret, struct error *error)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct catalog_parser p = {.reader = text_reader_over(text, n, CATALOG_LINE_MAXIMUM), .c = &c, .error = error};
    if (n > CATALOG_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "malformed catalog: longer than %u bytes", CATALOG_SIZE_MAXIMUM);
    int r = parse_site(&p);
    if (r == 0)
        r = parse_dates(&p);
    if (r == 0)
        r = parse_root(&p);
    if (r == 0)
        r = catalog_parser_read_lists(&p, (struct slice){.at = text, .length = n});
    if (r < 0)
        return error_prefix(error, r, "malformed catalog");
    *ret = c;
    c = (struct catalog){.number = 0};
    return 0;
}

int catalog_open(const void *bytes, size_t n, struct catalog *ret, struct error *error)
{
    struct catalog claimed = {.number = 0};
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct slice text;
    struct slice signature;
    if (n > CATALOG_SIZE_MAXIMUM)
        return error_set(error, EBADMSG, "malformed catalog: longer than %u bytes", CATALOG_SIZE_MAXIMUM);
    int r = signed_split(bytes, n, &text, &signature, error);
    if (r == 0) {
        struct catalog_parser p = {
            .reader = text_reader_over(text.at, text.length, CATALOG_LINE_MAXIMUM), .c = &claimed, .error = error};
        r = parse_site(&p);
    }
    if (r < 0)
        return error_prefix(error, r, "malformed catalog");
    r = signed_verify(bytes, n, &claimed.site_key, &text, error);
    if (r == -EKEYREJECTED)
        r = -EBADMSG; // it names its key itself, so what does not fit it was altered
    if (r < 0)
        return error_prefix(error, r, "catalog of %s", claimed.site);
    r = catalog_parse(text.at, text.length, &c, error);
    if (r < 0)
        return r;
    c.text = sha256_of(text.at, text.length);
    if (catalog_revokes(&c, &c.site_key))
        return error_set(error, EKEYREJECTED, "the site %s has revoked its own key; learn the new one from its owner",
                         c.site);
    *ret = c;
    c = (struct catalog){.number = 0};
    return 0;
}

// Joins two arrays into a new one, in order.
static int join(void *ret_array, const void *a, unsigned a_count, const void *b, unsigned b_count, size_t size,
                int (*compare)(const void *, const void *))
{
    char *array = io->malloc((a_count + b_count + 1) * size);
    if (!array)
        return -ENOMEM;
    if (a_count > 0)
        memcpy(array, a, a_count * size);
    if (b_count > 0)
        memcpy(array + a_count * size, b, b_count * size);
    qsort(array, a_count + b_count, size, compare);
    memcpy(ret_array, &array, sizeof array);
    return 0;
}

static int add_shard(struct catalog *c, const struct catalog *from)
{
    struct catalog_key *keys CLEANUP_FREE = NULL;
    struct catalog_image *images CLEANUP_FREE = NULL;
    struct catalog_tag *tags CLEANUP_FREE = NULL;
    int r = join(&keys, c->keys, c->key_count, from->keys, from->key_count, sizeof *keys, catalog_compare_keys);
    if (r == 0)
        r = join(&images, c->images, c->image_count, from->images, from->image_count, sizeof *images,
                 catalog_compare_images);
    if (r == 0)
        r = join(&tags, c->tags, c->tag_count, from->tags, from->tag_count, sizeof *tags, catalog_compare_tags);
    if (r < 0)
        return r;
    free(c->keys);
    free(c->images);
    free(c->tags);
    c->keys = TAKE_PTR(keys);
    c->images = TAKE_PTR(images);
    c->tags = TAKE_PTR(tags);
    c->key_count += from->key_count;
    c->image_count += from->image_count;
    c->tag_count += from->tag_count;
    return 0;
}

int catalog_parse_shard(struct catalog *c, const struct catalog_shard *shard, const void *text, size_t n,
                        struct error *error)
{
    struct catalog parsed CLEANUP(catalog_free) = {.number = 0};
    struct catalog_parser p = {
        .reader = text_reader_over(text, n, CATALOG_LINE_MAXIMUM), .c = &parsed, .shard = shard, .error = error};
    struct catalog_shard *own = NULL;
    for (unsigned i = 0; i < c->shard_count; i++)
        if (c->shards[i].prefix == shard->prefix)
            own = &c->shards[i];
    if (!own || own->loaded)
        return error_set(error, EINVAL, "shard %02x of catalog %s is %s", shard->prefix, c->site,
                         own ? "loaded already" : "not listed");
    const struct sha256 hash = sha256_of(text, n);
    if (n != own->size || !sha256_equal(&hash, &own->object))
        return error_set(error, EBADMSG, "shard %02x of catalog %s is not the one that was signed", shard->prefix,
                         c->site);
    int r = catalog_parser_advance(&p);
    if (r == 0)
        r = catalog_parser_read_lists(&p, (struct slice){.at = text, .length = n});
    if (r < 0)
        return error_prefix(error, r, "malformed shard %02x of catalog %s", shard->prefix, c->site);
    r = add_shard(c, &parsed);
    if (r < 0)
        return error_set(error, -r, "not enough memory for shard %02x of catalog %s", shard->prefix, c->site);
    own->loaded = true;
    return 0;
}

void catalog_free(struct catalog *c)
{
    free(c->mirrors);
    free(c->revoked);
    free(c->keys);
    free(c->images);
    free(c->tags);
    free(c->shards);
    *c = (struct catalog){.number = 0};
}
