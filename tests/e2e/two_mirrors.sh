#!/bin/bash
# A site that answers late has a mirror that does not: it is found soon, and serves from then on. When it falls silent, the
# reads that wait are asked of the site, too, and then the site serves.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl
need_fuse

make_disk "$TMPDIR/disk" 24 5
quick_port=$(free_port)
must_publish image 1 "$TMPDIR/disk" --mirror "http://127.0.0.1:$quick_port/"
export MANIFEST=$out DISK=$TMPDIR/disk
start_process quick rondo-server --listen "127.0.0.1:$quick_port" --log "$TMPDIR/quick.requests" "$site"
start_process slow rondo-server --listen 127.0.0.1:0 --log "$TMPDIR/slow.requests" "$site"
wait_for_port "$quick_port"
wait_until 10 grep -q '^listening on' "$TMPDIR/slow.log" || bail_out "the server starts"
port=$(sed -n 's/^listening on .*:\([0-9]*\)\/$/\1/p' "$TMPDIR/slow.log")
relay() { # NAME PORT RTT: sets $relay and $url
	"$BUILD/tests/bench/relay" 0 "$2" "$3" 0 >"$TMPDIR/$1.port" &
	relay=$!
	at_exit "kill -CONT $relay; kill $relay"
	wait_until 10 grep -q . "$TMPDIR/$1.port" || bail_out "the relay starts"
	url=http://127.0.0.1:$(head -n 1 "$TMPDIR/$1.port")/
}
relay slow "$port" 500
export SLOW=$url
relay quick "$quick_port" 1
export QUICK=$url QUICK_RELAY=$relay

objects() {
	grep -c 'GET /objects/' "$TMPDIR/$1.requests"
}

# Prints a line for each half of the reads: how many were wrong, hedges, hedges that were of use, requests of each server.
PYTHONPATH=$ROOT/tests timeout 120 python3 - >"$TMPDIR/read" <<'PYTHON'
import os, signal
from cloop_client import Client, start

def asked(name):
    return sum("GET /objects/" in line for line in open(f"{os.environ['TMPDIR']}/{name}.requests"))

process = start()
client = Client()
folder = client.open(os.environ["MANIFEST"], os.environ["SLOW"], os.environ["QUICK"])
with open(folder + "/disk", "rb", buffering=0) as mounted, open(os.environ["DISK"], "rb", buffering=0) as disk:
    for half in range(2):
        wrong = 0
        for i in range(40):  # far from each other, so that each is a request or more
            place = (i * 604 + half * 302) << 10
            wrong += os.pread(mounted.fileno(), 4096, place) != os.pread(disk.fileno(), 4096, place)
        counts = client.counts()
        print(wrong, counts["hedges"], counts["hedges_won"], asked("slow"), asked("quick"), flush=True)
        os.kill(int(os.environ["QUICK_RELAY"]), signal.SIGSTOP)
client.ask("quit")
client.close()
process.wait()
os.kill(int(os.environ["QUICK_RELAY"]), signal.SIGCONT)
PYTHON
{ read -r wrong hedges won slow quick && read -r wrong2 hedges2 won2 slow2 quick2; } <"$TMPDIR/read"
is "$wrong $wrong2" "0 0" "every read is right"
diag "$hedges hedges, of which $won were of use; $slow requests of the site, $quick of the mirror"
diag "then $((hedges2 - hedges)) hedges, of which $((won2 - won)) were of use; $((slow2 - slow)) requests of the site"
# The manifest, the first page; and what a busy machine delays may be hedged the other way.
ok "after its first requests the mirror is asked" [ "$slow" -le $((4 + quick / 8)) ]
ok "the mirror falls silent: what was waited for came from the site" [ "$won2" -gt "$won" ]
ok "and then the site is asked" [ $((slow2 - slow)) -ge 20 ]
ok "hedges are few" [ "$hedges2" -le $((4 + (slow2 + quick2) / 16)) ]

run_rondo pull "${SLOW}image"
status_is 0 "it is pulled"
run_rondo inspect --offline --json "${SLOW}image"
is "$(json pulled)" true "all of it"
diag "for that: $(($(objects slow) - slow2)) of the site, $(($(objects quick) - quick2)) of the mirror"
done_testing
