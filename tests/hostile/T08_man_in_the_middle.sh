#!/bin/bash
# T08, with T01 and T02: plain HTTP, and somebody on the way who alters what he likes, answers for the server, or sends a login page. Everything
# is asserted of each: exit code, message, what is asked for, that nothing changes, memory and time.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl sqlite3

for i in 1 2; do make_disk "$TMPDIR/disk$i" 4 "$i"; done
must_publish image 1 "$TMPDIR/disk1"
attack
case $url in http://*) pass "the site is reached by plain HTTP" ;; *) fail "the site is reached by plain HTTP" ;; esac
run_rondo inspect "${url}image"
mv "$RONDO_HOME" "$TMPDIR/older"
must_publish image 2 "$TMPDIR/disk2"
manifest=$out
run_rondo inspect "${url}image"
status_is 0 "a user knows it"
mv "$RONDO_HOME" "$TMPDIR/known"
map=$(sed -n 's/^member disk [0-9]* [^,]*,\([0-9a-f]*\),.*/\1/p' "$site/objects/${manifest:0:2}/$manifest")
under() { # RULE…
	rm -rf "$RONDO_HOME" "$RONDO_CACHE"
	cp -r "$TMPDIR/known" "$RONDO_HOME"
	rules "$@"
}
printf '<html><h1>Welcome to our wireless network</h1>%2000s</html>\n' '' >"$TMPDIR/login.html"
mkdir "$TMPDIR/portal"
cp "$TMPDIR/login.html" "$TMPDIR/portal/catalog.rondo"
cp "$TMPDIR/login.html" "$site/"

# What is altered, and with it where the command stops asking.
for at in 10 300 600; do
	under "/catalog.rondo flip at=$at"
	rm -r "$RONDO_HOME" && cp -r "$TMPDIR/older" "$RONDO_HOME" # who knows the same catalog already is not sent it again
	withstands "T02 altered catalog, byte $at" 5 'catalog of http://127\.0\.0\.1' 'catalog\.rondo' rondo pull "${url}image"
	under "/objects/*/$manifest flip at=$at"
	withstands "T02 altered manifest, byte $at" 5 'image 2: .*127\.0\.0\.1' "catalog\.rondo|objects/../$manifest" rondo pull "${url}image"
done
under "/objects/*/$manifest serve" "/objects/*/$map flip step=100"
withstands "T02 altered map pages" 5 "127\.0\.0\.1" "catalog\.rondo|objects/../($manifest|$map)" rondo pull "${url}image"
under "/objects/*/$manifest serve" "/objects/*/$map serve" '/objects/* flip'
withstands "T01 altered chunk" 5 "objects/../[0-9a-f]{64}.*127\.0\.0\.1|127\.0\.0\.1.*objects/../[0-9a-f]{64}" 'catalog\.rondo|objects/.*' rondo pull "${url}image"

# Who answers for the server.
under "* stale from=$TMPDIR/portal"
withstands "T08 a login page for everything" 5 'catalog of http://127\.0\.0\.1' 'catalog\.rondo' rondo pull "${url}image"
unlike "$err" 'wireless' "which is not shown"
under '/catalog.rondo serve' "* stale from=$TMPDIR/portal"
withstands "T08 a login page for everything but the catalog" 3 'image 2: ' "catalog\.rondo|objects/../$manifest" rondo pull "${url}image"
under '/login.html serve' "* redirect to=${url}login.html"
withstands "T08 a redirect to a login page" 5 '127\.0\.0\.1' 'catalog\.rondo|login\.html' rondo pull "${url}image"
under '* status code=304'
withstands "T08 'not modified', to one who has no such manifest" 5 '127\.0\.0\.1' "catalog\.rondo|objects/.*" rondo pull "${url}image"
forget
rules '/catalog.rondo status code=304'
withstands "T08 'not modified', at first contact" 5 'not modified' 'catalog\.rondo' rondo pull "${url}image"
rules "* stale from=$TMPDIR/portal"
withstands "T08 a login page, at first contact" 5 'catalog of http://127\.0\.0\.1' 'catalog\.rondo' rondo pull "${url}image"
is "$("$BUILD/rondo" trust ls 2>/dev/null | grep -c 127)" 0 "no key is remembered"
under
run_rondo pull "${url}image"
is "$status $out" "0 $manifest" "nobody on the way: the same command works"
done_testing
