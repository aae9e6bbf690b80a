#!/bin/bash
# time-limit: 300
# On a terminal the console is interactive: one logs in, leaves with Ctrl-], comes back, powers off; the terminal is as before.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

ok "a whole session on a terminal" python3 "$ROOT/tests/e2e/console_terminal.py" "$url/tiny" session
is "$(machine_state tiny)" stopped "the machine is off"

# A terminal that goes away (a lost connection) is left in the same way: nobody's work ends with it.
ok "a terminal is closed while its machine runs" python3 "$ROOT/tests/e2e/console_terminal.py" "$url/tiny" hangup
is "$(machine_state tiny)" running "the machine runs on"
run_rondo stop tiny --timeout 1
status_is 0 "until it is stopped"
done_testing
