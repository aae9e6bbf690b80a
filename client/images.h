// What a verb has at hand that reads images: the user's configuration, the other places that may be asked, and a store;
// with the options that all such verbs share. A verb fills `resolve` and `named` by its options, opens it, resolves
// addresses with it, and closes it.
#pragma once

#include "client/resolve.h"

struct images {
    struct resolve_options resolve; // what the user demands; `others` is set by images_open
    struct option_list named;       // --source
    bool without_cache;             // nothing goes through the cache: for copies that are larger than it
    struct configuration configuration;
    struct resolve_others others; // those of --source, then the configuration's
    struct store *store;          // owned; NULL until it is open
};

// Rows of a verb's table of options.
#define IMAGES_CHECKS(images)                                                                                          \
    {"offline", OPTION_FLAG, &(images).resolve.offline},                                                               \
        {"require-fresh", OPTION_FLAG, &(images).resolve.require_fresh},                                               \
    {                                                                                                                  \
        "require-pin", OPTION_FLAG, &(images).resolve.require_pin                                                      \
    }
#define IMAGES_OPTIONS(images)                                                                                         \
    IMAGES_CHECKS(images),                                                                                             \
    {                                                                                                                  \
        "source", OPTION_LIST, &(images).named                                                                         \
    }

// The configuration, the other places, the store. What it is given must stay where it is until it is closed.
int images_open(struct images *i, struct error *error);
// The store, and its threads, end; the rest may still be looked at. Also after a failure of images_open, and twice.
void images_close(struct images *i);

// resolve_image, as the options say. The caller frees with resolve_free.
int images_resolve(struct images *i, const char *address, struct resolved *ret, struct error *error);
// What a later failure with what was resolved means: see resolve_explain_offline.
int images_explain(int result, const struct resolved *r, struct error *error);
// Opens what was resolved.
int images_open_version(struct images *i, const struct resolved *r, struct version **ret, struct error *error);
