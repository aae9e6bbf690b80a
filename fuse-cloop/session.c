// The conversation with the kernel (see session.h).
#include "fuse-cloop/session.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fuse-cloop/mount.h"
#include "fuse-cloop/tree.h"
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "base/banned.h"

// Newer than Debian 12's <linux/fuse.h>: include/uapi/linux/fuse.h of Linux 6.9, protocol 7.40.
#define NOTIFY_RESEND 7
#define INIT_HAS_RESEND (1ull << 39)

#define SOURCE_PREFIX "rondo-cloop:" // the mount's source: this, and the session's name

// What the calling thread is about.
static _Thread_local struct {
    bool owns_slot;
    unsigned slot;
    uint64_t unique; // of the request whose answer will free the slot; 0: none
} turn;

static char mount_words[256]; // what libfuse said last while mounting

static void hear_libfuse(enum fuse_log_level level, const char *format, va_list arguments)
{
    char text[sizeof(mount_words)];
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    if (level <= FUSE_LOG_ERR)
        memcpy(mount_words, text, sizeof(text));
    log_debug("%s", text);
}

// --- reading and writing -------------------------------------------------------------------------------------------

static bool wants_no_answer(uint32_t opcode)
{
    return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

static ssize_t read_request(int fd, void *to, size_t capacity, void *userdata)
{
    struct session *s = userdata;
    struct fuse_in_header header;
    void *slot = s->state->slots[turn.slot];
    state_slot_begin(s->state, turn.slot);
    ssize_t n = read(fd, slot, STATE_SLOT_SIZE);
    if (n < (ssize_t)sizeof(header) || (size_t)n > capacity) {
        int code = n < 0 ? errno : EIO;
        state_slot_end(s->state, turn.slot);
        errno = code;
        return -1;
    }
    memcpy(&header, slot, sizeof(header));
    memcpy(to, slot, (size_t)n);
    turn.unique = header.unique;
    if (wants_no_answer(header.opcode)) {
        state_slot_end(s->state, turn.slot);
        turn.unique = 0;
    }
    return n;
}

static size_t length_of(const struct iovec *pieces, int count)
{
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += pieces[i].iov_len;
    return n;
}

// libfuse derives the number of pages in a READ from max_write. Ours is the smallest, so that a slot is a large enough
// buffer for the kernel, but reads shall be large.
static void amend_init(const struct iovec *answer)
{
    struct fuse_init_out *out = answer->iov_base;
    if (answer->iov_len >= sizeof(*out) && (out->flags & FUSE_MAX_PAGES))
        out->max_pages = (uint16_t)(SESSION_READ_MAXIMUM / 4096);
}

static ssize_t write_answer(int fd, struct iovec *pieces, int count, void *userdata)
{
    struct session *s = userdata;
    struct fuse_out_header *header = pieces[0].iov_base;
    if (header->unique == s->init_unique && header->unique != 0) {
        if (s->replaying)
            return (ssize_t)length_of(pieces, count);
        if (count > 1)
            amend_init(&pieces[1]);
    }
    ssize_t n = writev(fd, pieces, count);
    int code = n < 0 ? errno : 0;
    if (!turn.owns_slot || turn.unique == 0 || turn.unique != header->unique)
        goto out; // a notification, or about an interrupt
    if (code != 0 && code != ENOENT && code != ENODEV) {
        // The reader must not wait for ever because an answer did not go through.
        struct fuse_out_header failure = {.len = sizeof(failure), .error = -EIO, .unique = header->unique};
        log_error("an answer to the kernel failed: %s", strerror(code));
        if (write(fd, &failure, sizeof(failure)) < 0)
            log_error("neither can the failure be told: %s", strerror(errno));
    }
    state_slot_end(s->state, turn.slot);
    turn.unique = 0;
out:
    errno = code;
    return n;
}

int session_receive(struct session *s, unsigned slot, struct fuse_buf *buf)
{
    turn.owns_slot = true;
    turn.slot = slot;
    int r = fuse_session_receive_buf(s->fuse, buf);
    return r > 0 ? 1 : r;
}

int session_receive_slot(struct session *s, unsigned slot, struct fuse_buf *buf)
{
    struct fuse_in_header header;
    size_t n = state_slot_request(s->state, slot);
    turn.owns_slot = true;
    turn.slot = slot;
    turn.unique = 0;
    if (n < sizeof(header) || n > STATE_SLOT_SIZE) {
        state_slot_end(s->state, slot);
        return 0;
    }
    memcpy(&header, s->state->slots[slot], sizeof(header));
    if (wants_no_answer(header.opcode)) {
        state_slot_end(s->state, slot);
        return 0;
    }
    memcpy(buf->mem, s->state->slots[slot], n);
    ((unsigned char *)buf->mem)[n] = 0; // libfuse trusts the kernel to end names so
    buf->size = n;
    turn.unique = header.unique;
    return 1;
}

void session_process(struct session *s, struct fuse_buf *buf)
{
    fuse_session_process_buf(s->fuse, buf);
}

// --- beginning -----------------------------------------------------------------------------------------------------

// libfuse's session. The options matter to the mount; max_read also to INIT.
static int make_session(struct session *s, const char *name, struct error *error)
{
    char options[256];
    static char program[] = "rondo-cloop", flag[] = "-o";
    char *words[] = {program, flag, options, NULL};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, words);
    snprintf(options, sizeof(options),
             "ro,nosuid,nodev,noatime,default_permissions,fsname=%s%s,subtype=rondo,max_read=%u", SOURCE_PREFIX, name,
             SESSION_READ_MAXIMUM);
    fuse_set_log_func(hear_libfuse);
    s->fuse = fuse_session_new(&arguments, &tree_operations, sizeof(tree_operations), s);
    fuse_opt_free_args(&arguments);
    return s->fuse ? 0 : error_set(error, ENOMEM, "libfuse made no session: %s", mount_words);
}

