#!/bin/bash
# time-limit: 300
# A machine is measured, by what it reads and not by what is fetched, and its log is checked; a log that was changed,
# cut or forged is refused, and one that was not ended says so.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
log=$TMPDIR/boot.log

verify() { run_rondo verify-log "$@"; }
chunks() { sed -n 's/^[0-9a-f]* chunk //p' "$1" | sort; }
rechain() { # as somebody would who has the whole file: a right chain over whatever lines
	python3 -c '
import hashlib, sys
last = bytes(32)
for line in sys.stdin.buffer.read().splitlines():
    last = hashlib.sha256(last + line[65:]).digest()
    sys.stdout.buffer.write(last.hex().encode() + b" " + line[65:] + b"\n")'
}

run_rondo run "$url/tiny" --ephemeral --engine qemu --net none --measure "$log" --append quiet --until 'login:' --timeout 120
status_is 0 "a measured machine boots"
is "$(rechain <"$log" | cmp - "$log" && echo same)" same "each line hashes the one before"
is "$(stat -c %a "$log")" 600 "the log is its user's"
verify "$log" "$url/tiny" --json
status_is 0 "its log is verified"
json=$out
is "$(jq -r '"\(.image) \(.engine) \(.overlay) \(.appended) \(.complete) \(.catalog) \(.publisher_is)"' <<<"$json")" \
	"tiny qemu new quiet true the site's allowed by the site" "and the report says what was run"
ok "all of kernel and initrd was given, and some of the disk" jq -e '
	.chunks_kernel > 2 and .chunks_initrd > 2 and .chunks_disk > 2 and .chunks < .chunks_of_version' <<<"$json"
is "$(jq -r .last_hash <<<"$json")" "$(tail -n 1 "$log" | cut -c 1-64)" "the last hash is the last line's"
run_rondo run "$url/tiny" --ephemeral --engine qemu --net none --measure "$log" --until 'login:' --timeout 120
status_is 2 "a log is never written over"
like "$err" "never written over" "and that is said"

# The same again: the kernel has all of it in its page cache, if rondo-cloop lives on; what was given is the same.
run_rondo run "$url/tiny" --ephemeral --engine qemu --net none --measure "$TMPDIR/again.log" --append quiet --until 'login:' --timeout 120
status_is 0 "a second machine boots from the same version"
both=$(comm -12 <(chunks "$log") <(chunks "$TMPDIR/again.log") | wc -l)
ok "what it was given is in its own log, whoever had fetched it" [ "$both" -ge $((9 * $(chunks "$log" | wc -l) / 10)) ]

verify "$log" --offline
status_is 0 "without an image it is checked by what is in the cache"
like "$out" "publisher_is +not checked" "and what was not checked is said"
RONDO_CACHE=$TMPDIR/empty verify "$log"
status_is 4 "without image and cache nothing can be checked"
like "$err" "name its IMAGE" "and the message says what is needed"

forged=$TMPDIR/forged.log
refused() { # WHAT REGEX; $forged was made
	verify "$forged" "$url/tiny"
	status_is 5 "$1 is refused"
	like "$err" "$2" "and named"
}
line=$(grep -n ' chunk disk data ' "$log" | sed -n 3p | cut -d : -f 1)
sed "${line}s/ chunk disk / chunk init /" "$log" >"$forged"
refused "a changed line" "line $line does not follow"
sed "${line}d" "$log" >"$forged"
refused "a line left out" "line $line does not follow"
sed "${line}{h;d};$((line + 1)){G}" "$log" >"$forged"
refused "a moved line" "line $line does not follow"
sed "${line}p" "$log" >"$forged"
refused "a line put in" "line $((line + 1)) does not follow"
sed "${line}s/[0-9a-f]\$/x/" "$log" | rechain >"$forged"
refused "a malformed line" "line $line: malformed"
sed "${line}s/ data [0-9a-f]*\$/ data $(sha256sum <"$log" | cut -c 1-64)/" "$log" | rechain >"$forged"
refused "a chunk of another image, in a chain of its own" "line $line: the disk of the manifest has no such chunk"
sed "s/ cmdline .*/ cmdline init=\/bin\/sh/" "$log" | rechain >"$forged"
refused "another command line" "does not begin with the manifest's"
sed "s/ catalog \([^ ]*\) \([0-9]*\) .*/ catalog \1 \2 $(sha256sum <"$log" | cut -c 1-64)/" "$log" | rechain >"$forged"
refused "another catalog of the same number" "showed two"
sed "s/ manifest .*/ manifest $(sha256sum <"$log" | cut -c 1-64)/" "$log" | rechain >"$forged"
refused "another manifest" "the log is not of tiny 1"
{ cat "$log"; echo more; } >"$forged"
refused "something behind the end" "does not begin with a hash"

head -n "$line" "$log" >"$forged"
verify "$forged" "$url/tiny"
status_is 1 "a log without its end is no whole log"
like "$err" "incomplete: it has no end behind line $line" "and that is said"
head -c -20 "$log" >"$forged"
verify "$forged" "$url/tiny"
status_is 1 "nor is one whose last line is cut off"
like "$err" "cut off" "and that is said, too"
head -n 4 "$log" >"$forged"
refused "less than a head" "ends before it says what was started"

run_rondo run "$url/tiny" --name killed --detach --engine qemu --net none --measure "$TMPDIR/killed.log"
status_is 0 "another measured machine is started"
ok "chunks are written while it runs" wait_until 60 grep -q ' chunk disk data ' "$TMPDIR/killed.log"
verify "$TMPDIR/killed.log" "$url/tiny"
status_is 1 "the log of a running machine is not whole"
like "$err" "still runs" "and the message says why"
engine=$(rondo inspect killed --json | jq -r .pid)
kill -KILL "$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$engine/status")" # its supervisor
ok "its machine ends with its supervisor" wait_until 60 machine_is killed stopped
ok "and so does its log" wait_until 60 flock --nonblock "$TMPDIR/killed.log" true
verify "$TMPDIR/killed.log" "$url/tiny"
status_is 1 "the log of a killed machine is not whole"
like "$err" "was killed, or its end was taken away" "and what it has is right"

run_rondo start killed --engine qemu --net none --measure "$TMPDIR/start.log" --until 'login:' --timeout 120
status_is 0 "a machine that exists is measured, too"
verify "$TMPDIR/start.log" "$url/tiny" --json
status_is 0 "its log is whole"
is "$(jq -r '"\(.overlay) \(.catalog_number > 0)"' <<<"$out")" "used true" "and says that its disk was used before"
run_rondo rm killed

mkdir "$TMPDIR/full"
if mount -t tmpfs -o size=8k measured "$TMPDIR/full" 2>/dev/null; then
	at_exit 'umount "$TMPDIR/full"'
	run_rondo run "$url/tiny" --ephemeral --engine qemu --net none --measure "$TMPDIR/full/log" --until 'login:' --timeout 120
	status_is 0 "a log for which there is no space ends no machine"
	like "$err" "not complete: .*No space left" "that is said aloud"
	verify "$TMPDIR/full/log" "$url/tiny"
	status_is 1 "and what there is of the log is not whole"
else
	skip "a log for which there is no space" "only root may mount a small disk"
fi
run_rondo run "$url/none" --measure "$TMPDIR/none.log"
status_is 3 "a machine that cannot be started"
not_ok "leaves no log" test -e "$TMPDIR/none.log"
done_testing
