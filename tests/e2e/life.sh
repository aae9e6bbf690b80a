#!/bin/bash
# time-limit: 300
# The verbs of a machine's life, start, pause, resume and logs; what is said of it when any of its processes was killed; and its base,
# which is fetched while it runs until it needs its site no more.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq passt qemu-system-x86_64 script
need_fuse
publish_fake 1
fake=$url/fake

machine_base() {
	rondo ps --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .base'
}

base_is() {
	[ "$(machine_base "$1")" = "$2" ]
}

end_cloop() { # RUNTIME
	local process
	for process in $(cloop_pid); do
		grep -qzxF "RONDO_RUNTIME=$1" "/proc/$process/environ" && kill "$process"
	done
	ok "and rondo-cloop ends when it is told to" wait_until 10 eval '! grep -q " $1/" /proc/self/mountinfo'
}

pins() {
	find "$RONDO_CACHE/pins" -type f | wc -l
}

# start.
run_rondo start fake
status_is 3 "a machine that is not there cannot be started: exit code 3"
like "$err" "rondo ps lists" "and the message says where to look"
run_rondo start "no such/name"
status_is 2 "nor one that cannot be"
run_rondo start "$(printf 'a%.0s' $(seq 200))"
status_is 2 "however long its name"
run_rondo run "$fake" --net none --no-keep --append 'read=0,4096 print=first%0a exit=0'
status_is 0 "a machine is made"
run_rondo start fake --net none --no-keep --append 'print=second%0a exit=0'
status_is 0 "and started again by its name alone"
like "$out" second "attached to its console"
run_rondo start fake --net none --no-keep --append 'print=seen' --until 'se[e]n' --timeout 60
status_is 0 "until its console shows what was waited for"
run_rondo start fake --ephemeral
status_is 2 "what is for new machines is not for this one"
run_rondo start fake --detach --timeout 3
like "$err" "usage: rondo start" "and messages name the verb"
is "$(machine_base fake)" "needs site" "what was not fetched is missed"
run_rondo inspect fake --json
is "$(jq -r .base <<<"$out")" "needs site" "says inspect, too"
stored=$(jq -r .base_stored <<<"$out")
ok "and how much of it" test "$(jq -r .base_missing <<<"$out")" -gt 0 -a "$(jq -r .base_missing <<<"$out")" -lt "$stored"
stop_process "$server"
run_rondo start fake --offline --net none --append 'print=up exit=0'
run_rondo ps
like "$out" "fake +stopped +fake:1 +[^ ]+ [KM]?i?B +needs site" "nor does a run without its site change that"
start_process server rondo-server --listen "127.0.0.1:$port" --log "$access" "$TMPDIR/site"
server=$process
wait_for_port "$port"

# The rest of its base.
run_rondo start fake --detach --net none --append 'print=up'
status_is 0 "with its site"
ok "the rest is fetched while it runs" wait_until 30 base_is fake complete
is "$(pins)" 1 "and pinned"
run_rondo inspect fake
like "$out" $'base +complete' "says inspect"
run_rondo ls
unlike "$out" fake "what a machine needs was not pulled"
run_rondo stop fake --timeout 0
is "$status $(machine_state fake)" "0 stopped" "stopped at once"
unlike "$err" "did not shut down within" "as was asked for"
before=$(wc -l <"$access")
for name in two three; do
	run_rondo run "$fake" --name $name --detach --net none --append 'print=up'
	status_is 0 "machine $name, from the same base"
done
run_rondo start fake --detach --net none --append 'print=up'
is "$(rondo ps --json | jq -c '[.[] | [.name, .state, .base]]')" \
	'[["fake","running","complete"],["three","running","complete"],["two","running","complete"]]' "all three run at once"
is "$(($(wc -l <"$access") - before))" 0 "and have fetched nothing"
is "$(cloop_pid | wc -l)" 1 "one rondo-cloop serves them"
run_rondo start fake
status_is 10 "what runs cannot be started: exit code 10"
like "$err" "rondo console fake" "and the message says how to come to it"

