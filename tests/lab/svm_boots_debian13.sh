#!/bin/bash
# time-limit: 900
# On SVM, rondo-vmm boots the kernel of Debian 13 (6.12, zstd) as it is, and its driver reads the disk right.
. "$(dirname "$0")/../lib.sh"
. "$ROOT/tests/lab/lib.sh"
[ -n "${RONDO_TEST_LONG:-}" ] || skip_all "another kernel takes minutes; make test-long"
need apt-get dpkg-deb xz
need_lab_svm

# apt with lists of its own, so that this system goes on to know nothing of Debian 13.
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keys" ] || skip_all "the package debian-archive-keyring is missing"
# From where this system has its own packages.
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | sed -n "s/^$codename //p" | head -n 1)
[ -n "$mirror" ] || skip_all "apt knows no server of packages"
mkdir -p "$TMPDIR"/apt/{lists,cache}/partial "$TMPDIR/apt/cache/archives/partial"
echo "deb [signed-by=$keys] $mirror trixie main" >"$TMPDIR/apt/sources.list"
options=(-q -o "Dir::Etc::sourcelist=$TMPDIR/apt/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$TMPDIR/apt/lists"
	-o "Dir::Cache=$TMPDIR/apt/cache" -o APT::Sandbox::User=root)
apt-get "${options[@]}" update >"$TMPDIR/apt.log" 2>&1 || skip_all "Debian 13's list of packages cannot be fetched"
package=$(apt-cache "${options[@]}" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
(cd "$TMPDIR/apt" && apt-get "${options[@]}" download "$package" >"$TMPDIR/apt.log" 2>&1) || skip_all "Debian 13's kernel cannot be fetched"
dpkg-deb -x "$TMPDIR/apt/$package"_*.deb "$TMPDIR/unpacked"
module=$(find "$TMPDIR/unpacked" -name virtio_blk.ko.xz)
xz -dc "$module" >"$TMPDIR/virtio_blk.ko"

head -c 4194304 /dev/urandom >"$TMPDIR/disk"
sum=$(sha256sum <"$TMPDIR/disk" | cut -d ' ' -f 1)
lab_guest_initrd "$TMPDIR/initrd" '
insmod /virtio_blk.ko
echo "disk $(sha256sum </dev/vda | cut -d " " -f 1)"
echo "userspace $(uname -r)"
poweroff -f'
(cd "$TMPDIR" && echo virtio_blk.ko | cpio -o -H newc --quiet) >>"$TMPDIR/initrd"
cat >"$TMPDIR/script" <<'END'
#!/bin/sh
rondo-vmm --kernel /guest/kernel --initrd /guest/initrd --memory 256M --disk /dev/disk0,ro --cmdline "console=ttyS0 quiet panic=-1" </dev/null
END
lab_svm --program "$BUILD/rondo-vmm" --file "$(ls "$TMPDIR"/unpacked/boot/vmlinuz-*):/guest/kernel" \
	--file "$TMPDIR/initrd:/guest/initrd" --disk "$TMPDIR/disk" --time-limit 800 "$TMPDIR/script"
status_is 0 "the guest switches itself off"
like "$out" "userspace 6\.[0-9]+\.[0-9]+\+deb13" "Debian 13's kernel, in userspace"
like "$out" "disk $sum" "and its disk, byte for byte"
done_testing
