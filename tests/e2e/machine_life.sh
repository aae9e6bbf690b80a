#!/bin/bash
# A machine's life around its guest: its start and its failures, its end and its exit code, whoever stops or kills what, and when.
# time-limit: 600
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq passt qemu-system-x86_64
need_fuse
publish_fake 1 2
fake=$url/fake

# Starting and ending.
run_rondo run "$fake" --ephemeral --net none --append 'print=hello%0a exit=0'
status_is 0 "a machine runs to its end"
like "$out" hello "and its console is shown"
ok "nothing of it is left" wait_until 5 no_machine_left
run_rondo run "$fake" --ephemeral --net none --append 'exit=3'
status_is 1 "an engine that fails is exit code 1"
like "$err" "engine qemu ended by exit code 3" "and how is said"
run_rondo run "$fake" --net none --append 'refuse=no%20room'
status_is 1 "an engine that does not start is exit code 1"
like "$err" "did not start: no room" "and why is said"
ok "a machine that did not start leaves nothing" wait_until 5 no_machine_left
# Two that take their time, meanwhile.
rondo run "$fake" --ephemeral --net none --append deaf --timeout 1 >"$TMPDIR/deaf.out" 2>&1 &
deaf=$!
rondo run "$fake" --ephemeral --net none --append 'lines=200000 exit=0' 2>/dev/null | (sleep 9; cat) >"$TMPDIR/slower.out" &
slower=$!
run_rondo run "$fake" --ephemeral --net none --append 'lines=100000 exit=0'
is "$(tail -n 1 "$TMPDIR/run.out" | tr -d '\r')" "$(printf '%062d' 99999)" "the console is shown to its end"
is "$(wc -c <"$TMPDIR/run.out")" 6400000 "and in full"
rondo run "$fake" --ephemeral --net none --append 'lines=20000 exit=0' 2>/dev/null | (sleep 2; cat) >"$TMPDIR/slow.out"
is "$(wc -c <"$TMPDIR/slow.out")" 1280000 "also to a slow reader"
rondo run "$fake" --ephemeral --net none --append 'lines=200000 exit=0' 2>/dev/null | (sleep 1; cat) >"$TMPDIR/slow.out"
is "$(wc -c <"$TMPDIR/slow.out")" 12800000 "of much"
run_rondo run "$fake" --ephemeral --net none --append 'print=%1b[1mlo%1b[mgin:' --until 'login:' --timeout 60
status_is 0 "--until sees through control sequences"
run_rondo run "$fake" --ephemeral --net none --append 'print=hello%0a exit=0' --until 'never shown' --timeout 60
status_is 1 "a guest that ends before what --until waits for is exit code 1"
run_rondo run "$fake" --ephemeral --net none --timeout 1
status_is 12 "a time limit alone is exit code 12"
like "$err" "did not (end within 1 second|start)" "and its own message"
wait "$deaf"
is "$?" 12 "an engine that does not end when told is ended" || diag_file "$TMPDIR/deaf.out"
wait "$slower"
is "$(tail -n 1 "$TMPDIR/slower.out" | tr -d '\r')" "$(printf '%062d' 199999)" "to one that stops reading, the end is shown"
# On a machine that is busy otherwise, there may be no time for so much.
ok "and if something is missing, that is said" eval '[ "$(wc -c <"$TMPDIR/slower.out")" -eq 12800000 ] || grep -aq "rondo: [0-9]* bytes were skipped" "$TMPDIR/slower.out"'
ok "and nothing of it is left" wait_until 5 no_machine_left

# A rondo-cloop that is killed as it starts.
mkdir "$TMPDIR/real"
mv "$BUILD/rondo-cloop" "$TMPDIR/real/"
cat >"$BUILD/rondo-cloop" <<END
#!/bin/sh
echo start >>"$TMPDIR/cloop.starts"
[ "\$(wc -l <"$TMPDIR/cloop.starts")" -gt "\$(cat "$TMPDIR/cloop.deaths")" ] || kill -KILL \$\$
exec "$TMPDIR/real/rondo-cloop" "\$@"
END
chmod +x "$BUILD/rondo-cloop"
for deaths in 2 99; do
	for pid in $(cloop_pid; BUILD=$TMPDIR/real cloop_pid); do kill -KILL "$pid"; done
	echo "$deaths" >"$TMPDIR/cloop.deaths"
	rm -f "$TMPDIR/cloop.starts"
	run_rondo run "$fake" --ephemeral --net none --append exit=0
	[ "$deaths" = 2 ] && status_is 0 "a rondo-cloop killed as it starts is started again"
	[ "$deaths" = 99 ] && status_is 1 "but not for ever"
