#!/bin/bash
# T03: a known site that is down, stale, frozen or altered on the way does not keep anybody from its news: its mirrors are asked, in its
# name; they can be of use, but cannot deceive (malicious mirror prevents updates).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign faketime sqlite3

make_disk "$TMPDIR/disk" 2 1
cp "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 4096 4096
must_publish image 1 "$TMPDIR/disk"
cp -r "$site" "$TMPDIR/older"
attack "$site"
mirror=$url mirror_rules=$attack_script mirror_requests=$requests
mirror_does() {
	printf '%s\n' "$@" >"$mirror_rules.new"
	mv "$mirror_rules.new" "$mirror_rules"
}
attack "$TMPDIR/primary"
run_rondo renew "$site" --key "$TMPDIR/key" --mirror "http://127.0.0.1:1/" --mirror "$mirror"
status_is 0 "a site with two mirrors, of which one is never there"
cp -r "$site" "$TMPDIR/primary"
run_rondo pull "${url}image"
status_is 0 "it is known"
not_ok "without its mirrors" grep -q catalog "$mirror_requests"
must_publish image 2 "$TMPDIR/disk2" # which the mirror has first
second=$out
cp -r "$RONDO_HOME" "$TMPDIR/known"
news() { # WHAT RULE…: the site does this, and the news are heard all the same
	local what=$1
	shift
	rm -rf "$RONDO_HOME" "$RONDO_CACHE"
	cp -r "$TMPDIR/known" "$RONDO_HOME"
	rules "$@"
	run_rondo pull "${url}image"
	is "$status $out" "0 $second" "$what: the mirror's news are heard" || diag "$err"
	like "$err" "its catalog comes from the mirror $mirror" "$what: and it is said where they come from"
}
news "down" '* status code=500'
news "not a site any more" '* status code=404'
mkdir "$TMPDIR/altered"
sed 's/^image image 1 1/image image 1 2/' "$site/catalog.rondo" >"$TMPDIR/altered/catalog.rondo"
news "altered" "/catalog.rondo stale from=$TMPDIR/altered" '/objects/* status code=500'
news "older than before" "/catalog.rondo stale from=$TMPDIR/older" '/objects/* status code=500'
news "endless" '/catalog.rondo endless' '/objects/* status code=500'

# What mirrors cannot do.
ours() { # WHAT CODE MIRROR-RULE…: the site is down, and the mirror does this
	local what=$1 code=$2
	shift 2
	rm -rf "$RONDO_HOME" "$RONDO_CACHE"
	cp -r "$TMPDIR/known" "$RONDO_HOME"
	rules '* status code=500'
	mirror_does "$@"
	withstands "T03: the site is down, and the mirror $what" "$code" "${url%/}.*500" 'catalog\.rondo' rondo pull "${url}image"
	unlike "$err" 'comes from the mirror' "nothing is taken from it"
}
ours "is stale" 4 "/catalog.rondo stale from=$TMPDIR/older"
ours "gives an altered catalog" 4 "/catalog.rondo stale from=$TMPDIR/altered"
"$BUILD/rondo" key new "$TMPDIR/other" >/dev/null 2>&1
cp -r "$site" "$TMPDIR/foreign"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/foreign" "$TMPDIR/other" --catalog '^(site \S+) \S+$' \
	"site site $("$BUILD/rondo" key show "$TMPDIR/other")"
ours "gives another key's catalog" 4 "/catalog.rondo stale from=$TMPDIR/foreign"
ours "sends without end" 4 '/catalog.rondo endless'
mirror_does

# A changed key of the site itself is told, whatever the mirrors have.
rm -rf "$RONDO_HOME"
cp -r "$TMPDIR/known" "$RONDO_HOME"
rules "/catalog.rondo stale from=$TMPDIR/foreign"
run_rondo pull "${url}image"
status_is 5 "a changed key of the site itself: exit code 5"

# Frozen: the site serves a catalog that has expired, the mirror has a new one.
rm -rf "$RONDO_HOME"
cp -r "$TMPDIR/known" "$RONDO_HOME"
rules
run faketime '+100 days' "$BUILD/rondo" pull "${url}image"
status_is 6 "both have expired: exit code 6"
run faketime '+100 days' "$BUILD/rondo" renew "$site" --key "$TMPDIR/key"
status_is 0 "the owner renews, and the mirror has it"
run faketime '+100 days' "$BUILD/rondo" pull "${url}image"
is "$status $out" "0 $second" "the site serves what has expired: the mirror's is taken"
done_testing
