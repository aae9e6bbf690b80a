#!/bin/bash
# Members of a version as files: through rondo mount, and through rondo-cloop's control socket.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 curl
need_fuse

make_disk "$TMPDIR/disk" 24
head -c 300001 /dev/urandom >"$TMPDIR/kernel" # not a whole number of blocks
: >"$TMPDIR/initrd"
must_publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd"
manifest=$out
start_process server rondo-server --listen 127.0.0.1:0 "$site"
wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "the server starts"
server=$process
url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")

# --- rondo mount
folder="$TMPDIR/a folder"
mkdir "$folder"
run_rondo mount "${url}image" "$folder"
status_is 0 "an image is mounted"
is "$(ls "$folder" | tr '\n' ' ')" "disk initrd kernel manifest " "it has the members and the manifest"
is "$(stat -c '%a %s' "$folder/disk" "$folder/kernel" "$folder/initrd" | tr '\n' ' ')" "444 $((24 << 20)) 444 300001 444 0 " \
	"of the right sizes, for reading only"
is "$(sha256sum <"$folder/manifest")" "$manifest  -" "the manifest has the version's name"
ok "the disk is right" cmp "$folder/disk" "$TMPDIR/disk"
ok "the kernel is right" cmp "$folder/kernel" "$TMPDIR/kernel"
ok "and past the kernel's cache" bash -c 'set -o pipefail; dd if="$1/disk" iflag=direct bs=1M status=none | cmp - "$2"' _ "$folder" "$TMPDIR/disk"
not_ok "nothing can be written" bash -c 'echo x >"$1/disk"' _ "$folder"
not_ok "nothing can be made" touch "$folder/new"
not_ok "other names are not there" test -e "$folder/nothing"
run_rondo mount "${url}image" "$folder"
status_is 10 "a second mount on the folder is refused"
exec 4<"$folder/disk"
run_rondo umount "$folder"
status_is 10 "what is in use is not unmounted"
exec 4<&-
run_rondo umount "$folder"
status_is 0 "it is unmounted"
is "$(ls -A "$folder")" "" "the folder is empty again"

cached() { # MANIFEST: the cache has it
	[ -e "$RONDO_CACHE/objects/${1:0:2}/$1" ]
}
ok "the manifest is kept in the cache" cached "$manifest"
run rondo-cloop --mount "$folder" --manifest "$(printf '%064d' 1)" --source "$url"
status_is 3 "a version that is nowhere is not mounted"
not_ok "nothing is left mounted" mountpoint -q "$folder"
run rondo-cloop --mount "$folder"
status_is 2 "options that do not go together"
run rondo-cloop --session-fd 99 --state-fd 98
status_is 2 "descriptors that are not there"
rondo-cloop --mount "$folder" --manifest "$manifest" 2>"$TMPDIR/single.log" &
single=$!
wait_until 10 mountpoint -q "$folder"
exec 4<"$folder/kernel"
kill -TERM "$single"
ok "SIGTERM takes the mount away" wait_until 5 test ! -e "$folder/disk"
ok "what is open can be read to its end" cmp - "$TMPDIR/kernel" <&4
exec 4<&-
wait "$single"
is "$?" 0 "and with the last file it ends"

if unshare -m true 2>/dev/null; then
	run unshare -m sh -c 'mount -t tmpfs none /dev && exec rondo-cloop --mount "$1" --manifest "$2"' _ "$folder" "$manifest"
	status_is 9 "without /dev/fuse it says that this host cannot"
	like "$err" 'modprobe fuse' "and what to do"
else
	skip "without /dev/fuse" "the user may not unshare mounts"
fi

# --- the shared one
export SITE=$url MANIFEST=$manifest DISK=$TMPDIR/disk SERVER=$server
while IFS= read -r line; do
	case $line in
	"ok "*) pass "${line#ok }" ;;
	"not ok "*) fail "${line#not ok }" ;;
	*) diag "$line" ;;
	esac
done < <(PYTHONPATH=$ROOT/tests timeout 200 python3 "$ROOT/tests/e2e/cloop_mount.py" 2>&1 || echo "not ok the client of the control socket came to its end")
done_testing
