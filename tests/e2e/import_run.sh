#!/bin/bash
# A machine runs from an imported file without a network, and from a stick without asking the site for a block, also when that stick
# is named at its second start only.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need jq

publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
run_rondo export "$url/tiny" "$TMPDIR/file"
status_is 0 "export"

export RONDO_HOME=$TMPDIR/home2 RONDO_CACHE=$TMPDIR/cache2
lines=$(wc -l <"$access")
run_rondo import "$TMPDIR/file"
status_is 0 "import elsewhere"
run_rondo run --offline --ephemeral --until 'login:|ready' --timeout 170 "$url/tiny"
status_is 0 "a machine boots offline"
is "$(($(wc -l <"$access") - lines))" 0 "and the site has not heard of it"

# The next rondo-cloop has another cache, and nothing in memory.
ended() {
	[ -z "$(cloop_pid)" ]
}
next_cloop() {
	kill "$(cloop_pid)"
	wait_until 20 ended || bail_out "rondo-cloop ends"
}
next_cloop
export RONDO_HOME=$TMPDIR/home3 RONDO_CACHE=$TMPDIR/cache3
mkdir "$TMPDIR/stick"
tar xf "$TMPDIR/file" -C "$TMPDIR/stick" objects
lines=$(wc -l <"$access")
run_rondo run --source "$TMPDIR/stick" --until 'login:|ready' --timeout 170 "$url/tiny"
status_is 0 "a machine boots, with a stick"
is "$(tail -n +$((lines + 1)) "$access" | grep -c 'GET /objects/')" 0 "and asks the site for its catalog alone"
next_cloop
rm -rf "$RONDO_CACHE"
stop_process "$server"
run_rondo start tiny --offline --source "$TMPDIR/stick" --until 'login:|ready' --timeout 170
status_is 0 "it starts again from the stick, when site and cache are gone"
done_testing
