#!/bin/bash
# A version travels in one file: export writes it, any tar and web server reads it, and import takes it in elsewhere, from where it
# is used by the address that it came from, without a network.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl tar cmp

make_disk "$TMPDIR/disk" 12 1
head -c 200001 /dev/urandom >"$TMPDIR/kernel"
must_publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --cmdline x
manifest=$out
cp --sparse=always "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 3000000 50000
must_publish image 2 "$TMPDIR/disk2" --kernel "$TMPDIR/kernel" --cmdline x
attack "$site"
file=$TMPDIR/image.rondo
elsewhere() { # another person's folders, empty
	export RONDO_HOME=$TMPDIR/$1.home RONDO_CACHE=$TMPDIR/$1.cache
}

elsewhere one
run_rondo export "${url}image:1" "$file"
status_is 0 "export, from nothing"
is "$out" "$manifest" "it prints the manifest's hash"
like "$err" "image 1 is in .*image.rondo: .*rondo import takes it in" "and says what it did"
packs=$(tar tf "$file" | grep -c '^objects/')
is "$(requests 'GET /objects/')" "$((packs + 0))" "each object was fetched whole, once" || diag "$(grep objects "$requests")"
is "$(find "$TMPDIR" -maxdepth 1 -name '.rondo-tmp-*' | wc -l)" 0 "no temporary is left"
rules
run_rondo export "${url}image:1" "$file.again"
ok "the same version makes the same file" cmp "$file" "$file.again"
is "$(requests 'GET /objects/')" 0 "of which nothing was fetched again"
run_rondo export --offline "${url}image:1" -
ok "offline, to standard output, too" cmp "$file" "$TMPDIR/run.out"
rm "$file.again"
run_rondo export --offline "${url}image:2" "$TMPDIR/two"
status_is 4 "a version that is not in the cache cannot be exported offline"
not_ok "and nothing is written" test -e "$TMPDIR/two"
run_rondo inspect "${url}image:2"
run_rondo export --offline "${url}image:2" "$TMPDIR/two"
status_is 4 "nor one of which it has only pages"
like "$err" "without --offline, rondo export fetches" "and a pull is not advised, which does with parts of packs"
run_rondo export "${url}image:3" "$TMPDIR/three"
status_is 3 "nor one that is not there"
run_rondo export "${url}image:1" "$TMPDIR"
status_is 2 "a folder is no file to export to"
run_rondo export "${url}image:1" "$TMPDIR/none/file"
status_is 3 "nor is one in a folder that is not there"

# What rots in the cache is not exported, but fetched again.
object=$(find "$RONDO_CACHE/objects" -type f -size +1M | head -n 1)
printf x | dd of="$object" bs=1 seek=5000 conv=notrunc status=none
rules
run_rondo export "${url}image:1" "$file.mended"
status_is 0 "a rotten object is no obstacle"
is "$(requests 'GET /objects/')" 1 "it is fetched again"
ok "and the file is right" cmp "$file" "$file.mended"
rm "$file.mended"

# What a killed export left is taken away by the next one, but not what one that runs is writing.
left=$TMPDIR/.rondo-tmp-export-0123456789abcdef
echo "half of it" >"$left"
run flock "$left" "$BUILD/rondo" export --offline "${url}image:1" "$file.beside"
is "$status $(test -e "$left" && echo there)" "0 there" "what another export is writing stays"
run_rondo export --offline "${url}image:1" "$file.beside"
not_ok "what a killed one left goes" test -e "$left"
rm "$file.beside"

mkdir "$TMPDIR/unpacked"
ok "tar unpacks it" tar xf "$file" -C "$TMPDIR/unpacked"
elsewhere unpacked
run_rondo pull "$TMPDIR/unpacked/image:1"
status_is 0 "to a site by itself"

elsewhere nobody
head -c 300000 "$file" >"$TMPDIR/cut"
run_rondo import "$TMPDIR/cut"
status_is 5 "import, of half a file"
like "$err" "first contact with $url" "shows whose key is in it"
unlike "$err" "remembered" "but does not say that it is remembered"
run_rondo trust ls
is "$status $out" "0 " "nor is it"

elsewhere two
rules
run_rondo import "$file"
status_is 0 "import, where nothing is known"
is "$out" "$manifest" "it prints the manifest's hash"
like "$err" "image 1 from $url" "says what it is"
like "$err" "first contact with $url.*it is remembered" "whose key it trusts from now on"
like "$err" "rondo run --offline ${url}image:1" "and what to type next"
is "$(requests)" 0 "without a request"
run_rondo ls --json
like "$out" "\"image\", \"version\": \"1\".*\"pulled\": true" "it is listed as pulled"
run_rondo inspect --offline --json "${url}image:1"
is "$status $(json pulled)" "0 true" "and known by its address"
need_fuse
mount_image "${url}image:1" --offline
status_is 0 "it is mounted offline"
ok "its disk is what was published" cmp "$TMPDIR/disk" "$TMPDIR/mounted/disk"
ok "and its kernel" cmp "$TMPDIR/kernel" "$TMPDIR/mounted/kernel"
unmount_image
is "$(requests)" 0 "still without a request"
run_rondo import - <"$file"
status_is 0 "import again, from standard input"
"$BUILD/rondo" inspect --offline "${url}image:2" >/dev/null 2>&1
run_rondo inspect --offline "${url}image:2"
status_is 4 "the other version is not there"
rules
run_rondo inspect "${url}image:1"
is "$(requests 'GET /catalog.rondo')" 1 "an import is no look at the site: its catalog is asked for at the next use"

# rmi
run_rondo rmi "${url}image:7"
status_is 3 "rmi: a version that was not pulled"
run_rondo rmi nothing
status_is 3 "rmi: an image that was not pulled"
like "$err" 'rondo ls' "rmi: what to type next is said"
(site=$TMPDIR/another && publish image 1 "$TMPDIR/key")
run_rondo inspect "$TMPDIR/another/image"
status_is 0 "another site has an image of that name"
run_rondo rmi "$TMPDIR/another/image"
status_is 3 "rmi: of that site nothing was pulled"
like "$err" "rondo rmi image@sha256:$manifest" "rmi: it names what was"
run_rondo pull "${url}image:2"
second=$out
run_rondo rmi image:1
is "$status $out" "0 $manifest" "rmi by name and version, without a site"
like "$err" "image:1 is not kept any more; [1-9][0-9.]* [KM]iB may leave the cache" "it says how much may leave"
run_rondo rmi image:1
status_is 3 "rmi twice"
run_rondo ls --json
like "$out" "$second" "the other one is kept"
unlike "$out" "$manifest" "this one is not"
run_rondo import "$file"
run_rondo rmi image
status_is 3 "rmi by a name that two pulled versions bear, without a site"
like "$err" 'image:[12], image:[12]' "it names them"
stop_process "$process" # the site is gone
run_rondo rmi "${url}image"
is "$status $out" "0 $second" "rmi by a tag, as the remembered catalog has it" || diag "$err"
run_rondo rmi "${url}image@sha256:$manifest"
is "$status $out" "0 $manifest" "rmi by hash"
run_rondo ls --json
is "$out" "[]" "nothing is kept any more"
done_testing
