#!/bin/bash
# time-limit: 600
# What a machine changed becomes a version of its own: only that is stored, and fetched by who has the base; it boots elsewhere.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site" --title Tiny
serve_site "$TMPDIR/site"
guest_mode=rw
commit() { # VERSION [OPTION…]
	local version=$1
	shift
	run_rondo commit tiny --name tiny --version "$version" --key "$TMPDIR/key" --to "$site" "$@"
}
elsewhere() { # as another user's cache would
	RONDO_CACHE=$TMPDIR/elsewhere/cache RONDO_HOME=$TMPDIR/elsewhere/home RONDO_RUNTIME=$TMPDIR/elsewhere/run "$@"
}
mkdir -m 700 -p "$TMPDIR/elsewhere/run"
at_exit 'fusermount3 -qu "$TMPDIR/elsewhere/run/mnt"'
ok "another cache has the base" elsewhere rondo pull "$url/tiny:1"

start_guest tiny "$url/tiny" 'head -c 3000000 /dev/urandom >/root/new; sha256sum /root/new; rm /etc/issue; sync; echo marked; read line; poweroff -f' --net none
ok "a machine writes" guest_shows tiny '^marked'
commit 2
status_is 10 "while it runs it is busy"
like "$err" "rondo stop tiny" "and told what to do"
tell_guest tiny
end_guest tiny
sum=$(grep -oE '[0-9a-f]{64}' "$TMPDIR/tiny.console" | head -n 1)
stored() {
	find "$site/objects" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }'
}
before=$(stored)
commit 2 --tag stable
status_is 0 "then it is committed"
like "$out" '^[0-9a-f]{64}$' "the manifest's name is printed"
like "$err" 'tiny 2: [0-9]+ blocks changed, [0-9]+ new; stored [0-9.]+ [KM]iB in [0-9]+ packs?' "and what it took"
diag "$err"
manifest=$out
added=$(($(stored) - before))
ok "the site is whole" check_site "$site"
rondo inspect "$site/tiny:2" --json >"$TMPDIR/two" && rondo inspect "$site/tiny:1" --json >"$TMPDIR/one"
is "$(jq -r '[.serial, .title, .manifest] | join(" ")' "$TMPDIR/two")" "2 Tiny $manifest" "it is the next version, and says of itself what the base did"
is "$(jq -r .parent "$TMPDIR/two")" "$(jq -r .manifest "$TMPDIR/one")" "its parent is the base"
is "$(jq -r '.cmdline + .ready' "$TMPDIR/two")" "$(jq -r '.cmdline + .ready' "$TMPDIR/one")" "it boots as that did"

data=$(rondo diff "$site/tiny:1" "$site/tiny:2" --json | jq .data_bytes)
diag "stored $added bytes for $data bytes of compressed change"
ok "what is stored is at most 1.2 times that" [ $((added * 10)) -le $((data * 12)) ]
: >"$access"
run elsewhere rondo run "$url/tiny:2" --name two --net none --timeout 150 --append "rw $(guest_command 'sha256sum /root/new; ls /etc; poweroff -f')"
status_is 0 "it runs elsewhere"
like "$out" "$sum" "with what was written"
unlike "$out" "issue" "without what was removed"
fetched=$(awk '{ n += $6 } END { print n }' "$access")
diag "fetched $fetched bytes"
ok "and fetches at most 1.2 times what changed" [ $((fetched * 10)) -le $((data * 12)) ]
ok "but not nothing" [ "$fetched" -gt 0 ]
done_testing
