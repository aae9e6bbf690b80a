#!/bin/bash
# What a hostile publisher, or whoever stole from one, sends over HTTP is refused, and changes nothing: wrong bytes, endless bodies, paths,
# foreign names, challenges that were used or are of others, tokens of revoked keys, more than the quota; two publishers at once and slow
# ones harm nobody.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publishers.sh"
need python3 perl curl minisign

# A site that nobody has published in yet.
"$BUILD/rondo" key new "$TMPDIR/early" >/dev/null 2>&1
mkdir "$TMPDIR/empty"
site=$TMPDIR/empty start_keeper --queue
challenge early
like "$code $body" '^503 .*no catalog yet.*rondo publish --to' "where there is no catalog yet, that is said"
unlike "$(cat "$TMPDIR/server.log")" 'failed' "and is no failure of the server"
stop_keeper
rm -rf "$state"

make_keys owner alice bob mallory
allow alice tools
allow bob games
make_disk "$TMPDIR/disk" 2 5
start_keeper --site-key "$TMPDIR/owner" --quota 4M --stall 2
whole() { # WHAT: the catalog is as it was
	is "$(sha256sum <"$site/catalog.rondo")" "$before" "$1"
}
before=$(sha256sum <"$site/catalog.rondo")
refused() { # CODE MESSAGE WHAT
	like "$code $body" "^$1 .*\"error\": \"[^\"]*$2" "$3"
}

# Who it is
api POST challenge --data-binary "key $(key_of mallory)
"
refused 403 'may publish nothing' "a key that no line names gets no challenge"
api POST challenge --data-binary "key ../../etc
"
refused 400 'public key' "what is no key neither"
challenge alice
text=$session_text
sign_text mallory >"$TMPDIR/forged"
api POST session --data-binary "@$TMPDIR/forged"
refused 401 'signature is not one of' "a challenge that another key signed"
sign_text alice >"$TMPDIR/session"
session_text=$(sed "s/^site .*/site $(key_of mallory)/" <<<"${text%?}")$'\n'
sign_text alice >"$TMPDIR/elsewhere"
api POST session --data-binary "@$TMPDIR/elsewhere"
refused 401 'another site' "one that was signed for another site"
session_text=$(sed "s/^key .*/key $(key_of bob)/" <<<"${text%?}")$'\n'
sign_text bob >"$TMPDIR/others"
api POST session --data-binary "@$TMPDIR/others"
refused 401 'no such challenge for this key' "one that was given to another"
api POST session --data-binary "@$TMPDIR/session"
is "$code" 200 "the right one opens a session"
alice=$(value token)
api POST session --data-binary "@$TMPDIR/session"
refused 401 'used before' "once"
token=$(printf 'A%.0s' {1..43})
api POST missing --data-binary ''
refused 401 'no such session' "a token that nobody was given"
token=''
api POST manifest --data-binary 'x'
refused 401 'token' "and none at all"

# What is sent
token=$alice
hex=$(printf 0 | sha256sum | cut -d ' ' -f 1)
api PUT "objects/$hex" --data-binary 'these are not its bytes'
refused 422 'not the bytes' "wrong bytes"
api POST missing --data-binary "$hex 23
"
is "$body" "$hex 23 0" "are gone"
for name in ../../../catalog.rondo "..%2f..%2fpending" "$hex/../x" "${hex^^}" "${hex}0" ''; do
	api PUT "objects/$name" --path-as-is --data-binary 'x'
	is "$code" 404 "objects/$name is no name"
done
api PUT "objects/$hex" -H 'Content-Range: bytes 0-9/5' --data-binary '0123456789'
refused 400 'Content-Range' "a part that is longer than its object"
api PUT "objects/$hex" -H 'Transfer-Encoding: chunked' --data-binary '0'
refused 411 'how long' "a body without an end"
head -c 3000000 /dev/zero >"$TMPDIR/zeros"
api PUT "objects/$hex" -H "Content-Range: bytes 0-2999999/67108865" --data-binary "@$TMPDIR/zeros"
refused 413 '64 MiB' "an object of more than 64 MiB"
api PUT "objects/$hex" -H "Content-Range: bytes 0-2999999/60000000" --data-binary "@$TMPDIR/zeros"
is "$code" 202 "as much as the quota allows"
api PUT "objects/$hex" -H "Content-Range: bytes 3000000-5999999/60000000" --data-binary "@$TMPDIR/zeros"
refused 413 'quota' "and no more"
other=$(printf 1 | sha256sum | cut -d ' ' -f 1)
api PUT "objects/$other" --data-binary "@$TMPDIR/zeros"
refused 413 'quota' "in another object neither"
api PUT "objects/$hex" --data-binary '0'
is "$code" 201 "sent whole, an object begins anew"
for body_of in missing manifest; do
	api POST "$body_of" --data-binary "@$TMPDIR/zeros"
	is "$code" 413 "$body_of: a body that is too long"
