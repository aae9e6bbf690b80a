// The lines of a catalog that repeat: mirror, revoke, key, image, tag, shard; in a head and in shards.
//
// 1. Order is fixed and nothing occurs twice (catalog.h, first paragraph), so each line is compared with the one
//    before.
// 2. Arrays are allocated once, from the number of lines that begin with their word.
// 3. Nothing takes more than n log n steps, whatever the text.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "catalog/address.h"
#include "catalog/catalog_private.h"

#include "base/banned.h"

// The order of lines.

int catalog_compare_images(const void *a, const void *b)
{
    const struct catalog_image *x = a;
    const struct catalog_image *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->version, y->version);
}

int catalog_compare_tags(const void *a, const void *b)
{
    const struct catalog_tag *x = a;
    const struct catalog_tag *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->tag, y->tag);
}

int catalog_compare_keys(const void *a, const void *b)
{
    const struct catalog_key *x = a;
    const struct catalog_key *y = b;
    int order = strcmp(x->prefix, y->prefix);
    return order ? order : memcmp(x->key.bytes, y->key.bytes, KEY_PUBLIC_SIZE);
}

unsigned char catalog_shard_of(const char *name)
{
    return sha256_of(name, strcspn(name, ".")).bytes[0];
}

// The parser.

int catalog_parser_complain(const struct catalog_parser *p, const char *what)
{
    return error_set(p->error, EBADMSG, "line %u: %s", p->reader.line, what);
}

// Reads the next line that is not opt-….
int catalog_parser_advance(struct catalog_parser *p)
{
    struct slice line;
    int r;
    while ((r = text_next_line(&p->reader, &line)) > 0) {
        text_split_line(line, &p->key, &p->value);
        if (!slice_starts(p->key, "opt-") || p->key.length == strlen("opt-"))
            break;
    }
    if (r < 0)
        return catalog_parser_complain(p, "not a line of printable text, or too long");
    p->have = r > 0;
    return 0;
}

// Cuts a value into exactly `n` words.
bool catalog_parser_cut_words(struct slice value, struct slice words[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        words[i] = slice_cut_word(&value);
        if (words[i].length == 0)
            return false;
    }
    return value.length == 0;
}

void catalog_parser_copy_name(char to[static CATALOG_NAME_SIZE], struct slice name) // that text_is_…_name accepted
{
    memcpy(to, name.at, name.length);
    to[name.length] = '\0';
}

// The lists. Each function appends one line's element to an array that has room for it.

static int parse_mirror(struct catalog_parser *p)
{
    char(*mirrors)[CATALOG_URL_SIZE] = p->c->mirrors;
    const unsigned at = p->c->mirror_count;
    if (at == CATALOG_MIRRORS_MAXIMUM)
        return catalog_parser_complain(p, "too many mirrors");
    if (address_parse_url(p->value, mirrors[at], NULL) < 0 || !slice_equal(p->value, mirrors[at]))
        return catalog_parser_complain(p, "a mirror is a URL in its plain form that ends in /");
    for (unsigned i = 0; i < at; i++)
        if (strcmp(mirrors[i], mirrors[at]) == 0)
            return catalog_parser_complain(p, "a mirror that was there already");
    p->c->mirror_count++;
    return 0;
}

static int parse_revoke(struct catalog_parser *p)
{
    struct key_public *key = &p->c->revoked[p->c->revoked_count];
    if (!key_from_text(p->value.at, p->value.length, key))
        return catalog_parser_complain(p, "expected: revoke KEY");
    if (p->c->revoked_count > 0 && memcmp(key[-1].bytes, key->bytes, KEY_PUBLIC_SIZE) >= 0)
        return catalog_parser_complain(p, "not in order, or there already");
    p->c->revoked_count++;
    return 0;
}

