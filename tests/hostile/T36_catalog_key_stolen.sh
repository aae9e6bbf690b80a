#!/bin/bash
# T36: a thief of the site's key shows one user another catalog. It cannot stand for what a publisher signs, and two users who compare
# `rondo trust log` see it; so does one who meets both.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign faketime sqlite3

make_disk "$TMPDIR/disk" 1 1
cp "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 4096 4096
"$BUILD/rondo" key new "$TMPDIR/site.key" >/dev/null 2>&1 || bail_out "no key"
must_publish image 1 "$TMPDIR/disk" --site-key "$TMPDIR/site.key"
cp -r "$site" "$TMPDIR/other"
must_publish image 2 "$TMPDIR/disk2" --site-key "$TMPDIR/site.key"
attack

# The thief holds version 2 back from one user: number 2, with the same text as before but for its dates.
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/other" "$TMPDIR/site.key"
in_home() { # HOME COMMAND…
	local home=$1
	shift
	run env RONDO_HOME="$home" "$BUILD/rondo" "$@"
}
catalogs() { # HOME
	in_home "$1" trust log "$url"
	awk '$2 == "catalog" { print $5, $6 }' <<<"$out"
}
in_home "$TMPDIR/first" inspect "${url}image"
status_is 0 "one user"
rules "/catalog.rondo stale from=$TMPDIR/other"
in_home "$TMPDIR/second" inspect "${url}image"
status_is 0 "another user, to whom the thief shows a catalog of his own"
is "$(catalogs "$TMPDIR/first" | cut -d ' ' -f 1)" 2 "one has number 2"
is "$(catalogs "$TMPDIR/second" | cut -d ' ' -f 1)" 2 "so has the other"
not_ok "but their logs differ" [ "$(catalogs "$TMPDIR/first")" = "$(catalogs "$TMPDIR/second")" ]
is "$(catalogs "$TMPDIR/first")" "2 $(sed '/^---$/,$d' "$site/catalog.rondo" | sha256sum | cut -c 1-64)" "the log has the hash of the text"

# Whoever meets both is warned, once.
rules
in_home "$TMPDIR/second" pull "${url}image"
status_is 0 "the second user meets the owner's catalog"
like "$err" "has signed two different catalogs with the number 2.*rondo trust log '$url" "and is warned"
in_home "$TMPDIR/second" pull "${url}image"
unlike "$err" 'two different' "once"
in_home "$TMPDIR/second" trust log "$url" --json
is "$(grep -c '"what": "catalog".*"number": 2,' <<<"$out")" 2 "both are in the log"
ok "which is JSON" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$TMPDIR/run.out"

# What the thief cannot do: offer something of his own under the publisher's key.
cp -r "$site" "$TMPDIR/forged"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/forged" "$TMPDIR/site.key" --manifest image:2 '^created .*' 'created 2026-11-23T10:00:00Z'
rules "/* stale from=$TMPDIR/forged"
in_home "$TMPDIR/first" pull "${url}image:1" # the catalog is rightly signed, and so is remembered
: >"$requests"
export RONDO_HOME=$TMPDIR/first
withstands "T36 catalog key theft: a manifest of another key under the publisher's" 5 'image 2: .*signature|image: .*signature|manifest of image' \
	'catalog\.rondo|objects/.*' rondo pull "${url}image"
is "$(requests objects)" 1 "no pack was asked for"

# He can hide the newest version from whoever has not seen it, and freeze what he shows: until that expires.
rules "/catalog.rondo stale from=$TMPDIR/other"
withstands "T36 catalog key theft: a hidden version, from who has seen it" 7 'older than number 3|serial 1, but serial 2 was seen' 'catalog\.rondo' \
	rondo pull "${url}image"
export RONDO_HOME=$TMPDIR/third
withstands "T36 catalog key theft: a frozen catalog, once it has expired" 6 'expired on' 'catalog\.rondo' faketime '+100 days' rondo pull "${url}image"
in_home "$TMPDIR/first" trust log
like "$out" "first-contact +[A-Za-z0-9_-]{43} $url - -" "the log has the first contact"
in_home "$TMPDIR/first" trust log "$url" extra
status_is 2 "an argument too many: exit code 2"
done_testing
