// See signer.h.
#include "catalog/signer.h"
#include "catalog/signed.h"
#include <string.h>

#include "base/banned.h"

struct key_public signer_of(const struct manifest *m)
{
    struct key_public signer = {.id = {0}};
    memcpy(signer.bytes, m->publisher, sizeof(signer.bytes));
    return signer;
}

int signer_check(const struct manifest *m, const void *bytes, size_t n, struct error *error)
{
    const struct key_public signer = signer_of(m);
    struct slice text;
    return signed_verify(bytes, n, &signer, &text, error);
}