done
like "$err" "rondo-cloop did not start; .*cloop.log may say why" "and the message says where to look"
mv -f "$TMPDIR/real/rondo-cloop" "$BUILD/"

# Versions: a machine keeps its own.
run_rondo run "$fake:1" --net none --append exit=0
status_is 0 "a machine of version 1"
run_rondo run "$fake" --net none --append exit=0
like "$err" "fake 1 as machine fake" "is resumed as it is, though there is a version 2"
run_rondo run "$fake:1" --net none --append exit=0
status_is 0 "by its own version, too"
run_rondo run "$fake:2" --net none --append exit=0
status_is 10 "but not as version 2"
like "$err" "another --name" "and the message says what to do"
run_rondo run "$fake" --net none --require-fresh --append exit=0
like "$err" "fake 1 as machine fake" "nor does --require-fresh change it"
run_rondo run "$fake#$(rondo key show "$TMPDIR/key")" --net none --append exit=0
status_is 0 "it runs with its site's key in the address"
rondo key new "$TMPDIR/other" >/dev/null 2>&1
run_rondo run "$fake#$(rondo key show "$TMPDIR/other")" --net none --append exit=0
status_is 5 "but not with another key"
run_rondo rm fake
status_is 0 "it is removed"

# What a detached machine keeps open.
marker=$TMPDIR/marker
result=$(exec 9>"$marker" 8> >(cat >"$TMPDIR/pipe.out"; echo closed >"$TMPDIR/pipe.closed"); timeout 20 rondo run "$fake" --net none --detach --append echo 2>&1)
is "$?" 0 "a machine is started in a command substitution"
like "$result" $'\nfake$' "which gets its name"
not_ok "no process of it keeps our caller's descriptors" eval 'find /proc/[0-9]*/fd -lname "$marker" 2>/dev/null | grep -q .'
ok "so that nobody waits for their end" wait_until 5 test -f "$TMPDIR/pipe.closed"
(sleep 1; echo typed; exec sleep 3) | timeout --signal=INT 3 rondo console fake >"$TMPDIR/console.out" 2>"$TMPDIR/console.err"
like "$(cat "$TMPDIR/console.out")" typed "its console can be typed into"
is "$(machine_state fake)" running "a signal leaves the console, not the machine"
like "$(cat "$TMPDIR/console.err")" "rondo console fake" "and the message says how to come back"

# At once.
run_rondo rm fake
status_is 10 "what runs is not removed"
for n in 1 2 3 4; do
	rondo stop fake >/dev/null 2>"$TMPDIR/stop.$n" &
	stops[n]=$!
done
codes=
for n in 1 2 3 4; do
	wait "${stops[n]}"
	codes+=$?
done
like "$codes" '^[03]+$' "four commands stop it at once: each finds it stopped"
is "$(machine_state fake)" stopped "and it is"
run_rondo rm fake
for n in 1 2 3 4 5; do
	rondo run "$fake" --net none --detach >/dev/null 2>"$TMPDIR/start.$n" &
	starts[n]=$!
done
started=0 busy=0
for n in 1 2 3 4 5; do
	wait "${starts[n]}"
	case $? in 0) started=$((started + 1)) ;; 10) busy=$((busy + 1)) ;; esac
done
is "$started started, $busy busy" "1 started, 4 busy" "five commands start a machine at once: one does"

# Killed.
supervisor=$(for process in $(our_processes); do [ "$(readlink "/proc/$process/exe")" = "$(realpath "$BUILD/rondo")" ] && echo "$process"; done)
kill -KILL "$supervisor"
ok "its supervisor is killed: all of it ends" wait_until 10 eval '[ -z "$(our_processes)" ]'
is "$(machine_state fake)" stopped "and it counts as stopped"
run_rondo run "$fake" --net none --detach --append 'write=kept'
status_is 0 "it runs again"
ok "and writes" wait_until 20 grep -q written "$RONDO_HOME/instances/fake/console.log"
run_rondo stop fake
is "$(head -c 4 "$RONDO_HOME/instances/fake/disk.data")" kept "what was written is there"
rondo run "$fake" --net none --append print=up >"$TMPDIR/owner.out" 2>&1 &
owner=$!
ok "a machine with an owner" wait_until 20 grep -q up "$TMPDIR/owner.out"
kill -KILL "$owner"
wait "$owner" 2>/dev/null
ok "ends with it" wait_until 10 eval '[ "$(machine_state fake)" = stopped ]'
run_rondo rm fake
for n in 1 2; do
	rondo run "$fake" --name passing --ephemeral --net none --append print=up >"$TMPDIR/passing.out" 2>&1 &
	owner=$!
	ok "an ephemeral machine runs ($n)" wait_until 20 grep -q up "$TMPDIR/passing.out"
	# shellcheck disable=SC2046
	kill -KILL $(our_processes) 2>/dev/null
	wait "$owner" 2>/dev/null
