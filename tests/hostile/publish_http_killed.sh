#!/bin/bash
# time-limit: 3600
# SIGKILL of the web process or of the keeper, at moments during uploads and hand-ins: the other ends, too; a site that was published to is
# valid each time, and after a new start the same publication goes on and ends. Versions that were promised are there.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publishers.sh"
need python3 perl curl minisign

moments=20
[ -z "${RONDO_TEST_LONG-}" ] || moments=200
seed=${SEED:-$$}
diag "SEED=$seed (of the moments)"
RANDOM=$seed
make_keys owner alice
allow alice tools
start_keeper --site-key "$TMPDIR/owner"
open_session alice

keeper_of() {
	pgrep -P "$1" -x rondo-keeper
}
publish_once() { # all of it; what the answer was is in $TMPDIR/answered
	send_objects "$1" && hand_in "$1" && echo "$code" >"$TMPDIR/answered"
}

version=0
make_next() { # a few blocks are new
	version=$((version + 1))
	make_disk "$TMPDIR/disk" 2 "$version"
	make_version alice tools.editor "$version" "$TMPDIR/disk"
	: >"$TMPDIR/answered"
}
make_next
started=$(date +%s%N)
publish_once "$TMPDIR/tools.editor-1"
took=$((($(date +%s%N) - started) / 1000))
is "$code" 201 "undisturbed, it is published"
make_next

sound=1 listed=1 both=1 cut=0
for ((i = 0; i < moments; i++)); do
	victim=$server
	other=$(keeper_of "$server")
	if [ $((RANDOM % 2)) = 0 ]; then
		victim=$other
		other=$server
	fi
	publish_once "$TMPDIR/tools.editor-$version" 2>"$TMPDIR/once.log" &
	publisher=$!
	moment=$(((RANDOM * 32768 + RANDOM) % took))
	sleep "$((moment / 1000000)).$(printf '%06d' $((moment % 1000000)))"
	kill -KILL "$victim"
	wait_until 10 eval "! kill -0 $other 2>/dev/null || grep -q '^State:.*Z' /proc/$other/status" || both=0
	wait "$publisher" 2>/dev/null
	wait "$server" 2>/dev/null
	if ! "$BUILD/rondo" fsck "$site" >"$TMPDIR/fsck.log" 2>&1; then
		sound=0
		diag_file "$TMPDIR/fsck.log"
	fi
	if grep -q 201 "$TMPDIR/answered" && ! grep -q "^image tools.editor $version " "$site/catalog.rondo"; then
		listed=0
	fi
	if grep -q "^image tools.editor $version " "$site/catalog.rondo"; then
		make_next
	else
		cut=$((cut + 1))
	fi
	start_keeper --site-key "$TMPDIR/owner"
	open_session alice || {
		diag "$code $body"
		diag_file "$TMPDIR/server.log"
		bail_out "no session after a new start"
	}
done
diag "$cut of $moments did not come to the end"
ok "some did not come to the end" [ "$cut" -gt 0 ]
is "$both" 1 "whichever process was killed, the other ended"
is "$sound" 1 "the site is valid each time"
is "$listed" 1 "what was answered with 201 is listed"
publish_once "$TMPDIR/tools.editor-$version"
is "$code" 201 "the same publication goes on and ends"
ok "the site is whole" check_site "$site"
stop_keeper
start_keeper --site-key "$TMPDIR/owner"
wait_until 10 eval '[ -z "$(find "$state/incoming" -type f)" ]'
is "$(find "$site/.unfinished" -name '.rondo-tmp-*' | wc -l) $(find "$state/incoming" -type f | wc -l)" "0 0" "and nothing is left over"
done_testing
