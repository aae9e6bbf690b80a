#!/bin/bash
# T05, and what is no rollback: moving a tag back publishes the old content again, which a client that has seen the newer version accepts;
# a site that merely serves its older catalog is refused. Who may move a tag, what cannot be a tag, and that each change happens as a whole.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign sqlite3

for v in 1 2 3; do
	make_disk "$TMPDIR/disk$v" 1 "$v"
	must_publish image "$v" "$TMPDIR/disk$v" --title "Number $v" --tag stable
	manifests[v]=$out
	cp -r "$site" "$TMPDIR/site.$v"
done
attack
tag() {
	run_rondo tag "$site" image "$@" --key "$TMPDIR/key"
}
version_of() { # SELECTOR
	RONDO_SITE=$site "$BUILD/rondo" inspect "image:$1" --json | python3 -c 'import json, sys; v = json.load(sys.stdin); print(v["version"], v["serial"])'
}

run_rondo pull "${url}image"
status_is 0 "a client has the newest version"

# Back.
tag latest 2
status_is 0 "latest is moved back"
is "$out" "2+1" "to a version of its own"
like "$err" "image 2 is older than 3, which latest named: its content is published again as 2\+1 \(serial 4\)" "and one line says so"
is "$(wc -l <<<"$err")" 1 "one only"
rules
run_rondo pull "${url}image"
status_is 0 "the client that has seen the newer one accepts it"
run_rondo inspect "${url}image" --json
is "$(json version) $(json serial) $(json parent)" "2+1 4 ${manifests[3]}" "it is a new version behind the newest"
is "$(json title)" "Number 2" "with the old one's texts"
is "$(version_of stable)" "3 3" "another tag stays"
is "$(version_of 2)" "2 2" "and so does the old version itself"
run_rondo diff "${url}image:2" "${url}image:2+1" --json
is "$(json fetch_bytes) $(json disk_changed_blocks)" "0 0" "nothing of it differs"
if [ -w /dev/fuse ]; then
	mount_image "${url}image"
	ok "it reads as the old content" cmp "$TMPDIR/disk2" "$TMPDIR/mounted/disk"
	unmount_image
fi
ok "the site is whole" check_site "$site"

# A site that serves what it served then.
for old in 2 3; do
	rules "/catalog.rondo stale from=$TMPDIR/site.$old"
	withstands "T05 rollback: the catalog of version $old" 7 "older than number" 'catalog\.rondo' rondo pull "${url}image"
	run_rondo pull "${url}image:1"
	status_is 7 "for a version that it lists, too"
done
rules
run_rondo pull "${url}image"
status_is 0 "nothing of that was remembered"

# Back again, by names; forward; nothing to do.
tag latest 1 --version one-again
is "$status $out $(version_of latest)" "0 one-again one-again 5" "--version names it"
tag stable 2
is "$status $out $(version_of stable)" "0 2+2 2+2 6" "names that are taken are left out"
is "$(version_of latest)" "one-again 5" "and latest, which names an older version now, is not moved"
tag stable 2+1
is "$status $out" "0 2+3" "what was published again goes on counting"
before=$(cat "$site/catalog.rondo")
tag stable 2+3
is "$status $out" "0 2+3" "a tag that names the version already"
like "$err" "already" "is left alone"
is "$(cat "$site/catalog.rondo")" "$before" "and so is the catalog"
tag latest 2+3
is "$status $out $(version_of latest)" "0 2+3 2+3 7" "forward, nothing is published"
tag fresh 1
is "$status $out $(version_of fresh)" "0 1 1 1" "a new tag may name any version"
run_rondo pull "${url}image:stable"
status_is 0 "the client goes along"
publish image 4 "$TMPDIR/disk3"
status_is 0 "a version behind all that"
is "$(version_of latest)" "4 8" "is the latest again"

