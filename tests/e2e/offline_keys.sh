#!/bin/bash
# Keys that the computer with the site does not have: texts are left in files, signed elsewhere by rondo sign or minisign, and taken in.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl minisign

cd "$TMPDIR" || bail_out "no folder"
mkdir safe
for name in alice owner mallory; do
	"$BUILD/rondo" key new "safe/$name" >/dev/null 2>&1 || bail_out "no key"
	cp "safe/$name.pub" .
done
alice=$("$BUILD/rondo" key show alice.pub)
owner=$("$BUILD/rondo" key show owner.pub)
make_disk disk 1 1
cp disk disk2
change_disk disk2 4096 4096
make_disk disk3 1 3

# Both keys are elsewhere, the site is new.
run_rondo publish --name image --version 1 --disk disk --key alice.pub --to site --unsigned manifest
status_is 0 "publish --unsigned with a public key"
is "$out" manifest "the text's file is on stdout"
like "$err" "to be signed with the key $alice.*publish --signed manifest.signed --to site" "and what comes next on stderr"
not_ok "nothing is listed" [ -e site/catalog.rondo ]
is "$(head -n 1 manifest)" 'rondo-manifest 1' "it is a manifest's text"
run_rondo sign manifest --key safe/mallory
status_is 5 "another key: exit code 5"
like "$err" "to be signed with the key $alice" "and whose it should be"
not_ok "nothing was written" [ -e manifest.signed ]
run_rondo sign manifest --key safe/alice
status_is 0 "rondo sign"
is "$out" manifest.signed "the signed file is on stdout"
like "$err" 'manifest of image 1, serial 1' "and stderr shows what is signed"
run_rondo sign manifest --key safe/alice
status_is 0 "again: the same"
run_rondo sign manifest.signed --key safe/alice
like "$status $err" '^1 .*signed already' "a signed text is not signed"
run_rondo publish --signed manifest --to site --site-key safe/owner
like "$status $err" '^5 .*not signed.*manifest.minisig' "an unsigned text is not taken in"
run_rondo publish --signed manifest.signed --to site
like "$status $err" '^2 .*--site-key FILE.*--unsigned FILE' "a manifest wants the site's key, or a file for the catalog's text"
run_rondo publish --signed manifest.signed --to elsewhere --site-key safe/owner
status_is 3 "a site without its packs: exit code 3"
not_ok "and nothing is made" [ -e elsewhere ]
run_rondo publish --signed manifest.signed --to site --site-key owner.pub --unsigned catalog --tag stable
status_is 0 "the catalog's text, for the owner"
is "$out" catalog "its file is on stdout"
like "$err" "image is new in site: the key $alice may publish it from now on" "whose name it is, is told"
not_ok "still nothing is listed" [ -e site/catalog.rondo ]
minisign -S -s safe/owner -m catalog </dev/null >/dev/null || bail_out "minisign -S"
run_rondo publish --signed catalog --to site
status_is 0 "a catalog that minisign signed"
site=$TMPDIR/site
ok "the site is whole" check_site site
run_rondo inspect --json site/image:stable
is "$status $(json version) $(json publisher)" "0 1 $alice" "the version is the publisher's"
is "$(sed -n 's/^site [^ ]* //p' site/catalog.rondo)" "$owner" "the site is the owner's"
not_ok "the list of unfinished packs is gone" [ -e site/.unfinished/image ]

# The owner's key is here, the publisher's is not.
printf '\211PNG\r\n\032\n and so on' >logo
run_rondo publish --name image --version 2 --disk disk2 --key "$alice" --to site --unsigned manifest --logo logo
status_is 0 "the next version, with the key as addresses have it; an old text is replaced"
minisign -S -s safe/alice -m manifest </dev/null >/dev/null || bail_out "minisign -S"
before=$(sha256sum site/catalog.rondo)
logo=$(sha256sum logo | cut -d ' ' -f 1)
run_rondo gc site --grace 0
ok "a collection keeps the packs that wait, and the logo" [ "$status" = 0 -a -e "site/objects/${logo:0:2}/$logo" ]
run_rondo publish --signed manifest --to site --site-key safe/mallory
status_is 5 "not the site's key: exit code 5"
is "$(sha256sum site/catalog.rondo)" "$before" "and the site is as it was"
cp manifest manifest.kept
sed -i 's/^created .*/created 2026-11-23T10:00:00Z/' manifest
run_rondo publish --signed manifest --to site --site-key safe/owner
status_is 5 "a text that was altered since: exit code 5"
mv manifest.kept manifest
run_rondo publish --signed manifest --to site --site-key safe/owner
status_is 0 "publish --signed with the site's key at hand"
ok "the site is whole" check_site site
run_rondo publish --signed manifest --to site --site-key safe/owner
like "$status $err" '^1 .*published already' "twice: it is told"

# Nobody gets a name that is another's; a text that has been overtaken is not taken in.
run_rondo publish --name image --version 3 --disk disk3 --key mallory.pub --to site --unsigned stolen
run_rondo sign stolen --key safe/mallory
run_rondo publish --signed stolen.signed --to site --site-key safe/owner
status_is 5 "a manifest of somebody else for a name that is taken: exit code 5"
like "$err" "--allow $("$BUILD/rondo" key show mallory.pub):image" "and how to allow it"
run_rondo publish --name image --version 3 --disk disk3 --key alice.pub --to site --unsigned late
"$BUILD/rondo" sign late --key safe/alice >/dev/null 2>&1
run_rondo publish --signed late.signed --to site --unsigned catalog
status_is 0 "a catalog's text that lists version 3"
"$BUILD/rondo" sign catalog --key safe/owner >/dev/null 2>&1
run_rondo renew site --key safe/owner
status_is 0 "the site is renewed meanwhile"
run_rondo publish --signed catalog.signed --to site
status_is 7 "the text is of an older state now: exit code 7"
run_rondo publish --signed late.signed --to site --unsigned catalog
"$BUILD/rondo" sign catalog --key safe/owner >/dev/null 2>&1
run_rondo publish --signed catalog.signed --to site
status_is 0 "made again, it is taken in"
ok "the site is whole" check_site site
run_rondo renew site --unsigned catalog --revoke mallory.pub
status_is 0 "renew --unsigned"
run_rondo sign catalog --key safe/owner
like "$err" "revokes the key $("$BUILD/rondo" key show mallory.pub)" "the owner sees what is signed"
run_rondo publish --signed catalog.signed --to site
status_is 0 "and it is taken in"
printf 'rondo-catalog 1\nrondo-manifest 1\n' >bad
run_rondo sign bad --key safe/owner
status_is 5 "sign: a text that is neither: exit code 5"
run_rondo sign disk --key safe/owner
status_is 5 "sign: a disk: exit code 5"
run_rondo publish --name image --version 4 --disk disk --key alice.pub --to other --unsigned disk2
like "$status $err" '^1 .*disk2 is there, and is no text to be signed' "--unsigned writes over no other file"
ok "which is as it was" [ -s disk2 ]
for option in --tag=x --site-key=safe/owner --mirror=none --expires=9d; do
	run_rondo publish --name image --version 4 --disk disk --key alice.pub --to site --unsigned m "$option"
	status_is 2 "--unsigned with ${option%%=*}: exit code 2"
done
run_rondo publish --signed m --to site --name image
status_is 2 "--signed with what the text says: exit code 2"
done_testing
