#!/bin/bash
# A machine whose image has a newer version: it is told of it without asking anybody, and never moves by itself; `rondo update` keeps it,
# or replaces it as a whole.
# time-limit: 300
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq
need_fuse
publish_fake 1
fake=$url/fake
publish_next() { # VERSION [OPTION…]
	local version=$1
	shift
	printf '%s' "$version" | dd of="$TMPDIR/fake.disk" conv=notrunc status=none
	rondo publish --name fake --version "$version" --key "$TMPDIR/key" --to "$TMPDIR/site" --disk "$TMPDIR/fake.disk" \
		--kernel "$TMPDIR/fake.kernel" --memory 64M "$@" >"$TMPDIR/publish.out" 2>&1 || bail_out "publish fake $version"
}
of_ps() { # NAME KEY
	rondo ps --json | jq -r --arg name "$1" ".[] | select(.name == \$name) | .$2"
}
requests() {
	wc -l <"$access"
}
start() { # NAME [OPTION…]: runs it for a moment
	local name=$1
	shift
	run_rondo run "$fake" --name "$name" --net none --append exit=0 "$@"
}

start one --append 'write=mine exit=0'
status_is 0 "a machine of version 1, which has written"
unlike "$err" "rondo update" "nothing newer is known of"
run_rondo update one
is "$status $out" "0 machine one is up to date: fake:latest is 1" "it is up to date"
publish_next 2
is "$(of_ps one newer)" "" "what nobody has asked for is not known"
run_rondo ls "$url"
before=$(requests)
is "$(of_ps one newer) $(of_ps one version)" "2 1" "ps knows of the newer version"
run_rondo ps
like "$out" "one +stopped +fake:1 .*  2 is there" "and shows it"
run_rondo inspect one --json
is "$(jq -r '.newer_version, .newer_kept, .asked, .version' <<<"$out" | tr '\n' ' ')" "2 false latest 1 " "inspect, too"
is "$(requests)" "$before" "without asking for anything"
start one
status_is 0 "the machine runs"
like "$err" "fake 1 as machine one" "as it is"
like "$err" "fake:latest is 2 now; machine one stays with 1 \(rondo update one says" "and says what there is"
is "$(grep -c 'rondo update' <<<"$err")" 1 "in one line"
before=$(cat "$RONDO_HOME/instances/one/settings")

# The choices.
run_rondo update one
status_is 0 "update"
like "$out" "machine one is fake 1; fake:latest is 2, published 20" "says what there is"
like "$out" "rondo update one --keep .*rondo update one --discard .*\(.*, 0 snapshots\).*rondo commit one --name" "and what can be done"
run_rondo update one --json
is "$(jq -r '.version, .newer_version, .snapshots' <<<"$out" | tr '\n' ' ')" "1 2 0 " "--json"
is "$(cat "$RONDO_HOME/instances/one/settings")" "$before" "and changes nothing"

# Keep.
run_rondo update one --keep
status_is 0 "--keep"
start one
unlike "$err" "rondo update" "is not told of again"
is "$(rondo inspect one --json | jq -r '.newer_version, .newer_kept' | tr '\n' ' ')" "2 true " "inspect says so"
run_rondo ps
unlike "$out" "is there" "ps does not"
publish_next 3
run_rondo ls "$url"
start one
like "$err" "fake:latest is 3 now" "of the next version it is"
run_rondo start one --net none --append exit=0
like "$err" "fake:latest is 3 now" "by rondo start, too"

# Discard.
run_rondo snapshot one before
run_rondo snapshot one after
run_rondo update one
like "$out" "2 snapshots" "snapshots are counted"
cp "$RONDO_HOME/instances/one/console.log" "$TMPDIR/console.log"
run_rondo update one --discard
status_is 0 "--discard"
like "$err" "machine one is fake 3 now; what it wrote \(.*\) is gone, with 2 snapshots" "says what was lost"
is "$(of_ps one version) $(of_ps one newer) $(of_ps one snapshots)" "3  0" "it is the newer version"
ok "the log of its last run stays" cmp "$TMPDIR/console.log" "$RONDO_HOME/instances/one/console.log"
is "$(ls -A "$RONDO_HOME/instances")" one "nothing of the old one is left"
start one --append 'read=0,4096 exit=0'
status_is 0 "it runs"
like "$err" "fake 3 as machine one" "as that"
run_rondo update one --discard
is "$status $out" "0 machine one is up to date: fake:latest is 3" "once more: there is nothing to do"
for command in "update one --discard" gc; do # killed between the exchange and this, the old version would stay kept for nobody
	echo "owner $RONDO_HOME/instances/one" >"$RONDO_CACHE/pins/$(printf '%064d' 1)"
	run_rondo $command
	not_ok "rondo $command lets go of what it had kept before" test -e "$RONDO_CACHE/pins/$(printf '%064d' 1)"
