// vmm/vm_options.h: what a good command line becomes. What is refused, and in which words, is tests/e2e/vmm.sh's.
#include "vmm/vm_options.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"

#include "base/banned.h"

#define ARGUMENTS 40

// Parses the words of a line; the options may point into it. Each test has one line at a time.
static int parse(const char *line, struct vm_options *ret, struct error *error)
{
    static char copy[1024];
    char *argv[ARGUMENTS] = {(char[]){"rondo-vmm"}};
    int argc = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = copy; argc < ARGUMENTS - 1; word = NULL) {
        static char *rest;
        argv[argc] = strtok_r(word, " ", &rest);
        if (!argv[argc])
            break;
        argc++;
    }
    return vm_options_parse(argv, ret, error);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void defaults_are_those_of_the_manual(void **state)
{
    struct vm_options o;
    (void)state;
    assert_int_equal(parse("--kernel /dev/null", &o, NULL), 0);
    assert_int_equal(o.action, VM_ACTION_RUN);
    assert_true(is_open(o.kernel.fd));
    assert_string_equal(o.kernel.name, "/dev/null");
    assert_int_equal(o.initrd.fd, -1);
    assert_string_equal(o.cmdline, "");
    assert_int_equal(o.memory, 512 << 20);
    assert_int_equal(o.cpus, 1);
    assert_null(o.overlay.folder.name);
    assert_int_equal(o.disk_count, 0);
    assert_int_equal(o.net, VM_NET_NONE);
    assert_int_equal(o.console_input, STDIN_FILENO);
    assert_int_equal(o.console_output, STDOUT_FILENO);
    assert_int_equal(o.control, -1);
    assert_string_equal(o.kvm.name, "/dev/kvm");
    assert_false(o.pass_outage);
    assert_int_equal(o.outage_after, 0);
    assert_int_equal(o.record, -1);
    assert_false(o.paused);
    assert_true(o.sandbox);
    int kernel = o.kernel.fd;
    vm_options_free(&o);
    assert_false(is_open(kernel));
}

static void every_option_is_heard(void **state)
{
    struct vm_options o;
    struct error error = {""};
    char line[512];
    int pair[2], net[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, net), 0);
    int kvm = open("/dev/null", O_RDWR), record = open("/dev/null", O_RDWR);
    snprintf(line, sizeof line,
             "--kernel /dev/null --initrd /dev/zero --cmdline quiet --memory 4G --cpus 32 --overlay "
             "/,base=/dev/zero,manifest=%064d --on-outage error --outage-after 7 --net passt:fd:%d "
             "--console fd:%d --control fd:%d --paused --kvm fd:%d --record fd:%d --no-sandbox",
             0, net[0], net[1], pair[0], kvm, record);
    if (parse(line, &o, &error) < 0)
        fail_msg("%s", error.text);
    assert_string_equal(o.initrd.name, "/dev/zero");
    assert_true(is_open(o.initrd.fd));
    assert_string_equal(o.cmdline, "quiet");
    assert_true(o.memory == 4ull << 30);
    assert_int_equal(o.cpus, 32);
    assert_string_equal(o.overlay.folder.name, "/");
    assert_string_equal(o.overlay.base.name, "/dev/zero");
    assert_true(is_open(o.overlay.folder.fd) && is_open(o.overlay.base.fd));
    assert_true(o.pass_outage);
    assert_int_equal(o.outage_after, 7);
    assert_int_equal(o.net, VM_NET_PASST);
    assert_int_equal(o.net_fd, net[0]);
    assert_int_equal(o.console_input, net[1]);
    assert_int_equal(o.console_output, net[1]);
    assert_int_equal(o.control, pair[0]);
    assert_true(o.paused);
    assert_int_equal(o.kvm.fd, kvm);
    assert_int_equal(o.record, record);
    assert_false(o.sandbox);
    assert_true(fcntl(pair[0], F_GETFD) & FD_CLOEXEC); // no child shall have it
    vm_options_free(&o);
    assert_false(is_open(pair[0]) || is_open(net[0]) || is_open(net[1]) || is_open(kvm) || is_open(record));
    close(pair[1]);
}

static void disks_are_writable_unless_told(void **state)
{
    char path[] = "/tmp/rondo-disk,ro-XXXXXX", line[256];
    struct vm_options o;
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    snprintf(line, sizeof line, "--kernel /dev/null --disk %s --disk %s,ro --disk %s,ro,name=seed", path, path, path);
    assert_int_equal(parse(line, &o, NULL), 0);
    assert_int_equal(o.disk_count, 3);
    assert_false(o.disks[0].read_only);
    assert_string_equal(o.disks[0].file.name, path);
    assert_int_equal(fcntl(o.disks[0].file.fd, F_GETFL) & O_ACCMODE, O_RDWR);
    assert_true(o.disks[1].read_only);
    assert_string_equal(o.disks[1].file.name, path);
    assert_int_equal(fcntl(o.disks[1].file.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true(o.disks[2].read_only);
    assert_string_equal(o.disks[2].file.name, "seed");
    vm_options_free(&o);
    close(fd);
    unlink(path);
}

static void nine_disks_are_too_many(void **state)
{
    struct vm_options o;
    struct error error = {""};
    (void)state;
    assert_int_equal(parse("--kernel /dev/null --disk /dev/null --disk /dev/null --disk /dev/null --disk /dev/null "
                           "--disk /dev/null --disk /dev/null --disk /dev/null --disk /dev/null --disk /dev/null",
                           &o, &error),
                     -EINVAL);
    assert_non_null(strstr(error.text, "at most 8"));
}

static void one_descriptor_for_two_things_is_refused(void **state)
{
    struct vm_options o;
    struct error error = {""};
    char line[256];
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    snprintf(line, sizeof line, "--kernel /dev/null --control fd:%d --console fd:%d", pair[0], pair[0]);
    assert_int_equal(parse(line, &o, &error), -EINVAL);
    assert_non_null(strstr(error.text, "two things"));
    close(pair[1]);
}

static void control_must_keep_messages_apart(void **state)
{
    struct vm_options o;
    struct error error = {""};
    char line[256];
    int pair[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    snprintf(line, sizeof line, "--kernel /dev/null --control fd:%d", pair[0]);
    assert_int_equal(parse(line, &o, &error), -EINVAL);
    assert_non_null(strstr(error.text, "SOCK_SEQPACKET"));
    close(pair[1]);
}

static void other_actions_stand_alone(void **state)
{
    struct vm_options o;
    (void)state;
    assert_int_equal(parse("--probe", &o, NULL), 0);
    assert_int_equal(o.action, VM_ACTION_PROBE);
    assert_string_equal(o.kvm.name, "/dev/kvm");
    assert_int_equal(parse("--probe --kvm /dev/other", &o, NULL), 0);
    assert_string_equal(o.kvm.name, "/dev/other");
    assert_int_equal(parse("--help", &o, NULL), 0);
    assert_int_equal(o.action, VM_ACTION_HELP);
    assert_int_equal(parse("--help --paused", &o, NULL), -EINVAL);
    assert_int_equal(parse("--version --kvm /dev/kvm", &o, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_manual),
        cmocka_unit_test(every_option_is_heard),
        cmocka_unit_test(disks_are_writable_unless_told),
        cmocka_unit_test(nine_disks_are_too_many),
        cmocka_unit_test(one_descriptor_for_two_things_is_refused),
        cmocka_unit_test(control_must_keep_messages_apart),
        cmocka_unit_test(other_actions_stand_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
