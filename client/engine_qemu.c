// The qemu engine: qemu-system-x86_64 emulating a q35 machine in software (TCG), with virtio devices over PCI. (Its
// microvm machine hangs in some boots under TCG.) The console is its standard input and output, the control descriptor
// its QMP monitor (docs/interop/qmp-spec in qemu's sources), both socket pairs made before it starts, so nothing is
// left on disk and nobody else can connect.
//
// The disk is rondo-overlay's file, opened with cache.direct=on: qemu and the kernel cache nothing of what is written,
// so a flush that the guest asked for has reached the overlay before it is acknowledged.
#include "base/cleanup.h"
#include "base/socket.h"
#include "client/engine.h"
#include "client/json.h"
#include "client/spawn.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/banned.h"

#define PROGRAM "qemu-system-x86_64"
#define QMP_LINE_MAXIMUM (256u << 10)

static int qemu_probe(struct error *error)
{
    if (spawn_finds_program(PROGRAM))
        return 0;
    return error_set(error, EOPNOTSUPP,
                     PROGRAM " is not installed, or not in PATH; on Debian: apt-get install qemu-system-x86");
}

static int send_command(struct engine_process *p, const char *command)
{
    size_t n = strlen(command);
    ssize_t sent = send(p->control, command, n, MSG_NOSIGNAL);
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

// A value inside a -drive or -blockdev option: qemu doubles commas.
static int append_escaped(struct buf *b, const char *text)
{
    int r = 0;
    for (; *text && r >= 0; text++)
        r = buf_append_format(b, *text == ',' ? ",," : "%c", *text);
    return r;
}

#define ARGUMENTS_MAXIMUM 48
struct arguments {
    char *list[ARGUMENTS_MAXIMUM];
    unsigned count;
};
static void add(struct arguments *a, const char *first, const char *second)
{
    a->list[a->count++] = (char *)first; // exec's prototype lacks the const that it promises (POSIX, exec, Rationale)
    if (second)
        a->list[a->count++] = (char *)second;
}

static int build(const struct engine_start *s, int control, struct arguments *a, struct buf *texts)
{
    // All texts lie one after another in a buffer that does not move: its offsets become pointers at the end.
    size_t at[7];
    unsigned n = 0;
    int r = 0;
#define TEXT(...)                                                                                                      \
    do {                                                                                                               \
        at[n++] = texts->size;                                                                                         \
        if (r >= 0)                                                                                                    \
            r = buf_append_format(texts, __VA_ARGS__);                                                                 \
    } while (0)
#define END()                                                                                                          \
    do {                                                                                                               \
        if (r >= 0)                                                                                                    \
            r = buf_append(texts, "", 1);                                                                              \
    } while (0)
    TEXT("%llu", (unsigned long long)(s->memory >> 20));
    END();
    TEXT("%u", s->cpus);
    END();
    TEXT("socket,id=control,fd=%d", control);
    END();
    TEXT("driver=file,node-name=file,aio=native,cache.direct=on,discard=unmap,filename=");
    if (r >= 0)
        r = append_escaped(texts, s->disk);
    END();
    TEXT("stream,id=net,server=off,addr.type=fd,addr.str=%d", s->network);
    END();
    TEXT("guest=%s", s->machine_name);
    END();
    // Linux tries the timer for ten ticks as it begins, and panics if they do not come in time: emulated on a busy
    // host, they may not. On KVM it knows that it need not.
    TEXT("%s no_timer_check", s->cmdline);
    END();
    if (r < 0)
        return r;
    const char *text[7];
    for (unsigned i = 0; i < n; i++)
        text[i] = (const char *)texts->data + at[i];
    add(a, PROGRAM, NULL);
    add(a, "-name", text[5]);
    add(a, "-nodefaults", NULL);
    add(a, "-no-user-config", NULL);
    add(a, "-machine", "q35,usb=off,vmport=off");
    add(a, "-accel", "tcg,thread=multi");
    add(a, "-cpu", "max");
    add(a, "-m", text[0]);
    add(a, "-smp", text[1]);
    add(a, "-display", "none");
    add(a, "-chardev", text[2]);
    add(a, "-mon", "chardev=control,mode=control");
    add(a, "-chardev", "stdio,id=console,signal=off");
    add(a, "-serial", "chardev:console");
    add(a, "-device", "virtio-rng-pci");
    add(a, "-blockdev", text[3]);
    add(a, "-blockdev", "driver=raw,node-name=disk,file=file,discard=unmap,detect-zeroes=unmap,cache.direct=on");
    add(a, "-device", "virtio-blk-pci,drive=disk,serial=rondo,discard=on,write-zeroes=on,physical_block_size=4096");
    if (s->network >= 0) {
        add(a, "-netdev", text[4]);
        add(a, "-device", "virtio-net-pci,netdev=net,romfile=");
    }
    if (s->kernel)
        add(a, "-kernel", s->kernel);
    if (s->initrd)
        add(a, "-initrd", s->initrd);
    if (s->kernel)
        add(a, "-append", text[6]);
    a->list[a->count] = NULL;
    return 0;
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

    struct arguments arguments = {.count = 0};
    struct buf texts CLEANUP(buf_free) = BUF_WITH_MAXIMUM(16384);
    r = build(s, control_theirs, &arguments, &texts);
    if (r < 0)
        return error_set(error, -r, "the machine's settings are too long");
    struct spawn spawn = {.path = PROGRAM,
                          .arguments = arguments.list,
                          .input = console_theirs,
                          .output = console_theirs,
                          .errors = s->errors,
                          .kept = {control_theirs, s->network},
                          .kept_count = s->network >= 0 ? 2 : 1,
                          .die_with_us = true};
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
