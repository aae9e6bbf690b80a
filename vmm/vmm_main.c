// rondo-vmm: one guest on /dev/kvm (docs/vmm.md). This file turns the machine's end into an exit code.
#include "base/cleanup.h"
#include "base/error.h"
#include "base/log.h"
#include "base/output.h"
#include "vmm/probe.h"
#include "vmm/vm.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/banned.h"

// Of a thread: far more than a guest's exit or a disk's request takes. The usual 8 MiB would begin with a huge page of
// 2 MiB on hosts that give them to everybody.
#define STACK (256u << 10)

// Beyond the exit codes that all of Rondo's programs share: 20 and above.
static const int codes[] = {
    [VM_POWERED_OFF] = EXIT_CODE_OK, [VM_STOPPED] = EXIT_CODE_OK,   [VM_RESET] = 20, [VM_PANICKED] = 21,
    [VM_TRIPLE_FAULT] = 22,          [VM_BROKEN] = EXIT_CODE_OTHER,
};

static void make_stacks_small(void)
{
    pthread_attr_t attributes; // none of these can fail with such a size
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
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
        *ret_code = codes[end];
    return r;
}

static int print(const char *text, int *ret_code, struct error *error)
{
    fputs(text, stdout);
    int r = output_end(error);
    if (r == 0)
        *ret_code = EXIT_CODE_OK;
    return r;
}

static int probe(struct vm_options *o, int *ret_code, struct error *error)
{
    const char *path = o->kvm.fd < 0 ? o->kvm.name : NULL;
    int r = probe_kvm(path, TAKE_FD(o->kvm.fd), error);
    return r < 0 ? r : print("ok: this host's KVM runs modern kernels\n", ret_code, error);
}

static int act(struct vm_options *o, int *ret_code, struct error *error)
{
    switch (o->action) {
    case VM_ACTION_RUN:
        return run(o, ret_code, error);
    case VM_ACTION_PROBE:
        return probe(o, ret_code, error);
    case VM_ACTION_HELP:
        return print(vm_options_usage, ret_code, error);
    case VM_ACTION_VERSION:
        return print("rondo-vmm " RONDO_VERSION "\n", ret_code, error);
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
    mallopt(M_ARENA_MAX, 1); // a thread that makes an arena reads files of /sys, and there is little to allocate
    make_stacks_small();
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
