// The command line: see vm_options.h. One table, one function for an option, then one check of the whole.
#include "vmm/vm_options.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "vmm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define MEMORY_DEFAULT (512ull << 20)
#define MEMORY_UNIT (2ull << 20)
#define DESCRIPTOR_MAXIMUM (1u << 20)
#define KVM_DEVICE "/dev/kvm"

const char vm_options_usage[] =
    "usage: rondo-vmm --kernel FILE [--initrd FILE] [--cmdline TEXT] [--memory SIZE] [--cpus N]\n"
    "                 [--disk FILE[,ro]]... [--overlay DIR,base=FILE,manifest=SHA256]\n"
    "                 [--on-outage pause|error] [--outage-after SECONDS] [--record fd:N]\n"
    "                 [--net passt:fd:N | tap:fd:N] [--mac ADDRESS] [--console fd:N] [--control fd:N] [--paused]\n"
    "                 [--kvm FILE] [--no-sandbox]\n"
    "       rondo-vmm --probe [--kvm FILE] | --selftest=sandbox|sandbox-calls | --help | --version\n"
    "FILE is a path, or fd:N for an inherited descriptor.\n";

enum {
    KERNEL = 1,
    INITRD,
    CMDLINE,
    MEMORY,
    CPUS,
    DISK,
    OVERLAY,
    ON_OUTAGE,
    OUTAGE_AFTER,
    RECORD,
    NET,
    MAC,
    CONSOLE,
    CONTROL,
    PAUSED,
    KVM,
    NO_SANDBOX,
    PROBE,
    SELFTEST,
    HELP,
    VERSION,
    OPTIONS
};

