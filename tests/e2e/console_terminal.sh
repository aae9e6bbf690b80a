#!/bin/bash
# The console on a terminal: what is typed goes to the guest, Ctrl-] leaves, a terminal that goes away does no harm, and the terminal's
# modes are restored however it ends.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq qemu-system-x86_64
need_fuse
publish_fake

terminal() { # SCRIPT COMMAND…
	printf '%s\n' "$1" >"$TMPDIR/script"
	shift
	run python3 "$ROOT/tests/e2e/console_terminal.py" "$TMPDIR/script" "$@"
}

terminal $'wait guest-is-here\ntype hello\\r\nwait hello\ntype \\x03\nwait \\x03\ntype \\x1d\nend' rondo run "$url/fake" --net none --append 'print=guest-is-here echo'
like "$out" "attached to fake; Ctrl-\] leaves" "how to leave is said"
like "$out" "hello" "what is typed reaches the guest"
like "$out" $'\x03' "and so does Ctrl-C, which is no signal here"
like "$out" "exit 0" "Ctrl-] leaves with 0"
like "$out" "rondo console fake" "and says how to come back"
like "$out" "modes restored" "the terminal is as it was"
is "$(machine_state fake)" running "the machine runs on"

terminal $'wait guest-is-here\nsignal TERM\nend' rondo console fake
like "$out" "exit 0" "a signal ends rondo console"
like "$out" "modes restored" "with the terminal as it was"
is "$(machine_state fake)" running "the machine runs on"
terminal $'wait guest-is-here\nhangup\nend' rondo console fake
is "$(machine_state fake)" running "also when the terminal goes away"
terminal $'wait guest-is-here\nsignal KILL\nend' rondo console fake
is "$(machine_state fake)" running "and when the command is killed"

(sleep 2; exec rondo stop fake) >"$TMPDIR/stop.out" 2>&1 &
stopping=$!
terminal $'wait guest-is-here\nend' rondo console fake
wait "$stopping"
like "$out" "fake is off" "the machine's end ends rondo console, which says so"
like "$out" "exit 0" "with its exit code"
like "$out" "modes restored" "with the terminal as it was"

terminal $'wait guest-is-here\nhangup\nend' rondo run "$url/fake" --net none --append 'print=guest-is-here echo'
ok "a terminal that goes away does not take the machine with it" eval '[ "$(machine_state fake)" = running ]'
run_rondo stop fake
terminal $'wait guest-is-here\nsignal TERM\nend' rondo run "$url/fake" --net none --append 'print=guest-is-here echo'
like "$out" "exit 11" "SIGTERM switches the machine of rondo run off: exit code 11"
like "$out" "modes restored" "with the terminal as it was"
is "$(machine_state fake)" stopped "it is stopped"
terminal $'wait starting fake\ntype \\x03\nend' rondo run "$url/fake" --net none --append mute
like "$out" "exit 11" "Ctrl-C while it starts cancels: exit code 11"
like "$out" "modes restored" "with the terminal as it was"
is "$(machine_state fake)" stopped "it is stopped"
done_testing
