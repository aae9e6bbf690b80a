#!/bin/bash
# T35, the keys of a site change, by root statements: whoever knew one of them goes on without doing anything, however many changes were missed. What
# the keys known before did not sign, what is an old root, a fork, a gap, or has no end is refused, and nothing has changed.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign sqlite3

cd "$TMPDIR" || bail_out "no folder"
make_disk disk 1 1
for name in one two three four five alice mallory; do
	"$BUILD/rondo" key new "$name" >/dev/null 2>&1 || bail_out "no key"
done
one=$("$BUILD/rondo" key show one) two=$("$BUILD/rondo" key show two) five=$("$BUILD/rondo" key show five)
run_rondo publish --name image --version 1 --disk disk --key one --to site
status_is 0 "a site with one key"
site=$TMPDIR/site
attack
in_home() { # HOME COMMAND…
	local home=$1
	shift
	run env RONDO_HOME="$TMPDIR/$home" RONDO_CACHE="$TMPDIR/$home.cache" "$BUILD/rondo" "$@"
}
in_home met pull "${url}image"
status_is 0 "one user meets it"
in_home pinned pull "${url}image#$one"
status_is 0 "one has its key in the address"
in_home added trust add "$url" "$one"
status_is 0 "one has pinned it, and not been there yet"
in_home near pull "${url}image"
cp -r site root1

# Three changes: the key; a second key that must sign, too; other keys again.
run_rondo key rotate site --key one --new-key two
like "$status $out" '^0 site: root 2, number 2' "root 2: another key"
like "$err" "the former key $one may go on publishing what it has published" "what the old one signed stays"
cp -r site root2
in_home near pull "${url}image"
status_is 0 "one is there at each change"
run_rondo key rotate site --key two --new-key two --new-key three --new-key four --threshold 2 --catalog-key alice
like "$status $out" '^0 site: root 3, number 3' "root 3: two of three keys, and one for catalogs"
cp -r site root3
run_rondo key rotate site --key three --key two --catalog-key five
like "$status $out" '^0 site: root 4, number 4' "root 4: another one for catalogs"

rules
in_home met pull "${url}image"
status_is 0 "a client three roots behind catches up"
like "$err" "key of $url is now $five: the keys known before vouch for it \(root 4\)" "and tells the key"
is "$(grep -o '/roots/[0-9]*' "$requests" | tr '\n' ' ')" '/roots/2 /roots/3 /roots/4 ' "it asked for each root, in order"
rules
in_home met pull "${url}image"
is "$status $(requests /roots/)" "0 0" "afterwards none is asked for"
unlike "$err" 'key' "and nothing is said"
rules
in_home near pull "${url}image"
is "$status $(requests /roots/2) $(requests /roots/)" "0 0 2" "who knows root 2 asks for the two that come after it"
for home in pinned new; do
	in_home $home pull "${url}image#$one"
	status_is 0 "the address with the first key goes on serving ($home)"
	rules
	in_home $home pull "${url}image#$one"
	is "$status $(requests /roots/)" "0 0" "without a further request"
done
in_home added pull "${url}image" --require-pin
status_is 0 "so does a key that was pinned before the first contact"
in_home added trust add "$url" "$one"
status_is 0 "which may be pinned again"
in_home added trust ls
like "$out" "^$five pinned +$url \(root 4\)" "trust ls has the key of today, and the root's number"
in_home late pull "${url}image#$two"
status_is 0 "an address with a key of root 2"
rules
in_home fresh pull "${url}image"
like "$status $err" "^0 .*first contact with $url, whose key is $five" "a first contact shows the key of today"
is "$(requests /roots/)" 1 "and asks for the root that it stands for"
rules
in_home fresh pull "${url}image#$one"
is "$status $(requests /roots/)" "0 3" "a link with an older key is followed from there"
in_home fresh pull "${url}image#$("$BUILD/rondo" key show mallory.pub)"
status_is 5 "one with another key is refused"
in_home met trust log "$url"
like "$out" "rotated +$five" "the log has the change"
is "$("$BUILD/rondo" inspect --json site/image 2>/dev/null | python3 -c 'import json, sys; print(json.load(sys.stdin)["publisher"])')" "$one" \
	"the version is still the one that the first key signed"

# Old ones.
for old in root1 root3; do
	rules "/catalog.rondo stale from=$TMPDIR/$old"
	in_home met pull "${url}image"
	like "$status $err" "^7 .*older than root 4" "the catalog of $old: exit code 7"
