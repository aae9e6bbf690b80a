#!/bin/bash
# A machine that finds no room for its folder, its settings or its logs: exit code 8, nothing is left, and with room it runs.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq qemu-system-x86_64
need_fuse
[ "$(id -u)" = 0 ] || skip_all "not root, who alone may mount a small file system"
mkdir -p "$RONDO_HOME"
mount -t tmpfs -o size=256k,nr_inodes=64 none "$RONDO_HOME" || skip_all "no tmpfs can be mounted"
at_exit 'umount -l "$RONDO_HOME"'
publish_fake

run_rondo run "$url/fake" --net none --append exit=0
status_is 0 "with room, a machine runs"
run_rondo rm fake
status_is 0 "and is removed"
seq 100000 >"$RONDO_HOME/filler" 2>/dev/null
run_rondo run "$url/fake" --net none --append exit=0
status_is 8 "without room it is exit code 8"
is "$(ls -A "$RONDO_HOME/instances")" "" "and nothing is left"
run_rondo ps --json
is "$out" "[]" "ps works without room"

# Bit by bit more room: whatever the step that fails, it is all or nothing.
codes='' left=''
for room in 4 8 12 16 20 24 28 32; do
	rm "$RONDO_HOME/filler"
	fallocate -l $(((256 - room) * 1024 - $(du -sb --apparent-size "$RONDO_HOME" | cut -f 1))) "$RONDO_HOME/filler" 2>/dev/null
	run_rondo run "$url/fake" --net none --ephemeral --append exit=0
	codes+="$status "
	left+=$(ls -A "$RONDO_HOME/instances")
done
like "$codes" '^(8 )+(0 )*$' "with little room it is exit code 8, with enough it runs"
is "$left" "" "and nothing is ever left"
rm "$RONDO_HOME/filler"

# No names left, though there is room.
mkdir "$RONDO_HOME/names"
n=0
while : >"$RONDO_HOME/names/$n"; do n=$((n + 1)); done 2>/dev/null
run_rondo run "$url/fake" --net none --append exit=0
status_is 8 "without inodes it is exit code 8"
is "$(ls -A "$RONDO_HOME/instances")" "" "and nothing is left"
rm -r "$RONDO_HOME/names"
run_rondo run "$url/fake" --net none --append exit=0
status_is 0 "with room again, it runs"
done_testing
