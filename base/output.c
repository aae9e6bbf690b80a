// See output.h.
#include "base/output.h"

#include <errno.h>
#include <stdio.h>

#include "base/banned.h"

int output_end(struct error *error)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    errno = errno ? errno : EIO; // of an earlier write, it is not known any more
    return error_set(error, EIO, "cannot write to standard output: %m");
}
