// See publish_error.h.
#include "server/publish_error.h"

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

#include "base/banned.h"

static int append(struct buf *b, const char *key, const char *text)
{
    char shown[ERROR_TEXT_SIZE];

    return json_append_text(b, key, text_escape(slice_of(text), shown, sizeof shown));
}

int publish_error_format(struct buf *b, const char *text, const char *next)
{
    int r = buf_append(b, "{", 1);

    if (r == 0)
        r = append(b, "error", text);
    if (r == 0 && next)
        r = append(b, "next", next);
    return r < 0 ? r : buf_append(b, "}\n", 2);
}
