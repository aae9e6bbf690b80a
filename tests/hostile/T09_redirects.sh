#!/bin/bash
# T09: redirects into this computer, to other protocols, to nowhere, in circles, and from a public server to a private one are not
# followed; one to another server like the first is.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl sqlite3

make_disk "$TMPDIR/disk" 2 1
must_publish image 1 "$TMPDIR/disk"
manifest=$out
echo secret >"$TMPDIR/secret"
cp "$site/catalog.rondo" "$TMPDIR/local.rondo" # would be accepted, if it came
attack "$site"
elsewhere=${url%/} elsewhere_requests=$requests
attack "$site"

while read -r target message <&3; do
	rules "/catalog.rondo redirect to=$target"
	withstands "T09 redirect abuse: the catalog, to $target" 5 "127\.0\.0\.1.*$message" 'catalog\.rondo' rondo pull "${url}image"
	is "$(requests)" 1 "and it is asked for once"
done 3<<END
file://$TMPDIR/local.rondo a redirect to file:///.*local\.rondo was refused
gopher://127.0.0.1/ a redirect to gopher://127\.0\.0\.1/ was refused
ftp://127.0.0.1/ a redirect to ftp://127\.0\.0\.1/ was refused
javascript:alert(1) a redirect to javascript:alert\(1\) was refused
http://user:word@127.0.0.1/ a redirect to http://.*127\.0\.0\.1/ was refused
http:// redirect
END
rules '/catalog.rondo redirect to=self'
withstands "T09 redirect abuse: a circle" 5 'more than 5 redirects' 'catalog\.rondo' rondo pull "${url}image"
is "$(requests)" 6 "five redirects are followed, no more"

# Known sites, their manifests and packs.
rules
run_rondo inspect "${url}image"
status_is 0 "the site is known"
rules "/objects/* redirect to=file://$TMPDIR/secret"
rm -rf "$RONDO_CACHE"
withstands "T09 redirect abuse: a manifest, to a file" 5 'a redirect to file:' "catalog\.rondo|objects/../$manifest" rondo pull "${url}image"
rules "/objects/*/$manifest serve" "/objects/* redirect to=file://$TMPDIR/secret"
withstands "T09 redirect abuse: packs, to a file" 5 'a redirect to file:' 'catalog\.rondo|objects/.*' rondo pull "${url}image"
is "$(grep -rlF secret "$RONDO_CACHE" "$RONDO_HOME" | wc -l)" 0 "nothing of the file was read"
rules "/objects/* redirect to=$elsewhere{path}"
withstands "a redirect to another server on this network" 0 '' 'catalog\.rondo|objects/.*' rondo pull "${url}image"
is "$out" "$manifest" "is followed"
ok "as that server knows" grep -q objects "$elsewhere_requests"

# From a public address to a private one: in a network of its own, which has both.
forget
if unshare --net true 2>/dev/null && command -v ip >/dev/null; then
	cat >"$TMPDIR/network" <<'END'
set -e
ip link set lo up
ip address add 8.8.8.8/32 dev lo
ip address add 169.254.169.254/32 dev lo
attack() { # ADDRESS LOG RULE
	python3 "$ROOT/tests/hostile/attack_server.py" "$TMPDIR/site" --bind "$1" --port 8000 --log "$TMPDIR/$2" --rule "$3" >"$TMPDIR/$2.out" &
	for _ in $(seq 200); do
		grep -q ready "$TMPDIR/$2.out" && return
		sleep 0.05
	done
}
attack 169.254.169.254 private.requests '* serve'
private=$!
attack 8.8.8.8 public.requests '* redirect to=http://169.254.169.254:8000{path}'
public=$!
: >>"$TMPDIR/private.requests"
set +e
timeout 60 "$BUILD/rondo" pull http://8.8.8.8:8000/image
code=$?
kill $private $public
exit $code
END
	run env -u http_proxy -u all_proxy unshare --net bash "$TMPDIR/network"
	status_is 5 "T09 redirect abuse: from a public server to the address of cloud secrets: exit code 5"
	like "$err" '8\.8\.8\.8.*a redirect to a private address was refused' "and told"
	is "$(cat "$TMPDIR/public.requests")" "GET /catalog.rondo - redirect" "the public server was asked once"
	is "$(cat "$TMPDIR/private.requests")" "" "the private one never"
else
	skip "T09 redirect abuse: from a public server to a private one" "only root makes networks here"
fi
done_testing
