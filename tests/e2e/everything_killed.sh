#!/bin/bash
# time-limit: 600
# kill -9 of everything at once; run again, and it works: what the guest had flushed is there, no mount and no lock is in the way.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

ours() { # rondo's processes and qemu of this test, but neither the server nor this script
	local environment process
	for environment in $(grep -lzxF "TMPDIR=$TMPDIR" /proc/[0-9]*/environ 2>/dev/null); do
		process=${environment#/proc/}
		process=${process%/environ}
		[ "$process" != "$server" ] || continue
		case $(readlink "/proc/$process/exe") in
		"$(realpath "$BUILD")"/rondo | "$(realpath "$BUILD")"/rondo-cloop | "$(realpath "$BUILD")"/rondo-overlay | */qemu-system-x86_64 | */passt*) echo "$process" ;;
		esac
	done
}

for round in 1 2 3; do
	rondo run "$url/tiny" --net none --append "$(guest_command "echo round-$round >>/root/mark; sync; echo flushed-$round; sleep 600")" \
		>"$TMPDIR/run.out" 2>"$TMPDIR/run.err" &
	shell=$!
	ok "round $round: the guest has written and flushed" wait_until 100 grep -q "flushed-$round" "$TMPDIR/run.out"
	processes=$(ours)
	ok "several processes are killed at once" test "$(wc -w <<<"$processes")" -ge 4
	# shellcheck disable=SC2086
	kill -KILL $processes
	wait "$shell"
	# Its lock goes with the last of them: a killed process takes a moment to be gone.
	ok "the machine is seen to be stopped" wait_until 30 machine_is tiny stopped
done
run_rondo run "$url/tiny" --net none --append "$(guest_command 'cat /root/mark; poweroff')" --timeout 120
status_is 0 "the machine runs again"
like "$(tr -d '\r' <<<"$out")" $'round-1\nround-2\nround-3' "and has everything that was flushed"
done_testing
