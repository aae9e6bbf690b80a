#!/bin/bash
# The attacks that The Update Framework names, each under its name, against a user who knows the site: what is refused, with which exit
# code and words; what is asked for, what changes, and how much memory and time it takes.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign faketime sqlite3

# A site with its own key, whose image has two versions, and another image. The user has seen the newest.
for name in owner thief stolen; do
	"$BUILD/rondo" key new "$TMPDIR/$name" >/dev/null 2>&1 || bail_out "no key"
done
for i in 1 2 3; do make_disk "$TMPDIR/disk$i" 2 "$i"; done
publish_as() { # KEY NAME VERSION DISK
	run_rondo publish --name "$2" --version "$3" --disk "$4" --key "$TMPDIR/$1" --site-key "$TMPDIR/owner" --to "$site"
	[ "$status" -eq 0 ] || bail_out "publish $2 $3: $err"
}
need_key
publish_as key image 1 "$TMPDIR/disk1"
first=$out
cp -r "$site" "$TMPDIR/old"
publish_as owner other 1 "$TMPDIR/disk3"
other=$out
publish_as key image 2 "$TMPDIR/disk2"
second=$out

# One attack takes the ten seconds that a server may be silent, and so goes on beside the others: a malicious mirror.
attack
good=$url
attack
silent=$url silent_requests=$requests
rules '* silent'
mirrored() { # COPY MIRROR: the site with that mirror and the good one, and itself without objects
	cp -r "$site" "$TMPDIR/$1"
	rm -r "$TMPDIR/$1/objects"
	run_rondo renew "$TMPDIR/$1" --key "$TMPDIR/owner" --mirror "$2" --mirror "$good"
	[ "$status" -eq 0 ] || bail_out "renew $1: $err"
	attack "$TMPDIR/$1"
}
mirrored beside.silent "$silent"
RONDO_HOME=$TMPDIR/silent.home RONDO_CACHE=$TMPDIR/silent.cache timeout 60 rondo pull "${url}image" >"$TMPDIR/silent.out" 2>"$TMPDIR/silent.err" &
silent_pull=$!

attack
run_rondo inspect "${url}image"
status_is 0 "a user knows the site"
mv "$RONDO_HOME" "$TMPDIR/known"
forge() { # COPY FORGE-ARGUMENT…: a changed copy of the site, signed with the owner's key
	cp -r "$site" "$TMPDIR/$1"
	python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/$1" "$TMPDIR/owner" "${@:2}" || bail_out "forge $1"
}
under() { # RULE…: a user who knows the site, and has nothing of it in the cache; the server does this
	rm -rf "$RONDO_HOME" "$RONDO_CACHE"
	cp -r "$TMPDIR/known" "$RONDO_HOME"
	rules "$@"
}
accepted() { # COPY: as under, where the catalog of a forged copy is rightly signed, and so is remembered like any other
	under "* stale from=$TMPDIR/$1"
	run_rondo pull "${url}image:1"
	[ "$status" -eq 0 ] || diag "$err"
	: >"$requests"
}
place() { # OBJECT: its place in a site, as the regex of a path
	echo "objects/${1:0:2}/$1"
}
map_pack() { # MANIFEST
	sed -n 's/^member disk [0-9]* [^,]*,\([0-9a-f]*\),.*/\1/p' "$site/$(place "$1")"
}

# --- arbitrary installation: something of the attacker's own --------------------------------------------------------
cp -r "$site" "$TMPDIR/arbitrary"
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/arbitrary" "$TMPDIR/thief" \
	--catalog '^(site \S+) \S+$' "site site $("$BUILD/rondo" key show "$TMPDIR/thief")"
under "* stale from=$TMPDIR/arbitrary"
withstands "arbitrary installation: a site of the attacker's own" 5 'the key of .* has changed' 'catalog\.rondo' rondo pull "${url}image"
forget
withstands "arbitrary installation: at first contact, with the key in the address" 5 'was asked for' 'catalog\.rondo' \
	rondo pull "${url}image#$("$BUILD/rondo" key show "$TMPDIR/owner")"
mkdir -p "$TMPDIR/installed/$(dirname "$(place "$second")")"
{
	sed '/^---$/,$d' "$site/$(place "$second")" >"$TMPDIR/text"
	minisign -Sm "$TMPDIR/text" -s "$TMPDIR/thief" -x "$TMPDIR/text.sig" >/dev/null
	cat "$TMPDIR/text" && echo --- && cat "$TMPDIR/text.sig"
} >"$TMPDIR/installed/$(place "$second")"
under "/objects/*/$second stale from=$TMPDIR/installed"
withstands "arbitrary installation: a manifest that the attacker has signed" 5 "image 2: .*127\.0\.0\.1" "catalog\.rondo|$(place "$second")" \
	rondo pull "${url}image"
