// Messages for people.
//
// 1. One message is one line and one write(), so that lines of several threads and processes do not mix.
// 2. The whole line is escaped once more here: a forgotten text_escape() costs a readable character, not the
//    terminal.
// 3. errno survives.
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

#include "base/banned.h"

#define MESSAGE_SIZE 2048

static const char *program_name; // NULL before log_start: the executable's own name
static enum log_level log_level = LOG_LEVEL_INFO;

void log_start(const char *program)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    program_name = program;
    log_level = LOG_LEVEL_INFO;
    const char *wanted = getenv("RONDO_LOG");
    if (!wanted || !*wanted)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(wanted, names[i]) == 0) {
            log_level = (enum log_level)i;
            return;
        }
    }
    log_warning("RONDO_LOG=%s is none of error, warning, info, debug; using info", wanted);
}

void log_at(enum log_level level, const char *format, ...)
{
    static const char *const labels[] = {"error: ", "warning: ", "", "debug: "};
    if (level > log_level)
        return;
    int saved = errno;
    char message[MESSAGE_SIZE];
    char escaped[MESSAGE_SIZE];
    char line[MESSAGE_SIZE + 128];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (n < 0)
        message[0] = '\0';
    text_escape(slice_of(message), escaped, sizeof escaped);
    n = snprintf(line, sizeof line, "%.64s: %s%s\n", program_name ? program_name : program_invocation_short_name,
                 labels[level], escaped);
    // If stderr itself fails there is nobody left to tell.
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        errno = 0;
    errno = saved;
}
