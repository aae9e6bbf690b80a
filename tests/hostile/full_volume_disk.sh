#!/bin/bash
# The disk that holds a volume is full: the machine is paused with a message that names the volume, goes on by itself when there is space
# again, and has lost nothing.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
[ "$(id -u)" = 0 ] || skip_all "only root can mount a small file system"
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
mkdir "$TMPDIR/small"
mount -t tmpfs -o size=8m,mode=0700 tmpfs "$TMPDIR/small" 2>/dev/null || skip_all "no tmpfs can be mounted"
at_exit 'umount -l "$TMPDIR/small"'
volume=$TMPDIR/small/data.img

# Random, so that every byte tells.
start_guest tiny "$url/tiny" "dd if=/dev/urandom of=/dev/shm/data bs=1M count=20 2>/dev/null; echo wanted \$(sha256sum </dev/shm/data)
	dd if=/dev/shm/data of=/dev/vdb bs=1M conv=notrunc,fsync 2>/run/dd; grep rror /run/dd
	echo 3 >/proc/sys/vm/drop_caches; echo written \$(dd if=/dev/vdb bs=1M count=20 2>/dev/null | sha256sum); read line
	dd if=/dev/shm/data of=/dev/vdb bs=1M seek=30 conv=notrunc,fsync; poweroff -f" --net none --volume "$volume:64M"
ok "the machine writes" guest_shows tiny "wanted [0-9a-f]{64}"
wanted=$(grep -aoE 'wanted [0-9a-f]{64}' "$TMPDIR/tiny.console" | cut -d ' ' -f 2)
ok "more than fits: it is paused, with a message that names the volume" rondo_says tiny "tiny is paused: no space .*$volume.*free some" 40
is "$(machine_state tiny)" paused "ps says so"
like "$(machine_reason tiny)" "no space .*$volume" "and why"
sleep 2
is "$(machine_state tiny)" paused "it stays so"
unlike "$(cat "$TMPDIR/tiny.console")" "written" "it has not written everything"
mount -o remount,size=24m "$TMPDIR/small"
ok "there is space again: it goes on by itself" rondo_says tiny "tiny goes on" 10
ok "what it wrote is what it reads" guest_shows tiny "written $wanted"
unlike "$(cat "$TMPDIR/tiny.console")" "[Ee]rror" "it saw no error"
is "$(head -c 20971520 "$volume" | sha256sum | cut -d ' ' -f 1)" "$wanted" "and what is in the file"
tell_guest tiny
ok "full again, it is paused again" wait_until 40 machine_is tiny paused
run_rondo stop tiny --timeout 1
status_is 0 "a machine that waits for space can be stopped"
is "$(head -c 20971520 "$volume" | sha256sum | cut -d ' ' -f 1)" "$wanted" "what was flushed is still there"
done_testing