# Removing.
tag fresh --remove
status_is 0 "a tag is removed"
run_rondo inspect "${url}image:fresh"
status_is 3 "and not found any more"
before=$(cat "$site/catalog.rondo")
refuse() { # EXIT-CODE REGEX ARGUMENT…: of rondo
	local code=$1 regex=$2
	shift 2
	run_rondo "$@"
	[ "$status" -eq "$code" ] && [[ $err =~ $regex ]] && [ "$(cat "$site/catalog.rondo")" = "$before" ] || fail "$*: $status, $err"
}
key=(--key "$TMPDIR/key")
"$BUILD/rondo" key new "$TMPDIR/stranger" >/dev/null 2>&1
refuse 2 "stays as long as" tag "$site" image latest --remove "${key[@]}"
refuse 3 "no version or tag fresh" tag "$site" image fresh --remove "${key[@]}"
refuse 2 "2 is a version of image" tag "$site" image 2 --remove "${key[@]}"
refuse 2 "2 is a version of image" tag "$site" image 2 3 "${key[@]}"
refuse 2 "stable is a tag; the version that it names is 2\+3" tag "$site" image x stable "${key[@]}"
refuse 3 "versions: 1, 2, " tag "$site" image x 9 "${key[@]}"
refuse 3 "no image none" tag "$site" none x 1 "${key[@]}"
refuse 2 "a tag is 1 to 64" tag "$site" image a/b 3 "${key[@]}"
refuse 2 "a tag is 1 to 64" tag "$site" image "$(printf '\033[31m')" 3 "${key[@]}"
refuse 1 "there is a image 3 already" tag "$site" image latest 1 --version 3 "${key[@]}"
refuse 1 "there is a image stable already" tag "$site" image latest 1 --version stable "${key[@]}"
refuse 2 "nothing is published again" tag "$site" image x 1 --version 9 "${key[@]}"
refuse 2 "letters, digits" tag "$site" image latest 1 --version a/b "${key[@]}"
refuse 2 "argument is missing" tag "$site" image x "${key[@]}"
refuse 2 "takes a tag, and no version" tag "$site" image x 3 --remove "${key[@]}"
refuse 2 "--key KEYFILE is needed" tag "$site" image x 3
refuse 5 "the key of the site" tag "$site" image x 3 --key "$TMPDIR/stranger"
refuse 5 "the key of the site" withdraw "$site" image 1 --key "$TMPDIR/stranger"
refuse 5 "may not publish image" tag "$site" image x 3 --key "$TMPDIR/stranger" --site-key "$TMPDIR/key"
refuse 5 "may not publish image" withdraw "$site" image 1 --key "$TMPDIR/stranger" --site-key "$TMPDIR/key"
refuse 3 "is no site" tag "$TMPDIR/none" image x 3 "${key[@]}"
refuse 3 "is no site" tag "$url" image x 3 "${key[@]}"
refuse 3 "" tag "$site" image x 3 --key "$TMPDIR/none"
not_ok "no site is made where there was none" [ -e "$TMPDIR/none" ]
exec 9<"$site/.lock"
flock 9
refuse 10 "somebody else is publishing" tag "$site" image x 3 "${key[@]}"
exec 9<&-
m=${manifests[1]}
cp "$site/objects/${m:0:2}/$m" "$TMPDIR/good"
flip 1 1 "$site/objects/${m:0:2}/$m"
refuse 5 "is damaged" tag "$site" image latest 1 "${key[@]}"
cp "$TMPDIR/good" "$site/objects/${m:0:2}/$m"
pass "what cannot be done is refused, and changes nothing"

# Killed at any moment, the catalog is the old or the new one, and the same command works.
old=$(version_of latest)
for delay in 0 0.005 0.01 0.015 0.02 0.03; do
	"$BUILD/rondo" tag "$site" image latest 1 "${key[@]}" >/dev/null 2>&1 &
	sleep "$delay"
	kill -KILL $! 2>/dev/null
	wait $! 2>/dev/null
	now=$(version_of latest)
	[ "$now" = "$old" ] || [[ $now == "1+"* ]] || fail "killed after $delay s: latest is $now"
	tag latest 3
	[ "$status" -eq 0 ] || fail "after that: $err"
	old=$(version_of latest)
done
pass "killed at any moment, the old or the new tag stands"
rules
run_rondo pull "${url}image"
status_is 0 "which the client accepts"
ok "the site is whole" check_site "$site"

# A publisher that is not the site's owner.
publish other 1 "$TMPDIR/disk1" --key "$TMPDIR/stranger" --site-key "$TMPDIR/key"
publish other 2 "$TMPDIR/disk2" --key "$TMPDIR/stranger" --site-key "$TMPDIR/key"
run_rondo tag "$site" other latest 1 --key "$TMPDIR/stranger" --site-key "$TMPDIR/key"
is "$status $out" "0 1+1" "a publisher moves the tags of its own images back"
run_rondo inspect "${url}other" --json
is "$(json publisher)" "$("$BUILD/rondo" key show "$TMPDIR/stranger")" "and signs for that"
run_rondo tag "$site" other latest 1 --key "$TMPDIR/key"
is "$status $out" "0 1+2" "the site's owner may, too"

# What the owner signs for is believed by later publications, so another's packs are looked at first.
before=$(cat "$site/catalog.rondo")
cp -r "$site/objects" "$TMPDIR/good.objects"
grep -rl RONDOPK1 "$site/objects" | while read -r pack; do
	printf x | dd of="$pack" bs=1 seek=20 conv=notrunc status=none
done
refuse 5 "other 2: " tag "$site" other latest 2 --key "$TMPDIR/key"
pass "but not of packs that do not hold what they say"
cp -r "$TMPDIR/good.objects/." "$site/objects/"
run_rondo tag "$site" other latest 2 --key "$TMPDIR/key"
is "$status $out" "0 2+1" "those that do are signed for"
done_testing