done

echo damage >"$RONDO_HOME/instances/one/layers"
run_rondo fsck
is "$status" 5 "a damaged list of layers is found"
like "$out" "machine one: .*rondo rm one .*rondo update one --discard" "and what helps is said"
unlike "$out" "rollback" "which no snapshot does"
run_rondo update one --to 2
status_is 5 "the disk of a machine is damaged: exit code 5"
run_rondo update one --to 2 --discard
status_is 0 "but it can be given up"
start one --append 'read=0,4096 exit=0'
status_is 0 "and the machine runs again"
run_rondo update one --to latest --discard

# What cannot be done.
start_detached() {
	run_rondo run "$fake" --name "$1" --net none --detach
	[ "$status" -eq 0 ] || bail_out "machine $1 starts: $err"
}
publish_next 4
start_detached one
run_rondo update one --discard
status_is 10 "a machine that runs is not replaced"
like "$err" "rondo stop one" "and the message says how to stop it"
run_rondo update one
status_is 0 "but it can be asked about"
run_rondo update one --keep
status_is 0 "and kept"
run_rondo stop one
run_rondo update one --discard --keep
status_is 2 "--discard --keep: exit code 2"
run_rondo update none --discard
status_is 3 "no such machine: exit code 3"
run_rondo update one --to none --discard
status_is 3 "no such version: exit code 3"
run_rondo update one --to 'a b'
status_is 2 "a version that cannot be one: exit code 2"
is "$(of_ps one version)" 3 "and nothing has changed"
run_rondo update one --to 2 --discard
status_is 0 "--to an older version"
is "$(of_ps one version) $(of_ps one newer)" "2 " "which is named, and does not move"
start one
unlike "$err" "rondo update" "so that nothing is newer"
run_rondo update one
like "$out" "up to date: fake:2 is 2" "by its name"
run_rondo update one --to latest
like "$out" "rondo update one --to latest --discard " "the choices name --to"
stop_process "$server"
run_rondo update one --to latest --discard
status_is 4 "without its site: exit code 4"
is "$(of_ps one version)" 2 "and nothing has changed"
run_rondo update one --to 3 --discard --offline
status_is 0 "--offline, to a version that is known"
is "$(of_ps one version)" 3 "works"
start_process server rondo-server --listen "127.0.0.1:$port" --log "$access" "$TMPDIR/site"
server=$process
wait_for_port "$port"

# A larger disk, other memory: what was the image's own follows it; what was chosen stays.
run_rondo update one --to latest --discard
start two --memory 128M --disk-size 512K
head -c 300000 /dev/zero >>"$TMPDIR/fake.disk"
publish_next 5 --memory 96M
for name in one two; do
	run_rondo update $name --discard
	run_rondo inspect $name --json
	sizes+="$(jq -r '.version, .disk_bytes, .memory' <<<"$out" | tr '\n' ' ')"
done
is "$sizes" "5 565248 $((96 << 20)) 5 565248 $((128 << 20)) " "sizes"

# Killed at any moment, it is the old or the new one, whole.
old=0 new=0
for delay in 0 0.002 0.004 0.006 0.008 0.01 0.012 0.014 0.016 0.02 0.03 0.05; do
	from=$(of_ps one version)
	to=$((from == 5 ? 4 : 5))
	rondo update one --to "$to" --discard >/dev/null 2>&1 &
	sleep "$delay"
	kill -KILL $! 2>/dev/null
	wait $! 2>/dev/null
	now=$(of_ps one version)
	case $now in "$from") old=$((old + 1)) ;; "$to") new=$((new + 1)) ;; *) fail "killed after $delay s: it is version $now" ;; esac
	run_rondo run "$fake:$now" --name one --net none --append 'read=0,4096 exit=0'
	[ "$status" -eq 0 ] || fail "killed after $delay s, it does not run: $err"
	[ "$(ls -A "$RONDO_HOME/instances" | tr '\n' ' ')" = "one two " ] || fail "killed after $delay s, something is left"
done
pass "killed at any moment, it is the old one ($old times) or the new one ($new times)"
done_testing
