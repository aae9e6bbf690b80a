#!/bin/bash
# The cache is on a full disk: a machine boots and reads its whole disk right all the same.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
[ "$(id -u)" = 0 ] || skip_all "only root can mount a small file system"
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 12
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
mkdir "$RONDO_CACHE"
mount -t tmpfs -o size=8m tmpfs "$RONDO_CACHE" 2>/dev/null || skip_all "no tmpfs can be mounted"
at_exit 'umount -l "$RONDO_CACHE"'
start_guest tiny "$url/tiny" 'echo up; read line; sha256sum /dev/vda; poweroff -f' --net none
ok "it boots" guest_shows tiny '^up'
diag "$(df -k "$RONDO_CACHE" | awk 'NR == 2 { print $4 " KiB of the cache are free" }')"
head -c 9M /dev/zero >"$RONDO_CACHE/filler" 2>/dev/null
is "$(df -k "$RONDO_CACHE" | awk 'NR == 2 { print $4 }')" 0 "not a byte is free"
tell_guest tiny
ok "every byte of its disk is right" guest_shows tiny "$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)"
end_guest tiny
is "$status" 0 "it ends well"
unlike "$(cat "$TMPDIR/tiny.said")" paused "and was never paused"
done_testing
