// Manifests: the signed text that names everything in a version by hash (FORMATS, "Manifest"; ≤ 64 KiB).
//
// The file is the text, a line `---`, and the lines of a minisign signature over the text. A manifest's name is
// the SHA-256 of the whole file, so whoever was given the name needs no key to check it; whoever was not checks
// the signature (catalog/signed.h) first. This parser reads only the text before the `---` line.
//
// A member line is: member NAME SIZE TOP, where TOP is `-` for a member of zeros only, or
//     <page sha256>,<pack sha256>,<pack size>,<table sha256>,<offset>,<stored length>
//
// What a page about the version shows beyond its texts stands in lines that older readers pass over:
//     opt-description TEXT      one line of Markdown each, in order; without a text, an empty line
//     opt-logo SHA256 SIZE TYPE an object of the site; TYPE is png or jpeg
//     opt-port NUMBER NAME      what the machine serves: 80 web server
#pragma once

#include "base/buf.h"
#include "base/text.h"
#include "blockstore/map.h"

#define MANIFEST_SIZE_MAXIMUM (64u << 10)
#define MANIFEST_LINE_MAXIMUM 4096u
#define MANIFEST_MEMORY_MAXIMUM (16ull << 40) // more than any machine that Linux runs on today has
#define MANIFEST_MEMBERS_MAXIMUM 8u
#define MANIFEST_BOOT_MAXIMUM 64u
#define MANIFEST_TEXT_MAXIMUM 1024u              // of title, summary, cmdline, …
#define MANIFEST_NAME_SIZE 65                    // image and version names with their NUL byte
#define MANIFEST_DESCRIPTION_MAXIMUM (16u << 10) // bytes, with a newline behind each line
#define MANIFEST_DESCRIPTION_LINES_MAXIMUM 512u  // so that all optional lines fit into a manifest beside all others
#define MANIFEST_LOGO_MAXIMUM (512u << 10)       // bytes
#define MANIFEST_PORTS_MAXIMUM 16u
#define MANIFEST_PORT_NAME_SIZE 33 // with its NUL byte
#define PUBLIC_KEY_SIZE 32

struct manifest_member {
    char name[16]; // disk, kernel, initrd
    uint64_t size; // bytes; ≤ MEMBER_SIZE_MAXIMUM
    bool zero;     // no top page: every byte is zero
    struct chunk_reference top;
};

struct manifest_boot {
    struct sha256 pack;
    uint32_t size;
};

// Pictures without scripts or references alone: no SVG.
enum manifest_logo_type { MANIFEST_LOGO_NONE, MANIFEST_LOGO_PNG, MANIFEST_LOGO_JPEG };

struct manifest_logo {
    enum manifest_logo_type type; // MANIFEST_LOGO_NONE: there is none, and the rest means nothing
    struct sha256 object;
    uint32_t size; // bytes; 1 to MANIFEST_LOGO_MAXIMUM
};

struct manifest_port {
    uint16_t number; // of TCP, in the guest; not 0
    char name[MANIFEST_PORT_NAME_SIZE];
};

struct manifest {
    char name[MANIFEST_NAME_SIZE];
    char version[MANIFEST_NAME_SIZE];
    uint64_t serial; // ≥ 1
    bool has_parent;
    struct sha256 parent;
    int64_t created;                          // seconds since 1970
    unsigned char publisher[PUBLIC_KEY_SIZE]; // Ed25519
    char arch[16];                            // x86_64
    struct manifest_member members[MANIFEST_MEMBERS_MAXIMUM];
    unsigned member_count;
    struct manifest_boot boot[MANIFEST_BOOT_MAXIMUM];
    unsigned boot_count;
    uint64_t memory; // bytes; 0 if the line is absent
    // Free text; empty if absent. Never contains control characters (text_is_printable).
    char cmdline[MANIFEST_TEXT_MAXIMUM], ready[MANIFEST_TEXT_MAXIMUM], title[MANIFEST_TEXT_MAXIMUM],
        summary[MANIFEST_TEXT_MAXIMUM], homepage[MANIFEST_TEXT_MAXIMUM], licence[MANIFEST_TEXT_MAXIMUM],
        os[MANIFEST_TEXT_MAXIMUM];
    struct manifest_logo logo;
    struct manifest_port ports[MANIFEST_PORTS_MAXIMUM]; // no number twice
    unsigned port_count;
    // Lines, a newline behind each; "" if there are none. Nothing in them was looked at as Markdown.
    char description[MANIFEST_DESCRIPTION_MAXIMUM + 1];
};

// Parses a whole manifest file; lines in exactly the order of FORMATS, none twice, unknown ones refused but for
// opt-…. -EBADMSG with the line's number. The struct is large (≈ 32 KiB): allocate it.
int manifest_parse(const void *bytes, size_t n, struct manifest *ret, struct error *error);

// Writes the text up to, and without, the `---` line. -EINVAL if a field would not parse back.
int manifest_format(const struct manifest *m, struct buf *ret_text, struct error *error);

bool manifest_is_member_name(struct slice s); // 1 to 15 of a-z, and 0-9 behind the first; not "manifest"

// The number of a member, or -ENOENT.
int manifest_find_member(const struct manifest *m, const char *name);

// What the first bytes of a picture say that it is.
enum manifest_logo_type manifest_detect_logo(const void *bytes, size_t n);
const char *manifest_logo_type_name(enum manifest_logo_type type); // png, jpeg; none
