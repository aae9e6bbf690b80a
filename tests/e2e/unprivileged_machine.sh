#!/bin/bash
# An ordinary user runs machines: started, listed, stopped, killed with everything and started again; nothing of them is left.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq passt qemu-system-x86_64 setpriv unshare mknod fusermount3 pgrep
need_fuse
[ "$(id -u)" = 0 ] || skip_all "not root, so that all tests are of an ordinary user"

# In a mount namespace of its own, with a /dev/fuse that everybody may open, as systems have it.
user=$TMPDIR/ordinary
mkdir -p "$user/bin"
cp "$BUILD"/rondo "$BUILD"/rondo-cloop "$BUILD"/rondo-overlay "$BUILD"/rondo-vmm "$TMPDIR/bin/qemu-system-x86_64" "$user/bin/"
chmod 755 "$TMPDIR" "$user/bin" "$user/bin"/*
chown 65534:65534 "$user"
mknod "$TMPDIR/fuse" c 10 229 && chmod 666 "$TMPDIR/fuse" || skip_all "no device node can be made"
run unshare -m sh -c 'mount --bind "$0" /dev/fuse && exec setpriv --reuid 65534 --regid 65534 --clear-groups test -w /dev/fuse -a -x "$1"' \
	"$TMPDIR/fuse" "$user/bin/rondo"
[ "$status" -eq 0 ] || skip_all "no mount namespace can be made in which another user opens /dev/fuse"
publish_fake

cat >"$TMPDIR/session" <<'END'
cd "$1" || exit 1
export HOME=$1 RONDO_HOME=$1/home RONDO_CACHE=$1/cache RONDO_RUNTIME=$1/run PATH=$1/bin:$PATH
url=$2
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
# The processes of this namespace end with it.
run unshare -m -p -f --mount-proc --kill-child sh -c 'mount --bind "$0" /dev/fuse && exec setpriv --reuid 65534 --regid 65534 --clear-groups bash "$1" "$2" "$3"' \
	"$TMPDIR/fuse" "$TMPDIR/session" "$user" "$url"
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
