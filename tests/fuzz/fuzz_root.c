// Fuzz target: root statements. The first byte chooses: a text, or a whole signed file, which is then also the next of
// roots that everything in it would have to follow. What parses is written again and must give the same text but for
// its opt-… lines, since one root has one text.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/root.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

// The text without its opt-… lines.
static void drop_optional(struct slice text, struct buf *ret)
{
    struct text_reader r = text_reader_over(text.at, text.length, CATALOG_LINE_MAXIMUM);
    struct slice line;
    while (text_next_line(&r, &line) == 1)
        if (!slice_starts(line, "opt-") || slice_starts(line, "opt- ") || slice_equal(line, "opt-"))
            check(buf_append(ret, line.at, line.length) == 0 && buf_append(ret, "\n", 1) == 0);
}

static void look_through(const struct root *root)
{
    check(root->number >= 2 && root->number <= ROOT_NUMBER_MAXIMUM);
    check(root->key_count >= 1 && root->key_count <= ROOT_KEYS_MAXIMUM);
    check(root->threshold >= 1 && root->threshold <= root->key_count);
    check(root->revoked_count <= ROOT_REVOKED_MAXIMUM);
    check(key_is_sound(&root->catalog_key) && root_has_key(root, &root->catalog_key));
    for (unsigned i = 0; i < root->key_count; i++)
        check(key_is_sound(&root->keys[i]) && !root_revokes(root, &root->keys[i]));
}

static void fuzz_text(struct slice text)
{
    struct buf again CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    struct buf expected CLEANUP(buf_free) = BUF_WITH_MAXIMUM(ROOT_SIZE_MAXIMUM);
    struct root root = {.number = 0};
    struct error error = {""};
    int r = root_parse(text.at, text.length, &root, &error);
    check(r == 0 || (r == -EBADMSG && error.text[0] && root.number == 0 && text_is_printable(slice_of(error.text))));
    if (r < 0)
        return;
    look_through(&root);
    drop_optional(text, &expected);
    check(root_format(&root, &again, &error) == 0);
    check(again.size == expected.size && memcmp(again.data, expected.data, again.size) == 0);
}

static void fuzz_file(struct slice file)
{
    struct root root = {.number = 0};
    struct root next = {.number = 0};
    struct error error = {""};
    int r = root_open(file.at, file.length, &root, &error);
    check(r == 0 || ((r == -EBADMSG || r == -EKEYREJECTED) && error.text[0]));
    if (r < 0)
        return;
    look_through(&root);
    check(root_follow(&root, file.at, file.length, &next, &error) == -ESTALE); // nothing follows itself
    struct root before = root;
    before.number = root.number - 1;
    check(root_follow(&before, file.at, file.length, &next, &error) == 0 && sha256_equal(&next.text, &root.text));
    check(root_is_signed_by(file.at, file.length, &root.catalog_key));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct slice rest = {.at = (const char *)data + 1, .length = size - 1};
    if (data[0] == 't')
        fuzz_text(rest);
    else
        fuzz_file(rest);
    return 0;
}
