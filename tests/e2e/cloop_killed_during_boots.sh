#!/bin/bash
# time-limit: 900
# rondo-cloop is killed 20 times while machines boot, reads outstanding among them: every boot completes, with every byte right.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq python3
need_fuse
publish_appliance tiny "$TMPDIR/site"
disk=$("$ROOT/tests/images.sh" tiny)/disk
wanted=$(sha256sum <"$disk" | cut -d ' ' -f 1)

# A slow link, so that reads are outstanding for most of the time.
serve_site "$TMPDIR/site"
"$BUILD/tests/bench/relay" 0 "$port" 60 60 >"$TMPDIR/relay.port" &
relay=$!
at_exit "kill $relay"
wait_until 10 grep -q . "$TMPDIR/relay.port"
url=http://127.0.0.1:$(head -n 1 "$TMPDIR/relay.port")

# The kernel counts the requests that wait for an answer, connection by connection.
connections=/sys/fs/fuse/connections
if ! mountpoint -q "$connections"; then
	connections=$TMPDIR/fusectl
	mkdir "$connections"
	mount -t fusectl none "$connections" || skip_all "the kernel's FUSE control file system cannot be mounted"
	at_exit "umount $connections"
fi

kills=0 outstanding=0 boots=0
while { [ "$kills" -lt 20 ] || [ "$outstanding" -lt 5 ]; } && [ "$boots" -lt 12 ]; do
	boots=$((boots + 1))
	# Nothing of the boot before: neither the cache nor, with its mount, what the kernel keeps of the pages.
	rm -rf "$RONDO_CACHE"
	for pid in $(cloop_pid); do kill -KILL "$pid"; done
	rondo run "$url/tiny" --ephemeral --net none --append "ro $(guest_command 'sha256sum /dev/vda; poweroff')" --timeout 240 \
		>"$TMPDIR/boot.out" 2>"$TMPDIR/boot.err" &
	machine=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		sleep "0.$((RANDOM % 8 + 2))"
		kill -0 "$machine" 2>/dev/null || break
		pid=$(cloop_pid | head -n 1)
		[ -n "$pid" ] || continue
		connection=$(awk -v point="$RONDO_RUNTIME/mnt" '$5 == point { sub(/.*:/, "", $3); print $3 }' /proc/self/mountinfo)
		# Every other time at a moment when a request waits, if one comes soon; otherwise whatever there is.
		for ((look = 0; look < 100; look++)); do
			waiting=$(cat "$connections/$connection/waiting" 2>/dev/null || echo 0)
			[ "$waiting" -eq 0 ] && [ $((kills % 2)) -eq 0 ] && kill -0 "$machine" 2>/dev/null || break
			sleep 0.01
		done
		kill -KILL "$pid" 2>/dev/null || continue
		kills=$((kills + 1))
		[ "$waiting" -eq 0 ] || outstanding=$((outstanding + 1))
	done
	wait "$machine"
	code=$?
	if [ "$code" -ne 0 ] || ! grep -q "$wanted" "$TMPDIR/boot.out"; then
		diag_file "$TMPDIR/boot.out"
		diag_file "$TMPDIR/boot.err"
		diag_file "$RONDO_RUNTIME/cloop.log"
	fi
	is "$code $(grep -c "$wanted" "$TMPDIR/boot.out")" "0 1" "boot $boots completes, and its disk is right"
done
diag "$kills kills in $boots boots, $outstanding of them with requests waiting"
ok "20 kills" test "$kills" -ge 20
ok "5 of them with requests waiting" test "$outstanding" -ge 5
done_testing
