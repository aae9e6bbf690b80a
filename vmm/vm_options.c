// The command line: see vm_options.h. One table of rules: what an option is called, which function takes its value,
// where that puts it, and what must be given with it. Then one check of the whole.
#include "vmm/vm_options.h"

#include "base/cleanup.h"
#include "base/text.h"
#include "vmm/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/banned.h"

#define MEMORY_DEFAULT (512ull << 20)
#define MEMORY_UNIT (2ull << 20)
#define DESCRIPTOR_MAXIMUM (1u << 20)
#define KVM_DEVICE "/dev/kvm"
#define DESCRIPTORS_MAXIMUM (VM_DISKS_MAXIMUM + 9)

const char vm_options_usage[] =
    "usage: rondo-vmm --kernel FILE [--initrd FILE] [--cmdline TEXT] [--memory SIZE] [--cpus N]\n"
    "                 [--disk FILE[,ro][,name=TEXT]]... [--overlay DIR,base=FILE,manifest=SHA256]\n"
    "                 [--on-outage pause|error] [--outage-after SECONDS] [--record fd:N]\n"
    "                 [--net passt:fd:N | tap:fd:N] [--console fd:N] [--control fd:N] [--paused]\n"
    "                 [--kvm FILE] [--no-sandbox]\n"
    "       rondo-vmm --probe [--kvm FILE] | --help | --version\n"
    "FILE is a path, or fd:N for an inherited descriptor.\n";

struct rule {
    const char *name;
    int (*parse)(const struct rule *rule, char *value, void *to, struct error *error);
    size_t to; // offset in struct vm_options
    unsigned minimum, maximum;
    const char *needs; // an option without which this one has no sense
};

// --- values ---------------------------------------------------------------------------------------------------------

static int set_flag(const struct rule *rule, char *value, void *to, struct error *error)
{
    (void)value, (void)error;
    *(bool *)to = rule->minimum;
    return 0;
}

static int set_action(const struct rule *rule, char *value, void *to, struct error *error)
{
    (void)value, (void)error;
    *(enum vm_action *)to = (enum vm_action)rule->minimum;
    return 0;
}

