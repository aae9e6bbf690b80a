#!/bin/bash
# T02: a site's key: remembered at first contact, pinned by an address, demanded by an option or the configuration; another one is refused.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl sqlite3

make_disk "$TMPDIR/disk" 1 1
must_publish image 1 "$TMPDIR/disk"
key=$("$BUILD/rondo" key show "$TMPDIR/key")
mine=$site
rm "$TMPDIR/key" "$TMPDIR/key.pub"
site=$TMPDIR/impostor
must_publish image 1 "$TMPDIR/disk" # with a key that is made now
other=$("$BUILD/rondo" key show "$TMPDIR/key")
attack "$mine"

run_rondo inspect "${url}image"
status_is 0 "first contact"
like "$err" "first contact with $url, whose key is $key" "shows the key"
like "$err" "#$key" "and how to pin it"
run_rondo inspect "${url}image"
is "$err" "" "later contacts say nothing"
rules "/catalog.rondo stale from=$TMPDIR/impostor"
withstands "T02 another key: both are shown" 5 "key of $url has changed: it was $key and is now $other" 'catalog\.rondo' rondo pull "${url}image"
like "$err" "rondo trust rm '$url" "and what to do if that is right"
withstands "T02 another key: a pin in the address does not overrule what is remembered" 5 '' 'catalog\.rondo' rondo pull "${url}image#$other"
run_rondo inspect --offline "${url}image" --json
is "$(json publisher)" "$key" "what is remembered stays"
is "$(requests objects)" 0 "nothing was asked for from the impostor"
rules
run_rondo inspect "${url}image#$other"
status_is 5 "a wrong pin at a known site: exit code 5"
like "$err" "$other was asked for" "and says so"
run_rondo inspect "${url}image#$key"
status_is 0 "the right pin"
run_rondo trust rm "$url"
status_is 0 "rondo trust rm"
rules "/catalog.rondo stale from=$TMPDIR/impostor"
run_rondo inspect "${url}image#$key"
status_is 5 "a pin at first contact with another key: exit code 5"
run_rondo inspect "${url}image" --require-pin
status_is 5 "--require-pin without one: exit code 5"
like "$err" 'whose key nobody has named' "and says so"
for verb in pull inspect; do
	run_rondo "$verb" "${url}image" --require-pin
	status_is 5 "$verb --require-pin: exit code 5"
done
run_rondo ls "$url" --require-pin
status_is 5 "ls --require-pin: exit code 5"
mkdir "$TMPDIR/folder"
run_rondo mount "${url}image" "$TMPDIR/folder" --require-pin
status_is 5 "mount --require-pin: exit code 5"
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "require-pin yes" >"$XDG_CONFIG_HOME/rondo/config"
for verb in pull inspect; do
	run_rondo "$verb" "${url}image"
	status_is 5 "$verb, as the configuration demands it: exit code 5"
done
run_rondo ls "$url"
status_is 5 "ls, as the configuration demands it: exit code 5"
run_rondo mount "${url}image" "$TMPDIR/folder"
status_is 5 "mount, as the configuration demands it: exit code 5"
run_rondo run "${url}image" --detach --engine qemu
status_is 5 "run, as the configuration demands it: exit code 5"
rules
run_rondo pull "${url}image#$key"
status_is 0 "with the pin it works"
unlike "$err" 'first contact' "and nothing is said of the key"
run_rondo pull "${url}image"
status_is 0 "then the site is known, and the pin is not needed any more"
rm "$XDG_CONFIG_HOME/rondo/config"

for pin in '' short "$key$key" "${key%?}!" "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"; do
	run_rondo inspect "${url}image#$pin"
	status_is 2 "the pin \"$pin\" is none: exit code 2"
done

# Two addresses of one site are two acquaintances; one address spelled in two ways is one.
run_rondo inspect "${url/127.0.0.1/localhost}image"
like "$err" 'first contact' "another address is another acquaintance"
upper=${url/127.0.0.1/LOCALHOST}
run_rondo inspect "${upper/http/HTTP}image"
is "$status $err" "0 " "scheme and host are the same in capitals"

# What is known is damaged: it is moved aside with a word, and learned anew.
head -c 8192 /dev/urandom >"$RONDO_HOME/trust.db"
run_rondo inspect "${url}image"
status_is 0 "a trust database of random bytes"
like "$err" 'trust\.db' "is named"
like "$err" 'first contact' "and the site is met anew"
ok "the damaged one is kept aside" [ "$(ls "$RONDO_HOME" | grep -c '^trust\.db\..')" -gt 0 ]
rm -rf "$RONDO_HOME"
mkdir "$RONDO_HOME"
ln -s "$TMPDIR/target" "$RONDO_HOME/trust.db"
run_rondo inspect "${url}image"
unlike "$status" '^0$' "a trust database that is a link is refused"
not_ok "and what it points to is not made" [ -e "$TMPDIR/target" ]
done_testing
