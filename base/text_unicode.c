// Which characters may be shown: one table, used both to refuse (signed text) and to escape (messages).
//
// Refused are: what is not well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF),
// control characters (general category Cc), and characters that change how others look or that nobody sees: two
// texts that look alike must be equal. The ranges are Unicode 15.0's property Default_Ignorable_Code_Point
// (DerivedCoreProperties.txt), with the line and paragraph separators and the interlinear annotation marks.
//
// 1. `invisible` is sorted and its ranges do not overlap.
// 2. decode() never looks past the slice, and its length is 1 to 4 for good bytes, 0 for bad ones.
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#include "base/banned.h"

static const struct {
    uint32_t first;
    uint32_t last;
} invisible[] = {
    {0x00AD, 0x00AD},   // soft hyphen
    {0x034F, 0x034F},   // combining grapheme joiner
    {0x061C, 0x061C},   // Arabic letter mark
    {0x115F, 0x1160},   // Hangul fillers
    {0x17B4, 0x17B5},   // Khmer inherent vowels
    {0x180B, 0x180F},   // Mongolian selectors and vowel separator
    {0x200B, 0x200F},   // zero width characters, direction marks
    {0x2028, 0x202E},   // separators; embeddings and overrides of direction
    {0x2060, 0x206F},   // joiners, invisible operators, direction isolates, deprecated format characters
    {0x3164, 0x3164},   // Hangul filler
    {0xFE00, 0xFE0F},   // variation selectors
    {0xFEFF, 0xFEFF},   // byte order mark
    {0xFFA0, 0xFFA0},   // half width Hangul filler
    {0xFFF0, 0xFFFB},   // reserved, and interlinear annotation
    {0x1BCA0, 0x1BCA3}, // shorthand format controls
    {0x1D173, 0x1D17A}, // musical format controls
    {0xE0000, 0xE0FFF}, // tags, further variation selectors
};

static bool is_shown(uint32_t c)
{
    if (c < 0x20 || (c >= 0x7F && c < 0xA0))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(invisible) && invisible[i].first <= c; i++)
        if (c <= invisible[i].last)
            return false;
    return true;
}

// The length of the well-formed sequence at the start of the slice, or 0.
static size_t decode(struct slice s, uint32_t *ret)
{
    const unsigned char *p = (const unsigned char *)s.at;
    if (p[0] < 0x80) {
        *ret = p[0];
        return 1;
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] >= 0xF8 ? 0 : p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC0 ? 2 : 0;
    if (n == 0 || n > s.length)
        return 0;
    uint32_t c = p[0] & (0x7FU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3F);
    }
    if (c < smallest[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return 0;
    *ret = c;
    return n;
}

size_t text_shown_length(struct slice s)
{
    uint32_t c;
    size_t n = s.length > 0 ? decode(s, &c) : 0;
    return n > 0 && is_shown(c) ? n : 0;
}

bool text_is_printable(struct slice s)
{
    while (s.length > 0) {
        size_t n = text_shown_length(s);
        if (n == 0)
            return false;
        s = (struct slice){.at = s.at + n, .length = s.length - n};
    }
    return true;
}

const char *text_escape(struct slice s, char *text, size_t capacity)
{
    static const char ellipsis[] = "…";
    if (capacity == 0)
        return "";
    size_t room = capacity - 1;
    size_t at = 0;
    size_t cut = 0; // the last end of a character behind which the ellipsis still fits
    while (s.length > 0) {
        char hex[5];
        const char *piece = s.at;
        size_t taken = text_shown_length(s);
        size_t length = taken;
        if (taken == 0) {
            snprintf(hex, sizeof hex, "\\x%02x", (unsigned char)s.at[0]);
            piece = hex;
            taken = 1;
            length = 4;
        }
        if (length > room - at) {
            bool fits = room >= sizeof ellipsis - 1;
            at = fits ? cut : at;
            if (fits) {
                memcpy(text + at, ellipsis, sizeof ellipsis - 1);
                at += sizeof ellipsis - 1;
            }
            break;
        }
        memcpy(text + at, piece, length);
        at += length;
        if (at + sizeof ellipsis - 1 <= room)
            cut = at;
        s = (struct slice){.at = s.at + taken, .length = s.length - taken};
    }
    text[at] = '\0';
    return text;
}
