#!/bin/bash
# pull brings all of a version into the cache, byte for byte as it was published, from any web server and from a folder, and asks
# for nothing twice.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/servers.sh"
need python3 perl nginx

make_disk "$TMPDIR/disk" 24 1
head -c 200001 /dev/urandom >"$TMPDIR/kernel"
must_publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --cmdline x
manifest=$out
stored=$(du -sb --apparent-size "$site/objects" | cut -f1)
chmod -R a+rX "$TMPDIR"

same_as_site() { # each object is in the cache, whole, or without the table that only publishers read
	local object name
	for object in "$site"/objects/*/*; do
		name=${object#"$site"/objects/}
		if [ -e "$RONDO_CACHE/objects/$name" ]; then
			cmp "$object" "$RONDO_CACHE/objects/$name" || return 1
		else
			cmp <(tail -c +9 "$object" | head -c 2000) <(tail -c +9 "$RONDO_CACHE/partial/$name" | head -c 2000) || return 1
		fi
	done
	[ "$(ls "$RONDO_CACHE/pins")" = "$manifest" ] && [ "$(find "$RONDO_CACHE/objects" -size +1M | wc -l)" -gt 0 ]
}
pull_from() { # WHAT ADDRESS
	forget
	run_rondo pull "$2image"
	status_is 0 "$1: pull"
	is "$out" "$manifest" "$1: it prints the manifest's hash"
	like "$err" 'first contact.*it is remembered.*image 1 from .*it runs offline now' "$1: it says what it does"
	ok "$1: the cache holds what was published" same_as_site
	run_rondo inspect --offline --json "$2image"
	is "$status $(json pulled) $(json fresh)" "0 true true" "$1: it is there offline"
	run_rondo ls --json
	like "$out" "\"image\", \"version\": \"1\", .*$manifest.*\"pulled\": true" "$1: and listed as pulled"
}

start_process server "$BUILD/rondo" serve "$site" --listen 127.0.0.1:0 --log "$TMPDIR/access"
wait_until 10 grep -q '^listening on' "$TMPDIR/server.log" || bail_out "rondo serve starts"
url=$(sed -n 's/^listening on //p' "$TMPDIR/server.log")
pull_from "rondo serve" "$url"
is "$(grep -c 'GET /catalog.rondo' "$TMPDIR/access")" 1 "the catalog was asked for once"
asked=$(grep -c 'GET /objects/' "$TMPDIR/access")
ok "objects were asked for in $asked requests" [ "$asked" -le $(($(find "$site/objects" -type f | wc -l) + stored / 4194304)) ]
is "$(grep -c HEAD "$TMPDIR/access")" 0 "none of them was HEAD"
lines=$(wc -l <"$TMPDIR/access")
run_rondo pull "${url}image"
status_is 0 "a second pull"
like "$err" 'fetched 0 bytes in 1 request;' "asks for the catalog alone"
is "$(tail -n +$((lines + 1)) "$TMPDIR/access" | grep -c ' 304 ')" 1 "which has not changed"
is "$(($(wc -l <"$TMPDIR/access") - lines))" 1 "and for nothing else"

# A later version: what both have is not fetched again.
cp --sparse=always "$TMPDIR/disk" "$TMPDIR/disk2"
change_disk "$TMPDIR/disk2" 5000000 100000
must_publish image 2 "$TMPDIR/disk2" --kernel "$TMPDIR/kernel" --cmdline x
run_rondo pull "${url}image"
status_is 0 "the next version"
like "$err" 'fetched 1[0-9][0-9]\.[0-9] KiB in ' "only what is new is fetched"
run_rondo ls "$url" --json
is "$(grep -c '"pulled": true' <<<"$out")" 2 "both are pulled now"
rm -rf "$site"
must_publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --cmdline x
manifest=$out

start_nginx "$TMPDIR"
pull_from "nginx" "${nginx}site/"
run_rondo pull "${nginx}site/image"
is "$(tail -n 1 "$TMPDIR/nginx/access.log" | cut -d '"' -f 3)" " 304 0 " "nginx: an unchanged catalog is not sent again"

start_python "$TMPDIR"
pull_from "a server that ignores ranges" "${python}site/"
is "$(grep -o 'GET /site/objects/[^ ]*' "$TMPDIR/python.log" | sort | uniq -d)" "" "a server that ignores ranges: no pack is fetched twice"

pull_from "a folder" "$site/"
cd "$TMPDIR" || exit 1
run_rondo inspect ./site/image --json
is "$(json site)" "$site/" "a folder by a relative path is the same site"
RONDO_SITE=$site run_rondo inspect image --json
is "$(json site)" "$site/" "a folder as the default site"
done_testing
