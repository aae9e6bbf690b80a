// Fuzz target: minisign's files. The first byte chooses: public key, secret key, or a signature over a fixed text.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "catalog/key.h"
#include "catalog/signed.h"

#include "base/banned.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void check(bool promise)
{
    if (!promise)
        abort();
}

static void fuzz_public(struct slice file)
{
    struct key_public k;
    struct key_public again;
    char text[KEY_TEXT_SIZE];
    if (key_parse_public(file.at, file.length, &k, NULL) < 0)
        return;
    check(key_is_sound(&k) && key_from_text(key_to_text(&k, text), KEY_TEXT_SIZE - 1, &again) && key_equal(&k, &again));
}

// Nobody answers for a passphrase, so that no time goes into scrypt.
static void fuzz_secret(struct slice file)
{
    struct key_secret *k CLEANUP(key_free) = NULL;
    struct key_public public;
    unsigned char signature[KEY_SIGNATURE_SIZE];
    int r = key_parse_secret(file.at, file.length, NULL, NULL, &k, NULL);
    check(r == 0 || r == -EBADMSG || r == -EACCES);
    if (r < 0)
        return;
    key_public_of(k, &public);
    check(key_sign(k, file.at, file.length, signature, NULL) == 0);
    check(key_verify(&public, file.at, file.length, signature));
}

static void fuzz_signature(struct slice file)
{
    static const char key[] = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"; // RFC 8032, section 7.1, test 2
    static const char text[] = "rondo-catalog 1\nopt-fuzzed\n";
    struct key_public k;
    check(key_from_text(key, strlen(key), &k));
    int r = signed_verify_detached(text, strlen(text), file.at, file.length, &k, NULL);
    check(r == 0 || r == -EBADMSG || r == -EKEYREJECTED);
    if (r == 0) // a signature over this text is none over another
        check(signed_verify_detached(text, strlen(text) - 1, file.at, file.length, &k, NULL) == -EKEYREJECTED);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct slice rest = {.at = (const char *)data + 1, .length = size - 1};
    if (data[0] == 'p')
        fuzz_public(rest);
    else if (data[0] == 's')
        fuzz_secret(rest);
    else if (data[0] == 'v')
        fuzz_signature(rest);
    return 0;
}
