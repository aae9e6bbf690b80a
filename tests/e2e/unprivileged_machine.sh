#!/bin/bash
# An ordinary user runs machines: started, listed, stopped, killed with everything and started again; nothing of them is left.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
. "$ROOT/tests/users.sh"
need python3 jq passt qemu-system-x86_64 pgrep
need_fuse
need_users
cp "$TMPDIR/bin/qemu-system-x86_64" "$user/bin/"
publish_fake

cat >"$TMPDIR/session" <<'END'
export RONDO_HOME=$HOME/home RONDO_CACHE=$HOME/cache RONDO_RUNTIME=$HOME/run
url=$1
mkdir steps
step() { # NAME COMMAND…: writes its exit code to steps/NAME, and what it says to steps/NAME.log
	local name=$1
	shift
	"$@" >"steps/$name.log" 2>&1
	echo $? >"steps/$name"
}
step run rondo run "$url/fake" --ephemeral --append 'print=hello%0a exit=0'
step detach rondo run "$url/fake" --detach --append 'write=kept'
step ps rondo ps
sleep 1
grep " $HOME/run/" /proc/self/mountinfo >steps/mountinfo
step stop rondo stop fake
grep " $HOME/run/instances/" /proc/self/mountinfo >steps/mountinfo.after
step again rondo run "$url/fake" --detach --append print=up
everything=$(pgrep -u "$(id -u)" 'rondo|python3|passt')
kill -STOP $everything # so that none sees the others die
kill -KILL $everything
sleep 0.5
grep " $HOME/run/instances/" /proc/self/mountinfo >steps/mountinfo.killed
step revived rondo run "$url/fake" --append 'print=up exit=0'
step rm rondo rm fake
grep " $HOME/run/instances/" /proc/self/mountinfo >steps/mountinfo.removed
ls -A home/instances >steps/instances
END
run as_user nobody bash "$TMPDIR/session" "$url"
status_is 0 "the session of an ordinary user" || diag_file "$TMPDIR/run.err"
step() { # NAME CODE WHAT
	is "$(cat "$user/steps/$1" 2>/dev/null)" "$2" "$3" || diag_file "$user/steps/$1.log"
}
step run 0 "a machine runs to its end"
like "$(cat "$user/steps/run.log")" "hello" "and shows its console"
step detach 0 "another one is detached"
like "$(cat "$user/steps/ps.log")" "fake +running" "it is listed"
like "$(cat "$user/steps/mountinfo")" "run/instances/fake/disk .*user_id=65534" "its disk is mounted, as the user's"
step stop 0 "it is stopped"
is "$(cat "$user/steps/mountinfo.after")" "" "and nothing is mounted any more"
step again 0 "it runs again"
like "$(cat "$user/steps/mountinfo.killed")" "run/instances/fake/disk" "killed with everything, it leaves a mount"
step revived 0 "but that is in nobody's way"
step rm 0 "it is removed"
is "$(cat "$user/steps/mountinfo.removed")$(cat "$user/steps/instances")" "" "nothing is left"
done_testing