static const struct fuse_custom_io custom_io = {.read = read_request, .writev = write_answer};

// The kernel's first request is INIT. Slot 0 serves for it: nobody else reads yet.
static int answer_init(struct session *s, struct error *error)
{
    unsigned char bytes[SESSION_REQUEST_SIZE];
    struct fuse_buf buf = {.mem = bytes};
    int r;
    do
        r = session_receive(s, 0, &buf);
    while (r == -EINTR || r == -EAGAIN);
    if (r <= 0)
        return error_set(error, r < 0 ? -r : ENODEV, "the kernel did not begin the conversation: %s",
                         r < 0 ? strerror(-r) : "the mount is gone");
    r = state_keep_init(s->state, bytes, buf.size);
    if (r < 0)
        return error_set(error, -r, "the kernel began the conversation with something else than INIT");
    s->init_unique = turn.unique;
    session_process(s, &buf);
    s->init_unique = 0;
    return fuse_session_exited(s->fuse)
               ? error_set(error, EPROTO, "this kernel's FUSE is not one of ours: %s", mount_words)
               : 0;
}

// Where the mount landed, which must be where we wanted it.
static int find_device(struct session *s, struct error *error)
{
    struct mount_found found;
    int r = mount_find(s->mount_point, &found, error);
    if (r == 0)
        r = error_set(error, ENODEV, "nothing is mounted at %s", s->mount_point);
    if (r < 0)
        return r;
    s->device = found.device;
    return 0;
}

int session_start(struct session *s, struct error *error)
{
    int r = mount_check_host(error);
    if (r < 0)
        return r;
    if (!s->state)
        r = state_create(&s->state, &s->state_fd, error);
    if (r == 0)
        r = make_session(s, s->state->session, error);
    if (r < 0)
        return r;
    if (fuse_session_mount(s->fuse, s->mount_point) < 0)
        return error_set(
            error, EACCES,
            "cannot mount on %s: %s; a container needs CAP_SYS_ADMIN or a user namespace that may mount (rondo "
            "doctor says more)",
            s->mount_point, mount_words[0] ? mount_words : "fusermount3 refused");
    s->fd = fuse_session_fd(s->fuse);
    r = fuse_session_custom_io(s->fuse, &custom_io, s->fd);
    if (r < 0)
        r = error_set(error, -r, "libfuse refused our way to read and write");
    if (r == 0)
        r = answer_init(s, error);
    if (r == 0)
        r = find_device(s, error);
    if (r < 0)
        mount_remove(s->mount_point, true, NULL);
    return r;
}