static const struct option table[] = {
    {"kernel", required_argument, NULL, KERNEL},
    {"initrd", required_argument, NULL, INITRD},
    {"cmdline", required_argument, NULL, CMDLINE},
    {"memory", required_argument, NULL, MEMORY},
    {"cpus", required_argument, NULL, CPUS},
    {"disk", required_argument, NULL, DISK},
    {"overlay", required_argument, NULL, OVERLAY},
    {"on-outage", required_argument, NULL, ON_OUTAGE},
    {"outage-after", required_argument, NULL, OUTAGE_AFTER},
    {"record", required_argument, NULL, RECORD},
    {"net", required_argument, NULL, NET},
    {"mac", required_argument, NULL, MAC},
    {"console", required_argument, NULL, CONSOLE},
    {"control", required_argument, NULL, CONTROL},
    {"paused", no_argument, NULL, PAUSED},
    {"kvm", required_argument, NULL, KVM},
    {"no-sandbox", no_argument, NULL, NO_SANDBOX},
    {"probe", no_argument, NULL, PROBE},
    {"selftest", required_argument, NULL, SELFTEST},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

static const char *option_name(int option)
{
    return table[option - 1].name;
}

static int inherit(int option, const char *given, int *ret, struct error *error)
{
    uint64_t number = 0;
    if (strncmp(given, "fd:", 3) != 0 || !text_parse_u64(slice_of(given + 3), DESCRIPTOR_MAXIMUM, &number))
        return error_set(error, EINVAL, "--%s wants fd:N, not \"%s\"", option_name(option), given);
    if (number <= STDERR_FILENO || fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
        return error_set(error, EINVAL, "--%s: there is no descriptor %u to inherit", option_name(option),
                         (unsigned)number);
    *ret = (int)number;
    return 0;
}

static int open_file(int option, const char *name, int flags, struct vm_file *ret, struct error *error)
{
    int fd = -1, r = 0;
    if (ret->name)
        return error_set(error, EINVAL, "--%s is given twice", option_name(option));
    if (strncmp(name, "fd:", 3) == 0) {
        r = inherit(option, name, &fd, error);
    } else {
        fd = open(name, flags | O_CLOEXEC);
        if (fd < 0)
            r = error_set(error, errno, "cannot open %s (--%s): %s", name, option_name(option), strerror(errno));
    }
    if (r < 0)
        return r;
    *ret = (struct vm_file){.name = name, .fd = fd};
    return 0;
}

static int parse_disk(char *value, struct vm_options *o, struct error *error)
{
    if (o->disk_count == VM_DISKS_MAXIMUM)
        return error_set(error, EINVAL, "a machine has at most %u disks besides its overlay", VM_DISKS_MAXIMUM);
    struct vm_disk *disk = &o->disks[o->disk_count];
    size_t length = strlen(value);
    disk->read_only = length > 3 && strcmp(value + length - 3, ",ro") == 0;
    if (disk->read_only)
        value[length - 3] = '\0';
    int r = open_file(DISK, value, disk->read_only ? O_RDONLY : O_RDWR, &disk->file, error);
    if (r == 0)
        o->disk_count++;
    return r;
}

// DIR,base=FILE,manifest=SHA256
static int parse_overlay(char *value, struct vm_overlay *o, struct error *error)
{
    char *base = strstr(value, ",base=");
    char *manifest = base ? strstr(base, ",manifest=") : NULL;
    if (!manifest)
        return error_set(error, EINVAL, "--overlay wants DIR,base=FILE,manifest=SHA256, not \"%s\"", value);
    *base = *manifest = '\0';
    base += strlen(",base=");
    manifest += strlen(",manifest=");
    if (!sha256_from_hex(manifest, strlen(manifest), &o->manifest))
        return error_set(error, EINVAL, "--overlay: the manifest has 64 hexadecimal digits, not \"%s\"", manifest);
    int r = open_file(OVERLAY, value, O_RDONLY | O_DIRECTORY, &o->folder, error);
    return r < 0 ? r : open_file(OVERLAY, base, O_RDONLY, &o->base, error);
}

static int parse_net(const char *value, struct vm_options *o, struct error *error)
{
    static const struct {
        const char *prefix;
        enum vm_net net;
    } kinds[] = {{"passt:", VM_NET_PASST}, {"tap:", VM_NET_TAP}};
    if (o->net != VM_NET_NONE)
        return error_set(error, EINVAL, "--net is given twice");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        size_t n = strlen(kinds[i].prefix);
        if (strncmp(value, kinds[i].prefix, n) != 0)
            continue;
        o->net = kinds[i].net;
        return inherit(NET, value + n, &o->net_fd, error);
    }
    return error_set(error, EINVAL, "--net wants passt:fd:N or tap:fd:N, not \"%s\"", value);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int parse_mac(const char *value, unsigned char ret[6], struct error *error)
{
    unsigned char mac[6];
    bool good = strlen(value) == 17;
    for (unsigned i = 0; good && i < 6; i++) {
        int high = hex_digit(value[3 * i]), low = hex_digit(value[3 * i + 1]);
        good = high >= 0 && low >= 0 && value[3 * i + 2] == (i < 5 ? ':' : '\0');
        if (good)
            mac[i] = (unsigned char)(high << 4 | low);
    }
    if (!good || mac[0] & 1) // the lowest bit of the first byte: a group's address
        return error_set(error, EINVAL, "--mac wants the address of one interface, as 52:54:00:12:34:56, not \"%s\"",
                         value);
    memcpy(ret, mac, sizeof mac);
    return 0;
}

static int parse_memory(const char *value, uint64_t *ret, struct error *error)
{
    uint64_t size;
    if (!text_parse_size(value, &size) || size < LAYOUT_MEMORY_MINIMUM || size > LAYOUT_MEMORY_MAXIMUM ||
        size % MEMORY_UNIT != 0)
        return error_set(error, EINVAL, "--memory wants 16M to 1T, a multiple of 2M, not \"%s\"", value);
    *ret = size;
    return 0;
}

static int parse_number(int option, const char *value, unsigned minimum, unsigned maximum, unsigned *ret,
                        struct error *error)
{
    uint64_t number;
    if (!text_parse_u64(slice_of(value), maximum, &number) || number < minimum)
        return error_set(error, EINVAL, "--%s wants a number from %u to %u, not \"%s\"", option_name(option), minimum,
                         maximum, value);
    *ret = (unsigned)number;
    return 0;
}

static int parse_machine_option(int option, char *value, struct vm_options *o, struct error *error)
{
    switch (option) {
    case KERNEL:
        return open_file(KERNEL, value, O_RDONLY, &o->kernel, error);
    case INITRD:
        return open_file(INITRD, value, O_RDONLY, &o->initrd, error);
    case CMDLINE:
        o->cmdline = value;
        return strlen(value) < LAYOUT_CMDLINE_MAXIMUM
                   ? 0
                   : error_set(error, EINVAL, "--cmdline is longer than %u bytes", LAYOUT_CMDLINE_MAXIMUM - 1);
    case MEMORY:
        return parse_memory(value, &o->memory, error);
    case CPUS:
        return parse_number(CPUS, value, 1, LAYOUT_CPUS_MAXIMUM, &o->cpus, error);
    case DISK:
        return parse_disk(value, o, error);
    case OVERLAY:
        return parse_overlay(value, &o->overlay, error);
    case ON_OUTAGE:
        o->pass_outage = strcmp(value, "error") == 0;
        return o->pass_outage || strcmp(value, "pause") == 0
                   ? 0
                   : error_set(error, EINVAL, "--on-outage is pause or error, not \"%s\"", value);
    case OUTAGE_AFTER:
        return parse_number(OUTAGE_AFTER, value, 0, VM_OUTAGE_SECONDS_MAXIMUM, &o->outage_after, error);
    case RECORD:
        return inherit(RECORD, value, &o->record, error);
    case NET:
        return parse_net(value, o, error);
    case MAC:
        return parse_mac(value, o->mac, error);
    default:
        return error_set(error, EINVAL, "an option is unknown, or lacks its value");
    }
}

static int parse_option(int option, char *value, struct vm_options *o, struct error *error)
{
    switch (option) {
    case CONSOLE:
        return inherit(CONSOLE, value, &o->console, error);
    case CONTROL:
        return inherit(CONTROL, value, &o->control, error);
    case PAUSED:
        o->paused = true;
        return 0;
    case KVM:
        o->kvm.name = value; // a path is opened by kvm_open, whose message says what to do if that fails
        return strncmp(value, "fd:", 3) == 0 ? inherit(KVM, value, &o->kvm.fd, error) : 0;
    case NO_SANDBOX:
        o->sandbox = false;
        return 0;
    case PROBE:
        o->action = VM_ACTION_PROBE;
        return 0;
    case SELFTEST:
        o->action = VM_ACTION_SELFTEST;
        o->list_calls = strcmp(value, "sandbox-calls") == 0;
        return o->list_calls || strcmp(value, "sandbox") == 0
                   ? 0
                   : error_set(error, EINVAL, "--selftest is sandbox or sandbox-calls, not \"%s\"", value);
    case HELP:
        o->action = VM_ACTION_HELP;
        return 0;
    case VERSION:
        o->action = VM_ACTION_VERSION;
        return 0;
    default:
        return parse_machine_option(option, value, o, error);
    }
}

static int check_control(int fd, struct error *error)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (fd >= 0 && (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET))
        return error_set(error, EINVAL, "--control is not a socket of the type SOCK_SEQPACKET");
    return 0;
}

// Two uses of one descriptor would read each other's bytes, or close it twice.
static int check_distinct(const struct vm_options *o, struct error *error)
{
    int used[VM_DISKS_MAXIMUM + 9] = {o->kernel.fd,         o->initrd.fd,       o->kvm.fd,
                                      o->overlay.folder.fd, o->overlay.base.fd, o->net_fd,
                                      o->console,           o->control,         o->record};
    for (unsigned i = 0; i < o->disk_count; i++)
        used[9 + i] = o->disks[i].file.fd;
    for (unsigned i = 0; i < 9 + o->disk_count; i++)
        for (unsigned j = 0; j < i; j++)
            if (used[i] >= 0 && used[i] == used[j])
                return error_set(error, EINVAL, "descriptor %d is given for two things", used[i]);
    return 0;
}

static int check(const bool given[OPTIONS], const struct vm_options *o, struct error *error)
{
    if (o->action != VM_ACTION_RUN) {
        for (int i = 1; i < PROBE; i++)
            if (given[i] && !(i == KVM && o->action == VM_ACTION_PROBE))
                return error_set(error, EINVAL, "--%s belongs to a machine, and none is asked for", option_name(i));
        return given[PROBE] + given[SELFTEST] + given[HELP] + given[VERSION] == 1
                   ? 0
                   : error_set(error, EINVAL, "--probe, --selftest, --help and --version stand alone");
    }
    if (!given[KERNEL])
        return error_set(error, EINVAL, "--kernel is needed");
    if (o->paused && !given[CONTROL])
        return error_set(error, EINVAL, "--paused needs --control: nobody could resume the machine");
    if (given[MAC] && o->net == VM_NET_NONE)
        return error_set(error, EINVAL, "--mac needs --net");
    if ((given[ON_OUTAGE] || given[OUTAGE_AFTER]) && !given[OVERLAY])
        return error_set(error, EINVAL, "--on-outage and --outage-after need --overlay");
    if (given[RECORD] && !given[OVERLAY])
        return error_set(error, EINVAL, "--record needs --overlay: it notes the reads of its base");
    int r = check_control(o->control, error);
    return r < 0 ? r : check_distinct(o, error);
}

static int parse_all(int argc, char **argv, struct vm_options *o, struct error *error)
{
    bool given[OPTIONS] = {false};
    int option;
    opterr = 0;
    optind = 0; // begin anew, whatever was parsed before
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        int r = parse_option(option, optarg, o, error);
        if (r < 0)
            return r;
        if (given[option] && option != DISK)
            return error_set(error, EINVAL, "--%s is given twice", option_name(option));
        given[option] = true;
    }
    if (optind < argc)
        return error_set(error, EINVAL, "\"%s\" is not an option", argv[optind]);
    return check(given, o, error);
}

