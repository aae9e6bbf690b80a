// See disks.h.
#include "client/disks.h"
#include "base/io.h"
#include "client/seed.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/banned.h"

// The lock would refuse it, too, but say that another machine has it.
static int refuse_twice(const struct supervisor_options *o, const struct volume *v, struct error *error)
{
    struct stat named, open;
    for (unsigned d = 0; d < o->disk_count; d++)
        if (stat(v->path, &named) == 0 && fstat(o->disks[d].fd, &open) == 0 && named.st_dev == open.st_dev &&
            named.st_ino == open.st_ino)
            return error_set(error, EINVAL, "the volume %s is given twice", v->path);
    return 0;
}

int disks_open_volumes(struct supervisor_options *o, struct instance_settings *s, bool named, struct error *error)
{
    for (unsigned i = 0; i < s->volume_count; i++) {
        struct volume *v = &s->volumes[i];
        int r = refuse_twice(o, v, error);
        if (r == 0)
            r = volume_open(v, named, error);
        if (r < 0)
            return r;
        struct engine_disk *disk = &o->disks[o->disk_count++];
        *disk = (struct engine_disk){.fd = r};
        volume_serial(v, disk->serial);
    }
    return 0;
}

int disks_open_seed(struct supervisor_options *o, const struct instance *i, struct error *error)
{
    int fd = io_open(i->folder_fd, SEED_NAME, O_RDONLY, 0);
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return error_set(error, -fd, "cannot open %s/" SEED_NAME ": %s", i->folder, strerror(-fd));
    o->disks[o->disk_count++] = (struct engine_disk){.fd = fd, .read_only = true, .serial = SEED_SERIAL};
    return 0;
}

void disks_close(struct supervisor_options *o)
{
    while (o->disk_count)
        close(o->disks[--o->disk_count].fd); // what the guest flushed is synced, and the rest it did not ask for
}
