#!/bin/bash
# A site is mirrored to a folder: whole, or some of its images; what is there is not fetched again, what is cut short goes on, and at
# no time does the folder name what it lacks.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl cmp

make_disk "$TMPDIR/disk" 8 1
must_publish one 1 "$TMPDIR/disk"
cp --sparse=always "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 3000000 50000
must_publish one 2 "$TMPDIR/disk2"
make_disk "$TMPDIR/other" 4 2
must_publish two 1 "$TMPDIR/other"
attack "$site"
objects=$(find "$site/objects" -type f | wc -l)

run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 0 "mirror"
like "$err" "first contact with $url" "the site is trusted as by any other verb"
like "$err" "3 versions in .*mirror: .* in $objects objects fetched, 0 bytes in 0 were there" "and what was done is said"
ok "catalog and objects are the site's" diff -r --exclude=.lock --exclude=.unfinished "$site" "$TMPDIR/mirror"
is "$(requests 'GET /objects/') $(requests 'GET /catalog')" "$objects 1" "each object was asked for once" ||
	diag "$(cat "$requests")"
not_ok "nothing went through the cache" test -e "$RONDO_CACHE"
ok "the mirror is a site" check_site "$TMPDIR/mirror"

rules
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 0 "mirror again"
is "$(requests)" 1 "asks for the catalog alone"
cp --sparse=always "$TMPDIR/disk2" "$TMPDIR/disk3"
change_disk "$TMPDIR/disk3" 5000000 50000
must_publish one 3 "$TMPDIR/disk3"
new=$(($(find "$site/objects" -type f | wc -l) - objects))
rules
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 0 "mirror after a new version"
like "$err" "in $new objects fetched" "what is new is fetched"
is "$(requests 'GET /objects/')" "$new" "and nothing else is asked for" || diag "$(cat "$requests")"
ok "the mirror is up to date" diff -r --exclude=.lock --exclude=.unfinished "$site" "$TMPDIR/mirror"
rm "$(find "$TMPDIR/mirror/objects" -type f -size +100k | head -n 1)"
rotten=$(find "$TMPDIR/mirror/objects" -type f -size +100k | head -n 1)
printf x | dd of="$rotten" bs=1 seek=100 conv=notrunc status=none
rules
run_rondo mirror "$url" "$TMPDIR/mirror"
is "$status $(requests 'GET /objects/')" "0 2" "what is missing or rotten in it is fetched again" || diag "$err"
ok "and right" diff -r --exclude=.lock --exclude=.unfinished "$site" "$TMPDIR/mirror"

# Cut short: the catalog comes last, and what came before is not fetched again.
rm -rf "$TMPDIR/mirror"
third=$(grep '^image one 3 ' "$site/catalog.rondo" | cut -d ' ' -f 5)
rules "/objects/${third:0:2}/$third status code=404"
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 3 "a site that lacks a manifest"
like "$err" 'one 3' "the version is named"
not_ok "there is no catalog yet" test -e "$TMPDIR/mirror/catalog.rondo"
is "$(find "$TMPDIR/mirror/.unfinished" -type f | wc -l)" 0 "and no temporary"
rules
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 0 "mirror again, when it has it"
unlike "$err" ' 0 bytes in 0 were there' "goes on with what was there"
ok "the mirror is whole" diff -r --exclude=.lock --exclude=.unfinished "$site" "$TMPDIR/mirror"
big=$(find "$site/objects" -type f -size +1M -printf '%P\n' | head -n 1)
rm -rf "$TMPDIR/altered"
rules "/objects/$big flip"
run_rondo mirror "$url" "$TMPDIR/altered"
status_is 5 "altered objects are refused"
not_ok "and are not there" test -e "$TMPDIR/altered/objects/$big"
rules

# Some images.
run_rondo mirror "$url" "$TMPDIR/some" one:2 two
status_is 0 "mirror of some images"
like "$err" '2 versions in .*some: ' "copies these" || diag "$err"
RONDO_CACHE=$TMPDIR/c RONDO_HOME=$TMPDIR/h run_rondo pull "$TMPDIR/some/one:2"
status_is 0 "a chosen one can be had from it"
RONDO_CACHE=$TMPDIR/c RONDO_HOME=$TMPDIR/h run_rondo pull "$TMPDIR/some/one:3"
status_is 3 "another is not there"
run_rondo mirror "$url" "$TMPDIR/some" three
status_is 3 "an image that the site has not"
run_rondo mirror "$url" "$TMPDIR/nothing" three
not_ok "of which nothing is made" test -e "$TMPDIR/nothing"
run_rondo mirror "$url" "$TMPDIR/some" ''
status_is 2 "nor is an empty word an image"
run_rondo mirror "$url" "$TMPDIR/some" 'one:'
status_is 2 "no name of an image"

# Where a mirror may not go.
run_rondo mirror "$site" "$site"
status_is 2 "onto the site itself"
run_rondo mirror "$url" http://127.0.0.1/
status_is 2 "to a URL"
(site=$TMPDIR/another && publish other 1 "$TMPDIR/other" >/dev/null 2>&1)
run_rondo mirror "$url" "$TMPDIR/another"
status_is 2 "onto another site"
like "$err" 'holds another site' "which is said"
cp "$site/catalog.rondo" "$TMPDIR/older"
run_rondo renew "$site" --key "$TMPDIR/key"
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 0 "a renewed catalog is taken over"
ok "as it is" cmp "$site/catalog.rondo" "$TMPDIR/mirror/catalog.rondo"
rules "/catalog.rondo stale from=$TMPDIR/older.site"
mkdir "$TMPDIR/older.site" && cp "$TMPDIR/older" "$TMPDIR/older.site/catalog.rondo"
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 7 "an older one is not"
RONDO_HOME=$TMPDIR/h2 run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 7 "not even by who has not seen the newer one"
ok "the newer one stands" cmp "$site/catalog.rondo" "$TMPDIR/mirror/catalog.rondo"
rules
exec 9>"$TMPDIR/mirror/.lock"
flock 9
run_rondo mirror "$url" "$TMPDIR/mirror"
status_is 10 "while somebody else writes to it"
exec 9>&-
run_rondo trust rm "$url"
run_rondo mirror --require-pin "$url" "$TMPDIR/mirror"
status_is 5 "unpinned, with --require-pin"
done_testing
