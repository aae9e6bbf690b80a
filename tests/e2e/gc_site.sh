#!/bin/bash
# rondo gc SITE removes what no listed version needs, after the grace time; never anything else, and nothing at all where a
# manifest or a map cannot be read.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

make_disk "$TMPDIR/disk" 24 1
must_publish image 1 "$TMPDIR/disk"
make_disk "$TMPDIR/disk2" 12 2
must_publish other 1 "$TMPDIR/disk2"
objects() {
	find "$site/objects" -type f -printf '%f %s\n' | sort
}
listed=$(objects)
run_rondo gc "$site" --grace 0
status_is 0 "where every object is needed"
is "$(objects)" "$listed" "none is removed"
like "$out" "removed 0 of $(wc -l <<<"$listed") objects" "which it says"

# A version that the catalog lists no longer: a copy of the catalog from before it comes back.
cp "$site/catalog.rondo" "$TMPDIR/before"
make_disk "$TMPDIR/disk3" 12 3
must_publish other 2 "$TMPDIR/disk3"
mv "$TMPDIR/before" "$site/catalog.rondo"
all=$(objects)
run_rondo gc "$site" --json
is "$status $(json removed) $(json objects)" "0 0 $(wc -l <<<"$all")" "what is no longer needed stays for its grace time"
unneeded=$(json waiting)
is "$unneeded" "$(($(wc -l <<<"$all") - $(wc -l <<<"$listed")))" "and is noted"
is "$(wc -l <"$site/.unfinished/.unneeded")" "$unneeded" "each with a line"
run_rondo gc "$site" --dry-run --grace 0
is "$status $(grep -c 'would be removed' <<<"$out")" "0 $unneeded" "--dry-run names it"
is "$(objects)" "$all" "and removes nothing"
run_rondo gc "$site"
is "$(objects)" "$all" "a collection at once after it does not either"

# Time passes: the notes grow old.
sed -i 's/ 20..-/ 2020-/' "$site/.unfinished/.unneeded"

# While something cannot be read, nothing is removed.
refused() { # WHAT FILE
	cp -a "$2" "$TMPDIR/kept"
	flip 1 5 "$2"
	run_rondo gc "$site" --grace 0
	status_is 5 "$1 is damaged: exit code 5"
	like "$err" 'nothing was removed' "$1 is damaged: it says so"
	like "$err" "$3" "$1 is damaged: and what it is about"
	rm "$2"
	run_rondo gc "$site" --grace 0
	status_is 5 "$1 is missing: exit code 5"
	cp -a "$TMPDIR/kept" "$2"
	is "$(objects)" "$all" "$1: nothing was removed"
}
run_rondo inspect --json "$site/image"
manifest=$(json manifest)
refused "a manifest" "$site/objects/${manifest:0:2}/$manifest" 'image 1'
page=$(grep -a '^member disk ' "$site/objects/${manifest:0:2}/$manifest" | cut -d, -f2)
refused "a pack with a map page" "$site/objects/${page:0:2}/$page" 'image 1'
cp "$site/catalog.rondo" "$TMPDIR/catalog"
flip 3 3 "$site/catalog.rondo"
run_rondo gc "$site" --grace 0
status_is 5 "a damaged catalog: exit code 5"
cp "$TMPDIR/catalog" "$site/catalog.rondo"
is "$(objects)" "$all" "nothing was removed"

# Files that are none of ours.
touch "$site/objects/README"
ln -s /etc/passwd "$site/objects/${page:0:2}/${page:0:2}00"
run_rondo gc "$site" --json
is "$status $(json removed) $(json foreign)" "0 $unneeded 2" "with all mended, and a week later, it is removed"
ok "foreign files stay" test -e "$site/objects/README" -a -L "$site/objects/${page:0:2}/${page:0:2}00"
rm "$site/objects/README" "$site/objects/${page:0:2}/${page:0:2}00"
ok "and the site is whole" check_site "$site"
is "$(($(objects | wc -l) + unneeded))" "$(wc -l <<<"$all")" "without the rest"

# What was found unneeded, then listed for a while, has all of its grace time when it is withdrawn.
cp "$site/catalog.rondo" "$TMPDIR/before"
must_publish other 2 "$TMPDIR/disk3"
mv "$TMPDIR/before" "$site/catalog.rondo"
run_rondo gc "$site"
sed -i 's/ 20..-/ 2020-/' "$site/.unfinished/.unneeded"
must_publish other 2 "$TMPDIR/disk3"
must_publish other 3 "$TMPDIR/disk2"
run_rondo withdraw "$site" other 2 --key "$TMPDIR/key"
status_is 0 "a version is withdrawn that was unneeded before it was published"
run_rondo gc "$site" --json
is "$status $(json waiting)" "0 $unneeded" "its objects wait again" || diag "$out"
is "$(ls "$site/objects"/*/* | wc -l)" "$(($(json objects) - $(json removed)))" "and are there"
run_rondo gc "$site" --grace 0
ok "the site is whole without them" check_site "$site"

# An interrupted publication goes on after a collection.
make_disk "$TMPDIR/large" 60 9
start_process publishing "$BUILD/rondo" publish --name large --version 1 --disk "$TMPDIR/large" --key "$TMPDIR/key" --to "$site"
ok "a publication has placed packs" wait_until 20 test -s "$site/.unfinished/large"
run_rondo gc "$site" --grace 0
busy=$status
kill -9 "$process"
wait "$process" 2>/dev/null
if [ -s "$site/.unfinished/large" ] && ! grep -aq '^image large ' "$site/catalog.rondo"; then
	is "$busy" 10 "a collection beside a publication is refused"
	packs=$(cut -d ' ' -f 1 "$site/.unfinished/large" | while read -r p; do [ ! -e "$site/objects/${p:0:2}/$p" ] || echo "$p"; done)
	ok "it was killed, and $(wc -l <<<"$packs") packs are there" test -n "$packs"
	run_rondo gc "$site" --grace 0
	status_is 0 "a collection then"
	for p in $packs; do
		[ -e "$site/objects/${p:0:2}/$p" ] || fail "pack $p was removed"
	done
	must_publish large 1 "$TMPDIR/large"
	for p in $packs; do
		[ -e "$site/objects/${p:0:2}/$p" ] || fail "pack $p is not used"
	done
	pass "the publication goes on with them"
else
	skip "an interrupted publication" "it was too quick"
fi
run_rondo gc "$site" --grace 0
status_is 0 "a last collection"
ok "the site is whole" check_site "$site"
done_testing