done
api POST 'manifest?tag=a%2Fb' --data-binary 'x'
refused 400 'tag' "a tag that is no name"
api POST manifest --data-binary 'rondo-manifest 1'
refused 422 'manifest' "what is no manifest"
api GET manifest
is "$code" 405 "another method"
api POST nothing --data-binary ''
is "$code" 404 "another request"

# A manifest and its objects
make_version alice tools.a 1 "$TMPDIR/disk"
make_version alice games.a 1 "$TMPDIR/disk"
make_version mallory tools.m 1 "$TMPDIR/disk"
send_objects "$TMPDIR/tools.a-1"
hand_in "$TMPDIR/games.a-1"
refused 403 'may not publish games.a' "a foreign prefix"
hand_in "$TMPDIR/tools.m-1"
refused 403 'another key' "a manifest that another key signed"
sed 's/^arch x86_64/arch x86_65/' "$TMPDIR/tools.a-1/manifest.signed" >"$TMPDIR/games.a-1/manifest.signed"
hand_in "$TMPDIR/games.a-1"
refused 422 'manifest' "one that was altered"
staged=$(find "$state/incoming" -type f -size +100k | head -n 1)
cp "$staged" "$TMPDIR/kept"
printf x | dd of="$staged" bs=1 seek=5000 conv=notrunc status=none
hand_in "$TMPDIR/tools.a-1"
refused 422 '' "an object that was changed after it was looked at"
not_ok "is not kept" [ -e "$staged" ]
whole "all that time the catalog is as it was"
ok "the pages of the site are served" [ "$(curl -s -o /dev/null -w '%{http_code}' "${url}catalog.rondo")" = 200 ]

# Two at once, and slow ones.
make_version bob games.b 1 "$TMPDIR/disk"
ok "it is sent again" send_objects "$TMPDIR/tools.a-1"
open_session bob
bob=$token
send_objects "$TMPDIR/games.b-1"
for who in alice bob; do
	folder=$TMPDIR/tools.a-1
	[ $who = alice ] || folder=$TMPDIR/games.b-1
	for i in 1 2 3; do
		curl -s -o /dev/null --retry 9 --retry-delay 1 -w '%{http_code}\n' -H "Authorization: Bearer ${!who}" --data-binary "@$folder/manifest.signed" \
			"${url}api/v1/publish/manifest" >"$TMPDIR/code.$who.$i" &
	done
done
wait $(jobs -p | grep -vx "$server")
is "$(sort -u "$TMPDIR"/code.*)" 201 "two publishers at once, each three times, are all answered"
is "$(grep -c '^image \(tools.a\|games.b\) 1 ' "$site/catalog.rondo") $(sed -n 's/^number //p' "$site/catalog.rondo")" "2 $(($(grep -c . <<<"$(key_of alice) $(key_of bob)") + 4))" "and each is listed once"
ok "the site is whole" check_site "$site"
python3 - "$url" "$bob" "$other" >"$TMPDIR/slow" <<'EOF'
import socket, sys, time, urllib.parse
u = urllib.parse.urlparse(sys.argv[1])
s = socket.create_connection((u.hostname, u.port))
s.sendall(f"PUT /api/v1/publish/objects/{sys.argv[3]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sys.argv[2]}\r\nContent-Length: 100000\r\n\r\n".encode())
try:
    for i in range(60):
        s.sendall(b"0")
        time.sleep(0.2)
    print("still there")
except OSError:
    print("cut off")
EOF
is "$(cat "$TMPDIR/slow")" "cut off" "who sends too slowly is cut off"

# Manifests wait for the keeper, which waits for the site: one of each publisher, and none whose client has gone.
make_version alice tools.left 1 "$TMPDIR/disk"
make_version bob games.long 1 "$TMPDIR/disk"
exec 9>"$site/.lock"
flock 9
post() { # TOKEN FOLDER [CURL…]
	${run-} curl -s -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $1" --data-binary "@$2/manifest.signed" "${@:3}" "${url}api/v1/publish/manifest"
}
post "$bob" "$TMPDIR/games.long-1" --retry 9 >"$TMPDIR/code.long" &
long=$!
keeper_has_one() { # the server has a manifest open, without a name, while the keeper looks at it
	find "/proc/$server/fd" -lname '*/manifest-* (deleted)' | grep -q .
}
wait_until 10 keeper_has_one || fail "the keeper gets a manifest"
run=exec post "$alice" "$TMPDIR/tools.left-1" --retry 9 --retry-delay 1 -v 2>"$TMPDIR/left.log" & # the shell is curl then, which is killed
left=$!
wait_until 10 grep -q '^> POST' "$TMPDIR/left.log" || fail "a manifest is handed in"
sleep 0.3 # else the question below might be there first
waits_already() {
	[ "$(post "$alice" "$TMPDIR/tools.left-1" --max-time 1)" = 429 ]
}
ok "while a manifest of a publisher waits, the next one is refused" wait_until 5 waits_already
kill "$left"
wait "$left" 2>/dev/null
flock -u 9
exec 9>&-
wait "$long"
is "$(tail -n 1 "$TMPDIR/code.long")" 201 "what the keeper had is listed when the site is free"
post "$alice" "$TMPDIR/tools.a-1" >/dev/null
is "$(cut -d ' ' -f 4 "$state/audit.log" | grep -c tools.left)" 0 "nothing is done for whoever has gone"

