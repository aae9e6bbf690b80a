# shellcheck shell=bash
# For tests of a machine's life that need no guest: tests/fake_qemu stands in for qemu, tests/fake_vmm for rondo-vmm (which is chosen with
# --engine kvm and FAKE_VMM_PROBE empty), and the image is a few blocks. Sourced after lib.sh and guest.sh.
#
#   publish_fake [VERSION…]     publishes the image "fake" (version 1), with the tag "new" on the last one; sets $url
#   our_processes               prints the ids of the processes of this test's machines: all of Rondo's, and the engine, and passt
#   no_machine_left             true if there is no process, no mount and no instance of a machine (rondo-cloop may be there)

# Rondo's programs look for one another beside themselves, and for qemu in PATH.
mkdir -p "$TMPDIR/bin"
cp "$BUILD"/rondo "$BUILD"/rondo-cloop "$BUILD"/rondo-overlay "$BUILD"/rondo-server "$TMPDIR/bin"
cp "$ROOT/tests/fake_qemu" "$TMPDIR/bin/qemu-system-x86_64"
cp "$ROOT/tests/fake_vmm" "$TMPDIR/bin/rondo-vmm"
BUILD=$TMPDIR/bin
PATH=$TMPDIR/bin:$PATH
export BUILD FAKE_VMM_PROBE="this test has no KVM; --engine qemu does without"

publish_fake() {
	local version
	[ $# -gt 0 ] || set -- 1
	head -c 262144 /dev/urandom >"$TMPDIR/fake.disk"
	head -c 65536 /dev/urandom >"$TMPDIR/fake.kernel"
	rondo key new "$TMPDIR/key" >/dev/null 2>&1 || bail_out "key new"
	for version; do
		printf '%s' "$version" | dd of="$TMPDIR/fake.disk" conv=notrunc status=none
		rondo publish --name fake --version "$version" --key "$TMPDIR/key" --to "$TMPDIR/site" --disk "$TMPDIR/fake.disk" \
			--kernel "$TMPDIR/fake.kernel" --memory 64M --tag new >"$TMPDIR/publish.out" 2>&1 || {
			diag_file "$TMPDIR/publish.out"
			bail_out "publish fake"
		}
	done
	serve_site "$TMPDIR/site"
}

our_processes() {
	local environment process
	for environment in $(grep -lzxF "TMPDIR=$TMPDIR" /proc/[0-9]*/environ 2>/dev/null); do
		process=${environment#/proc/}
		process=${process%/environ}
		[ "$process" != "$server" ] || continue
		case $({ tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null) in
		*/rondo-cloop\ * | */rondo-server\ *) ;;
		rondo\ * | */rondo\ * | */rondo-overlay\ * | */rondo-vmm\ * | passt\ * | *qemu-system-x86_64\ *) echo "$process" ;;
		esac
	done
}

no_machine_left() {
	[ -z "$(our_processes)" ] && [ "$(rondo ps --json)" = "[]" ] &&
		! grep -q " $RONDO_RUNTIME/instances/" /proc/self/mountinfo && [ -z "$(ls -A "$RONDO_HOME/instances")" ]
}
