#!/bin/bash
# time-limit: 600
# rondo-vmm as a program, with a kernel of a few instructions and a supervisor made for the test: exit codes, console, control, signals,
# what is refused and how. Any /dev/kvm will do. TAP comes from Python.
. "$(dirname "$0")/../lib.sh"
need python3 cc ld
[ -w /dev/kvm ] || skip_all "this host has no /dev/kvm that may be opened"
cc -c -o "$TMPDIR/guest.o" "$ROOT/tests/e2e/vmm_guest.S" && ld -Ttext-segment 0x200000 -e begin -o "$TMPDIR/kernel" "$TMPDIR/guest.o" ||
	bail_out "the guest cannot be built"
exec python3 "$ROOT/tests/e2e/vmm.py" "$TMPDIR/kernel"
