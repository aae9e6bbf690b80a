// Fuzz target: signed text. What verifies covers exactly the bytes before the first separator line.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/signed.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const char key[] = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"; // RFC 8032, section 7.1, test 2
    struct key_public k;
    struct slice text;
    struct slice signature;
    struct slice covered;
    struct error error = {""};
    check(key_from_text(key, strlen(key), &k));
    int split = signed_split(data, size, &text, &signature, NULL);
    int verified = signed_verify(data, size, &k, &covered, &error);
    check(split == 0 || split == -EBADMSG);
    check(verified == 0 || ((verified == -EBADMSG || verified == -EKEYREJECTED) && error.text[0]));
    check(split == 0 || verified == -EBADMSG);
    if (split == 0) {
        check(text.at == (const char *)data && text.length > 0 && text.at[text.length - 1] == '\n');
        check(text.length + strlen(SIGNED_SEPARATOR) + signature.length == size);
        check(!memmem(text.at, text.length, "\n" SIGNED_SEPARATOR, 1 + strlen(SIGNED_SEPARATOR)));
    }
    if (verified == 0)
        check(covered.at == text.at && covered.length == text.length);
    return 0;
}
