// Boot profiles: recording, and the text.
//
// The set of recorded blocks is a hash table of words, each of which says of 64 consecutive blocks of a member which of
// them were recorded. It grows with the recorded blocks, whatever the members' sizes. Invariants:
//   1. A block is in the set if, and only if, it is in exactly one read.
//   2. At most half of the table's slots are used; so there are at most 2 × PROFILE_BLOCKS_MAXIMUM (8 MiB).
//   3. What is recorded stays within its member, and within the limits of profile.h: profile_format's text always
//      parses back, to the same reads.
#include "blockstore/profile.h"
#include "base/cleanup.h"
#include "base/io.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/banned.h"

#define FIRST_LINE "rondo-profile 1"
#define LINE_MAXIMUM 64u // the longest that can be has 44 bytes
#define WORD_BLOCKS 64u
#define WORD_BITS_AT_START 8

struct profile_word {
    uint64_t key; // (number of the 64 blocks in their member × PROFILE_MEMBERS_MAXIMUM + member) + 1; 0: empty
    uint64_t recorded;
};

struct profile *profile_new(void)
{
    struct profile *p = calloc(1, sizeof(*p));

    if (p && getrandom(&p->odd, sizeof(p->odd), 0) != (ssize_t)sizeof(p->odd))
        p->odd = 0x9e3779b97f4a7c15ull; // nothing but a hostile text's speed depends on it
    if (p)
        p->odd |= 1;
    return p;
}

void profile_free(struct profile *p)
{
    if (!p)
        return;
    free(p->reads);
    free(p->words);
    free(p);
}

void cleanup_profile(struct profile **p)
{
    profile_free(*p);
}

int profile_add_member(struct profile *p, const char *name, uint64_t size, unsigned *ret_member)
{
    if (!manifest_is_member_name(slice_of(name)) || size > MEMBER_SIZE_MAXIMUM)
        return -EINVAL;
    for (unsigned i = 0; i < p->member_count; i++)
        if (strcmp(p->members[i].name, name) == 0)
            return -EINVAL;
    if (p->member_count == PROFILE_MEMBERS_MAXIMUM)
        return -E2BIG;
    struct profile_member *member = &p->members[p->member_count];
    memcpy(member->name, name, strlen(name) + 1);
    member->size = size;
    *ret_member = p->member_count++;
    return 0;
}

// --- the set of recorded blocks -------------------------------------------------------------------------------------

static struct profile_word *find_slot(struct profile_word *words, unsigned bits, uint64_t odd, uint64_t key)
{
    uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint64_t i = (key * odd) >> (64 - bits);

    while (words[i].key != 0 && words[i].key != key)
        i = (i + 1) & mask;
    return &words[i];
}

static int grow_words(struct profile *p)
{
    unsigned bits = p->words ? p->word_bits + 1 : WORD_BITS_AT_START;
    struct profile_word *words = io->malloc(sizeof(*words) << bits); // a text decides how much, so it goes by the table

    if (!words)
        return -ENOMEM;
    memset(words, 0, sizeof(*words) << bits);
    for (size_t i = 0; p->words && i < (size_t)1 << p->word_bits; i++)
        if (p->words[i].key != 0)
            *find_slot(words, bits, p->odd, p->words[i].key) = p->words[i];
    free(p->words);
    p->words = words;
    p->word_bits = bits;
    return 0;
}

// The word, or the empty slot for it.
static int find_word(struct profile *p, uint64_t key, struct profile_word **ret)
{
    if (!p->words || (p->word_count + 1) * 2 > (size_t)1 << p->word_bits) {
        int r = grow_words(p);
        if (r < 0)
            return r;
    }
    *ret = find_slot(p->words, p->word_bits, p->odd, key);
    return 0;
}

// --- reads ----------------------------------------------------------------------------------------------------------

