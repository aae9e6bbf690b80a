#!/bin/bash
# time-limit: 400
# A visitor's machine boots behind a WebSocket, shows its console and takes what is typed; it is gone when the server is. The visitor
# is Chromium, which begins at the image's page; or, without it, a client that speaks the protocol.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/browser/browser.sh"
need qemu-system-x86_64 python3
need_fuse
publish_appliance tiny "$TMPDIR/site"
port=$(free_port)
url=http://127.0.0.1:$port
start_process server rondo-server --listen "127.0.0.1:$port" --state "$TMPDIR/state" --try 1,memory=128M "$TMPDIR/site"
server=$process
wait_until 20 grep -q '^listening' "$TMPDIR/server.log" || {
	grep -q 'without xterm.js' "$TMPDIR/server.log" && skip_all "rondo-server was built without xterm.js"
	diag_file "$TMPDIR/server.log"
	bail_out "the server starts"
}
machines() {
	RONDO_HOME=$TMPDIR/state/try/home RONDO_RUNTIME=$TMPDIR/state/try/run rondo ps "$@"
}
like "$(curl -sS "$url/images/tiny/")" 'href="../../try/tiny">Try it in the browser<' "the image's page offers it"
like "$(curl -sSi "$url/try/tiny")" "connect-src 'self'.*needs JavaScript.*Start the machine" "the page has a policy of its own"
ok "and its terminal" test "$(curl -sS "$url/try/-/xterm.js" | wc -c)" -gt 100000
if no_browser >"$TMPDIR/why"; then
	visit() {
		local client=("$ROOT/tests/hostile/T33_consoles.py" "$port") token
		token=$(python3 "${client[@]}" token tiny)
		python3 "${client[@]}" shell "${token#200 }" 'expr 6 \* 7111' 42666 >"$TMPDIR/console.out" 2>"$TMPDIR/console.err"
	}
else
	visit() {
		start_drive console.mjs console
	}
fi
visit < <(wait_until 300 test -e "$TMPDIR/stopped" && echo) &
visitor=$!
ok "a command is typed, and its output shown" wait_until 240 grep -qE '^shown|^not ok' "$TMPDIR/console.out" || diag_file "$TMPDIR/console.err"
is "$(machines | grep -c 'try-.*running')" 1 "the machine runs"
stop_process "$server"
is "$status" 0 "the server ends"
touch "$TMPDIR/stopped"
wait "$visitor"
code=$?
like "$(cat "$TMPDIR/console.out")" "closed 1001" "the visitor is told"
is "$(machines --json)" "[]" "and nothing of the machine is left"
if [ -s "$TMPDIR/why" ]; then
	skip "in Chromium" "$(<"$TMPDIR/why")"
else
	drive_results console "$code"
fi
done_testing
