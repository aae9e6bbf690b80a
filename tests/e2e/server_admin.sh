#!/bin/bash
# What an operator does with rondo-server: gc, quota, user, verify; options that would change nothing are refused.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/publishers.sh"
need curl python3 minisign

make_keys owner alice bob
alice=$(key_of alice)
catalog() {
	cat "$site/catalog.rondo"
}

# --- who may publish -------------------------------------------------------------------------------------------------

run rondo-server user list "$site"
is "$status $out" "0 $(key_of owner)  every name: it is the site's own key" "user list: the site's own key"
before=$(catalog)
run rondo-server user add "$alice" alice "$site"
status_is 2 "user add without the site's key is refused"
like "$err" "type, where that key is: rondo renew $site --key FILE --allow $alice:alice" "and says what is to be typed, and where"
run rondo-server user add "$alice" alice --site-key "$TMPDIR/alice" "$site"
status_is 5 "another key than the site's signs nothing"
is "$(catalog)" "$before" "the catalog is as it was"
"$BUILD/rondo" renew "$site" --key "$TMPDIR/owner" --expires 5d >/dev/null 2>&1 || bail_out "renew"
run rondo-server user add "$alice" alice --site-key "$TMPDIR/owner" "$site"
status_is 0 "with it, it is signed"
expires=$(date -u -d "$(sed -n 's/^expires //p' "$site/catalog.rondo")" +%s)
ok "for as long as the catalog before" [ $((expires - $(date +%s))) -lt $((6 * 86400)) ]
run rondo-server user list "$site" --json
is "$(python3 -c 'import json, sys; print([(u["key"] == sys.argv[1], u["name"], u["revoked"]) for u in json.load(sys.stdin)])' "$alice" <<<"$out")" \
	"[(False, '*', False), (True, 'alice', False)]" "user list --json has her"

# --- gc and verify ---------------------------------------------------------------------------------------------------

start_keeper --site-key "$TMPDIR/owner"
make_disk "$TMPDIR/disk" 1 5
make_version alice alice.web 1 "$TMPDIR/disk"
open_session alice && send_objects "$TMPDIR/alice.web-1" || bail_out "objects are sent"
hand_in "$TMPDIR/alice.web-1"
is "$code" 201 "she publishes under it"
run timeout 20 rondo-server --listen 127.0.0.1:0 --state "$state" "$site"
like "$status $err" "^10 .*another rondo-server keeps its state in $state: stop that one" "a second server with this state is refused"
run timeout 20 rondo-server --listen 127.0.0.1:0 --state "$TMPDIR/other-state" --site-key "$TMPDIR/alice" "$site"
like "$status $err" "^5 .*alice is not the key of the site $site, which is $(key_of owner): give" "and one with a key that is not the site's"
printf 'what is no object of a version' >"$TMPDIR/stray"
stray=$(sha256sum "$TMPDIR/stray" | cut -d ' ' -f 1)
api PUT "objects/$stray" --data-binary "@$TMPDIR/stray"
is "$code" 201 "and sends what no version lists"

# --- quotas, while the server runs -----------------------------------------------------------------------------------

quota() { # [KEY [SIZE]]: sets $used and $own
	run rondo-server quota --state "$state" --json "$@"
	read -r used own < <(python3 -c 'import json, sys; print(*[(p["used_bytes"], p.get("quota_bytes")) for p in json.load(sys.stdin)][0])' <<<"$out")
}
quota
is "$status $(grep -o -- "$alice" <<<"$out" | wc -l) $own" "0 1 None" "quota: who has published is there, once, and has what the server gives everybody"
all=$used
open_session alice
is "$(value used_bytes) $(value quota_bytes)" "$all $((64 << 30))" "what she has used is what the server tells her"
quota "$alice" $((all + 100))
is "$status $used $own" "0 $all $((all + 100))" "one of her own is set"
open_session alice
is "$(value quota_bytes)" $((all + 100)) "and holds at once"
head -c 101 /dev/urandom >"$TMPDIR/more"
api PUT "objects/$(sha256sum "$TMPDIR/more" | cut -d ' ' -f 1)" --data-binary "@$TMPDIR/more"
is "$code" 413 "no more is taken than that"
run rondo-server quota --state "$state" "$alice"
like "$out" "^$alice  .* of " "quota KEY shows it"
run rondo-server quota --state "$state" "$alice" default
like "$out" ' of what the server gives everybody' "and can be taken back"
open_session alice
is "$(value quota_bytes)" $((64 << 30)) "which holds at once, too"
echo many >"$state/placed/$alice.quota"
api PUT "objects/$(sha256sum "$TMPDIR/more" | cut -d ' ' -f 1)" --data-binary "@$TMPDIR/more"
is "$code" 500 "what is damaged allows nothing"
run rondo-server quota --state "$state"
like "$status $err" "^5 .*placed/$alice.quota is damaged; rondo-server quota sets it anew" "and is said"
run rondo-server quota --state "$state" "$alice" 1G
is "$status $(cat "$state/placed/$alice.quota")" "0 $((1 << 30))" "and mended"
stop_keeper

