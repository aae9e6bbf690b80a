#!/bin/bash
# time-limit: 1500
# On SVM, rondo-vmm boots a whole Debian to its login prompt; root logs in, looks around and switches it off.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
. "$ROOT/tests/guest.sh"
[ -n "${RONDO_TEST_LONG:-}" ] || skip_all "one login is part of product_login.sh already; make test-long"
need_lab_svm
image=$("$ROOT/tests/images.sh" debian) || skip_all "the appliance debian cannot be built here"

cat >"$TMPDIR/script" <<'END'
#!/bin/sh
wait_for() { # REGEX SECONDS
	tries=0
	until grep -qaE -- "$1" /results/console; do
		tries=$((tries + 1))
		if [ $tries -gt "$2" ] || ! kill -0 $machine 2>/dev/null; then
			echo "not seen: $1"
			return
		fi
		sleep 1
	done
	echo "seen: $1"
}
mkfifo /tmp/keys
exec 3<>/tmp/keys
count_exits start
# A guest whose processor is slow waits for its devices in vain, else.
rondo-vmm --kernel /guest/kernel --initrd /guest/initrd --memory 512M --disk /dev/disk0 \
	--cmdline "$1 systemd.default_device_timeout_sec=600" <&3 >/results/console 2>/results/said &
machine=$!
wait_for login: 900
count_exits show >/results/exits
echo root >&3
wait_for '# ' 300
# So that the line that is typed, and echoed, is not what is looked for.
echo 'echo "user=$(id -u)" "failed=$(systemctl list-units --failed --no-legend | wc -l)"' >&3
wait_for 'user=0 failed=[0-9]+' 200
echo poweroff >&3
wait $machine
echo "code $?"
END
lab_svm --program "$BUILD/rondo-vmm" --file "$image/kernel:/guest/kernel" --file "$image/initrd:/guest/initrd" --disk "$image/disk" \
	--results "$TMPDIR/results" --time-limit 1400 "$TMPDIR/script" "$(appliance_field "$image" cmdline)"
status_is 0 "the lab ran"
is "$out" 'seen: login:
seen: # 
seen: user=0 failed=[0-9]+
code 0' "Debian reaches its login prompt, root logs in, and switching off ends rondo-vmm with 0" ||
	diag_file "$TMPDIR/results/console"
like "$(cat "$TMPDIR/results/console")" "user=0 failed=0" "nothing in Debian has failed"
is "$(cat "$TMPDIR/results/said")" "" "rondo-vmm has nothing to complain of"
diag "until login: $(sed -n 's/^exits/exits/p; s/^user /of them to rondo-vmm: /p' "$TMPDIR/results/exits" | paste -s -d ' ')"
done_testing
