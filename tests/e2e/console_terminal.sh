#!/bin/bash
# time-limit: 300
# On a terminal the console is interactive: one logs in, leaves with Ctrl-], comes back, powers off; the terminal is as before.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq expect
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"

cat >"$TMPDIR/session" <<END
set timeout 120
proc want {text} { expect { -re \$text {} timeout { puts "TIMEOUT: \$text"; exit 3 } eof { puts "EOF: \$text"; exit 4 } } }
spawn sh -c "stty -a >$TMPDIR/before; rondo run $url/tiny --net none; echo left-with-\\\$?; stty -a >$TMPDIR/after; exec sh"
want {login: }
send "root\r"
want {# }
send {echo typed-\$((40 + 2))}
send "\r"
want {typed-42}
send "sleep 100\r"
send "\003"
want {# }
send "\035"
want {come back with: rondo console tiny}
want {left-with-0}
send "rondo ps\r"
want {tiny +running}
send "rondo console tiny; echo ended-with-\\\$?\r"
want {Ctrl-\] leaves}
send "\r"
want {# }
send "poweroff\r"
want {ended-with-0}
send "exit\r"
expect eof
END
run expect -f "$TMPDIR/session"
status_is 0 "a whole session on a terminal"
ok "the terminal is as it was" cmp "$TMPDIR/before" "$TMPDIR/after"
is "$(machine_state tiny)" stopped "the machine is off"

# A terminal that goes away (a lost connection) is left in the same way: nobody's work ends with it.
cat >"$TMPDIR/hangup" <<END
set timeout 120
spawn rondo run $url/tiny --net none
expect { -re {login: } {} timeout { exit 3 } }
close
wait
END
run expect -f "$TMPDIR/hangup"
status_is 0 "the terminal is closed while the machine runs"
is "$(machine_state tiny)" running "the machine runs on"
run_rondo stop tiny --timeout 1
status_is 0 "until it is stopped"
done_testing
