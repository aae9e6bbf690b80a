#!/bin/bash
# A machine that was run once with "keep" runs without its site afterwards.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need jq

publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
run_rondo run --offline --keep "$url/tiny"
status_is 2 "--keep and --offline contradict each other"
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "keep yes" >"$XDG_CONFIG_HOME/rondo/config"
run_rondo run --detach "$url/tiny"
status_is 0 "a machine runs that the configuration wants kept"
is_kept() {
	[ -n "$(ls "$RONDO_CACHE/pins")" ]
}
ok "all of its version is fetched and pinned meanwhile" wait_until 100 is_kept
run_rondo stop tiny --timeout 1
run_rondo rm tiny
stop_process "$server"
run_rondo run --offline --until 'login:|ready' --timeout 170 "$url/tiny"
status_is 0 "and boots without the site"
done_testing
