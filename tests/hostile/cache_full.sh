#!/bin/bash
# A full cache disk: pull ends with exit code 8 and says what to do; a mount reads through, and everything is right.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse
[ "$(id -u)" = 0 ] || skip_all "only root can mount a small file system"

disk=$TMPDIR/disk
make_disk "$disk" 36 6
whole="wrong 0 failed 0 right $((36 * 64))"
must_publish image 1 "$disk" # of which 12 MiB cannot be compressed
make_disk "$TMPDIR/small" 6 7
must_publish small 1 "$TMPDIR/small"
attack

mkdir "$RONDO_CACHE"
mount -t tmpfs -o size=8m tmpfs "$RONDO_CACHE" 2>/dev/null || skip_all "no tmpfs can be mounted"
at_exit 'umount -l "$RONDO_CACHE"'
run_rondo pull "${url}image"
status_is 8 "pull: exit code 8"
like "$err" "$RONDO_CACHE.*(free space|RONDO_CACHE)" "the message names the cache and the next step"
is "$out" "" "nothing is said to be pulled"
is "$(ls "$RONDO_CACHE/pins" 2>/dev/null)" "" "nothing is pinned"
is "$(find "$RONDO_CACHE" -name '.new-*' | wc -l)" 0 "no temporary stays"

mount_image "${url}image"
status_is 0 "mount"
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "$whole" "everything read is right"
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "$whole" "and a second time"
unmount_image
run_rondo pull "${url}small"
status_is 0 "what does fit can be pulled: older blocks make room"
rules '* status code=500'
mount_image "${url}small" --offline
is "$(compare "$TMPDIR/small" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $((6 * 64))" "and is whole offline"
unmount_image
rules

# Now there is no room at all, and nothing that could be evicted.
fill "$RONDO_CACHE"
mount_image "${url}image"
status_is 0 "mount, with no byte free"
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "$whole" "everything read is right"
unmount_image
run_rondo inspect "${url}image"
status_is 0 "inspect"
run_rondo pull "${url}image"
status_is 8 "pull: exit code 8"
rm "$RONDO_CACHE/filler"

# A limit instead of a full disk.
umount "$RONDO_CACHE"
forget
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "cache-size 6M" >"$XDG_CONFIG_HOME/rondo/config"
run_rondo pull "${url}image"
status_is 8 "more than the limit: exit code 8"
like "$err" "limit is 6.0 MiB" "the limit is named"
mount_image "${url}image"
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "$whole" "a mount reads all of it"
used=$(du -s --block-size=1 "$RONDO_CACHE" | cut -f1)
ok "and keeps the limit, but for one pack ($used bytes)" [ "$used" -le $(((6 + 9) << 20)) ]
unmount_image

# A cache that cannot be written.
forget
mkdir "$RONDO_CACHE"
mount -t tmpfs -o ro,size=1m tmpfs "$RONDO_CACHE"
run_rondo pull "${url}small"
unlike "$status" '^0$' "a read-only cache: pull fails"
like "$err" "$RONDO_CACHE" "and names it"
mount_image "${url}small"
is "$status $(compare "$TMPDIR/small" "$TMPDIR/mounted/disk")" "0 wrong 0 failed 0 right $((6 * 64))" "a mount reads through"
unmount_image
done_testing
