#!/bin/bash
# A machine's disk, committed to the base's site, to another one, by somebody else, grown: everybody reads what it held.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/stopped_machine.sh"
need qemu-system-x86_64 jq python3
need_fuse
make_disk "$TMPDIR/base" 20 1
printf '%s\n' 'rondo-profile 1' "member disk $((20 << 20))" 'read disk 90 60' 'read disk 3000 4' >"$TMPDIR/profile"
must_publish image 1 "$TMPDIR/base" --title Base --profile "$TMPDIR/profile"
make_machine one "$site/image"
flat=$TMPDIR/flat
cp "$TMPDIR/base" "$flat"
commit() { # NAME VERSION [OPTION…]
	local name=$1 version=$2
	shift 2
	run_rondo commit "${machine:-one}" --name "$name" --version "$version" --key "${key:-$TMPDIR/key}" --to "${to:-$site}" "$@"
}
reads_as() { # IMAGE FLAT WHAT
	mount_image "$1"
	status_is 0 "$3: mounted"
	ok "$3" cmp "$TMPDIR/mounted/disk" "$2"
	unmount_image
}
field() {
	run_rondo inspect "$1" --json
	json "$2"
}

commit image 2
status_is 2 "what changed nothing is not committed"
like "$err" "changed nothing of image 1" "which is said"
commit image 2 --force
status_is 0 "but with --force it is"
like "$err" "image 2: 0 blocks changed, 0 new; stored 0 bytes in 0 packs" "and costs nothing"
reads_as "$site/image:2" "$flat" "it is the base"

write_blocks "$folder" "$flat" data:100:40:1 zero:300:20 data:3000:1:2 data:5119:1:3
run_rondo snapshot one
[ "$status" -eq 0 ] || bail_out "a snapshot is taken"
commit image 3
status_is 0 "what lies below a snapshot is committed"
like "$err" "image 3: 62 blocks changed, 42 new" "only that"
reads_as "$site/image:3" "$flat" "the version is what the disk was"
is "$(field "$site/image:3" parent)" "$(field "$site/image:1" manifest)" "its parent is what the machine was made from"
is "$(field "$site/image:3" serial)" 3 "its serial the next"
is "$(field "$site/image:3" disk_boot_bytes)" "$(field "$site/image:1" disk_boot_bytes)" "its boot is as large as that of the base"
ok "in boot packs of which some are new" [ "$(field "$site/image:3" boot_packs)" -gt "$(field "$site/image:1" boot_packs)" ]
commit image 4 --title New --tag best
status_is 0 "the same once more, under another name"
like "$err" "62 blocks changed, 0 new; stored 0 bytes in 0 packs" "and nothing is stored again"
is "$(field "$site/image:best" title)" New "texts can be replaced"

# A site that has nothing of the base: its packs come along, those of which something is left.
to=$TMPDIR/other
commit mine 1
status_is 0 "it is committed to another site"
like "$err" "copied [0-9.]+ [KM]iB in [0-9]+ packs? of image 1, which $TMPDIR/other did not have" "with what it needs of the base"
ok "which is whole" check_site "$to"
reads_as "$to/mine" "$flat" "and reads the same"
is "$(field "$to/mine" parent)" "" "it has no parent there"
commit mine 2
status_is 0 "again"
unlike "$err" "copied" "copies nothing"

# Somebody else's key and site: all that they sign for is looked at.
"$BUILD/rondo" key new "$TMPDIR/theirs" >/dev/null 2>&1 || bail_out "a key"
to=$TMPDIR/theirs.site key=$TMPDIR/theirs
commit copy 1
status_is 0 "somebody else commits it to a site of theirs"
ok "which is whole" check_site "$to"
reads_as "$to/copy" "$flat" "and reads the same"
commit image 5 --to "$site" --site-key "$TMPDIR/key"
status_is 0 "and, with leave, to the base's"
like "$err" "62 blocks changed, 0 new" "where nothing is stored again"
reads_as "$site/image:5" "$flat" "and it reads the same"
pack=$(find "$site/objects" -type f -size +100k -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
printf x | dd of="$pack" bs=1 seek=5000 conv=notrunc status=none
commit image 6 --to "$site" --site-key "$TMPDIR/key"
status_is 5 "a pack of the base that does not hold what it says is not signed for"
unset to key

# A larger disk. The machine's base is damaged in the site now, so another one.
site=$TMPDIR/large
must_publish image 1 "$TMPDIR/base"
make_machine large "$site/image" --disk-size 300M
cp "$TMPDIR/base" "$TMPDIR/grown"
truncate -s 300M "$TMPDIR/grown"
machine=large
commit image 2
status_is 0 "a disk that only grew is committed"
reads_as "$site/image:2" "$TMPDIR/grown" "and is larger"
write_blocks "$folder" "$TMPDIR/grown" data:5120:10:5 data:76799:1:6 data:10:1:7
commit image 3
status_is 0 "so is one that was written to as well"
like "$err" "12 blocks changed, 12 new" "the new part counts where it was written to"
reads_as "$site/image:3" "$TMPDIR/grown" "and reads as it did"
ok "the site is whole" check_site "$site"
done_testing
