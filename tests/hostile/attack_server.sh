#!/bin/bash
# The attack server does to its clients what its rules say: otherwise the tests that use it would prove nothing.
. "$(dirname "$0")/../lib.sh"
need curl python3

site=$TMPDIR/site
old=$TMPDIR/old
mkdir -p "$site/objects" "$old"
head -c 300000 /dev/urandom >"$site/objects/a"
printf 'new catalog\n' >"$site/catalog.rondo"
printf 'old catalog\n' >"$old/catalog.rondo"
script=$TMPDIR/script
log=$TMPDIR/requests
: >"$script"
start_process attack python3 "$ROOT/tests/hostile/attack_server.py" "$site" --log "$log" --script "$script" \
	--rule '/fixed status code=418'
wait_until 10 grep -q '^ready ' "$TMPDIR/attack.log" || bail_out "the attack server did not start"
url=http://127.0.0.1:$(awk '{ print $2 }' "$TMPDIR/attack.log")

rules() { # replaces the script; another length or time each time, so that it is seen
	printf '%s\n' "$@" >"$script.new"
	mv "$script.new" "$script"
}
get() { # the body in $TMPDIR/body, the head in $TMPDIR/head, curl's exit code in $code
	curl -s -m 3 -D "$TMPDIR/head" -o "$TMPDIR/body" "$@"
	code=$?
}
http() { # the status
	awk 'NR == 1 { print $2 }' "$TMPDIR/head"
}
differing() { # how many bytes of the body differ from the file's, at offset $1
	cmp -l -i "0:${1:-0}" "$TMPDIR/body" "$site/objects/a" 2>/dev/null | wc -l
}

get "$url/objects/a"
is "$code $(http) $(differing)" "0 200 0" "without a rule: the file"
etag=$(sed -n 's/^ETag: //p' "$TMPDIR/head" | tr -d '\r')
get -H "If-None-Match: $etag" "$url/objects/a"
is "$(http)" 304 "without a rule: 304 for the entity tag"
get -r 1000-1999 "$url/objects/a"
is "$(http) $(stat -c %s "$TMPDIR/body") $(differing 1000)" "206 1000 0" "without a rule: a range"
get -r 400000- "$url/objects/a"
is "$(http)" 416 "without a rule: 416 behind the end"
get "$url/missing"
is "$(http)" 404 "without a rule: 404"
get --path-as-is "$url/../old/catalog.rondo"
is "$(http)" 404 "nothing outside the folder is served"
get "$url/fixed"
is "$(http)" 418 "a rule of the command line"
is "$(tail -n 1 "$log")" "GET /fixed - status" "requests are logged"

rules '/objects/* flip'
get "$url/objects/a"
is "$code $(differing)" "0 1" "flip: one byte"
get -r 5000-5009 "$url/objects/a"
is "$(http) $(differing 5000)" "206 1" "flip: one byte of a range"
rules '/objects/* flip at=0,70000,299999'
get "$url/objects/a"
is "$(differing)" 3 "flip at=: these bytes"
get -r 69990-70010 "$url/objects/a"
is "$(differing 69990)" 1 "flip at=: those within the range"
rules '/objects/* flip step=1000'
get "$url/objects/a"
is "$(differing)" 300 "flip step=: every so many"
rules '/objects/* nth=3 flip'
got=
for _ in 1 2 3 4 5 6; do
	get "$url/objects/a"
	got+=$(differing)
done
is "$got" 001001 "nth="
rules '* first=1 after=0 status code=500' '* after=1 first=2 status code=501'
got=
for _ in 1 2 3 4; do
	get "$url/objects/a"
	got+="$(http) "
done
is "$got" "500 200 501 200 " "first= and after=, in the order of the rules"
rules '* range=yes status code=500'
get "$url/objects/a"
got=$(http)
get -r 0-1 "$url/objects/a"
is "$got $(http)" "200 500" "range="
rules '/objects/* share=1 status code=500'
get "$url/objects/a"
is "$(http)" 500 "share="
rules '* up=0 down=1000 status code=500'
get "$url/objects/a"
got=$(http)
rules '* up=100000 down=1 status code=500'
get "$url/objects/a"
is "$got $(http)" "500 200" "up= and down="

