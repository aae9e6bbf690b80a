#!/bin/bash
# The disk that holds what a machine writes is full: the machine is paused with a message that names the folder, and goes on by itself when
# there is space again. Nothing that it wrote is lost: not then, not when it is stopped instead, not when it runs again.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
[ "$(id -u)" = 0 ] || skip_all "only root can mount a small file system"
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 80
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
rondo pull "$url/tiny" >/dev/null 2>&1 || bail_out "pull"
mv "$RONDO_HOME" "$TMPDIR/home.pulled" # what is known of the site
mkdir "$RONDO_HOME"
mount -t tmpfs -o size=12m,mode=0700 tmpfs "$RONDO_HOME" 2>/dev/null || skip_all "no tmpfs can be mounted"
at_exit 'umount -l "$RONDO_HOME"'
cp -a "$TMPDIR/home.pulled/." "$RONDO_HOME"

# 20 MiB behind the file system: random, so that every byte tells; then more of the same.
written='dd if=/dev/vda iflag=direct bs=1M skip=32 count=20 2>/dev/null | sha256sum'
start_guest tiny "$url/tiny" "dd if=/dev/urandom of=/dev/shm/data bs=1M count=20 2>/dev/null; echo wanted \$(sha256sum </dev/shm/data)
	dd if=/dev/shm/data of=/dev/vda bs=1M seek=32 conv=notrunc 2>/run/dd; sync; grep rror /run/dd; echo written \$($written); poweroff -f" --net none
ok "the machine writes" guest_shows tiny "wanted [0-9a-f]{64}"
wanted=$(grep -aoE 'wanted [0-9a-f]{64}' "$TMPDIR/tiny.console" | cut -d ' ' -f 2)
ok "more than fits: it is paused, with a message that names the folder" \
	rondo_says tiny "tiny is paused: no space .*$RONDO_HOME/instances/tiny.*free some" 40
is "$(machine_state tiny)" paused "ps says so"
like "$(machine_reason tiny)" "no space .*$RONDO_HOME/instances/tiny" "and why"
sleep 2
is "$(machine_state tiny)" paused "it stays so"
not_ok "it has not written everything" grep -q '^written' "$TMPDIR/tiny.console"
mount -o remount,size=32m "$RONDO_HOME"
ok "there is space again: it goes on by itself" rondo_says tiny "tiny goes on" 10
ok "what it wrote is what it reads" guest_shows tiny "written $wanted"
end_guest tiny
is "$status" 0 "it ends well"
unlike "$(cat "$TMPDIR/tiny.console")" "[Ee]rror" "it saw no error"

start_guest tiny "$url/tiny" "echo again \$($written); dd if=/dev/urandom of=/dev/vda bs=1M seek=60 count=40 conv=notrunc,fsync; poweroff -f" --net none
ok "run again, it reads the same" guest_shows tiny "again $wanted"
ok "it fills the disk again, and is paused" rondo_says tiny "tiny is paused: no space" 40
started=$SECONDS
run_rondo stop tiny --timeout 1
status_is 0 "a machine that waits for space can be stopped"
ok "soon ($((SECONDS - started)) s)" [ $((SECONDS - started)) -le 10 ]
is "$(machine_state tiny)" stopped "and is"
mount -o remount,size=64m "$RONDO_HOME"
start_guest tiny "$url/tiny" "echo again \$($written); poweroff -f" --net none
ok "what it wrote before is still there" guest_shows tiny "again $wanted"
end_guest tiny
is "$status" 0 "and all is well"
done_testing