static int parse_descriptor(const struct rule *rule, char *value, void *to, struct error *error)
{
    uint64_t number = 0;
    if (strncmp(value, "fd:", 3) != 0 || !text_parse_u64(slice_of(value + 3), DESCRIPTOR_MAXIMUM, &number))
        return error_set(error, EINVAL, "--%s wants fd:N, not \"%s\"", rule->name, value);
    if (number <= STDERR_FILENO || fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
        return error_set(error, EINVAL, "--%s: there is no descriptor %u to inherit", rule->name, (unsigned)number);
    *(int *)to = (int)number;
    return 0;
}

static int open_file(const struct rule *rule, char *name, int flags, struct vm_file *ret, struct error *error)
{
    *ret = (struct vm_file){.name = name, .fd = -1};
    if (strncmp(name, "fd:", 3) == 0)
        return parse_descriptor(rule, name, &ret->fd, error);
    ret->fd = open(name, flags | O_CLOEXEC);
    return ret->fd >= 0 ? 0 : error_set(error, errno, "cannot open %s (--%s): %s", name, rule->name, strerror(errno));
}

static int parse_file(const struct rule *rule, char *value, void *to, struct error *error)
{
    return open_file(rule, value, O_RDONLY, to, error);
}

// A path is opened by kvm_open, whose message says what to do if that fails.
static int parse_kvm(const struct rule *rule, char *value, void *to, struct error *error)
{
    struct vm_file *kvm = to;
    kvm->name = value;
    return strncmp(value, "fd:", 3) == 0 ? parse_descriptor(rule, value, &kvm->fd, error) : 0;
}

static int parse_text(const struct rule *rule, char *value, void *to, struct error *error)
{
    *(const char **)to = value;
    return strlen(value) <= rule->maximum
               ? 0
               : error_set(error, EINVAL, "--%s is longer than %u bytes", rule->name, rule->maximum);
}

static int parse_memory(const struct rule *rule, char *value, void *to, struct error *error)
{
    uint64_t size;
    if (!text_parse_size(value, &size) || size < LAYOUT_MEMORY_MINIMUM || size > LAYOUT_MEMORY_MAXIMUM ||
        size % MEMORY_UNIT != 0)
        return error_set(error, EINVAL, "--%s wants 16M to 1T, a multiple of 2M, not \"%s\"", rule->name, value);
    *(uint64_t *)to = size;
    return 0;
}

static int parse_number(const struct rule *rule, char *value, void *to, struct error *error)
{
    uint64_t number;
    if (!text_parse_u64(slice_of(value), rule->maximum, &number) || number < rule->minimum)
        return error_set(error, EINVAL, "--%s wants a number from %u to %u, not \"%s\"", rule->name, rule->minimum,
                         rule->maximum, value);
    *(unsigned *)to = (unsigned)number;
    return 0;
}

static int parse_disk(const struct rule *rule, char *value, void *to, struct error *error)
{
    struct vm_options *o = to;
    if (o->disk_count == VM_DISKS_MAXIMUM)
        return error_set(error, EINVAL, "a machine has at most %u disks besides its overlay", VM_DISKS_MAXIMUM);
    struct vm_disk *disk = &o->disks[o->disk_count++];
    char *name = strstr(value, ",name=");
    if (name)
        *name = '\0';
    size_t length = strlen(value);
    disk->read_only = length > 3 && strcmp(value + length - 3, ",ro") == 0;
    if (disk->read_only)
        value[length - 3] = '\0';
    int r = open_file(rule, value, disk->read_only ? O_RDONLY : O_RDWR, &disk->file, error);
    if (name)
        disk->file.name = name + strlen(",name=");
    return r;
}

// DIR,base=FILE,manifest=SHA256
static int parse_overlay(const struct rule *rule, char *value, void *to, struct error *error)
{
    struct vm_overlay *o = to;
    char *base = strstr(value, ",base=");
    char *manifest = base ? strstr(base, ",manifest=") : NULL;
    if (!manifest)
        return error_set(error, EINVAL, "--overlay wants DIR,base=FILE,manifest=SHA256, not \"%s\"", value);
    *base = *manifest = '\0';
    base += strlen(",base=");
    manifest += strlen(",manifest=");
    if (!sha256_from_hex(manifest, strlen(manifest), &o->manifest))
        return error_set(error, EINVAL, "--overlay: the manifest has 64 hexadecimal digits, not \"%s\"", manifest);
    int r = open_file(rule, value, O_RDONLY | O_DIRECTORY, &o->folder, error);
    return r < 0 ? r : open_file(rule, base, O_RDONLY, &o->base, error);
}

static int parse_on_outage(const struct rule *rule, char *value, void *to, struct error *error)
{
    bool pass = strcmp(value, "error") == 0;
    if (!pass && strcmp(value, "pause") != 0)
        return error_set(error, EINVAL, "--%s is pause or error, not \"%s\"", rule->name, value);
    *(bool *)to = pass;
    return 0;
}

static int parse_net(const struct rule *rule, char *value, void *to, struct error *error)
{
    struct vm_options *o = to;
    bool passt = strncmp(value, "passt:", 6) == 0;
    if (!passt && strncmp(value, "tap:", 4) != 0)
        return error_set(error, EINVAL, "--net wants passt:fd:N or tap:fd:N, not \"%s\"", value);
    o->net = passt ? VM_NET_PASST : VM_NET_TAP;
    return parse_descriptor(rule, value + (passt ? 6 : 4), &o->net_fd, error);
}

// --- the whole ------------------------------------------------------------------------------------------------------

#define AT(member) .to = offsetof(struct vm_options, member)

static const struct rule rules[] = {
    {"kernel", parse_file, AT(kernel)},
    {"initrd", parse_file, AT(initrd)},
    {"cmdline", parse_text, AT(cmdline), .maximum = LAYOUT_CMDLINE_MAXIMUM - 1},
    {"memory", parse_memory, AT(memory)},
    {"cpus", parse_number, AT(cpus), .minimum = 1, .maximum = LAYOUT_CPUS_MAXIMUM},
    {"disk", parse_disk, .to = 0},
    {"overlay", parse_overlay, AT(overlay)},
    {"on-outage", parse_on_outage, AT(pass_outage), .needs = "overlay"},
    {"outage-after", parse_number, AT(outage_after), .maximum = VM_OUTAGE_SECONDS_MAXIMUM, .needs = "overlay"},
    {"record", parse_descriptor, AT(record), .needs = "overlay"}, // it notes the reads of its base
    {"net", parse_net, .to = 0},
    {"console", parse_descriptor, AT(console)},
    {"control", parse_descriptor, AT(control)},
    {"paused", set_flag, AT(paused), .minimum = true, .needs = "control"}, // nobody else could resume the machine
    {"kvm", parse_kvm, AT(kvm)},
    {"no-sandbox", set_flag, AT(sandbox), .minimum = false},
    {"probe", set_action, AT(action), .minimum = VM_ACTION_PROBE},
    {"help", set_action, AT(action), .minimum = VM_ACTION_HELP},
    {"version", set_action, AT(action), .minimum = VM_ACTION_VERSION},
};

static bool has_value(const struct rule *rule)
{
    return rule->parse != set_flag && rule->parse != set_action;
}

static const struct rule *find_rule(const char *name, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (strlen(rules[i].name) == length && memcmp(rules[i].name, name, length) == 0)
            return &rules[i];
    return NULL;
}

static bool is_given(const bool given[], const char *name)
{
    return given[find_rule(name, strlen(name)) - rules];
}

static unsigned list_descriptors(struct vm_options *o, int *ret[DESCRIPTORS_MAXIMUM])
{
    int *const all[] = {&o->kernel.fd,         &o->initrd.fd,       &o->kvm.fd,
                        &o->overlay.folder.fd, &o->overlay.base.fd, &o->net_fd,
                        &o->console,           &o->control,         &o->record};
    unsigned count = ARRAY_SIZE(all);
    memcpy(ret, all, sizeof all);
    for (unsigned i = 0; i < o->disk_count; i++)
        ret[count++] = &o->disks[i].file.fd;
    return count;
}

// Two uses of one descriptor would read each other's bytes, or close it twice.
static int check_descriptors(struct vm_options *o, struct error *error)
{
    int *all[DESCRIPTORS_MAXIMUM], type = 0;
    unsigned count = list_descriptors(o, all);
    socklen_t length = sizeof type;
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < i; j++)
            if (*all[i] >= 0 && *all[i] == *all[j])
                return error_set(error, EINVAL, "descriptor %d is given for two things", *all[i]);
    if (o->control >= 0 && (getsockopt(o->control, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_SEQPACKET))
        return error_set(error, EINVAL, "--control is not a socket of the type SOCK_SEQPACKET");
    return 0;
}

static int check(const bool given[], struct vm_options *o, struct error *error)
{
    unsigned actions = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        const struct rule *rule = &rules[i];
        actions += given[i] && rule->parse == set_action;
        if (given[i] && rule->needs && !is_given(given, rule->needs))
            return error_set(error, EINVAL, "--%s needs --%s", rule->name, rule->needs);
        if (given[i] && o->action != VM_ACTION_RUN && rule->parse != set_action &&
            !(o->action == VM_ACTION_PROBE && rule->parse == parse_kvm))
            return error_set(error, EINVAL, "--%s belongs to a machine, and none is asked for", rule->name);
    }
    if (actions > 1)
        return error_set(error, EINVAL, "--probe, --help and --version stand alone");
    if (actions == 0 && !is_given(given, "kernel"))
        return error_set(error, EINVAL, "--kernel is needed");
    return check_descriptors(o, error);
}

