#!/bin/bash
# Killed at any moment, publishing over HTTP goes on with the same command, and sends nothing again: the server gets each byte once. Ctrl-C,
# a second command for the same image, a full disk, and a death behind the last answer end as they should.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publish_server.sh"
need python3 perl

make_disk "$TMPDIR/one" 4 1
make_disk "$TMPDIR/two" 24 2
make_site
cp -r "$site" "$TMPDIR/start"
start_publish_server
seed=${SEED:-$$}
diag "SEED=$seed (of the moments at which it is killed)"
RANDOM=$seed

command=("$BUILD/rondo" publish --name image --version 1 --disk "$TMPDIR/two" --key "$TMPDIR/key" --to "$to")
begin() { # in the background: sets $pid
	env --default-signal "$@" >"$TMPDIR/begun.out" 2>"$TMPDIR/begun.err" &
	pid=$!
}
has_asked() { # REGEX
	[ -e "$log" ] && [ "$(asked "$1")" -gt 0 ]
}
bytes_put() {
	awk '$1 == "PUT" { n += $3 } END { print n + 0 }' "$log"
}
new_bytes() { # of packs that the site has and had not at the start
	(cd "$site/objects" && find . -type f -printf '%P %s\n') | while read -r name size; do
		[ -e "$TMPDIR/start/objects/$name" ] || [ "$(head -c 8 "$site/objects/$name")" != RONDOPK1 ] || echo "$size"
	done | awk '{ n += $1 } END { print n + 0 }'
}
again() { # the site as at the start, which nobody has seen
	rm -rf "$site" "$RONDO_HOME" "$script"
	cp -r "$TMPDIR/start" "$site"
	: >"$log"
	printf '%s\n' "$@" >"$script"
}

# The line is slow, so that the moments lie in all of its parts, but behind the last.
echo 'objects rate 400' >"$script"
killed=0
for _ in {1..6}; do
	begin "${command[@]}"
	sleep "$((RANDOM % 2)).$(printf '%03d' $((RANDOM % 1000)))"
	kill -KILL "$pid" 2>/dev/null && killed=$((killed + 1))
	wait "$pid" 2>/dev/null
	python3 "$ROOT/tests/check_site.py" "$site" >/dev/null || fail "the site is not whole after a kill"
done
diag "it was killed $killed times, and $(asked '^PUT') uploads began"
rm -f "$script"
run "${command[@]}"
status_is 0 "killed again and again, the same command ends it"
ok "the site is whole" check_site "$site"
uploaded=$(bytes_put) new=$(new_bytes)
is "$uploaded" "$new" "every byte of what is new came once"
is "$(grep '^PUT' "$log" | awk '$4 == 201 { print $2 }' | sort | uniq -d | wc -l)" 0 "no object came twice"
is "$(find "$RONDO_CACHE/publishing" 2>/dev/null | wc -l)" 0 "the work folder is gone"

# Killed when all is done, but nobody had said so.
again 'manifest stall first=1'
begin "${command[@]}"
wait_until 20 grep -q '^image image 1 ' "$site/catalog.rondo" || fail "it is listed"
kill -KILL "$pid"
wait "$pid" 2>/dev/null
: >"$log"
run "${command[@]}"
status_is 0 "killed behind that it was listed, the same command says so"
like "$err" 'had published it' "with a word"
is "$out" "$(awk '$2 == "image" { print $5 }' "$site/catalog.rondo")" "and prints its manifest"
is "$(asked publish)" 0 "nothing is asked of the server"
is "$(find "$RONDO_CACHE/publishing" 2>/dev/null | wc -l)" 0 "the work folder is gone"
run "${command[@]}"
status_is 1 "given once more, the version is there already"
like "$err" 'choose another --version' "which is said"

# Two at once, and Ctrl-C.
again 'missing hang first=1'
begin "${command[@]}"
wait_until 20 test -e "$RONDO_CACHE/publishing" && wait_until 20 has_asked publish/session
wait_until 20 sh -c 'ls "$0"/publishing/*/image/objects/*/* >/dev/null 2>&1' "$RONDO_CACHE"
run "${command[@]}"
status_is 10 "another command for the same image"
like "$err" 'another command here is publishing image' "which is said"
run "$BUILD/rondo" publish --name twin --version 1 --disk "$TMPDIR/one" --key "$TMPDIR/key" --to "$to"
status_is 0 "one for another image goes on beside it"
kill -INT "$pid"
wait "$pid"
is "$?" 11 "Ctrl-C: exit code 11"
like "$(cat "$TMPDIR/begun.err")" 'cancelled; the same command goes on from here' "and what to do"
before=$(cd "$RONDO_CACHE"/publishing/*/image/objects && find . -type f -size +3k -printf '%i %f\n' | sort)
rm -f "$script"
run "${command[@]}"
status_is 0 "which works"
ok "the site is whole" check_site "$site"
ok "something was there to go on from" [ -n "$before" ]

# What was interrupted, and never taken up again.
again 'missing hang first=1'
begin "${command[@]}"
wait_until 20 has_asked publish/missing || fail "it asks"
touch -d '8 days ago' "$RONDO_CACHE"/publishing/*/image "$RONDO_CACHE"/publishing/*/image/.unfinished
run_rondo gc
ok "rondo gc leaves what a command works in" [ -d "$(echo "$RONDO_CACHE"/publishing/*/image/objects)" ]
kill -KILL "$pid"
wait "$pid" 2>/dev/null
run_rondo gc --json
is "$(json publications)" 1 "a folder that has not been touched for a week"
is "$(find "$RONDO_CACHE/publishing" 2>/dev/null | wc -l)" 0 "goes with rondo gc"
rm -f "$script"

# A publication of the same image by somebody else, in between.
again "missing gate $TMPDIR/gate"
begin "${command[@]}"
wait_until 20 has_asked publish/session || fail "it opens a session"
must_publish image 0 "$TMPDIR/one" --site-key "$TMPDIR/sitekey"
touch "$TMPDIR/gate"
wait "$pid"
is "$?" 0 "somebody else publishes another version meanwhile: it is listed behind that"
is "$(awk '$1 == "image" && $2 == "image" { print $3, $4 }' "$site/catalog.rondo" | tr '\n' ' ')" "0 1 1 2 " "with the next serial"
ok "the site is whole" check_site "$site"

# A full disk where the work folder is.
if [ "$(id -u)" = 0 ] && mkdir "$TMPDIR/small" && mount -t tmpfs -o size=6m tmpfs "$TMPDIR/small" 2>/dev/null; then
	at_exit 'umount -l "$TMPDIR/small"'
	again
	run env RONDO_CACHE="$TMPDIR/small/cache" "${command[@]}"
	status_is 8 "a full disk"
	like "$err" "no space is left in $TMPDIR/small/cache/publishing/" "the folder is named"
	mount -o remount,size=64m "$TMPDIR/small"
	run env RONDO_CACHE="$TMPDIR/small/cache" "${command[@]}"
	status_is 0 "with room the same command works"
	ok "the site is whole" check_site "$site"
else
	skip "a full disk" "no tmpfs can be mounted"
fi
done_testing