done
ok "killed, it is no machine any more" wait_until 5 no_machine_left

# Cancelled while it starts.
rondo run "$fake" --net none --append mute >"$TMPDIR/mute.out" 2>&1 &
owner=$!
ok "a machine that does not come up" wait_until 20 eval '[ "$(machine_state fake)" = starting ]'
kill -INT "$owner"
kill -TERM "$owner"
wait "$owner"
is "$?" 11 "is cancelled: exit code 11"
ok "and has left nothing" wait_until 5 no_machine_left
rondo run "$fake" --net none --detach --append mute >"$TMPDIR/mute.out" 2>&1 &
owner=$!
ok "another one" wait_until 20 eval '[ "$(machine_state fake)" = starting ]'
run_rondo stop fake
status_is 0 "is stopped from elsewhere"
wait "$owner"
is "$?" 11 "whoever started it is told"
ok "and nothing is left" wait_until 5 no_machine_left
rondo run "$fake" --net none --detach --append mute >"$TMPDIR/mute.out" 2>&1 &
owner=$!
wait_until 20 eval '[ "$(machine_state fake)" = starting ]'
kill -KILL "$owner"
wait "$owner" 2>/dev/null
ok "whoever starts it is killed: nothing is left" wait_until 10 no_machine_left

run_rondo run "$fake" --net none --append mute --timeout 2
status_is 12 "a time limit includes the start"
ok "and nothing is left" wait_until 5 no_machine_left

# Parts that are killed.
part() { # NAME: the process of that name among ours, but not the one beside it that only unmounts
	for process in $(our_processes); do
		[ "$(cat "/proc/$process/comm" 2>/dev/null)" != rondo-unmount ] || continue
		case $({ tr '\0' ' ' <"/proc/$process/cmdline"; } 2>/dev/null) in *"$1 "*) echo "$process" ;; esac
	done
}
part_is_there() {
	[ -n "$(part "$1")" ]
}
kill_part() { # NAME: as soon as it is there and the guest is up
	wait_until 60 grep -q up "$TMPDIR/parts.out"
	wait_until 60 part_is_there "$1"
	kill -KILL "$(part "$1")" || bail_out "there is no $1 to kill"
	: >"$TMPDIR/parts.out" # the next one is not up yet
}
rondo run "$fake" --append print=up >"$TMPDIR/parts.out" 2>"$TMPDIR/parts.err" &
owner=$!
ok "a machine with a network" wait_until 60 grep -q up "$TMPDIR/parts.out"
kill_part passt
ok "passt is killed: that is said" wait_until 10 grep -q "fake has no network any more" "$TMPDIR/parts.err"
is "$(machine_state fake)" running "and the machine runs on"
kill -TERM "$owner"
wait "$owner"
is "$?" 11 "until its owner is told to end"
rondo run "$fake" --net none --append print=up >"$TMPDIR/parts.out" 2>"$TMPDIR/parts.err" &
owner=$!
kill_part rondo-overlay
wait "$owner"
is "$?" 1 "rondo-overlay is killed: exit code 1"
like "$(cat "$TMPDIR/parts.err")" "the disk of fake is gone" "and why is said"
rondo run "$fake" --net none --append print=up >"$TMPDIR/parts.out" 2>"$TMPDIR/parts.err" &
owner=$!
kill_part qemu-system-x86_64
wait "$owner"
is "$?" 1 "the engine is killed: exit code 1"
like "$(cat "$TMPDIR/parts.err")" "engine qemu ended by signal 9" "and how is said"
run_rondo rm fake
ok "nothing is left" wait_until 5 no_machine_left

# Scarcity.
run bash -c 'ulimit -n 64; exec rondo run "$1" --ephemeral --append "print=up exit=0"' - "$fake"
status_is 0 "64 descriptors are enough"
exec 7<>"/dev/tcp/127.0.0.1/$port"
run_rondo run "$fake" --ephemeral --port "$port:80"
status_is 10 "a port that is taken is exit code 10"
exec 7>&-
run_rondo run "$fake" --ephemeral --append exit=0 0<&- 1>&-
ok "a machine with closed standard streams leaves nothing" wait_until 5 no_machine_left
done_testing
