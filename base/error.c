// Errors: building the one sentence that a person reads, and choosing the exit code.
//
// 1. The text is always NUL-terminated, and is never cut inside a UTF-8 sequence.
// 2. errno is the caller's until the text is made, so that "%m" works; it survives the call.
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/banned.h"

// Drops the beginning of a UTF-8 sequence that truncation left at the end.
static void trim_cut_sequence(char *text)
{
    size_t length = strlen(text);
    size_t at = length;
    while (at > 0 && length - at < 3 && ((unsigned char)text[at - 1] & 0xC0) == 0x80)
        at--;
    if (at == 0)
        return;
    unsigned char lead = (unsigned char)text[at - 1];
    size_t needed = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (length - (at - 1) < needed)
        text[at - 1] = '\0';
}

static void format_text(char text[static ERROR_TEXT_SIZE], const char *format, va_list arguments)
{
    int n = vsnprintf(text, ERROR_TEXT_SIZE, format, arguments);
    if (n < 0)
        text[0] = '\0';
    else if (n >= ERROR_TEXT_SIZE)
        trim_cut_sequence(text);
}

int error_set(struct error *error, int code, const char *format, ...)
{
    if (error) {
        int saved = errno;
        char text[ERROR_TEXT_SIZE]; // aside, as the arguments may be the old text
        va_list arguments;
        va_start(arguments, format);
        format_text(text, format, arguments);
        va_end(arguments);
        memcpy(error->text, text, sizeof text);
        errno = saved;
    }
    return -code;
}

int error_prefix(struct error *error, int result, const char *format, ...)
{
    if (error) {
        int saved = errno;
        char context[ERROR_TEXT_SIZE];
        char text[ERROR_TEXT_SIZE];
        va_list arguments;
        va_start(arguments, format);
        format_text(context, format, arguments);
        va_end(arguments);
        int n = snprintf(text, sizeof text, "%s: %s", context, error->text);
        if (n >= ERROR_TEXT_SIZE)
            trim_cut_sequence(text);
        memcpy(error->text, text, sizeof text);
        errno = saved;
    }
    return result;
}

int error_is_network(int result)
{
    switch (-result) {
    case ENETUNREACH:
    case ENONET:
    case ENETDOWN:
    case ENETRESET:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
        return 1;
    default:
        return 0;
    }
}

enum exit_code error_exit_code(int result)
{
    if (result >= 0)
        return EXIT_CODE_OK;
    if (error_is_network(result))
        return EXIT_CODE_NETWORK;
    switch (-result) {
    case EINVAL:
        return EXIT_CODE_USAGE;
    case ENOENT:
        return EXIT_CODE_NOT_FOUND;
    case EBADMSG:
    case EKEYREJECTED:
        return EXIT_CODE_VERIFICATION;
    case EKEYEXPIRED:
        return EXIT_CODE_EXPIRED;
    case ESTALE:
        return EXIT_CODE_ROLLBACK;
    case ENOSPC:
    case EDQUOT:
        return EXIT_CODE_NO_SPACE;
    case EPERM:
    case EACCES:
    case ENODEV:
    case EOPNOTSUPP:
        return EXIT_CODE_HOST_CANNOT;
    case EBUSY:
        return EXIT_CODE_BUSY;
    case ECANCELED:
    case EINTR:
        return EXIT_CODE_CANCELLED;
    case ETIMEDOUT:
        return EXIT_CODE_TIMED_OUT;
    default:
        return EXIT_CODE_OTHER;
    }
}
