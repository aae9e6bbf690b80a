#!/bin/bash
# T01: packs altered on the server, a thousand bits of them, seeded: nothing wrong is ever read; with a second, good mirror all that is read
# is right (malicious mirror).
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl sqlite3
need_fuse

disk=$TMPDIR/disk
make_disk "$disk" 12 9
whole="wrong 0 failed 0 right $((12 * 64))"
must_publish image 1 "$disk"
manifest=$out
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 2" >"$XDG_CONFIG_HOME/rondo/config"
seed=${SEED:-1}
diag "SEED=$seed"
packs() { # DIR
	find "$1/objects" -type f ! -name "$manifest"
}

# Only a bad one. Ten rounds of 50 bits in the data, in each of which the map is whole, so that there is something to read.
attack "$TMPDIR/bad"
wrong=0 failed=0
for round in {1..10}; do
	forget
	rm -rf "$TMPDIR/bad"
	cp -r "$site" "$TMPDIR/bad"
	mapfile -t files < <(packs "$TMPDIR/bad" | xargs ls -S | head -n -1)
	flip $((seed * 1000 + round)) 50 "${files[@]}"
	mount_image "${url}image"
	read -r _ w _ f _ <<<"$(compare "$disk" "$TMPDIR/mounted/disk")"
	wrong=$((wrong + w)) failed=$((failed + f))
	unmount_image
done
is "$wrong" 0 "500 altered bits on the only server: nothing wrong is read"
ok "what is altered cannot be read ($failed of $((10 * 12 * 64)) reads)" [ "$failed" -gt 100 ]
like "$(cat "$RONDO_RUNTIME/cloop.log")" "127.0.0.1.*(match|wrong|hash)" "the log names the server and what it did"
broken=0
for object in "$RONDO_CACHE"/objects/*/*; do
	[ "$(sha256sum "$object" | cut -d ' ' -f 1)" = "${object##*/}" ] || broken=$((broken + 1))
done
is "$broken" 0 "no altered pack stands among the cache's objects"
rules
withstands "T01 altered chunk: pull" 5 'objects/../[0-9a-f]{64}.*127\.0\.0\.1|127\.0\.0\.1.*objects/../[0-9a-f]{64}' 'catalog\.rondo|objects/.*' \
	rondo pull "${url}image"

# The map too.
for pack in $(packs "$site" | xargs ls -S | tail -n 1); do
	forget
	rm -rf "$TMPDIR/bad"
	cp -r "$site" "$TMPDIR/bad"
	flip "$seed" 30 "${pack/#$site/$TMPDIR/bad}"
	mount_image "${url}image"
	is "$(compare "$disk" "$TMPDIR/mounted/disk" | sed 's/failed [1-9][0-9]*/failed N/')" "wrong 0 failed N right 0" "an altered map: nothing is read"
	unmount_image
	run_rondo inspect "${url}image"
	status_is 5 "inspect: exit code 5"
done

# With a good mirror, which the catalog names.
bad=$url
attack "$site"
good=$url good_requests=$requests
run_rondo renew "$site" --key "$TMPDIR/key" --mirror "$good"
status_is 0 "renew --mirror"
is "$(grep -c "^mirror $good\$" "$site/catalog.rondo")" 1 "the catalog names the mirror"
rounds=0
for round in {1..10}; do
	forget
	rm -rf "$TMPDIR/bad"
	cp -r "$site" "$TMPDIR/bad"
	mapfile -t files < <(packs "$TMPDIR/bad")
	flip $((seed * 3000 + round)) 50 "${files[@]}"
	mount_image "${bad}image"
	result=$(compare "$disk" "$TMPDIR/mounted/disk")
	[ "$result" = "$whole" ] && rounds=$((rounds + 1)) || diag "round $round: $result"
	unmount_image
done
is "$rounds" 10 "500 altered bits, and a good mirror: all that is read is right"
ok "the mirror was asked" grep -q /objects/ "$good_requests"
forget
run_rondo pull "${bad}image"
is "$status $out" "0 $manifest" "pull"
forget
rm -rf "$TMPDIR/bad/objects"
run_rondo pull "${bad}image"
is "$status $out" "0 $manifest" "pull, from a server that has nothing but the catalog"

# A mirror that is down delays nothing for long.
run_rondo renew "$site" --key "$TMPDIR/key" --mirror "http://127.0.0.1:1/" --mirror "$good"
rm -rf "$TMPDIR/bad"
cp -r "$site" "$TMPDIR/bad"
rm -r "$TMPDIR/bad/objects"
forget
measure "$BUILD/rondo" pull "${bad}image"
is "$status $out" "0 $manifest" "one mirror has nothing, one is down: pull"
ok "takes $seconds s" [ "$seconds" -lt 8 ]
done_testing