static int parse_all(char **argv, struct vm_options *o, struct error *error)
{
    bool given[ARRAY_SIZE(rules)] = {false};
    for (char **at = argv + 1; *at; at++) {
        size_t length = strcspn(*at, "=");
        const struct rule *rule = strncmp(*at, "--", 2) == 0 ? find_rule(*at + 2, length - 2) : NULL;
        if (!rule)
            return error_set(error, EINVAL, "the option \"%s\" is unknown", *at);
        char *value = (*at)[length] == '=' ? *at + length + 1 : has_value(rule) ? *++at : NULL;
        if (has_value(rule) != (value != NULL))
            return error_set(error, EINVAL, "--%s %s", rule->name, value ? "takes no value" : "lacks its value");
        if (given[rule - rules] && rule->parse != parse_disk)
            return error_set(error, EINVAL, "--%s is given twice", rule->name);
        given[rule - rules] = true;
        int r = rule->parse(rule, value, (char *)o + rule->to, error);
        if (r < 0)
            return r;
    }
    return check(given, o, error);
}

int vm_options_parse(char **argv, struct vm_options *ret, struct error *error)
{
    struct vm_options o = {
        .kernel.fd = -1,
        .initrd.fd = -1,
        .kvm = {.name = KVM_DEVICE, .fd = -1},
        .cmdline = "",
        .memory = MEMORY_DEFAULT,
        .cpus = 1,
        .overlay = {.folder.fd = -1, .base.fd = -1},
        .record = -1,
        .net_fd = -1,
        .console = -1,
        .control = -1,
        .sandbox = true,
    };
    int r = parse_all(argv, &o, error);
    if (r < 0) {
        vm_options_free(&o);
        return r;
    }
    o.console_input = o.console >= 0 ? o.console : STDIN_FILENO;
    o.console_output = o.console >= 0 ? o.console : STDOUT_FILENO;
    *ret = o;
    return 0;
}

void vm_options_free(struct vm_options *o)
{
    int *all[DESCRIPTORS_MAXIMUM];
    unsigned count = list_descriptors(o, all);
    for (unsigned i = 0; i < count; i++) {
        cleanup_close(all[i]);
        *all[i] = -1;
    }
}
