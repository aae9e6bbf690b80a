#!/bin/bash
# A site is plain files: rondo-server, nginx and Python's http.server (which ignores Range) give the same bytes.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/servers.sh"
need curl python3 nginx perl

site=$TMPDIR/site
mkdir -p "$site"
make_object() { # BYTES
	head -c "$1" /dev/urandom >"$site/new"
	local hash
	hash=$(sha256sum "$site/new")
	hash=${hash%% *}
	mkdir -p "$site/objects/${hash:0:2}"
	mv "$site/new" "$site/objects/${hash:0:2}/$hash"
}
for size in 0 1 4095 4096 131072 131073 2097152 8388608; do make_object "$size"; done
printf 'rondo-catalog 1\n' >"$site/catalog.rondo"
printf '<p>page</p>' >"$site/index.html"
chmod -R a+rX "$site" "$TMPDIR" # nginx, started as root, reads as another user

start_process rondo rondo-server --listen 127.0.0.1:0 "$site"
wait_until 10 grep -q '^listening on' "$TMPDIR/rondo.log" || bail_out "rondo-server starts"
rondo=$(sed -n 's/^listening on //p' "$TMPDIR/rondo.log")

start_nginx "$site"

start_python "$site"

# fetch URL FILE CURL-OPTION…: the body, and prints status and Content-Range.
fetch() {
	local url=$1 file=$2
	shift 2
	rm -f "$file"
	curl -sS --max-time 30 -o "$file" -w '%{http_code}' -D "$TMPDIR/headers" "$@" "$url"
	[ -e "$file" ] || : >"$file"
	tr -d '\r' <"$TMPDIR/headers" | sed -n 's/^content-range: / /Ip'
}
same_everywhere() { # PATH
	local server
	for server in "$rondo" "$nginx" "$python"; do
		[ "$(fetch "$server$1" "$TMPDIR/got")" = 200 ] || return 1
		cmp "$TMPDIR/got" "$site/$1" || return 1
	done
}
cd "$site" || exit 1
objects=(objects/*/*)
is "${#objects[@]}" 8 "there are objects"
for path in "${objects[@]}" catalog.rondo index.html; do
	ok "$path: the same bytes from all three" same_everywhere "$path"
done

# Ranges as a client asks for them: ours and nginx's answers are equal in status, Content-Range and bytes. What
# Python sends is the whole file.
for path in "${objects[@]}"; do
	[ -s "$path" ] || continue # servers differ on ranges of nothing, and no object is empty
	for range in 0-0 0-131071 4096-8191 100000- -1 -5000 8388607-9000000 8388608- 99999999-; do
		ours=$(fetch "$rondo$path" "$TMPDIR/ours" -r "$range")
		theirs=$(fetch "$nginx$path" "$TMPDIR/theirs" -r "$range")
		what="$range of $(stat -c %s "$path") bytes"
		is "$ours" "$theirs" "$what: as nginx (${ours%% *})"
		[ "${ours%% *}" = 416 ] || ok "$what: the same bytes" cmp "$TMPDIR/ours" "$TMPDIR/theirs"
	done
	is "$(fetch "$python$path" "$TMPDIR/whole" -r 0-0)" 200 "http.server answers a range with 200"
	ok "and the whole file" cmp "$TMPDIR/whole" "$path"
done
done_testing
