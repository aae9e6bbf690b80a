// Giving up rights (see confine.h).
#include "base/confine.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/banned.h"

// --- rights --------------------------------------------------------------------------------------------------------

// Linux Documentation/userspace-api/landlock.rst: each version knows more kinds of access. Before the second, nothing
// could be renamed from folder to folder at all; no program of ours that writes does that.
int confine_files(const struct confine_folder *folders, unsigned count)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1)
        return -EOPNOTSUPP;
    unsigned kinds = version >= 3 ? 15 : version == 2 ? 14 : 13;
    const struct landlock_ruleset_attr all = {.handled_access_fs = (UINT64_C(1) << kinds) - 1};
    int fd CLEANUP_CLOSE = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all.handled_access_fs, 0);
    if (fd < 0)
        return -errno;
    for (unsigned i = 0; i < count; i++) {
        const uint64_t readable = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
        const struct landlock_path_beneath_attr below = {
            .parent_fd = folders[i].fd,
            .allowed_access =
                folders[i].writable ? all.handled_access_fs & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE : readable};
        if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0)
            return -errno;
    }
    return syscall(SYS_landlock_restrict_self, fd, 0) < 0 ? -errno : 0;
}

int confine_capabilities(uint64_t kept)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2];
    if (syscall(SYS_capget, &head, now) < 0)
        return -errno;
    for (unsigned long c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
        if (c >= 64 || !(kept >> c & 1))
            prctl(PR_CAPBSET_DROP, c, 0, 0, 0); // refused to those who have none to lose
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned i = 0; i < 2; i++) {
        uint32_t left = now[i].permitted & (uint32_t)(kept >> 32 * i);
        now[i] = (struct __user_cap_data_struct){.permitted = left, .effective = left};
    }
    return syscall(SYS_capset, &head, now) < 0 ? -errno : 0;
}

int confine_rights(const struct confine_folder *folders, unsigned count, uint64_t capabilities, struct error *error)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(error, errno, "cannot give up new privileges: %m");
    int r = confine_files(folders, count);
    if (r < 0)
        log_info("this kernel does not keep us from other files (Landlock): %s", strerror(-r));
    r = confine_capabilities(capabilities);
    if (r < 0)
        log_debug("capabilities cannot be dropped: %s", strerror(-r));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0) // last: a change of credentials may turn it on
        log_debug("dumps cannot be forbidden: %m");
    return 0;
}

// --- calls ---------------------------------------------------------------------------------------------------------

// How many there are: one or none.
static unsigned make_comparison(const struct confine_condition *c, struct scmp_arg_cmp *ret)
{
    switch (c->check) {
    case CONFINE_ANY:
        return 0;
    case CONFINE_EQUAL:
        *ret = SCMP_CMP(c->argument, SCMP_CMP_EQ, c->value);
        return 1;
    case CONFINE_CLEAR:
        *ret = SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->value, 0);
        return 1;
    case CONFINE_SET:
        *ret = SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->value, c->value);
        return 1;
    case CONFINE_OURSELVES:
        *ret = SCMP_CMP(0, SCMP_CMP_EQ, (uint64_t)getpid());
        return 1;
    case CONFINE_KICK:
        *ret = SCMP_CMP(2, SCMP_CMP_EQ, (uint64_t)SIGRTMIN);
        return 1;
    }
    return 0;
}

int confine_allow(scmp_filter_ctx filter, const struct confine_call *call)
{
    struct scmp_arg_cmp comparisons[2];
    unsigned n = make_comparison(&call->first, &comparisons[0]);
    n += make_comparison(&call->second, &comparisons[n]);
    uint32_t action = call->refusal ? SCMP_ACT_ERRNO((unsigned)call->refusal) : SCMP_ACT_ALLOW;
    return seccomp_rule_add_exact_array(filter, action, call->number, n, comparisons);
}

int confine_hide_clone3(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static const char *program_name;

// The forbidden call was not made. Nothing here may allocate or lock: we can be anywhere. A second forbidden call,
// while SIGSYS is blocked by its own handler, has the kernel end the process by that signal, which is what our parent
// sees.
static void die_of(int signal, siginfo_t *info, void *context)
{
    char text[128] = "", digits[12];
    size_t n = 0, at = sizeof digits;
    unsigned call = (unsigned)info->si_syscall;
    const char *const words[] = {program_name, ": system call ", NULL, " is none that it ever makes: ending\n"};
    (void)signal;
    (void)context;
    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + call % 10);
    while ((call /= 10) > 0);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        for (const char *c = words[i] ? words[i] : &digits[at]; *c && n < sizeof text; c++)
            text[n++] = *c;
    ssize_t ignored = write(STDERR_FILENO, text, n);
    (void)ignored;
    syscall(SYS_ptrace, 0, 0, 0, 0);
    __builtin_trap();
}

int confine_limit(int what, uint64_t maximum)
{
    const struct rlimit limit = {maximum, maximum};
    return setrlimit((__rlimit_resource_t)what, &limit) < 0 ? -errno : 0;
}

// For the whole process. Descriptors: no more than the program has allowed itself already.
static int set_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return -errno;
    int r = confine_limit(RLIMIT_NOFILE, files.rlim_cur);
    return r == 0 ? confine_limit(RLIMIT_CORE, 0) : r;
}

int confine_calls(const char *program, const struct confine_call *calls, size_t count, struct error *error)
{
    const struct sigaction action = {.sa_sigaction = die_of, .sa_flags = SA_SIGINFO};
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    int r = filter ? 0 : -ENOMEM;
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); // 32-bit calls
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); // all threads
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a search tree
    for (size_t i = 0; r == 0 && i < count; i++)
        r = confine_allow(filter, &calls[i]);
    if (r == 0)
        r = confine_hide_clone3(filter);
    int limited = set_limits();
    if (limited < 0)
        log_debug("limits of resources cannot be set: %s", strerror(-limited));
    program_name = program;
    if (r == 0 && sigaction(SIGSYS, &action, NULL) < 0)
        r = -errno;
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r < 0 ? error_set(error, -r, "this host's kernel takes no system call filter (seccomp): %s", strerror(-r))
                 : 0;
}
