#!/bin/bash
# Publishing over HTTP as docs/api.md has it, by curl and minisign: two publishers, each with a prefix of their own; uploads that go on
# where they were; a version that is handed in twice; tags; a site whose key is elsewhere.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publishers.sh"
need python3 perl curl minisign

make_keys owner alice bob carol
allow alice tools
allow bob games
make_disk "$TMPDIR/disk" 3 5
start_keeper --site-key "$TMPDIR/owner"

open_session alice
is "$code $(value seconds) $(value used_bytes)" "200 3600 0" "a signed challenge opens a session"
make_version alice tools.editor 1 "$TMPDIR/disk"
objects_of "$TMPDIR/tools.editor-1" >"$TMPDIR/ask"
api POST missing --data-binary "@$TMPDIR/ask"
is "$code" 200 "what is missing is asked"
is "$body" "$(sed 's/$/ 0/' "$TMPDIR/ask")" "all of it is"
hand_in "$TMPDIR/tools.editor-1"
is "$code $(value missing | tr ' ' '\n' | grep -vcFf <(cut -d ' ' -f 1 "$TMPDIR/ask"))" "422 0" "the manifest alone is not enough: what is missing is named"

read -r hex bytes <"$TMPDIR/ask"
object=$TMPDIR/tools.editor-1/objects/${hex:0:2}/$hex
head -c 1000 "$object" >"$TMPDIR/part"
api PUT "objects/$hex" -H "Content-Range: bytes 0-999/$bytes" --data-binary "@$TMPDIR/part"
is "$code" 202 "a part is kept"
api POST missing --data-binary "$hex $bytes
"
is "$body" "$hex $bytes 1000" "and found again"
api PUT "objects/$hex" -H "Content-Range: bytes 500-999/$bytes" --data-binary "$(printf '%500s' x)"
is "$code $(value offset)" "409 1000" "a part that does not follow is refused, with where to go on"
ok "the rest goes on from there" send_objects "$TMPDIR/tools.editor-1"
api PUT "objects/$hex" --data-binary "@$object"
is "$code" 201 "what is there already is taken for sent"
is "$(curl -s -o /dev/null -w '%{http_code}' "${url}objects/${hex:0:2}/$hex")" 404 "nobody sees an object before its version is listed"
hand_in "$TMPDIR/tools.editor-1" '?tag=stable'
is "$code $(value manifest)" "201 $(sha256sum "$TMPDIR/tools.editor-1/manifest.signed" | cut -d ' ' -f 1)" "the manifest lists the version"
ok "the site is whole" check_site "$site"
run_rondo inspect --json "$url""tools.editor:stable#$(key_of owner)"
is "$status $(json version) $(json publisher)" "0 1 $(key_of alice)" "readers find it, under its tag"
hand_in "$TMPDIR/tools.editor-1"
is "$code" 201 "handed in again: the same answer"
is "$(grep -c '^number' "$site/catalog.rondo") $(find "$state/incoming" -type f | wc -l)" "1 0" "nothing is left in the staging area"

# Another publisher, and the next version of the first.
change_disk "$TMPDIR/disk" 65536 8192
make_version alice tools.editor 2 "$TMPDIR/disk"
bytes_of() {
	awk '{n += $2} END {print n}' "$1/new"
}
ok "of the next version only what is new is sent" [ "$(bytes_of "$TMPDIR/tools.editor-2")" -lt "$(($(bytes_of "$TMPDIR/tools.editor-1") / 10))" ]
ok "it is sent" send_objects "$TMPDIR/tools.editor-2"
hand_in "$TMPDIR/tools.editor-2"
is "$code" 201 "and listed"
make_version bob tools.mine 1 "$TMPDIR/disk"
open_session bob
ok "another publisher sends" send_objects "$TMPDIR/tools.mine-1"
hand_in "$TMPDIR/tools.mine-1"
like "$code $body" '^403 .*may not publish tools.mine' "but not under another's prefix"
hand_in "$TMPDIR/tools.editor-2"
like "$code $body" '^403 .*another key than the session' "nor another's manifest"
make_disk "$TMPDIR/other" 1 9
make_version bob games.chess 1 "$TMPDIR/disk"
mv "$TMPDIR/games.chess-1" "$TMPDIR/late"
make_version bob games.chess 1 "$TMPDIR/other"
ok "under its own" send_objects "$TMPDIR/games.chess-1"
hand_in "$TMPDIR/games.chess-1" '?tag=v1.0%2Bb'
is "$code" 201 "it may"
hand_in "$TMPDIR/late"
like "$code $body" '^409 ' "a version is published once"
ok "the site is whole" check_site "$site"
run_rondo fsck "$site"
is "$status" 0 "and sound"
is "$(cut -d ' ' -f 2,4,5,8 "$state/audit.log" | grep ' 201$' | sort -u)" "$(sort <<-EOF
	$(key_of alice) tools.editor 1 201
	$(key_of alice) tools.editor 2 201
	$(key_of bob) games.chess 1 201
EOF
)" "the audit log has what was published, and by whom"
stop_keeper
is "$status" 0 "the server ends as asked"