static int check_place(const struct catalog_parser *p, const char *name, bool in_order)
{
    if (p->shard && catalog_shard_of(name) != p->shard->prefix)
        return catalog_parser_complain(p, "a name of another shard");
    return in_order ? 0 : catalog_parser_complain(p, "not in order, or there already");
}

static int parse_key(struct catalog_parser *p)
{
    struct slice words[2];
    struct catalog_key *key = &p->c->keys[p->c->key_count];
    if (!catalog_parser_cut_words(p->value, words, 2) || !key_from_text(words[0].at, words[0].length, &key->key) ||
        !text_is_image_name(words[1]))
        return catalog_parser_complain(p, "expected: key KEY PREFIX");
    catalog_parser_copy_name(key->prefix, words[1]);
    int r = check_place(p, key->prefix, p->c->key_count == 0 || catalog_compare_keys(key - 1, key) < 0);
    p->c->key_count += r == 0;
    return r;
}

static int parse_image(struct catalog_parser *p)
{
    struct slice words[4];
    struct catalog_image *image = &p->c->images[p->c->image_count];
    if (!catalog_parser_cut_words(p->value, words, 4) || !text_is_image_name(words[0]) ||
        !text_is_version_name(words[1]) || !text_parse_u64(words[2], INT64_MAX, &image->serial) || image->serial == 0 ||
        !sha256_from_hex(words[3].at, words[3].length, &image->manifest))
        return catalog_parser_complain(p, "expected: image NAME VERSION SERIAL SHA256");
    catalog_parser_copy_name(image->name, words[0]);
    catalog_parser_copy_name(image->version, words[1]);
    int r = check_place(p, image->name, p->c->image_count == 0 || catalog_compare_images(image - 1, image) < 0);
    p->c->image_count += r == 0;
    return r;
}

static int parse_tag(struct catalog_parser *p)
{
    struct slice words[3];
    struct catalog_tag *tag = &p->c->tags[p->c->tag_count];
    if (!catalog_parser_cut_words(p->value, words, 3) || !text_is_image_name(words[0]) ||
        !text_is_version_name(words[1]) || !text_is_version_name(words[2]))
        return catalog_parser_complain(p, "expected: tag NAME TAG VERSION");
    catalog_parser_copy_name(tag->name, words[0]);
    catalog_parser_copy_name(tag->tag, words[1]);
    catalog_parser_copy_name(tag->version, words[2]);
    int r = check_place(p, tag->name, p->c->tag_count == 0 || catalog_compare_tags(tag - 1, tag) < 0);
    if (r == 0 && !catalog_image_at(p->c, tag->name, tag->version))
        r = catalog_parser_complain(p, "a tag for a version that is not there");
    if (r == 0 && catalog_image_at(p->c, tag->name, tag->tag))
        r = catalog_parser_complain(p, "a tag that is also the name of a version");
    p->c->tag_count += r == 0;
    return r;
}

static int parse_shard_line(struct catalog_parser *p)
{
    static const char digits[] = "0123456789abcdef";
    struct slice words[3];
    uint64_t size;
    struct catalog_shard *shard = &p->c->shards[p->c->shard_count];
    if (!catalog_parser_cut_words(p->value, words, 3) || words[0].length != 2 ||
        !memchr(digits, words[0].at[0], sizeof digits - 1) || !memchr(digits, words[0].at[1], sizeof digits - 1) ||
        !sha256_from_hex(words[1].at, words[1].length, &shard->object) ||
        !text_parse_u64(words[2], CATALOG_SHARD_MAXIMUM, &size) || size == 0)
        return catalog_parser_complain(p, "expected: shard XX SHA256 BYTES");
    shard->prefix =
        (unsigned char)((strchr(digits, words[0].at[0]) - digits) << 4 | (strchr(digits, words[0].at[1]) - digits));
    shard->size = (uint32_t)size;
    shard->loaded = false;
    if (p->c->shard_count > 0 && shard[-1].prefix >= shard->prefix)
        return catalog_parser_complain(p, "not in order, or there already");
    if (p->c->key_count + p->c->image_count + p->c->tag_count > 0)
        return catalog_parser_complain(p, "key, image and tag lines stand in the catalog or in shards, not in both");
    p->c->shard_count++;
    return 0;
}

