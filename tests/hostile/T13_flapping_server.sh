#!/bin/bash
# T13: a server that is up for two seconds and down for two, and when it is up resets connections in the middle of a body, fails, cuts, and
# answers with other ranges than it was asked for: machines are slow, and see no error and no wrong byte.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 8
wanted=$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)
publish_appliance tiny "$site"
attack
flapping=('/objects/* up=2 down=2 reset' '/objects/* nth=9 reset at=20000' '/objects/* nth=11 status code=500' '/objects/* nth=12 cut at=1000')
rules "${flapping[@]}" '/objects/* nth=13 wrong-range' '/objects/* nth=17 lying-range' '/objects/* nth=19 no-content-range' '/objects/* latency ms=30'

started=$SECONDS
start_guest tiny "${url}tiny" 'for i in 1 2; do dd if=/dev/vda iflag=direct bs=64k 2>/run/dd | sha256sum; grep rror /run/dd; read line; done
	dmesg | grep -iE "error|remount"; poweroff -f' --net none
ok "a machine boots and reads its whole disk; every byte is right" guest_shows tiny "$wanted" 100
diag "$((SECONDS - started)) s, $(requests) requests: $(awk '{ print $4 }' "$requests" | sort | uniq -c | tr -s ' \n' ' ')"
for kind in reset status wrong-range lying-range cut no-content-range; do
	ok "the server did this: $kind" [ "$(requests " $kind\$")" -gt 0 ]
done
rules "${flapping[@]}" '/objects/* no-ranges'
rm -rf "$RONDO_CACHE"
kill -KILL $(cloop_pid)
dd if="$(echo "$RONDO_RUNTIME"/mnt/*/disk)" iflag=nocache count=0 status=none
tell_guest tiny
ok "again, from an empty cache, and a server that ignores ranges" wait_until 100 eval '[ "$(grep -c "$wanted" "$TMPDIR/tiny.console")" = 2 ]'
diag "$((SECONDS - started)) s, $(requests) requests"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$(cloop_pid)/status")
ok "rondo-cloop took no more than 64 MiB ($peak KiB)" [ "$peak" -le 65536 ]
tell_guest tiny
end_guest tiny
is "$status" 0 "it ends well"
unlike "$(cat "$TMPDIR/tiny.console")" "[Ee]rror" "it saw no error"
unlike "$(cat "$TMPDIR/tiny.said")" "paused" "and was never paused"
done_testing
