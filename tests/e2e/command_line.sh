#!/bin/bash
# The command line: help, usage errors, exit codes, JSON, the configuration, keys and their passphrases, doctor.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/sites.sh"
need python3 perl

run_rondo
status_is 2 "no verb: exit code 2"
like "$err" 'rondo run ' "and the verbs are listed"
is "$out" "" "on standard error"
run_rondo --help
status_is 0 "--help"
verbs=$(sed -n 's/^  rondo \([a-z]*\) .*/\1/p' <<<"$out")
ok "lists the verbs" [ "$(wc -l <<<"$verbs")" -ge 15 ]
run_rondo --version
like "$out" '^rondo [0-9]+\.[0-9]+$' "--version"
run_rondo frobnicate
status_is 2 "an unknown verb: exit code 2"
like "$err" 'no verb "frobnicate"; rondo --help' "and the next step"
wrong=''
for verb in $verbs; do
	run_rondo "$verb" --help
	[ "$status" -eq 0 ] && [[ $out == "usage: rondo $verb "* ]] && [ -z "$err" ] || wrong+="$verb "
	run_rondo "$verb" --no-such-option
	[ "$status" -eq 2 ] && [[ $err == *"no option --no-such-option"*"usage: rondo $verb "* ]] || wrong+="$verb "
	run_rondo "$verb" a b c d e # of which mirror and search take as many as there are
	[ "$status" -eq 2 ] || [[ $verb =~ ^(mirror|search)$ ]] && [ -z "$out" ] || wrong+="$verb "
	run_rondo --help
	grep -q "^  rondo $verb " <<<"$out" || wrong+="$verb "
	grep -q -w -- "$verb" "$ROOT/docs/man/rondo.1" || wrong+="$verb (man) "
done
is "$wrong" "" "each verb has its help, refuses unknown options and too many arguments, and is in the manual"
# What the usage of a verb names is in the manual.
wrong=''
for verb in $verbs; do
	run_rondo "$verb" --help
	for option in $(grep -o -- '--[a-z-]*' <<<"$out" | sort -u); do
		sed 's/\\-/-/g' "$ROOT/docs/man/rondo.1" | grep -q -- "$option" || wrong+="$verb $option "
	done
done
is "$wrong" "" "each option is in the manual"
for verb in run pull inspect mount publish renew key serve stop rm snapshot rollback console umount; do
	run_rondo "$verb"
	[ "$status" -eq 2 ] || fail "$verb without arguments: exit code 2, not $status"
done

# Images that are none.
for image in '' '/' 'http://' 'http:///x' 'ftp://host/x' 'http://host/' 'http://host/UPPER' 'http://host/a:' 'http://host/a:b:c' \
	'http://host/../x' 'http://host/a@sha256:12' 'http://u:p@host/a' 'http://host/a b' "$(printf 'http://host/a\nb')" \
	"$(printf 'http://host/\033[31m')" 'http://host/a#' 'debian'; do
	run_rondo inspect -- "$image"
	[ "$status" -eq 2 ] || fail "inspect $(printf %q "$image"): exit code 2, not $status: $err"
	grep -q '[[:cntrl:]]' <<<"$err" && fail "inspect $(printf %q "$image"): control characters in the message"
done
pass "addresses that are none: exit code 2, and a clean message"

run_rondo inspect debian
like "$err" "no machine debian .*rondo ps.*RONDO_SITE" "what may be a machine's name is told to be none"
run_rondo stop -- -x
like "$err" "a letter or digit first" "what cannot be one is told the rule"

# The configuration.
make_disk "$TMPDIR/disk" 1 1
must_publish image 1 "$TMPDIR/disk"
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "site $site" >"$XDG_CONFIG_HOME/rondo/config"
run_rondo inspect image --json
is "$status $(json site)" "0 $site/" "the configuration's site"
RONDO_SITE=$TMPDIR/none run_rondo inspect image
status_is 3 "RONDO_SITE overrides it"
like "$err" "$TMPDIR/none/" "and is named"
printf 'site %s\ncolour blue\n' "$site" >"$XDG_CONFIG_HOME/rondo/config"
for verb in 'ls' 'inspect image' 'pull image' 'run image'; do
	run_rondo $verb
	[ "$status" -eq 2 ] && [[ $err == *"rondo/config, line 2 (colour)"* ]] || fail "$verb with a wrong configuration: $status $err"
done
run_rondo doctor
status_is 9 "doctor, with a wrong configuration: exit code 9"
like "$out" 'missing +config .*line 2 \(colour\)' "and it says so"
rm "$XDG_CONFIG_HOME/rondo/config"

# JSON.
valid() {
	python3 -m json.tool >/dev/null <<<"$out"
}
run_rondo ls "$site" --json
ok "ls --json is JSON" valid
run_rondo ls --json
ok "ls --json, of nothing" valid
run_rondo inspect "$site/image" --json
ok "inspect --json is JSON" valid
run_rondo ps --json
is "$out" "[]" "ps --json, of nothing"
run_rondo doctor --json
ok "doctor --json is JSON" valid
like "$status" '^(0|9)$' "doctor: exit code 0 or 9"
is "$(python3 -c 'import json, sys; print(sorted({v["verdict"] for v in json.load(sys.stdin)} - {"ok", "limited", "missing"}))' <<<"$out")" \
	"[]" "its verdicts"
