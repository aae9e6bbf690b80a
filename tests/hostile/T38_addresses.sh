#!/bin/bash
# T38: an address that a web page, a mail or another program hands to `rondo run`. Site, name, version, digest and key are taken from it,
# and nothing else: no option, no setting, no second word; no scheme but http and https. What is refused is refused before anything is
# asked of anybody or made, in a line that is safe to show. A page can call `rondo open` alone, which starts nothing by itself: without
# somebody to ask it refuses, and a no leaves nothing.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
. "$ROOT/tests/machine.sh"
need python3

publish_fake 1
key=$(rondo key show "$TMPDIR/key")
digest=$(awk '/^image fake 1 / { print $5 }' "$TMPDIR/site/catalog.rondo")
attack "$TMPDIR/site"
zeros=$(printf '%064d' 0)
longest=$(head -c 131000 /dev/zero | tr '\0' a) # an argument of a program has no more than 128 KiB

state() {
	ls -A "$RONDO_HOME/instances" "$RONDO_CACHE" "$RONDO_HOME/trust.db" 2>/dev/null
	[ ! -e "$RONDO_RUNTIME/instances" ] || ls -A "$RONDO_RUNTIME/instances"
}
number=0
# A line each: part of the message, and the address (with bash's $'…' escapes; URL, KEY, DIGEST, ZEROS stand for those of this test).
while IFS='|' read -r message address; do
	address=${address//URL/$url} address=${address//KEY/$key} address=${address//DIGEST/$digest} address=${address//ZEROS/$zeros}
	address=${address//LONGEST/$longest}
	printf -v address '%b' "$address"
	number=$((number + 1))
	peak=0 seconds=0
	if [ "${#address}" -gt 100000 ]; then measure "$BUILD/rondo" run -- "$address"; else run "$BUILD/rondo" run -- "$address"; fi
	result=$status
	[ -z "$out" ] || result+=", says: $out"
	[[ $err == *"$message"* ]] || result+=", instead of \"$message\": $err"
	! LC_ALL=C grep -q $'[\x01-\x09\x0b-\x1f\x7f]' "$TMPDIR/run.err" || result+=", with control characters"
	[ "$(stat -c %s "$TMPDIR/run.err")" -lt 2000 ] || result+=", at length"
	[ "$peak" -lt 65536 -a "$seconds" -lt 10 ] || result+=", with $peak KiB in $seconds s"
	[ -z "$(state)" ] || result+=", and leaves $(state)"
	is "$result" 2 "refused: $(printf '%.60q' "$address")"
done <<'END'
a name is|--option
begins with -|--append=init=/bin/sh
a name is|-h
nothing else|rondo://x/fake
a name is|rondo://x/--option
nothing else|rondo://URL/fake
nothing else|file:///etc/passwd
nothing else|javascript://alert(1)/fake
nothing else|data:text/html://x/fake
nothing else|ssh://root@host/fake
nothing else|HTTPX://host/fake
begin with -|URL--append=init=/bin/sh
a name is|URLfake --ephemeral
a name is|URLfake\n--ephemeral
a name is|URLfake?memory=64G
a name is|URLfake&net=none
a name is|URLfake;reboot
a name is|URLfake|reboot
a name is|URLfake$(reboot)
a name is|URLfake`reboot`
a name is|URLfake%20--volume%20disk
a name is|URL\033[31mfake
a name is|URL\xe2\x80\xaefake
tag or version|URLfake:1 --port 22:22
tag or version|URLfake:--volume
tag or version|URLfake:1\n
sha256:|URLfake@sha256:DIGEST --port 22:22
sha256:|URLfake@sha256:DIGEST,ZEROS
sha256:|URLfake@DIGEST
not a key|URLfake#KEY --append x
not a key|URLfake#KEY\n
not a key|URLfake#KEY?run=1
not a key|URLfake#KEY#ZEROS
not a key|URLfake:1@sha256:DIGEST#--no-key
user or password|http://user:password@127.0.0.1/fake
user or password|http://127.0.0.1@evil/fake
percent|http://host/%2e%2e/fake
. or ..|http://host/../fake
character|http://host/a b/fake
character|http://host/a\nb/fake
longer than|LONGEST
longer than|http://host/LONGEST/fake
longer than|http://LONGEST/fake
longer than|URLLONGEST
longer than|URLfake#LONGEST
END
is "$(requests)" 0 "for none of $number addresses anything was asked of anybody"

# The same as an option's look-alike, without "--": an unknown option, never one that is obeyed.
for word in --option -x --append=x --ephemeral=yes --memory; do
	run_rondo run "$word"
	status_is 2 "run $word"
done
is "$(requests) $(state)" "0 " "nothing is asked, nothing is made"

# What an address may say makes the very machine that the short one does.
settings=
for address in fake fake:new "fake:1@sha256:$digest#$key"; do
	rm -rf "$RONDO_HOME/trust.db"
	run_rondo run "$url$address" --engine qemu --net none --name machine --detach
	status_is 0 "run $address"
	now=$(grep -v '^asked ' "$RONDO_HOME/instances/machine/settings")
	is "$now" "${settings:-$now}" "$address makes the same machine"
	settings=$now
	run_rondo stop machine --timeout 1
	run_rondo rm machine
done
run_rondo run "${url}fake@sha256:$zeros" --engine qemu --detach
status_is 3 "a digest that the site does not have: exit code 3"
run_rondo run "${url}fake#$("$BUILD/rondo" key new "$TMPDIR/other" 2>/dev/null >&2; "$BUILD/rondo" key show "$TMPDIR/other")" --engine qemu --detach
status_is 5 "another key: exit code 5"
is "$(rondo ps --json)" "[]" "no machine is left"

# Links: what a page hands to rondo open. The same form, with another beginning; without a terminal and a display even the right one is
# refused, with the command to type.
open_link() {
	run setsid env -u DISPLAY -u WAYLAND_DISPLAY "$BUILD/rondo" open --hold -- "$1"
}
rules
rm -rf "$RONDO_HOME" "$RONDO_CACHE"
link=rondo://${url#http://}
number=0
while IFS='|' read -r message address; do
	address=${address//LINK/$link} address=${address//URL/$url} address=${address//KEY/$key} address=${address//DIGEST/$digest}
	printf -v address '%b' "${address//LONGEST/$longest}"
	number=$((number + 1))
	open_link "$address"
	result=$status
	[ -z "$out" ] || result+=", says: $out"
	[[ $err == *"$message"* ]] || result+=", instead of \"$message\": $err"
	! LC_ALL=C grep -q $'[\x01-\x09\x0b-\x1f\x7f]' "$TMPDIR/run.err" || result+=", with control characters"
	[ "$(stat -c %s "$TMPDIR/run.err")" -lt 2000 ] || result+=", at length"
	[ -z "$(state)" ] || result+=", and leaves $(state)"
	is "$result" 2 "no link: $(printf '%.60q' "$address")"
done <<'END'
neither rondo:// nor|fake
neither rondo:// nor|URLfake
neither rondo:// nor|/etc/passwd
neither rondo:// nor|--ephemeral
neither rondo:// nor|file:///etc/passwd
neither rondo:// nor|javascript:alert(1)
neither rondo:// nor|rondo:fake
neither rondo:// nor|rondo+file:///etc/passwd
neither rondo:// nor|rondo+https://host/fake
neither rondo:// nor| LINKfake
no host|rondo:///etc/passwd
no image name|rondo://x
a name is|rondo://x/--option
character|LINKfake --append init=/bin/sh
a name is|LINKfake\n--append=x
a name is|LINKfake?memory=64G&net=none
a name is|LINKfake;reboot
a name is|LINKfake%20--volume%20disk
a name is|LINK\033[31mfake
a name is|LINK\xe2\x80\xaefake
tag or version|LINKfake:1 --port 22:22
sha256:|LINKfake@sha256:DIGEST,DIGEST
not a key|LINKfake#KEY&detach
not a key|LINKfake#KEY\n
user or password|rondo://user:password@host/fake
user or password|rondo://127.0.0.1@host/fake
a port is|rondo://http://host/fake
. or ..|rondo://host/../fake
percent|rondo://host/%2e%2e/fake
neither rondo:// nor|LONGEST
longer than|LINKLONGEST
longer than|rondo://LONGEST/fake
END
is "$(requests)" 0 "for none of $number links anything was asked of anybody"
open_link "${link}fake:1@sha256:$digest#$key"
status_is 2 "nobody there to ask: exit code 2"
like "$err" "neither a terminal nor a display .*: rondo run '${url}fake:1@sha256:$digest#$key' --ephemeral" "with the command to type"
is "$(requests) $(state)" "0 " "nothing was asked of anybody, nothing was made"

# A no leaves nothing but what is in the cache; the site is not even known.
mkdir "$TMPDIR/desktop"
printf '#!/bin/sh\nprintf "%%s\\n" "$@" >"%s"\nexit 1\n' "$TMPDIR/question" >"$TMPDIR/desktop/zenity"
chmod +x "$TMPDIR/desktop/zenity"
run setsid env DISPLAY=:99 PATH="$TMPDIR/desktop:$PATH" "$BUILD/rondo" open -- "${link}fake:1"
status_is 11 "a no is exit code 11"
like "$(cat "$TMPDIR/question")" "--default-cancel" "no is what a hasty Enter says"
is "$("$BUILD/rondo" ps --json) $("$BUILD/rondo" trust ls --json)" "[] []" "no machine, no key remembered"
# What a manifest says is shown as it is, by programs that know markup.
python3 "$ROOT/tests/hostile/forge.py" "$TMPDIR/site" "$TMPDIR/key" --manifest fake:1 '\Z' 'title <b>&lt;\\Good</b> <a href="file:///etc">x</a>\n' ||
	bail_out "a site can be forged"
run setsid env DISPLAY=:99 PATH="$TMPDIR/desktop:$PATH" "$BUILD/rondo" open -- "${link}fake:1"
status_is 11 "a title full of markup changes nothing"
unlike "$(cat "$TMPDIR/question")" '[<>&\\]' "of which nothing reaches the dialog"
like "$(cat "$TMPDIR/question")" "title +_b__lt;.*Good_/b_" "but the words"

# The one program that links start is rondo open, behind "--".
entry=$ROOT/client/rondo.desktop
is "$(grep '^Exec=' "$entry")" 'Exec=@PREFIX@/bin/rondo open --hold -- %u' "the link is one operand, whatever it holds"
is "$(grep '^MimeType=' "$entry")" 'MimeType=x-scheme-handler/rondo;x-scheme-handler/rondo+http;' "and no other kind of address comes that way"
if command -v desktop-file-validate >/dev/null; then
	sed "s#@PREFIX@#/usr#" "$entry" >"$TMPDIR/rondo.desktop"
	ok "the entry is as the specification says" desktop-file-validate "$TMPDIR/rondo.desktop"
fi
done_testing
