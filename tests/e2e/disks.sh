#!/bin/bash
# time-limit: 400
# A machine has volumes, which outlive it and its version; a disk that is larger than its image's, which its file system fills; and
# first-boot settings, which are applied once.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/guest.sh"
need qemu-system-x86_64 jq
need_fuse
publish_appliance tiny "$TMPDIR/site"
serve_site "$TMPDIR/site"
cd "$TMPDIR" || bail_out "cd"
key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPnvuup+j+wTQXa8KsYw90M2WPKDVTMscE00d9+2TF6C a \"quoted\\comment"
echo "$key" >key.pub
cat >user-data <<'END'
#!/bin/sh
echo "script runs on $(hostname)"
echo ran >>/root/runs
echo kept on the volume | dd of=/dev/vdc conv=notrunc,fsync 2>/dev/null
END
shown() {
	tr -d '\r' <"$TMPDIR/run.out"
}

run_rondo run "$url/tiny" --name one --net none --volume a.img:8M --volume 'b,1 x.img:4M' --disk-size 200M --hostname box-1.example --ssh-key key.pub \
	--user-data user-data --until 'login: ' --timeout 150 --append "$(guest_command 'df -m / | sed -n 2p; cat /root/.ssh/authorized_keys
		for d in b c d; do echo vd$d $(cat /sys/block/vd$d/serial) $(cat /sys/block/vd$d/size) $(cat /sys/block/vd$d/ro); done; sync')"
status_is 0 "a machine with two volumes and first-boot settings"
like "$(shown)" "box-1.example login: " "it asks for a login under its hostname"
like "$(shown)" "script runs on box-1.example" "its script has run"
is "$(shown | grep -c -xF "$key")" 1 "root has the key"
like "$(shown)" "vdb a.img 16384 0" "the first volume is vdb, with its name as the serial number"
like "$(shown)" "vdc b_1_x.img 8192 0" "the second is vdc, whatever its name"
like "$(shown)" "vdd rondo-seed [0-9]+ 1" "the settings are the last disk, and read-only"
like "$(shown)" "/dev/vda +19[0-9] " "the file system fills the disk"
is "$(head -c 18 'b,1 x.img')" "kept on the volume" "what was written to the volume is in its file"
run_rondo inspect one --json
is "$(jq -r '.volume_vdc, .volume_vdc_bytes, .volume_vdc_serial, .first_boot_settings, .disk_bytes' <<<"$out" | paste -sd ' ')" \
	"$TMPDIR/b,1 x.img 4194304 b_1_x.img vdd 209715200" "inspect shows them"

cd / || bail_out "cd"
run_rondo run "$url/tiny" --name one --net none --until 'login: ' --timeout 150 --append "$(guest_command 'cat /root/runs; cmp /dev/vdc /dev/zero | head -n 1; head -c 18 /dev/vdc; echo')"
status_is 0 "it runs again"
like "$(shown)" "box-1.example login: " "it has kept its hostname"
unlike "$(shown)" "script runs" "its script does not run again"
is "$(shown | grep -c -x ran)" 1 "it has run once"
like "$(shown)" "kept on the volume" "its volumes are there, though nobody named them"
for option in "--hostname x" "--ssh-key $TMPDIR/key.pub" "--user-data $TMPDIR/user-data"; do
	# shellcheck disable=SC2086
	run_rondo run "$url/tiny" --name one --net none $option
	status_is 10 "${option%% *} is for new machines"
done
like "$err" "rondo rm one" "and the message says what to do"

run_rondo rm one
status_is 0 "the machine is removed"
publish_appliance tiny "$TMPDIR/site" --version 2
run_rondo run "$url/tiny:2" --name two --net none --volume "$TMPDIR/b,1 x.img:6M" --until 'login: ' --timeout 150 \
	--append "$(guest_command 'head -c 18 /dev/vdb; echo; cat /sys/block/vdb/size')"
status_is 0 "another machine, of another version, takes the volume"
like "$(shown)" "kept on the volume" "with what it holds"
like "$(shown)" "12288" "and grown"
like "$(shown)" "tiny login: " "without settings nothing is applied"
done_testing
