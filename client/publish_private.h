// What the files of `rondo publish` share: publish_options.c (the verb), publish.c (the work), publish_parent.c (what
// is known already), publish_profile.c (the boot's order), publish_pages.c (description, logo, ports), publish_signed.c
// (keys that are elsewhere), publish_remote.c (a site over HTTP). `rondo commit` (commit.c) ends with the same steps.
#pragma once

#include "blockstore/writer.h"
#include "catalog/signed.h"
#include "client/cli.h"
#include "client/publisher.h"

#define PUBLISH_MEMBERS 3
extern const char *const publish_member_names[PUBLISH_MEMBERS]; // disk, kernel, initrd

struct publication {
    const char *name, *version, *site, *tag, *profile, *key_path, *site_key_path, *expires_text;
    const char *files[PUBLISH_MEMBERS]; // in the order of publish_member_names
    int file_fds[PUBLISH_MEMBERS];
    struct option_list mirrors, parents, ports;
    const char *title, *summary, *homepage, *licence, *os, *cmdline, *ready;
    const char *description_path, *logo_path; // publish_pages.c
    const char *codec_text;
    bool generalize;
    uint64_t memory, level, timeout; // timeout: seconds, of a boot that is recorded; 0: not given
    enum chunk_codec codec;
    const char *unsigned_path, *signed_path; // publish_signed.c

    int64_t expires;
    struct key_secret *key, *site_key;     // site_key may be the same pointer; NULL: they are elsewhere
    struct key_public public, site_public; // site_public: not known with --unsigned alone
    struct writer *writer;
    struct catalog catalog;
    struct manifest *manifest;
    void *logo; // the bytes of --logo; NULL: none was given
    // Versions whose blocks are not stored again; the first is the parent (publish_parent.c)
    struct manifest *known[OPTION_LIST_MAXIMUM];
    unsigned known_count;
    uint64_t boot_chunks; // of the parent's boot packs (blockstore/inherit.h)

    bool over_http;                // --to is a URL
    struct publish_remote *remote; // then, from publish_begin_site on
};

// --- publish.c
int publish(struct publication *p, struct error *error); // all that was opened and allocated is publish_end's
void publish_end(struct publication *p);
// Called by the writer: a line on stderr; non-zero after a signal.
int publish_report_progress(void *context, const char *what, uint64_t done, uint64_t all);
// Its steps, in their order. What they open is publish_end's to close.
int publish_fill_manifest(struct publication *p, struct error *error); // options that were given replace what is there
int publish_open_files(struct publication *p, struct error *error);
// The site, if it is one over HTTP: its catalog, and that it takes this publication. 1: it lists the version already,
// by this command, which was interrupted behind that and has nothing left to do.
int publish_begin_site(struct publication *p, struct error *error);
int publish_open_writer(struct publication *p, struct error *error);
// The catalog as it will be, up to the new version's own lines: may this key publish this name here?
int publish_prepare_catalog(struct publication *p, struct error *error);
// The manifest of a version that the site's catalog lists, verified as a reader would.
int publish_read_manifest(struct publication *p, const struct catalog_image *image, struct manifest *ret,
                          struct error *error);
// Of the catalog alone: is its key the site's key that was given?
int publish_check_site_key(const struct publication *p, struct error *error);
int publish_read_keys(struct publication *p, struct error *error); // public ones, with --unsigned
int publish_sign_and_list(struct publication *p, struct sha256 *ret_name, struct error *error);

// --- publish_pages.c
int publish_fill_pages(struct publication *p, struct error *error); // as publish_fill_manifest, which calls it
int publish_put_logo(struct publication *p, struct error *error);   // into the site, before a manifest names it

// --- publish_signed.c
int publish_write_unsigned(struct publication *p, struct error *error); // the manifest's text, instead of signing it
int publish_take_signed(struct publication *p, struct error *error);    // --signed: all of it

// --- publish_options.c
// Checks what both verbs take: 0, or the exit code after a message.
int publish_check_names(const char *verb, struct publication *p);

// --- publish_parent.c
int publish_resolve_parents(struct publication *p, struct error *error); // those of --parent; before the site is locked
int publish_learn_parents(struct publication *p, struct error *error);   // serial, parent, and what their packs hold
// Sets the serial, one more than that of the newest version of the image, which is returned (NULL: there is none).
const struct catalog_image *publish_count_serial(struct publication *p);

// --- publish_remote.c, publish_send.c
int publish_remote_begin(struct publication *p, struct error *error); // as publish_begin_site
int publish_remote_open_writer(struct publication *p, const struct writer_options *options, struct error *error);
int publish_remote_read_manifest(struct publication *p, const struct catalog_image *image, struct manifest *ret,
                                 struct error *error);
// Signs the manifest, sends what the site lacks, hands it in, and looks whether the site lists it.
int publish_remote_finish(struct publication *p, struct sha256 *ret_name, struct error *error);
void publish_remote_end(struct publication *p);

// --- publish_profile.c
bool publish_records_boot(const struct publication *p); // --profile auto
// Opens what --profile names, before the long work: -ENOENT, -EACCES.
int publish_check_profile(const struct publication *p, struct error *error);
// The boot's order: what --profile names, or a boot that is recorded now, else what the parent's boot packs say.
// *ret_profile is NULL if there is none: one that does not fit is no failure, nor is a boot that cannot be recorded,
// and stderr says why.
int publish_find_profile(struct publication *p, struct profile **ret_profile, struct error *error);
