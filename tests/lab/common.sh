# shellcheck shell=bash
# What run_svm and run_vmx share: the options, Debian's kernel and its modules, the initramfs, the time limit, the results.
#
#   lab_options ARGUMENT…   reads the command line into the variables below
#   lab_prepare             makes $work, $kernel and $initrds (one is cached, the other is this run's)
#   lab_run COMMAND…        the emulator, with the time limit; the script's output appears as it comes; then lab_finish
#
#   lab_cache               the same $kernel, and $cache/guest.cpio: a beginning for guests' initramfs
#
# Cached in $BUILD/lab (BUILD: build), under a lock: the package's kernel, and two cpio archives of BusyBox with modules:
# base.cpio those that a lab may need, guest.cpio those that a guest may. Remove that folder for a newer kernel.

PATH=$PATH:/usr/sbin:/sbin
lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$lab/../.." && pwd -P)
NAME=lab
# shellcheck source=../../appliances/lib.sh
. "$root/appliances/lib.sh"

say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

programs=() files=() disks=() command=()
memory='' cpus='' limit=300 network='' results='' kvm_options='' append='' patience=''

usage() {
	sed -n '2,/^set /{s/^# \{0,1\}//p}' "$0" >&2
	exit 2
}

lab_options() {
	while [ $# -gt 0 ]; do
		case $1 in
		--network) network=1 && shift && continue ;;
		--) shift && break ;;
		--*) [ $# -ge 2 ] || usage ;;
		*) break ;;
		esac
		case $1 in
		--program) programs+=("$2") ;;
		--file) files+=("$2") ;;
		--disk) disks+=("$2") ;;
		--memory) memory=$2 ;;
		--cpus) cpus=$2 ;;
		--kvm) kvm_options=$2 ;;
		--append) append=$2 ;;
		--results) results=$2 ;;
		--time-limit) limit=$2 ;;
		*) usage ;;
		esac
		shift 2
	done
	command=("$@")
	[ ${#command[@]} -gt 0 ] && [ -f "${command[0]}" ] || usage
}

# The modules that some script may want; what they depend on comes along. Loaded at once are only those that init is told.
lab_modules="kvm-amd kvm-intel virtio_pci virtio_blk virtio_net virtio_console virtio-rng fuse tun overlay loop squashfs vhost_net
	ata_piix sd_mod msr"

guest_modules="pvpanic-mmio virtio_pci virtio_blk virtio_net virtio_console virtio_balloon virtio-rng"

lab_cpio() { # TREE FILE
	(cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet --owner=0:0) >"$2.partial" || die "cannot write $2"
	mv "$2.partial" "$2"
}

# BusyBox with modules. Without their signatures, which are checked, and their tables for stack traces (ORC), which are
# sorted, they load much faster; that counts in an emulator.
lab_busybox() { # RELEASE FILE MODULE…
	local tree=$WORK/tree
	rm -rf "$tree"
	mkdir -p "$tree"/usr/{bin,lib,lib64}
	ln -s usr/bin usr/lib usr/lib64 "$tree"
	install_busybox "$(command -v busybox)" "$tree"
	copy_modules "$WORK/unpacked" "$1" "$tree" "${@:3}"
	find "$tree/lib/" -name '*.ko' -exec strip --strip-debug --remove-section=.BTF \
		--remove-section=.orc_unwind --remove-section=.orc_unwind_ip {} +
	lab_cpio "$tree" "$2"
}

# Debian's kernel, as it is: $kernel, and the two archives.
lab_cache() {
	local package release stamp WORK
	cache=$(realpath -m -- "${BUILD:-$root/build}/lab")
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
	stamp=$(sha256sum <"$lab/common.sh")
	if [ ! -f "$cache/base.cpio" ] || [ "$stamp" != "$(cat "$cache/stamp" 2>/dev/null)" ]; then
		need apt-get apt apt-cache apt dpkg-deb dpkg modprobe kmod depmod kmod cpio cpio strip binutils busybox busybox-static
		WORK=$cache/partial
		rm -rf "$WORK"
		package=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
		if [ -z "$package" ]; then
			say "error: apt knows no linux-image-cloud-amd64; type: apt-get update"
			exit 4
		fi
		fetch_packages "$WORK" "$package"
		dpkg-deb -x "$WORK/$package"_*.deb "$WORK/unpacked"
		release=$(ls "$WORK/unpacked/lib/modules")
		# shellcheck disable=SC2086 # one word a module
		{
			lab_busybox "$release" "$cache/guest.cpio" $guest_modules
			lab_busybox "$release" "$cache/base.cpio" $lab_modules
		}
		cp "$WORK/unpacked/boot/vmlinuz-$release" "$cache/kernel"
		rm -rf "$WORK"
		echo "$stamp" >"$cache/stamp"
	fi
	flock -u 9
	exec 9>&-
	kernel=$cache/kernel
}

# A program goes to /usr/bin, its shared libraries where the dynamic linker wants them.
lab_add_program() { # FILE TREE
	local file library
	file=$(command -v -- "$1") || die "there is no program $1"
	install -D -m 755 "$file" "$2/usr/bin/${file##*/}"
	# "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"; a static program has none.
	for library in $(ldd "$file" 2>/dev/null | sed -n 's/.*=> not found.*/missing/p; s/^.*[[:space:]]\(\/[^ ]*\) (0x.*/\1/p'); do
		[ "$library" != missing ] || die "a shared library of $file is missing on this host"
		[ -e "$2/usr/${library#/}" ] || install -D -m 755 "$library" "$2/usr/${library#/usr/}"
	done
}

lab_add_file() { # FILE:PATH TREE
	local file=${1%:*} path=${1##*:}
	[ -e "$file" ] && [ "${path#/}" != "$path" ] || die "--file wants FILE:/PATH, and FILE to be there: $1"
	# /lib and its kind are links here
	path=$(printf '%s' "$path" | sed 's,^/\(bin\|lib\|lib64\)/,/usr/\1/,')
	mkdir -p "$2/$(dirname "$path")"
	cp -rL --preserve=mode "$file" "$2/$path"
}

# This run's own part of the initramfs: init, the settings, the script, the programs and the files.
lab_prepare() { # KVM-MODULE MODULE…
	local tree entry
	lab_cache
	tree=$work/tree
	mkdir -p "$tree/lab" "$tree/usr/bin"
	for entry in "${disks[@]}"; do [ -f "$entry" ] || die "there is no disk $entry"; done
	for entry in "${programs[@]}"; do lab_add_program "$entry" "$tree"; done
	for entry in "${files[@]}"; do lab_add_file "$entry" "$tree"; done
	install -m 755 "$lab/init" "$tree/init"
	install -m 755 "$lab/count_exits" "$lab/watch_boot" "$tree/usr/bin"
	install -m 755 "${command[0]}" "$tree/lab/script"
	{
		echo '#!/bin/sh'
		printf 'exec /lab/script'
		[ ${#command[@]} -eq 1 ] || printf ' %q' "${command[@]:1}"
		echo
	} >"$tree/lab/run"
	chmod 755 "$tree/lab/run"
	printf '%s=%q\n' kvm_module "$1 $kvm_options" network "$network" modules "${*:2}" disks $((${#disks[@]} + 1)) >"$tree/lab/settings"
	lab_cpio "$tree" "$work/own.cpio"
	rm -rf "$tree"
	initrds=("$cache/base.cpio" "$work/own.cpio")
	# A size that an old-style disk can have: cylinders of 16 heads and 63 sectors.
	truncate -s $((520 * 16 * 63 * 512)) "$work/results.img"
	: >"$work/output"
	: >"$work/console"
}

lab_clean_up() {
	[ -z "${emulator:-}" ] || kill -KILL -- "-$emulator" 2>/dev/null
	[ -z "${work:-}" ] || rm -rf --one-file-system -- "$work"
}

lab_work() {
	work=$(mktemp -d -- "${TMPDIR:-/tmp}/rondo-lab.XXXXXXXX") || exit 9
	trap lab_clean_up EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

# Is an emulated machine up after `patience` seconds? (Empty: it is waited for.) Then its init has said so on its console.
lab_is_up() {
	local i
	[ -n "$patience" ] || return 0
	for ((i = 0; i < patience * 5; i++)); do
		if ! kill -0 "$emulator" 2>/dev/null || grep -q 'lab: up' "$work/console"; then
			return 0
		fi
		sleep 0.2
	done
	return 1
}

# Runs the emulator in a process group of its own, and ends with the script's exit code. Once in a few hundred starts, on a busy
# host, qemu's emulation stands still before its guest's kernel has begun: then it is started again.
lab_run() {
	local code=0 printer tries
	for tries in 1 2 3; do
		code=0
		env --default-signal timeout --kill-after=5 "$limit" "$@" </dev/null >"$work/emulator" 2>&1 &
		emulator=$!
		tail -n +1 -s 0.2 --pid="$emulator" -f "$work/output" 2>/dev/null &
		printer=$!
		if [ "$tries" -lt 3 ] && ! lab_is_up; then
			say "the emulated machine has said nothing for $patience s: starting it again"
			kill -KILL -- "-$emulator" || true
			wait "$emulator" || true
			wait "$printer" || true
			: >"$work/console"
			continue
		fi
		break
	done
	wait "$emulator" || code=$?
	wait "$printer" || true
	emulator=
	if [ -n "$results" ]; then
		mkdir -p "$results"
		cp "$work/console" "$results/console"
	fi
	if tar -xf "$work/results.img" -C "$work" lab/exit 2>/dev/null; then
		[ -z "$results" ] || tar -xf "$work/results.img" -C "$results" --strip-components=1 --no-same-owner results ||
			die "cannot unpack the results"
		exit "$(cat "$work/lab/exit")"
	fi
	if [ "$code" -eq 124 ]; then
		say "error: the time limit of $limit s has passed"
	else
		say "error: the lab has ended before its script (exit code $code of the emulator)"
	fi
	tail -n 5 "$work/emulator" | sed 's/^/  emulator: /' >&2
	tail -n 15 "$work/console" | tr -d '\r' | sed 's/^/  console: /' >&2
	[ "$code" -eq 124 ] || code=125
	exit "$code"
}