# pause and resume.
run_rondo resume two
status_is 0 "what is not paused can be resumed"
like "$err" "two is not paused" "and that is said"
run_rondo pause two
status_is 0 "a machine is paused"
is "$(machine_state two) $(machine_reason two)" "paused by rondo pause" "which ps says, and why"
run_rondo pause two
status_is 0 "once more"
like "$err" "two is paused already" "and that is said"
is "$(machine_state three)" running "the others run on"
run_rondo resume two
is "$status $(machine_state two)" "0 running" "it is resumed"
run_rondo pause two
run_rondo stop two --timeout 5
is "$status $(machine_state two)" "0 stopped" "a paused machine can be stopped"
run_rondo start two --net none --detach --append 'print=up nobutton'
rondo stop two --timeout 3 2>"$TMPDIR/stop.err" &
stopping=$!
ok "one that is being stopped" wait_until 10 machine_is two stopping
run_rondo pause two
status_is 10 "is not paused any more: exit code 10"
like "$err" "two is being stopped" "and why is said"
wait "$stopping"
is "$(cat "$TMPDIR/stop.err")" "rondo: two did not shut down within 3 s, and is switched off" "who stopped it is told how it ended"
for verb in pause resume stop; do
	run_rondo $verb two
	status_is 3 "then $verb is exit code 3"
	like "$err" "two is not running; rondo start two" "and the message says how to start it"
done
run_rondo pause nobody
status_is 3 "nobody is paused: exit code 3"
rondo start two --net none --append mute >/dev/null 2>&1 &
starting=$!
ok "one that is only starting" wait_until 10 machine_is two starting
run_rondo pause two
is "$status $(machine_reason two)" "0 by rondo pause" "will be paused"
run_rondo resume two
is "$status$err$(machine_reason two)" 0 "or will not"
run_rondo stop two
wait "$starting"

# Its lock is held, and nobody listens.
start_process holder python3 -c 'import fcntl, signal, struct, sys
lock = open(sys.argv[1], "r+")
fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
signal.pause()' "$RONDO_HOME/instances/two/lock"
ok "a machine that another command is changing" wait_until 10 machine_is two busy
run_rondo inspect two --json
is "$status $(jq -r .state <<<"$out")" "0 busy" "is inspected"
for verb in pause resume console snapshot; do
	run_rondo $verb two
	status_is 10 "$verb is exit code 10"
	like "$err" "another command is changing it; give the command again" "and the message says why"
done
stop_process "$process"

# A machine of the same name in another home, over the same cache, and with the same runtime folder.
other() {
	RONDO_HOME="$TMPDIR/an other, home" rondo "$@"
}
mkdir "$TMPDIR/an other, home"
run other run "$fake" --name three --detach --net none --append print=up
status_is 10 "a machine of another home has the name of one that runs: it is not started"
like "$err" "a machine three of another home is running.*set RONDO_RUNTIME" "and the message says what to do"
is "$(machine_state three) $(other ps --json)" "running []" "the one that runs does so, and nothing is left of the other"
RONDO_RUNTIME=$TMPDIR/other.runtime run other run "$fake" --name three --net none --append exit=0
status_is 0 "with another runtime folder it is"
end_cloop "$TMPDIR/other.runtime"
for verb in pause stop console; do
	run other $verb three
	status_is 3 "$verb is not for the one that runs: exit code 3"
done
ok "gc of the other home" other gc
ok "and the removal of its machine" other rm three
touch -d '2 minutes ago' "$RONDO_RUNTIME/instances/three" "$RONDO_RUNTIME/instances/fake"
ok "and gc once more" other gc
is "$(machine_state three) $(machine_reason three)" "running " "do nothing to the one that runs"
run_rondo snapshot three
is "$status $out" "0 1" "which has its disk"

# Killed.
supervisor_of() {
	local process
	for process in $(our_processes); do
		[ "$(readlink "/proc/$process/exe")" = "$(realpath "$BUILD/rondo")" ] &&
			find "/proc/$process/fd" -lname "$RONDO_HOME/instances/$1/lock" 2>/dev/null | grep -q . && echo "$process"
	done
}
kill -KILL "$(supervisor_of three)"
ok "a supervisor is killed: its machine is stopped" wait_until 10 machine_is three stopped
ok "its socket still lies there" test -S "$RONDO_RUNTIME/instances/three/control"
run_rondo pause three
status_is 3 "and is nobody's"
run_rondo start three --detach --net none --append 'print=up'
is "$status $(machine_state three)" "0 running" "nor does it keep the machine from starting"
kill -KILL "$(cloop_pid)"
is "$(rondo ps --json | jq -c '[.[] | [.name, .state, .base]]')" \
	'[["fake","running","complete"],["three","running","complete"],["two","stopped","complete"]]' "rondo-cloop is killed: nothing changes"
