#!/bin/bash
# A publication that cannot be right is refused before the work, with the right exit code, and changes nothing.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

disk=$TMPDIR/disk
make_disk "$disk" 2
must_publish good 1 "$disk" --tag stable
print_site() { # every file of the site, but the lock
	(cd "$site" && find . -type f ! -name .lock -exec sha256sum {} + | sort)
}
before=$(print_site)
refused() { # STATUS WHAT MESSAGE ARGUMENT…: none of them lets the site change
	local code=$1 what=$2 message=$3
	shift 3
	run_rondo publish "$@"
	status_is "$code" "$what"
	like "$err" "$message" "$what: the message"
	is "$out" "" "$what: nothing on standard output"
	is "$(print_site)" "$before" "$what: the site is as it was"
}
usual=(--disk "$disk" --key "$TMPDIR/key" --to "$site")

refused 1 "the same version" 'good 1 is published already; choose another --version' --name good --version 1 "${usual[@]}"
refused 2 "a version that is a tag" 'stable is a tag of good' --name good --version stable "${usual[@]}"
refused 2 "a version called latest" 'latest' --name good --version latest "${usual[@]}"
refused 2 "a tag that is a version" '1 is a version of good' --name good --version 2 --tag 1 "${usual[@]}"
refused 2 "a tag that is the version" 'are the same' --name good --version 2 --tag 2 "${usual[@]}"
for name in '' UPPER a/b .. .hidden 'a b' "$(printf 'a\nb')" "$(printf '%065d' 1)" 'ä' '-x'; do
	refused 2 "the name $(printf %q "$name")" '' --name="$name" --version 2 "${usual[@]}"
done
for version in '' a/b .. 'a b' "$(printf 'a\033[31mb')" "$(printf '%065d' 1)" '1:2' '@1' '#1'; do
	refused 2 "the version $(printf %q "$version")" '' --name good --version="$version" "${usual[@]}"
done
refused 2 "no name" '--name is needed' --version 2 "${usual[@]}"
refused 2 "no disk" '--disk is needed' --name good --version 2 --key "$TMPDIR/key" --to "$site"
remote=(--name good --version 2 --disk "$disk" --key "$TMPDIR/key")
refused 4 "a URL where nobody listens" 'Failed to connect' "${remote[@]}" --to http://127.0.0.1:1/
refused 2 "a URL that is none of ours" 'begins with http' "${remote[@]}" --to ftp://127.0.0.1/
refused 2 "a URL with a key that is none" 'stands no key' "${remote[@]}" --to http://127.0.0.1:1/#key
refused 2 "the site's key with a URL" 'are for the catalog' "${remote[@]}" --to http://127.0.0.1:1/ --site-key "$TMPDIR/key"
refused 2 "a date with a URL" 'are for the catalog' "${remote[@]}" --to http://127.0.0.1:1/ --expires 9d
refused 2 "mirrors with a URL" 'are for the catalog' "${remote[@]}" --to http://127.0.0.1:1/ --mirror none
refused 2 "an offline key with a URL" 'take --to DIR' "${remote[@]}" --to http://127.0.0.1:1/ --unsigned "$TMPDIR/text"
refused 2 "an unknown option" 'no option --frobnicate' --frobnicate --name good --version 2 "${usual[@]}"
refused 2 "an operand" 'unexpected argument' --name good --version 2 "${usual[@]}" more
refused 2 "an initrd without a kernel" '--initrd is for a --kernel' --name good --version 2 --initrd "$disk" "${usual[@]}"
refused 2 "a command line without a kernel" '--cmdline is for a --kernel' --name good --version 2 --cmdline x "${usual[@]}"
refused 2 "a level that is none" '--level takes 1 to 19' --name good --version 2 --level 20 "${usual[@]}"
refused 2 "a level that is none of LZ4" '--level takes 1 to 12' --name good --version 2 --codec lz4 --level 13 "${usual[@]}"
refused 2 "a level over 2^32" '--level takes' --name good --version 2 --level 4294967297 "${usual[@]}"
refused 2 "a codec that is none" '--codec takes zstd or lz4, not "LZ4"' --name good --version 2 --codec LZ4 "${usual[@]}"
refused 2 "the codec that is no choice" '--codec takes zstd or lz4, not "raw"' --name good --version 2 --codec raw "${usual[@]}"
refused 2 "a level of zero" '--level takes' --name good --version 2 --level 0 "${usual[@]}"
refused 2 "a memory that is none" '--memory takes a size' --name good --version 2 --memory lots "${usual[@]}"
refused 2 "less memory than a machine can have" '--memory: a machine needs 64M' --name good --version 2 --memory 1 "${usual[@]}"
refused 2 "more memory than there can be" '--memory takes at most 16T' --name good --version 2 --memory 17T "${usual[@]}"
refused 2 "a homepage with another scheme" '--homepage: an address' --name good --version 2 --homepage ftp://host/ "${usual[@]}"
for expires in soon 90 d 0d -1d 99999d 1y; do
	refused 2 "expires $expires" '--expires takes a time' --name good --version 2 --expires="$expires" "${usual[@]}"
done
for mirror in ftp://host/ /a/path http:// http://user:secret@host/ 'http://host/a b' "$(printf 'http://host/\033[2J')"; do
	refused 2 "the mirror $(printf %q "$mirror")" '' --name good --version 2 --mirror "$mirror" "${usual[@]}"
done
refused 2 "a mirror twice" 'twice' --name good --version 2 --mirror http://a/ --mirror HTTP://A:80 "${usual[@]}"

