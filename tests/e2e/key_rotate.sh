#!/bin/bash
# The keys of a site change with keys that are elsewhere: the root statement's text is signed once with each key, apart or one after the other, by rondo sign
# or minisign, and taken in when enough have signed. What is not enough changes nothing; the same command goes on after an interruption.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign sqlite3

cd "$TMPDIR" || bail_out "no folder"
make_disk disk 1 1
mkdir safe
for name in old a b c online; do
	"$BUILD/rondo" key new "safe/$name" >/dev/null 2>&1 || bail_out "no key"
	cp "safe/$name.pub" .
done
run_rondo publish --name image --version 1 --disk disk --key safe/old --to site
status_is 0 "a site with one key"
run_rondo inspect site/image
status_is 0 "a user of it"
in_home() { # HOME COMMAND…
	local home=$1
	shift
	run env RONDO_HOME="$TMPDIR/$home" RONDO_CACHE="$TMPDIR/$home.cache" "$BUILD/rondo" "$@"
}
in_home behind inspect site/image
status_is 0 "another one, who will be offline from now on"
before=$(sha256sum site/catalog.rondo)

run_rondo key rotate site --unsigned root --new-key a.pub --new-key b.pub --new-key "$("$BUILD/rondo" key show c.pub)" --threshold 2 --catalog-key online.pub
status_is 0 "the text of a root statement, from public keys alone"
is "$out" root "its file is on stdout"
like "$err" "1 of the keys of root 1: $("$BUILD/rondo" key show old).*2 of the keys of root 2: .*and $("$BUILD/rondo" key show online), which is to sign catalogs" "who is to sign it on stderr"
like "$err" 'key rotate site --signed root.signed --catalog-key' "and what comes then"
is "$(sed -n 's/^threshold //p' root) $(grep -c '^key ' root)" "2 3" "it names two of three keys"
run_rondo key rotate site --signed root --catalog-key safe/online
like "$status $err" '^5 .*not signed' "unsigned, it is not taken in"

# One after the other with rondo sign, apart with another copy and with minisign.
run_rondo sign root --key safe/old
status_is 0 "the old key signs"
is "$out" root.signed "to root.signed"
like "$err" 'root statement of site, number 2.*none of these keys.*hands the site over' "and is told what that means"
run_rondo key rotate site --signed root.signed --catalog-key safe/online
like "$status $err" '^5 .*signed by 0 of its own keys, and needs 2' "the old key alone is not enough"
run_rondo sign root --key safe/a
is "$status $(grep -c '^untrusted' root.signed)" "0 2" "another key's signature comes to it"
run_rondo sign root --key safe/a
is "$status $(grep -c '^untrusted' root.signed)" "0 2" "once"
run_rondo key rotate site --signed root.signed --catalog-key safe/online
like "$status $err" '^5 .*signed by 1 of its own keys, and needs 2' "one of two is not enough"
is "$(sha256sum site/catalog.rondo) $(ls site)" "$before $(ls -d site/catalog.rondo site/objects | sed 's|site/||')" "nothing has changed so far"
cp root elsewhere
minisign -S -s safe/b -m elsewhere </dev/null >/dev/null || bail_out "minisign -S"
run_rondo publish --signed root.signed --to site
like "$status $err" '^2 .*key rotate site --signed root.signed' "publish --signed says who takes it in"
sed 's/^threshold 2/threshold 1/' root >other
run_rondo sign other --key safe/b
run_rondo key rotate site --signed root.signed --signed other.signed --catalog-key safe/online
like "$status $err" '^2 .*another root statement' "signatures of another text are not joined"
run_rondo key rotate site --signed root.signed --signed elsewhere --catalog-key safe/a
like "$status $err" '^5 .*is not signed by the key' "the key for catalogs must be the one that the text names"
run_rondo key rotate site --signed root.signed --signed elsewhere
status_is 5 "and must sign, too"
manifest=$(awk '$1 == "image" { print $5; exit }' site/catalog.rondo)
mv "site/objects/${manifest:0:2}/$manifest" manifest
run_rondo key rotate site --signed root.signed --signed elsewhere --catalog-key safe/online
like "$status $err" '^3 .*image 1, whose publisher must be known \(rondo fsck site --repair\)' "a listed version that cannot be read: whoever published it would lose the name"
is "$(sha256sum site/catalog.rondo) $(ls site)" "$before $(ls -d site/catalog.rondo site/objects | sed 's|site/||')" "so nothing has changed"
mv manifest "site/objects/${manifest:0:2}/$manifest"
run_rondo key rotate site --signed root.signed --signed elsewhere --catalog-key safe/online
status_is 0 "with a second file, and the key for catalogs, it is taken in"
like "$out" '^site: root 2, number 2' "root 2"
like "$err" 'former key .* may go on publishing' "and the publisher's rights stay"
run_rondo inspect --json site/image
like "$status $err" "^0 .*vouch for it \(root 2\)" "a user goes on"
run_rondo key rotate site --signed root.signed --signed elsewhere --catalog-key safe/online
like "$status $err" '^7 .*root 2, and site has root 2' "it is not taken in twice"
run_rondo publish --name image --version 2 --disk disk --key safe/old --site-key safe/online --to site
status_is 0 "the publisher publishes, the new key signs the catalog"
run_rondo renew site --key safe/old
like "$status $err" '^5 .*the key of the site' "the old key signs no catalog any more"