int vm_options_parse(int argc, char **argv, struct vm_options *ret, struct error *error)
{
    struct vm_options o = {
        .kernel.fd = -1,
        .initrd.fd = -1,
        .kvm.fd = -1,
        .cmdline = "",
        .memory = MEMORY_DEFAULT,
        .cpus = 1,
        .overlay = {.folder.fd = -1, .base.fd = -1},
        .net_fd = -1,
        .mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}, // locally administered; as good as any on a network of two
        .console = -1,
        .control = -1,
        .record = -1,
        .sandbox = true,
    };
    int r = parse_all(argc, argv, &o, error);
    if (r == 0 && o.action <= VM_ACTION_PROBE && !o.kvm.name)
        o.kvm.name = KVM_DEVICE;
    if (r < 0) {
        vm_options_free(&o);
        return r;
    }
    o.console_input = o.console >= 0 ? o.console : STDIN_FILENO;
    o.console_output = o.console >= 0 ? o.console : STDOUT_FILENO;
    *ret = o;
    return 0;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void vm_options_free(struct vm_options *o)
{
    close_one(&o->kernel.fd);
    close_one(&o->initrd.fd);
    close_one(&o->kvm.fd);
    close_one(&o->overlay.folder.fd);
    close_one(&o->overlay.base.fd);
    for (unsigned i = 0; i < VM_DISKS_MAXIMUM; i++)
        if (o->disks[i].file.name)
            close_one(&o->disks[i].file.fd);
    close_one(&o->net_fd);
    close_one(&o->console);
    close_one(&o->control);
    close_one(&o->record);
}
