#!/bin/bash
# time-limit: 900
# Debian boots from its URL to its login prompt, in few requests and hardly more bytes than a boot recorded before it read; pulled, it
# boots without a server and without one attempt to connect.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq strace
need_fuse
publish_appliance debian "$TMPDIR/site" --profile auto
serve_site "$TMPDIR/site"

# No two boots of a busy machine read the same: one that found units in another order has a second try.
for _ in 1 2; do
	: >"$access"
	run_rondo run "$url/debian#$(rondo key show "$TMPDIR/key")" --no-keep --until 'login:' --timeout 300
	[ "$(wc -l <"$access")" -gt 24 ] || break
	diag "a boot with $(wc -l <"$access") requests"
	rondo rm debian
	kill "$(cloop_pid)" && wait_until 20 eval '[ -z "$(cloop_pid)" ]'
	rm -rf "$RONDO_CACHE" "$RONDO_HOME" # the catalog is remembered for a minute
done
status_is 0 "Debian reaches its login prompt over HTTP"
like "$out" "debian login:" "and shows it"
bytes=$(awk '{ sum += $6 } END { print sum }' "$access")
diag "$(wc -l <"$access") requests, $bytes bytes, of a site of $(du -sb "$TMPDIR/site" | cut -f 1) bytes"
boot_set=$(rondo inspect "$TMPDIR/site/debian" --json | jq .boot_stored_bytes)
ok "in at most 24 requests" test "$(wc -l <"$access")" -le 24
ok "at most a tenth more than its boot set of $boot_set bytes was fetched" test $((bytes * 10)) -le $((boot_set * 11))
ok "which is less than a third of the whole" test $((bytes * 3)) -lt "$(du -sb "$TMPDIR/site" | cut -f 1)"
like "$(awk '{ print $4 }' "$access" | sort | uniq -c | sort -rn | awk '/catalog/ { print $1 }')" '^1$' "the catalog was asked for once"
not_ok "no HEAD was sent" grep -q ' HEAD ' "$access"

run_rondo rm debian
run_rondo pull "$url/debian"
status_is 0 "it can be pulled"
stop_process "$server"

run strace -f -qq -e trace=connect -o "$TMPDIR/connects" rondo run "$url/debian" --offline --net none --until 'login:' --timeout 400
status_is 0 "it boots without a server"
not_ok "and nothing tried to connect to a network" grep -E 'AF_INET' "$TMPDIR/connects"
ok "although connections were traced" grep -q 'AF_UNIX' "$TMPDIR/connects"
run_rondo run "$url/debian" --offline --net none --name other --require-pin --until . --timeout 400
status_is 0 "and begins to again, as another machine, with the remembered key"
run_rondo run "$url/tiny" --offline
status_is 3 "what the site never had is not found"
done_testing
