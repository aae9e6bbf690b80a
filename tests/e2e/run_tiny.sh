#!/bin/bash
# time-limit: 600
# A small image boots from its URL; its machine is listed, stopped, resumed with what it wrote, and removed.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
disk=$(RONDO_TEST_QUIET=1 "$ROOT/tests/images.sh" tiny)/disk

run_rondo run "$url/tiny" --ephemeral --net none --until 'login:' --timeout 120
status_is 0 "run --until ends with 0 as soon as the console shows it"
like "$err" "first contact" "the key of the first contact is shown"
like "$err" "fetched .* in [0-9]+ requests" "the end says what was fetched"
run_rondo ps --json
is "$out" "[]" "an ephemeral machine leaves nothing"

run_rondo run "$url/tiny" --ephemeral --net none --until 'never shown' --timeout 3
status_is 12 "a time-out is exit code 12"
like "$err" 'did not show "never shown"' "and says what was waited for"

run_rondo run "$url/tiny" --ephemeral --net none --append "ro $(guest_command 'sha256sum /dev/vda; poweroff')" --timeout 120
status_is 0 "a guest that powers itself off is exit code 0"
like "$out" "$(sha256sum <"$disk" | cut -d ' ' -f 1)" "it has read its whole disk, and every byte of it is right"

run_rondo run "$url/tiny" --net none --append "$(guest_command 'echo kept >/root/mark; sync; poweroff')" --timeout 120
status_is 0 "a machine writes to its disk"
is "$(machine_state tiny)" stopped "it is listed as stopped"

run_rondo run "$url/tiny" --detach --net none
status_is 0 "it is started again, detached"
is "$out" tiny "its name is printed"
ok "it is listed as running" wait_until 10 eval '[ "$(machine_state tiny)" = running ]'
run_rondo run "$url/tiny" --net none
status_is 10 "a running machine is not started again"
like "$err" "rondo console tiny" "and the message says how to reach it"
run_rondo rm tiny
status_is 10 "a running machine is not removed"
run_rondo inspect tiny --json
is "$(jq -r .state <<<"$out")" running "inspect knows the machine"
like "$(jq -r .run_requests <<<"$out")" '^[0-9]+$' "and counts its requests"
shown() { # REGEX: waits until the console has shown it
	wait_until 60 grep -aqE "$1" "$TMPDIR/console.out"
}
: >"$TMPDIR/console.out"
(shown 'login: $'; printf 'root\n'; shown '# $'; printf 'cat /root/mark; echo mark-$((40 + 2))\n'; shown mark-42; : >"$TMPDIR/typed") |
	rondo console tiny >"$TMPDIR/console.out" 2>&1 &
console=$!
wait_until 200 test -e "$TMPDIR/typed"
kill -INT "$console"
wait "$console"
like "$(tr -d '\r\0' <"$TMPDIR/console.out")" "mark-42" "the console can be typed into"
like "$(cat "$TMPDIR/console.out")" "kept" "and the machine has what it wrote before"
is "$(machine_state tiny)" running "leaving the console leaves the machine running"
run_rondo stop tiny
status_is 0 "stop ends it"
is "$(machine_state tiny)" stopped "it is stopped"
run_rondo stop tiny
status_is 3 "a stopped machine cannot be stopped"
run_rondo rm tiny
status_is 0 "a stopped machine is removed"
run_rondo rm tiny
status_is 3 "there it is not any more"

if rondo-vmm --probe >/dev/null 2>"$TMPDIR/probe.err"; then
	run_rondo run "$url/tiny" --ephemeral --net none --engine kvm --append "$(guest_command 'echo mark-$((40 + 2)); poweroff')" --timeout 120
	status_is 0 "the kvm engine runs it, too"
	like "$out" mark-42 "to its end"
else
	run_rondo run "$url/tiny" --engine kvm
	status_is 9 "--engine kvm is exit code 9 where KVM cannot serve"
	like "$err" "$(sed -n 's/^rondo-vmm: error: \([^(;]*\).*/\1/p' "$TMPDIR/probe.err")" "and the reason is given"
fi
run_rondo run "$url/nothing"
status_is 3 "an unknown image is exit code 3"
run_rondo run "$url/tiny:7"
status_is 3 "an unknown version is exit code 3"
run_rondo run "$url/tiny" --frob
status_is 2 "an unknown option is exit code 2"
run_rondo run "$url/tiny" --until '('
status_is 2 "a bad pattern is exit code 2"
run_rondo run http://127.0.0.1:1/tiny
status_is 4 "no server is exit code 4"
run_rondo ps --json
is "$out" "[]" "failed commands leave no machine"

rondo run "$url/tiny" --net none >"$TMPDIR/interrupted.out" 2>"$TMPDIR/interrupted.err" &
running=$!
wait_until 20 grep -q . "$TMPDIR/interrupted.out"
kill -INT "$running" 2>/dev/null
kill -TERM "$running"
wait "$running"
is "$?" 11 "a signal switches the machine off: exit code 11"
ok "and its machine is stopped" wait_until 60 machine_is tiny stopped # the second signal ends the command at once
done_testing