forge signed --manifest-key "$TMPDIR/thief" --manifest image:2 '^publisher .*$' "publisher $("$BUILD/rondo" key show "$TMPDIR/thief")"
accepted signed
withstands "arbitrary installation: by a key that may not publish the name" 5 'may not publish that name' 'catalog\.rondo|objects/.*' \
	rondo pull "${url}image"

# --- endless data ---------------------------------------------------------------------------------------------------
for action in endless huge headers gzip; do
	under "/catalog.rondo $action"
	withstands "endless data: $action, the catalog" 5 '127\.0\.0\.1' 'catalog\.rondo' rondo pull "${url}image"
done
under "/$(place "$second") endless"
withstands "endless data: the manifest" 5 'image 2: .*127\.0\.0\.1' "catalog\.rondo|$(place "$second")" rondo pull "${url}image"
under "/$(place "$second") serve" '/objects/* endless'
withstands "endless data: packs" 5 '127\.0\.0\.1' 'catalog\.rondo|objects/.*' rondo pull "${url}image"

# --- extraneous dependencies: images have none; what a manifest can name beside its own ------------------------------
for line in "depends $other" "parent $other\\nmember tools 4096 $other"; do
	forge "extra.${#line}" --manifest-key "$TMPDIR/key" --manifest image:2 '\Z' "$line\\n"
	accepted "extra.${#line}"
	manifest=$(sed -n 's/^image image 2 2 //p' "$TMPDIR/extra.${#line}/catalog.rondo")
	withstands "extraneous dependencies: a manifest with the line ${line%% *}" 5 'image 2: .*manifest' "catalog\.rondo|$(place "$manifest")" \
		rondo pull "${url}image"
done
pack=$(map_pack "$other")
forge lured --manifest-key "$TMPDIR/key" --manifest image:2 '\Z' "boot $pack $(stat -c %s "$site/$(place "$pack")")\\n"
under "* stale from=$TMPDIR/lured"
manifest=$(sed -n 's/^image image 2 2 //p' "$TMPDIR/lured/catalog.rondo")
withstands "extraneous dependencies: a manifest that names another image's pack for its boot" 0 '' \
	"catalog\.rondo|$(place "$manifest")|objects/.*" rondo pull "${url}image"

# --- fast-forward: a thief of the site's key has used up the numbers -------------------------------------------------
forge forward --catalog '^number .*' 'number 9223372036854775807'
under "/catalog.rondo stale from=$TMPDIR/forward"
before=$(state_of)
run_rondo pull "${url}image"
status_is 0 "fast-forward: the highest number that there is, rightly signed, is believed"
not_ok "which is a change, as withstands would see" [ "$(state_of)" = "$before" ]
rules
withstands "fast-forward: then the true catalog is refused" 7 'number 3, older than number 9223372036854775807' 'catalog\.rondo' rondo pull "${url}image"
forge anew --catalog '^id ..' 'id 00' --catalog '^issued .*' "issued $(date -u -d '+2 minutes' +%FT%TZ)"
rules "/catalog.rondo stale from=$TMPDIR/anew"
run_rondo pull "${url}image"
is "$status $out" "0 $second" "fast-forward: the owner goes on under a new id"
rules "/catalog.rondo stale from=$TMPDIR/forward"
withstands "fast-forward: and the thief's catalog is refused from then on" 7 'older' 'catalog\.rondo' rondo pull "${url}image"

# --- indefinite freeze ----------------------------------------------------------------------------------------------
under
withstands "indefinite freeze: the same catalog for ever, pull" 6 'expired on .*rondo renew' 'catalog\.rondo' faketime '+100 days' rondo pull "${url}image"
under '/catalog.rondo status code=304'
withstands "indefinite freeze: 'not modified' for ever, pull" 6 'expired on .*rondo renew' 'catalog\.rondo' faketime '+100 days' rondo pull "${url}image"
under
withstands "indefinite freeze: inspect --require-fresh" 6 'expired on' 'catalog\.rondo' faketime '+100 days' rondo inspect --require-fresh "${url}image"

