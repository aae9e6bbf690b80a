#!/bin/bash
# What is published is what is offered: facts, versions, tags, and only new blocks are stored.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

disk=$TMPDIR/disk
make_disk "$disk" 12
head -c 300001 /dev/urandom >"$TMPDIR/kernel" # not a whole number of blocks
head -c 5000 /dev/zero >"$TMPDIR/initrd"

publish debian 12.5 "$disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --cmdline "console=ttyS0 root=/dev/vda" --memory 768M \
	--ready "login:" --title "Debian ☃" --summary "The universal one" --homepage "https://www.debian.org/" --licence "various" \
	--os "debian/12" --tag stable
status_is 0 "publish"
manifest=$out
like "$manifest" '^[0-9a-f]{64}$' "it prints the manifest's hash, and nothing else, on standard output"
like "$err" 'debian 12.5: .* blocks new .* packs?' "and what it did on standard error"
ok "the site is whole" check_site "$site"

run_rondo inspect "$site/debian" --json
status_is 0 "inspect"
is "$(json manifest)" "$manifest" "the version that was published"
is "$(json name) $(json version) $(json serial)" "debian 12.5 1" "name, version, serial"
is "$(json parent)" "" "no parent"
is "$(json publisher)" "$("$BUILD/rondo" key show "$TMPDIR/key")" "publisher"
is "$(json title)|$(json summary)|$(json homepage)" "Debian ☃|The universal one|https://www.debian.org/" "title, summary, homepage"
is "$(json licence)|$(json os)|$(json arch)" "various|debian/12|x86_64" "licence, os, arch"
is "$(json cmdline)|$(json ready)|$(json memory)" "console=ttyS0 root=/dev/vda|login:|805306368" "cmdline, ready, memory"
is "$(json disk_bytes) $(json kernel_bytes) $(json initrd_bytes)" "12582912 300001 5000" "members and their sizes"
is "$(json initrd_chunks) $(json initrd_stored_bytes) $(json initrd_mapped_bytes)" "0 0 0" "a member of zeros stores nothing"
is "$(json fresh)" true "fresh"
is "$(json pulled)" false "not pulled"

# 12 MiB: 32 of 96 pieces random, 32 compressible, of 16 one block is new, the rest zeros and holes
is "$(json disk_mapped_bytes)" $((32 * 131072 + 32 * 131072 + 16 * 65536)) "zeros and holes are not mapped"
stored=$(json disk_stored_bytes)
ok "compressible blocks are compressed" [ "$stored" -lt $((32 * 131072 + 1000000)) ]
ok "the site is not larger than what it stores and a little" \
	[ "$(du -sb --apparent-size "$site/objects" | cut -f1)" -lt $((stored + 300001 + 400000)) ]

# The signature is minisign's.
sed '/^---$/,$d' "$site/catalog.rondo" >"$TMPDIR/text"
sed '1,/^---$/d' "$site/catalog.rondo" >"$TMPDIR/text.minisig"
ok "minisign accepts the catalog's signature" minisign -Vqm "$TMPDIR/text" -p "$TMPDIR/key.pub"

run_rondo ls "$site" --json
is "$out" "[
  {\"name\": \"debian\", \"version\": \"12.5\", \"serial\": 1, \"tags\": \"latest, stable\", \"manifest\": \"$manifest\", \"pulled\": false, \"revoked\": false}
]" "ls --json"

# A second version stores what is new.
cp --sparse=always "$disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 1000000 20000
truncate -s 14M "$TMPDIR/disk2"
size_before=$(du -sb --apparent-size "$site/objects" | cut -f1)
publish debian 12.6 "$TMPDIR/disk2" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd"
status_is 0 "a second version"
grown=$(($(du -sb --apparent-size "$site/objects" | cut -f1) - size_before))
ok "20,000 new bytes are stored as less than 64 KiB ($grown)" [ "$grown" -lt 65536 ]
like "$err" ' (5|6) blocks new ' "five or six blocks are new"
like "$out" '^[0-9a-f]{64}$' "its manifest"
second=$out
ok "the site is whole" check_site "$site"
run_rondo inspect "$site/debian" --json
is "$(json version) $(json serial) $(json parent)" "12.6 2 $manifest" "the newest is latest, its parent the one before"
is "$(json disk_bytes)" $((14 * 1048576)) "its disk has grown"
run_rondo inspect "$site/debian:stable" --json
is "$(json manifest)" "$manifest" "the tag stays where it was"
run_rondo inspect "$site/debian@sha256:$manifest" --json
is "$(json version)" 12.5 "a version by its hash"
run_rondo inspect "$site/debian:12.6@sha256:$manifest"
status_is 5 "a version that is not the one that the hash pins"

