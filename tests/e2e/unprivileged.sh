#!/bin/bash
# An ordinary user can do everything: publish, serve, pull, mount, umount; and does not touch what is another user's.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/users.sh"
need python3 perl
need_fuse
need_users

make_disk "$user/disk" 6 1
chown 65534:65534 "$user/disk"
cat >"$TMPDIR/session" <<'END'
export RONDO_HOME=$HOME/home RONDO_CACHE=$HOME/cache RONDO_RUNTIME=$HOME/run
mkdir steps
step() { # NAME COMMAND…: writes its exit code to steps/NAME, and what it says to steps/NAME.log
	local name=$1
	shift
	"$@" >"steps/$name.log" 2>&1
	echo $? >"steps/$name"
}
step key rondo key new key
step publish rondo publish --name image --version 1 --disk disk --key key --to site
rondo serve site --listen 127.0.0.1:0 >server.log 2>&1 &
server=$!
for _ in $(seq 100); do
	grep -q '^listening on' server.log && break
	sleep 0.05
done
url=$(sed -n 's/^listening on //p' server.log)
step pull rondo pull "${url}image"
mkdir mounted foreign
step mount rondo mount "${url}image" mounted
step cmp cmp disk mounted/disk
cat /proc/self/mountinfo >mountinfo
step umount rondo umount mounted
step again rondo umount mounted
step foreign.umount rondo umount /dev/fuse
step system rondo publish --name image --version 1 --disk disk --key key --to /usr/site
kill "$server"
step offline rondo mount --offline "${url}image" mounted
step offline.cmp cmp disk mounted/disk
step offline.umount rondo umount mounted
END
run as_user nobody bash "$TMPDIR/session"
status_is 0 "the session of an ordinary user"
step() { # NAME CODE WHAT
	is "$(cat "$user/steps/$1" 2>/dev/null)" "$2" "$3" || diag_file "$user/steps/$1.log"
}
step key 0 "key new"
step publish 0 "publish"
step pull 0 "pull from rondo serve"
step mount 0 "mount"
step cmp 0 "the disk equals"
like "$(grep " $user/mounted " "$user/mountinfo")" 'fuse.*user_id=65534' "the mount is that user's"
unlike "$(grep " $user/mounted " "$user/mountinfo")" 'allow_other' "and nobody else's"
step umount 0 "umount"
step again 3 "umount of nothing: exit code 3"
unlike "$(cat "$user/steps/foreign.umount")" '^0$' "umount of what is not theirs is refused"
step system 9 "a site where they may not write: exit code 9"
step offline 0 "mount --offline"
step offline.cmp 0 "the disk equals"
step offline.umount 0 "umount"
is "$(stat -c %a "$user/home" "$user/cache" "$user/run" | sort -u)" 700 "folders are the user's alone"

# Another user's runtime folder, or one that others may write to, is refused: sockets pass there.
mkdir "$TMPDIR/mounted"
chown 65534 "$user/run"
RONDO_RUNTIME=$user/run run_rondo mount "$user/site/image" "$TMPDIR/mounted"
status_is 9 "another user's runtime folder: exit code 9"
like "$err" "$user/run" "and it is named"
mkdir "$TMPDIR/open"
chmod 777 "$TMPDIR/open"
RONDO_RUNTIME=$TMPDIR/open run_rondo mount "$user/site/image" "$TMPDIR/mounted"
status_is 9 "a runtime folder that others may write to: exit code 9"
ln -s "$TMPDIR/mounted" "$TMPDIR/link"
RONDO_RUNTIME=$TMPDIR/link run_rondo mount "$user/site/image" "$TMPDIR/mounted"
status_is 9 "a runtime folder that is a link: exit code 9"
done_testing
