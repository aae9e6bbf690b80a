#!/bin/bash
# A site's signatures are checked with Debian's minisign by the commands of docs/security.md; minisign's keys publish.
. "$(dirname "$0")/../lib.sh"
need minisign sha256sum base64

cd "$TMPDIR" || bail_out "the test's folder can be entered"
head -c 300000 /dev/urandom >disk
truncate -s 1M disk
ok "a key is made" rondo key new zoo.key
ok "a site is published" rondo publish --name tiny --version 1 --disk disk --key zoo.key --to site

# The blocks of commands in the document, each as it stands there.
awk '/^```/ { inside = /sh$/; count += inside; next } inside { print > "block" count }' "$ROOT/docs/security.md"
is "$(ls block*)" "block1
block2
block3" "the document has three blocks of commands"
for block in 1 2 3; do
	run bash -e "block$block"
	status_is 0 "block $block of docs/security.md succeeds"
	like "$out" "Signature and comment signature verified" "and minisign says so"
done

sed -i 's/^number 1$/number 2/' catalog
not_ok "minisign refuses a changed catalog" minisign -Vm catalog -p zoo.key.pub
{ cat catalog && echo --- && cat catalog.minisig; } >site/catalog.rondo
run_rondo ls ./site
status_is 5 "so does rondo"

ok "minisign makes a key" minisign -G -W -p other.pub -s other.key
ok "rondo publishes with it" rondo publish --name tiny --version 1 --disk disk --key other.key --to other
is "$(rondo key show other.key)" "$(rondo key show other.pub)" "both of its files name the same key"
is "$(sed -n 2p other/catalog.rondo)" "site other $(rondo key show other.pub)" "which is the site's"

# A catalog that minisign signed.
sed '/^---$/,$d' other/catalog.rondo >text
sed -i 's/^number 1$/number 7/' text
ok "minisign signs a catalog" minisign -Sm text -s other.key
{ cat text && echo --- && cat text.minisig; } >other/catalog.rondo
run_rondo ls ./other
status_is 0 "rondo reads it"
like "$out" "tiny" "and what it lists"
sed 's/^number 7$/number 6/' text >older
ok "minisign signs an older one" minisign -Sm older -s other.key
{ cat older && echo --- && cat older.minisig; } >other/catalog.rondo
run_rondo pull ./other/tiny
status_is 7 "which is refused as a rollback"

# A root statement, by the document's command for it.
ok "a third site is published" rondo publish --name tiny --version 1 --disk disk --key zoo.key --to third
ok "a key for catalogs" rondo key new online.key
ok "and a root statement that names it" rondo key rotate third --key zoo.key --catalog-key online.key
cp zoo.key.pub third/owner.pub
command=$(grep -x '    sed .*minisign -Vm root .*' "$ROOT/docs/security.md")
cd third || bail_out "the site's folder can be entered"
run bash -e -c "$command"
status_is 0 "the command of docs/security.md for roots succeeds"
like "$out" "Signature and comment signature verified" "and minisign says so"
sed -i 's/^threshold 1$/threshold 2/' root
not_ok "minisign refuses a changed root" minisign -Vm root -p owner.pub
done_testing
