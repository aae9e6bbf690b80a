#!/bin/bash
# While the client of a new version fetches its manifest, the connections for the first blocks are made; rondo-cloop asks over them.
# What is known makes none.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 perl
need_fuse

make_disk "$TMPDIR/disk" 16
printf 'rondo-profile 1\nmember disk %d\nread disk 0 1024\n' $((16 << 20)) >"$TMPDIR/profile"
head -c 65536 /dev/urandom >"$TMPDIR/kernel"
must_publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --profile "$TMPDIR/profile"
manifest=objects/${out:0:2}/$out

begin() { # NAME: a server of that name
	log=$TMPDIR/requests.$1
	: >"$log"
	start_process "$1" python3 "$ROOT/tests/e2e/connect_ahead.py" "$site" "$log"
	wait_until 10 grep -q '^ready ' "$TMPDIR/$1.log" || bail_out "the server starts"
	url=http://127.0.0.1:$(awk '{ print $2 }' "$TMPDIR/$1.log")/
}
connections_at() { awk -v path="$1" '$3 == path { print $2; exit }' "$log"; }
packs() { awk -v manifest="$manifest" '$3 != "catalog.rondo" && $3 != manifest' "$log"; }

is_ahead() { # WHO
	is "$(connections_at catalog.rondo)" 1 "$1: one connection for the catalog"
	is "$(connections_at "$manifest")" 4 "$1: three more stand before the manifest is answered"
	ok "$1: packs are asked for" wait_until 20 some_pack
	is "$(packs | awk 'NR == 1 { print ($1 >= 2 && $1 <= 4), $2 }')" "1 4" "$1: the first one over one of them"
}
some_pack() { [ -n "$(packs)" ]; }

begin run
run_rondo run "${url}image" --engine qemu --net none --no-keep --detach
status_is 0 "run"
is_ahead run
ok "stop" rondo stop image --timeout 1
forget

begin mount
mount_image "${url}image"
status_is 0 "mount"
ok "what is read is right" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
is_ahead mount
asked=$(wc -l <"$log")
unmount_image
status_is 0 "umount"

# Everything is in the cache, and the catalog was just looked at.
before=$(awk 'END { print $2 }' "$log")
mount_image "${url}image"
status_is 0 "mount again"
ok "what is read is right again" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
unmount_image
is "$(wc -l <"$log")" "$asked" "no request"
mount_image "${url}image" --offline
status_is 0 "mount offline"
unmount_image
rm -rf "$RONDO_HOME" # the catalog is asked for again, on a connection that tells how many there were before it
mount_image "${url}image"
status_is 0 "mount with what is known of the site forgotten"
unmount_image
is "$(tail -n 1 "$log")" "$((before + 1)) $((before + 1)) catalog.rondo" "no connection was made in between, nor beside it"
done_testing
