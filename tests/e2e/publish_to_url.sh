#!/bin/bash
# time-limit: 600
# A publisher who is not the site's owner publishes over HTTP, and visitors run it: whole versions, updates of which the changed blocks alone
# travel, tags, a machine's disk, a version that waits for a key that is elsewhere.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/stopped_machine.sh"
. "$ROOT/tests/publishers.sh"
need jq python3 perl
need_fuse

make_keys owner key
allow key demo
start_keeper --site-key "$TMPDIR/owner"
send() { # VERSION DISK [OPTION…]
	local version=$1 disk=$2
	shift 2
	run_rondo publish --name demo --version "$version" --disk "$disk" --key "$TMPDIR/key" --to "$url" "$@"
}
new_bytes() { # of the site's objects since the last time
	local file sum=0
	while read -r file; do
		sum=$((sum + $(stat -c %s "$file")))
	done < <(find "$site/objects" -type f -newer "$TMPDIR/mark")
	touch "$TMPDIR/mark"
	echo "$sum"
}
touch "$TMPDIR/mark"
reads_as() { # IMAGE FLAT WHAT
	mount_image "$1"
	status_is 0 "$3: mounted"
	ok "$3" cmp "$TMPDIR/mounted/disk" "$2"
	unmount_image
}

make_disk "$TMPDIR/one" 16 1
printf '%s\n' 'rondo-profile 1' "member disk $((16 << 20))" 'read disk 90 60' >"$TMPDIR/profile"
printf '\211PNG\r\n\032\n and so on' >"$TMPDIR/logo"
head -c 3000000 /dev/urandom >"$TMPDIR/kernel"
head -c 100000 /dev/urandom >"$TMPDIR/initrd"
send 1 "$TMPDIR/one" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --profile "$TMPDIR/profile" --title Demo --logo "$TMPDIR/logo"
status_is 0 "a version is published"
is "$out" "$(awk '$2 == "demo" { print $5 }' "$site/catalog.rondo")" "the name of its manifest is printed"
like "$err" 'first contact with' "the site's key is shown at the first contact"
unlike "$err" 'is not encrypted' "nothing is said of encryption on this computer"
ok "the site is whole" check_site "$site"
whole=$(new_bytes)
reads_as "${url}demo" "$TMPDIR/one" "visitors read what was published"

cp "$TMPDIR/one" "$TMPDIR/two"
change_disk "$TMPDIR/two" 1000000 40960
send 2 "$TMPDIR/two" --tag beta+1
status_is 0 "an update is published"
like "$err" 'demo 2: .* 1[0-9] blocks new' "of it the changed blocks are new"
update=$(new_bytes)
diag "$whole bytes, and $update of the update"
ok "and they alone came to the site" [ "$update" -lt $((whole / 20)) ]
reads_as "${url}demo:beta+1" "$TMPDIR/two" "under its tag it reads as it should"
run_rondo inspect "${url}demo:2" --json
is "$(json parent)" "$(awk '$2 == "demo" && $3 == 1 { print $5 }' "$site/catalog.rondo")" "its parent is the one before"
ok "the boot's order is inherited" [ "$(json boot_packs)" -gt 0 ]
send 2 "$TMPDIR/two"
status_is 1 "the same version again"
like "$err" 'choose another --version' "which is said"
run_rondo publish --name other --version 1 --disk "$TMPDIR/one" --key "$TMPDIR/key" --to "$url"
status_is 5 "a name that the key may not publish"
like "$err" "renew DIR --key SITEKEY --allow $(key_of key):other" "what its owner types is said"
"$BUILD/rondo" key new "$TMPDIR/stranger" >/dev/null 2>&1
run_rondo publish --name demo --version 3 --disk "$TMPDIR/one" --key "$TMPDIR/stranger" --to "$url"
status_is 5 "a key that nobody allowed"
run_rondo publish --name demo --version 3 --disk "$TMPDIR/one" --key "$TMPDIR/key" --to "$url#$(key_of stranger)"
status_is 5 "another key than the address pins"

# A machine's disk.
make_machine one "${url}demo:2"
cp "$TMPDIR/two" "$TMPDIR/flat"
write_blocks "$folder" "$TMPDIR/flat" data:100:20:1 zero:300:20 data:3000:1:2
commit() { # VERSION [OPTION…]
	local version=$1
	shift
	run_rondo commit one --name demo --version "$version" --key "$TMPDIR/key" --to "$url" "$@"
}
commit 3 --tag committed
status_is 0 "a machine's disk is committed"
like "$err" 'demo 3: 41 blocks changed, 21 new' "only what changed"
reads_as "${url}demo:committed" "$TMPDIR/flat" "visitors read what it held"
ok "little came to the site" [ "$(new_bytes)" -lt $((whole / 20)) ]
ok "the site is whole" check_site "$site"
is "$(find "$RONDO_CACHE/publishing" 2>/dev/null | wc -l)" 0 "no work folder stays"

# A site whose key is elsewhere.
stop_keeper
start_keeper --queue
send 4 "$TMPDIR/one"
status_is 0 "without the site's key there, a version is taken in"
like "$err" 'demo 4 waits there: .* rondo history' "and waits, which is said"
not_ok "it is not listed" "$BUILD/rondo" pull "${url}demo:4"
send 5 "$TMPDIR/two"
status_is 0 "the next one does not wait for that"
run_rondo sign "$state/pending/catalog" --key "$TMPDIR/owner"
run_rondo publish --signed "$state/pending/catalog.signed" --to "$site"
status_is 0 "its owner signs"
ok "then it is" "$BUILD/rondo" pull "${url}demo:4"
reads_as "${url}demo:5" "$TMPDIR/two" "and so is the one that followed it"
ok "the site is whole" check_site "$site"

# Nobody takes publications there.
stop_keeper
serve_site "$site"
send 6 "$TMPDIR/two"
status_is 3 "a server that only serves"
like "$err" 'takes no publications over HTTP' "which is said"
done_testing
