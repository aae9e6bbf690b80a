// machine.log: what the supervisor and the programs of its machine say. Each of them has it open and appends to it, so
// it can become longer than anybody wants. Now and then it is looked at: when it has more than MACHINE_LOG_MAXIMUM
// bytes, its end becomes machine.log.1 and it begins anew, for all who append. What is said while that is copied may be
// lost. Both begin anew with each run.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "client/machine.h"
#include <fcntl.h>
#include <string.h>

#include "base/banned.h"

#define OLDER "machine.log.1"
#define LOOK_SECONDS 10

int machine_log_open(struct machine *m)
{
    int fd = io_open(m->instance->folder_fd, "machine.log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (fd < 0)
        return fd;
    m->machine_log = fd;
    if (io->unlinkat(m->instance->folder_fd, OLDER, 0) < 0 && errno != ENOENT)
        log_warning("%s/" OLDER " is of an earlier run, and cannot be removed: %s", m->instance->folder,
                    strerror(errno));
    machine_set_timer(m, TIMER_LOG, LOOK_SECONDS);
    return 0;
}

// Not synced: no step of the supervisor waits for a disk.
static int copy_end(const struct machine *m, uint64_t size)
{
    CLEANUP_FREE char *bytes = io->malloc(MACHINE_LOG_MAXIMUM);
    CLEANUP_CLOSE int older = io_open(m->instance->folder_fd, OLDER, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int r = !bytes ? -ENOMEM : older < 0 ? older : 0;
    if (r == 0)
        r = io_read_full(m->machine_log, bytes, MACHINE_LOG_MAXIMUM, size - MACHINE_LOG_MAXIMUM);
    return r < 0 ? r : io_write_full(older, bytes, MACHINE_LOG_MAXIMUM, 0);
}

void machine_log_look(struct machine *m)
{
    struct stat st;
    machine_set_timer(m, TIMER_LOG, LOOK_SECONDS);
    if (m->machine_log < 0 || io->fstat(m->machine_log, &st) < 0 || (uint64_t)st.st_size <= MACHINE_LOG_MAXIMUM)
        return;
    int r = copy_end(m, (uint64_t)st.st_size); // where that fails, the log still must not fill the disk
    if (io->ftruncate(m->machine_log, 0) < 0)
        log_error("machine.log cannot begin anew: %s", strerror(errno));
    if (r < 0)
        log_warning("what machine.log said before is lost: " OLDER " cannot be written: %s", strerror(-r));
    else
        log_info("what was said before is in " OLDER);
}
