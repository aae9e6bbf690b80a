// A site's rows as tests/unit/test_pages.c shows them: ordinary ones, the longest, and hostile ones.
#pragma once

#include "web/pages.h"

#include <string.h>

static const struct key_public pages_key = {.bytes = {0x58, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                      11,   12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                      22,   23, 24, 25, 26, 27, 28, 29, 30, 31}};

static inline struct index_site pages_make_site(void)
{
    return (struct index_site){.name = "zoo",
                               .key = pages_key,
                               .number = 42,
                               .issued = 1795428000,
                               .expires = 1803204000,
                               .images = 2,
                               .versions = 3};
}

static inline struct index_version pages_make_version(void)
{
    return (struct index_version){.name = "debian",
                                  .version = "12.5",
                                  .serial = 7,
                                  .manifest = {{0xAB, 0xCD, 1}},
                                  .created = 1795428000,
                                  .publisher = pages_key,
                                  .arch = "x86_64",
                                  .os = "Debian GNU/Linux 12",
                                  .licence = "various free ones",
                                  .title = "Debian 12 bookworm",
                                  .summary = "A small system with a network & a shell.",
                                  .homepage = "https://www.debian.org/",
                                  .description = "## What it is\n\nThe **stable** one.\n\n- ssh\n- apt\n",
                                  .ports = "22 ssh\n80 http\n",
                                  .tags = "12, latest",
                                  .has_logo = true,
                                  .logo = {{0xEE}},
                                  .logo_size = 1000,
                                  .logo_type = "png",
                                  .memory = 512u << 20,
                                  .disk_size = 2ull << 30,
                                  .boot_bytes = 19u << 20,
                                  .stored_bytes = 240u << 20,
                                  .new_bytes = 23u << 20,
                                  .version_count = 2};
}

// Every text holds `text`; names, which have a rule, do not.
static inline struct index_version pages_make_with_text(const char *text)
{
    struct index_version v = pages_make_version();
    v.arch = v.os = v.licence = v.title = v.summary = v.homepage = v.description = v.ports = v.tags = v.logo_type =
        text;
    return v;
}
