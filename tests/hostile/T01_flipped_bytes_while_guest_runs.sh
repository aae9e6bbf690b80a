#!/bin/bash
# T01: a mirror flips bits of the blocks that running machines read. With a good second mirror every byte in the guest is right; without one no
# wrong byte gets there: the machine is paused with a message, or (--on-outage error) has an I/O error for just those requests.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
seed=${SEED:-1}
diag "SEED=$seed"
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 4 "$seed"
good_port=$(free_port)
publish_appliance tiny "$site" --mirror "http://127.0.0.1:$good_port/"
attack
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 1" >"$XDG_CONFIG_HOME/rondo/config"
size=$(($(stat -c %s "$appliance_disk") >> 20))

# Flips a bit at COUNT places of each pack.
flips() {
	python3 -c '
import os, random, sys
random.seed(int(sys.argv[2]))
for folder, _, names in sorted(os.walk(os.path.join(sys.argv[1], "objects"))):
    for name in sorted(names):
        size = os.path.getsize(os.path.join(folder, name))
        if size > 65536:
            places = sorted(random.sample(range(size), int(sys.argv[3])))
            print(f"/objects/{name[:2]}/{name} flip at=" + ",".join(map(str, places)))' "$site" "$1" "$2"
}
flipped=() # one rule each

mapfile -t flipped < <(flips "$seed" 1000)
start_process good rondo-server --listen "127.0.0.1:$good_port" "$site"
good=$process
wait_for_port "$good_port"
rules "${flipped[@]}"
run_rondo run "${url}tiny" --ephemeral --net none --append "ro $(guest_command 'sha256sum /dev/vda; poweroff -f')" --timeout 120
status_is 0 "one mirror flips bits at 1,000 places of each pack, the other is good: a machine runs"
like "$out" "$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)" "every byte of its disk is right"
ok "although the bad mirror was asked ($(requests ' flip$') times)" [ "$(requests ' flip$')" -gt 0 ]
ok "the log names what was wrong, and the mirror" grep -qE "objects/[0-9a-f/]+ .*${url%/}" "$RONDO_RUNTIME/cloop.log"
stop_process "$good"

# Only the bad one is left. It behaves until the machines are up.
rules
rm -rf "$RONDO_CACHE"
[ -z "$(cloop_pid)" ] || { kill "$(cloop_pid)" && wait_until 20 eval '[ -z "$(cloop_pid)" ]'; }
mapfile -t flipped < <(flips $((seed + 1)) 20)
parts=$((size * 8))
first=$((32 * 8)) # behind the file system, in parts of 128 KiB
start_guest patient "${url}tiny" 'echo up; read line; sha256sum /dev/vda; poweroff -f' --net none
start_guest hasty "${url}tiny" "echo up; read line; i=$first; while [ \$i -lt $parts ]; do
	h=\$(dd if=/dev/vda iflag=direct bs=128k skip=\$i count=1 2>/run/dd | sha256sum); if grep -q rror /run/dd; then h=failed; fi; echo part \$i \$h; i=\$((i + 1))
	done; echo all; poweroff -f" --net none --on-outage error
ok "a machine is up" guest_shows patient up
ok "and one with --on-outage error" guest_shows hasty up
rules "${flipped[@]}"
tell_guest hasty
ok "blocks come with wrong bits: the latter reads on to the end" guest_shows hasty '^all' 60
python3 - "$appliance_disk" "$first" "$parts" "$TMPDIR/hasty.console" >"$TMPDIR/parts" <<'END'
import hashlib, re, sys
disk, first, end, console = open(sys.argv[1], "rb").read(), int(sys.argv[2]), int(sys.argv[3]), open(sys.argv[4], "rb").read()
got = dict(re.findall(rb"part (\d+) (\w+)", console))
counts = dict(right=0, failed=0, wrong=0, missing=0)
for i in range(first, end):
    wanted = hashlib.sha256(disk[i << 17:(i + 1) << 17]).hexdigest().encode()
    said = got.get(b"%d" % i)
    counts["missing" if said is None else "failed" if said == b"failed" else "right" if said == wanted else "wrong"] += 1
print(*(f"{k} {v}" for k, v in counts.items()))
END
like "$(cat "$TMPDIR/parts")" 'right [1-9][0-9]* failed [1-9][0-9]* wrong 0 missing 0' "some requests failed, all others are right ($(cat "$TMPDIR/parts"))"
tell_guest patient
ok "the other one is paused" rondo_says patient "patient is paused: the base disk could not be read .*cloop.log"
is "$(machine_state patient)" paused "ps says so"
ok "the log names the chunk and the mirror" grep -qE "chunk [0-9a-f]{64}.*${url%/}" "$RONDO_RUNTIME/cloop.log"
rules
ok "the mirror is mended: it goes on by itself" rondo_says patient "patient goes on"
ok "every byte of its disk is right" guest_shows patient "$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)"
end_guest patient
is "$status" 0 "and it ends well"
done_testing
