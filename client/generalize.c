// See generalize.h. Words of a command line stand between single or several spaces, as the kernel has it
// (linux/lib/cmdline.c); a quoted one with spaces in it is left as it is, since ours have no quotes.
#include "client/generalize.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <inttypes.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/banned.h"

#define TOKEN_WORD "rondo.generalize="
#define INIT_WORD "init="

// Ours of an earlier version are left out.
static int take_word(struct buf *to, struct slice word, struct error *error)
{
    if (slice_starts(word, TOKEN_WORD) || slice_equal(word, INIT_WORD GENERALIZE_PROGRAM))
        return 0;
    if (slice_starts(word, INIT_WORD))
        return error_set(error, EINVAL, "--generalize: the command line chooses an init already: %.*s",
                         SLICE_ARGUMENTS(word));
    return buf_append_format(to, "%.*s ", SLICE_ARGUMENTS(word));
}

int generalize_command_line(const char *now, char *ret, size_t capacity, struct error *error)
{
    uint64_t token;
    struct buf text CLEANUP(buf_free) = BUF_WITH_MAXIMUM(capacity);
    struct slice rest = slice_of(now);
    int r = RAND_bytes((unsigned char *)&token, sizeof token) == 1 ? 0 : -EIO;
    while (r == 0 && rest.length > 0)
        r = take_word(&text, slice_cut_word(&rest), error);
    if (r == 0)
        r = buf_append_format(&text, TOKEN_WORD "%016" PRIx64 " " INIT_WORD GENERALIZE_PROGRAM, token);
    if (r == -EINVAL)
        return r;
    if (r < 0 || text.size >= capacity)
        return error_set(error, r == -EIO || r == -ENOMEM ? -r : E2BIG,
                         "--generalize: the command line has no room for it, or there is no randomness");
    memcpy(ret, text.data, text.size);
    ret[text.size] = '\0';
    return 0;
}
