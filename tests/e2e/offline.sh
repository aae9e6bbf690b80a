#!/bin/bash
# What was pulled is used without a network, and with --offline not even tried: no socket but local ones.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl strace
need_fuse

disk=$TMPDIR/disk
make_disk "$disk" 6 1
head -c 100001 "$disk" >"$TMPDIR/kernel"
must_publish image 1 "$disk" --kernel "$TMPDIR/kernel" --cmdline x
attack
server=$process
run_rondo pull "${url}image"
status_is 0 "pull"
must_publish image 2 "$TMPDIR/kernel"
run_rondo ls "$url"
status_is 0 "a later version is heard of"
rules
stop_process "$server"
"$BUILD/rondo" inspect "${url}image:2" >"$TMPDIR/patient.out" 2>"$TMPDIR/patient.err" & # tries for ten seconds; looked at below
patient=$!

traced() { # ARGUMENT…: rondo under strace; $sockets are those that are not local, with those of its daemons
	run strace -f -qq -e trace=socket,connect,sendto -o "$TMPDIR/strace" "$BUILD/rondo" "$@"
}
sockets() {
	grep -E 'AF_INET|AF_NETLINK|AF_PACKET' "$TMPDIR/strace"
}
traced inspect --offline --json "${url}image:1"
is "$status $(json version) $(json pulled)" "0 1 true" "inspect --offline"
is "$(sockets)" "" "makes no socket but local ones"
traced ls "$url" --offline --json
is "$status $(grep -c '"pulled": true' <<<"$out")" "0 1" "ls --offline"
is "$(sockets)" "" "makes no socket but local ones"
traced ls --json
is "$status $(grep -c '"pulled": true' <<<"$out")" "0 1" "ls without a site"
is "$(sockets)" "" "makes no socket but local ones"
traced inspect --offline "${url}image"
status_is 4 "a version that was not pulled: exit code 4"
like "$err" "rondo pull ${url}image:2" "and the next step"
is "$(sockets)" "" "makes no socket but local ones"
traced inspect --offline http://127.0.0.1:9/never
status_is 4 "a site that was never seen: exit code 4"
like "$err" 'was never seen' "and says so"
is "$(sockets)" "" "makes no socket but local ones"

mkdir "$TMPDIR/mounted"
at_exit 'fusermount3 -qu "$TMPDIR/mounted"'
start_process strace strace -f -qq -e trace=socket,connect,sendto -o "$TMPDIR/strace.mount" "$BUILD/rondo" mount --offline "${url}image:1" \
	"$TMPDIR/mounted"
wait_until 10 test -e "$TMPDIR/mounted/disk" || diag_file "$TMPDIR/strace.log"
ok "mount --offline: the disk" cmp "$disk" "$TMPDIR/mounted/disk"
ok "mount --offline: the kernel" cmp "$TMPDIR/kernel" "$TMPDIR/mounted/kernel"
run_rondo umount "$TMPDIR/mounted"
status_is 0 "umount"
wait "$process"
cp "$TMPDIR/strace.mount" "$TMPDIR/strace"
is "$(sockets)" "" "neither it nor its daemon makes a socket but local ones"

# Without --offline, but without a network: what is in the cache serves, with one line that says so.
run_rondo inspect "${url}image:1" --json
is "$status $(json version) $(json pulled)" "0 1 true" "inspect, while the server is down"
unlike "$err" $'\n' "one line of warning"
run_rondo pull "${url}image:1"
status_is 4 "pull, while the server is down: exit code 4"
wait "$patient"
is "$?" 4 "what is not in the cache: exit code 4"
like "$(cat "$TMPDIR/patient.err")" '127.0.0.1' "and the site is named"
done_testing