rules '* truncate to=1000'
get "$url/objects/a"
is "$code $(stat -c %s "$TMPDIR/body")" "0 1000" "truncate"
get -r 1000-1999 "$url/objects/a"
is "$(http)" 416 "truncate: 416 behind the new end"
rules '* cut at=1000'
get "$url/objects/a"
is "$code $(stat -c %s "$TMPDIR/body")" "18 1000" "cut: curl sees a partial file"
rules '* reset at=1000'
get "$url/objects/a"
is "$code" 56 "reset in the body"
rules '* reset'
get "$url/objects/a"
is "$code" 56 "reset before the head"
rules '* wrong-range'
get -r 1000-1999 "$url/objects/a"
is "$(tr -d '\r' <"$TMPDIR/head" | sed -n 's/^Content-Range: //p') $(differing 5096)" "bytes 5096-6095/300000 0" "wrong-range"
rules '* lying-range'
get -r 1000-1999 "$url/objects/a"
is "$(tr -d '\r' <"$TMPDIR/head" | sed -n 's/^Content-Range: //p') $(differing 5096)" "bytes 1000-1999/300000 0" "lying-range"
rules '* no-content-range'
get -r 1000-1999 "$url/objects/a"
is "$(http) $(grep -ci '^content-range' "$TMPDIR/head")" "206 0" "no-content-range"
rules '* no-ranges'
get -r 1000-1999 "$url/objects/a"
is "$(http) $(differing)" "200 0" "no-ranges"
rules '* extra bytes=5'
get -r 1000-1999 "$url/objects/a"
is "$(http) $(stat -c %s "$TMPDIR/body")" "206 1005" "extra"

rules '* endless'
get -m 1 "$url/objects/a"
got=$code
like "$got $(stat -c %s "$TMPDIR/body")" '^28 [0-9]{7}' "endless: more than a megabyte in a second"
rules '* huge'
get --max-filesize 1000000 "$url/objects/a"
is "$code" 63 "huge"
rules '* headers'
get -m 1 "$url/objects/a"
like "$code $(stat -c %s "$TMPDIR/head")" '^(28|27|56) [0-9]{5}' "headers without end"
rules '* gzip size=10000000'
get --compressed "$url/objects/a"
is "$code $(stat -c %s "$TMPDIR/body")" "0 10000000" "gzip"
rules '* slow rate=100'
get -m 1 "$url/objects/a"
like "$code $(stat -c %s "$TMPDIR/body")" '^28 [0-9]{2,3}$' "slow"
rules '* slow-headers rate=10'
get -m 1 "$url/objects/a"
is "$code $(stat -c %s "$TMPDIR/head")" "28 0" "slow-headers: no line within a second"
rules '* silent'
get -m 1 "$url/objects/a"
is "$code" 28 "silent"
rules '* latency ms=300'
start=$(date +%s%N)
get "$url/objects/a"
took=$((($(date +%s%N) - start) / 1000000))
is "$code $((took >= 300))" "0 1" "latency"

rules '* status code=503 retry-after=7'
get "$url/objects/a"
is "$(http) $(tr -d '\r' <"$TMPDIR/head" | sed -n 's/^Retry-After: //p')" "503 7" "status"
rules '/objects/* redirect to=http://169.254.169.254/{path}' '* redirect to=self'
get "$url/objects/a"
is "$(http) $(tr -d '\r' <"$TMPDIR/head" | sed -n 's/^Location: //p')" "302 http://169.254.169.254//objects/a" "redirect"
get -L --max-redirs 5 "$url/x"
is "$code" 47 "redirect to=self: a loop"
rules "/catalog.rondo stale from=$old"
get "$url/catalog.rondo"
is "$(cat "$TMPDIR/body")" "old catalog" "stale"
rules '* garbage'
get "$url/objects/a"
not_ok "garbage" [ "$code" -eq 0 ]

rules '/objects/* serve' '* status code=500'
get "$url/objects/a"
is "$(http)" 200 "serve: an exception"
get -I "$url/objects/a"
is "$(http) $(tail -n 1 "$log")" "501 HEAD /objects/a - no-head" "HEAD is seen and refused"

for rule in '*' '* nothing' '* cut' '* flip where=1' '* nth=x flip'; do
	not_ok "a wrong rule is refused: $rule" python3 "$ROOT/tests/hostile/attack_server.py" "$site" --rule "$rule"
done
unlike "$(cat "$TMPDIR/attack.log")" Traceback "the server made no mistakes"
done_testing