# All keys elsewhere, that for catalogs, too; interrupted in between.
run_rondo key rotate site --unsigned root --catalog-key c.pub --revoke online.pub
status_is 0 "the next one"
for key in a b c; do
	run_rondo sign root --key safe/$key
done
is "$(grep -c '^untrusted' root.signed)" 3 "a text that replaced another begins with no signature"
run_rondo key rotate site --signed root.signed --unsigned catalog
status_is 0 "the catalog's text is left in a file, too"
is "$out" catalog "which is on stdout"
run_rondo inspect --json site/image
status_is 0 "until it is signed users see no change"
run_rondo renew site --key safe/online
status_is 0 "the catalog is signed anew meanwhile"
run_rondo sign catalog --key safe/c
run_rondo publish --signed catalog.signed --to site
like "$status $err" '^7 .*another state' "so the text is out of date"
run_rondo key rotate site --signed root.signed --unsigned catalog
status_is 0 "again"
run_rondo sign catalog --key safe/c
run_rondo publish --signed catalog.signed --to site
status_is 0 "the signed catalog is taken in"
run_rondo inspect --json site/image
like "$status $err" "^0 .*root 3" "a user goes on, with root 3"
ok "the site is whole" check_site site
run_rondo mirror site mirrored
status_is 0 "a mirror of it"
is "$(cd mirrored && ls roots | tr '\n' ' ')" '2 3 ' "has its roots"
run_rondo key rotate site --key safe/a --key safe/b --catalog-key safe/old
status_is 0 "another change"
run_rondo mirror site mirrored
is "$status $(cd mirrored && ls roots | tr '\n' ' ')" '0 2 3 4 ' "which the mirror follows"

# By a file, without a network: it has the roots, too.
run_rondo export site/image file
status_is 0 "a version is exported"
is "$(tar tf file | head -5 | tr '\n' ' ')" 'archive.rondo roots/2 roots/3 roots/4 catalog.rondo ' "with all roots, before the catalog that names them"
run_rondo export --offline site/image again
ok "offline, too" cmp file again
mv site gone
in_home fresh import file
like "$status $err" "^0 .*first contact with .*whose key is $("$BUILD/rondo" key show safe/old)" "one who never was there imports it"
in_home fresh inspect --offline "$TMPDIR/site/image"
status_is 0 "and uses it offline"
in_home behind import file
status_is 0 "so does one who is three roots behind"
in_home behind trust ls
like "$out" 'root 4' "who follows them"
in_home pinned trust add "$TMPDIR/site/" "$("$BUILD/rondo" key show safe/online)"
in_home pinned import file
status_is 0 "and one who was told the key of root 2"
in_home wrong trust add "$TMPDIR/site/" "$("$BUILD/rondo" key show safe/b)"
run_rondo key new safe/stranger
in_home stranger trust add "$TMPDIR/site/" "$("$BUILD/rondo" key show safe/stranger)"
in_home stranger import file
like "$status $err" '^5 .*no root of .* is signed by' "but not one who was told another key"
mv gone site
mv site/roots/2 two
in_home late export site/image short
like "$status $err" '^0 .*those before 3 are not to be had' "an export by one who has not seen all roots, where one is missing, says so"
is "$(tar tf short | grep '^roots/' | tr '\n' ' ')" 'roots/3 roots/4 ' "and has the others"
mv two site/roots/2
in_home late export site/image again
ok "with the site whole it has all" cmp file again
sqlite3 "$RONDO_HOME/trust.db" "UPDATE root SET file = x'00' WHERE number = 2" || bail_out "what is remembered can be damaged"
cp mirrored/roots/3 mirrored/roots/2
run_rondo export --source mirrored site/image again
status_is 0 "where what is remembered is damaged, and the first source wrong"
ok "an export has what the next source says" cmp file again
cp site/roots/2 mirrored/roots/2
cat >holes.py <<'END'
import sys
data, to, at = open("file", "rb").read(), b"", 0
while data[at]:
    n = 512 + (int(data[at + 124:at + 135], 8) + 511) // 512 * 512
    to += b"" if data[at:at + 7] == b"roots/" + sys.argv[1].encode() else data[at:at + n]
    at += n