bool session_is_mounted(const struct session *s, const struct state *state)
{
    struct mount_found found;
    size_t prefix = strlen(SOURCE_PREFIX);
    return mount_find(s->mount_point, &found, NULL) > 0 && strncmp(found.source, SOURCE_PREFIX, prefix) == 0 &&
           strcmp(found.source + prefix, state->session) == 0;
}

// --- going on ------------------------------------------------------------------------------------------------------

static int check_fuse_descriptor(int fd, struct error *error)
{
    struct stat st;
    struct pollfd p = {.fd = fd};
    if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) ||
        st.st_rdev != makedev(10, 229)) // FUSE_MINOR of <linux/miscdevice.h>
        return error_set(error, EBADMSG, "the session's descriptor is not one of /dev/fuse");
    if (poll(&p, 1, 0) > 0 && (p.revents & POLLERR))
        return error_set(error, ENOTCONN, "the session was ended by the kernel");
    return 0;
}

static bool kernel_resends(const struct state *state)
{
    struct fuse_init_in in = {.major = 0};
    const char *wish = getenv("RONDO_CLOOP_RESEND");
    size_t n = atomic_load(&state->init_size) - sizeof(struct fuse_in_header);
    if (wish && strcmp(wish, "0") == 0)
        return false;
    memcpy(&in, state->init + sizeof(struct fuse_in_header), n < sizeof(in) ? n : sizeof(in));
    return (in.flags & FUSE_INIT_EXT) && ((uint64_t)in.flags2 << 32 & INIT_HAS_RESEND);
}

static void replay_init(struct session *s)
{
    unsigned char bytes[STATE_INIT_MAXIMUM];
    struct fuse_in_header header;
    size_t n = atomic_load(&s->state->init_size);
    memcpy(bytes, s->state->init, n);
    memcpy(&header, bytes, sizeof(header));
    struct fuse_buf buf = {.mem = bytes, .size = n};
    s->init_unique = header.unique;
    s->replaying = true;
    session_process(s, &buf);
    s->replaying = false;
    s->init_unique = 0;
}

static bool ask_to_resend(struct session *s)
{
    struct fuse_out_header resend = {.len = sizeof(resend), .error = NOTIFY_RESEND};
    if (!kernel_resends(s->state) || write(s->fd, &resend, sizeof(resend)) != (ssize_t)sizeof(resend))
        return false;
    for (unsigned i = 0; i < STATE_SLOTS; i++)
        state_slot_end(s->state, i);
    return true;
}

static unsigned count_used(const struct state *state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < STATE_SLOTS; i++)
        n += state_slot_request(state, i) > 0;
    return n;
}

int session_adopt(struct session *s, int fd, int state_fd, struct error *error)
{
    struct state *state = NULL;
    int r = check_fuse_descriptor(fd, error);
    if (r == 0)
        r = state_adopt(state_fd, &state, error);
    if (!state)
        return r;
    if (!session_is_mounted(s, state)) {
        r = error_set(error, ESTALE, "the session handed over is not the one of the mount at %s", s->mount_point);
        goto fail;
    }
    r = find_device(s, error);
    if (r == 0)
        r = make_session(s, state->session, error);
    if (r < 0)
        goto fail;
    r = fuse_session_custom_io(s->fuse, &custom_io, fd);
    if (r < 0) {
        fuse_session_destroy(TAKE_PTR(s->fuse));
        r = error_set(error, -r, "libfuse refused the session");
        goto fail;
    }
    s->fd = fd;
    s->state_fd = state_fd;
    s->state = state;
    replay_init(s);
    if (ask_to_resend(s))
        log_info("the kernel sends again what was not answered at %s", s->mount_point);
    else
        log_info("%u requests at %s stand in the slots", count_used(state), s->mount_point);
    return 0;
fail:
    state_unmap(state);
    return r;
}
