#!/bin/bash
# mount shows a version's members as files that equal what was published, over any server; umount takes them away.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/servers.sh"
need python3 perl nginx
need_fuse

disk=$TMPDIR/disk
make_disk "$disk" 24 1
truncate -s $((24 * 1048576 + 1234)) "$disk" # not a whole block at the end
head -c 300001 /dev/urandom >"$TMPDIR/kernel"
: >"$TMPDIR/empty"
must_publish image 1 "$disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/empty" --cmdline x
manifest=$out
chmod -R a+rX "$TMPDIR"
here=$TMPDIR/mounted

same() { # the members, one after the other, and read by four at once
	cmp "$disk" "$here/disk" && cmp "$TMPDIR/kernel" "$here/kernel" && cmp "$TMPDIR/empty" "$here/initrd" &&
		cmp "$site/objects/${manifest:0:2}/$manifest" "$here/manifest"
}
mount_from() { # WHAT ADDRESS
	forget
	mount_image "$2image"
	status_is 0 "$1: mount"
	is "$out" "" "$1: nothing on standard output"
	like "$err" "image 1 is mounted on $here" "$1: it says what is mounted where"
	ok "$1: the members are what was published" same
	unmount_image
	status_is 0 "$1: umount"
	is "$(ls "$here")" "" "$1: nothing is there any more"
}
start_process server "$BUILD/rondo" serve "$site" --listen 127.0.0.1:0 --log "$TMPDIR/access"
wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "rondo serve starts"
url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
mount_from "rondo serve" "$url"
start_nginx "$TMPDIR"
mount_from nginx "${nginx}site/"
start_python "$TMPDIR"
mount_from "a server that ignores ranges" "${python}site/"
mount_from "a folder" "$site/"

# Lazily: opening costs the manifest; the first byte its leaf and its chunk.
forget
: >"$TMPDIR/access"
mount_image "${url}image"
is "$(grep -c 'GET /objects/' "$TMPDIR/access")" 1 "mounting asks for the manifest alone"
head -c 1 "$here/disk" >/dev/null
sent=$(awk '$4 ~ /objects/ { sum += $6 } END { print sum }' "$TMPDIR/access")
ok "the first byte costs at most three requests more ($(grep -c 'GET /objects/' "$TMPDIR/access"))" [ "$(grep -c 'GET /objects/' "$TMPDIR/access")" -le 4 ]
ok "and little is sent ($sent bytes)" [ "$sent" -lt 1500000 ]

# As files.
is "$(stat -c '%a %s' "$here/disk")" "444 $((24 * 1048576 + 1234))" "the disk: read-only, its size to the byte"
is "$(stat -c %s "$here/initrd")" 0 "an empty member"
is "$(ls "$here" | sort | tr '\n' ' ')" "disk initrd kernel manifest " "the names of all members"
not_ok "it cannot be written" dd if=/dev/zero of="$here/disk" bs=1 count=1 conv=notrunc
not_ok "nothing can be made beside it" touch "$here/other"
not_ok "nor removed" rm -f "$here/disk"
is "$(tail -c 100 "$here/disk" | sha256sum)" "$(tail -c 100 "$disk" | sha256sum)" "its last bytes"
is "$(dd if="$here/disk" bs=1M skip=30 status=none | wc -c)" 0 "nothing behind its end"
pids=()
for i in 1 2 3 4; do
	dd if="$here/disk" bs=$((i * 7000 + 123)) status=none | cmp - "$disk" &
	pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=$((failed + 1)); done
is "$failed" 0 "four readers at once read the same"

# Mistakes.
exec 9<"$here/disk"
unmount_image
status_is 10 "umount while a file is open: exit code 10"
exec 9<&-
mount_image "${url}image"
status_is 10 "mounting on a mount: exit code 10"
like "$err" 'rondo umount' "and the next step"
mkdir "$TMPDIR/second"
run_rondo mount "${url}image" "$TMPDIR/second"
status_is 0 "the same version twice, in two places"
ok "equals" cmp "$disk" "$TMPDIR/second/disk"
run_rondo umount "$TMPDIR/second"
status_is 0 "umount"
unmount_image
status_is 0 "umount"
unmount_image
status_is 3 "umount of nothing: exit code 3"
run_rondo umount "$TMPDIR/none"
status_is 3 "umount of what is not there: exit code 3"
run_rondo mount "${url}image" "$TMPDIR/none"
status_is 3 "mounting on what is not there: exit code 3"
run_rondo mount "${url}image" "$TMPDIR/kernel"
status_is 2 "mounting on a file: exit code 2"
touch "$TMPDIR/second/file"
run_rondo mount "${url}image" "$TMPDIR/second"
status_is 10 "mounting on a folder that is not empty: exit code 10"
run_rondo mount "${url}none" "$here"
status_is 3 "an image that is not there: exit code 3"
like "$err" 'there are: image' "and what there is"
run_rondo mount "${url}image:9" "$here"
status_is 3 "a version that is not there: exit code 3"
run_rondo mount "${url}image"
status_is 2 "a missing argument: exit code 2"

daemon_ended() {
	local cmdline
	for cmdline in /proc/[0-9]*/cmdline; do
		if grep -q -a -s -- "$here" "$cmdline" && grep -q -a -s rondo-cloop "$cmdline"; then return 1; fi
	done
}

# Its daemon is killed: reads fail, umount works, and it can be mounted again.
wait_until 20 daemon_ended # that of the mount before
mount_image "${url}image"
daemon=$(grep -l -a -- "$here" /proc/[0-9]*/cmdline 2>/dev/null | sed 's|/proc/\([0-9]*\)/.*|\1|' | while read -r pid; do
	[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = rondo-cloop ] && echo "$pid"
done)
like "$daemon" '^[0-9]+$' "one daemon serves the mount"
kill -KILL $daemon
not_ok "it is killed: reads fail" cat "$here/disk"
unmount_image
status_is 0 "umount works"
mount_image "${url}image"
is "$status" 0 "and it is mounted again"
ok "and read" same
unmount_image

# Its daemon ends with the mount.
mount_image "${url}image"
unmount_image
ok "its daemon ends with the mount" wait_until 10 daemon_ended
done_testing
