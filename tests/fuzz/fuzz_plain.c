// Fuzz target: a console's bytes made harmless for a terminal. Nothing comes out but printable text, tabs and line
// feeds (invariant 1), and what comes does not depend on how the bytes were cut.
#include "base/text.h"
#include "client/plain.h"
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

static char *show(const unsigned char *data, size_t size, size_t piece, size_t *ret_size)
{
    char *shown = NULL;
    FILE *to = open_memstream(&shown, ret_size);
    check(to != NULL);
    struct plain p = PLAIN_TO(to);
    for (size_t at = 0; at < size; at += piece)
        plain_feed(&p, data + at, size - at < piece ? size - at : piece);
    plain_flush(&p);
    check(fclose(to) == 0);
    return shown;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t n, n_cut;
    char *whole = show(data, size, size, &n), *cut = show(data, size, data[0] % 16u + 1, &n_cut);
    check(n == n_cut && memcmp(whole, cut, n) == 0);
    for (size_t i = 0; i < n; i++)
        if (whole[i] == '\n' || whole[i] == '\t')
            whole[i] = ' ';
    check(text_is_printable((struct slice){.at = whole, .length = n}));
    free(whole);
    free(cut);
    return 0;
}
