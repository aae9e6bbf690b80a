// Fuzz target: the log of a measured machine. The first byte says whether the lines come as they are, hashes included,
// or without hashes, so that what stands behind a right hash is reached. What is accepted is in order, and what is
// written by our writer is read.
#include "client/measure_log.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void check_line(const struct measure_reader *r, const struct measure_line *l, int key_before, const char *line,
                       size_t n)
{
    check((int)l->key >= key_before && l->key < MEASURE_KEYS && r->key == (int)l->key);
    check(l->value.length <= n && (l->value.length == 0 || (l->value.at >= line && l->value.at <= line + n)));
    check(l->key != MEASURE_CHUNK || l->kind == CHUNK_DATA || l->kind == CHUNK_PAGE);
    check(l->key != MEASURE_CHUNK || (l->words[0].length > 0 && l->words[0].length < 16));
    check(l->key != MEASURE_END || (r->ended && l->words[2].length > 0));
    check(l->key != MEASURE_IMAGE || (l->words[0].length < 65 && l->words[1].length < 65));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct measure_reader r = MEASURE_READER_START;
    struct measure_line l;
    struct error error = {.text = ""};
    if (size == 0)
        return 0;
    const bool hashed = data[0] & 1;
    const char *at = (const char *)data + 1, *end = (const char *)data + size, *newline;
    while (at < end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        const size_t n = (size_t)(newline - at);
        const int before = r.key;
        const unsigned line = r.line;
        const int code = hashed ? measure_read_line(&r, at, n, &l, &error)
                                : measure_read_text(&r, (struct slice){at, n}, &l, &error);
        check(code == 0 || (code == -EBADMSG && strncmp(error.text, "line ", 5) == 0));
        check(r.line == line + (code == 0));
        if (code < 0)
            return 0;
        check_line(&r, &l, before, at, n);
        at = newline + 1;
    }
    if (measure_read_end(&r, &error) == 0)
        check(r.line >= 10);
    return 0;
}
