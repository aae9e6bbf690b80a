#!/bin/bash
# T15: bits flip in the cache, files there are cut, emptied, exchanged and linked: with a network all that is read is right and the cache
# heals; without one it is right or an error that names the next step. Nothing wrong is ever read.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh" # cloop_pid
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse

disk=$TMPDIR/disk
make_disk "$disk" 12 5
blocks=$((12 * 64)) # of 16 KiB, as compare reads
must_publish image 1 "$disk"
attack
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 1" >"$XDG_CONFIG_HOME/rondo/config"
run_rondo pull "${url}image"
status_is 0 "pull"
cache_files() { # with find's options
	find "$RONDO_CACHE/objects" "$RONDO_CACHE/partial" -type f "$@"
}

# 1,000 places, 100 at a time.
seed=${SEED:-1}
diag "SEED=$seed"
wrong=0 mounted=0
for round in {1..10}; do
	mapfile -t files < <(cache_files)
	flip $((seed * 1000 + round)) 100 "${files[@]}"
	mount_image "${url}image"
	[ "$status" -eq 0 ] && mounted=$((mounted + 1))
	result=$(compare "$disk" "$TMPDIR/mounted/disk")
	if [ "$result" != "wrong 0 failed 0 right $blocks" ]; then
		diag "round $round: $result"
		wrong=$((wrong + 1))
	fi
	unmount_image
done
is "$mounted $wrong" "10 0" "online: 1,000 flipped bits, and all that is read is right"

# The same without a network.
wrong=0 failed=0 told=0
for round in {1..10}; do
	run_rondo pull "${url}image"
	[ "$status" -eq 0 ] || fail "pull mends the cache"
	mapfile -t files < <(cache_files -size +100k) # the manifest and the map: below
	flip $((seed * 2000 + round)) 10 "${files[@]}"
	: >"$RONDO_RUNTIME/cloop.log"
	rules
	mount_image "${url}image" --offline
	read -r _ w _ f _ <<<"$(compare "$disk" "$TMPDIR/mounted/disk")"
	wrong=$((wrong + w)) failed=$((failed + f))
	grep -q 'rondo pull' "$RONDO_RUNTIME/cloop.log" && told=$((told + 1))
	[ "$(requests)" -eq 0 ] || fail "offline, but there was a request"
	unmount_image
done
is "$wrong" 0 "offline: nothing wrong is read"
ok "but what is damaged cannot be read ($failed of $((10 * blocks)) reads)" [ "$failed" -gt 0 ]
is "$told" 10 "and the log names rondo pull as the next step"
[ "$told" -eq 10 ] || diag_file "$RONDO_RUNTIME/cloop.log"
run_rondo pull "${url}image"
status_is 0 "rondo pull mends it"
mount_image "${url}image" --offline
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $blocks" "then all of it is right offline"
unmount_image

# The manifest and the map.
for object in $(cache_files -size -100k); do
	cp "$object" "$TMPDIR/good"
	flip "$seed" 20 "$object"
	mount_image "${url}image" --offline
	if [ "$status" -eq 0 ]; then # a map page is read when it is needed
		is "$(compare "$disk" "$TMPDIR/mounted/disk" | sed 's/[1-9][0-9]*$/N/')" "wrong 0 failed $blocks right 0" "a damaged map offline: nothing can be read"
		unmount_image
		run_rondo inspect "${url}image" --offline
	fi
	like "$status" '^(4|5)$' "a damaged manifest or map offline: exit code 4 or 5"
	like "$err" 'rondo pull' "and the next step is named"
	run_rondo inspect "${url}image"
	status_is 0 "with a network it is mended"
	cp "$TMPDIR/good" "$object"
done

# Files cut, emptied, exchanged, replaced by links and folders, unreadable, somebody else's.
mapfile -t files < <(cache_files -size +100k)
name=${files[0]##*/}
echo secret >"$TMPDIR/secret"
damage() {
	first=$(cache_files -name "$name") # whole or partial
	case $1 in
	empty) : >"$first" ;;
	cut) truncate -s $(($(stat -c %s "$first") / 2)) "$first" ;;
	longer) head -c 100000 /dev/urandom >>"$first" ;;
	zeros) head -c "$(stat -c %s "$first")" /dev/zero >"$first.new" && mv "$first.new" "$first" ;;
	other) cp "$site/catalog.rondo" "$first" ;;
	link) rm "$first" && ln -s "$TMPDIR/secret" "$first" ;;
	folder) rm "$first" && mkdir "$first" ;;
	pipe) rm "$first" && mkfifo "$first" ;;
	gone) rm "$first" ;;
	locked) chmod 000 "$first" ;;
	foreign) chown 65534 "$first" && printf 'x' | dd of="$first" bs=1 seek=5000 conv=notrunc status=none ;;
	swapped)
		second=$(cache_files ! -name "$name" | head -n 1)
		mv "$first" "$first.new" && mv "$second" "$first" && mv "$first.new" "$second"
		;;
	esac
}
kinds=(empty cut longer zeros other link folder pipe gone locked swapped)
[ "$(id -u)" != 0 ] || kinds+=(foreign)
for kind in "${kinds[@]}"; do
	damage "$kind"
	mount_image "${url}image"
	is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $blocks" "a pack that is $kind: all that is read is right"
	unmount_image
	run_rondo pull "${url}image"
	status_is 0 "pull mends it ($kind)"
done
is "$(cat "$TMPDIR/secret")" secret "what a link pointed to is as it was"
mount_image "${url}image" --offline
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $blocks" "and offline all of it is right"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$(cloop_pid)/status")
ok "rondo-cloop took no more than 64 MiB ($peak KiB)" [ "$peak" -le 65536 ]
unmount_image

# The cache folder itself.
mv "$RONDO_CACHE" "$TMPDIR/elsewhere"
ln -s "$TMPDIR/elsewhere" "$RONDO_CACHE"
run_rondo inspect "${url}image" --offline
status_is 0 "a cache folder that is a link is the user's own choice"
rm "$RONDO_CACHE"
echo file >"$RONDO_CACHE"
run_rondo pull "${url}image"
not_ok "a cache that is a file: pull fails" [ "$status" -eq 0 ]
like "$err" "$RONDO_CACHE" "and names it"
done_testing
