#!/bin/bash
# Whoever takes rondo-overlay over from inside a guest finds little left: it opens nothing, connects to nothing and executes nothing
# (tests/hostile/overlay.calls; tests/unit/test_confine.c proves that all else ends the process; tests/e2e/overlay_mount.sh looks at one that serves).
. "$(dirname "$0")/../lib.sh"
golden=$ROOT/tests/hostile/overlay.calls

is "$(grep -E '^[a-z-]+ (open|openat|openat2|connect|socket|bind|execve|execveat|clone3|fork|vfork|ptrace|kill|dup|unlink|unlinkat|rename|renameat|mkdir|umount2|mount|memfd_create)[: ]' "$golden")" "" \
	"nothing that is allowed opens, connects, executes or makes a process"
is "$(grep -E '^[a-z-]+ (ioctl|fcntl|mmap|mprotect|madvise|prctl|clone|tgkill|newfstatat)[: ]' "$golden" | grep -vF '[')" "" "and what does several things is allowed for some"

done_testing
