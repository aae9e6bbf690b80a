// Fuzz target: a description. Whatever it is, the HTML is right: every tag closed, nothing in it but what
// tests/unit/html_check.h knows. The first byte says how much room there is.
#include <stdint.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "tests/unit/html_check.h"
#include "web/markdown.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct buf out CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16u << 20);
    struct html h = {.to = &out};
    size_t at, room;

    if (size == 0 || size > 65536)
        return 0;
    room = (size_t)data[0] * 64;
    int r = markdown_render(&h, (struct slice){.at = (const char *)data + 1, .length = size - 1}, room);
    check(h.result == 0 && (r == 0 || r == 1) && out.size <= room);
    check(html_check(buf_text(&out), out.size, &at));

    // As the text of an element, too, and as an address.
    buf_clear(&out);
    HTML(&h, "<p>");
    html_escape_cut(&h, (struct slice){.at = (const char *)data, .length = size}, room);
    HTML(&h, "</p>");
    check(h.result == 0 && html_check(buf_text(&out), out.size, &at));
    struct slice url = {.at = (const char *)data, .length = size};
    check(!html_is_link(url) || (text_is_printable(url) && html_check_address(url)));
    buf_clear(&out);
    check(html_append_url(&out, url) == 0 && html_check_text((struct slice){.at = buf_text(&out), .length = out.size}));
    return 0;
}
