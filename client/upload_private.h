// What upload.c (one request) and upload_objects.c (many) share.
#pragma once

#include "client/upload.h"
#include <curl/curl.h>

#define UPLOAD_URL_SIZE 4096

struct upload {
    char site[UPLOAD_URL_SIZE];
    char token[UPLOAD_TOKEN_SIZE]; // empty: none yet
    CURLM *multi;
};

struct upload_transfer {
    struct upload *upload;
    CURL *easy; // NULL: none is under way
    struct curl_slist *headers;
    char url[UPLOAD_URL_SIZE], curl_error[CURL_ERROR_SIZE];
    struct upload_answer *answer;
    size_t header_bytes;
    int failure; // decided in a callback, with its message in `error`; negative
    struct error error;
    CURLcode code; // of its end
    bool over;
    // Of an object
    struct upload_object *object;
    int fd;
    uint64_t at; // next byte to send
};

// An easy handle for `path` below the API's address, with `header` (may be NULL) and the token; not started.
int upload_begin(struct upload *u, struct upload_transfer *t, const char *path, const char *header, unsigned seconds,
                 struct error *error);
int upload_start(struct upload_transfer *t, struct error *error);
void upload_end(struct upload_transfer *t); // releases it; the answer is its owner's
// Lets things move for at most 100 ms, and marks what is over. -ECANCELED after a signal.
int upload_move(struct upload *u, struct error *error);
// What came of a transfer that is over: 0 and the answer's status, or a failure: -ENETUNREACH, -EHOSTUNREACH (it was
// silent for too long), -EBADMSG.
int upload_judge(struct upload_transfer *t, struct error *error);
