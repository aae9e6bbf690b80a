// Fuzz target: catalogs and their shards. The first byte chooses: a text, a shard's text (its prefix is the second
// byte), or a whole signed file. What parses is formatted again and must give the same text, since one catalog has one
// text; and it is looked through in every way.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/catalog.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void look_through(const struct catalog *c)
{
    const struct catalog_image *image = NULL;
    check(catalog_allows(c, &c->site_key, "x") == 1 || c->revoked_count > 0);
    for (unsigned i = 0; i < c->image_count; i++) {
        const struct catalog_image *one = &c->images[i];
        if (catalog_find_shard(c, one->name))
            continue;
        check(catalog_find(c, one->name, one->version, &image, NULL) == 0 && image == one);
        check(catalog_newest_serial(c, one->name) >= one->serial);
        check(catalog_find(c, one->name, "", &image, NULL) == 0);
    }
    for (unsigned i = 0; i < c->tag_count; i++)
        if (!catalog_find_shard(c, c->tags[i].name))
            check(catalog_find(c, c->tags[i].name, c->tags[i].tag, &image, NULL) == 0 &&
                  strcmp(image->version, c->tags[i].version) == 0);
    for (unsigned i = 0; i < c->key_count; i++)
        catalog_allows(c, &c->keys[i].key, c->keys[i].prefix);
    struct error error;
    check(catalog_find(c, "not there\n", "x", &image, &error) < 0 && text_is_printable(slice_of(error.text)));
}

// The text without its opt-… lines.
static void drop_optional(struct slice text, struct buf *ret)
{
    struct text_reader r = text_reader_over(text.at, text.length, CATALOG_LINE_MAXIMUM);
    struct slice line;
    while (text_next_line(&r, &line) == 1)
        if (!slice_starts(line, "opt-"))
            check(buf_append(ret, line.at, line.length) == 0 && buf_append(ret, "\n", 1) == 0);
}

static void fuzz_text(struct slice text)
{
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf again CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct buf expected CLEANUP(buf_free) = BUF_WITH_MAXIMUM(CATALOG_SIZE_MAXIMUM);
    struct error error = {""};
    int r = catalog_parse(text.at, text.length, &c, &error);
    if (r < 0) {
        check(r == -EBADMSG && error.text[0] && text_is_printable(slice_of(error.text)));
        return;
    }
    look_through(&c);
    if (c.shard_count > 0)
        return;
    drop_optional(text, &expected);
    if (expected.size > CATALOG_TEXT_MAXIMUM)
        return;
    check(catalog_format(&c, NULL, NULL, &again, NULL) == 0);
    check(again.size == expected.size && memcmp(again.data, expected.data, again.size) == 0);
}

static void fuzz_shard(unsigned char prefix, struct slice text)
{
    static const char head[] = "rondo-catalog 1\nsite zoo PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw\n"
                               "id 00112233445566778899aabbccddeeff\nnumber 42\n"
                               "issued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n";
    struct catalog c CLEANUP(catalog_free) = {.number = 0};
    struct buf b CLEANUP(buf_free) = BUF_WITH_MAXIMUM(4096);
    char hex[SHA256_HEX_SIZE];
    if (text.length == 0 || text.length > CATALOG_SHARD_MAXIMUM)
        return;
    const struct sha256 hash = sha256_of(text.at, text.length);
    check(buf_append_format(&b, "%sshard %02x %s %zu\n", head, prefix, sha256_to_hex(&hash, hex), text.length) == 0);
    check(catalog_parse(b.data, b.size, &c, NULL) == 0);
    const struct catalog_shard shard = c.shards[0];
    int r = catalog_parse_shard(&c, &shard, text.at, text.length, NULL);
    check(r == 0 || r == -EBADMSG);
    check(c.shards[0].loaded == (r == 0));
    check(r == 0 || c.image_count + c.key_count + c.tag_count == 0);
    look_through(&c);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct slice rest = {.at = (const char *)data + 1, .length = size - 1};
    if (data[0] == 't') {
        fuzz_text(rest);
    } else if (data[0] == 's') {
        fuzz_shard(data[1], (struct slice){.at = rest.at + 1, .length = rest.length - 1});
    } else if (data[0] == 'f') {
        struct catalog c = {.number = 0};
        if (catalog_open(rest.at, rest.length, &c, NULL) == 0)
            look_through(&c);
        catalog_free(&c);
    }
    return 0;
}
