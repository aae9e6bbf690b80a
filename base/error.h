// Errors: one convention for all of Rondo.
//
// A function that can fail returns 0 (or a count) or -errno; its outputs are named ret_… and are untouched on
// failure. A function whose failure a person will read also takes a `struct error *` as its last parameter and
// stores there one sentence that names the object and, where there is one, the next step. The pointer may be
// NULL where the caller needs the code only.
//
// Some errno values carry a fixed meaning of ours, so that error_exit_code() can choose the exit code of the
// command line from the number alone:
//
//   EINVAL                        bad usage or argument                  exit 2
//   ENOENT                        image, version, file not found         exit 3
//   ENETUNREACH, EHOSTUNREACH …   no source could be reached             exit 4
//   ENONET                        it was not to be asked for             exit 4
//   EBADMSG, EKEYREJECTED         bytes or signature failed to verify    exit 5
//   EKEYEXPIRED                   signed metadata has expired            exit 6
//   ESTALE                        rollback refused                       exit 7
//   ENOSPC, EDQUOT                no space                               exit 8
//   EPERM, EACCES, ENODEV, EOPNOTSUPP   this host cannot                 exit 9
//   EBUSY                         somebody else holds it                 exit 10
//   ECANCELED, EINTR              cancelled                              exit 11
//   ETIMEDOUT                     a time limit given by the user passed  exit 12
//   anything else                                                        exit 1
#pragma once

#include <stdarg.h>

#define ERROR_TEXT_SIZE 768

struct error {
    char text[ERROR_TEXT_SIZE]; // NUL-terminated; truncated rather than overflown; empty when nothing was set
};

enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_OTHER = 1,
    EXIT_CODE_USAGE = 2,
    EXIT_CODE_NOT_FOUND = 3,
    EXIT_CODE_NETWORK = 4,
    EXIT_CODE_VERIFICATION = 5,
    EXIT_CODE_EXPIRED = 6,
    EXIT_CODE_ROLLBACK = 7,
    EXIT_CODE_NO_SPACE = 8,
    EXIT_CODE_HOST_CANNOT = 9,
    EXIT_CODE_BUSY = 10,
    EXIT_CODE_CANCELLED = 11,
    EXIT_CODE_TIMED_OUT = 12,
};

// Stores the sentence in *error (which may be NULL) and returns -code, so that a failure is one statement:
// `return error_set(error, ENOENT, "no image %s in %s", …);`. `code` is a positive errno value. A format that
// needs the errno's own words uses "%m" after setting errno, or strerror.
int error_set(struct error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

// Puts "context: " before what is already in *error; returns `result` unchanged.
int error_prefix(struct error *error, int result, const char *format, ...) __attribute__((format(printf, 3, 4)));

// The exit code for a negative errno (0 for 0 and for positive counts).
enum exit_code error_exit_code(int result);

// True if the failure means that no source could be reached (as against: reached, and it lied or refused).
int error_is_network(int result);