# A tag goes forward alone, and what is refused leaves nothing in the site.
make_version bob games.b 2 "$TMPDIR/disk"
token=$bob
send_objects "$TMPDIR/games.b-2"
objects=$(find "$site/objects" -type f | wc -l)
hand_in "$TMPDIR/games.b-2" '?tag=2'
refused 409 '' "a tag that is called as its version"
is "$(find "$site/objects" -type f | wc -l)" "$objects" "leaves nothing in the site"
hand_in "$TMPDIR/games.b-2"
is "$code" 201 "without it the version is listed"
hand_in "$TMPDIR/games.b-1" '?tag=latest'
is "$(sed -n 's/^tag games.b latest //p' "$site/catalog.rondo")" 2 "an older version, handed in once more, takes no tag back ($code)"
hand_in "$TMPDIR/games.b-2" '?tag=stable'
is "$(sed -n 's/^tag games.b stable //p' "$site/catalog.rondo")" 2 "the newest one may be given another"

# The quota counts what lies in the site, listed or not, before any more is placed there.
make_disk "$TMPDIR/third" 1 23
make_version bob games.c 1 "$TMPDIR/third"
send_objects "$TMPDIR/games.c-1"
used=$(awk 'END { print $3 }' "$state/placed/$(key_of bob)")
stop_keeper
start_keeper --site-key "$TMPDIR/owner" --quota $((used + 65536)) --stall 2
open_session bob
is "$(($(value used_bytes) > used + 65536))" 1 "what waits, and what lies in the site, is what is used"
objects=$(find "$site/objects" -type f | wc -l)
hand_in "$TMPDIR/games.c-1"
refused 413 'over your quota' "a version that brings more than is left of the quota"
is "$(find "$site/objects" -type f | wc -l)" "$objects" "leaves nothing in the site"
stop_keeper
rm "$state/placed/$(key_of bob)"
start_keeper --site-key "$TMPDIR/owner" --quota $((used + 65536)) --stall 2
open_session bob
hand_in "$TMPDIR/games.c-1"
refused 413 'over your quota' "a list that was lost is made of what the catalog lists"
ok "and counts no less" [ "$(awk 'END { print $3 }' "$state/placed/$(key_of bob)")" -ge "$used" ]
stop_keeper
start_keeper --site-key "$TMPDIR/owner" --quota 64M
open_session bob
hand_in "$TMPDIR/games.c-1"
is "$code" 201 "with more room it is listed"
open_session alice
alice=$token

# Eight uploads at once, of a session and of a publisher.
address=${url#http://}
address=${address%/}
uploads=()
for i in $(seq 8); do
	exec {upload}<>"/dev/tcp/${address%:*}/${address##*:}"
	printf 'PUT /api/v1/publish/objects/%064d HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 4096\r\n\r\nx' "$i" "$alice" >&"$upload"
	uploads+=("$upload")
done
answers() { # STATUS TEXT: to one more
	api PUT "objects/$(printf '%064d' 9)" --data-binary x
	[ "$code" = "$1" ] && [[ $body == *"$2"* ]]
}
ok "a session's ninth upload at once is refused" wait_until 5 answers 429 'this session has 8 requests under way'
open_session alice
ok "so is a publisher's, of another session" answers 429 '8 objects are being sent already'
for upload in "${uploads[@]}"; do
	exec {upload}>&-
done
ok "when they have ended the next one is taken" wait_until 5 answers 422 'not the bytes of object'

# Revoked
token=$alice
api POST missing --data-binary ''
is "$code" 200 "a token goes on"
"$BUILD/rondo" renew "$site" --key "$TMPDIR/owner" --revoke "$(key_of alice)" >"$TMPDIR/revoke.log" 2>&1 || diag_file "$TMPDIR/revoke.log"
api POST missing --data-binary ''
refused 403 'may publish nothing' "until its key is revoked, whoever has it"
hand_in "$TMPDIR/tools.a-1"
refused 403 'may publish nothing' "nothing is published with it"
not_ok "and it opens no other session" open_session alice
like "$(ls "$state/incoming")" "^($(key_of alice)|$(key_of bob)|
)*$" "in the staging area are publishers' folders alone"
done_testing
