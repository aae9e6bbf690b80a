#!/bin/bash
# T14: the server goes away while machines run: what is cached is read on, a miss waits and the machine is paused with a message, then goes on
# by itself when the server is back; with --on-outage error the guest gets the error instead, for that request alone.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 14
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 2" >"$XDG_CONFIG_HOME/rondo/config"

# One MiB behind the file system, and the hash that it should have. Those that are read are farther apart than is read ahead.
piece() {
	dd if="$appliance_disk" bs=1M skip="$1" count=1 status=none | sha256sum | cut -d ' ' -f 1
}
# Direct, so that the guest's own cache does not answer.
script='piece() { dd if=/dev/vda iflag=direct bs=64k skip=$(($1 * 16)) count=16 2>/run/dd | sha256sum; grep error /run/dd; }
echo first $(piece 32); read line
echo again $(piece 32); echo missing $(piece '
start_guest patient "$url/tiny" "$script 36); read line; piece 44" --net none
start_guest hasty "$url/tiny" "$script 40); echo known \$(piece 32); read line; echo back \$(piece 40); poweroff -f" --net none --on-outage error
ok "a machine has read a piece of its disk" guest_shows patient "first $(piece 32)"
ok "and so has one with --on-outage error" guest_shows hasty "first $(piece 32)"

stop_process "$server"
started=$SECONDS
tell_guest patient
ok "the server is gone: what was read is read again" guest_shows patient "again $(piece 32)"
ok "what was not pauses the machine" rondo_says patient "patient is paused: the base disk"
ok "after the time that was configured" [ $((SECONDS - started)) -le 5 ]
tell_guest hasty
is "$(machine_state patient)" paused "ps says that it is paused"
like "$(machine_reason patient)" "(could not be read|has not answered for 2 seconds) at offset 3[0-9]+.*cloop.log" "and why, and where more is said"
run_rondo ps
like "$out" "patient +paused .*the base disk" "also to people"
ok "rondo-cloop's log names the server" grep -q "127.0.0.1:$port" "$RONDO_RUNTIME/cloop.log"

ok "with --on-outage error: what was read is read again" guest_shows hasty "again $(piece 32)"
ok "and what was not is an I/O error" guest_shows hasty "missing [0-9a-f]+ - dd: .*(I/O|Input/output) error"
ok "after which the rest is still right" guest_shows hasty "known $(piece 32)"
is "$(machine_state hasty)" running "and the machine runs on"
not_ok "the paused one shows nothing" grep -q missing "$TMPDIR/patient.console"

# Whoever else asks is told, and nothing that is known changes.
requests=/dev/null # nobody is there to be asked
withstands "T14 network loss: pull" 4 "127\.0\.0\.1:$port.*(connect|refused)" '' rondo pull "$url/tiny"
withstands "T14 network loss: pull of a site that was never seen" 4 '127\.0\.0\.1:1/' '' rondo pull http://127.0.0.1:1/never/seen
withstands "T14 network loss: inspect goes on with what is known" 0 "" '' rondo inspect "$url/tiny"

start_process server rondo-server --listen "127.0.0.1:$port" --log "$access" "$TMPDIR/site"
server=$process
wait_for_port "$port"
ok "the server is back: the paused machine goes on by itself" rondo_says patient "patient goes on" 10
ok "and reads what was missing, right" guest_shows patient "missing $(piece 36)"
tell_guest hasty
ok "the other one, too, reads it now" guest_shows hasty "back $(piece 40)"
end_guest hasty
is "$status" 0 "the machine that saw errors ends well"

stop_process "$server"
tell_guest patient
ok "another outage pauses it again" rondo_says patient "paused: .*offset 4[67][0-9]{6}"
started=$SECONDS
run_rondo stop patient --timeout 1
status_is 0 "a paused machine can be stopped"
is "$(machine_state patient)" stopped "and is"
ok "soon" [ $((SECONDS - started)) -le 8 ]
is "$(grep -c 'is paused' "$TMPDIR/patient.said")" 2 "each pause was said once"
done_testing
