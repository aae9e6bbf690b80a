// rondo publish: in which order the boot reads the members. --profile FILE has it, or a boot of --profile auto, or the
// parent's boot packs; with --profile none there is none. A profile only decides how packs are laid out, so one that
// cannot be used, or recorded, is done without, with a line that says why; only a file that is not there is an error,
// before the long work.
#include "base/cleanup.h"
#include "base/io.h"
#include "blockstore/inherit.h"
#include "client/publish_private.h"
#include "client/record.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/banned.h"

// The members that will be published, and their files; returns how many.
static unsigned list_members(const struct publication *p, struct profile_member members[static PUBLISH_MEMBERS],
                             int fds[static PUBLISH_MEMBERS])
{
    unsigned n = 0;

    for (unsigned i = 0; i < PUBLISH_MEMBERS; i++) {
        off_t size = p->file_fds[i] < 0 ? -1 : lseek(p->file_fds[i], 0, SEEK_END); // of a block device, too
        if (size < 0)
            continue;
        members[n] = (struct profile_member){.size = (uint64_t)size};
        snprintf(members[n].name, sizeof(members[n].name), "%s", publish_member_names[i]);
        fds[n++] = p->file_fds[i];
    }
    return n;
}

bool publish_records_boot(const struct publication *p)
{
    return p->profile && strcmp(p->profile, "auto") == 0;
}

static bool is_file(const struct publication *p)
{
    return p->profile && strcmp(p->profile, "none") != 0 && !publish_records_boot(p);
}

// O_NONBLOCK: a pipe is refused, and must not be waited for. A symbolic link is the user's own choice.
static int open_profile(const struct publication *p, struct error *error)
{
    struct stat s;
    CLEANUP_CLOSE int fd = open(p->profile, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &s) < 0)
        return error_set(error, errno, "cannot read %s: %s", p->profile, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return error_set(error, EINVAL, "%s is no file with a boot profile", p->profile);
    return TAKE_FD(fd);
}

int publish_check_profile(const struct publication *p, struct error *error)
{
    CLEANUP_CLOSE int fd = is_file(p) ? open_profile(p, error) : -1;

    return is_file(p) && fd < 0 ? fd : 0;
}

static int read_profile(const struct publication *p, struct profile **ret, struct error *error)
{
    struct profile_member members[PUBLISH_MEMBERS];
    int fds[PUBLISH_MEMBERS];
    unsigned count = list_members(p, members, fds);
    CLEANUP_CLOSE int fd = open_profile(p, error);
    struct profile *profile CLEANUP(cleanup_profile) = NULL;

    if (fd < 0)
        return fd;
    CLEANUP_FREE void *text = malloc(PROFILE_TEXT_MAXIMUM + 1);
    if (!text)
        return error_set(error, ENOMEM, "out of memory");
    ssize_t n = io_read_some(fd, text, PROFILE_TEXT_MAXIMUM + 1, 0); // one byte more is refused
    if (n < 0)
        return error_set(error, (int)-n, "cannot read it: %s", strerror((int)-n));
    int r = profile_parse(text, (size_t)n, &profile, error);
    if (r == 0)
        r = profile_check_members(profile, members, count, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(profile);
    return 0;
}

static int inherit(struct publication *p, struct profile **ret, struct error *error)
{
    struct profile_member members[PUBLISH_MEMBERS];
    int fds[PUBLISH_MEMBERS];
    const struct inherit_source source = {.parent = p->known[0],
                                          .boot_chunks = p->boot_chunks,
                                          .members = members,
                                          .fds = fds,
                                          .member_count = list_members(p, members, fds),
                                          .progress = publish_report_progress};

    return inherit_profile(p->writer, &source, ret, error);
}

static int record(const struct publication *p, struct profile **ret, struct error *error)
{
    const struct record_options options = {.description = p->manifest,
                                           .disk_path = p->files[0],
                                           .kernel_path = p->files[1],
                                           .initrd_path = p->files[2],
                                           .disk = p->file_fds[0],
                                           .kernel = p->file_fds[1],
                                           .initrd = p->file_fds[2],
                                           .seconds = p->timeout ? (unsigned)p->timeout : RECORD_SECONDS_DEFAULT};
    int r = record_boot(&options, ret, error);
    if (r == 0 && !*ret)
        fprintf(stderr, "rondo: publishing %s; rondo run shows its boot, and a new version tries again\n",
                p->known_count > 0 ? "with what is left of the parent's boot order" : "without a boot profile");
    return r;
}

int publish_find_profile(struct publication *p, struct profile **ret_profile, struct error *error)
{
    if (publish_records_boot(p)) {
        int r = record(p, ret_profile, error);
        if (r < 0 || *ret_profile)
            return r;
    } else if (is_file(p)) {
        struct error why = {.text = ""};
        if (read_profile(p, ret_profile, &why) == 0)
            return 0;
        fprintf(stderr, "rondo: the boot profile %s is ignored: %s\n", p->profile, why.text);
    } else if (p->profile) {
        return 0;
    }
    return p->known_count > 0 ? inherit(p, ret_profile, error) : 0;
}