done
# A user who is at root 1 is shown a catalog of root 4, and roots that are wrong.
rules "/catalog.rondo stale from=$TMPDIR/root1" "/objects/* stale from=$TMPDIR/root1"
in_home before pull "${url}image"
status_is 0 "a user at root 1"
refused() { # EXIT-CODE MESSAGE WHAT RULE…
	local code=$1 message=$2 what=$3
	shift 3
	rules "$@"
	RONDO_HOME=$TMPDIR/before RONDO_CACHE=$TMPDIR/before.cache \
		withstands "T35: $what" "$code" "$message" 'catalog\.rondo|roots/.*' rondo pull "${url}image"
}
mkdir -p wrong/roots
refused 5 'lacks roots/3' "a root that is not there" '/roots/3 status code=404'
cp site/roots/3 wrong/roots/2
refused 5 'it is root 3, and 2 comes after 1' "a gap" "/roots/2 stale from=$TMPDIR/wrong"
cp site/roots/2 wrong/roots/3
refused 7 'it is root 2, and 3 comes after 2' "an older root again" "/roots/3 stale from=$TMPDIR/wrong"
refused 5 'root 2 of' "a root with one bit changed" '/roots/2 flip at=70'
refused 5 'root 3 of' "another one" '/roots/3 flip at=90'
refused 5 '' "roots without end" '/roots/* endless'
refused 5 '' "a root as long as the world" '/roots/* huge'
refused 5 'root 4 of' "a root that is cut off" '/roots/4 truncate to=400'
awk '/^untrusted/ { n++ } n != 1' site/roots/2 >wrong/roots/2 # without the first signature, the old key's
refused 5 'by 0 of the keys of root 1' "a root that only its own keys have signed" "/roots/2 stale from=$TMPDIR/wrong"
awk '/^untrusted/ { n++ } n != 2' site/roots/2 >wrong/roots/2
refused 5 'by 0 of its own keys' "a root that only the old key has signed" "/roots/2 stale from=$TMPDIR/wrong"
# root 4 is signed by three, two and five; the signature of one of them twice is still one
awk '/^untrusted/ { n++ } n == 2 { next } { print } n == 1 { again = again $0 "\n" } END { printf "%s", again }' site/roots/4 >wrong/roots/4
refused 5 'by 1 of the keys of root 3, and needs 2' "a signature twice for a threshold of two" "/roots/4 stale from=$TMPDIR/wrong"

# A fork: the same number, another text, signed by the keys that may. A catalog that names 2^63 roots.
cp -r root1 forked
run_rondo key rotate forked --key one --new-key mallory
status_is 0 "somebody else has the first key, and makes another root 2"
refused 5 'two statements were signed with one number' "the site's catalog with the other root 2" \
	"/catalog.rondo stale from=$TMPDIR/root2" "/roots/2 stale from=$TMPDIR/forked"
cp -r before at2
rules "/catalog.rondo stale from=$TMPDIR/root2" "/roots/2 stale from=$TMPDIR/root2"
in_home at2 pull "${url}image"
status_is 0 "who has taken the one"
rules "/catalog.rondo stale from=$TMPDIR/forked" "/roots/2 stale from=$TMPDIR/forked"
in_home at2 pull "${url}image"
like "$status $err" '^5 .*two statements were signed with one number' "refuses the other: exit code 5"
in_home at2 trust ls
like "$out" "^$two .*root 2" "and stays"
cp -r root1 many
for number in 257 9223372036854775807; do
	python3 "$ROOT/tests/hostile/forge.py" many one --catalog '^(image|root) ' "root $number $(printf '%064d' 7)\\nopt-x "
	refused 5 'expected: root NUMBER SHA256' "a catalog that names root $number" "/catalog.rondo stale from=$TMPDIR/many"
done
cp -r root2 stranger
python3 "$ROOT/tests/hostile/forge.py" stranger mallory --catalog '^root .*' "root 256 $(printf '%064d' 7)" \
	--catalog '^site .*' "site site $("$BUILD/rondo" key show mallory.pub)"
refused 5 "root 2 of" "a stranger's catalog that names root 256" "/catalog.rondo stale from=$TMPDIR/stranger" "/roots/* stale from=$TMPDIR/wrong"
is "$(requests /roots/)" 1 "costs one request"
rules
in_home before pull "${url}image"
status_is 0 "and the site itself is taken as ever"

# The site lacks a root that a mirror has.
site_url=$url
cp -r site mirror
attack "$TMPDIR/mirror"
run_rondo renew site --key five --mirror "$url"
in_home before pull "${site_url}image"
status_is 0 "a user knows the site's mirror"
run_rondo key rotate site --key three --key two --catalog-key alice
cp site/catalog.rondo mirror
mv site/roots/5 mirror/roots
in_home before pull "${site_url}image"
like "$status $err" "^0 .*lacks roots/5.* its catalog comes from the mirror $url" "what the site lacks a mirror has"
in_home before trust ls
like "$out" "root 5" "and the user has followed"
in_home before mirror "$site_url" another
like "$status $(cd another && ls roots | tr '\n' ' ')" '^0 2 3 4 5 $' "so has whoever mirrors the site"
done_testing
