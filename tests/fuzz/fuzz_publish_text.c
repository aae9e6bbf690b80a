// What a publisher sends over HTTP, as each parser of server/publish_text.c sees it: the same bytes for all of them.
// What is accepted must have the properties that their callers rely on.

#include "server/publish_text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    const struct slice all = {.at = (const char *)data, .length = size};
    struct publish_part part;
    struct publish_object object;
    struct publish_session_text session;
    struct key_public key;
    struct error error;
    unsigned char token[PUBLISH_CHALLENGE_BYTES];
    char tag[CATALOG_NAME_SIZE];
    unsigned lines = 0;

    if (publish_text_parse_part(all, &part))
        require(part.length > 0 && part.first < part.total && part.length <= part.total - part.first);
    struct text_reader reader = text_reader_over(data, size, 80);
    while (publish_text_next_object(&reader, &object, &error) > 0)
        require(++lines <= PUBLISH_MISSING_LINES && object.size <= UINT32_MAX);
    if (publish_text_parse_key(data, size, &key, &error) == 0)
        require(size == strlen("key \n") + KEY_TEXT_SIZE - 1 && key_is_sound(&key));
    if (publish_text_parse_session(all, &session, &error) == 0)
        require(key_is_sound(&session.site) && key_is_sound(&session.key));
    if (publish_text_parse_tag(all, tag, &error) == 0)
        require(text_is_version_name(slice_of(tag)));
    publish_text_parse_token(all, token);
    return 0;
}
