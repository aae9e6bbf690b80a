#!/bin/bash
# Volumes that are locked, missing, too small or no files, and first-boot settings that cannot be what they should: each is refused
# with its exit code and the next step, before a machine is made or changed.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/machine.sh"
need python3 jq
need_fuse
publish_fake 1
fake=$url/fake
cd "$TMPDIR" || bail_out "cd"

refused() { # CODE REGEX WHAT OPTION…
	local code=$1 regex=$2 what=$3
	shift 3
	run_rondo run "$fake" --net none --append exit=0 "$@"
	status_is "$code" "$what"
	like "$err" "$regex" "… and the message says why"
}

# Settings.
echo "-----BEGIN OPENSSH PRIVATE KEY-----" >id
head -c 1048577 /dev/zero >large
mkfifo fifo
refused 2 "id is a private key.*id.pub" "a private key" --ssh-key id
refused 3 "id.pub" "a key that is missing" --ssh-key id.pub
refused 3 "user-data" "user-data that is missing" --user-data user-data
refused 2 "1024 KiB" "user-data that is too large" --user-data large
refused 2 "not a regular file" "user-data that is a FIFO" --user-data fifo
refused 2 "not a regular file" "user-data without an end" --user-data /dev/zero
refused 2 "hostname" "a hostname with a newline" --hostname $'a\nb'
refused 2 "hostname" "an empty hostname" --hostname ""

# Volumes.
refused 3 "FILE:SIZE" "a volume that is missing" --volume missing
refused 3 "no-such-folder" "a volume in a folder that is missing" --volume no-such-folder/new:1M
refused 2 "neither a file" "a FIFO as a volume" --volume fifo
refused 2 "neither a file" "a directory as a volume" --volume site
refused 2 "neither a file" "a device that is no disk" --volume /dev/null
refused 2 "rename the file" "a name with a newline" --volume $'a\nb:1M'
refused 2 "size" "a size of 0" --volume new:0
refused 2 "size" "a size that no file has" --volume new:9223372036854775807
refused 2 "at most 4" "a fifth volume" --volume a:1M --volume b:1M --volume c:1M --volume d:1M --volume e:1M
refused 2 "Rondo's own" "a file of Rondo's own" --volume "$RONDO_HOME/trust.db"
refused 2 "Rondo's own" "a new file among Rondo's own" --volume "$RONDO_HOME/new:1M"
refused 2 "already" "--disk-size below the image's" --disk-size 4096
is "$(rondo ps --json)" "[]" "none of them has left a machine"
refused 2 "twice" "a volume that is given twice" --volume new:1M --volume ./new
is "$(rondo ps --json)" "[]" "nor has that"

run_rondo run "$fake" --name one --net none --volume new:1M --detach
status_is 0 "a machine with a volume runs"
refused 10 "new is in use .*rondo ps" "its volume, in another machine" --name two --volume new
ln new other-name
refused 10 "in use" "the same under another name" --name two --volume other-name
is "$(rondo ps --json | jq -r '.[].name' | paste -sd ' ')" one "there is no second machine"
rondo stop one --timeout 1 >/dev/null 2>&1
run_rondo run "$fake" --name two --net none --volume new --append exit=0
status_is 0 "when it is stopped, another machine has it"

truncate -s 512K new
refused 1 "had 1048576 bytes and has 524288.*--volume FILE:1048576" "a volume that has shrunk meanwhile" --name one
refused 2 "never shrinks" "one that is to shrink" --name one --volume new:4K
run_rondo run "$fake" --name one --net none --volume new:1M --append exit=0
status_is 0 "it is made as large again"
run_rondo run "$fake" --name one --net none --append exit=0
status_is 0 "and then goes without saying"
mv new moved
refused 3 "no volume $TMPDIR/new.*--volume none" "one that is gone" --name one
run_rondo run "$fake" --name one --net none --volume none --append exit=0
status_is 0 "--volume none goes without"
run_rondo inspect one --json
is "$(jq -r '.volume_vdb' <<<"$out")" null "from then on"
run_rondo run "$fake" --name one --net none --volume "$TMPDIR/moved" --append exit=0
status_is 0 "where it is now, it is taken"
run_rondo inspect one --json
is "$(jq -r '.volume_vdb' <<<"$out")" "$TMPDIR/moved" "and remembered"
done_testing
