#!/bin/bash
# time-limit: 900
# On SVM, rondo-vmm boots Debian's kernel as it is to its initramfs, with its disk, one processor or two; off, restart and panic are told apart.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
need_lab_svm

head -c 4194304 /dev/urandom >"$TMPDIR/disk"
sum=$(sha256sum <"$TMPDIR/disk" | cut -d ' ' -f 1)
lab_guest_initrd "$TMPDIR/initrd" '
modprobe virtio_pci
modprobe virtio_blk
modprobe virtio-rng
modprobe pvpanic-mmio
echo "processors $(nproc)"
echo "disk $(sha256sum </dev/vda | cut -d " " -f 1)"
echo "random $(cat /sys/class/misc/hw_random/rng_current)"
echo "written by the guest" | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
echo "userspace $(uname -r)"
case $(cat /proc/cmdline) in
*end=restart*) reboot -f ;;
*end=panic*) echo c >/proc/sysrq-trigger ;;
esac
poweroff -f'

cat >"$TMPDIR/script" <<'END'
#!/bin/sh
boot() { # NAME OPTION…
	name=$1
	shift
	timeout -s KILL 200 rondo-vmm --kernel /guest/kernel --initrd /guest/initrd --memory 192M "$@" </dev/null >"/results/$name" 2>"/results/$name.err"
	echo "$name $?"
}
common="console=ttyS0 quiet panic=-1 cryptomgr.notests"
cp /dev/disk0 /tmp/disk
boot off --cpus 1 --disk /tmp/disk --cmdline "$common"
head -c 20 /tmp/disk
echo
boot restart --cpus 2 --disk /tmp/disk,ro --cmdline "$common end=restart"
boot panic --cpus 1 --disk /tmp/disk,ro --cmdline "$common end=panic"
dmesg | grep -E 'BUG|WARNING|Oops' # of KVM
exit 0
END
lab_svm --program "$BUILD/rondo-vmm" --file "$lab_kernel:/guest/kernel" --file "$TMPDIR/initrd:/guest/initrd" --disk "$TMPDIR/disk" \
	--results "$TMPDIR/results" --time-limit 800 "$TMPDIR/script"
status_is 0 "the lab ran"
is "$out" "off 0
written by the guest
restart 20
panic 21" "the guest's end is rondo-vmm's exit code, and what was written is in the disk's file"
for name in off restart panic; do
	console=$(tr -d '\r' <"$TMPDIR/results/$name")
	like "$console" "userspace [0-9]+\.[0-9]+" "$name: to userspace"
	like "$console" "random virtio_rng" "$name: with random numbers of the host"
	diag "$(cat "$TMPDIR/results/$name.err")"
done
like "$(cat "$TMPDIR/results/off")" "processors 1" "one processor"
like "$(cat "$TMPDIR/results/off")" "disk $sum" "and its disk, byte for byte"
like "$(cat "$TMPDIR/results/restart")" "processors 2" "two processors"
done_testing
