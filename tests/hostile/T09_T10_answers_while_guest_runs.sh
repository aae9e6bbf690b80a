#!/bin/bash
# T09, T10: while a machine reads its disk, its server redirects into the host, sends without end, compresses, or speaks no HTTP: the machine is
# paused and no wrong byte gets into it, rondo-cloop's memory stays bounded, and once the server behaves the machine goes on.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
appliance_disk=$TMPDIR/disk
large_disk tiny "$appliance_disk" 52
publish_appliance tiny "$site"
attack
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 1" >"$XDG_CONFIG_HOME/rondo/config"
head -c 8M "$appliance_disk" >"$TMPDIR/secret"

start_guest tiny "${url}tiny" 'echo up; while read n; do echo piece $n $(dd if=/dev/vda iflag=direct bs=64k skip=$(($n * 16)) count=4 2>/run/dd | sha256sum); grep rror /run/dd; done' --net none
ok "a machine is up" guest_shows tiny '^up'
# Each piece from another pack: a server that ignores ranges (200) is taken by its word, and sends whole packs from then on.
n=33
for answer in "redirect to=file://$TMPDIR/secret" 'redirect to=self' garbage headers endless huge gzip; do
	rules "/objects/* $answer"
	said=$(wc -l <"$TMPDIR/tiny.said")
	tell_guest tiny $n
	told() {
		tail -n "+$((said + 1))" "$TMPDIR/tiny.said" | grep -q "$1"
	}
	ok "$answer: the machine is paused" wait_until 20 told 'tiny is paused'
	ok "it has asked, but not often ($(requests) times)" [ "$(requests)" -gt 0 -a "$(requests)" -le 60 ]
	rules
	ok "the server behaves: it goes on" wait_until 20 told 'tiny goes on'
	ok "and what it has read is right" guest_shows tiny "piece $n $(dd if="$appliance_disk" bs=64k skip=$((n * 16)) count=4 status=none | sha256sum | cut -d " " -f 1)"
	n=$((n + 8))
done
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$(cloop_pid)/status")
ok "rondo-cloop never took more than 64 MiB ($peak KiB)" [ "$peak" -le 65536 ]
unlike "$(cat "$TMPDIR/tiny.console")" "[Ee]rror" "the machine saw no error"
run_rondo stop tiny --timeout 1
status_is 0 "it is stopped"
done_testing