open("hole", "wb").write(to + data[at:])
END
in_holed() { # ROOT EXIT-CODE MESSAGE WHAT
	python3 holes.py "$1"
	in_home "first$1" import hole
	like "$status $err" "^$2 .*$3" "$4"
}
in_holed 2 0 'took in' "a first contact can do without root 2"
in_holed 3 5 'root 4 is not where it should be' "but none is left out in between"
in_holed 4 4 'root 4 was never seen here' "nor the last one"
in_home first4 trust ls
is "$out" "" "and nothing is remembered"

# What lacks its roots.
rm site/roots/2
printf 'x\n' >site/roots/3
run_rondo fsck site
like "$status $out" '^5 roots/2: No such file.*roots/3: .*malformed' "fsck knows roots that are missing or damaged"
run_rondo fsck site --repair
status_is 5 "which the publisher has nowhere else"
cp site/roots/4 kept
attack "$TMPDIR/mirrored"
run_rondo renew site --key safe/old --mirror "$url"
run_rondo fsck site --repair --offline
status_is 5 "or may not fetch"
run_rondo fsck site --repair
like "$status $out" '^0 roots: .*fetched \(mended\)' "or has in a mirror"
ok "they are the same" diff -r site/roots mirrored/roots
run_rondo fsck site
status_is 0 "all is right then"
ok "nothing was done to the others" cmp kept site/roots/4
run_rondo gc site --grace 0
is "$status $(ls site/roots | tr '\n' ' ')" '0 2 3 4 ' "gc keeps roots"
cp -r site whole
rm whole/catalog.rondo whole/roots/3
run_rondo publish --signed site/catalog.rondo --to whole
status_is 0 "a catalog is restored where its last root is"
rm whole/catalog.rondo whole/roots/4
run_rondo publish --signed site/catalog.rondo --to whole
like "$status $err" '^5 .*lacks roots/4' "and not where it is not"

# A root of another site that had the same key.
run_rondo publish --name image --version 1 --disk disk --key safe/a --to first
run_rondo publish --name image --version 1 --disk disk --key safe/a --to second
run_rondo key rotate first --unsigned elsewhere --new-key b.pub
for key in a b; do run_rondo sign elsewhere --key safe/$key; done
run_rondo key rotate second --signed elsewhere.signed --catalog-key safe/b
like "$status $err" '^5 .*second is as it was: root 2 is of a site with another id' "a root of another site with the same key is not taken in"
ok "and nothing has come there" test ! -e second/roots
run_rondo key rotate first --signed elsewhere.signed --catalog-key safe/b
status_is 0 "where it belongs it is"

# What cannot be.
for arguments in '--key safe/a' '--new-key a.pub' '--unsigned f --key safe/a --new-key a.pub' '--signed f --key safe/a' '--key safe/a --expires never --new-key a.pub'; do
	# shellcheck disable=SC2086
	run_rondo key rotate site $arguments
	status_is 2 "rotate $arguments: exit code 2"
done
run_rondo key new safe/x --key safe/a
status_is 2 "key new takes no options"
run_rondo key rotate site --key safe/a --key safe/b --threshold 4
like "$status $err" '^2 .*4 keys are to sign .*there are 3' "a threshold above the keys"
run_rondo key rotate site --key safe/a --key safe/b --threshold 12
like "$status $err" '^2 .*12 keys are to sign .*there are 3' "one above all that there may be"
run_rondo key rotate site --key safe/a --key safe/b --catalog-key safe/online
like "$status $err" '^2 .*that it revokes' "a key that was revoked does not come back"
run_rondo key rotate site --key safe/a --key safe/b --catalog-key safe/old --threshold 2
like "$status $err" '^2 .*says that already' "a change that is none"
run_rondo key rotate nowhere --key safe/a --new-key a.pub
status_is 3 "a site that is not there: exit code 3"
run_rondo key rotate site --key safe/c --new-key safe/x
status_is 3 "a key that is not there: exit code 3"
is "$(ls site/roots | tr '\n' ' ')" '2 3 4 ' "and none of these left anything"
done_testing
