#!/bin/bash
# T15: bits flip in the cache under a running machine: every byte that it reads is right, and the cache heals itself.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
seed=${SEED:-1}
diag "SEED=$seed"
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 12 "$seed"
wanted=$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)
publish_appliance tiny "$site"
attack
run_rondo pull "${url}tiny"
status_is 0 "pull"
cached() {
	find "$RONDO_CACHE/objects" "$RONDO_CACHE/partial" -type f -size +100k
}
# What the kernel and rondo-cloop have in memory of the disk hides the cache.
forget_memory() {
	kill -KILL $(cloop_pid)
	dd if="$(echo "$RONDO_RUNTIME"/mnt/*/disk)" iflag=nocache count=0 status=none
}

start_guest tiny "${url}tiny" 'echo up; for i in 1 2 3; do read line; echo hash $i $(dd if=/dev/vda iflag=direct bs=1M | sha256sum); done; poweroff -f' --net none
ok "a machine is up" guest_shows tiny up

forget_memory
mapfile -t files < <(cached)
flip "$seed" 500 "${files[@]}"
rules
tell_guest tiny
ok "500 bits of the cache flipped: every byte of its disk is right" guest_shows tiny "hash 1 $wanted"
ok "what was damaged was fetched anew ($(requests objects) requests)" [ "$(requests objects)" -gt 0 ]
rules '* status code=500'
mount_image "${url}tiny" --offline
is "$(compare "$appliance_disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $(($(stat -c %s "$appliance_disk") >> 14))" "the cache has healed: all of the disk is there offline"
unmount_image
rules

forget_memory
tell_guest tiny
for i in {1..10}; do
	mapfile -t files < <(cached)
	flip $((seed * 100 + i)) 50 "${files[@]}"
	sleep 0.1
done
ok "another 500, while it reads: right again" guest_shows tiny "hash 2 $wanted"

forget_memory
mapfile -t files < <(cached)
for file in "${files[@]}"; do
	truncate -s $(($(stat -c %s "$file") / 3)) "$file"
done
tell_guest tiny
ok "every file of the cache is cut: right again" guest_shows tiny "hash 3 $wanted"
end_guest tiny
is "$status" 0 "it ends well"
unlike "$(cat "$TMPDIR/tiny.said")" "paused" "and was never paused"
done_testing
