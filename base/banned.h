// Functions that do not compile here: each has no length, hides truncation, keeps hidden state that threads
// share, or hides errors. Included by every .c file, after all other headers.
//
// Instead: snprintf or buf_append_format; base/text.h for numbers and splitting; memcpy with a checked length;
// base/io.h for files.
#pragma once

#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef gets
#undef atoi
#undef atol
#undef atoll
#undef alloca
#undef mktemp
#undef tmpnam
#undef tempnam
#undef system
#undef popen
#undef rand
#undef gmtime
#undef localtime
#undef ctime
#undef asctime

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets atoi atol atoll alloca
#pragma GCC poison mktemp tmpnam tempnam popen gmtime localtime ctime asctime
