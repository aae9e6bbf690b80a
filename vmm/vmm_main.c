// rondo-vmm: one guest on /dev/kvm (docs/vmm.md). This file turns the machine's end into an exit code.
#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "vmm/probe.h"
#include "vmm/vm.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/banned.h"

// Beyond the exit codes that all of Rondo's programs share.
enum {
    EXIT_CODE_RESET = 20,
    EXIT_CODE_PANICKED = 21,
    EXIT_CODE_TRIPLE_FAULT = 22,
};

static int code_of(enum vm_end end)
{
    switch (end) {
    case VM_POWERED_OFF:
    case VM_STOPPED:
        return EXIT_CODE_OK;
    case VM_RESET:
        return EXIT_CODE_RESET;
    case VM_PANICKED:
        return EXIT_CODE_PANICKED;
    case VM_TRIPLE_FAULT:
        return EXIT_CODE_TRIPLE_FAULT;
    case VM_BROKEN:
        break;
    }
    return EXIT_CODE_OTHER;
}

static int run(struct vm_options *o, int *ret_code, struct error *error)
{
    struct vm *m;
    enum vm_end end;
    int r = vm_new(o, &m, error);
    if (r < 0)
        return r;
    r = vm_run(m, &end, error);
    vm_free(m);
    if (r == 0)
        *ret_code = code_of(end);
    return r;
}

static int print(const char *text)
{
    fputs(text, stdout);
    return fflush(stdout) == 0 ? EXIT_CODE_OK : EXIT_CODE_OTHER;
}

static int probe(struct vm_options *o, int *ret_code, struct error *error)
{
    const char *path = o->kvm.fd < 0 ? o->kvm.name : NULL;
    int r = probe_kvm(path, TAKE_FD(o->kvm.fd), error);
    if (r == 0)
        *ret_code = print("ok: this host's KVM runs modern kernels\n");
    return r;
}

static int act(struct vm_options *o, int *ret_code, struct error *error)
{
    switch (o->action) {
    case VM_ACTION_RUN:
        return run(o, ret_code, error);
    case VM_ACTION_PROBE:
        return probe(o, ret_code, error);
    case VM_ACTION_HELP:
        *ret_code = print(vm_options_usage);
        return 0;
    case VM_ACTION_VERSION:
        *ret_code = print("rondo-vmm " RONDO_VERSION "\n");
        return 0;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct error error = {""};
    struct vm_options o;
    int code = EXIT_CODE_OTHER;
    (void)argc;
    log_start("rondo-vmm");
    tzset(); // gmtime_r reads a file of /etc when it is first called, and that must not be in the sandbox
    mallopt(M_ARENA_MAX, 1);        // a thread that makes an arena reads files of /sys, and there is little to allocate
    (void)signal(SIGPIPE, SIG_IGN); // a write to a console or a supervisor that is gone fails like any other
    (void)signal(SIGXFSZ, SIG_IGN); // and so does one beyond RLIMIT_FSIZE
    int r = vm_options_parse(argv, &o, &error);
    if (r < 0) {
        fputs(r == -EINVAL ? vm_options_usage : "", stderr);
    } else {
        r = act(&o, &code, &error);
        vm_options_free(&o);
    }
    if (r < 0) {
        log_error("%s", error.text);
        code = (int)error_exit_code(r);
    }
    return code;
}