static const struct list {
    const char *key;
    int (*parse)(struct catalog_parser *p);
    bool in_shard;
} lists[] = {
    {"mirror", parse_mirror, false}, {"revoke", parse_revoke, false}, {"key", parse_key, true},
    {"image", parse_image, true},    {"tag", parse_tag, true},        {"shard", parse_shard_line, false},
};

// How many lines text_split_line gives the key `key`.
static size_t count_lines(struct slice text, const char *key)
{
    const size_t length = strlen(key);
    size_t count = 0;
    while (text.length > 0) {
        const char *newline = memchr(text.at, '\n', text.length);
        const size_t n = newline ? (size_t)(newline - text.at) + 1 : text.length;
        count += n > length && (text.at[length] == ' ' || text.at[length] == '\n') && memcmp(text.at, key, length) == 0;
        text = (struct slice){.at = text.at + n, .length = text.length - n};
    }
    return count;
}

static int allocate(void *ret_array, struct slice text, const char *key, size_t size, size_t maximum)
{
    size_t count = count_lines(text, key);
    if (count == 0)
        return 0;
    void *array = io->malloc((count < maximum ? count : maximum) * size);
    if (!array)
        return -ENOMEM;
    memcpy(ret_array, &array, sizeof array);
    return 0;
}

static int allocate_arrays(struct catalog *c, struct slice text)
{
    int r = allocate(&c->mirrors, text, "mirror", sizeof *c->mirrors, CATALOG_MIRRORS_MAXIMUM);
    if (r == 0)
        r = allocate(&c->revoked, text, "revoke", sizeof *c->revoked, SIZE_MAX);
    if (r == 0)
        r = allocate(&c->keys, text, "key", sizeof *c->keys, SIZE_MAX);
    if (r == 0)
        r = allocate(&c->images, text, "image", sizeof *c->images, SIZE_MAX);
    if (r == 0)
        r = allocate(&c->tags, text, "tag", sizeof *c->tags, SIZE_MAX);
    if (r == 0)
        r = allocate(&c->shards, text, "shard", sizeof *c->shards, SIZE_MAX);
    return r;
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// The newest version of a name is the one with the highest serial, so no two may have the same.
static int check_serials(const struct catalog *c, struct error *error)
{
    uint64_t *serials CLEANUP_FREE = io->malloc((c->image_count + 1) * sizeof *serials);
    if (!serials)
        return -ENOMEM;
    for (unsigned first = 0, end; first < c->image_count; first = end) {
        const struct catalog_image *image = &c->images[first];
        for (end = first; end < c->image_count && strcmp(c->images[end].name, image->name) == 0; end++)
            serials[end - first] = c->images[end].serial;
        qsort(serials, end - first, sizeof *serials, compare_numbers);
        for (unsigned i = 1; i < end - first; i++)
            if (serials[i - 1] == serials[i])
                return error_set(error, EBADMSG, "two versions of %s have the serial %llu", image->name,
                                 (unsigned long long)serials[i]);
    }
    return 0;
}

int catalog_parser_read_lists(struct catalog_parser *p, struct slice text)
{
    int r = allocate_arrays(p->c, text);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++)
        while (r == 0 && (!p->shard || lists[i].in_shard) && p->have && slice_equal(p->key, lists[i].key))
            if ((r = lists[i].parse(p)) == 0)
                r = catalog_parser_advance(p);
    if (r == 0 && p->have)
        return catalog_parser_complain(p, "an unknown line, or one out of order");
    if (r == 0)
        r = check_serials(p->c, p->error);
    if (r == -ENOMEM)
        error_set(p->error, ENOMEM, "not enough memory for a catalog of %zu bytes", text.length);
    return r;
}
