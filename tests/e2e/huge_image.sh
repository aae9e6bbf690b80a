#!/bin/bash
# time-limit: 600
# A sparse disk of 1 TiB is published for the price of its data, and opened for 5 requests up to its first byte, in under 32 MiB.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need jq python3
need_fuse
data=64 # MiB, in 1,024 places far apart, of as many KiB each
[ -z "${RONDO_TEST_LONG:-}" ] || data=1024
truncate -s 1T "$TMPDIR/disk" || skip_all "the file system knows no sparse files of 1 TiB"
write_places() {
	python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
for i in range(1024):
    os.pwrite(fd, os.urandom(int(sys.argv[2]) << 10), (i << 30) + (300 << 20))' "$TMPDIR/disk" "$data"
}
same_places() {
	python3 -c 'import os, sys
a, b = (os.open(path, os.O_RDONLY) for path in sys.argv[1:])
at = [(i << 30) + (300 << 20) + 4096 for i in range(1024)]
sys.exit(any(os.pread(a, 4096, offset) != os.pread(b, 4096, offset) for offset in at))' "$TMPDIR/disk" "$TMPDIR/mount/disk"
}
write_places
rondo key new "$TMPDIR/key" >/dev/null 2>&1
run_rondo publish --name huge --version 1 --disk "$TMPDIR/disk" --key "$TMPDIR/key" --to "$TMPDIR/site"
status_is 0 "1 TiB is published"
like "$err" "$data\.0 MiB of data" "only its data was read"
stored=$(du -sm "$TMPDIR/site" | cut -f 1)
ok "and stored ($stored MiB)" test "$stored" -lt $((data + data / 8 + 2))

serve_site "$TMPDIR/site"
mkdir "$TMPDIR/mount"
run_rondo mount "$url/huge" "$TMPDIR/mount"
status_is 0 "it is mounted"
is "$(stat -c %s "$TMPDIR/mount/disk")" 1099511627776 "in its full size"
ok "its first data is right" cmp <(dd if="$TMPDIR/disk" bs=4096 skip=76800 count=1 status=none) \
	<(dd if="$TMPDIR/mount/disk" bs=4096 skip=76800 count=1 status=none iflag=direct)
requests=$(grep -vc catalog "$access")
diag "$(cat "$access")"
ok "that took at most 5 requests after the catalog ($requests)" test "$requests" -le 5
ok "its data is right in each of the 1,024 places" same_places
ok "what has no data is zero" cmp <(head -c 64M /dev/zero) <(dd if="$TMPDIR/mount/disk" bs=1M skip=100000 count=64 status=none)
peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$(cloop_pid | head -n 1)/status")
diag "rondo-cloop's peak memory: $peak KiB"
ok "rondo-cloop stays under 32 MiB" test "$peak" -lt $((32 * 1024))
ok "it is unmounted" rondo umount "$TMPDIR/mount"
done_testing
