// The qemu engine: qemu-system-x86_64 emulating a q35 machine in software (TCG), with virtio devices over PCI. (Its
// microvm machine hangs in some boots under TCG.) The console is its standard input and output, the control descriptor
// its QMP monitor (docs/interop/qmp-spec in qemu's sources), both socket pairs made before it starts, so nothing is
// left on disk and nobody else can connect.
//
// The disk is rondo-overlay's file, opened with cache.direct=on: qemu and the kernel cache nothing of what is written,
// so a flush that the guest asked for has reached the overlay before it is acknowledged.
#include "base/cleanup.h"
#include "base/path.h"
#include "base/socket.h"
#include "base/spawn.h"
#include "base/text.h"
#include "client/engine.h"
#include "client/json.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define PROGRAM "qemu-system-x86_64"
#define QMP_LINE_MAXIMUM (256u << 10)
#define DISK_NODE "volume" // and its number: what qemu calls the disks beside the system disk

static int qemu_probe(struct error *error)
{
    if (spawn_finds_program(PROGRAM))
        return 0;
    return error_set(error, EOPNOTSUPP,
                     PROGRAM " is not installed, or not in PATH; on Debian: apt-get install qemu-system-x86");
}

// One that has not listened for hundreds of commands gets no more of them.
static int send_command(struct engine_process *p, const char *command)
{
    size_t n = strlen(command);
    ssize_t sent = send(p->control, command, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == (ssize_t)n ? 0 : sent < 0 ? -errno : -EIO;
}

// Reads what is there: 1 if something came, 0 if not, or -errno.
static int receive(struct engine_process *p)
{
    unsigned char *at;
    int r = buf_reserve(&p->pending, 4096, &at);
    if (r < 0)
        return r;
    ssize_t n = recv(p->control, at, 4096, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    p->pending.size += (size_t)n;
    return n == 0 ? -ECONNRESET : 1;
}

// Takes the first complete line off `pending`; false if there is none.
static bool take_line(struct engine_process *p, char *ret, size_t capacity)
{
    struct buf *b = &p->pending;
    unsigned char *end = b->size ? memchr(b->data, '\n', b->size) : NULL;
    if (!end)
        return false;
    size_t n = (size_t)(end - b->data), kept = n < capacity ? n : capacity - 1;
    memcpy(ret, b->data, kept);
    ret[kept] = '\0';
    b->size -= n + 1;
    memmove(b->data, end + 1, b->size);
    return true;
}

// The event BLOCK_IO_ERROR: what rondo-vmm would say itself, if a volume has no space left; false if it is another one.
static bool understand_no_space(struct engine_process *p, const char *line)
{
    static const char node[] = DISK_NODE;
    char nospace[8], name[32];
    uint64_t number;
    if (!json_find(line, strlen(line), "$.data.nospace", nospace, sizeof(nospace)) || strcmp(nospace, "1") != 0 ||
        !json_find(line, strlen(line), "$.data.node-name", name, sizeof(name)) || !slice_starts(slice_of(name), node) ||
        !text_parse_u64(slice_of(name + sizeof(node) - 1), ENGINE_DISKS_MAXIMUM, &number))
        return false;
    snprintf(p->said, sizeof(p->said), "volume-full %u", (unsigned)number);
    return true;
}

static enum engine_event qemu_next_event(struct engine_process *p)
{
    char line[4096], event[64], reason[64];
    for (;;) {
        if (!take_line(p, line, sizeof(line))) {
            int r = receive(p);
            if (r < 0)
                return ENGINE_LOST;
            if (r == 0)
                return ENGINE_NOTHING;
            continue;
        }
        if (!p->asked) {
            // The greeting: leave the monitor's negotiation mode. The first answer says that it did.
            if (strstr(line, "\"QMP\"") && send_command(p, "{\"execute\":\"qmp_capabilities\"}\n") < 0)
                return ENGINE_LOST;
            p->asked = true;
            continue;
        }
        if (!p->started && json_find(line, strlen(line), "$.return", reason, sizeof(reason))) {
            p->started = true;
            return ENGINE_STARTED;
        }
        if (!json_find(line, strlen(line), "$.event", event, sizeof(event)))
            continue;
        if (strcmp(event, "BLOCK_IO_ERROR") == 0 && understand_no_space(p, line))
            return ENGINE_SAYS;
        if (!json_find(line, strlen(line), "$.data.reason", reason, sizeof(reason)))
            reason[0] = '\0';
        if (strcmp(event, "SHUTDOWN") == 0 && strcmp(reason, "guest-panic") == 0)
            return ENGINE_PANICKED;
        if (strcmp(event, "SHUTDOWN") == 0 && strcmp(reason, "guest-shutdown") == 0)
            return ENGINE_POWERED_OFF;
        if (strcmp(event, "GUEST_PANICKED") == 0)
            return ENGINE_PANICKED;
        if (strcmp(event, "RESET") == 0 && strcmp(reason, "guest-reset") == 0)
            return ENGINE_RESET;
    }
}

// A value inside a -blockdev option: qemu doubles commas.
static int escape_commas(const char *text, char *ret, size_t capacity)
{
    size_t n = 0;
    for (; *text; text++) {
        if (n + 3 > capacity)
            return -ENAMETOOLONG;
        ret[n++] = *text;
        if (*text == ',')
            ret[n++] = ',';
    }
    ret[n] = '\0';
    return 0;
}

static void add(struct spawn_arguments *a, const char *option, const char *value)
{
    spawn_argument(a, "%s", option);
    spawn_argument(a, "%s", value);
}

// A file that we have opened and locked is handed over as it is. The host's page cache stands between: what the guest
// flushes is synced (fdatasync) before that is acknowledged. No space pauses the machine, and when it goes on, the same
// write is made again (werror=enospc).
static void add_disk(struct spawn_arguments *a, const struct engine_disk *disk, unsigned number)
{
    const char *mode = disk->read_only ? "read-only=on" : "discard=unmap";
    spawn_argument(a, "-add-fd");
    spawn_argument(a, "fd=%d,set=%u", disk->fd, number);
    spawn_argument(a, "-blockdev");
    spawn_argument(a, "driver=file,node-name=file%u,filename=/dev/fdset/%u,%s", number, number, mode);
    spawn_argument(a, "-blockdev");
    spawn_argument(a, "driver=raw,node-name=" DISK_NODE "%u,file=file%u,%s", number, number, mode);
    spawn_argument(a, "-device");
    spawn_argument(a, "virtio-blk-pci,drive=" DISK_NODE "%u,serial=%s,discard=on,write-zeroes=on,werror=enospc", number,
                   disk->serial);
}

static int build(const struct engine_start *s, int control, struct spawn_arguments *a)
{
    char disk[2 * PATH_TEXT_SIZE];
    int r = escape_commas(s->disk, disk, sizeof(disk));
    if (r < 0)
        return r;
    spawn_argument(a, PROGRAM);
    spawn_argument(a, "-name");
    spawn_argument(a, "guest=%s", s->machine_name);
    spawn_argument(a, "-nodefaults");
    spawn_argument(a, "-no-user-config");
    add(a, "-machine", "q35,usb=off,vmport=off");
    add(a, "-accel", "tcg,thread=multi");
    add(a, "-cpu", "max");
    spawn_argument(a, "-m");
    spawn_argument(a, "%llu", (unsigned long long)(s->memory >> 20));
    spawn_argument(a, "-smp");
    spawn_argument(a, "%u", s->cpus);
    add(a, "-display", "none");
    spawn_argument(a, "-chardev");
    spawn_argument(a, "socket,id=control,fd=%d", control);
    add(a, "-mon", "chardev=control,mode=control");
    add(a, "-chardev", "stdio,id=console,signal=off");
    add(a, "-serial", "chardev:console");
    add(a, "-device", "virtio-rng-pci");
    spawn_argument(a, "-blockdev");
    spawn_argument(a, "driver=file,node-name=file,aio=native,cache.direct=on,discard=unmap,filename=%s", disk);
    add(a, "-blockdev", "driver=raw,node-name=disk,file=file,discard=unmap,detect-zeroes=unmap,cache.direct=on");
    add(a, "-device", "virtio-blk-pci,drive=disk,serial=rondo,discard=on,write-zeroes=on,physical_block_size=4096");
    for (unsigned i = 0; i < s->disk_count; i++)
        add_disk(a, &s->disks[i], i);
    if (s->network >= 0) {
        spawn_argument(a, "-netdev");
        spawn_argument(a, "stream,id=net,server=off,addr.type=fd,addr.str=%d", s->network);
        add(a, "-device", "virtio-net-pci,netdev=net,romfile=");
    }
    if (s->kernel)
        add(a, "-kernel", s->kernel);
    if (s->initrd)
        add(a, "-initrd", s->initrd);
    if (s->kernel) {
        // Linux tries the timer for ten ticks as it begins, and panics if they do not come in time: emulated on a busy
        // host, they may not. On KVM it knows that it need not.
        spawn_argument(a, "-append");
        spawn_argument(a, "%s no_timer_check", s->cmdline);
    }
    return a->result;
}

static int qemu_start(const struct engine_start *s, struct engine_process *ret, struct error *error)
{
    CLEANUP_CLOSE int control_ours = -1;
    CLEANUP_CLOSE int control_theirs = -1;
    CLEANUP_CLOSE int console_ours = -1;
    CLEANUP_CLOSE int console_theirs = -1;
    int r = socket_pair(SOCK_STREAM, &control_ours, &control_theirs, error);
    if (r == 0)
        r = socket_pair(SOCK_STREAM, &console_ours, &console_theirs, error);
    if (r < 0)
        return r;

    struct spawn_arguments arguments CLEANUP(spawn_arguments_free) = SPAWN_ARGUMENTS_NONE;
    r = build(s, control_theirs, &arguments);
    if (r < 0)
        return error_set(error, -r, "the machine's settings are too long");
    struct spawn spawn = {.path = PROGRAM,
                          .arguments = arguments.list,
                          .input = console_theirs,
                          .output = console_theirs,
                          .errors = s->errors,
                          .kept = {control_theirs, s->network}, // -1 is passed over
                          .kept_count = 2,
                          .die_with_us = true};
    for (unsigned i = 0; i < s->disk_count; i++)
        spawn.kept[spawn.kept_count++] = s->disks[i].fd;
    pid_t pid = spawn_program(&spawn, error);
    if (pid < 0)
        return pid;
    close(TAKE_FD(control_theirs));
    fcntl(console_ours, F_SETFL, O_NONBLOCK);
    *ret = (struct engine_process){.pid = pid,
                                   .console = TAKE_FD(console_ours),
                                   .control = TAKE_FD(control_ours),
                                   .pending = BUF_WITH_MAXIMUM(QMP_LINE_MAXIMUM)};
    return 0;
}

static int qemu_pause(struct engine_process *p)
{
    return send_command(p, "{\"execute\":\"stop\"}\n");
}

static int qemu_resume(struct engine_process *p)
{
    return send_command(p, "{\"execute\":\"cont\"}\n");
}

static int qemu_press_power(struct engine_process *p)
{
    return send_command(p, "{\"execute\":\"system_powerdown\"}\n");
}

static int qemu_switch_off(struct engine_process *p)
{
    return send_command(p, "{\"execute\":\"quit\"}\n");
}

const struct engine engine_qemu = {
    .name = "qemu",
    .probe = qemu_probe,
    .start = qemu_start,
    .pause = qemu_pause,
    .resume = qemu_resume,
    .press_power = qemu_press_power,
    .switch_off = qemu_switch_off,
    .next_event = qemu_next_event,
};
