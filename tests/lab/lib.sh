# shellcheck shell=bash
# For tests and measurements that run a VMM in a lab, a machine with a /dev/kvm of its own. Sourced after ../lib.sh.
#
#   need_lab_svm, need_lab_vmx    skip the whole file where the lab cannot run
#   lab_svm ARGUMENT…             tests/lab/run_svm: sets $status, $out and $err, as run does
#   lab_vmx ARGUMENT…             tests/lab/run_vmx, likewise
#   lab_cached                    sets $lab_kernel, Debian's cloud kernel as it is in its package, the one that the labs run
#   lab_guest_initrd FILE COMMANDS…
#                                 an initramfs for a guest of a VMM there: BusyBox, and virtio's modules, which
#                                 the shell COMMANDS load with modprobe; /proc, /sys and /dev are mounted; they end it with reboot -f
#                                 or poweroff -f
#   lab_disk_of FOLDER FILE [MIB] an ext4 disk with what is in the folder, for --disk

need_lab_svm() {
	need qemu-system-x86_64 cpio depmod mke2fs
	lab_cached
}

need_lab_vmx() {
	need bochs-bin grub-mkrescue xorriso script cpio depmod
	[ -e /usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so ] || skip_all "the package bochs-term is missing"
	[ -e /usr/share/bochs/VGABIOS-lgpl-latest ] || skip_all "the package vgabios is missing"
	[ -e /usr/lib/grub/i386-pc/cdboot.img ] || skip_all "the package grub-pc-bin is missing"
	lab_cached
}

lab_cached() {
	[ -n "${lab_kernel:-}" ] || lab_kernel=$("$ROOT/tests/lab/cached" 2>"$TMPDIR/lab.log") ||
		skip_all "no kernel for the lab: $(tail -n 1 "$TMPDIR/lab.log")"
}

lab_svm() {
	run "$ROOT/tests/lab/run_svm" "$@"
	# A panic of the lab's own kernel is none that a program in it can bring about: now and then the emulation of SVM has one.
	if [ "$status" -eq 125 ] && grep -q '^  console: .*Kernel panic' <<<"$err"; then
		diag "the lab's own kernel panicked; once more: $(grep -m 1 'RIP:' <<<"$err")"
		run "$ROOT/tests/lab/run_svm" "$@"
	fi
}

lab_vmx() {
	run "$ROOT/tests/lab/run_vmx" "$@"
}

lab_guest_initrd() {
	local file=$1 tree=$TMPDIR/guest-initrd
	shift
	lab_cached
	rm -rf "$tree"
	mkdir -p "$tree"/{proc,sys,dev,tmp,mnt}
	{
		echo '#!/bin/sh'
		echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
		printf '%s\n' "$@"
	} >"$tree/init"
	chmod 755 "$tree/init"
	# Linux takes several archives, one after the other.
	cp "${lab_kernel%/*}/guest.cpio" "$file" &&
		(cd "$tree" && find . -mindepth 1 | cpio -o -H newc --quiet --owner=0:0) >>"$file"
}

lab_disk_of() {
	mke2fs -q -t ext4 -b 4096 -m 0 -d "$1" -E lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0 "$2" "${3:-64}M" >/dev/null
}