# --- mix-and-match: parts that are all rightly signed, but of different times ----------------------------------------
forge mixed --catalog '^image image 2 .*\n' '' --catalog '^tag image latest 2' 'tag image latest 1'
under "/catalog.rondo stale from=$TMPDIR/mixed"
withstands "mix-and-match: a new catalog with an old version as its newest" 7 'serial 1, but serial 2 was seen' 'catalog\.rondo' rondo pull "${url}image"
rules
run_rondo pull "${url}image"
is "$status $out" "0 $second" "nothing of it was remembered: the true one, of a lower number, is accepted"
answers() { # NAME OBJECT INSTEAD: a folder that has one object under another's name
	mkdir -p "$TMPDIR/$1/$(dirname "$(place "$2")")"
	cp "$site/$(place "$3")" "$TMPDIR/$1/$(place "$2")"
}
answers older "$second" "$first"
under "/objects/*/$second stale from=$TMPDIR/older"
withstands "mix-and-match: a new catalog, and the old version's manifest" 5 'image 2: .*127\.0\.0\.1' "catalog\.rondo|$(place "$second")" \
	rondo pull "${url}image"
map=$(map_pack "$second")
answers older "$map" "$(map_pack "$first")"
under "/objects/*/$map stale from=$TMPDIR/older"
withstands "mix-and-match: a new manifest, and the old version's map" 5 '127\.0\.0\.1' "catalog\.rondo|$(place "$second")|$(place "$map")" \
	rondo pull "${url}image"

# --- rollback -------------------------------------------------------------------------------------------------------
under "/catalog.rondo stale from=$TMPDIR/old"
withstands "rollback: an older catalog" 7 'number 1, older than number 3' 'catalog\.rondo' rondo pull "${url}image"
withstands "rollback: an older catalog, for a version that it has" 7 'number 1, older than number 3' 'catalog\.rondo' rondo pull "${url}image:1"

# --- key compromise: the thief of a publisher's key has published, and is revoked ------------------------------------
under
cp -r "$site" "$TMPDIR/before"
publish_as key image 3 "$TMPDIR/disk3"
run_rondo pull "${url}image"
status_is 0 "key compromise: what the thief of a publisher's key has signed is pulled"
run_rondo renew "$site" --key "$TMPDIR/owner" --revoke "$TMPDIR/key.pub"
run_rondo ls "$url" # so the revocation is known
rules
withstands "key compromise: revoked, it is refused" 5 'which the site has revoked' 'catalog\.rondo' rondo pull "${url}image"
rules
withstands "key compromise: even from the cache" 5 'which the site has revoked' '' rondo inspect --offline "${url}image"
cp -r "$TMPDIR/before/." "$site/"

# --- wrong software: another image, or another version, than was asked for -------------------------------------------
forge wrong --catalog '^(image image 2 2) .*' "image image 2 2 $other"
accepted wrong
withstands "wrong software: another image's manifest in the catalog's line" 5 'may not publish|says image 2 \(serial 2\), but the manifest is of other 1' \
	"catalog\.rondo|$(place "$other")" rondo pull "${url}image:2"
forge newer --catalog '^(image image 2 2) .*' "image image 2 2 $first"
accepted newer
withstands "wrong software: an older version's manifest in the catalog's line" 5 'says image 2 \(serial 2\), but the manifest is of image 1' \
	"catalog\.rondo|$(place "$first")" rondo pull "${url}image:2"
answers wrong.object "$second" "$other"
under "/objects/*/$second stale from=$TMPDIR/wrong.object"
withstands "wrong software: another image's manifest" 5 'image 2: .*127\.0\.0\.1' "catalog\.rondo|$(place "$second")" rondo pull "${url}image"
answers wrong.object "$map" "$(map_pack "$other")"
under "/objects/*/$map stale from=$TMPDIR/wrong.object"
withstands "wrong software: another image's pack" 5 '127\.0\.0\.1' "catalog\.rondo|$(place "$second")|$(place "$map")" rondo pull "${url}image"
under
withstands "wrong software: another version than the one whose hash was pinned" 5 'not the version that the address pins' 'catalog\.rondo' \
	rondo pull "${url}image:2@sha256:$first"

# --- malicious mirror prevents updates: of two, one does its worst ---------------------------------------------------
attack
bad=$url bad_rules=$attack_script bad_requests=$requests
mirrored beside.bad "$bad"
run_rondo inspect "${url}image"
rm -rf "$TMPDIR/known"
cp -r "$RONDO_HOME" "$TMPDIR/known"
for action in 'status code=404' 'status code=503' flip endless reset "redirect to=file:///etc/passwd"; do
	printf '%s\n' "* $action" >"$bad_rules.new" && mv "$bad_rules.new" "$bad_rules"
	under
	withstands "malicious mirror prevents updates: $action" 0 '' 'catalog\.rondo|objects/.*' rondo pull "${url}image"
	is "$out" "$second" "the version comes from the other one"
done
ok "the malicious one was asked" grep -q /objects/ "$bad_requests"
wait "$silent_pull"
is "$? $(cat "$TMPDIR/silent.out")" "0 $second" "malicious mirror prevents updates: silent"
ok "it was asked, too" grep -q /objects/ "$silent_requests"
done_testing
