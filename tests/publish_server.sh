# shellcheck shell=bash
# Publishing to tests/hostile/publish_server.py; after lib.sh and sites.sh.
#
#   start_publish_server     over $site, whose key is $TMPDIR/sitekey: sets $to; its log is $log, its script $script, and what it
#                            was given last lies in $kept (session, manifest)
#   asked REGEX              how many requests of the log match
#   make_site                $site with an image base 1 of $TMPDIR/one, which $TMPDIR/key may publish "image" and "twin" to

log=$TMPDIR/requests script=$TMPDIR/script kept=$TMPDIR/kept to=''

make_site() {
	need_key
	"$BUILD/rondo" key new "$TMPDIR/sitekey" >/dev/null 2>&1
	must_publish base 1 "$TMPDIR/one" --site-key "$TMPDIR/sitekey"
	local name
	for name in image twin; do
		"$BUILD/rondo" renew "$site" --key "$TMPDIR/sitekey" --allow "$("$BUILD/rondo" key show "$TMPDIR/key.pub"):$name" >/dev/null 2>&1 ||
			bail_out "the site allows $name"
	done
}

start_publish_server() {
	mkdir -p "$kept"
	start_process server python3 "$ROOT/tests/hostile/publish_server.py" "$site" --rondo "$BUILD/rondo" --key "$TMPDIR/sitekey" --log "$log" \
		--script "$script" --keep "$kept"
	wait_until 10 grep -q '^ready ' "$TMPDIR/server.log" || bail_out "the server starts"
	to=http://127.0.0.1:$(awk '{ print $2 }' "$TMPDIR/server.log")/
}

asked() {
	grep -c -- "$1" "$log"
}
