#!/bin/bash
# time-limit: 300
# A sparse disk of 1 TiB is published for the price of its data, and opened for 5 requests up to its first byte, in under 32 MiB.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need jq
need_fuse
data=64 # MiB
[ -z "${RONDO_TEST_LONG:-}" ] || data=1024
truncate -s 1T "$TMPDIR/disk" || skip_all "the file system knows no sparse files of 1 TiB"
for ((i = 0; i < data / 16; i++)); do # pieces of 16 MiB, far apart
	head -c 16M /dev/urandom | dd of="$TMPDIR/disk" bs=1M seek=$((i * (1048576 / (data / 16)) + 300)) conv=notrunc status=none iflag=fullblock
done
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
ok "its last data is right" cmp <(dd if="$TMPDIR/disk" bs=1M skip=$(((data / 16 - 1) * (1048576 / (data / 16)) + 300)) count=16 status=none) \
	<(dd if="$TMPDIR/mount/disk" bs=1M skip=$(((data / 16 - 1) * (1048576 / (data / 16)) + 300)) count=16 status=none)
ok "what has no data is zero" cmp <(head -c 64M /dev/zero) <(dd if="$TMPDIR/mount/disk" bs=1M skip=100000 count=64 status=none)
peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$(cloop_pid | head -n 1)/status")
diag "rondo-cloop's peak memory: $peak KiB"
ok "rondo-cloop stays under 32 MiB" test "$peak" -lt $((32 * 1024))
ok "it is unmounted" rondo umount "$TMPDIR/mount"
done_testing
