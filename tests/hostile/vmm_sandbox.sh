#!/bin/bash
# time-limit: 400
# Whoever takes rondo-vmm over from inside its guest can do nothing with it: each thread of a machine has its filter. What the filters
# allow is in tests/hostile/vmm_sandbox.calls; tests/unit/test_vmm_sandbox.c proves that the list is true, and that all else ends the process.
. "$(dirname "$0")/../lib.sh"
golden=$ROOT/tests/hostile/vmm_sandbox.calls

is "$(grep -E '^[a-z]+ (open|openat|openat2|connect|socket|execve|execveat|clone3|fork|ptrace|kill|dup|memfd_create)' "$golden")" "" \
	"nothing that is allowed opens, connects, executes or makes a process"
is "$(grep -E '^[a-z]+ (ioctl|fcntl|mmap|mprotect|madvise|tgkill|clone)' "$golden" | grep -vF '[')" "" "and what does several things is allowed for some"
is "$(grep -E '^[a-z]+ (mprotect|clone)' "$golden" | grep -v '^worker')" "" "only a worker makes a thread"

guest() { # COMMAND…: a machine on an inherited /dev/kvm, whose guest switches it off
	(exec 7<"$BUILD/rondo-vmm" 8<"$TMPDIR/kernel" 9<>/dev/kvm && "$@" /proc/self/fd/7 --kernel fd:8 --kvm fd:9 --memory 16M --cmdline o)
}
if [ -w /dev/kvm ] && cc -c -o "$TMPDIR/guest.o" "$ROOT/tests/e2e/vmm_guest.S" &&
	ld -Ttext-segment 0x200000 -e begin -o "$TMPDIR/kernel" "$TMPDIR/guest.o"; then
	run guest env
	status_is 0 "a machine runs in it"
	if [ "$(id -u)" = 0 ]; then
		run guest setpriv --reuid=65534 --regid=65534 --clear-groups
		status_is 0 "so does that of a user without any privilege"
	else
		skip "so does that of a user without any privilege" "only root can become another user"
	fi
	truncate -s 1M "$TMPDIR/disk"
	start_process vmm rondo-vmm --kernel "$TMPDIR/kernel" --memory 16M --cmdline h --disk "$TMPDIR/disk" --cpus 2
	filtered() { # every thread: the loop, two processors, the disk's first; and perhaps one of the kernel's own
		[ "$(grep -h Seccomp: "/proc/$process/task/"*/status | sort -u)" = "Seccomp:	2" ] && [ "$(ls "/proc/$process/task" | wc -l)" -ge 4 ]
	}
	ok "every thread has its filter" wait_until 10 filtered
	is "$(grep -E '^Cap(Prm|Eff|Bnd|Amb):' "/proc/$process/status" | cut -f 2 | sort -u)" 0000000000000000 "and no capability"
	if unshare --user true 2>/dev/null; then
		is "$(ls -A "/proc/$process/root/")" "" "nor a file to see"
	else
		skip "nor a file to see" "this host lets nobody make namespaces"
	fi
	kill -STOP "$process" && sleep 0.2 && kill -CONT "$process"
	sleep 0.2
	kill -TERM "$process" && sleep 0.2
	stop_process "$process"
	is "$status" 0 "being stopped and continued does not end it"
fi
done_testing
