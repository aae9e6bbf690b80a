#!/bin/bash
# A boot that cannot be recorded costs a version its boot profile, and nothing else: it is published, the reason is said, nothing is left of the
# machine. Cancelling publishes nothing. The machine monitors are stand-ins (tests/fake_qemu, tests/fake_vmm), chosen by FAKE_VMM_PROBE.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need jq python3 perl
need_fuse
head -c 1048576 /dev/urandom >"$TMPDIR/disk"
truncate -s 16M "$TMPDIR/disk"
head -c 65536 /dev/urandom >"$TMPDIR/kernel"
rondo key new "$TMPDIR/key" >/dev/null 2>&1 || bail_out "key new"
no_kvm=$FAKE_VMM_PROBE version=0
site=$TMPDIR/site

# publication KVM CMDLINE [OPTION…]: sets `arguments`; KVM yes or no
publication() {
	FAKE_VMM_PROBE=
	[ "$1" = yes ] || FAKE_VMM_PROBE=$no_kvm
	version=$((version + 1))
	arguments=(publish --name fake --version "$version" --key "$TMPDIR/key" --to "$site" --disk "$TMPDIR/disk" --kernel "$TMPDIR/kernel"
		--cmdline "$2" --memory 64M --ready "login: " --profile auto "${@:3}")
}

published() { # WHAT: the last run published its version, without a profile, and left nothing
	status_is 0 "$1: it is published"
	like "$err" "no boot was recorded: .*publishing with(out a boot profile| what is left of the parent)" "$1: without it, which is said"
	ok "$1: it is listed" grep -qa "^image fake $version " "$site/catalog.rondo"
	ok "$1: nothing is left of the machine" wait_until 10 no_machine_left
}

try() {
	publication "$@"
	run_rondo "${arguments[@]}"
}

for kvm in no yes; do
	try "$kvm" "print=debian%20login:%20 read=40960,8192"
	status_is 0 "kvm $kvm: a boot is recorded"
	like "$err" "it was ready after" "kvm $kvm: which is said"
	unlike "$err" "no boot was recorded" "kvm $kvm: and no more"
	ok "kvm $kvm: nothing is left of the machine" wait_until 10 no_machine_left

	try "$kvm" "print=login.%20" --timeout 2
	published "kvm $kvm, a boot that is never ready"
	like "$err" 'did not show "login: " within 2 seconds \(--timeout\)' "kvm $kvm: the reason is said"
done

try yes "print=hello panic"
published "a kernel that panics"
like "$err" "ended before its console showed \"login: \": the kernel .* panicked" "the reason is said"
try yes off
published "a machine that switches itself off"
try yes "print=hello resets=100000" --timeout 2
published "a machine that restarts for ever"
try no "refuse=no%20such%20machine"
published "an engine that does not start"
like "$err" "no such machine" "what it said is said"
try no mute --timeout 2
published "an engine that says nothing"
try no "print=hello exit=3"
published "an engine that ends"

publication no "print=login:%20"
run env PATH="$TMPDIR/none" "$BUILD/rondo" "${arguments[@]}"
published "a host without an engine"
like "$err" "apt-get install qemu-system-x86" "what to install is said"

run_rondo publish --name bare --version 1 --key "$TMPDIR/key" --to "$site" --disk "$TMPDIR/disk" --ready "login: " --profile auto
status_is 0 "a version without a kernel is published"
like "$err" "no boot was recorded: .*--kernel" "without a profile, which is said"
run_rondo publish --name fake --version 99 --key "$TMPDIR/key" --to "$site" --disk "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --cmdline x --profile auto
status_is 2 "without a ready text there is nothing to wait for: a usage error"
like "$err" "--ready" "which names the option"
run_rondo publish --name fake --version 99 --key "$TMPDIR/key" --to "$site" --disk "$TMPDIR/disk" --ready x --timeout 5
status_is 2 "so is a time limit without a boot"

if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=2m,mode=0700 tmpfs "$RONDO_HOME" 2>/dev/null; then
	at_exit 'umount -l "$RONDO_HOME" 2>/dev/null'
	try no fill=8
	published "no space for what the machine writes"
	like "$err" "no space left for what it writes" "the reason is said"
	head -c 4M /dev/zero 2>/dev/null >"$RONDO_HOME/filler"
	try no "print=login:%20"
	published "no space for a machine at all"
	rm "$RONDO_HOME/filler"
	umount -l "$RONDO_HOME"
else
	skip "no space for what the machine writes" "no tmpfs can be mounted"
fi

recording() {
	grep -q "recording a boot" "$TMPDIR/publisher.log" && [ "$(rondo ps --json | jq -r '.[].state')" = running ]
}
catalog=$(cat "$site/catalog.rondo")
for signal in INT TERM HUP KILL; do
	publication no "print=hello"
	start_process publisher perl -e '$SIG{INT} = "DEFAULT"; exec @ARGV' "$BUILD/rondo" "${arguments[@]}"
	publisher=$process
	ok "a boot is being recorded" wait_until 20 recording
	kill -"$signal" "$publisher"
	wait "$publisher"
	code=$?
	[ "$signal" = KILL ] || is "$code" 11 "SIG$signal cancels it"
	ok "SIG$signal: nothing is left of the machine" wait_until 20 no_machine_left
	is "$(cat "$site/catalog.rondo")" "$catalog" "SIG$signal: nothing is published"
done
try no "print=login:%20"
status_is 0 "the same command works afterwards"
ok "the site is whole" python3 "$ROOT/tests/check_site.py" "$site"
done_testing