# The site's key is elsewhere.
start_keeper --queue
open_session alice
ok "what was published counts for the quota" [ "$(value used_bytes)" -gt 500000 ]
make_disk "$TMPDIR/two" 1 11
make_version alice tools.shell 1 "$TMPDIR/two"
make_version alice tools.lint 1 "$TMPDIR/other"
allow carol media
before=$(sha256sum "$site/catalog.rondo")
ok "sent" send_objects "$TMPDIR/tools.shell-1"
hand_in "$TMPDIR/tools.shell-1" '?tag=stable'
like "$code $body" '^202 .*"pending"' "without the site's key a version waits"
send_objects "$TMPDIR/tools.lint-1"
hand_in "$TMPDIR/tools.lint-1"
is "$code" 202 "and so does another"
hand_in "$TMPDIR/tools.lint-1"
is "$code" 202 "handed in twice, it waits once"
hand_in "$TMPDIR/tools.lint-1" '?tag=fresh'
is "$code $(grep -c '^tag tools.lint fresh 1' "$state/pending/catalog")" "202 1" "with a tag this time, that waits, too"
make_version alice tools.shell 2 "$TMPDIR/two"
hand_in "$TMPDIR/tools.shell-2"
is "$code $(value serial)" "409 1" "a version that does not follow the one that waits is told after which it comes"
# Tag after tag: what one publisher has wait leaves room for others.
line=$(grep '^tools.shell 1 .* stable$' "$state/pending/versions")
printf "${line% *} filler-%050d\\n" $(seq 500) >>"$state/pending/versions"
hand_in "$TMPDIR/tools.lint-1" '?tag=newer'
like "$code $body" '^507 .*too many versions and tags of yours wait' "a publisher of whose tags too many wait is told so"
make_version carol media.go 1 "$TMPDIR/two"
make_version carol media.hex 1 "$TMPDIR/two"
open_session carol
hand_in "$TMPDIR/media.go-1"
hand_in "$TMPDIR/media.hex-1"
sed -i '/ filler-/d' "$state/pending/versions"
is "$code $(grep -c ^image "$state/pending/catalog")" "202 $(($(grep -c ^image "$site/catalog.rondo") + 4))" "versions of another publisher wait beside them"
is "$(sha256sum "$site/catalog.rondo")" "$before" "readers see nothing of it"
run_rondo gc "$site" --grace 0
ok "what waits is not collected" python3 "$ROOT/tests/check_site.py" "$site"
make_disk "$TMPDIR/three" 1 13
open_session alice
make_version alice tools.part 1 "$TMPDIR/three"
send_objects "$TMPDIR/tools.part-1"
hand_in "$TMPDIR/tools.part-1"
is "$code $(grep -c '^image tools.part' "$state/pending/catalog")" "202 1" "another one waits, with packs of its own"
hex=$(cut -d ' ' -f 1 "$TMPDIR/tools.part-1/new" | tail -n 1)
rm "$site/objects/${hex:0:2}/$hex" # a pack alone
hex=$(sha256sum "$TMPDIR/media.hex-1/manifest.signed" | cut -d ' ' -f 1)
rm "$site/objects/${hex:0:2}/$hex" # by other hands
"$BUILD/rondo" renew "$site" --key "$TMPDIR/owner" --revoke "$(key_of carol)" >"$TMPDIR/revoke.log" 2>&1 || diag_file "$TMPDIR/revoke.log"
no_longer() {
	! grep -q '^image \(media\|tools.part\)' "$state/pending/catalog" && ! grep -q 'media\|tools.part' "$state/pending/versions"
}
ok "what is not whole any more, or is of a key that was revoked since, waits no longer" wait_until 20 no_longer
is "$(grep -c 'does not wait any more' "$TMPDIR/server.log")" 3 "which the log says"
open_session alice
allow bob tools.shared # the catalog is changed by other hands
follows() {
	[ "$(sed -n 's/^number //p' "$state/pending/catalog")" = "$(($(sed -n 's/^number //p' "$site/catalog.rondo") + 1))" ]
}
ok "what waits follows a catalog that was changed meanwhile" wait_until 20 follows
run_rondo sign "$state/pending/catalog" --key "$TMPDIR/owner"
is "$status" 0 "its owner signs the text of the catalog"
run_rondo publish --signed "$state/pending/catalog.signed" --to "$site"
is "$status" 0 "and it takes the place of the old one"
is "$(grep -c '^image tools' "$site/catalog.rondo") $(grep -c '^tag tools.lint fresh 1' "$site/catalog.rondo")" "4 1" "both are listed now, and the tag"
ok "the site is whole" check_site "$site"
hand_in "$TMPDIR/tools.lint-1"
is "$code" 201 "and whoever asks hears so"
ok "nothing waits any more" wait_until 20 [ ! -e "$state/pending/catalog" ]
ok "and nothing is kept for it" wait_until 20 [ ! -e "$site/.unfinished/+waiting" ]

# The site's key comes to the server.
make_version alice tools.moved 1 "$TMPDIR/three"
send_objects "$TMPDIR/tools.moved-1"
hand_in "$TMPDIR/tools.moved-1"
is "$code $([ -e "$site/.unfinished/+waiting" ] && echo kept)" "202 kept" "a version waits when the server ends"
stop_keeper
start_keeper --site-key "$TMPDIR/owner"
allow bob tools.mine
ok "under a server that has the site's key its text follows the catalog" wait_until 20 follows
open_session alice
hand_in "$TMPDIR/tools.moved-1"
is "$code" 201 "handed in again it is listed"
ok "then it does not wait any more" wait_until 20 [ ! -e "$state/pending/versions" ]
ok "and nothing is kept for it" [ ! -e "$site/.unfinished/+waiting" ]
done_testing
