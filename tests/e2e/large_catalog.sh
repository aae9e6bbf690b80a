#!/bin/bash
# A site with more images than one catalog file holds: its lines move to shards, which are fetched one by one as they are needed, and
# verified like everything else.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

make_disk "$TMPDIR/disk" 1 1
must_publish image 1 "$TMPDIR/disk"
manifest=$out
# 630 other images, as years of publishing would leave them.
lines=$(for i in {100..729}; do printf 'image big%d 1 1 %s\\n' "$i" "$manifest"; done)
tags=$(for i in {100..729}; do printf 'tag big%d latest 1\\n' "$i"; done)
python3 "$ROOT/tests/hostile/forge.py" "$site" "$TMPDIR/key" --catalog '^image image' "${lines}image image" --catalog '^tag image' "${tags}tag image"
ok "a catalog of $(stat -c %s "$site/catalog.rondo") bytes" [ "$(stat -c %s "$site/catalog.rondo")" -gt 60000 ]
run_rondo ls "$site" --json
is "$status $(grep -c '"name"' <<<"$out")" "0 631" "is still one file"

publish zebra 1 "$TMPDIR/disk"
status_is 0 "one image more"
shards=$(grep -c '^shard ' "$site/catalog.rondo")
ok "moves the lines to $shards shards" [ "$shards" -gt 100 ]
is "$(grep -c '^image ' "$site/catalog.rondo")" 0 "and out of the catalog"
run_rondo ls "$site" --json
is "$status $(grep -c '"name"' <<<"$out")" "0 632" "ls lists all of them"
attack
forget
run_rondo inspect "${url}zebra" --json
is "$status $(json name)" "0 zebra" "an image of it"
is "$(requests)" 4 "takes the catalog, one shard, the manifest and its map"
run_rondo inspect "${url}image" --json
is "$(json manifest)" "$manifest" "another one"
is "$(requests catalog)" 1 "does not ask for the catalog again within a minute"
run_rondo inspect "${url}none"
status_is 3 "one that is not there: exit code 3"
run_rondo ls "$url"
status_is 0 "ls fetches all shards"
rules '* status code=500'
run_rondo ls "$url" --offline --json
is "$status $(grep -c '"name"' <<<"$out")" "0 632" "and has them offline"
run_rondo inspect --offline "${url}zebra"
status_is 0 "inspect --offline"
is "$(requests)" 0 "asks for nothing"

# What was pulled is known offline whatever leaves the cache.
rules
run_rondo pull "${url}zebra"
status_is 0 "pull of an image of it"
run_rondo gc --max-size 1
run_rondo ls --json "$url" --offline
status_is 4 "most of the catalog has left the cache"
run_rondo inspect --offline "${url}zebra"
status_is 0 "but for what names the pulled version" || diag "$err"

# Out in one file, and in elsewhere: with the one shard that is needed.
rules
run_rondo export "${url}zebra" "$TMPDIR/zebra"
status_is 0 "export of an image of it"
home=$RONDO_HOME cache=$RONDO_CACHE
export RONDO_HOME=$TMPDIR/home2 RONDO_CACHE=$TMPDIR/cache2
rules '* status code=500'
run_rondo import "$TMPDIR/zebra"
status_is 0 "import, where nothing is known"
run_rondo inspect --offline "${url}zebra"
status_is 0 "it is known there"
shard=$(tar tf "$TMPDIR/zebra" | sed -n 3p)
python3 -c 'import sys; data = open(sys.argv[1], "rb").read(); open(sys.argv[2], "wb").write(data.replace(b"image zebra 1 ", b"image zebra 2 "))' \
	"$TMPDIR/zebra" "$TMPDIR/altered"
rm -rf "$RONDO_HOME" "$RONDO_CACHE"
run_rondo import "$TMPDIR/altered"
status_is 5 "with its shard altered, it is refused"
not_ok "the shard is not kept" test -e "$RONDO_CACHE/$shard"
rules
run_rondo mirror "$url" "$TMPDIR/mirror" zebra
status_is 0 "mirror"
is "$(grep -c '^shard' "$TMPDIR/mirror/catalog.rondo") $(find "$TMPDIR/mirror/objects" -type f | wc -l)" \
	"$shards $((shards + $(tar tf "$TMPDIR/zebra" | grep -c objects/) - 1))" "copies all shards, and what was chosen"
export RONDO_HOME=$home RONDO_CACHE=$cache

# A shard that is altered, cut, another one's, missing.
shard=$(awk '/^shard/ { print $3; exit }' "$site/catalog.rondo")
object=$site/objects/${shard:0:2}/$shard
cp "$object" "$TMPDIR/good"
other=$(awk '/^shard/ { n++; if (n == 2) print $3 }' "$site/catalog.rondo")
for damage in 'flip 1 1 "$object"' 'truncate -s -1 "$object"' 'echo "image zz 1 1 $manifest" >>"$object"' ': >"$object"' \
	'cp "$site/objects/${other:0:2}/$other" "$object"'; do
	eval "$damage"
	forget
	rules
	run_rondo ls "$url"
	status_is 5 "a shard after $damage: exit code 5"
	is "$out" "" "nothing is listed"
	run_rondo publish --name more --version 1 --disk "$TMPDIR/disk" --key "$TMPDIR/key" --to "$site"
	status_is 5 "and nothing published on top of it"
	cp "$TMPDIR/good" "$object"
done
rm "$object"
run_rondo ls "$url"
status_is 3 "a shard that is missing: exit code 3"
before=$(cat "$site/catalog.rondo")
run_rondo publish --name more --version 1 --disk "$TMPDIR/disk" --key "$TMPDIR/key" --to "$site"
status_is 5 "and nothing published on top of it"
is "$(cat "$site/catalog.rondo")" "$before" "the catalog stays as it was: its site is not a new one"
cp "$TMPDIR/good" "$object"

# A later version is added to its shard alone.
before=$(grep '^shard' "$site/catalog.rondo")
publish zebra 2 "$TMPDIR/disk"
status_is 0 "a second version"
is "$(comm -13 <(sort <<<"$before") <(grep '^shard' "$site/catalog.rondo" | sort) | wc -l)" 1 "changes one shard"
run_rondo inspect "${url}zebra:2"
status_is 0 "it is there at once"
run_rondo renew "$site" --key "$TMPDIR/key"
status_is 0 "renew"
run_rondo ls "$site" --json
is "$status $(grep -c '"name"' <<<"$out")" "0 633" "keeps everything"
done_testing
