#!/bin/bash
# A pull that was killed goes on from what it fetched; two at once do not harm each other; what killed ones leave is swept.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

make_disk "$TMPDIR/disk" 40 3
must_publish image 1 "$TMPDIR/disk"
manifest=$out
attack
seed=${SEED:-$$}
diag "SEED=$seed (of the moments at which it is killed)"
RANDOM=$seed

run_rondo pull "${url}image"
status_is 0 "an undisturbed pull"
all=$(awk '$2 ~ /objects/ { n++ } END { print n }' "$requests")
stored=$(du -sb --apparent-size "$RONDO_CACHE/objects" | cut -f1)

# Killed again and again at a slow server's: what came stays.
forget
rules '/objects/* latency ms=20'
for _ in {1..8}; do
	"$BUILD/rondo" pull "${url}image" >/dev/null 2>&1 &
	pid=$!
	sleep "0.$(printf '%03d' $((30 + RANDOM % 120)))"
	kill -KILL "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null
done
rules
run_rondo pull "${url}image"
status_is 0 "after eight kills the same command succeeds"
is "$out" "$manifest" "with that version"
ok "nothing is missing" "$BUILD/rondo" inspect --offline "${url}image"
rules '* status code=500'
run_rondo inspect --offline "${url}image" --json
is "$(json pulled)" true "it is pulled"
temporaries() {
	find "$RONDO_CACHE/partial" "$RONDO_CACHE/objects" -type f | grep -Evc '/[0-9a-f]{64}$'
}
diag "$(temporaries) temporaries of the killed ones"
find "$RONDO_CACHE/partial" -maxdepth 1 -name '.*' -type f -exec touch -d '2 days ago' {} +
run_rondo ls
is "$(temporaries)" 0 "the temporaries of those that were killed are swept when they are old"
rules

# Half of it, then the server goes away: the second half alone is asked for later.
forget
rules '/objects/* after=2 status code=500'
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 1" >"$XDG_CONFIG_HOME/rondo/config"
run_rondo pull "${url}image"
status_is 4 "the server goes away: exit code 4"
like "$err" '127.0.0.1' "and it is named"
unlike "$(ls "$RONDO_CACHE/pins" 2>/dev/null)" . "nothing is pinned"
rules
run_rondo pull "${url}image"
status_is 0 "when it is back, the same command succeeds"
again=$(requests '/objects/')
ok "and asks only for what is missing ($again of $all requests)" [ "$again" -lt "$all" ]

# Politely.
forget
rules '/objects/* latency ms=300'
for signal in INT TERM; do
	env --default-signal "$BUILD/rondo" pull "${url}image" >"$TMPDIR/signal.out" 2>"$TMPDIR/signal.log" &
	pid=$!
	sleep 0.2
	kill -"$signal" "$pid"
	wait "$pid"
	is "$?" 11 "SIG$signal: exit code 11"
	like "$(cat "$TMPDIR/signal.log")" '[Cc]ancelled' "SIG$signal: says so"
done

# Four at once.
forget
rules '/objects/* latency ms=10'
pids=()
for i in 1 2 3 4; do
	"$BUILD/rondo" pull "${url}image" >"$TMPDIR/at-once.$i" 2>"$TMPDIR/at-once.$i.err" &
	pids+=($!)
done
for i in 1 2 3 4; do
	wait "${pids[i - 1]}"
	is "$? $(cat "$TMPDIR/at-once.$i")" "0 $manifest" "four at once: number $i succeeds" || diag_file "$TMPDIR/at-once.$i.err"
done
rules
run_rondo pull "${url}image"
like "$err" 'fetched 0 bytes in 1 request;' "nothing is missing afterwards"
is "$(du -sb --apparent-size "$RONDO_CACHE/objects" | cut -f1)" "$stored" "and nothing is there twice"

# What a power cut leaves: empty files, and an empty pin.
for object in "$RONDO_CACHE"/objects/*/*; do # packs, and the manifest
	: >"$object"
done
: >"$RONDO_CACHE/pins/$manifest"
run_rondo inspect --offline "${url}image"
status_is 4 "all objects empty, offline: exit code 4"
run_rondo pull "${url}image"
status_is 0 "empty files instead of objects: a pull mends them"
is "$(du -sb --apparent-size "$RONDO_CACHE/objects" | cut -f1)" "$stored" "all of it is there"
rules '* status code=500'
run_rondo inspect --offline "${url}image" --json
is "$status $(json pulled)" "0 true" "offline too"
done_testing
