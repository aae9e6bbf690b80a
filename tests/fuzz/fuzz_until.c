// Fuzz target: the wait for a text on a console. What is seen does not depend on how the bytes were cut (invariant 1),
// and a line of its own that holds the text is always seen, whatever came before (invariant 3).
#include "client/until.h"
#include <stdint.h>
#include <stdlib.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void open(struct until *u)
{
    char why[128];
    check(until_open(u, "^ab|c[de]+f|[0-9] %", why, sizeof(why)) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct until whole, cut;
    if (size == 0)
        return 0;
    const size_t piece = data[0] % 16u + 1; // the first byte is a part of the text, too
    open(&whole);
    open(&cut);
    bool seen = until_feed(&whole, data, size), seen_cut = false;
    for (size_t at = 0; at < size; at += piece)
        seen_cut = until_feed(&cut, data + at, size - at < piece ? size - at : piece);
    check(seen == seen_cut && whole.length <= UNTIL_LINE_MAXIMUM);
    check(seen || (whole.state == cut.state && whole.length == cut.length));
    check(until_feed(&whole, "\nab\n", 4));
    until_close(&whole);
    until_close(&cut);
    return 0;
}
