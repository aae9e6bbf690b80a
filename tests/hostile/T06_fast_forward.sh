#!/bin/bash
# T06, fast-forward: a thief of the key that signs a site's catalogs has signed the number 2^63-1. The owner, whose other key is elsewhere, has a root
# statement name a new key for catalogs: whoever had taken the thief's catalog takes number 4 of the new key, and the thief's nothing.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign sqlite3

cd "$TMPDIR" || bail_out "no folder"
make_disk disk 1 1
for name in publisher owner online online2; do
	"$BUILD/rondo" key new "$name" >/dev/null 2>&1 || bail_out "no key"
done
run_rondo publish --name image --version 1 --disk disk --key publisher --site-key owner --to site
status_is 0 "a site"
run_rondo key rotate site --key owner --catalog-key online
status_is 0 "its owner keeps one key away, and has another one for catalogs"
like "$out" 'root 2, number 2' "root 2"
site=$TMPDIR/site
attack
online=$("$BUILD/rondo" key show online) online2=$("$BUILD/rondo" key show online2)
run_rondo pull "${url}image"
status_is 0 "a client"
like "$err" "first contact with $url, whose key is $online" "who meets the site now"

cp -r site thief
python3 "$ROOT/tests/hostile/forge.py" thief online --catalog '^number .*' 'number 9223372036854775807' --catalog '^expires .*' 'expires 9999-12-31T23:59:59Z' \
	--catalog '^issued .*' 'issued 2099-01-01T00:00:00Z' --keep-number
rules "/catalog.rondo stale from=$TMPDIR/thief"
run_rondo pull "${url}image"
status_is 0 "the thief's catalog is the site's to whoever sees it"
rules
withstands "T06 fast-forward: and the owner's next one is a rollback" 7 'older than number 9223372036854775807' 'catalog\.rondo' rondo pull "${url}image"

run_rondo key rotate site --key owner --catalog-key online2 --revoke online.pub
status_is 0 "a root statement names a new key, and revokes the stolen one"
like "$out" 'root 3, number 3' "root 3"
run_rondo publish --name image --version 2 --disk disk --key publisher --site-key online2 --to site
status_is 0 "what is published next is signed with the new key"
rules
run_rondo pull "${url}image"
status_is 0 "number 4 of the new key is accepted"
like "$err" "the key of $url is now $online2: the keys known before vouch for it \(root 3\)" "which is told"
is "$(requests '/roots/') $(requests '/roots/3')" "1 1" "for one request: the root that was not known"
unlike "$err" 'clock' "the date that the thief had signed is forgotten, too"
run_rondo inspect --json --offline "${url}image"
is "$status $(json version)" "0 2" "the owner's version is the one"

# The thief goes on.
rules "/catalog.rondo stale from=$TMPDIR/thief"
withstands "T06 fast-forward: the thief's catalog" 5 "signed with the key $online, which the site has revoked \(root 3\)" 'catalog\.rondo|roots/.*' \
	rondo pull "${url}image"
cp -r site thief2
python3 "$ROOT/tests/hostile/forge.py" thief2 online --catalog '^site ([^ ]*) .*' "site site $online" --catalog '^number .*' 'number 9223372036854775807'
rules "/catalog.rondo stale from=$TMPDIR/thief2"
run_rondo pull "${url}image"
status_is 5 "one that names root 3, and has his key: exit code 5"
python3 "$ROOT/tests/hostile/forge.py" thief2 online --catalog "^revoke $online\$" 'opt-x y' --catalog '^root 3 .*' "root 3 $(printf '%064d' 7)" --keep-number
run_rondo pull "${url}image"
status_is 5 "one that names another root 3: exit code 5"
rules
run_rondo pull "${url}image"
status_is 0 "and nothing has changed"
is "$(requests '/roots/')" 0 "no root is asked for again"

# A thief who has the owner's new key, but not the owner's first, cannot take back what a root revokes.
cp -r site thief3
python3 "$ROOT/tests/hostile/forge.py" thief3 online2 --catalog "^revoke $online\$" 'opt-x y'
rules "/catalog.rondo stale from=$TMPDIR/thief3"
run_rondo pull "${url}image"
like "$status $err" "^5 .*does not revoke the key $online, which root 3 revokes" "a catalog that takes back what the root revokes: exit code 5"
done_testing
