#!/bin/bash
# A kernel that cannot be fetched, or comes with wrong bits: run waits for the configured time, says so with the right exit code, and leaves
# no machine.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
. "$ROOT/tests/sites.sh"
need qemu-system-x86_64 jq python3
need_fuse
make_disk "$TMPDIR/disk" 2
head -c 1000000 /dev/urandom >"$TMPDIR/kernel"
head -c 300000 /dev/urandom >"$TMPDIR/initrd"
publish image 1 "$TMPDIR/disk" --kernel "$TMPDIR/kernel" --initrd "$TMPDIR/initrd" --cmdline "console=ttyS0"
status_is 0 "publish"
attack
mkdir -p "$XDG_CONFIG_HOME/rondo"
echo "outage-seconds 2" >"$XDG_CONFIG_HOME/rondo/config"
manifest=$(rondo inspect "${url}image" --json | jq -r .manifest)
others=("/objects/${manifest:0:2}/$manifest serve" '/catalog.rondo serve')

for kind in 'status code=500:4' 'reset:4' 'cut at=70000:4' 'silent:4' 'flip step=50000:5' 'lying-range:5' 'status code=404:4'; do
	rm -rf "$RONDO_CACHE"
	rules "${others[@]}" "* range=no serve" "* ${kind%:*}"
	started=$SECONDS
	run timeout 60 rondo run "${url}image" --no-keep --net none --timeout 20
	status_is "${kind##*:}" "${kind%:*}: exit code ${kind##*:} ($((SECONDS - started)) s)"
	like "$err" "the kernel of image 1 cannot be read; $RONDO_RUNTIME/cloop.log says why" "and says what is missing"
	ok "the log says why" grep -qE "kernel of image 1 at byte [0-9]+: chunk [0-9a-f]{64}.*${url%/}" "$RONDO_RUNTIME/cloop.log"
	rm -f "$RONDO_RUNTIME/cloop.log"
	[ -z "$(cloop_pid)" ] || kill $(cloop_pid)
	run_rondo ps --json
	is "$out" "[]" "no machine is left"
done
done_testing
