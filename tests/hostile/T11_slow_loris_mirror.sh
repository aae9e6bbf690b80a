#!/bin/bash
# T11: a mirror that answers, but a byte in ten seconds: the next mirror is asked instead, and a machine's reads come within seconds.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 4
good_port=$(free_port)
publish_appliance tiny "$site" --mirror "http://127.0.0.1:$good_port/"
start_process good rondo-server --listen "127.0.0.1:$good_port" "$site"
wait_for_port "$good_port"
attack

start_guest tiny "${url}tiny" 'for i in 1 2; do echo ready $i; read line; dd if=/dev/vda iflag=direct bs=64k 2>/run/dd | sha256sum; grep rror /run/dd; done; poweroff -f' --net none
ok "a machine is up" guest_shows tiny "ready 1"
rules '/objects/* slow rate=0.1'
started=$SECONDS
tell_guest tiny
ok "its mirror gives a byte in ten seconds: every byte of its disk is right" guest_shows tiny "$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)"
diag "in $((SECONDS - started)) s"
ok "the mirror was asked, and then left alone ($(requests) times)" [ "$(requests)" -gt 0 -a "$(requests)" -le 20 ]

rules '/objects/* slow-headers rate=0.1'
rm -rf "$RONDO_CACHE"
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$(cloop_pid)/status")
ok "rondo-cloop took no more than 64 MiB ($peak KiB)" [ "$peak" -le 65536 ]
kill -KILL $(cloop_pid)
dd if="$(echo "$RONDO_RUNTIME"/mnt/*/disk)" iflag=nocache count=0 status=none
started=$SECONDS
tell_guest tiny
end_guest tiny
is "$status" 0 "not even its headers come: the machine ends well"
ok "nor did that take many requests ($(requests))" [ "$(requests)" -gt 0 -a "$(requests)" -le 20 ]
is "$(grep -c "$(sha256sum <"$appliance_disk" | cut -d ' ' -f 1)" "$TMPDIR/tiny.console")" 2 "and has read the same again"
diag "in $((SECONDS - started)) s"
unlike "$(cat "$TMPDIR/tiny.console")" "[Ee]rror" "it saw no error"
unlike "$(cat "$TMPDIR/tiny.said")" "paused" "and was never paused"
done_testing
