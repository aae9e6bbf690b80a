// Messages for people, on stderr (or, in a daemon, in the file that stands there): one line each, with the
// program's name before it. Data never goes this way. The line is escaped (text_escape) as a whole, so no message
// reaches a terminal with control characters; longer ones are cut at about 2000 bytes.
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

// `program` is kept, not copied. The level comes from RONDO_LOG (error, warning, info, debug); info if unset.
void log_start(const char *program);
void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
