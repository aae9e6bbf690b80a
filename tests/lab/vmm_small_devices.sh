#!/bin/bash
# time-limit: 900
# In the SVM lab, Debian's own drivers use rondo-vmm's entropy source, console and balloon, also after their modules were
# unloaded and loaded again.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
need_lab_svm

# shellcheck disable=SC2016 # the guest's shell shall see the variables
lab_guest_initrd "$TMPDIR/initrd" 'for module in virtio_pci virtio-rng virtio_console virtio_balloon; do modprobe $module; done
for device in /sys/bus/pci/devices/*; do echo "pci $(cat $device/vendor) $(cat $device/device) $(cat $device/class)"; done
for device in /sys/bus/virtio/devices/*; do echo "features $(cat $device/device) $(cat $device/features) $(cat $device/status)"; done
for turn in 1 2 3; do
	echo "entropy $turn: $(dd if=/dev/hwrng bs=64 count=16 2>/dev/null | wc -c)"
	stty raw -echo </dev/hvc0
	echo "hvc0 asks $turn" >/dev/hvc0
	read -r answer </dev/hvc0
	echo "answer $turn: $answer"
	for module in virtio-rng virtio_console virtio_balloon; do rmmod $module; done
	for module in virtio-rng virtio_console virtio_balloon; do modprobe $module; done
done
dd if=/dev/zero bs=1M count=4 2>/dev/null | tr "\0" x >/tmp/megabytes
cat /tmp/megabytes >/dev/hvc0
echo
grep virtio /proc/interrupts | sed "s/  */ /g;s/^/interrupt/"
mount -t tmpfs memory /mnt
tr "\0" x </dev/zero | dd of=/mnt/file bs=1M count=150 iflag=fullblock 2>/dev/null
echo memory is full
read -r answer </dev/ttyS0
rm /mnt/file
echo "memory is free"
read -r answer </dev/ttyS0
dmesg | grep -v "module verification" | grep -i -E "(virtio|hvc|balloon|rng|pci).*(warn|bug:|fail|error|invalid)" | sed "s/^/complaint: /"
echo the end
poweroff -f'

cat >"$TMPDIR/script" <<'END'
#!/bin/sh
mkfifo /tmp/in
exec 3<>/tmp/in
rondo-vmm --kernel /guest/kernel --initrd /guest/initrd --memory 320M \
	--cmdline "console=hvc0 console=ttyS0 quiet panic=-1" </tmp/in >/results/guest 2>/results/errors &
vmm=$!
said() { # what the guest said, in the time limit of this script
	until grep -q "$1" /results/guest; do
		kill -0 $vmm || return 1
		sleep 1
	done
}
memory() { awk '/^RssAnon/ { print $2 }' /proc/$vmm/status; }
for turn in 1 2 3; do
	said "hvc0 asks $turn" && echo "typed $turn" >&3
done
said "memory is full"
echo "full $(memory)" >/results/memory
echo >&3
said "memory is free"
for i in 1 2 3 4 5 6 7 8 9 10; do
	sleep 2
	[ "$(memory)" -gt 150000 ] || break
done
echo "free $(memory)" >>/results/memory
echo >&3
wait $vmm
END
lab_svm --program "$BUILD/rondo-vmm" --file "$lab_kernel:/guest/kernel" --file "$TMPDIR/initrd:/guest/initrd" --memory 1024 \
	--results "$TMPDIR/results" --time-limit 600 "$TMPDIR/script"
status_is 0 "the guest went through all of it and switched itself off"
guest=$(tr -d '\r' <"$TMPDIR/results/guest" | tr -s x)
[ ! -s "$TMPDIR/results/errors" ] || diag_file "$TMPDIR/results/errors"
for device in "0x1af4 0x1043 0x078000" "0x1af4 0x1044 0x00ff00" "0x1af4 0x1045 0x00ff00" "0x1b36 0x0008 0x060000"; do
	like "$guest" "pci $device" "Linux finds the PCI device $device"
done
for turn in 1 2 3; do
	like "$guest" "entropy $turn: 1024" "the entropy source gives its bytes, turn $turn"
	like "$guest" "answer $turn: typed $turn" "what is typed reaches the console that asked, turn $turn"
done
is "$(tr -dc x <"$TMPDIR/results/guest" | wc -c | awk '{ print ($1 >= 4194304) }')" 1 "4 MiB pass through the console"
like "$guest" "interrupt.*MSI.*virtio[0-9]-(input|output|inflate)" "they interrupt by message"
unlike "$guest" "complaint" "the drivers have nothing to complain about"
full=$(awk '/^full/ { print $2 }' "$TMPDIR/results/memory")
free=$(awk '/^free/ { print $2 }' "$TMPDIR/results/memory")
ok "memory that the guest frees goes back to the host (KiB: $full, then $free)" test "$((full - free))" -gt 100000
done_testing