# Of the parent's packs only tables and map pages are read.
if command -v strace >/dev/null; then
	run strace -f -y -e trace=pread64,read,mmap -o "$TMPDIR/strace" "$BUILD/rondo" publish --name debian --version 12.6.1 \
		--disk "$TMPDIR/disk2" --key "$TMPDIR/key" --to "$site"
	status_is 0 "a third, unchanged"
	like "$err" ' 0 blocks new ' "nothing is new"
	bytes=$(grep -E "(pread64|read)\([0-9]+<$site/objects/" "$TMPDIR/strace" | awk '{ sum += $NF } END { print sum + 0 }')
	ok "of $size_before bytes of its packs $bytes are read" [ "$bytes" -gt 0 -a "$bytes" -lt $((size_before / 8)) ]
	is "$(grep -c "mmap(.*<$site/objects/" "$TMPDIR/strace")" 0 "and none is mapped"
else
	skip "of the parent's packs only tables and map pages are read" "no strace"
fi

# The same in another name and the same site: another image, its own serials.
publish other 1 "$disk" --parent "$site/debian:12.5"
status_is 0 "another image, with a parent of another name"
like "$err" ' 0 blocks new ' "shares everything"
run_rondo inspect "$site/other" --json
is "$(json serial) $(json parent)" "1 $manifest" "its own serial, and that parent"

# A parent in another site: its blocks cannot be referred to, so they are stored.
first_site=$site
site=$TMPDIR/elsewhere
publish copy 1 "$disk" --parent "$first_site/debian:12.5"
status_is 0 "a parent in another site"
like "$err" 'elsewhere lacks [0-9]+ packs? of the parent, whose blocks are stored anew' "is said to be of no use"
ok "the other site is whole by itself" check_site "$site"

# A parent whose site does not answer can be waited for, and need not be.
port=$(free_port)
start_process mute perl -MIO::Socket::INET -e \
	'$s = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1", LocalPort => $ARGV[0]) or die; sleep 300' "$port"
wait_for_port "$port"
env --default-signal rondo publish --name copy --version 2 --disk "$disk" --key "$TMPDIR/key" --to "$TMPDIR/cancelled" \
	--parent "http://127.0.0.1:$port/debian" >"$TMPDIR/cancelled.out" 2>&1 &
publisher=$!
sleep 2
ok "a site that does not answer is waited for" kill -INT "$publisher"
before=$SECONDS
wait "$publisher"
is "$?" 11 "Ctrl-C ends that: exit code 11"
ok "at once ($((SECONDS - before)) s)" [ $((SECONDS - before)) -le 2 ]
not_ok "nothing was made" test -e "$TMPDIR/cancelled"
site=$first_site

# Tags move.
publish debian 12.7 "$disk" --tag stable
status_is 0 "a version with a tag that exists"
run_rondo inspect "$site/debian:stable" --json
is "$(json version) $(json disk_bytes)" "12.7 12582912" "the tag has moved"
like "$(cat "$site/catalog.rondo")" "image debian 12.6 2 $second" "older versions are still offered"

# Keys: the site's and the publisher's.
run_rondo key new "$TMPDIR/other"
run_rondo publish --name debian --version 13 --disk "$disk" --key "$TMPDIR/other" --to "$site"
status_is 5 "another key alone is refused"
like "$err" "the key of .* is $("$BUILD/rondo" key show "$TMPDIR/key"); give its file with --site-key" "and told what is missing"
unlike "$(cat "$site/catalog.rondo")" 'image debian 13 ' "nothing has changed"
run_rondo publish --name third --version 1 --disk "$disk" --key "$TMPDIR/other" --site-key "$TMPDIR/key" --to "$site"
status_is 0 "with the site's key it may"
other=$("$BUILD/rondo" key show "$TMPDIR/other")
like "$(cat "$site/catalog.rondo")" "key $other third" "it is listed for that name"
unlike "$(cat "$site/catalog.rondo")" "key $other (debian|other)" "and for no other"
run_rondo inspect "$site/third" --json
is "$(json publisher)" "$other" "the publisher of that image"
run_rondo renew "$site" --key "$TMPDIR/other"
status_is 5 "another key cannot renew"
run_rondo renew "$site" --key "$TMPDIR/key" --expires 2h
status_is 0 "the site's can"
like "$out" 'number [0-9]+, expires 20' "and says number and date"
ok "the site is whole" check_site "$site"

# Codec and level. The second byte behind the pack's magic is the first chunk's codec (docs/formats.md).
seq 1 300000 >"$TMPDIR/text"
compressed() { # ARGUMENT…: publishes the text to a new site; $codec, $bytes
	site=$(mktemp -d "$TMPDIR/codec.XXXXXX")/site
	publish text 1 "$TMPDIR/text" "$@"
	status_is 0 "publish $*"
	local pack
	pack=$(find "$site/objects" -type f -printf '%s %p\n' | sort -n | tail -n 1)
	bytes=${pack%% *}
	codec=$(od -An -tu1 -j9 -N1 "${pack#* }" | tr -d ' ')
}
compressed
is "$codec" 2 "the codec is zstd"
usual=$bytes
compressed --level 1
is "$codec" 2 "a level alone is zstd's"
ok "level 1 stores more ($bytes) than the usual ($usual)" [ "$bytes" -gt "$usual" ]
compressed --codec zstd --level 9
is "$bytes" "$usual" "zstd 9 is the usual"
compressed --codec lz4
is "$codec" 1 "--codec lz4 is LZ4"
ok "which stores more ($bytes)" [ "$bytes" -gt "$usual" ]
run_rondo pull "$site/text"
status_is 0 "and can be pulled"
ok "the site is whole" check_site "$site"
done_testing
