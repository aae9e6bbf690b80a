#!/bin/bash
# time-limit: 3000
# On VMX, rondo-vmm boots Debian's kernel as it is to its initramfs and reads and writes its disk right: with EPT, without, and without unrestricted guests.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
[ -n "${RONDO_TEST_LONG:-}" ] || skip_all "an emulated VMX takes minutes; make test-long"
need_lab_vmx

head -c 1048576 /dev/urandom >"$TMPDIR/disk"
sum=$(sha256sum <"$TMPDIR/disk" | cut -d ' ' -f 1)
lab_guest_initrd "$TMPDIR/initrd" '
modprobe virtio_pci
modprobe virtio_blk
echo "disk $(sha256sum </dev/vda | cut -d " " -f 1)"
echo "written by the guest" | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null
echo "userspace $(uname -r)"
poweroff -f'

# The checks that the kernel would make of itself take minutes here.
cat >"$TMPDIR/script" <<'END'
#!/bin/sh
cat /sys/module/kvm_intel/parameters/ept /sys/module/kvm_intel/parameters/unrestricted_guest
quick="cryptomgr.notests initcall_blacklist=load_system_certificate_list,init_kprobe_trace,crypto_kdf108_init"
count_exits start
rondo-vmm --kernel /guest/kernel --initrd /guest/initrd --memory 160M --disk /guest/disk --cmdline "console=ttyS0 quiet panic=-1 $quick" \
	</dev/null >/results/console 2>/results/said
echo "code $?"
count_exits show >/results/exits
head -c 20 /guest/disk
END

boot() { # WHAT KVM-OPTIONS EPT UNRESTRICTED
	lab_vmx --program "$BUILD/rondo-vmm" --file "$lab_kernel:/guest/kernel" --file "$TMPDIR/initrd:/guest/initrd" \
		--file "$TMPDIR/disk:/guest/disk" --kvm "$2" --results "$TMPDIR/results" --time-limit 950 "$TMPDIR/script"
	status_is 0 "$1: the lab ran"
	is "$out" "$3
$4
code 0
written by the guest" "$1: the guest switched itself off, and what it wrote is in the disk's file"
	like "$(cat "$TMPDIR/results/console")" "disk $sum" "$1: it read its disk, byte for byte"
	like "$(cat "$TMPDIR/results/console")" "userspace [0-9]+\.[0-9]+" "$1: in userspace"
	diag "$1: $(sed -n 's/^exits/exits/p; s/^user /of them to rondo-vmm: /p' "$TMPDIR/results/exits" | paste -s -d ' ')" \
		"$(cat "$TMPDIR/results/said")"
	rm -rf "$TMPDIR/results"
}

boot "with EPT" ept=1 Y Y
boot "without EPT" ept=0 N N
boot "without unrestricted guests" unrestricted_guest=0 Y N
done_testing
