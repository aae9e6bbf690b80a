#!/bin/bash
# No byte that was not verified reaches LZ4, a reader or a file name, whatever the servers alter; and the ledger that says so would notice
# (tests/hostile/ledger.c).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse
ledger=$BUILD/tests/ledger
[ -x "$ledger/rondo" ] || skip_all "make unit has not made $ledger/rondo"

disk=$TMPDIR/disk
make_disk "$disk" 12 9
must_publish image 1 "$disk"
manifest=$out
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 1" >"$XDG_CONFIG_HOME/rondo/config"
export RONDO_LEDGER=$TMPDIR/ledger
BUILD=$ledger PATH=$ledger:$PATH
book() { # sets the six numbers
	read -r decoder decoder_unverified reader reader_unverified name name_unverified < <(od -An -v -t u8 -w48 "$RONDO_LEDGER")
	diag "decoder $decoder unverified $decoder_unverified, reader $reader unverified $reader_unverified, name $name unverified $name_unverified"
}
alter() { # SEED COUNT: another site, with as many altered bits in its packs
	forget
	rm -rf "$TMPDIR/bad"
	cp -r "$site" "$TMPDIR/bad"
	mapfile -t packs < <(find "$TMPDIR/bad/objects" -type f ! -name "$manifest" -printf '%s %p\n' | sort -n | cut -d ' ' -f 2-)
	flip "$1" "$2" "${packs[@]:$3}"
}

# Altered bits on the only server: first in the data alone, so that the map can be read, then anywhere. With a good mirror, all is read.
attack "$TMPDIR/bad"
bad=$url
alter 1 40 1
mount_image "${bad}image"
compare "$disk" "$TMPDIR/mounted/disk" >"$TMPDIR/compared"
like "$(cat "$TMPDIR/compared")" "wrong 0 failed [1-9]" "what is altered cannot be read ($(cat "$TMPDIR/compared"))"
ok "the manifest is read as it is" cmp "$TMPDIR/mounted/manifest" "$site/objects/${manifest:0:2}/$manifest"
unmount_image
run_rondo pull "${bad}image"
status_is 5 "pull refuses"
alter 2 30 0
mount_image "${bad}image"
head -c 1000000 "$TMPDIR/mounted/disk" >/dev/null 2>&1
unmount_image
book
ok "the decoder got chunks ($decoder bytes)" [ "$decoder" -gt 500000 ]
ok "readers got blocks ($reader bytes)" [ "$reader" -gt 1000000 ]
is "$decoder_unverified $reader_unverified $name_unverified" "0 0 0" "altered packs: unverified bytes that reached the decoder, a reader, a name"
attack "$site"
alter 9 50 0
run_rondo pull --source "$url" "${bad}image"
is "$status $out" "0 $manifest" "with a good source beside the bad one, pull"
mount_image "${bad}image"
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $((12 * 64))" "and all is right"
unmount_image
book
ok "whole packs got their names ($name bytes)" [ "$name" -gt 1000000 ]
is "$decoder_unverified $reader_unverified $name_unverified" "0 0 0" "unverified, still"

# The same with programs that believe what they are given.
export RONDO_LEDGER=$TMPDIR/mutant RONDO_LEDGER_MUTANT=1
alter 1 40 1
mount_image "${bad}image"
compare "$disk" "$TMPDIR/mounted/disk" >"$TMPDIR/compared"
unmount_image
forget
run_rondo pull "${bad}image"
book
diag "$(cat "$TMPDIR/compared")"
ok "programs that check nothing: the decoder's door notices" [ "$decoder_unverified" -gt 0 ]
ok "the readers' door" [ "$reader_unverified" -gt 0 ]
ok "the names' door" [ "$name_unverified" -gt 0 ]
done_testing
