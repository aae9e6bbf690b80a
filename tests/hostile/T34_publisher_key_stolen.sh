#!/bin/bash
# T34, and T35 where it is a publisher's: a thief of a publisher's key has published a version. The site's owner revokes the key, without having it: whoever
# has seen that refuses what it signed, even from the cache and offline. A new key of the publisher needs nothing from users.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl sqlite3 minisign

cd "$TMPDIR" || bail_out "no folder"
make_disk disk 1 1
cp disk disk2
change_disk disk2 4096 4096
for name in owner old new; do
	"$BUILD/rondo" key new "$name" >/dev/null 2>&1 || bail_out "no key"
done
old=$("$BUILD/rondo" key show old) new=$("$BUILD/rondo" key show new)
publish_by() { # KEY NAME VERSION DISK
	run_rondo publish --name "$2" --version "$3" --disk "$4" --key "$1" --site-key owner --to site
	[ "$status" -eq 0 ] || bail_out "publish: $err"
}
site=$TMPDIR/site
publish_by old image 1 disk
publish_by new other 1 disk
publish_by old image 2 disk2 # the thief's
attack
run_rondo pull "${url}image"
status_is 0 "the thief's version is pulled"
run_rondo inspect --offline "${url}image"
status_is 0 "and runs from the cache"

machine=0 # its disk boots nothing, which does not matter
if command -v qemu-system-x86_64 >/dev/null && [ -w /dev/fuse ]; then
	run_rondo run "${url}image" --detach --engine qemu --net none --name kept
	status_is 0 "a machine is made from it"
	at_exit '"$BUILD/rondo" stop kept --timeout 1 >/dev/null 2>&1'
	machine=1
fi

# T35: the publisher's new key.
run_rondo renew site --key owner --allow "$new:image" --revoke old.pub
status_is 0 "the owner revokes the old key and allows the new one"
like "$err" '2 listed versions are signed with the key that is revoked' "and is told what falls"
publish_by new image 3 disk
run_rondo pull "${url}image"
status_is 0 "a client takes the version of the new key, without being told anything"
run_rondo inspect --json --offline "${url}image"
is "$(json version) $(json publisher)" "3 $new" "it is the one"

# T34: what the old key signed. Each word of the refusal first, then every verb.
for version in 1 2; do
	rules
	withstands "T34 publisher key theft: what the stolen key signed, version $version" 5 "image $version of .* is signed by $old, which the site has revoked" \
		'catalog\.rondo|objects/.*' rondo pull "${url}image:$version"
	is "$(requests objects)" $((version == 1)) "no pack was asked for"
	rules
	withstands "T34 publisher key theft: from the cache, version $version" 5 "is signed by $old, which the site has revoked" '' \
		rondo inspect --offline "${url}image:$version"
done
run_rondo ls "$url"
like "$out" "image +2 +2 +revoked" "ls says so of what is in the cache"
like "$out" "image +3 +3 +yes" "and not of others"
run_rondo ls "$url" --json
is "$(grep -c '"revoked": true' <<<"$out")" 2 "as JSON, too" # versions 1 and 2, of which the manifests were seen
for arguments in 'pull' 'inspect' 'inspect --offline' 'export --offline' 'mount --offline' 'run --offline --detach --engine qemu'; do
	mkdir -p folder
	operand=
	case $arguments in
	export*) operand=$TMPDIR/archive ;;
	mount*) operand=$TMPDIR/folder ;;
	esac
	# shellcheck disable=SC2086
	run_rondo $arguments "${url}image:2" $operand
	status_is 5 "$arguments of the thief's version: exit code 5, although it is in the cache"
	like "$err" "image 2 of .* is signed by $old, which the site has revoked" "and why"
done
if [ $machine -eq 1 ]; then
	run_rondo ps
	like "$out" "kept +running .*revoked: the key that signed 2" "the machine that was made from it runs on, and ps tells"
	run_rondo ps --json
	is "$(grep -c '"revoked": true' <<<"$out")" 1 "as JSON, too"
	"$BUILD/rondo" stop kept --timeout 1 >/dev/null 2>&1
	run_rondo start kept --detach --engine qemu --net none
	status_is 0 "the machine that was made from it starts, for its disk is its user's"
	like "$err" 'machine kept was made from image 2, and the site has revoked the key.*rondo update kept' "with a warning"
else
	skip "the machine that was made from it" "no qemu, or no FUSE"
fi
run_rondo pull "${url}other"
status_is 0 "other publishers are not concerned"

# The revocation is not undone by an older catalog, nor by the thief, nor against the owner.
run_rondo publish --name image --version 4 --disk disk2 --key old --site-key owner --to site
like "$status $err" '^5 .*is revoked in site' "the old key publishes nothing any more"
run_rondo renew site --key owner --allow "$old:image"
like "$status $err" '^2 .*is revoked' "nor is it allowed again"
run_rondo renew site --key owner --revoke owner.pub
like "$status $err" '^2 .*key of the site itself' "the site's own key is not revoked by accident"
run_rondo renew site --key owner --revoke nonsense
status_is 2 "nor is nonsense"
run_rondo renew site --key owner --allow "$new"
status_is 2 "--allow without a name: exit code 2"
run_rondo tag site image latest 1 --key new --site-key owner
status_is 0 "the owner has the content of the first version published again"
run_rondo pull "${url}image"
status_is 0 "under the new key it is accepted"

# A root statement revokes for good: also where the key that signs catalogs is a thief's, too.
"$BUILD/rondo" key new online >/dev/null 2>&1 || bail_out "no key"
run_rondo key rotate site --key owner --catalog-key online --revoke "$new"
like "$status $err" '^0 .*listed versions are signed with the key that is revoked' "the owner revokes a publisher's key by a root statement"
run_rondo inspect "${url}other" --offline
status_is 0 "who has not seen that goes on"
run_rondo pull "${url}other"
like "$status $err" "^5 .*is signed by $new, which the site has revoked" "who has refuses what it signed: exit code 5"
run_rondo inspect "${url}other" --offline
status_is 5 "also from the cache, offline"
cp -r site undone
python3 "$ROOT/tests/hostile/forge.py" undone online --catalog "^revoke $new\$" 'opt-x y'
rules "/catalog.rondo stale from=$TMPDIR/undone"
run_rondo pull "${url}other"
like "$status $err" '^5 .*does not revoke' "a catalog that takes it back is refused"
done_testing
