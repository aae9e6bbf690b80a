#!/bin/bash
# time-limit: 7200
# The programs of a machine are killed at any moment while its file system (ext4) is written to, trimmed and kept in snapshots: its journal
# replayed, the file system is sound, and every file is there of which the guest was told that it is.
# RONDO_TEST_LONG: 100 times instead of once. RONDO_TEST_KILLS: so many times.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq e2fsck debugfs python3
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
guest_mode=rw
folder=$RONDO_HOME/instances/tiny
base=$("$ROOT/tests/images.sh" tiny)/disk
rounds=${RONDO_TEST_KILLS:-${RONDO_TEST_LONG:+100}}
seed=${RONDO_TEST_SEED:-$RANDOM}
diag "seed $seed"
RANDOM=$seed
still=0

overlay_pid() {
	local environment
	for environment in $(grep -lzxF "TMPDIR=$TMPDIR" /proc/[0-9]*/environ 2>/dev/null); do
		[ "$(readlink "${environment%environ}exe")" != "$(realpath "$BUILD/rondo-overlay")" ] || grep -qx rondo-unmount "${environment%environ}comm" || {
			environment=${environment%/environ}
			echo "${environment##*/}"
		}
	done
}

copy_disk() { # FILE: the machine's disk, read through rondo-overlay
	mkdir -p "$TMPDIR/disk"
	python3 - "$folder" "$(rondo inspect tiny --json | jq -r .manifest)" "$base" "$TMPDIR/disk" "$1" <<'END_OF_SCRIPT'
import os, shutil, socket, subprocess, sys
folder, manifest, base, mount, copy = sys.argv[1:]
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
with open(base) as f:
    overlay = subprocess.Popen(["rondo-overlay", "--dir", folder, "--mount", mount, "--manifest", manifest, "--base-fd", str(f.fileno()),
                                "--control-fd", str(theirs.fileno())], pass_fds=(f.fileno(), theirs.fileno()))
    theirs.close()
    if ours.recv(8192) != b"ready":
        sys.exit("rondo-overlay is not ready")
    shutil.copyfile(os.path.join(mount, "disk"), copy)
    ours.send(b"quit")
    sys.exit(overlay.wait())
END_OF_SCRIPT
}

synced() {
	tr -d '\r\0' <"$folder/console.log" | grep -aE '^synced [0-9.]+ [0-9a-f]{64}$'
}

lost() { # COPY: the files of the last 10 syncs that are not in it
	local word name hash
	synced | tail -n 10 | while read -r word name hash; do
		[ "$(debugfs -R "cat /root/k/$name" "$1" 2>/dev/null | sha256sum | cut -d ' ' -f 1)" = "$hash" ] || echo "$name"
	done
}

for ((round = 1; round <= ${rounds:-1}; round++)); do
	script="mkdir -p /root/k; i=0; while :; do i=\$((i + 1)); f=/root/k/$round.\$i
head -c \$((i * 7919 % 90000)) /dev/urandom >\$f; sync; echo synced $round.\$i \$(sha256sum <\$f | cut -d ' ' -f 1)
rm -f /root/k/$round.\$((i - 15)) /root/k/$((round - 1)).*; [ \$((i % 5)) != 0 ] || fstrim /; done"
	rondo run "$url/tiny" --detach --net none --append "$guest_mode $(guest_command "$script")" >"$TMPDIR/run.out" 2>"$TMPDIR/run.err" || {
		diag_file "$TMPDIR/run.err"
		bail_out "round $round: the machine starts"
	}
	wait_until 120 synced >/dev/null || {
		diag_file "$folder/console.log"
		# In software emulation a kernel of two processors sometimes stands still before its init runs: that round is done once more.
		grep -aq 'soft lockup' "$folder/console.log" && [ $((still += 1)) -le 3 ] || bail_out "round $round: the guest writes"
		rondo stop tiny --timeout 0 >/dev/null 2>&1
		wait_until 60 machine_is tiny stopped || bail_out "round $round: a machine that stood still is stopped"
		((round--))
		continue
	}
	sleep "$((RANDOM % 4)).$((RANDOM % 1000))"
	kinds=("$(rondo inspect tiny --json | jq -r .pid)" "$(overlay_pid)")
	case $((RANDOM % 3)) in
	0) kill -KILL "${kinds[0]}" ;;
	1) kill -KILL "${kinds[1]}" ;;
	2) kill -KILL "${kinds[@]}" ;;
	esac
	wait_until 60 machine_is tiny stopped || bail_out "round $round: the machine is seen to be stopped"
	copy_disk "$TMPDIR/copy" || bail_out "round $round: the disk can be read"
	e2fsck -p -E journal_only "$TMPDIR/copy" >"$TMPDIR/fsck.log" 2>&1
	ok "round $round: the file system is sound" e2fsck -fn "$TMPDIR/copy"
	is "$(lost "$TMPDIR/copy")" "" "round $round: of $(synced | wc -l) syncs none is lost"
	case $((RANDOM % 3)) in
	0) rondo snapshot tiny "s$round" ;;
	1) rondo snapshot tiny "$(rondo snapshot tiny --list --json | jq -r '.[-1].label // "none"')" --delete ;;
	esac >/dev/null 2>&1
done
done_testing
