#!/bin/bash
# time-limit: 400
# A visitor's machine boots behind a WebSocket, shows its console and takes what is typed; it is gone when the server is.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 python3
need_fuse
publish_appliance tiny "$TMPDIR/site"
port=$(free_port)
start_process server rondo-server --listen "127.0.0.1:$port" --state "$TMPDIR/state" --try 1,memory=128M "$TMPDIR/site"
server=$process
wait_until 20 grep -q '^listening' "$TMPDIR/server.log" || {
	grep -q 'without xterm.js' "$TMPDIR/server.log" && skip_all "rondo-server was built without xterm.js"
	diag_file "$TMPDIR/server.log"
	bail_out "the server starts"
}
client() {
	python3 "$ROOT/tests/hostile/T33_consoles.py" "$port" "$@"
}
like "$(curl -sSi "http://127.0.0.1:$port/try/tiny")" "connect-src 'self'.*Start the machine" "the page has a policy of its own"
ok "and its terminal" test "$(curl -sS "http://127.0.0.1:$port/try/-/xterm.js" | wc -c)" -gt 100000
token=$(client token tiny)
client shell "${token#200 }" 'expr 6 \* 7111' 42666 < <(wait_until 300 test -e "$TMPDIR/stopped" && echo) >"$TMPDIR/shell.log" 2>&1 &
shell=$!
ok "a command is typed, and its output shown" wait_until 240 grep -q '^shown' "$TMPDIR/shell.log" || diag_file "$TMPDIR/shell.log"
is "$(RONDO_HOME=$TMPDIR/state/try/home RONDO_RUNTIME=$TMPDIR/state/try/run rondo ps | grep -c 'try-.*running')" 1 "the machine runs"
stop_process "$server"
is "$status" 0 "the server ends"
touch "$TMPDIR/stopped"
wait "$shell"
like "$(cat "$TMPDIR/shell.log")" "closed 1001" "the visitor is told"
is "$(RONDO_HOME=$TMPDIR/state/try/home RONDO_RUNTIME=$TMPDIR/state/try/run rondo ps --json)" "[]" "and nothing of the machine is left"
done_testing