// Blocks that are new.
static int append_read(struct profile *p, unsigned member, uint64_t first, uint32_t blocks)
{
    struct profile_read *last = p->read_count ? &p->reads[p->read_count - 1] : NULL;

    if (last && last->member == member && last->first + last->blocks == first) {
        last->blocks += blocks;
        return 0;
    }
    if (p->read_count == PROFILE_READS_MAXIMUM)
        return -E2BIG;
    if (p->read_count == p->read_capacity) {
        size_t capacity = p->read_capacity ? p->read_capacity * 2 : 256;
        struct profile_read *grown = io->malloc(capacity * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        if (p->reads)
            memcpy(grown, p->reads, p->read_count * sizeof(*grown));
        free(p->reads);
        p->reads = grown;
        p->read_capacity = capacity;
    }
    // A list with a capacity has memory, also one that the caller began with.
    p->reads[p->read_count++] = // NOLINT(clang-analyzer-core.NullDereference)
        (struct profile_read){.first = first, .blocks = blocks, .member = member};
    return 0;
}

// Blocks `from` to `to` − 1 of one word.
static int add_to_word(struct profile *p, unsigned member, uint64_t number, unsigned from, unsigned to)
{
    uint64_t key = number * PROFILE_MEMBERS_MAXIMUM + member + 1;
    struct profile_word *word;
    int r = find_word(p, key, &word);

    for (unsigned end; r == 0 && from < to; from = end) {
        bool recorded = word->recorded >> from & 1;
        for (end = from + 1; end < to && (word->recorded >> end & 1) == recorded;)
            end++;
        if (recorded)
            continue;
        if (end - from > PROFILE_BLOCKS_MAXIMUM - p->block_count)
            return -E2BIG;
        r = append_read(p, member, number * WORD_BLOCKS + from, end - from);
        if (r < 0)
            break;
        p->block_count += end - from;
        p->word_count += word->key == 0;
        word->key = key;
        word->recorded |= (end - from == WORD_BLOCKS ? UINT64_MAX : (UINT64_C(1) << (end - from)) - 1) << from;
    }
    return r;
}

int profile_add_read(struct profile *p, unsigned member, uint64_t first, uint64_t blocks)
{
    uint64_t all = member < p->member_count ? map_blocks(p->members[member].size) : 0;
    int r = 0;

    if (blocks == 0 || first >= all || blocks > all - first)
        return -EINVAL;
    for (uint64_t end = first + blocks; r == 0 && first < end;) {
        uint64_t number = first / WORD_BLOCKS, next = (number + 1) * WORD_BLOCKS;
        uint64_t stop = next < end ? next : end;
        r = add_to_word(p, member, number, (unsigned)(first % WORD_BLOCKS), (unsigned)(stop - number * WORD_BLOCKS));
        first = stop;
    }
    return r;
}

// --- the text -------------------------------------------------------------------------------------------------------

int profile_format(const struct profile *p, struct buf *ret_text)
{
    int r = buf_append_format(ret_text, FIRST_LINE "\n");

    for (unsigned i = 0; r == 0 && i < p->member_count; i++)
        r = buf_append_format(ret_text, "member %s %" PRIu64 "\n", p->members[i].name, p->members[i].size);
    for (size_t i = 0; r == 0 && i < p->read_count; i++) {
        const struct profile_read *read = &p->reads[i];
        r = buf_append_format(ret_text, "read %s %" PRIu64 " %u\n", p->members[read->member].name, read->first,
                              read->blocks);
    }
    return r;
}

// Each returns NULL, or what is wrong with the line.
static const char *parse_member(struct profile *p, struct slice value)
{
    struct slice name = slice_cut_word(&value);
    char text[sizeof(p->members[0].name)];
    uint64_t size;
    unsigned unused;

    if (p->read_count > 0)
        return "a member behind a read";
    if (!text_parse_u64(value, MEMBER_SIZE_MAXIMUM, &size))
        return "a member needs a name and a size of at most 16 TiB";
    if (!manifest_is_member_name(name))
        return "a name that no member may have";
    memcpy(text, name.at, name.length);
    text[name.length] = '\0';
    int r = profile_add_member(p, text, size, &unused);
    return r == -EINVAL ? "a member that is there twice" : r < 0 ? "one member too many" : NULL;
}

static const char *parse_read(struct profile *p, struct slice value)
{
    struct slice name = slice_cut_word(&value), first = slice_cut_word(&value);
    uint64_t at, blocks;
    unsigned member = 0;

    while (member < p->member_count && !slice_equal(name, p->members[member].name))
        member++;
    if (member == p->member_count)
        return "a read of a member that is not listed";
    if (!text_parse_u64(first, UINT64_MAX, &at) || !text_parse_u64(value, UINT64_MAX, &blocks))
        return "a read needs a member, its first block and a number of blocks";
    switch (profile_add_read(p, member, at, blocks)) {
    case 0:
        return NULL;
    case -EINVAL:
        return "a read beyond the member's end";
    case -E2BIG:
        return "more reads or blocks than a boot can have";
    default:
        return "no memory for it";
    }
}

static const char *parse_line(struct profile *p, unsigned number, struct slice line)
{
    struct slice key, value;

    if (number == 1)
        return slice_equal(line, FIRST_LINE) ? NULL : "not a boot profile of version 1";
    text_split_line(line, &key, &value);
    if (slice_equal(key, "member"))
        return parse_member(p, value);
    if (slice_equal(key, "read"))
        return parse_read(p, value);
    return "neither a member nor a read";
}

int profile_parse(const void *bytes, size_t n, struct profile **ret, struct error *error)
{
    struct text_reader reader = text_reader_over(bytes, n, LINE_MAXIMUM);
    struct slice line;
    int r;

    if (n > PROFILE_TEXT_MAXIMUM)
        return error_set(error, EBADMSG, "a boot profile of %zu bytes is larger than any may be", n);
    struct profile *p CLEANUP(cleanup_profile) = profile_new();
    if (!p)
        return error_set(error, ENOMEM, "no memory for a boot profile");
    while ((r = text_next_line(&reader, &line)) > 0) {
        const char *wrong = parse_line(p, reader.line, line);
        if (wrong)
            return error_set(error, EBADMSG, "line %u: %s", reader.line, wrong);
    }
    if (r < 0)
        return error_set(error, EBADMSG, "line %u: cut short, too long, or not plain text", reader.line);
    if (p->read_count == 0)
        return error_set(error, EBADMSG, "a boot profile without a read");
    *ret = TAKE_PTR(p);
    return 0;
}

int profile_check_members(const struct profile *p, const struct profile_member *members, unsigned n,
                          struct error *error)
{
    for (unsigned i = 0; i < p->member_count; i++) {
        const struct profile_member *own = &p->members[i];
        unsigned j = 0;
        while (j < n && strcmp(members[j].name, own->name) != 0)
            j++;
        if (j == n)
            return error_set(error, EINVAL, "it speaks of a member %s, which this image does not have", own->name);
        if (members[j].size != own->size)
            return error_set(error, EINVAL, "its member %s has %" PRIu64 " bytes, this image's %" PRIu64, own->name,
                             own->size, members[j].size);
    }
    return 0;
}
