#!/bin/bash
# A server that takes publications can deny them, whatever it answers, but not deceive who publishes: what they sign is the one text of
# a session for the site that they verified, and manifests of what they hashed; what fails is told, and ends.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publish_server.sh"
need python3 perl

make_disk "$TMPDIR/one" 4 1
make_disk "$TMPDIR/two" 8 2
make_site
"$BUILD/rondo" key new "$TMPDIR/other" >/dev/null 2>&1
key=$("$BUILD/rondo" key show "$TMPDIR/key.pub") sitekey=$("$BUILD/rondo" key show "$TMPDIR/sitekey.pub") other=$("$BUILD/rondo" key show "$TMPDIR/other.pub")
"$BUILD/rondo" renew "$site" --key "$TMPDIR/sitekey" --allow "$other:base" >/dev/null 2>&1 || bail_out "the site allows another key"
id=$(awk '$1 == "id" { print $2 }' "$site/catalog.rondo")
cp -r "$site" "$TMPDIR/start"

start_publish_server

again() { # the site as at the start, and nothing of an earlier command
	rm -rf "$site" "$RONDO_CACHE" "$RONDO_HOME" "$log" "$kept"/*
	cp -r "$TMPDIR/start" "$site"
	printf '%s\n' "$@" >"$script"
}
send() {
	measure "$BUILD/rondo" publish --name image --version 1 --disk "$TMPDIR/two" --key "$TMPDIR/key" --to "$to" "$@"
}
is_form() { # is the text of the session of the one form, for this site?
	[ ! -e "$kept/session" ] || sed '/^---$/q' "$kept/session" | tr '\n' '|' |
		grep -Eqx -- "rondo-publish 1\|site $sitekey\|id $id\|key $key\|challenge [A-Za-z0-9_-]{43}\|---\|"
}
# One result: under these rules the command ends with this code and message, in bounded memory, signs nothing else, and lists nothing.
denied() { # WHAT CODE MESSAGE RULE…
	local what=$1 code=$2 message=$3 failed=
	shift 3
	again "$@"
	send
	[ "$status" -eq "$code" ] || failed="exit code $status, wanted $code"
	[[ $err =~ $message ]] || failed+="; the message is another one"
	[ "$peak" -lt 65536 ] || failed+="; it took $peak KiB"
	is_form || failed+="; it signed another text"
	[ "$code" -eq 0 ] || cmp -s "$site/catalog.rondo" "$TMPDIR/start/catalog.rondo" || failed+="; the catalog is another one"
	if [ -z "$failed" ]; then
		pass "$what"
	else
		fail "$what"
		diag "$failed"
		diag_file "$TMPDIR/run.err"
	fi
}

denied "no publishing there" 3 'takes no publications over HTTP' 'challenge status 404'
denied "another site's session" 5 'of another site' "challenge answer {\"challenge\":\"$(printf 'a%.0s' {1..43})\",\"site\":\"$other\",\"id\":\"$id\"}"
is "$(asked publish/session)" 0 "nothing was signed for it"
denied "another id of the site" 5 'of another site' "challenge answer {\"challenge\":\"$(printf 'a%.0s' {1..43})\",\"site\":\"$sitekey\",\"id\":\"${id//[0-9]/a}\"}"
denied "a challenge that is more lines" 5 'right form' "challenge answer {\"challenge\":\"aaaaaaaaaaaaaaaaaaaaa\\nkey aaaaaaaaaaaaaaaaa\",\"site\":\"$sitekey\",\"id\":\"$id\"}"
denied "a challenge that is too long" 5 'right form' "challenge answer {\"challenge\":\"$(printf 'a%.0s' {1..44})\",\"site\":\"$sitekey\",\"id\":\"$id\"}"
is "$(asked publish/session)" 0 "nothing was signed for it"
denied "a token with a header in it" 5 'right form' 'session answer {"token":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nX: aaaaa"}'
denied "sent elsewhere" 2 'goes nowhere but' "challenge redirect http://127.0.0.1:1/"
denied "an answer that is no HTTP" 5 'rondo:' 'challenge garbage'
denied "an answer without a meaning" 5 'of another site' 'challenge nonsense'
denied "an answer without end" 5 'longer than any' 'session endless'
denied "header lines without end" 5 'no end' 'session headers'
denied "a key that may not" 5 "renew DIR --key SITEKEY --allow $key:image" 'session status 403'
denied "an error of the server" 4 'HTTP 500' 'session status 500'
denied "what it says is shown escaped" 5 'no \\x1b' "session status 401 no $(printf '\033')[2J"

denied "missing is what nobody asked for" 5 'does not answer what is missing' 'missing foreign'
denied "more is there than there is" 5 'does not answer what is missing' 'missing all 99999999'
denied "missing without a meaning" 5 'does not answer what is missing' 'missing nonsense'
denied "missing without end" 5 'longer than any' 'missing endless'
denied "all is missing for ever" 5 'says now that it lacks it' 'missing all'
denied "objects that are forgotten" 5 'says now that it lacks it' 'objects forget'
denied "objects that are refused" 5 'HTTP 422' 'objects status 422'
denied "an offset that is none" 5 'HTTP 409' 'objects status 409'
denied "no room" 8 'the quota is used up; do something else; then run the same command again' 'objects status 413 the quota is used up'
denied "no room on its disk" 8 'the disk is full; do something else; then run the same command again' 'objects status 507 the disk is full'
denied "cut off, for ever" 4 'the same command goes on' 'objects cut 0'

denied "said to be listed" 5 'its catalog does not' 'manifest forget'
denied "a name of somebody else's" 5 'does not take this version: no' 'manifest status 403'
denied "another publication is under way" 10 'does not take this version' 'manifest status 409'
denied "a serial after which there is none, which would be signed" 10 'does not take this version' 'manifest serial 4611686018427387904'
denied "a version that is said to wait again and again" 10 'does not take this version' 'manifest serial 90'
denied "the manifest is found wrong" 5 'finds this version wrong' 'manifest status 422'

denied "a version waits, after which this one comes" 0 'sent' 'manifest serial 41 first=1'
is "$(awk '$1 == "image" && $2 == "image" { print $4 }' "$site/catalog.rondo" | sort -n | tail -n 1)" 42 "with the serial behind that one's"
denied "the site is changed by somebody else meanwhile" 0 'sent' 'manifest status 503 first=1'
denied "busy for a while" 0 'sent' 'objects status 429 first=2'
denied "cut off once" 0 'sent' 'objects cut 1000 first=2'
denied "refused once" 0 'sent' 'objects status 409 first=1'
denied "a session that is over" 0 'sent' 'objects status 401 first=1' 'manifest status 401 first=1'
is "$(asked publish/session)" 3 "there were new ones"
denied "listed, and the answer does not come" 0 'sent' 'manifest after'
denied "objects taken, and the answer does not come" 0 'sent' 'objects after'
denied "the site's key is elsewhere" 0 'waits there' 'manifest wait'
is "$(find "$RONDO_CACHE/publishing" 2>/dev/null | wc -l)" 0 "no work folder stays"

# The catalog is judged as by every reader.
again
send --to "$to#$other"
status_is 5 "another key than the address pins"
is "$(asked publish/)" 0 "nothing was asked for then"
send --to "$to#$sitekey"
status_is 0 "the key that the address pins"
ok "the site is whole" check_site "$site"

# What older versions say is believed by its hash alone.
must_send() {
	"$BUILD/rondo" publish "$@" --to "$to" >"$TMPDIR/sent.log" 2>&1 || {
		diag_file "$TMPDIR/sent.log"
		bail_out "publish $*"
	}
}
alter() { # a bit of each pack, so far from its beginning, or its end
	local file
	for file in $(find "$site/objects" -type f -size +100k); do
		python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    at = f.seek(int(sys.argv[2]), 2 if int(sys.argv[2]) < 0 else 0)
    byte = f.read(1)[0]
    f.seek(at)
    f.write(bytes([byte ^ 1]))' "$file" "$1"
	done
}
again
must_send --name image --version 1 --disk "$TMPDIR/two" --key "$TMPDIR/key"
rm -rf "$TMPDIR/start"
cp -r "$site" "$TMPDIR/start"
again
alter -2000
send --version 2 --disk "$TMPDIR/one"
status_is 5 "altered tables of the parent's packs"
is "$(asked publish/manifest)" 0 "no manifest was signed over them"
again
measure "$BUILD/rondo" publish --name base --version 2 --disk "$TMPDIR/one" --key "$TMPDIR/other" --to "$to"
status_is 0 "another publisher's version as the parent"
is "$(grep -c '^PUT' "$log")" 0 "its blocks are not sent"
ok "the site is whole" check_site "$site"
again
alter 20000
measure "$BUILD/rondo" publish --name base --version 2 --disk "$TMPDIR/one" --key "$TMPDIR/other" --to "$to"
status_is 5 "another publisher's blocks, altered, with the right tables"
is "$(asked publish/manifest)" 0 "no manifest was signed over them"
done_testing