for text in title summary homepage licence os cmdline ready; do
	refused 2 "an escape sequence in --$text" "--$text: a line" --name good --version 2 --kernel "$disk" \
		--cmdline c "--$text" "$(printf 'a\033[31mred')" "${usual[@]}"
done
refused 2 "two lines in a title" '--title: a line' --name good --version 2 --title "$(printf 'a\nmember disk 1 -')" "${usual[@]}"
refused 2 "a bidirectional override in a title" '--title' --name good --version 2 --title "$(printf 'a\u202eb')" "${usual[@]}"
refused 2 "not UTF-8 in a title" '--title' --name good --version 2 --title "$(printf 'a\xff')" "${usual[@]}"
refused 2 "too long a title" '--title' --name good --version 2 --title "$(printf '%01024d' 1)" "${usual[@]}"

rest=(--key "$TMPDIR/key" --to "$site")
refused 3 "a missing disk" "cannot read $TMPDIR/none: No such file" --name good --version 2 --disk "$TMPDIR/none" "${rest[@]}"
refused 3 "a missing kernel" "cannot read $TMPDIR/none: No such file" --name good --version 2 --disk "$disk" --kernel "$TMPDIR/none" "${rest[@]}"
mkfifo "$TMPDIR/pipe"
refused 2 "a disk that is a pipe" 'neither a file nor a block device' --name good --version 2 --disk "$TMPDIR/pipe" "${rest[@]}"
refused 2 "a disk that is a folder" 'neither a file nor a block device' --name good --version 2 --disk "$TMPDIR" "${rest[@]}"
refused 2 "a disk that is a character device" 'neither a file nor a block device' --name good --version 2 --disk /dev/zero "${rest[@]}"

rest=(--name good --version 2 --disk "$disk" --to "$site")
refused 3 "a missing key" "none" --key "$TMPDIR/none" "${rest[@]}"
refused 5 "a public key" 'not a secret key' --key "$TMPDIR/key.pub" "${rest[@]}"
head -c 100 "$TMPDIR/key" >"$TMPDIR/short"
refused 5 "a key that was cut short" "$TMPDIR/short" --key "$TMPDIR/short" "${rest[@]}"
echo "no key" >"$TMPDIR/nokey"
refused 5 "a key that is none" "$TMPDIR/nokey" --key "$TMPDIR/nokey" "${rest[@]}"
refused 3 "a missing site key" "none" --key "$TMPDIR/key" --site-key "$TMPDIR/none" "${rest[@]}"
printf 'word\nword\n' | setsid minisign -G -p "$TMPDIR/locked.pub" -s "$TMPDIR/locked" >"$TMPDIR/minisign.log" 2>&1 ||
	bail_out "minisign makes a key with a passphrase"
run setsid -w "$BUILD/rondo" publish --key "$TMPDIR/locked" "${rest[@]}"
status_is 9 "a key with a passphrase, and no terminal to ask at"
like "$err" 'locked.*passphrase' "says so"
refused 3 "a parent that is not there" 'no version or tag 9 of good' --key "$TMPDIR/key" --parent "$site/good:9" "${rest[@]}"
run_rondo publish --name good --version 2 --disk "$disk" --key "$TMPDIR/key" --to /proc/1/site
not_ok "a site that cannot be made" [ "$status" -eq 0 ]
like "$err" '/proc/1/site' "is named"

# A catalog that was tampered with is not signed again.
for damage in 's/good 1 1/good 1 2/' 's/^number .*/number 99/' '/^---/,$d' 's/^rondo-catalog 1/rondo-catalog 2/'; do
	cp "$site/catalog.rondo" "$TMPDIR/catalog"
	sed -i "$damage" "$site/catalog.rondo"
	run_rondo publish --name good --version 2 "${usual[@]}"
	status_is 5 "a catalog after $damage"
	run_rondo renew "$site" --key "$TMPDIR/key"
	status_is 5 "neither by renew"
	cp "$TMPDIR/catalog" "$site/catalog.rondo"
done

# The newest version is the parent, and what its packs claim is believed if its publisher is the same: that it is must be proven.
"$BUILD/rondo" key new "$TMPDIR/other" >/dev/null 2>&1
for damage in 'signed by another key' 'of another serial'; do
	rm -rf "$TMPDIR/forged"
	cp -r "$site" "$TMPDIR/forged"
	key=$TMPDIR/key serial=2
	[ "$damage" != 'signed by another key' ] || key=$TMPDIR/other serial=1
	python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/forged" "$TMPDIR/key" --manifest-key "$key" --manifest good:1 '^serial 1$' "serial $serial"
	run_rondo publish --name good --version 2 --disk "$disk" --key "$TMPDIR/key" --to "$TMPDIR/forged"
	status_is 5 "a newest version $damage, in the name of ours"
	like "$err" "good 1 of $TMPDIR/forged, the parent unless --parent" "which is named"
done

# A path that has room for the site, and none for its catalog.
long=$TMPDIR/$(printf 'd%.0s' {1..100})
while [ ${#long} -lt 3990 ]; do long+=/$(printf 'd%.0s' {1..80}); done
long+=/$(printf "%0$((4087 - ${#long}))d" 0)
run_rondo publish --name good --version 1 --disk "$disk" --key "$TMPDIR/key" --to "$long"
not_ok "too long a path" [ "$status" -eq 0 ]
like "$err" 'the path .* is too long' "is refused, not taken for a new site's"
is "$(print_site)" "$before" "nothing has changed"
ok "the site is whole" check_site "$site"
done_testing
