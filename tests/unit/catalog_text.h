// A catalog's text, for the tests of catalog/catalog.h.
#pragma once

#include "tests/unit/catalog_fixture.h"

#include "base/hash.h"

#define ISSUED INT64_C(1795428000) // 2026-11-23T10:00:00Z
#define KEY_A "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"
#define KEY_B "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU" // RFC 8032, section 7.1, tests 2 and 3
#define HASH_A "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH_B "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define HEAD                                                                                                           \
    "rondo-catalog 1\nsite zoo " KEY_A "\nid 00112233445566778899aabbccddeeff\nnumber 42\n"                            \
    "issued 2026-11-23T10:00:00Z\nexpires 2027-02-21T10:00:00Z\n"
#define LISTS                                                                                                          \
    "mirror http://b.example/\nmirror https://a.example:8443/os/\nrevoke " KEY_B "\nkey " KEY_B " alice\n"             \
    "image alice.x 1 1 " HASH_A "\nimage debian 12.4 1 " HASH_A "\nimage debian 12.5 2 " HASH_B "\n"                   \
    "tag debian 12 12.5\ntag debian latest 12.5\n"

static inline int parse(const char *text, struct catalog *ret, struct error *error)
{
    const size_t n = strlen(text);
    char *exact CLEANUP_FREE = fixture_exact(text, n);
    return catalog_parse(exact, n, ret, error);
}