is "$(python3 -c 'import json, sys; print(len([v for v in json.load(sys.stdin) if v["what"] in ("fuse", "home", "cache", "runtime", "config")]))' \
	<<<"$out")" 6 "what it looks at"
run env RONDO_CACHE=/proc/none "$BUILD/rondo" doctor
status_is 9 "doctor, where the cache cannot be made: exit code 9"
like "$out" 'missing +cache ' "and it says so"
# qemu and passt are started through PATH, and looked for there.
mkdir "$TMPDIR/elsewhere"
run env PATH="$TMPDIR/elsewhere" "$BUILD/rondo" doctor
status_is 9 "doctor, with an empty PATH: exit code 9"
like "$out" 'missing +qemu .*PATH' "it misses qemu"
like "$out" 'limited +network .*PATH' "and passt"
run env PATH="$TMPDIR/elsewhere" "$BUILD/rondo" run "$site/image"
status_is 9 "run, too: exit code 9"
for program in qemu-system-x86_64 passt; do
	ln -s /bin/true "$TMPDIR/elsewhere/$program"
done
run env PATH="/nowhere:$TMPDIR/elsewhere" "$BUILD/rondo" doctor
like "$out" 'ok +qemu ' "doctor finds qemu in a folder of PATH"
like "$out" 'ok +network ' "and passt"

for verb in "ls $site" "ls $site --json" "inspect $site/image" "doctor" "--help" "key show $TMPDIR/key" "ps --json"; do
	run bash -c '"$@" >/dev/full' - "$BUILD/rondo" $verb
	[ "$status" -eq 1 ] && [[ $err == *"cannot write to standard output"* ]] || fail "$verb on a full disk: $status $err"
done
for program in rondo-cloop rondo-overlay rondo-vmm rondo-server; do
	for option in --help --version; do
		run bash -c '"$@" >/dev/full' - "$BUILD/$program" $option
		[ "$status" -eq 1 ] && [[ $err == *"cannot write to standard output"* ]] || fail "$program $option on a full disk: $status $err"
	done
done
run bash -c 'exec "$@" | true; exit ${PIPESTATUS[0]}' - "$BUILD/rondo" ls "$site"
unlike "$status" '^141$' "a closed pipe does not kill it"

# Nothing is coloured, and nothing drawn, where there is no terminal.
run_rondo pull "$site/image"
unlike "$out$err" $'[\033\r]' "no escape sequences"

# Keys.
cd "$TMPDIR" || exit 1
(umask 000 && "$BUILD/rondo" key new loose >/dev/null 2>&1)
is "$(stat -c %a loose)" 600 "a secret key is its owner's alone, whatever the umask"
before=$(cat loose loose.pub)
run_rondo key new loose
status_is 1 "key new over a key: refused"
run_rondo key new loose.pub
unlike "$status" '^0$' "key new over a public key: refused"
rm loose
run_rondo key new loose
unlike "$status" '^0$' "key new beside a public key that stands alone: refused"
is "$(cat loose.pub)" "$(tail -n 2 <<<"$before")" "nothing was overwritten"
not_ok "no half of a pair stays" [ -e loose ]
run_rondo key new none/key
status_is 3 "key new in a folder that is not there: exit code 3"
run_rondo key show key
shown=$out
run_rondo key show key.pub
is "$out" "$shown" "key show: the same for both files"
cp key alone
run_rondo key show alone
is "$out" "$shown" "and for a secret key that stands alone"
run_rondo key show /dev/null
unlike "$status" '^0$' "key show of nothing"
run_rondo key show "$TMPDIR"
unlike "$status" '^0$' "key show of a folder"
run_rondo key frobnicate key
status_is 2 "key frobnicate: exit code 2"

# On a terminal a passphrase is asked for, and needed from then on.
on_terminal() { # ANSWERS COMMAND…: runs it on a terminal of its own, answering each prompt that ends in ": "
	python3 -c '
import os, pty, select, sys
answers = sys.argv[1].split(",")
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
shown, seen = b"", 0
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    shown += more
    if shown[seen:].rstrip(b"\r\n").endswith(b": ") and answers:
        seen = len(shown)
        os.write(terminal, answers.pop(0).encode() + b"\n")
print(shown.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$@" </dev/null
}
run on_terminal word,word "$BUILD/rondo" key new locked
status_is 0 "key new on a terminal"
unlike "$out" word "the passphrase is not shown"
run on_terminal word,other "$BUILD/rondo" key new differing
status_is 2 "two passphrases that differ: exit code 2"
not_ok "nothing was written" [ -e differing ]
run on_terminal word "$BUILD/rondo" publish --name locked --version 1 --disk disk --key locked --to sealed
status_is 0 "publish with its passphrase"
run on_terminal wrong "$BUILD/rondo" publish --name locked --version 2 --disk disk --key locked --to sealed
status_is 5 "with a wrong one: exit code 5"
run setsid -w "$BUILD/rondo" publish --name locked --version 2 --disk disk --key locked --to sealed
status_is 9 "without a terminal: exit code 9"
run on_terminal '' "$BUILD/rondo" key new open
status_is 0 "key new with an empty passphrase"
run setsid -w "$BUILD/rondo" publish --name open --version 1 --disk disk --key open --to opened
status_is 0 "is not asked for again"
done_testing
