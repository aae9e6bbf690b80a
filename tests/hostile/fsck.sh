#!/bin/bash
# rondo fsck finds what is damaged in the cache, in a machine's disk, in the trust database and in a site, and --repair mends what
# can be mended: T15, and T40 (pull, mount and gc at once, then all is sound).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse

disk=$TMPDIR/disk
make_disk "$disk" 30 5
must_publish image 1 "$disk"
make_disk "$TMPDIR/other" 8 6
must_publish other 1 "$TMPDIR/other"
attack
fsck() { # CODE WHAT [OPTION…]
	local code=$1 what=$2
	shift 2
	run_rondo fsck "$@"
	status_is "$code" "$what"
}
fsck 0 "an empty cache is sound"
run_rondo pull "${url}image"
mount_image "${url}other"
head -c 300000 "$TMPDIR/mounted/disk" >/dev/null
unmount_image
fsck 0 "what was just fetched is sound"
like "$out" '^[1-9][0-9]* whole objects' "and it says how much that is"

# Each kind of damage to whole objects: bits, cut, emptied, exchanged, linked, foreign.
cd "$RONDO_CACHE/objects" || bail_out "there is a cache"
mapfile -t packs < <(find . -type f -size +100k | sort)
ok "there are ${#packs[@]} packs" [ ${#packs[@]} -ge 2 ]
flip 1 3 "${packs[0]}"
truncate -s 70000 "${packs[1]}"
small=$(find . -type f -size -50k | head -n 1)
: >"$small"
mkdir -p 00
ln -s /etc/passwd "00/$(printf '00%062d' 0)"
touch 00/README
cd "$TMPDIR" || exit 1
fsck 5 "damage is found" --json
is "$(grep -c '"object"' <<<"$out")" "$(grep -c '"mended": false' <<<"$out")" "none of it is mended without --repair"
for path in "${packs[0]#./}" "${packs[1]#./}" "${small#./}" 00/README "00/$(printf '00%062d' 0)"; do
	like "$out" "\"objects/$path\"" "$path is named"
done
ok "it is JSON" python3 -m json.tool <<<"$out"
fsck 5 "offline it cannot all be mended" --repair --offline
like "$out" '(image 1|version [0-9a-f]+…): .*rondo pull' "what was pulled lacks something"
like "$err" 'things? left wrong' "which it says"
not_ok "foreign files are gone" test -e "$RONDO_CACHE/objects/00/README" -o -L "$RONDO_CACHE/objects/00/$(printf '00%062d' 0)"
fsck 0 "with the network it is mended" --repair
like "$out" '\(mended\)' "and says so"
fsck 0 "and sound" --json
is "$(grep -c '"object"' <<<"$out")" 0 "without a word"
mount_image "${url}image" --offline
is "$(compare "$disk" "$TMPDIR/mounted/disk")" "wrong 0 failed 0 right $((30 * 64))" "all of it is right offline"
unmount_image

# An incomplete pack, of which some chunks are there.
mount_image "${url}other"
head -c 300000 "$TMPDIR/mounted/disk" >/dev/null
unmount_image
partial=$(find "$RONDO_CACHE/partial" -type f -size +8k | head -n 1)
if [ -n "$partial" ]; then
	at=$(python3 -c 'import os, sys; print(os.lseek(os.open(sys.argv[1], os.O_RDONLY), 8, os.SEEK_DATA))' "$partial")
	printf 'damage' | dd of="$partial" bs=1 seek=$((at + 300)) conv=notrunc status=none
	fsck 5 "a damaged chunk of an incomplete pack is found"
	like "$out" "partial/.*chunk of [0-9]+ bytes at [0-9]+ is damaged" "and named"
	fsck 0 "dropped" --repair
	fsck 0 "and gone"
else
	fail "there is an incomplete pack"
fi

# The trust database.
printf 'bla' | dd of="$RONDO_HOME/trust.db" bs=1 seek=4096 conv=notrunc status=none
cp "$RONDO_HOME/trust.db" "$TMPDIR/trust.db"
fsck 5 "a damaged trust database is found"
like "$out" 'trust.db' "and named"
ok "and not touched" cmp "$RONDO_HOME/trust.db" "$TMPDIR/trust.db"
fsck 0 "moved aside" --repair
fsck 0 "and replaced"

# A machine whose settings are damaged.
mkdir -p "$RONDO_HOME/instances/broken"
echo nonsense >"$RONDO_HOME/instances/broken/settings"
fsck 5 "a machine's damaged settings are found" --repair
like "$out" 'machine broken: .*rondo rm broken removes it' "and the next step is named"
run_rondo rm broken
fsck 0 "after which all is sound"

# Several at once: pull, mount, gc. Nothing that is in use goes, and all is sound afterwards.
rm -rf "$RONDO_CACHE"
pids=()
for i in 1 2 3; do
	mkdir "$TMPDIR/m$i"
	at_exit "fusermount3 -qu '$TMPDIR/m$i'"
	(
		for _ in 1 2 3; do
			"$BUILD/rondo" mount "${url}image" "$TMPDIR/m$i" || exit 1
			cmp "$disk" "$TMPDIR/m$i/disk" || exit 1
			"$BUILD/rondo" umount "$TMPDIR/m$i" || exit 1
		done
	) >"$TMPDIR/busy.$i" 2>&1 &
	pids+=($!)
	(for _ in 1 2 3; do "$BUILD/rondo" pull "${url}other" || exit 1; done) >"$TMPDIR/pull.$i" 2>&1 &
	pids+=($!)
	(for _ in {1..12}; do "$BUILD/rondo" gc --max-size 1 || exit 1; done) >"$TMPDIR/gc.$i" 2>&1 &
	pids+=($!)
done
failed=0
for pid in "${pids[@]}"; do
	wait "$pid" || failed=$((failed + 1))
done
is "$failed" 0 "nine processes at once: each succeeds"
[ "$failed" -eq 0 ] || for f in "$TMPDIR"/busy.? "$TMPDIR"/pull.? "$TMPDIR"/gc.?; do diag_file "$f"; done
fsck 0 "and the cache is sound"
run_rondo inspect --offline --json "${url}other"
is "$(json pulled)" true "what was pulled is there"

# A site.
run_rondo fsck "$site"
status_is 0 "a site that was just published is sound"
like "$out" "looked at 2 versions and [0-9]+ objects" "and it says what it looked at"
cp -a "$site" "$TMPDIR/copy"
mapfile -t packs < <(cd "$site/objects" && find . -type f -size +100k | sort)
flip 5 1 "$site/objects/${packs[0]#./}"
rm "$site/objects/${packs[1]#./}"
touch "$site/objects/note"
run_rondo fsck "$site" --json
status_is 5 "damage is found"
like "$out" "\"objects/${packs[0]#./}\"" "a flipped bit"
like "$out" "\"objects/${packs[1]#./}\", \"problem\": \"it is missing" "a missing pack"
like "$out" "objects/note is no object" "a foreign file"
is "$(grep -c '"object"' <<<"$out")" 3 "each once"
ok "it is JSON" python3 -m json.tool <<<"$out"
run_rondo fsck "$site" --repair
status_is 5 "without a mirror that cannot be mended"
like "$err" 'publish those versions again' "and it says who can"

mv "$site/objects/note" "$site/objects/"$'no\e[31mte'
run_rondo fsck "$site"
like "$out" 'objects/no\\x1b\[31mte is no object' "a file's name says nothing to the terminal"
mv "$site/objects/"$'no\e[31mte' "$site/objects/note"

# With a mirror it can, but for what is none of ours.
site=$TMPDIR/copy
attack "$TMPDIR/copy"
"$BUILD/rondo" renew "$site" --key "$TMPDIR/key" --mirror "$url" >"$TMPDIR/renew.log" 2>&1 || bail_out "rondo renew"
cp "$site/catalog.rondo" "$TMPDIR/site/"
site=$TMPDIR/site
run_rondo fsck "$site" --repair --offline
status_is 5 "offline there is no mirror"
is "$(requests)" 0 "and no request"
rm "$site/objects/note"
run_rondo fsck "$site" --repair
status_is 0 "with a mirror it is mended"
like "$out" "objects/${packs[0]#./}: it was damaged or missing, and is fetched \(mended\)" "and says so"
run_rondo fsck "$site"
status_is 0 "and sound"
ok "the site is whole" check_site "$site"
rm -rf "$site"
cp -a "$TMPDIR/copy" "$site"
run_rondo inspect --json "$site/image"
manifest=$(json manifest)
flip 2 1 "$site/objects/${manifest:0:2}/$manifest"
run_rondo fsck "$site"
status_is 5 "a damaged manifest is found"
run_rondo fsck "$site" --repair
status_is 0 "and fetched from the mirror, though nothing says how long it is" || diag "$err"
rm "$site/objects/${manifest:0:2}/$manifest"
run_rondo fsck "$site" --repair
status_is 0 "so is a missing one"
ok "it is the right one" cmp "$site/objects/${manifest:0:2}/$manifest" "$TMPDIR/copy/objects/${manifest:0:2}/$manifest"
flip 3 4 "$site/catalog.rondo"
run_rondo fsck "$site"
status_is 5 "a damaged catalog is exit code 5"
run_rondo fsck "$TMPDIR"
status_is 3 "a folder that is no site"
run_rondo fsck "$TMPDIR" --json
is "$status $out" "3 " "and nothing on stdout that is cut short"
done_testing
