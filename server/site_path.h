// From the target of an HTTP request to the name of a file in the site's folder (FORMATS, "Site layout"; TRUST
// T31). Pure text: nothing is opened here. server/site_files.h opens the name, without trusting this file.
#pragma once

#include <stddef.h>

// Bytes of a target, before decoding; ours have 73. Longer ones are refused. It also bounds the decoded name.
#define SITE_PATH_MAXIMUM 1024
#define SITE_PATH_CATALOG "catalog.rondo"

enum site_path_kind {
    SITE_PATH_OBJECT,       // objects/ab/<64 hex digits>: never changes
    SITE_PATH_CATALOG_FILE, // catalog.rondo
    SITE_PATH_PAGE,         // any other file
};

struct site_path {
    enum site_path_kind kind;
    char name[SITE_PATH_MAXIMUM + sizeof "index.html"]; // relative: no leading "/", no "." or "..", no empty part
};

// `target` is what stands in the request line, still percent-encoded, with or without "?query". Returns 0;
// -EINVAL for a target that no honest client sends (400); -ENOENT for one that names nothing that is served
// (404); -ENAMETOOLONG (414). A target that ends in "/" names the index.html there.
int site_path_parse(const char *target, size_t length, struct site_path *ret);
