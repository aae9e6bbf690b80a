#!/bin/bash
# time-limit: 120
# Whoever takes rondo-vmm over from inside its guest can do nothing with it: each forbidden call, from each kind of thread, ends the
# process; and what is allowed is what tests/hostile/vmm_sandbox.calls lists, so that a wider sandbox is a change somebody looks at.
. "$(dirname "$0")/../lib.sh"
golden=$ROOT/tests/hostile/vmm_sandbox.calls

run rondo-vmm --selftest=sandbox
status_is 0 "every forbidden call is stopped"
is "$(grep '^not ok' <<<"$out")" "" "and none of them returns"
like "$out" "ok: a vcpu thread's execve is stopped" "executing a program is among them"
like "$out" "ok: a worker thread's clock_gettime is allowed" "what is allowed comes back"
run rondo-vmm --selftest=sandbox-calls
status_is 0 "the allowed calls are listed"
is "$(diff "$golden" <(printf '%s\n' "$out"))" "" "they are those of tests/hostile/vmm_sandbox.calls"
is "$(grep -E '^[a-z]+ (open|openat|openat2|connect|socket|execve|execveat|clone|clone3|fork|ptrace|kill|dup|memfd_create|mprotect)' <<<"$out")" "" \
	"nothing among them opens, connects, executes or makes a process"
is "$(grep -E '^[a-z]+ (ioctl|fcntl|mmap|madvise|tgkill)' <<<"$out" | grep -vF '[')" "" "and what does several things is allowed for some"
is "$(grep -v ': .' <<<"$out")" "" "each has its reason"
done_testing
