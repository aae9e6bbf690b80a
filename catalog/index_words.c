// What people type, as an FTS5 expression: each word in quotes, which leaves nothing of FTS5's own syntax (NEAR, OR, *,
// ^, column names, brackets) but text; a quote in a word is doubled.
#include "catalog/index_private.h"

#include <errno.h>
#include <string.h>

#include "base/text.h"

#include "base/banned.h"

#define WORDS_MAXIMUM 256u // bytes; INDEX_EXPRESSION_SIZE has room for any words of so many

// Whether a word has something that can be found: FTS5 finds letters and digits, and drops all else. Beyond ASCII that
// is left to FTS5, for which a phrase of nothing is no condition.
static bool has_token(struct slice word)
{
    for (size_t i = 0; i < word.length; i++) {
        const unsigned char c = (unsigned char)word.at[i];
        if (c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
            return true;
    }
    return false;
}

int index_quote_words(const char *words, char ret[static INDEX_EXPRESSION_SIZE], struct error *error)
{
    struct slice rest = slice_of(words);
    char expression[INDEX_EXPRESSION_SIZE];
    size_t n = 0;
    if (rest.length > WORDS_MAXIMUM)
        return error_set(error, EINVAL, "the words to search for are longer than %u bytes; use fewer", WORDS_MAXIMUM);
    if (!text_is_printable(rest))
        return error_set(error, EINVAL, "the words to search for are no text");
    while (rest.length > 0) {
        const struct slice word = slice_cut_word(&rest);
        if (!has_token(word))
            continue;
        if (n > 0)
            expression[n++] = ' ';
        expression[n++] = '"';
        for (size_t i = 0; i < word.length; i++) {
            if (word.at[i] == '"')
                expression[n++] = '"';
            expression[n++] = word.at[i];
        }
        expression[n++] = '"';
    }
    if (n > 0)
        expression[n++] = '*';
    expression[n] = '\0';
    memcpy(ret, expression, n + 1);
    return 0;
}
