// Fuzz target: texts that are to be signed. What is accepted is a manifest or a catalog with a sound key for its
// signer.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "client/signing.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct signing_text t CLEANUP(signing_free) = {.manifest = NULL};
    struct error error = {""};
    char what[256];
    int r = signing_parse((struct slice){.at = (const char *)data, .length = size}, &t, &error);
    check(r == 0 || (r == -EBADMSG && error.text[0]));
    if (r < 0)
        return 0;
    check(key_is_sound(&t.signer));
    check(text_is_printable(slice_of(signing_describe(&t, what, sizeof(what)))));
    check(!memmem(data, size, "\n---\n", 5)); // so that what is signed is all of it
    return 0;
}