run rondo-server gc --state "$state" --dry-run "$site"
like "$status $out" '^0 .*would remove 0 of' "gc --dry-run: all is needed"
touch -d '8 days ago' "$state/incoming/$alice/$stray"
run rondo-server gc --state "$state" --dry-run "$site"
ok "it changes nothing" [ -e "$state/incoming/$alice/$stray" ]
run rondo-server gc --state "$state" --json "$site"
is "$status $(python3 -c 'import json, sys; print(json.load(sys.stdin)["removed"])' <<<"$out")" "0 0" "gc --json: nothing of the site goes"
not_ok "but what waited for more than a week" [ -e "$state/incoming/$alice" ]
run rondo-server gc --state "$TMPDIR/none" "$site"
is "$status $([ -e "$TMPDIR/none" ] && echo made)" "3 " "a state folder that is not there is not made"
run rondo-server verify "$site"
like "$status $out" '^0 .*looked at 2 versions' "verify: all is well"
object=$(objects_of "$TMPDIR/alice.web-1" | head -n 1 | cut -d ' ' -f 1)
printf 'x' | dd of="$site/objects/${object:0:2}/$object" bs=1 conv=notrunc status=none
run rondo-server verify --json "$site"
is "$status $(python3 -c 'import json, sys; print(sys.argv[1] in str(json.load(sys.stdin)["problems"]))' "$object" <<<"$out")" "5 True" "verify --json names an object that is damaged"

run rondo-server user remove "$(key_of bob)" --site-key "$TMPDIR/owner" "$site"
is "$status $(grep -c 'listed version' <<<"$err")" "0 0" "user remove of a key that signed nothing does not ask for anything to be published again"
run rondo-server user remove "$alice" --site-key "$TMPDIR/owner" "$site"
like "$status $err" '^0 .*one listed version' "user remove revokes the key, and says what falls with it"
run rondo-server user list "$site"
like "$out" "$alice  alice  revoked" "user list says so"
run rondo-server user add "$alice" other --site-key "$TMPDIR/owner" "$site"
status_is 2 "it is for good"

# --- what is refused -------------------------------------------------------------------------------------------------

refused() { # PATTERN ARGUMENT…
	local pattern=$1
	shift
	run rondo-server "$@"
	[ "$status" -eq 2 ] && [[ $err == *$pattern* ]] || fail "rondo-server $*: $status $err"
}
refused '--quota is for those who publish' --quota 1G "$site"
refused '--quota is for those who publish' --quota 64G --state "$state" "$site"
refused 'needs --state' --queue "$site"
refused 'one of them' --queue --site-key "$TMPDIR/owner" --state "$state" "$site"
refused '--try needs --state' --try 1 "$site"
refused 'no option --log' reindex --state "$state" --log "$TMPDIR/log" "$site"
refused 'no option --quota' reindex --state "$state" --quota 1G "$site"
refused '--state FOLDER is missing' reindex "$site"
refused 'unexpected argument' "$site" "$site"
refused 'no option --stat' --stat "$state" "$site"
refused "the site's folder is missing" --state "$state"
refused 'leave --site-key out' user list --site-key "$TMPDIR/owner" "$site"
refused '--json belongs to list' user remove "$alice" --json "$site"
refused 'is what users can be' user rename "$alice" "$site"
refused 'a quota is a size' quota --state "$state" "$alice" much
refused 'a key is 43' quota --state "$state" alice
refused '--state FOLDER is missing' quota "$alice" 1G
refused 'a key is 43 characters' user add alice alice "$site"
refused 'user add takes' user add "$alice" "$site"
pass "what would change nothing, and what nobody means, is refused"
for verb in gc quota reindex user verify; do
	run rondo-server "$verb" --help
	[ "$status" -eq 0 ] && [[ $out == "usage: rondo-server $verb "* ]] || fail "$verb --help: $status"
	run rondo-server --help
	[[ $out == *$'\n'"  $verb "* ]] || fail "--help lists $verb"
done
pass "each verb has its help"
done_testing
