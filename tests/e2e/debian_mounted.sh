#!/bin/bash
# time-limit: 600
# A 2 GiB Debian disk compares equal to its source through a mount over HTTP, whatever the server, and four readers of all of it
# leave rondo-cloop under 128 MiB.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/servers.sh"
need nginx python3 jq
need_fuse
image=$("$ROOT/tests/images.sh" debian) || skip_all "the appliance debian cannot be built here"
publish_appliance debian "$TMPDIR/site"
mkdir "$TMPDIR/mount"

peak_kib() { # of the rondo-cloop that serves the mount
	awk '/^VmHWM/ { print $2 }' "/proc/$(cloop_pid | head -n 1)/status"
}

compare() { # SERVER
	rm -rf "$RONDO_CACHE"
	run_rondo mount "$url/debian" "$TMPDIR/mount"
	status_is 0 "mounted from $1"
	"${2:-reads_once}" "$1"
	ok "$1: kernel is" cmp "$image/kernel" "$TMPDIR/mount/kernel"
	ok "$1: initrd is" cmp "$image/initrd" "$TMPDIR/mount/initrd"
}

reads_once() { # SERVER
	ok "$1: disk is equal, to the byte" cmp "$image/disk" "$TMPDIR/mount/disk"
}

four_read() { # SERVER: each from another quarter on, around
	local start readers=() peak
	for start in 0 512 1024 1536; do
		(cmp --ignore-initial="${start}MiB" "$image/disk" "$TMPDIR/mount/disk" &&
			cmp --bytes="${start}MiB" "$image/disk" "$TMPDIR/mount/disk") >"$TMPDIR/differs.$start" 2>&1 &
		readers+=($!)
	done
	for start in 0 512 1024 1536; do
		wait "${readers[start / 512]}"
		is "$?$(cat "$TMPDIR/differs.$start")" 0 "$1: disk is equal, to the byte, for the reader from $start MiB on"
	done
	peak=$(peak_kib)
	diag "rondo-cloop's peak memory: $peak KiB"
	ok "four readers leave rondo-cloop under 128 MiB" test "$peak" -lt $((128 * 1024))
}

leave() {
	ok "$1: unmounted" rondo umount "$TMPDIR/mount"
	ok "$1: rondo-cloop has ended" wait_until 10 eval '[ -z "$(cloop_pid)" ]'
	stop_process "$server"
}

serve_site "$TMPDIR/site"
compare rondo-server four_read
leave rondo-server

start_nginx "$TMPDIR/site"
server=$process
url=${nginx%/}
compare nginx
leave nginx

start_python "$TMPDIR/site"
server=$process
url=${python%/}
compare "python's http.server, which ignores ranges"
leave "python's http.server"
done_testing