run_rondo rm three
status_is 10 "what runs cannot be removed"
engine=$(for process in $(our_processes); do
	case $({ tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null) in *qemu-system*instances/three/*) echo "$process" ;; esac
done)
kill -KILL "$engine"
ok "an engine is killed: its machine ends" wait_until 10 machine_is three stopped
run_rondo logs three --machine
like "$out" "ended by signal 9" "and its log says how"

# logs.
run_rondo logs nobody
status_is 3 "logs of no machine: exit code 3"
run_rondo logs three
is "$status $out" "0 up" "the console of the last run is shown when it is over"
run_rondo start two --net none --append 'print=%1b[31mred%1b[6n%0d%0a%c2%9b%07bell%0d%0a exit=0'
run_rondo logs two
like "$out" $'^\e\[31mred' "as it was, to a pipe"
script -qec "$BUILD/rondo logs two" /dev/null </dev/null >"$TMPDIR/terminal" 2>&1
is "$(tr -d '\r' <"$TMPDIR/terminal")" $'red\n\\xc2\\x9bbell' "as plain text, on a terminal"
truncate -s 16M "$RONDO_HOME/instances/two/console.log"
run_rondo logs two
like "$status $err" "0 .*the log ends here, as it is full; rondo console two" "where it is full, that is said"
rondo logs fake --follow >"$TMPDIR/followed" 2>&1 &
follower=$!
ok "the log of a machine that runs is followed" wait_until 10 grep -q up "$TMPDIR/followed"
ok "as long as it runs" kill -0 "$follower"
run_rondo stop fake --timeout 5
ok "and no longer" wait_until 10 eval '! kill -0 "$follower"'

# A disk that is nearly full keeps what is left for those who ask for it.
if [ "$(id -u)" = 0 ] && mkdir "$TMPDIR/small" && mount -t tmpfs -o size=64m tmpfs "$TMPDIR/small" 2>/dev/null; then
	at_exit 'umount -l "$TMPDIR/small"'
	small() {
		RONDO_CACHE=$TMPDIR/small RONDO_RUNTIME=$TMPDIR/small.runtime rondo "$@"
	}
	ok "a machine, its cache on a small disk" small run "$fake" --name small --detach --net none --append print=up
	ok "what it does not read is not fetched" wait_until 10 grep -q "not kept: the disk of the cache .* is nearly full" "$TMPDIR/small.runtime/cloop.log"
	like "$(small inspect small)" 'base +needs site' "so that it needs its site"
	small stop small --timeout 1
	ok "unless somebody asks for it" small start small --detach --keep --net none --append print=up
	small_is_complete() {
		small inspect small | grep -q 'base *complete'
	}
	ok "then it is" wait_until 10 small_is_complete
	small stop small --timeout 1
	ok "it is removed" small rm small
	end_cloop "$TMPDIR/small.runtime"
else
	skip "a disk that is nearly full" "only root can mount a small one"
fi

# What a machine has pinned goes with the machine.
for name in two three; do
	ok "$name is removed" rondo rm $name
	rondo gc --max-size 4K >/dev/null 2>&1
	is "$(pins)" 1 "what another one needs stays pinned"
done
ok "the last one is removed" rondo rm fake
rondo gc --max-size 4K >/dev/null 2>&1
is "$(pins)" 0 "what nobody needs is not"
run_rondo run "$fake" --name last --net none --no-keep --append 'print=up exit=0'
is "$(machine_base last)" "needs site" "a new machine needs its site again"
run_rondo start last --net none --keep --detach --append print=up
is_pulled() {
	rondo ls | grep -q fake
}
ok "with --keep it is the user's, as if pulled" wait_until 10 is_pulled
run_rondo stop last --timeout 1
ok "the machine is removed" rondo rm last
rondo gc --max-size 4K >/dev/null 2>&1
ok "what is the user's stays, whatever becomes of machines" is_pulled
run_rondo run "$fake" --ephemeral --offline --net none --append 'print=up exit=0'
status_is 0 "and runs without its site"
ok "nothing is left" wait_until 5 no_machine_left
done_testing
